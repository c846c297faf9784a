package jid

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("x", MaxPart)
	label := strings.Repeat("d", 63)
	for _, c := range []struct {
		in                      string
		local, domain, resource string
	}{
		// RFC 7622 section 3.5, table 1.
		{"juliet@example.com", "juliet", "example.com", ""},
		{"juliet@example.com/foo", "juliet", "example.com", "foo"},
		{"juliet@example.com/foo bar", "juliet", "example.com", "foo bar"},
		{"juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar"},
		{`foo\20bar@example.com`, `foo\20bar`, "example.com", ""},
		{"fussball@example.com", "fussball", "example.com", ""},
		{"fu\u00dfball@example.com", "fu\u00dfball", "example.com", ""},
		{"\u03c0@example.com", "\u03c0", "example.com", ""},
		{"\u03a3@example.com/foo", "\u03c3", "example.com", "foo"},
		{"\u03c3@example.com/foo", "\u03c3", "example.com", "foo"},
		{"\u03c2@example.com/foo", "\u03c2", "example.com", "foo"},
		{"king@example.com/\u265a", "king", "example.com", "\u265a"},
		{"example.com", "", "example.com", ""},
		{"example.com/foobar", "", "example.com", "foobar"},
		{"a.example.com/b@example.net", "", "a.example.com", "b@example.net"},
		// Table 2 calls this no JID; but no rule of the RFC or of OpaqueString forbids a blank at the beginning.
		{"juliet@example.com/ foo", "juliet", "example.com", " foo"},

		{"a@b/c/d", "a", "b", "c/d"},
		{"a@b//", "a", "b", "/"},
		{"a@b/@", "a", "b", "@"},
		{"JULIET@EXAMPLE.COM/FOO", "juliet", "example.com", "FOO"},
		{"\u00c9MILE@\u00c9COLE.fr/\u00c9", "\u00e9mile", "\u00e9cole.fr", "\u00c9"},
		{"e\u0301@example.com/e\u0301", "\u00e9", "example.com", "\u00e9"},
		{"\uff4a\uff55\uff4c@example.com", "jul", "example.com", ""},
		{"juliet@example.com/a\u00a0b\u3000c", "juliet", "example.com", "a b c"},
		{"example.com.", "", "example.com", ""},
		{"a@example.com./b", "a", "example.com", "b"},
		{"example\u3002com", "", "example.com", ""},
		{"xn--bcher-kva.example", "", "b\u00fccher.example", ""},
		{"XN--BCHER-KVA.example.", "", "b\u00fccher.example", ""},
		{"fa\u00df.de", "", "fa\u00df.de", ""},
		{"enwiki@conference.localhost/rc-pmtpa", "enwiki", "conference.localhost", "rc-pmtpa"},
		{"127.0.0.1/x", "", "127.0.0.1", "x"},
		{"[::1]", "", "[::1]", ""},
		{"[::1].", "", "[::1]", ""},
		{"a@[2001:DB8:0::1]/b", "a", "[2001:db8::1]", "b"},
		{long + "@example.com/" + long, long, "example.com", long},
		{label + ".d", "", label + ".d", ""},
		{"a@b/\U0001f600", "a", "b", "\U0001f600"},
		{"!#$%^*()-_=+[]{}|;,.?`~\\@b", "!#$%^*()-_=+[]{}|;,.?`~\\", "b", ""},
	} {
		j, err := Parse(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if j.Local() != c.local || j.Domain() != c.domain || j.Resource() != c.resource {
			t.Errorf("%q: %q %q %q", c.in, j.Local(), j.Domain(), j.Resource())
		}
		again, err := ParseBytes([]byte(j.String()))
		if err != nil || again != j || string(j.AppendText(nil)) != j.String() {
			t.Errorf("%q: %q parses to %q, %v", c.in, j, again, err)
		}
		if j.IsZero() || j.IsBare() != (c.resource == "") || !j.Bare().IsBare() || j.DomainJID() != (JID{domain: c.domain}) {
			t.Errorf("%q: %#v", c.in, j)
		}
		if made, err := New(c.local, c.domain, c.resource); err != nil || made != j {
			t.Errorf("%q: New gives %q, %v", c.in, made, err)
		}
		if with, err := j.Bare().WithResource(c.resource); err != nil || with != j {
			t.Errorf("%q: WithResource gives %q, %v", c.in, with, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	long := strings.Repeat("x", MaxPart+1)
	for _, in := range []string{
		// RFC 7622 section 3.5, table 2.
		`"juliet"@example.com`,
		"foo bar@example.com",
		"@example.com/",
		"henry\u2163@example.com",
		"\u265a@example.com",
		"juliet@",
		"/foobar",

		"",
		"@",
		"/",
		"@/",
		"@example.com",
		"example.com/",
		"a@/b",
		".",
		"..",
		"example..com",
		".example.com",
		"example.com..",
		"a@b@c",
		"a@b@c/d",
		"a:b@c", "a&b@c", "a'b@c", "a<b@c", "a>b@c", "a\tb@c", "a\x00b@c", "a\x7fb@c",
		"a\uff20b@example.com", // a full-width @ becomes one
		"a\uff0fb@example.com",
		"a@b/c\x00", "a@b/c\n", "a@b/\x7f", "a@b/\ufffe", "a@b/\u0007\u00e9",
		"\xff@b", "a@b/\xff", "a@b\xff.c", "a@b/\xed\xa0\x80",
		"under_score.example", "exam ple.com", "-a.b", "a-.b", "ab--c.d", "a\uff0fb.example", "a\u2025b.c",
		"xn--a.example", "xn--.example", "\u0301a.example", "\u05d01a.example\u0661",
		"[::1", "[]", "[1.2.3.4]", "[fe80::1%eth0]", "[::1]x", "[::g]", "[::1]:5222",
		"a@" + strings.Repeat("d", 64), "a@" + strings.Repeat("\u00e9", 60),
		"a@" + strings.Repeat("d.", 512) + "dd",
		long + "@b", "a@" + long, "a@b/" + long,
		strings.Repeat("\u00e9", 512) + "@b",
		"a@b/" + strings.Repeat("\u00e9", 512),
		strings.Repeat("x", 1<<20),
		strings.Repeat("\u00e9", 1<<20),
	} {
		j, err := Parse(in)
		if !errors.Is(err, ErrMalformed) || j != (JID{}) {
			t.Errorf("%.100q: %q, %v", in, j, err)
		} else if len(err.Error()) > 600 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
		if j, err := ParseBytes([]byte(in)); err == nil {
			t.Errorf("%.100q: ParseBytes gives %q", in, j)
		}
	}
	j := MustParse("a@b/c")
	for _, r := range []string{"\x00", long, "\xff"} {
		if j, err := j.WithResource(r); !errors.Is(err, ErrMalformed) {
			t.Errorf("resource %.20q: %q, %v", r, j, err)
		}
	}
	if _, err := New("a", "", "b"); !errors.Is(err, ErrMalformed) {
		t.Error("a JID without domainpart")
	}
	var zero JID
	if zero.String() != "" || !zero.IsZero() || len(zero.AppendText(nil)) != 0 {
		t.Error("the zero JID has a text")
	}
}

func TestMustParse(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	MustParse("@")
}

// XEP-0106 section 5, and its business rules.
func TestEscape(t *testing.T) {
	for _, c := range []struct{ plain, escaped string }{
		{"space cadet", `space\20cadet`},
		{`call me "ishmael"`, `call\20me\20\22ishmael\22`},
		{"at&t guy", `at\26t\20guy`},
		{"d'artagnan", `d\27artagnan`},
		{"/.fanboy", `\2f.fanboy`},
		{"::foo::", `\3a\3afoo\3a\3a`},
		{"<foo>", `\3cfoo\3e`},
		{"user@host", `user\40host`},
		{`c:\net`, `c\3a\net`},
		{`c:\\net`, `c\3a\\net`},
		{`c:\cool stuff`, `c\3a\cool\20stuff`},
		{`c:\5commas`, `c\3a\5c5commas`},
		{`\3and\2is\5cool`, `\5c3and\2is\5c5cool`},
		{`\5C`, `\5c5C`},
		{`\`, `\`},
		{`\2`, `\2`},
		{"plain", "plain"},
		{"", ""},
	} {
		got, err := EscapeLocal(c.plain)
		if err != nil || got != c.escaped {
			t.Errorf("%q: %q, %v", c.plain, got, err)
		}
		if got := UnescapeLocal(c.escaped); got != c.plain {
			t.Errorf("%q: %q, want %q", c.escaped, got, c.plain)
		}
	}
	for _, s := range []string{" ", " a", "a "} {
		if got, err := EscapeLocal(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	if got := UnescapeLocal(`\20a\20b\20`); got != `\20a b\20` {
		t.Errorf("%q", got)
	}
}

func TestCache(t *testing.T) {
	var c cache
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 3 * cacheEntries {
				s := fmt.Sprintf("\u00e9%d@example.com/%d", i%(2*cacheEntries), g)
				j, err := c.parse(s)
				if err != nil || j.String() != s {
					t.Errorf("%q: %q, %v", s, j, err)
				}
			}
		})
	}
	wg.Wait()
	if len(c.new) > cacheEntries || len(c.old) > cacheEntries {
		t.Errorf("%d and %d entries", len(c.new), len(c.old))
	}
	kept := "\u00e9@example.com"
	for i := range 3 * cacheEntries { // what is used stays, through every change of generations
		if _, err := c.parse(kept); err != nil {
			t.Fatal(err)
		}
		if _, err := c.parse(fmt.Sprintf("\u00e9%d@example.net", i)); err != nil {
			t.Fatal(err)
		}
		_, inNew := c.new[kept]
		if _, inOld := c.old[kept]; !inNew && !inOld {
			t.Fatal("an address in use was forgotten")
		}
	}
	before := len(c.new)
	if _, err := c.parse("\u00e9@example.com/" + strings.Repeat("x", cacheInput)); err != nil || len(c.new) != before {
		t.Errorf("a long address is kept, or %v", err)
	}
	if _, err := c.parse("\u265a@example.com"); err == nil || len(c.new) != before {
		t.Errorf("an address that is none is kept, or %v", err)
	}
}

func TestAllocations(t *testing.T) {
	for _, s := range []string{"juliet@example.com/balcony", "example.com", "\u00e9mile@\u00e9cole.fr"} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := Parse(s); err != nil {
				t.Error(err)
			}
		}); n > 0 {
			t.Errorf("%q: %v allocations", s, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"juliet@example.com/foo bar", "a@b/c", "[::1]/x", "xn--bcher-kva.example", "\u03a3@example.com/\u265a", "a\u0301@b\u3002c.",
		"\u05d0\u05d1@\u05d0.example", "\u0644\u0627@b", "\uff21@\uff21.b/\uff21", "\u1e9e@\u1e9e.de", "\u0130@\u0130.tr/\u0130", "a@b/\u1100\u1161",
		"\u200d@b", "a\u00b7b@c", "l\u00b7l@c", "@", "/", "a@b@c", "127.0.0.1", `foo\20bar@x`, "a@b/\u3000", "\u212a@\u212a", "\u01c5@b", "a@\u0434\u0436.\u0440\u0444",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		j, err := parse(s)
		cached, err2 := Parse(s)
		if (err == nil) != (err2 == nil) && len(s) <= maxInput || err2 == nil && cached != j {
			t.Fatalf("%q: %q, %v; cached %q, %v", s, j, err, cached, err2)
		}
		if err != nil {
			if j != (JID{}) || !errors.Is(err, ErrMalformed) {
				t.Fatalf("%q: %q, %v", s, j, err)
			}
			return
		}
		if len(j.local) > MaxPart || len(j.domain) > MaxPart || len(j.resource) > MaxPart || j.IsZero() {
			t.Fatalf("%q: %#v", s, j)
		}
		again, err := parse(j.String())
		if err != nil || again != j {
			t.Fatalf("%q: %q parses to %q, %v", s, j, again, err)
		}
		made, err := New(j.local, j.domain, j.resource)
		if err != nil || made != j {
			t.Fatalf("%q: New gives %q, %v", s, made, err)
		}
	})
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"space cadet", `c:\5commas`, `\5c5c`, `\\20`, "\u00e9 @", `\2F`, `a\20`, `\20`, ` `} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := EscapeLocal(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(e, " "+excluded) {
			t.Fatalf("%q: %q", s, e)
		}
		if back := UnescapeLocal(e); back != s {
			t.Fatalf("%q: %q, back %q", s, e, back)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, s := range []string{"juliet@example.com/balcony", "\u00e9mile@\u00e9cole.fr/\u265a"} {
		b.Run(s, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
