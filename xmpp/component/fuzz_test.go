package component

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/edge"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// said is a connection to a server that says all it has to say, whatever it is told, in pieces of some length.
type said struct {
	r    *bytes.Reader
	size int
	mu   sync.Mutex
	had  []byte
}

func (s *said) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.size)]) }
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.had = append(s.had, p...)
	return len(p), nil
}
func (*said) Close() error                     { return nil }
func (*said) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*said) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*said) SetDeadline(time.Time) error      { return nil }
func (*said) SetReadDeadline(time.Time) error  { return nil }
func (*said) SetWriteDeadline(time.Time) error { return nil }

// seeds are the server's sides of the scripts.
func seeds(f *testing.F) (all []string) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var b strings.Builder
		for line := range strings.Lines(string(text)) {
			if s, ok := strings.CutPrefix(line, "S: "); ok {
				b.WriteString(strings.TrimSuffix(s, "\n"))
			}
		}
		all = append(all, b.String())
	}
	const begin = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:component:accept' id='1'><handshake/>"
	return append(all,
		begin+"<iq type='result' id='x-1' from='example' to='pub.example'/><iq type='error' id='x-1' from='example' to='pub.example'><error/></iq>",
		begin+"<message from='a@b' to='pub.example'><![CDATA[>]]><x xmlns=\"jabber:component:accept\" a='>'/></message>",
		begin+"<iq type='result' id='x-addresses' from='example' to='pub.example'><query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:tidings:multicast'/></query></iq>"+
			"<message type='error' from='example/multicast' to='pub.example'><error/></message>",
		begin+"<jabber:message from='a@b' to='pub.example'/>",
		begin+"<message xmlns='jabber:component:accept' x='>' from='a@b' to='pub.example'><body/></message>",
		begin+"<iq type='set' id='&lt;' from='a@b/&apos;' to='x@pub.example/&amp;'><a:b xmlns:a='urn:a' a:c='&quot;'/></iq>")
}

// FuzzIncoming has a server say anything. The link ends with an error, and what it has written is a stream of stanzas with
// addresses.
func FuzzIncoming(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add([]byte(s), 1<<10)
		f.Add([]byte(s), 7)
	}
	e, err := edge.New(edge.Options{Loops: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Shutdown(context.Background()) })
	f.Fuzz(func(t *testing.T, script []byte, size int) {
		o := Options{Edge: e, Addr: "127.0.0.1:1", Domain: domain, Secret: secret, Multicast: size%2 == 0}
		if !o.Multicast {
			o.Senders = []string{"out.example"}
		}
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		l.pingID, l.multicast.to = "x", jid.MustParse("example/multicast")
		defer l.cancel()
		if err := l.Handle(domain, newDesk(echo)); err != nil {
			t.Fatal(err)
		}
		w := newWire(l)
		var all []*said
		for _, d := range append([]jid.JID{l.domain}, l.senders...) {
			s := &said{r: bytes.NewReader(script), size: min(max(size, 1), 4096)}
			all = append(all, s)
			if err = w.shake(t.Context(), s, d); err != nil {
				break
			}
		}
		if err == nil {
			r := run{l: l}
			if err := r.serve(t.Context(), w); err == nil {
				t.Fatal("it has ended without an error")
			}
		}
		for _, s := range all {
			written(t, s.had)
		}
	})
}

// written fails if what was written is no stream of stanzas.
func written(t *testing.T, b []byte) {
	var scan xmlstream.Scanner
	var doc xmlstream.Document
	var ns *xmlstream.Context
	scan.Feed(b)
	for {
		kind, raw, err := scan.Next()
		if err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		switch kind {
		case xmlstream.None:
			return
		case xmlstream.Open:
			if _, ns, err = doc.ParseHeader(raw); err != nil {
				t.Fatal(err)
			}
		case xmlstream.Stanza:
			el, err := doc.Parse(raw, ns)
			if err != nil {
				t.Fatalf("%v in %s", err, raw)
			}
			st, err := stanza.Parse(el)
			if err == stanza.ErrNotStanza {
				continue // the handshake, or an error of the stream
			}
			if err != nil || st.From.IsZero() || st.To.IsZero() {
				t.Fatalf("%v: %s", err, raw)
			}
		}
	}
}
