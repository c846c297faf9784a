package irc_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"tidings"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/irc"
	"tidings/outlet/outlettest"
)

// FuzzSession sends anything to a server. Whatever it is, the server answers with lines of IRC until it has answered
// all, or closes the connection. The seeds are what the clients of the transcripts say.
func FuzzSession(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("no transcript: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var said strings.Builder
		for line := range strings.Lines(string(text)) {
			if l, ok := strings.CutPrefix(line, "C: "); ok {
				said.WriteString(strings.NewReplacer("{{one}}", "\x01", "{{c}}", "\x03", "{{", "", "}}", "").Replace(l))
			}
		}
		f.Add(said.String())
	}
	f.Add("NICK a\nUSER a 0 * a\nCHATHISTORY BETWEEN #/t timestamp=0 msgid=00000000-0 1\nCHATHISTORY TARGETS timestamp=0001-01-01T00:00:00Z timestamp=9999-12-31T23:59:59Z 1\n")
	f.Add("NICK a\nUSER a 0 * a\nJOIN #/t a=b&since=1970-01-01&filter=x\nFILTER #/t size(n)>0\nJOIN 0\nPART ,\n")
	p := outlettest.ForFuzz(f, hub.Options{Decode: outlet.Decoder(nil)})
	s, err := irc.New(irc.Options{Hub: p.Hub, Edge: p.Edge, May: p.Policy.May, Topics: func(context.Context, tidings.Pattern) ([]tidings.Topic, error) { return []tidings.Topic{"/t"}, nil }})
	if err != nil {
		f.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ln)
	}()
	f.Cleanup(func() {
		s.Close()
		<-done
	})
	for range 3 {
		if _, err := p.Journal.Append(context.Background(), tidings.Event{Topic: "/t", ContentType: "application/json", Payload: []byte(`{"a":1}`)}); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, said string) {
		if len(said) > 20_000 {
			return
		}
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := &client{nc, bufio.NewReader(nc)}
		go io.WriteString(nc, said+"\r\nPING the-end-of-it\r\n")
		for {
			l, err := c.line()
			if err != nil {
				if ne, ok := err.(net.Error); ok && ne.Timeout() {
					t.Fatalf("the server does not answer %q", said)
				}
				return // it has closed
			}
			text := l
			if l[0] == '@' {
				_, text, _ = strings.Cut(l, " ")
			}
			if !utf8.ValidString(l) || len(text) > 510 || strings.ContainsAny(l, "\x00\r\n") {
				t.Fatalf("the answer %q", l)
			}
			if strings.HasSuffix(l, " PONG localhost :the-end-of-it") {
				return
			}
		}
	})
}
