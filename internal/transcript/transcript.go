// Package transcript runs conversations written down as text against a server: what a client sends and what it has to
// get back, line by line. It serves the tests of every protocol that is made of lines or can be read as such.
//
// A transcript has one of these on each line:
//
//	# …               a comment; so is a blank line
//	C: …              the client sends this line
//	S: …              the server's next line has to be this
//	S: {{eof}}        the server has closed the connection
//	! name argument   a directive
//
// Lines the client sends end in CRLF. Lines of the server end in CRLF too, or in LF alone behind the directive
// "! lines lf"; a line that ends in the other way does not match. "! lines crlf" goes back.
//
// In a line, {{name}} stands for a variable: its value if it has one; otherwise the text of the server's line at that
// place, one character at least, which becomes its value. {{name:regexp}} takes only text that the regular expression
// (package regexp, without }} in it) matches, and with a value is the same as {{name}}. {{*}} and {{*:regexp}} match
// without keeping anything; {{*}} may be empty. Blanks at the ends of a line count.
//
// The directives that every transcript has:
//
//	! connect [name]  open a new connection, which is the current one from then on; without a name it takes the place
//	                  of the current one, which is closed
//	! use name        make a connection that is open the current one
//	! close           close the client's side of the current connection
//	! lines crlf|lf   how the server's lines end, on all connections
//	! skip            read the server's lines up to and with the next empty one, such as a head that is tested elsewhere
//	! set name value  give a variable its value; placeholders in it are filled in
//
// Others are the test's own. The first line sent or expected opens a connection if none is open.
package transcript

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Patience bounds the wait for a line.
const Patience = 10 * time.Second

// Runner is what a transcript runs against.
type Runner struct {
	// Dial opens a connection.
	Dial func() (net.Conn, error)
	// Do are the test's own directives by name. They get what follows the name, with placeholders filled in, and may set
	// variables.
	Do map[string]func(vars map[string]string, argument string) error
	// Vars are the variables to begin with.
	Vars map[string]string
}

// Files runs each file that the glob matches as a subtest, named by the file without its extension, against a Runner of
// its own. It fails if there is none.
func Files(t *testing.T, glob string, start func(t *testing.T) *Runner) {
	t.Helper()
	files, err := filepath.Glob(glob)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcript matches %s: %v", glob, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			steps, err := Parse(string(text))
			if err != nil {
				t.Fatalf("%s:%v", file, err)
			}
			if err := start(t).Run(steps); err != nil {
				t.Fatalf("%s:%v", file, err)
			}
		})
	}
}

// Step is one line of a transcript.
type Step struct {
	Line int  // from 1
	Kind byte // 'C', 'S' or '!'
	Text string
}

// Parse returns the steps of a transcript. Errors begin with the number of the line.
func Parse(text string) ([]Step, error) {
	var steps []Step
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		head, rest, _ := strings.Cut(line, " ")
		s := Step{Line: n, Text: rest}
		switch head {
		case "C:", "S:", "!":
			s.Kind = head[0]
		default:
			return nil, fmt.Errorf("%d: %q begins with none of C:, S:, ! and #", n, line)
		}
		if s.Kind == '!' && rest == "" {
			return nil, fmt.Errorf("%d: a directive without a name", n)
		}
		if s.Kind == 'S' {
			if _, err := compile(rest, nil, new([]string)); err != nil && err != errTwice {
				return nil, fmt.Errorf("%d: %w", n, err)
			}
		}
		steps = append(steps, s)
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("%d: nothing is said", n)
	}
	return steps, nil
}

// errTwice is of no transcript as such: the variable may have a value by then.
var errTwice = errors.New("a variable is twice in a line and has no value yet")

var placeholder = regexp.MustCompile(`\{\{(\*|[a-z][a-z0-9_.-]*)(?::(.*?))?\}\}`)

// compile returns an expression for a line of the server; names gets the names of its groups' variables.
func compile(text string, vars map[string]string, names *[]string) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`\A`)
	seen := map[string]bool{}
	at := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		b.WriteString(regexp.QuoteMeta(text[at:m[0]]))
		at = m[1]
		name, expr := text[m[2]:m[3]], ""
		if m[4] >= 0 {
			if expr = text[m[4]:m[5]]; expr == "" {
				return nil, fmt.Errorf("{{%s:}} has no expression", name)
			}
			if _, err := regexp.Compile(expr); err != nil {
				return nil, fmt.Errorf("{{%s}}: %w", name, err)
			}
		}
		value, set := vars[name]
		switch {
		case name == "*" && expr == "":
			b.WriteString(`(?s:.*?)`)
			continue
		case name == "*":
			b.WriteString(`(?:` + expr + `)`)
			continue
		case set:
			b.WriteString(regexp.QuoteMeta(value))
			continue
		case seen[name]:
			return nil, errTwice
		case expr == "":
			expr = `.+?`
		}
		seen[name] = true
		*names = append(*names, name)
		fmt.Fprintf(&b, `(?P<v%d>%s)`, len(*names), expr)
	}
	b.WriteString(regexp.QuoteMeta(text[at:]))
	b.WriteString(`\z`)
	return regexp.Compile(b.String())
}

// fill returns text with its placeholders replaced by their values.
func fill(text string, vars map[string]string) (string, error) {
	var err error
	out := placeholder.ReplaceAllStringFunc(text, func(p string) string {
		name := placeholder.FindStringSubmatch(p)[1]
		v, ok := vars[name]
		if !ok {
			err = fmt.Errorf("{{%s}} has no value", name)
		}
		return v
	})
	return out, err
}

// run is one run of a transcript.
type run struct {
	*Runner
	vars  map[string]string
	conns map[string]*conn
	name  string // of the current connection
	end   string // of the server's lines
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

// Run runs the steps. An error begins with the number of the line at which the server did otherwise.
func (r *Runner) Run(steps []Step) error {
	x := &run{Runner: r, vars: map[string]string{}, conns: map[string]*conn{}, end: "\r\n"}
	for k, v := range r.Vars {
		x.vars[k] = v
	}
	defer func() {
		for _, c := range x.conns {
			c.Close()
		}
	}()
	for _, s := range steps {
		if err := x.step(s); err != nil {
			return fmt.Errorf("%d: %w", s.Line, err)
		}
	}
	return nil
}

func (x *run) step(s Step) error {
	if s.Kind == '!' {
		return x.directive(s.Text)
	}
	c := x.conns[x.name]
	if c == nil {
		var err error
		if c, err = x.connect(x.name); err != nil {
			return err
		}
	}
	c.SetDeadline(time.Now().Add(Patience))
	if s.Kind == 'C' {
		text, err := fill(s.Text, x.vars)
		if err == nil {
			_, err = io.WriteString(c, text+"\r\n")
		}
		return err
	}
	line, err := c.r.ReadString('\n')
	if s.Text == "{{eof}}" {
		if err == io.EOF && line == "" {
			return nil
		}
		return fmt.Errorf("want the end of the connection, got %q, %v", line, err)
	}
	if err != nil {
		return fmt.Errorf("want %q, got %q, %w", s.Text, line, err)
	}
	var names []string
	re, err := compile(s.Text, x.vars, &names)
	if err != nil {
		return err
	}
	text, ok := strings.CutSuffix(line, x.end)
	if x.end == "\n" && strings.HasSuffix(text, "\r") {
		ok = false
	}
	m := re.FindStringSubmatch(text)
	if !ok || m == nil {
		want := placeholder.ReplaceAllStringFunc(s.Text, func(p string) string {
			if v, ok := x.vars[placeholder.FindStringSubmatch(p)[1]]; ok {
				return v
			}
			return p
		})
		return fmt.Errorf("\nwant %q\ngot  %q%s", want+x.end, line, c.rest())
	}
	for i, name := range names {
		x.vars[name] = m[re.SubexpIndex(fmt.Sprintf("v%d", i+1))]
	}
	return nil
}

// rest returns what else the server has said, for a message.
func (c *conn) rest() string {
	b, _ := c.r.Peek(min(c.r.Buffered(), 2000))
	if len(b) == 0 {
		return ""
	}
	return fmt.Sprintf("\nfollowed by\n%s", b)
}

func (x *run) connect(name string) (*conn, error) {
	if c := x.conns[name]; c != nil {
		c.Close()
	}
	nc, err := x.Dial()
	if err != nil {
		return nil, err
	}
	c := &conn{nc, bufio.NewReaderSize(nc, 64<<10)}
	x.conns[name] = c
	x.name = name
	return c, nil
}

func (x *run) directive(text string) error {
	name, argument, _ := strings.Cut(text, " ")
	argument, err := fill(argument, x.vars)
	if err != nil {
		return err
	}
	switch name {
	case "connect":
		if argument == "" {
			argument = x.name
		}
		_, err := x.connect(argument)
		return err
	case "use":
		if x.conns[argument] == nil {
			return fmt.Errorf("no connection is named %q", argument)
		}
		x.name = argument
		return nil
	case "close":
		if c := x.conns[x.name]; c != nil {
			delete(x.conns, x.name)
			return c.Close()
		}
		return fmt.Errorf("no connection is open")
	case "lines":
		end, ok := map[string]string{"crlf": "\r\n", "lf": "\n"}[argument]
		if !ok {
			return fmt.Errorf("lines end in crlf or lf, not in %q", argument)
		}
		x.end = end
		return nil
	case "skip":
		c := x.conns[x.name]
		if c == nil {
			return fmt.Errorf("no connection is open")
		}
		c.SetDeadline(time.Now().Add(Patience))
		for {
			if line, err := c.r.ReadString('\n'); err != nil {
				return fmt.Errorf("want an empty line, got %q, %w", line, err)
			} else if line == x.end {
				return nil
			}
		}
	case "set":
		key, value, _ := strings.Cut(argument, " ")
		x.vars[key] = value
		return nil
	}
	do, ok := x.Do[name]
	if !ok {
		return fmt.Errorf("there is no directive %q", name)
	}
	if err := do(x.vars, argument); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
