package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a new one: what a person has, and what a program reads.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// What is typed at a terminal is not shown, and the terminal is as before afterwards.
func TestPasswordIsHidden(t *testing.T) {
	person, program := terminal(t)
	echoes := func() bool {
		s, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return s.Lflag&unix.ECHO != 0
	}
	if !echoes() {
		t.Fatal("it shows nothing from the beginning")
	}
	prompts, stderr := io.Pipe()
	type answer struct {
		password string
		err      error
	}
	done := make(chan answer, 1)
	go func() {
		p, err := readPassword(t.Context(), stdio{in: program, err: stderr}, "")
		stderr.Close()
		done <- answer{p, err}
	}()
	r := bufio.NewReader(prompts)
	for _, want := range []string{"password: ", "once more: "} {
		prompt := ""
		for !strings.HasSuffix(prompt, want) {
			c, err := r.ReadByte()
			if err != nil {
				t.Fatalf("after %q: %v", prompt, err)
			}
			prompt += string(c)
		}
		if echoes() {
			t.Error("what is typed is shown")
		}
		if _, err := person.WriteString("pencil\n"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	if a := <-done; a.password != "pencil" || a.err != nil {
		t.Errorf("%q, %v", a.password, a.err)
	}
	if !echoes() {
		t.Error("the terminal shows nothing afterwards")
	}
}
