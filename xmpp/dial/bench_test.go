package dial

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"tidings/xmpp/jid"
)

// endless repeats a message behind the answers of a server.
type endless struct {
	said
	begin io.Reader
	text  string
	at    int
}

func (e *endless) Read(p []byte) (n int, err error) {
	if n, _ = e.begin.Read(p); n > 0 { // which ends
		return n, nil
	}
	for n < len(p) {
		k := copy(p[n:], e.text[e.at:])
		n, e.at = n+k, (e.at+k)%len(e.text)
	}
	return n, nil
}

// BenchmarkNext reads the message of a room.
func BenchmarkNext(b *testing.B) {
	const header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='a' version='1.0'>"
	begin := header + "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>" +
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + header + "<stream:features><sm xmlns='urn:xmpp:sm:3'/></stream:features><resumed xmlns='urn:xmpp:sm:3' previd='s' h='0'/>"
	message := "<message to='x@localhost/1' from='enwiki@conference.localhost/rc' id='5f3a9c01-1042' type='groupchat'><body>[[Foo]] M https://en.wikipedia.org/w/index.php?diff=101&amp;rcid=42 * Alice * (+15) typo</body>" +
		"<rc type='edit' ns='0' title='Foo' rcid='42' pageid='7' revid='101' old_revid='100' user='Alice' minor='' oldlen='10' newlen='25' timestamp='2010-10-12T08:57:03Z' comment='" + strings.Repeat("typo ", 20) + "' wikiid='enwiki'/>" +
		"<stanza-id xmlns='urn:xmpp:sid:0' by='enwiki@conference.localhost' id='5f3a9c01-1042'/></message>"
	localhost := jid.MustParse("localhost")
	c, err := Dial(b.Context(), Config{JID: localhost, Address: "x", Plaintext: true, Manage: true, Resume: &Session{jid: localhost, sm: &management{id: "s"}},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return &endless{said: said{bytes.NewReader(nil)}, begin: strings.NewReader(begin), text: message}, nil
		}})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if st, err := c.Next(b.Context()); err != nil || st.From.Local() != "enwiki" {
			b.Fatal(st.From, err)
		}
	}
	c.Drop()
}
