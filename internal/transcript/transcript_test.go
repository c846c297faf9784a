package transcript

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// parrot answers HELLO with a number, ECHO with its argument, LF with a line that ends so, and QUIT by closing.
func parrot(nc net.Conn) {
	defer nc.Close()
	r := bufio.NewScanner(nc)
	n := 41
	for r.Scan() {
		verb, rest, _ := strings.Cut(r.Text(), " ")
		switch verb {
		case "HELLO":
			n++
			fmt.Fprintf(nc, "hello id=%d at=now\r\n", n)
		case "ECHO":
			fmt.Fprintf(nc, "%s\r\n", rest)
		case "LF":
			io.WriteString(nc, "bare\n")
		case "QUIT":
			return
		}
	}
}

func newRunner() *Runner {
	return &Runner{
		Dial: func() (net.Conn, error) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			defer ln.Close()
			a, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				return nil, err
			}
			b, err := ln.Accept()
			if err != nil {
				return nil, err
			}
			go parrot(b) // until a closes
			return a, nil
		},
		Vars: map[string]string{"name": "pa.rot"},
		Do: map[string]func(map[string]string, string) error{
			"shout": func(vars map[string]string, s string) error {
				vars["shouted"] = strings.ToUpper(s)
				return nil
			},
			"break": func(map[string]string, string) error { return errors.New("broken") },
		},
	}
}

func TestRun(t *testing.T) {
	for _, tt := range []struct{ name, text, err string }{
		{"exact", "C: ECHO  a\nS:  a\n", ""},
		{"empty line", "C: ECHO \nS:\nC: ECHO\nS: \n", ""},
		{"capture", "C: HELLO\nS: hello id={{id}} at={{*}}\nC: ECHO {{id}}!\nS: 42!\nC: ECHO {{id}}\nS: {{id}}\n", ""},
		{"expression", "C: HELLO\nS: hello id={{id:[0-9]+}} at={{*:now|later}}\nC: ECHO 4\nS: {{*}}4{{*}}\n", ""},
		{"variable is literal", "C: ECHO paXrot\nS: {{name}}\n", `2: ` + "\n" + `want "pa.rot\r\n"` + "\n" + `got  "paXrot\r\n"`},
		{"text is literal", "C: ECHO abc\nS: a.c\n", "2: "},
		{"whole line", "C: ECHO abc\nS: ab\n", "2: "},
		{"expression does not match", "C: ECHO abc\nS: {{x:[0-9]+}}\n", "2: "},
		{"capture needs a character", "C: ECHO\nS: {{x}}\n", "2: "},
		{"value differs", "C: HELLO\nS: hello id={{id}} at=now\nC: HELLO\nS: hello id={{id}} at=now\n", "4: "},
		{"endings", "C: LF\n! lines lf\nS: bare\n! lines crlf\nC: ECHO x\nS: x\n", ""},
		{"lf for crlf", "C: LF\nS: bare\n", "2: "},
		{"crlf for lf", "! lines lf\nC: ECHO x\nS: x\n", "3: "},
		{"eof", "C: QUIT\nS: {{eof}}\n", ""},
		{"line for eof", "C: ECHO x\nS: {{eof}}\n", "2: want the end"},
		{"eof for line", "C: QUIT\nS: x\n", "2: want \"x\""},
		{"connections", "C: HELLO\nS: hello id=42 at=now\n! connect b\nC: HELLO\nS: hello id=42 at=now\n! use b\nC: HELLO\nS: hello id=43 at=now\n! connect\nC: HELLO\nS: hello id=42 at=now\n! close\n", ""},
		{"skip", "C: ECHO a\nC: ECHO\nC: ECHO b\n! skip\nS: b\n", ""},
		{"skip to the end", "C: QUIT\n! skip\n", "2: want an empty line"},
		{"skip nothing", "! skip\n", "1: no connection"},
		{"no such connection", "! use b\n", "1: no connection"},
		{"nothing to close", "! close\n", "1: no connection"},
		{"own directive", "! shout say {{name}}\nC: ECHO {{shouted}}\nS: SAY PA.ROT\n", ""},
		{"set", "! set x {{name}} y\nC: ECHO {{x}}\nS: pa.rot y\n", ""},
		{"own directive fails", "# comment\n\n! break\n", "3: break: broken"},
		{"no directive", "! nonsense\n", `1: there is no directive "nonsense"`},
		{"ending unknown", "! lines cr\n", "1: lines end"},
		{"twice", "C: ECHO a a\nS: {{x}} {{x}}\n", "2: a variable is twice"},
		{"twice with a value", "C: ECHO a a\n! set x a\nS: {{x}} {{x}}\n", ""},
		{"unset", "C: ECHO {{nobody}}\n", "1: {{nobody}} has no value"},
		{"unset in a directive", "! shout {{nobody}}\n", "1: {{nobody}} has no value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			steps, err := Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if err = newRunner().Run(steps); err == nil && tt.err != "" || err != nil && (tt.err == "" || !strings.HasPrefix(err.Error(), tt.err)) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":              "0: nothing",
		"# only this\n": "1: nothing",
		"C: a\nX: b\n":  "2: ",
		"C:a\n":         "1: ",
		"!\n":           "1: a directive without a name",
		"S: {{x:[}}\n":  "1: {{x}}: ",
		"S: {{x:}}\n":   "1: {{x:}} has no",
	} {
		if _, err := Parse(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want %q", text, err, want)
		}
	}
}

// What parses has steps whose text is in it, and compiling with values never fails where it did not without.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"C: a\nS: b\n", "S: {{x:[0-9]+}} {{*}}\n", "! do it\n# no\n\nS: {{eof}}", "S: {{x}}{{y}}", "C:\nS:", "S: {{x:(}})}}", "S: {{*:a|b}}{{x:(?P<v1>a)}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		steps, err := Parse(text)
		if err != nil {
			return
		}
		for _, s := range steps {
			if !strings.Contains(text, s.Text) || s.Line < 1 {
				t.Errorf("%+v is not in %q", s, text)
			}
			if s.Kind == 'S' {
				vars := map[string]string{}
				for _, m := range placeholder.FindAllStringSubmatch(s.Text, -1) {
					vars[m[1]] = "("
				}
				if _, err := compile(s.Text, vars, new([]string)); err != nil {
					t.Errorf("%q with values: %v", s.Text, err)
				}
			}
		}
	})
}
