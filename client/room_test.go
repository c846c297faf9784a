package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/client"
	"tidings/xmpp/server"
	"tidings/xmpp/xmpptest"
)

const enwiki = "xmpp://localhost/enwiki@conference.localhost"

// Whatever breaks the connection and wherever, and whichever way it is resumed, every event comes once and in order.
func TestRoomEveryEventOnce(t *testing.T) {
	for name, window := range map[string]time.Duration{"resumed": 0, "from the archive": -1} {
		for _, start := range []string{"live", "after", "since"} {
			t.Run(name+", "+start, func(t *testing.T) {
				t.Parallel()
				testOnce(t, enwiki, start, "", window, false)
			})
		}
	}
}

// A session that the server takes down by itself goes on too, and one that is left is over.
func TestRoomSession(t *testing.T) {
	w := startXMPP(t, nil, nil)
	relay := newWire(t, w.addr, nil)
	r := readRoom(t, enwiki, relay.ln.Addr().String(), nil, client.Live, nil)
	r.connected()
	w.change(1)
	if rc, _ := r.event().RecentChange(); rc.ID != 1 {
		t.Errorf("%+v", rc)
	}
	relay.cut()
	r.connected()
	w.change(2)
	if rc, _ := r.event().RecentChange(); rc.ID != 2 {
		t.Errorf("%+v", rc)
	}
	r.cancel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for { // the server answers first and forgets then
		st := w.srv.Stats()
		if st.Sessions == 0 && st.Resumed == 1 && st.Closed[server.ReasonClosed] == 1 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("%+v", st)
		}
		runtime.Gosched()
	}
}

// The room of a pattern is found through disco; every kind of payload comes as it was published.
func TestRoomOfPattern(t *testing.T) {
	w := startXMPP(t, nil, nil)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	publish := func(topic, id, typ, payload string, kind tidings.Kind) tidings.Event {
		e := tidings.Event{Topic: tidings.Topic(topic), ID: id, Time: at, ContentType: typ, Payload: []byte(payload), Kind: kind}
		e.Position = w.Append(e)
		return e
	}
	events := []tidings.Event{
		publish("/news/Local", "one", "application/json", `{"a": [1, "<&>"]}`, tidings.Publish),
		publish("/news/Local", "two", "text/plain", "text & more", tidings.Publish),
		publish("/news/Local", "three", "application/atom+xml", "<entry xmlns='http://www.w3.org/2005/Atom'><title>T</title></entry>", tidings.Publish),
		publish("/news/Local", "four", "application/xml", "<plain><x/></plain>", tidings.Publish),
		publish("/news/Local", "five", "image/png", "\x89PNG\xff", tidings.Publish),
		publish("/news/Local", "two", "", "", tidings.Retract),
		publish("/news/Sport", "", "text/plain", "[3 bytes of text/plain, item x]", tidings.Publish),
	}
	r := readRoom(t, "xmpp://127.0.0.1", w.addr, []tidings.Pattern{tidings.MustPattern("/news/*")}, client.Since(time.Now().Add(-time.Hour)), nil)
	for _, want := range events {
		e := r.event()
		if want.ID == "" {
			want.ID = want.Position.String()
		}
		payload := string(want.Payload)
		if want.ContentType == "image/png" {
			payload = ""
		}
		if e.Topic != want.Topic || e.Position != want.Position || e.ID != want.ID || e.Kind != want.Kind || e.ContentType != want.ContentType || string(e.Payload) != payload || want.Kind == tidings.Publish && !e.Time.Equal(at) {
			t.Errorf("got  %+v %q\nwant %+v %q", e, e.Payload, want, want.Payload)
		}
	}
	w.change(1)
	r = readRoom(t, "xmpp://127.0.0.1", w.addr, []tidings.Pattern{tidings.MustPattern("/recentchange/en.wikipedia.org"), tidings.MustPattern("/news/Local")},
		client.Since(time.Now().Add(-time.Hour)), []client.Filter{{Field: "type", Value: "edit"}})
	if e := r.event(); e.Topic != "/recentchange/en.wikipedia.org" || e.Time.Unix() != 1772600767 {
		t.Errorf("%+v", e)
	}
}

func TestRoomAddress(t *testing.T) {
	for p, want := range map[string]string{
		"/recentchange/en.wikipedia.org": "en.wikipedia.org",
		"/recentchange/*.wikipedia.org":  `\2frecentchange\2f*.wikipedia.org`,
		"/recentchange/enwiki":           `\2frecentchange\2fenwiki`,
		"/recentchange/En.wikipedia.org": `\2frecentchange\2f%45n.wikipedia.org`,
		"/news/a b%":                     `\2fnews\2fa\20b%25`,
		"/**":                            `\2f**`,
	} {
		if got, err := client.RoomAddress(tidings.MustPattern(p)); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", p, got, err, want)
		}
	}
	if _, err := client.RoomAddress(tidings.MustPattern("/" + strings.Repeat("ü", 127) + "/" + strings.Repeat("Ü", 127) + strings.Repeat("/"+strings.Repeat("a", 200), 2))); !errors.Is(err, tidings.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

func TestRoomGap(t *testing.T) { testGap(t, "xmpp://localhost/brief@conference.localhost") }

// Errors that do not pass end the stream.
func TestRoomErrors(t *testing.T) {
	w := startXMPP(t, nil, nil)
	w.Publish("/private/a", 1, 1)
	w.Publish("/news", 1, 1)
	_, token := w.Token("/private/**")
	w.refuses(t, []unreadable{
		{name: "no room", url: "xmpp://localhost/nothing@conference.localhost", kind: tidings.ErrNotFound, text: "no room nothing"},
		{name: "no such service", url: "xmpp://localhost/a@nowhere.localhost", kind: tidings.ErrNotFound},
		{name: "private", url: "xmpp://localhost", patterns: []string{"/private/a"}, kind: tidings.ErrUnauthenticated, text: "private"},
		{name: "wrong token", url: "xmpp://localhost", patterns: []string{"/private/a"}, opts: []client.Option{client.WithToken("x")}, kind: tidings.ErrUnauthenticated},
		{name: "nothing to read", url: "xmpp://localhost", kind: tidings.ErrInvalid, text: "no pattern"},
		{name: "no filter", url: "xmpp://localhost", patterns: []string{"/news"}, filters: []client.Filter{{Field: "since"}}, kind: tidings.ErrInvalid},
		{name: "bad filter", url: "xmpp://localhost", patterns: []string{"/news"}, filters: []client.Filter{{Value: "1 +"}}, kind: tidings.ErrInvalid},
		{name: "bad id", url: "xmpp://localhost", patterns: []string{"/news"}, from: client.AfterID("nonsense"), kind: tidings.ErrNotFound},
		{name: "account", url: "xmpp://ann:secret@localhost/news@conference.localhost", kind: tidings.ErrUnauthenticated},
		{name: "another domain", url: "xmpp://example.org/news@conference.example.org", kind: tidings.ErrInvalid, text: "host-unknown"},
		{name: "needs TLS", url: "xmpps://localhost/news@conference.localhost", kind: tidings.ErrUnavailable},
	})
	// With the token it can be read, and no longer.
	id, token2 := w.Token("/private/**")
	r := readRoom(t, "xmpp://localhost", w.addr, []tidings.Pattern{tidings.MustPattern("/private/a")}, client.Live, nil, client.WithToken(token2))
	r.connected()
	p := w.Publish("/private/a", 2, 2)[0]
	if e := r.event(); e.Position != p {
		t.Errorf("%+v", e)
	}
	w.Revoke(id)
	if err := r.err(); !errors.Is(err, tidings.ErrForbidden) {
		t.Errorf("%v", err)
	}
	r = readRoom(t, "xmpp:%5C2fprivate%5C2fa@conference.localhost?join;password="+token, w.addr, nil, client.Live, nil)
	r.connected()

	c, err := client.New(enwiki)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Topics(t.Context(), tidings.Pattern{}); !errors.Is(err, tidings.ErrInvalid) {
		t.Error(err)
	}
	for _, err := range c.Stream(t.Context(), "/subscribe", client.Live) {
		if !errors.Is(err, tidings.ErrInvalid) {
			t.Error(err)
		}
	}
}

func TestXMPPAddresses(t *testing.T) {
	for _, s := range []string{"xmpp:", "xmpp://", "xmpp:conference.localhost?join", "xmpp://localhost/@x", "xmpp://localhost/a@b?remove", "xmpp://localhost/a@b?join;password=%zz", "xmpp://lo cal/", "ftp://x", "xmpp://a b@localhost"} {
		if _, err := client.New(s); !errors.Is(err, tidings.ErrInvalid) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, err := client.New("xmpp://ann:secret@exa mple/a@b"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v tells the password", err)
	}
	if _, err := client.New("xmpp://ann:secret@example.org/a@b?x"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v tells the password", err)
	}
}

// Over TLS the server has to be the one that it says.
func TestRoomTLS(t *testing.T) {
	own, trust := xmpptest.Certificate(t)
	w := startXMPP(t, func(o *server.Options) { o.TLS = own }, nil)
	r := readRoom(t, enwiki, w.addr, nil, client.Live, nil, client.WithTLS(trust))
	r.connected()
	if st := w.srv.Stats(); st.TLS != 1 {
		t.Errorf("%+v", st)
	}
	r = readRoom(t, enwiki, w.addr, nil, client.Live, nil, client.WithTLS(&tls.Config{}))
	if err := r.err(); tidings.KindOf(err) != tidings.ErrInvalid || !strings.Contains(err.Error(), "authority") {
		t.Errorf("%v", err)
	}
}

// A server that stops is waited for.
func TestRoomServerStops(t *testing.T) {
	w := startXMPP(t, nil, nil)
	r := readRoom(t, enwiki, w.addr, nil, client.Live, nil)
	r.connected()
	w.change(1)
	if rc, _ := r.event().RecentChange(); rc.ID != 1 {
		t.Errorf("%+v", rc)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.rooms.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for {
		r.mu.Lock()
		i := slices.IndexFunc(r.notices, func(n client.Notice) bool { return n.Err != nil })
		var err error
		if i >= 0 {
			err = r.notices[i].Err
		}
		r.mu.Unlock()
		if i < 0 {
			if ctx.Err() != nil {
				t.Fatal("the client has not noticed")
			}
			w.change(99) // something to wait for
			continue
		}
		if !errors.Is(err, tidings.ErrUnavailable) || !strings.Contains(err.Error(), "stopping") {
			t.Errorf("%v", err)
		}
		break
	}
}
