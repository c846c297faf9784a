package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"tidings"
	"tidings/client"
	model "tidings/pubsub"
	"tidings/xmpp/server"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// publisher returns a client that publishes.
func (w *xmppWorld) publisher(url, address string, opts ...client.Option) *client.Client {
	w.Helper()
	c, err := client.New(url, append([]client.Option{client.WithAddress(address), client.WithTimeout(patience)}, opts...)...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := c.Close(); err != nil {
			w.Error(err)
		}
	})
	return c
}

const hamletsNodes = "xmpp://hamlet:hamlet@localhost/pubsub.localhost"

// What is published over PubSub is in the journal, and comes back as what it was.
func TestPublishNode(t *testing.T) {
	w := startXMPP(t, nil, nil)
	c := w.publisher(hamletsNodes, w.addr)
	for _, tt := range []struct {
		p       client.Publication
		stored  string // its content type
		payload string // where it is not the one published
		read    string // the content type that readers get
	}{
		{p: client.Publication{ID: "json", Payload: []byte(`{"a":"<&>"}`)}, stored: "application/json"},
		{p: client.Publication{ID: "other json", ContentType: "application/ld+json", Payload: []byte(`[]`)}, stored: "application/json"},
		{p: client.Publication{ID: "xml", ContentType: "text/xml; charset=utf-8", Payload: []byte("\xef\xbb\xbf<?xml version='1.0'?>\n<a><b xmlns='urn:b' c='&amp;'/></a>\n")}, stored: "application/xml", payload: "<a><b xmlns='urn:b' c='&amp;'/></a>"},
		{p: client.Publication{ID: "entry", ContentType: "application/atom+xml", Payload: []byte("<entry xmlns='http://www.w3.org/2005/Atom'><title>x</title></entry>")}, stored: "application/atom+xml;type=entry"},
		{p: client.Publication{ID: "rc", ContentType: "application/vnd.mediawiki.rc+xml", Payload: []byte(`<rc type="edit" title="A &amp; B" rcid="7" timestamp="2026-03-04T05:06:07Z"/>`)}, stored: "application/vnd.mediawiki.rc+xml"},
		{p: client.Publication{ID: "text", ContentType: "text/plain", Payload: []byte("a <b>\r\n& c")}, stored: "application/atom+xml;type=entry", read: "text/plain; charset=utf-8"},
		{p: client.Publication{ID: "bytes", ContentType: "image/png", Payload: []byte("\x89PNG\x00")}, stored: "application/atom+xml;type=entry", read: "image/png"},
		{p: client.Publication{ID: "odd text", ContentType: "text/plain", Payload: []byte("\x00\xff")}, stored: "application/atom+xml;type=entry", read: "text/plain"},
		{p: client.Publication{Key: "a key", Payload: []byte("7")}, stored: "application/json"},
		{p: client.Publication{Payload: []byte("8")}, stored: "application/json"},
	} {
		before := w.Journal.Head()
		r, err := c.Publish(t.Context(), "/~garden", tt.p)
		if err != nil {
			t.Fatalf("%+v: %v", tt.p, err)
		}
		events, _, err := w.Journal.Read(t.Context(), before, nil, 10)
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: %+v, %v", tt.p.ID, events, err)
		}
		e := events[0]
		if e.ID != r.ID || r.ID == "" || r.Topic != "/~garden" || e.Topic != r.Topic || e.ContentType != tt.stored || e.Publisher != "user:hamlet@localhost" {
			t.Errorf("%+v is %+v", tt.p, e)
		}
		if want := tt.p.ID + tt.p.Key; want != "" && r.ID != want {
			t.Errorf("%+v has the id %s", tt.p, r.ID)
		}
		got := readRoom(t, "xmpp://localhost/pubsub.localhost?;node=garden", w.addr, nil, client.After(before), nil).event()
		if tt.payload == "" {
			tt.payload = string(tt.p.Payload)
		}
		if tt.read == "" {
			tt.read = tt.stored
		}
		if string(got.Payload) != tt.payload || got.ContentType != tt.read || got.ID != r.ID {
			t.Errorf("%+v is read as %+v %q", tt.p, got, got.Payload)
		}
		if rc, ok := got.RecentChange(); tt.p.ID == "rc" && (!ok || rc.ID != 7 || rc.Title != "A & B") {
			t.Errorf("%+v, %v", rc, ok)
		}
	}
	// The node of the address, at the service that the server says it has.
	other := w.publisher("xmpp://hamlet:hamlet@localhost?;node=garden", w.addr)
	if _, err := other.Publish(t.Context(), "", client.Publication{ID: "x", Payload: []byte("1"), Options: map[string]string{"access_model": "open", "pubsub#persist_items": "1"}}); err != nil {
		t.Error(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if r, err := other.Publish(t.Context(), "/~shed", client.Publication{ID: "y", Payload: []byte("1"), Options: map[string]string{"access_model": "whitelist"}}); err != nil || r.Topic != "/~shed" {
		t.Errorf("%+v, %v", r, err)
	}
	if c := w.nodes.Lookup("/~shed"); c == nil || c.AccessModel != model.AccessWhitelist {
		t.Errorf("%+v", c)
	}
}

// What cannot be published says why, in kinds and in the words of XEP-0060.
func TestPublishNodeErrors(t *testing.T) {
	w := startXMPP(t, func(o *server.Options) { o.Limits = xmlstream.Limits{Stanza: 64 << 10} }, nil)
	for node, conf := range map[string]model.Values{"small": {"pubsub#max_payload_size": {"100"}}, "moved": nil, "full": {"pubsub#max_items": {"1"}, "pubsub#publish_node_full": {"reject"}}} {
		if _, err := w.nodes.Create(t.Context(), hamlet, node, conf); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.nodes.Delete(t.Context(), hamlet, "moved", "xmpp:pubsub.localhost?;node=small"); err != nil {
		t.Fatal(err)
	}
	big := []byte(`"` + strings.Repeat("x", 200) + `"`)
	huge := []byte(`"` + strings.Repeat("x", 100<<10) + `"`)
	one := []byte("1")
	ham := w.publisher(hamletsNodes, w.addr)
	if _, err := ham.Publish(t.Context(), "/~full", client.Publication{ID: "1", Payload: one}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, url       string
		node            tidings.Topic
		p               client.Publication
		kind            tidings.ErrorKind
		condition, more string // none for an error of the client's
	}{
		{"forbidden", "xmpp://bernardo:bernardo@localhost/pubsub.localhost", "/~small", client.Publication{Payload: one}, tidings.ErrForbidden, "forbidden", ""},
		{"anonymous", "xmpp://localhost/pubsub.localhost", "/~small", client.Publication{Payload: one}, tidings.ErrForbidden, "forbidden", ""},
		{"no node", "xmpp://localhost/pubsub.localhost", "/~nothing", client.Publication{Payload: one}, tidings.ErrNotFound, "item-not-found", ""},
		{"gone", hamletsNodes, "/~moved", client.Publication{Payload: one}, tidings.ErrNotFound, "gone", ""},
		{"too big", hamletsNodes, "/~small", client.Publication{Payload: big}, tidings.ErrTooLarge, "not-acceptable", "payload-too-big"},
		{"no stanza", hamletsNodes, "/~small", client.Publication{Payload: huge}, tidings.ErrTooLarge, "", ""},
		{"full", hamletsNodes, "/~full", client.Publication{ID: "2", Payload: one}, tidings.ErrConflict, "conflict", "node-full"},
		{"precondition", hamletsNodes, "/~small", client.Publication{Payload: one, Options: map[string]string{"access_model": "whitelist"}}, tidings.ErrConflict, "conflict", "precondition-not-met"},
		{"no payload", hamletsNodes, "/~small", client.Publication{}, tidings.ErrInvalid, "bad-request", "payload-required"},
		{"no JSON", hamletsNodes, "/~small", client.Publication{Payload: []byte("{")}, tidings.ErrInvalid, "", ""},
		{"no XML", hamletsNodes, "/~small", client.Publication{ContentType: "application/xml", Payload: []byte("<a><!-- --></a>")}, tidings.ErrInvalid, "", ""},
		{"no type", hamletsNodes, "/~small", client.Publication{ContentType: "/", Payload: one}, tidings.ErrInvalid, "", ""},
		{"no topic", hamletsNodes, "", client.Publication{Payload: one}, tidings.ErrInvalid, "", ""},
		{"bad topic", hamletsNodes, "news", client.Publication{Payload: one}, tidings.ErrInvalid, "", ""},
		{"no such service", "xmpp://localhost/pubsub.nowhere", "/~small", client.Publication{Payload: one}, tidings.ErrNotFound, "remote-server-not-found", ""},
		{"wrong password", "xmpp://hamlet:x@localhost/pubsub.localhost", "/~small", client.Publication{Payload: one}, tidings.ErrUnauthenticated, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.publisher(tt.url, w.addr).Publish(t.Context(), tt.node, tt.p)
			if tidings.KindOf(err) != tt.kind {
				t.Errorf("%v (%v), want %v", err, tidings.KindOf(err), tt.kind)
			}
			if e, ok := errors.AsType[*stanza.Error](err); ok != (tt.condition != "") || ok && (e.Condition != tt.condition || e.Name != tt.more) {
				t.Errorf("%+v", e)
			}
		})
	}
	if err := w.publisher(hamletsNodes, "127.0.0.1:1", client.WithAttempts(2)).Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.publisher(hamletsNodes, "127.0.0.1:1", client.WithAttempts(2)).Publish(t.Context(), "/~small", client.Publication{Payload: one}); !errors.Is(err, tidings.ErrUnavailable) {
		t.Error(err)
	}
	h, err := client.New("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Publish(t.Context(), "/news", client.Publication{Payload: one, Options: map[string]string{"a": "b"}}); !errors.Is(err, tidings.ErrInvalid) {
		t.Error(err)
	}
}

// Connections that break while items are published leave every item in the node, as it was published.
func TestPublishNodeThroughCuts(t *testing.T) {
	t.Parallel()
	const n, writers = 200, 4
	w := startXMPP(t, nil, nil)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	relay := newWire(t, w.addr, func(int) int { return 2500 + random.IntN(5000) })
	c := w.publisher(hamletsNodes, relay.ln.Addr().String(), client.WithAttempts(1000))
	var publishing sync.WaitGroup
	for i := range writers {
		publishing.Go(func() {
			for k := i; k < n; k += writers {
				if r, err := c.Publish(t.Context(), "/~garden", client.Publication{ID: fmt.Sprint("i", k), Payload: fmt.Appendf(nil, `{"n":%d}`, k)}); err != nil || r.ID != fmt.Sprint("i", k) {
					t.Errorf("%d: %+v, %v", k, r, err)
					return
				}
			}
		})
	}
	publishing.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got := map[string]int{}
	versions := 0
	events, _, err := w.Journal.Read(ctx, w.Journal.Oldest(), nil, 10*n)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		versions++
		if got[e.ID]++; string(e.Payload) != `{"n":`+e.ID[1:]+`}` {
			t.Errorf("%+v %s", e, e.Payload)
		}
	}
	if len(got) != n {
		t.Errorf("%d items are there", len(got))
	}
	if lines := relay.cut(); lines < 4 {
		t.Errorf("there were %d connections only", lines)
	} else {
		t.Logf("%d connections, %d items more than once", lines, versions-n)
	}
}
