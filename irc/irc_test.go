package irc

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line string
		want Message
		err  error
	}{
		{"PING x", Message{Command: "PING", Params: []string{"x"}}, nil},
		{"ping  :x y ", Message{Command: "PING", Params: []string{"x y "}, Colon: true}, nil},
		{"  NICK   bob  ", Message{Command: "NICK", Params: []string{"bob"}}, nil},
		{"USER a 0 * :", Message{Command: "USER", Params: []string{"a", "0", "*", ""}, Colon: true}, nil},
		{"JOIN #a:b", Message{Command: "JOIN", Params: []string{"#a:b"}}, nil},
		{":n!u@h PRIVMSG #c ::)", Message{Source: "n!u@h", Command: "PRIVMSG", Params: []string{"#c", ":)"}, Colon: true}, nil},
		{"001 me :Hi", Message{Command: "001", Params: []string{"me", "Hi"}, Colon: true}, nil},
		{"X 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", Message{Command: "X", Params: []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15 16"}}, nil},
		{`@a=b;c;+d/e=\:\s\\\r\n\x\ :s TAGMSG #c`, Message{Source: "s", Command: "TAGMSG", Params: []string{"#c"}, Tags: []Tag{{"a", "b"}, {"c", ""}, {"+d/e", "; \\\r\nx"}}}, nil},
		{`@a=1\;;=2;b= X`, Message{Command: "X", Tags: []Tag{{"a", "1"}, {"b", ""}}}, nil},
		{"", Message{}, ErrEmpty},
		{"   ", Message{}, ErrEmpty},
		{"@a=b", Message{}, ErrMalformed},
		{":source", Message{}, ErrMalformed},
		{": PING", Message{}, ErrMalformed},
		{"@a ", Message{}, ErrMalformed},
		{"12 x", Message{}, ErrMalformed},
		{"0012 x", Message{}, ErrMalformed},
		{"JO1N x", Message{}, ErrMalformed},
		{"GET/ HTTP", Message{}, ErrMalformed},
		{"PING a\x00b", Message{}, ErrMalformed},
		{"PING a\nb", Message{}, ErrMalformed},
	} {
		got, err := Parse(c.line)
		if err != c.err {
			t.Errorf("%q: %v, want %v", c.line, err, c.err)
			continue
		}
		if err == nil && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q:\n got %#v\nwant %#v", c.line, got, c.want)
		}
	}
	m, err := Parse("@k=1;k=2 X a")
	if v, ok := m.Tag("k"); err != nil || v != "2" || !ok || m.Param(0) != "a" || m.Param(1) != "" {
		t.Errorf("%#v, %v", m, err)
	}
	if _, ok := m.Tag("j"); ok {
		t.Error("a tag that is not there")
	}
}

func TestAppend(t *testing.T) {
	long := strings.Repeat("x", 600)
	for _, c := range []struct {
		m    Message
		want string
	}{
		{Message{Command: "PING", Params: []string{"srv"}}, "PING srv\r\n"},
		{Message{Command: "PING", Params: []string{"srv"}, Colon: true}, "PING :srv\r\n"},
		{Message{Source: "s", Command: "001", Params: []string{"me", "a b"}}, ":s 001 me :a b\r\n"},
		{Message{Command: "X", Params: []string{""}}, "X :\r\n"},
		{Message{Command: "X", Params: []string{":)"}}, "X ::)\r\n"},
		{Message{Command: "X", Params: []string{"", "a b", ":c", "d"}}, "X * * * d\r\n"},
		{Message{Command: "X", Params: []string{"a\r\nQUIT\x00"}}, "X a  QUIT \r\n"},
		{Message{Tags: []Tag{{"a", "; \\\r\n\x00x"}, {"b", ""}}, Command: "X"}, `@a=\:\s\\\r\nx;b X` + "\r\n"},
		{Message{Command: "X", Params: []string{long}}, "X " + long[:508] + "\r\n"},
		{Message{Command: "X", Params: []string{strings.Repeat("x", 507) + "\u00e9"}}, "X " + long[:507] + "\r\n"},
		{Message{Command: "X", Params: []string{strings.Repeat("x", 505) + "\U0001F600"}}, "X " + long[:505] + "\r\n"},
	} {
		if got := string(c.m.Append(nil)); got != c.want {
			t.Errorf("%#v:\n got %q\nwant %q", c.m, got, c.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"aé", 2, "a"}, {"aéb", 3, "aé"}, {"a😀", 4, "a"}, {"a😀", 5, "a😀"}, {"\x80\x80\x80\x80\x80\x80", 5, "\x80\x80\x80\x80\x80"}, {"é", 1, ""}, {"é", 0, ""}} {
		if got := string(Cut([]byte(c.in), c.n)); got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

// drain returns the lines that are complete, "!" for one that was too long.
func drain(l *Lines) (out []string) {
	for {
		line, tooLong, ok := l.Next()
		if !ok {
			return out
		}
		if tooLong {
			out = append(out, "!")
		} else {
			out = append(out, string(line))
		}
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("y", MaxText)
	tags := "@" + strings.Repeat("t", MaxClientTags-2) + " "
	for _, c := range []struct{ in, want string }{
		{"a\r\nb\nc\rd", "a b c"},
		{"\r\n\r\n\n", ""},
		{long + "\r\na\n", long + " a"},
		{long + "y\r\na\n", "! a"},
		{long + long + long + "\r\na\n", "! a"},
		{tags + "X\na\n", strings.TrimSpace(tags) + " X a"},
		{tags[:5] + tags[1:] + "X\na\n", "! a"},
		{"@" + strings.Repeat(long, 20) + "\na\n", "! a"},
		{tags + long + "\n" + tags + long + "y\n", strings.TrimSpace(tags) + " " + long + " !"},
	} {
		for _, step := range []int{1, 7, 100000} {
			var l Lines
			var got []string
			for rest := c.in; rest != ""; {
				n := min(step, len(rest))
				l.Push([]byte(rest[:n]))
				rest = rest[n:]
				got = append(got, drain(&l)...)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%.40q in steps of %d: got %.60q, want %.60q", c.in, step, s, c.want)
			}
			if l.Len() > maxInput {
				t.Errorf("%.40q in steps of %d: %d bytes are held", c.in, step, l.Len())
			}
		}
	}
	var l Lines
	l.Push([]byte("a\n"))
	drain(&l)
	if l.buf != nil {
		t.Error("an idle connection holds memory")
	}
}

func TestNames(t *testing.T) {
	if Fold("#EN.Wiki[]\\~") != "#en.wiki{}|^" || Fold("#plain") != "#plain" || !Same("Bob[", "bOB{") || Same("a", "ab") || Same("a", "b") {
		t.Error("the case mapping is not rfc1459")
	}
	for nick, want := range map[string]bool{"bob": true, "rc-pmtpa": true, "a[]\\`_^{|}'": true, "7up": true, "": false, "a b": false, "é": false, "a*": false,
		strings.Repeat("n", 30): true, strings.Repeat("n", 31): false} {
		if ValidNick(nick) != want {
			t.Errorf("nick %q: %v", nick, !want)
		}
	}
	for ch, want := range map[string]bool{"#en.wikipedia": true, "#/news/é": true, "#": false, "": false, "en": false, "#a b": false, "#a,b": false, "#a\x07": false,
		"#" + strings.Repeat("c", 199): true, "#" + strings.Repeat("c", 200): false} {
		if ValidChannel(ch) != want {
			t.Errorf("channel %q: %v", ch, !want)
		}
	}
}

func TestCaps(t *testing.T) {
	o := Offer{{Name: "a"}, {Name: "b", Value: "1"}, {Name: "c"}}
	type step struct {
		params      string
		answer      string // "-" for none, "?" for an unknown subcommand
		negotiating bool
	}
	for _, steps := range [][]step{
		{{"LS", "LS|a b c", true}, {"REQ|a  c", "ACK|a  c", true}, {"LIST", "LIST|a c", true}, {"END", "-", false}},
		{{"ls|302", "LS|a b=1 c", true}, {"REQ|a x", "NAK|a x", true}, {"LIST", "LIST|", true}},
		{{"REQ|b", "ACK|b", true}, {"REQ|-b c", "ACK|-b c", true}, {"LIST", "LIST|c", true}, {"REQ", "ACK|", true}},
		{{"LIST", "LIST|", false}, {"ACK|a", "?", false}, {"", "?", false}, {"END", "-", false}},
	} {
		var c Caps
		for _, s := range steps {
			var params []string
			if s.params != "" {
				params = strings.Split(s.params, "|")
			}
			answer, ok := o.Handle(&c, false, params)
			got := strings.Join(answer, "|")
			switch {
			case !ok:
				got = "?"
			case answer == nil:
				got = "-"
			}
			if got != s.answer || c.Negotiating != s.negotiating {
				t.Errorf("%v at %q: got %q, negotiating %v", steps, s.params, got, c.Negotiating)
			}
		}
	}
	var c Caps
	o.Handle(&c, true, []string{"LS"})
	o.Handle(&c, true, []string{"REQ", "c"})
	if c.Negotiating || !c.Has(2) || c.Has(0) {
		t.Errorf("after registration: %+v", c)
	}
}

// What parses is written back as what parses the same, within the limits and as one line.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"PING :x", "@a=b;c=\\:\\s;+x/y :n!u@h PRIVMSG #c :\x0314[[\x0307T\x0314]]\x034 N\x0310", "USER a 0 * :A B", "JOIN #a,#b since=5f3a9c01-1&bot=false",
		"CAP REQ :message-tags -batch", "CHATHISTORY AFTER #c msgid=5f3a9c01-1 100", ":s 001 n :Hi", "X 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", "@a", ": x", "PRIVMSG a ::", "NICK \xff\xfe", "@=;;== X"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := Parse(s)
		if err != nil {
			return
		}
		b := m.Append(nil)
		line, ok := strings.CutSuffix(string(b), "\r\n")
		if !ok || strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("%q is written as %q", s, b)
		}
		text := line
		if len(m.Tags) > 0 {
			_, text, _ = strings.Cut(line, " ")
		}
		if len(text) > MaxText {
			t.Fatalf("%q is written with %d bytes", s, len(text))
		}
		if utf8.ValidString(s) && !utf8.ValidString(line) {
			t.Fatalf("%q is written as %q", s, b)
		}
		if len(s) > MaxText-20 || m.Source != "" && strings.ContainsAny(m.Source, " ") {
			return
		}
		again, err := Parse(line)
		if err != nil {
			t.Fatalf("%q is written as %q, which does not parse: %v", s, b, err)
		}
		for i := range m.Tags { // NUL has no escape, but no line has one either
			if again.Tags[i] != m.Tags[i] {
				t.Fatalf("%q: tag %q came back as %q", s, m.Tags[i], again.Tags[i])
			}
		}
		if again.Command != m.Command || again.Source != m.Source || !slices.Equal(again.Params, m.Params) {
			t.Fatalf("%q is written as %q and read as %#v, not %#v", s, b, again, m)
		}
	})
}

// However the bytes come in pieces, the lines are the same.
func FuzzLines(f *testing.F) {
	f.Add("a\r\nb\n", 1)
	f.Add(strings.Repeat("x", 511)+"\n@"+strings.Repeat("y", 5000)+"\rz\n", 100)
	f.Add("@a b\n\n\r\n", 3)
	f.Fuzz(func(t *testing.T, s string, step int) {
		if step <= 0 || len(s) > 20000 {
			return
		}
		var one, many Lines
		one.Push([]byte(s))
		want := drain(&one)
		var got []string
		for rest := s; rest != ""; {
			n := min(step, len(rest))
			many.Push([]byte(rest[:n]))
			rest = rest[n:]
			got = append(got, drain(&many)...)
			if many.Len() > maxInput {
				t.Fatalf("%d bytes are held", many.Len())
			}
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("in steps of %d: %q, at once %q", step, got, want)
		}
	})
}
