package main

// The rules of what the commands print:
//
//   - Results go to stdout, one a line, and nothing else does.
//   - Notices and errors go to stderr, each line beginning with "tidings: ".
//   - An error is followed by a line that begins with "hint: " and goes on with a command that can be pasted, or says
//     what to do.
//   - The exit code is 0 if all went well, 1 if something failed, 2 if the command line was wrong.
//   - Colour is for terminals only, and not where NO_COLOR is set. What came from elsewhere is stripped of control
//     characters before a terminal gets it.

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tidings"
	"tidings/client"
)

// errHelp asks run for the command's usage.
var errHelp = flag.ErrHelp

// usageError is a command line that is wrong. command is the verb, or empty.
type usageError struct {
	command string
	err     error
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef returns a usageError of the command.
func usagef(command, format string, args ...any) error {
	return usageError{command, fmt.Errorf(format, args...)}
}

// hintError is an error and what to do about it.
type hintError struct {
	err  error
	hint string
}

func (e hintError) Error() string { return e.err.Error() }
func (e hintError) Unwrap() error { return e.err }

// withHint adds a hint to err, if there is an error.
func withHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return hintError{err, hint}
}

// exitCode says what went wrong and what to do, and returns the code to exit with.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	code, hint := 1, ""
	if usage, ok := errors.AsType[usageError](err); ok {
		code, hint = 2, strings.TrimSpace("tidings "+usage.command)+" --help"
	}
	if h, ok := errors.AsType[hintError](err); ok {
		hint = h.hint
	}
	for line := range strings.Lines(strings.TrimPrefix(err.Error(), "client: ")) {
		fmt.Fprintf(stderr, "tidings: %s\n", printable(strings.TrimSuffix(line, "\n")))
	}
	if hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return code
}

// help prints the overview, or the usage of the command that args name.
func help(args []string, stdout io.Writer) error {
	text := overview
	if len(args) > 0 {
		i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
		if i < 0 {
			return unknownCommand(args[0])
		}
		text = commands[i].usage
	}
	_, err := io.WriteString(stdout, text)
	return err
}

// unknownCommand names the command that was probably meant.
func unknownCommand(name string) error {
	err := usagef("", "there is no command %q", name)
	for _, c := range commands {
		if distance(name, c.name) <= 2 {
			return withHint(err, "tidings "+c.name)
		}
	}
	return err
}

// distance returns how many letters have to be added, removed or replaced to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// newFlags returns an empty set of flags that prints nothing by itself.
func newFlags(command string) *flag.FlagSet {
	fs := flag.NewFlagSet(command, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// parse reads flags and operands in any order; behind -- everything is an operand. It returns errHelp for --help and a
// usageError for flags that are wrong.
func parse(fs *flag.FlagSet, args []string) (operands []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, errHelp
			}
			return nil, usageError{fs.Name(), err}
		}
		rest := fs.Args()
		if len(rest) == 0 {
			return operands, nil
		}
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" {
			return append(operands, rest...), nil
		}
		operands, args = append(operands, rest[0]), rest[1:]
	}
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// choice is a flag that has one of a few values.
type choice struct {
	value string
	of    []string
}

func (c *choice) String() string { return c.value }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		return fmt.Errorf("want %s", strings.Join(c.of, " or "))
	}
	c.value = s
	return nil
}

// target holds the flags that say which server to talk to and by which right.
type target struct {
	url, token, data string
}

// The defaults of those flags.
const (
	defaultServer = "http://127.0.0.1:8080"
	defaultData   = "tidings-data"
)

// flags adds --server and --token, and --data if the command may use the admin token.
func (s *target) flags(fs *flag.FlagSet, admin bool) {
	s.url, s.token = os.Getenv("TIDINGS_SERVER"), os.Getenv("TIDINGS_TOKEN")
	if s.url == "" {
		s.url = defaultServer
	}
	fs.StringVar(&s.url, "server", s.url, "")
	fs.StringVar(&s.token, "token", s.token, "")
	if admin {
		fs.StringVar(&s.data, "data", defaultData, "")
	}
}

// client returns a client of the server.
func (s *target) client(command string, opts ...client.Option) (*client.Client, error) {
	if s.token == "" && s.data != "" && isLoopback(s.url) {
		// The file is there if the server was started here. If not, the server says that it wants a token.
		if b, err := os.ReadFile(filepath.Join(s.data, "admin.token")); err == nil {
			s.token = strings.TrimSpace(string(b))
		}
	}
	c, err := client.New(s.url, append([]client.Option{client.WithToken(s.token)}, opts...)...)
	if err != nil {
		return nil, usageError{command, err}
	}
	return c, nil
}

// isLoopback reports whether the server is on this machine, so that its admin token is not sent to another one.
func isLoopback(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// explain adds a hint to an error that came from the server or from not reaching it.
func (s *target) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[hintError](err); ok { // it knows better
		return err
	}
	status, answered := errors.AsType[*client.StatusError](err)
	if u, ok := errors.AsType[*url.Error](err); ok && !answered {
		err = tidings.Errorf(tidings.KindOf(err), "nothing answers at %s: %w", s.url, u.Err)
	}
	switch kind := tidings.KindOf(err); {
	case kind == tidings.ErrUnauthenticated && s.data != "":
		return withHint(err, fmt.Sprintf("pass --token TOKEN or set TIDINGS_TOKEN, or --data DIR for the data directory of the server, which holds admin.token (tried %s)", filepath.Join(s.data, "admin.token")))
	case kind == tidings.ErrUnauthenticated:
		return withHint(err, "pass --token TOKEN or set TIDINGS_TOKEN")
	case kind == tidings.ErrForbidden:
		return withHint(err, "tidings token create NAME publish:/TOPIC/** read:/TOPIC/**")
	case kind == tidings.ErrUnavailable && !answered && s.url == defaultServer:
		return withHint(err, "tidings serve --demo")
	case kind == tidings.ErrUnavailable && !answered:
		return withHint(err, "curl "+s.url+"/healthz")
	case answered && status.Status == 404:
		return withHint(err, "tidings topics --server "+s.url)
	}
	return err
}
