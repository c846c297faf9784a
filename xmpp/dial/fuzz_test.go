package dial

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"tidings/xmpp/jid"
)

// said is a connection to a server that says all it has to say at once, whatever it is told.
type said struct{ *bytes.Reader }

func (said) Write(p []byte) (int, error)      { return len(p), nil }
func (said) Close() error                     { return nil }
func (said) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (said) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (said) SetDeadline(time.Time) error      { return nil }
func (said) SetReadDeadline(time.Time) error  { return nil }
func (said) SetWriteDeadline(time.Time) error { return nil }

// FuzzServer has a server say anything: the client ends, with an error, and gives out stanzas until then.
func FuzzServer(f *testing.F) {
	const header = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='a' version='1.0'>"
	login := header + "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>" +
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + header + "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>"
	resumed := "<resumed xmlns='urn:xmpp:sm:3' previd='s' h='0'/>"
	for _, s := range []string{
		login,
		login + "<iq type='result' id='?'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>x@localhost/1</jid></bind></iq>",
		login + resumed + "<message><body>a</body></message><iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq><r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='9'/>",
		login + resumed + "<iq type='result' id='ping'/><presence type='sideways'/><iq type='set'/></stream:stream>",
		login + "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
		header + "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features><proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\x16\x03\x01",
		header + "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism></mechanisms></stream:features><challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj14</challenge>",
		header + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
		"HTTP/1.1 400 Bad Request\r\n\r\n",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, script []byte, account bool) {
		localhost := jid.MustParse("localhost")
		cfg := Config{JID: localhost, Address: "x", Plaintext: true, Manage: true, Resume: &Session{jid: localhost, sm: &management{id: "s"}}}
		if account {
			cfg.JID, cfg.Password = jid.MustParse("ann@localhost"), "pencil"
		}
		cfg.DialContext = func(context.Context, string, string) (net.Conn, error) { return said{bytes.NewReader(script)}, nil }
		c, err := Dial(t.Context(), cfg)
		if (c == nil) != (err != nil) {
			t.Fatalf("%v, %v", c, err)
		}
		for err == nil {
			_, err = c.Next(t.Context())
		}
		if c == nil {
			return
		}
		if _, again := c.Next(t.Context()); c.Err() == nil || !errors.Is(again, c.Err()) {
			t.Errorf("%v, then %v", err, again)
		}
		c.Drop()
	})
}
