package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tidings": main})
}

// TestScripts runs the command line as a person does, one file of testdata for each subject.
func TestScripts(t *testing.T) {
	cmds := serverCommands()
	cmds["exits"] = exits
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Setenv("TIDINGS_SERVER", "")
			e.Setenv("TIDINGS_TOKEN", "")
			e.Values[runningKey] = new(*running)
			return nil
		},
		RequireUniqueNames: true,
		Cmds:               cmds,
	})
}

// exits is exec for a command that has to exit with the code given, such as: exits 2 tidings tail --no-such-flag. It
// prints nothing on stdout.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s exits with %d, want %s", strings.Join(args[1:], " "), code, args[0])
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("%s prints a result: %s", strings.Join(args[1:], " "), out)
	}
}

// Every command explains itself, with an example, and is in the overview.
func TestUsageIsComplete(t *testing.T) {
	for _, c := range commands {
		if !strings.HasPrefix(c.usage, "Usage: tidings "+c.name) || !strings.Contains(c.usage, "Example") && c.name != "version" {
			t.Errorf("the usage of %s lacks its first line or an example", c.name)
		}
		if !strings.Contains(overview, "\n  "+c.name+" ") {
			t.Errorf("the overview lacks %s", c.name)
		}
		for line := range strings.Lines(c.usage) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 132 || strings.HasSuffix(line, " \n") {
				t.Errorf("a line of the usage of %s is %d wide: %q", c.name, n, line)
			}
		}
	}
}

// Every flag that the usage names is one that the command takes: anything else is a usage error about the flag.
func TestUsageNamesRealFlags(t *testing.T) {
	for _, c := range commands {
		for line := range strings.Lines(c.usage) {
			flag, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if !strings.HasPrefix(line, "  --") {
				continue
			}
			// The flag before it is complete, so that the error is about what is tested.
			err := run(t.Context(), []string{c.name, flag + "=\x00", "--no-such-flag"}, strings.NewReader(""), io.Discard, io.Discard)
			if err == nil || strings.Contains(err.Error(), "not defined: -"+strings.TrimPrefix(flag, "--")) {
				t.Errorf("tidings %s %s: %v", c.name, flag, err)
			}
		}
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		args     string
		operands string
		flag     string
		err      string
	}{
		{"", "", "", ""},
		{"a b", "a b", "", ""},
		{"--x 1 a", "a", "1", ""},
		{"a --x 1 b", "a b", "1", ""},
		{"a b --x=1", "a b", "1", ""},
		{"a -- --x 1", "a --x 1", "", ""},
		{"-- -", "-", "", ""},
		{"a - --x 1", "a -", "1", ""},
		{"a --y", "", "", "not defined: -y"},
		{"a --x", "", "", "needs an argument"},
	} {
		fs := newFlags("test")
		x := fs.String("x", "", "")
		got, err := parse(fs, strings.Fields(tc.args))
		if tc.err != "" {
			if _, ok := errors.AsType[usageError](err); !ok || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: %v, want %s", tc.args, err, tc.err)
			}
			continue
		}
		if err != nil || strings.Join(got, " ") != tc.operands || *x != tc.flag {
			t.Errorf("%q: %q, -x %q, %v", tc.args, got, *x, err)
		}
	}
	if _, err := parse(newFlags("test"), []string{"a", "--help"}); err != errHelp {
		t.Errorf("--help behind an operand: %v", err)
	}
}

func TestExitCode(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
		out  string
	}{
		{nil, 0, ""},
		{errors.New("client: it broke"), 1, "tidings: it broke\n"},
		{errors.New("two\nlines\x1b[31m"), 1, "tidings: two\ntidings: lines\ufffd[31m\n"},
		{usagef("tail", "no"), 2, "tidings: no\nhint: tidings tail --help\n"},
		{withHint(usagef("tail", "no"), "do this"), 2, "tidings: no\nhint: do this\n"},
		{fmt.Errorf("outer: %w", withHint(errors.New("no"), "do this")), 1, "tidings: outer: no\nhint: do this\n"},
	} {
		var b bytes.Buffer
		if code := exitCode(tc.err, &b); code != tc.code || b.String() != tc.out {
			t.Errorf("%v: %d, %q; want %d, %q", tc.err, code, b.String(), tc.code, tc.out)
		}
	}
}

// brokenPipe is an output that nobody reads any more.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, fmt.Errorf("write |1: %w", syscall.EPIPE) }

func TestBrokenPipeIsQuiet(t *testing.T) {
	var stderr bytes.Buffer
	for _, args := range []string{"version", "tail --help", "topics --help"} {
		if code := exitCode(run(context.Background(), strings.Fields(args), strings.NewReader(""), brokenPipe{}, &stderr), &stderr); code != 0 {
			t.Errorf("%s: exit code %d", args, code)
		}
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr: %s", &stderr)
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"tail", "tail", 0}, {"tial", "tail", 2}, {"tai", "tail", 1}, {"", "tail", 4}, {"publsh", "publish", 1}, {"x", "y", 1}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
