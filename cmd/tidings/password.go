package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxPasswordLine is more than a password may have.
const maxPasswordLine = 4096

// readPassword returns the first line of the file; without one, of stdin, or what a person types at a terminal, twice and
// without seeing it. A password is never an argument: others on the machine can read those.
func readPassword(ctx context.Context, std stdio, file string) (string, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		defer f.Close()
		return passwordLine(bufio.NewReader(f))
	}
	in, ok := std.in.(*os.File)
	if !ok {
		return passwordLine(bufio.NewReader(std.in))
	}
	info, err := in.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return passwordLine(bufio.NewReader(in))
	}
	show, err := hideInput(in)
	if err != nil {
		return "", withHint(fmt.Errorf("the password would be seen on the terminal: %w", err), "use --password-file FILE, or let another program write it to stdin")
	}
	defer show()
	return typedPassword(ctx, in, std.err)
}

// typedPassword asks twice. If ctx ends, a goroutine stays that waits for the terminal: the program is about to end.
func typedPassword(ctx context.Context, in io.Reader, prompt io.Writer) (string, error) {
	type answer struct {
		password string
		err      error
	}
	lines := bufio.NewReader(in)
	ask := func(what string) (string, error) {
		fmt.Fprintf(prompt, "tidings: %s: ", what)
		defer fmt.Fprintln(prompt)
		typed := make(chan answer, 1)
		go func() {
			p, err := passwordLine(lines)
			typed <- answer{p, err}
		}()
		select {
		case a := <-typed:
			return a.password, a.err
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	password, err := ask("password")
	if err != nil {
		return "", err
	}
	again, err := ask("once more")
	if err != nil {
		return "", err
	}
	if again != password {
		return "", errors.New("the two passwords differ: nothing was changed")
	}
	return password, nil
}

// passwordLine reads a line.
func passwordLine(r *bufio.Reader) (string, error) {
	var line []byte
	for {
		c, err := r.ReadByte()
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		if err != nil || c == '\n' {
			break
		}
		if line = append(line, c); len(line) > maxPasswordLine {
			return "", errors.New("the password is too long")
		}
	}
	password := strings.TrimSuffix(string(line), "\r")
	if password == "" {
		return "", withHint(errors.New("the password is empty"), "type one, name a file with --password-file FILE, or let another program write it to stdin")
	}
	return password, nil
}
