package dial_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidings/xmpp/dial"
	"tidings/xmpp/stanza"
)

// scripted lets a server that says all of its lines at once, without a login worth the name, talk to a client. It returns
// the client's connection and, behind the login, what the server is told.
func scripted(t *testing.T, cfg dial.Config, features string, more ...string) (*dial.Conn, net.Conn, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	cfg.JID, cfg.Address, cfg.Plaintext = localhost, "x", true
	cfg.DialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
	go func() {
		expect := func(end string) string {
			var got []byte
			b := make([]byte, 1)
			for !bytes.HasSuffix(got, []byte(end)) {
				if _, err := theirs.Read(b); err != nil {
					return ""
				}
				got = append(got, b[0])
			}
			return string(got)
		}
		const header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='a' version='1.0'>"
		expect("xml:lang='en'>")
		io.WriteString(theirs, header+"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>")
		expect("</auth>")
		io.WriteString(theirs, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
		expect("xml:lang='en'>")
		io.WriteString(theirs, header+"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"+features+"</stream:features>")
		bind := expect("</iq>")
		_, id, _ := strings.Cut(bind, "id='")
		id, _, _ = strings.Cut(id, "'")
		io.WriteString(theirs, "<iq type='result' id='"+id+"'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>x@localhost/1</jid></bind></iq>")
		for _, m := range more {
			expect("/>")
			io.WriteString(theirs, m)
		}
	}()
	c, err := dial.Dial(t.Context(), cfg)
	return c, theirs, err
}

// A server of which nothing comes is asked, and when it does not answer the connection is over, however it looks.
func TestSilence(t *testing.T) {
	for name, tt := range map[string]struct {
		features string
		more     []string
		ping     string
		pong     string
	}{
		"ping": {ping: "<iq to='localhost' type='get' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>",
			pong: "<iq from='localhost' type='error' id='ping'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"},
		"managed": {features: "<sm xmlns='urn:xmpp:sm:3'/>", more: []string{"<enabled xmlns='urn:xmpp:sm:3'/>"},
			ping: "<r xmlns='urn:xmpp:sm:3'/>", pong: "<a xmlns='urn:xmpp:sm:3' h='0'/>"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, theirs, err := scripted(t, dial.Config{Manage: true, Keepalive: time.Minute, PingTimeout: 10 * time.Second}, tt.features, tt.more...)
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				go func() {
					b := make([]byte, len(tt.ping))
					if _, err := io.ReadFull(theirs, b); err != nil || string(b) != tt.ping {
						t.Errorf("asked by %q, %v", b, err)
					}
					if d := time.Since(began); d != time.Minute {
						t.Errorf("asked after %s", d)
					}
					io.WriteString(theirs, tt.pong)
					time.Sleep(30 * time.Second)
					io.WriteString(theirs, " ") // a keepalive of the server's is a sign of life too
					io.Copy(io.Discard, theirs)
				}()
				// Calls that end sooner do not put it off.
				for {
					ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
					_, err = c.Next(ctx)
					cancel()
					if !errors.Is(err, context.DeadlineExceeded) {
						break
					}
				}
				if err != dial.ErrSilent || time.Since(began) != 160*time.Second {
					t.Errorf("%v after %s", err, time.Since(began))
				}
				if _, err := c.Request(t.Context(), stanza.TypeGet, echoJID, nil); err != dial.ErrSilent {
					t.Errorf("then %v", err)
				}
				if s := c.Drop(); s != nil {
					t.Error("the session cannot be resumed")
				}
			})
		})
	}
}

// A server that says nothing to begin with, or never ends its stream, holds nobody up for long.
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		began := time.Now()
		_, err := dial.Dial(t.Context(), dial.Config{JID: localhost, Address: "x", Timeout: 20 * time.Second,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil }})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 20*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}

		c, theirs, err := scripted(t, dial.Config{}, "")
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, theirs)
		began = time.Now()
		if err := c.Close(); err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// A server may not send without end to one who waits for an answer and takes nothing.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, theirs, err := scripted(t, dial.Config{}, "")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			go io.Copy(io.Discard, theirs)
			message := []byte("<message><body>" + strings.Repeat("x", 1<<20) + "</body></message>")
			for {
				if _, err := theirs.Write(message); err != nil {
					return
				}
			}
		}()
		if _, err := c.Request(t.Context(), stanza.TypeGet, echoJID, []byte(dial.Ping)); !errors.Is(err, dial.ErrBacklog) {
			t.Error(err)
		}
		for range 20 { // what has come is there
			if _, err := c.Next(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		c.Drop()
	})
}
