package xmlstream

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// client is the Context of testdata/stanzas.txt.
var client = NewContext("jabber:client", "stream", SpaceStream)

const header = "<?xml version='1.0' encoding='UTF-8'?>\n<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>"

// stanzas returns testdata/stanzas.txt.
func stanzas(t testing.TB) []string {
	b, err := os.ReadFile("testdata/stanzas.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for part := range strings.SplitSeq("\n"+string(b), "\n#") {
		if _, stanza, _ := strings.Cut(part, "\n"); stanza != "" {
			all = append(all, strings.TrimSpace(stanza))
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d stanzas", len(all))
	}
	return all
}

// dump writes what an element means: names, attributes in order of name, text, children.
func dump(e Element) string {
	var attrs []string
	for a := range e.Attrs() {
		attrs = append(attrs, dumpAttr(a.Space, a.Name, a.Value))
	}
	slices.Sort(attrs)
	var b strings.Builder
	fmt.Fprintf(&b, "{%s}%s%s %q(", e.Space(), e.Name(), attrs, e.Text())
	for c := range e.Children() {
		b.WriteString(dump(c))
	}
	b.WriteString(")")
	return b.String()
}

func dumpAttr(space, name, value string) string { return fmt.Sprintf("{%s}%s=%q", space, name, value) }

// token is what Next returned.
type token struct {
	kind  Kind
	bytes string
	err   string
}

// scan feeds the chunks, and returns all that Next says but None. It checks what the Scanner holds meanwhile.
func scan(t testing.TB, s *Scanner, chunks ...[]byte) []token {
	t.Helper()
	var all []token
	for _, c := range chunks {
		fed := bytes.Clone(c)
		s.Feed(fed)
		for {
			kind, b, err := s.Next()
			if err != nil {
				if s.buf != nil || s.p != nil {
					t.Fatal("memory is held after an error")
				}
				if _, _, again := s.Next(); again != err {
					t.Fatalf("%v, then %v", err, again)
				}
				return append(all, token{err: err.Error()})
			}
			if kind == None {
				break
			}
			all = append(all, token{kind: kind, bytes: string(b)})
		}
		for i := range fed { // it is ours again
			fed[i] = '#'
		}
		if s.p != nil || !s.inToken && s.buf != nil || cap(s.buf) > max(s.Limits.stanza(), MaxHeader) {
			t.Fatalf("%d bytes are held between tokens, or too many", cap(s.buf))
		}
	}
	return all
}
