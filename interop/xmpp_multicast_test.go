//go:build interop && linux

package interop_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tidings/interop/xmpppeer"
	"tidings/xmpp/component"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
)

const (
	addressing = "http://jabber.org/protocol/address"
	toolDomain = "tool.localhost"
)

// tool is a component that says what it is told to.
type tool struct {
	t    *testing.T
	conn net.Conn
	had  string // what came and was not looked for yet
}

func newTool(ctx context.Context, t *testing.T, p *xmpppeer.Server) *tool {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", p.Component)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	c := &tool{t: t, conn: conn}
	c.say("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='" + toolDomain + "'>")
	id := regexp.MustCompile(`id='([^']*)'`).FindStringSubmatch(c.until("<stream:stream", ">"))
	if id == nil {
		t.Fatal("a stream without an id")
	}
	c.say("<handshake>" + component.Digest(id[1], "secret of the tool") + "</handshake>")
	c.until("<handshake", "/>")
	return c
}

func (c *tool) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// until returns what comes from begin to end, and drops what is before it.
func (c *tool) until(begin, end string) string {
	c.t.Helper()
	b := make([]byte, 4096)
	for {
		if i := strings.Index(c.had, begin); i >= 0 {
			if n := strings.Index(c.had[i:], end); n >= 0 {
				text := c.had[i : i+n+len(end)]
				c.had = c.had[i+n+len(end):]
				return text
			}
		}
		n, err := c.conn.Read(b)
		if c.had += string(b[:n]); err != nil {
			c.t.Fatalf("waiting for %s: %v behind %q", begin, err, c.had)
		}
	}
}

// TestProsodyMulticast: doc/mod_multicast.lua sends a component's message to all whom it is for, and nobody else's.
func TestProsodyMulticast(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	users := []string{"anna", "bert", "carl"}
	dir, err := filepath.Abs("../doc")
	if err != nil {
		t.Fatal(err)
	}
	o := xmpppeer.Options{Accounts: map[string]string{}, Components: map[string]string{toolDomain: "secret of the tool"}, Modules: dir,
		Link: "VirtualHost \"{{.Domain}}\"\n\tmodules_enabled = { \"multicast\" }\nComponent \"" + toolDomain + "\"\n\tcomponent_secret = \"secret of the tool\"\n"}
	for _, u := range users {
		o.Accounts[u] = xmppPassword
	}
	p := peer(t, "prosody", o)
	c := newTool(ctx, t, p)
	var conns []*dial.Conn
	for _, u := range users {
		conn, err := dial.Dial(ctx, dial.Config{JID: jid.MustParse(u + "@localhost/desk"), Password: xmppPassword, Address: p.C2S})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.Send([]byte("<presence/>")); err != nil {
			t.Fatal(err)
		}
		// The presence has been looked at when what is behind it is answered.
		if _, err := conn.Request(ctx, stanza.TypeGet, jid.MustParse("localhost"), []byte("<ping xmlns='urn:xmpp:ping'/>")); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	// next returns the next message that a user has.
	next := func(i int) stanza.Stanza {
		t.Helper()
		for {
			st, err := conns[i].Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if st.Kind == stanza.Message {
				return st
			}
		}
	}
	const from = "news@" + toolDomain
	send := func(body, addresses string) {
		c.say("<message from='" + from + "' to='localhost/multicast' id='" + body + "'><body>" + body + "</body><x xmlns='urn:x'><y>&amp;<z/></y></x>" +
			"<addresses xmlns='" + addressing + "'>" + addresses + "</addresses></message>")
	}
	address := func(typ, to string) string { return "<address type='" + typ + "' jid='" + to + "'/>" }

	// Copies for those of bcc say nothing of the others. Bare and full addresses, those who are not there, and what is no address.
	send("blind", address("bcc", "anna@localhost")+address("bcc", "nobody@localhost")+address("bcc", "bert@localhost/desk")+address("bcc", "@/")+address("bcc", "Carl@LOCALHOST"))
	for i, u := range users {
		st := next(i)
		if st.To.Bare().String() != u+"@localhost" || st.From.String() != from || st.ID != "blind" || st.Child("body").Text() != "blind" ||
			st.Element.Child("urn:x", "x").First().Text() != "&" || !st.Element.Child(addressing, "addresses").IsZero() {
			t.Errorf("%s has %s", u, st.Element.Raw())
		}
	}
	for _, want := range []string{"service-unavailable", "jid-malformed"} {
		if e := c.until("<message", "</message>"); !strings.Contains(e, want) || !strings.Contains(e, "type='error'") || !strings.Contains(e, "id='blind'") {
			t.Errorf("%s comes back, not %s", e, want)
		}
	}

	// Too many, and none at all.
	send("many", strings.Repeat(address("bcc", "anna@localhost"), 101))
	if e := c.until("<message", "</message>"); !strings.Contains(e, "not-acceptable") || !strings.Contains(e, "from='localhost/multicast'") {
		t.Error(e)
	}
	c.say("<message from='" + from + "' to='localhost/multicast' id='none'><body>x</body></message>")
	if e := c.until("<message", "</message>"); !strings.Contains(e, "service-unavailable") {
		t.Error(e)
	}

	// What is not a component's own is not distributed: a client's message, and what a room passes on for a client, with all that
	// was in it.
	list := "<addresses xmlns='" + addressing + "'>" + address("bcc", "bert@localhost") + "</addresses>"
	for _, m := range []string{"<presence to='lobby@conference.localhost/anna'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
		"<message to='localhost' id='own'><body>x</body>" + list + "</message>",
		"<message to='lobby@conference.localhost'><x xmlns='http://jabber.org/protocol/muc#user'><decline to='localhost'/></x><body>declined</body>" + list + list + "</message>"} {
		if err := conns[0].Send([]byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	for {
		if st := next(0); st.ID == "own" {
			if st.Type != stanza.TypeError || !strings.Contains(string(st.Element.Raw()), "service-unavailable") {
				t.Errorf("%s", st.Element.Raw())
			}
			break
		}
	}
	// The room has passed on what came before this is answered.
	if _, err := conns[0].Request(ctx, stanza.TypeGet, jid.MustParse("lobby@conference.localhost"), []byte("<query xmlns='http://jabber.org/protocol/disco#info'/>")); err != nil {
		t.Fatal(err)
	}

	// Of two lists one counts, and none is in the copies.
	c.say("<message from='" + from + "' to='localhost' id='last'><body>x</body><addresses xmlns='" + addressing + "'>" + address("bcc", "anna@localhost") +
		address("bcc", "bert@localhost") + address("bcc", "carl@localhost") + "</addresses>" + list + "</message>")
	for i := range users {
		st := next(i)
		for i == 0 && st.ID != "last" && st.From.Domain() == "conference.localhost" {
			st = next(i) // of the room
		}
		if st.ID != "last" || !st.Element.Child(addressing, "addresses").IsZero() {
			t.Errorf("%s", st.Element.Raw())
		}
	}
}
