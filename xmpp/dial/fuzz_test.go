package dial_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
)

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
	f.Fuzz(func(t *testing.T, said []byte, account bool) {
		synctest.Test(t, func(t *testing.T) {
			cfg := dial.Config{JID: localhost, Address: "x", Plaintext: true, Manage: true, Resume: resumable(t)}
			if account {
				cfg.JID, cfg.Password = jid.MustParse("ann@localhost"), "pencil"
			}
			ours, theirs := net.Pipe()
			cfg.DialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
			go func() {
				theirs.Write(said)
				theirs.Close()
			}()
			go io.Copy(io.Discard, theirs)
			c, err := dial.Dial(t.Context(), cfg)
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
	})
}

// resumable returns a session.
func resumable(t *testing.T) *dial.Session {
	c, theirs, err := scripted(t, dial.Config{Manage: true}, "<sm xmlns='urn:xmpp:sm:3'/>", "<enabled xmlns='urn:xmpp:sm:3' id='s' resume='true'/>")
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	return c.Drop()
}
