package client_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/client"
	model "tidings/pubsub"
)

const enwikiNode = "xmpp://localhost/pubsub.localhost?;node=/recentchange/en.wikipedia.org"

// Whatever breaks the connection, and whichever way it is resumed, every item comes once and in order; so it is when the server
// is another one that knows nothing of the sessions.
func TestNodeEveryItemOnce(t *testing.T) {
	for _, tt := range []struct {
		name    string
		window  time.Duration
		restart bool
	}{{"resumed", 0, false}, {"from the archive", -1, false}, {"restarted", 0, true}} {
		for _, start := range []string{"live", "after", "since", "pattern"} {
			t.Run(tt.name+", "+start, func(t *testing.T) {
				t.Parallel()
				url, from := enwikiNode, start
				if start == "pattern" {
					url, from = "xmpp://hamlet:hamlet@localhost/pubsub.localhost?;node=/recentchange/*.wikipedia.org", "after"
				}
				testOnce(t, url, from, "/recentchange/en.wikipedia.org", tt.window, tt.restart)
			})
		}
	}
}

// Hundreds of broken connections, some of sessions that the server has forgotten, lose and repeat nothing of thousands of items.
func TestNodeHundredsOfCuts(t *testing.T) {
	t.Parallel()
	const n = 3000
	w := startXMPP(t, nil, nil)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	relay := newWire(t, w.addr, func(int) int { return 4000 + random.IntN(20_000) })
	first := w.change(0)
	r := readRoom(t, enwikiNode, relay.ln.Addr().String(), nil, client.After(first), nil)
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for id := range n {
			w.change(1 + id)
		}
	})
	defer publishing.Wait()
	for want := 1; want <= n; want++ {
		switch v := r.next().(type) {
		case error:
			t.Fatalf("before %d: %v", want, v)
		case client.Event:
			if rc, ok := v.RecentChange(); !ok || rc.ID != int64(want) {
				t.Fatalf("%+v, want change %d", v, want)
			}
		}
		if want%1000 == 500 {
			w.restart(relay)
		}
	}
	if lines := relay.cut(); lines < 200 {
		t.Errorf("there were %d connections only", lines)
	} else {
		t.Logf("%d connections, %d resumed by the last server", lines, w.srv.Stats().Resumed)
	}
}

// subscriptions waits until the service knows of so many subscriptions.
func (w *xmppWorld) subscriptions(want int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	for w.nodes.Stats().Subscriptions != want {
		if ctx.Err() != nil {
			w.Fatalf("there are %d subscriptions, want %d", w.nodes.Stats().Subscriptions, want)
		}
		runtime.Gosched()
	}
}

// hamlet is an account, as the model knows it.
var hamlet = model.Entity{Actor: tidings.Actor{Kind: tidings.User, Name: "hamlet@localhost"}, JID: "hamlet@localhost"}

// A reader leaves nothing behind, also where the connection was lost when it ended, and the account's own subscriptions stay.
func TestNodeLeavesNothing(t *testing.T) {
	w := startXMPP(t, nil, nil)
	w.change(0)
	own, err := w.nodes.Subscribe(t.Context(), hamlet, "/recentchange/en.wikipedia.org", "hamlet@localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	relay := newWire(t, w.addr, nil)
	const url = "xmpp://hamlet:hamlet@localhost/pubsub.localhost?;node=/recentchange/en.wikipedia.org"
	r := readRoom(t, url, relay.ln.Addr().String(), nil, client.Live, nil)
	r.connected()
	w.subscriptions(2)
	w.change(1)
	r.event()
	r.cancel()
	w.subscriptions(1)

	r = readRoom(t, url, relay.ln.Addr().String(), nil, client.Live, nil, client.WithBackoff(patience, patience))
	r.connected()
	relay.cut()
	for { // until it waits
		r.mu.Lock()
		lost := slices.ContainsFunc(r.notices, func(n client.Notice) bool { return n.Err != nil })
		r.mu.Unlock()
		if lost {
			break
		}
		runtime.Gosched()
	}
	w.subscriptions(2) // the session waits to be resumed
	r.cancel()
	w.subscriptions(1)
	subs, err := w.nodes.Subscriptions(hamlet, "")
	if err != nil || len(subs) != 1 || subs[0].SubID != own.SubID {
		t.Errorf("%+v, %v", subs, err)
	}
}

// Every kind of payload comes as it was published, live and from the archive.
func TestNodePayloads(t *testing.T) {
	w := startXMPP(t, nil, nil)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	events := []tidings.Event{
		{Topic: "/news/Local", ID: "one", ContentType: "application/json", Payload: []byte(`{"a": [1, "<&>"]}`)},
		{Topic: "/news/Local", ID: "two;=%&", ContentType: "text/plain", Payload: []byte("text & <more>\nlines")},
		{Topic: "/news/Local", ID: "three", ContentType: "application/atom+xml;type=entry", Payload: []byte("<entry xmlns='http://www.w3.org/2005/Atom'><id>urn:x</id><title>T</title><content>C</content></entry>")},
		{Topic: "/news/Local", ID: "four", ContentType: "application/xml", Payload: []byte("<plain><x/></plain>")},
		{Topic: "/news/Local", ID: "four b", ContentType: "application/xml", Payload: []byte("<a:plain xmlns:a='urn:a' a:b='c'>d</a:plain>")},
		{Topic: "/news/Local", ID: "five", ContentType: "image/png", Payload: []byte("\x89PNG\xff")},
		{Topic: "/news/Local", ID: "two;=%&", Kind: tidings.Retract},
		{Topic: "/news/Sport", ContentType: "text/plain", Payload: []byte("[3 bytes of text/plain, item x]")},
		{Topic: "/~princely_musings", ID: "x", ContentType: "application/json", Payload: []byte("7")},
	}
	w.Publish("/news/first", 1, 1)
	var ps []tidings.Pattern
	for _, p := range []string{"/news/*", "/~*"} {
		ps = append(ps, tidings.MustPattern(p))
	}
	live := readRoom(t, "xmpp://localhost/pubsub.localhost", w.addr, ps, client.Live, nil)
	live.connected()
	for i := range events {
		events[i].Time = at
		events[i].Position = w.Append(events[i])
	}
	check := func(r *reader, archived bool, which func(tidings.Topic) bool) {
		t.Helper()
		for _, want := range events {
			if !which(want.Topic) {
				continue
			}
			e := r.event()
			if want.ID == "" {
				want.ID = want.Position.String()
			}
			if want.ContentType == "text/plain" {
				want.ContentType += "; charset=utf-8"
			}
			if e.Topic != want.Topic || e.Position != want.Position || e.ID != want.ID || e.Kind != want.Kind || e.ContentType != want.ContentType || string(e.Payload) != string(want.Payload) {
				t.Errorf("got  %+v %q\nwant %+v %q", e, e.Payload, want, want.Payload)
			}
			if archived && !e.Time.Equal(at) || e.Time.IsZero() {
				t.Errorf("%s is of %s", e.ID, e.Time)
			}
		}
	}
	news := func(topic tidings.Topic) bool { return strings.HasPrefix(string(topic), "/news/") }
	check(live, false, func(tidings.Topic) bool { return true })
	check(readRoom(t, "xmpp://127.0.0.1?;node=/news/[LS]*", w.addr, nil, client.Since(time.Now().Add(-time.Hour)), nil), true, news)
	check(readRoom(t, "xmpp:pubsub.localhost?pubsub;action=subscribe;node=princely_musings", w.addr, nil, client.Since(time.Now().Add(-time.Hour)), nil), true,
		func(topic tidings.Topic) bool { return !news(topic) })
}

// The last item, which who subscribes is sent, is not of the time that was asked for.
func TestNodeSince(t *testing.T) {
	w := startXMPP(t, nil, nil)
	ctx := t.Context()
	if _, err := w.nodes.Create(ctx, model.Entity{Actor: tidings.Actor{Kind: tidings.User, Name: "hamlet@localhost"}, JID: "hamlet@localhost"}, "/garden", nil); err != nil {
		t.Fatal(err)
	}
	relay := newWire(t, w.addr, func(int) int { return 1 << 30 })
	w.Append(tidings.Event{Topic: "/garden", ID: "old", Time: time.Now().Add(-2 * time.Hour), ContentType: "text/plain", Payload: []byte("old")})
	later := time.Now().Add(time.Hour) // the archive has nothing of that
	r := readRoom(t, "xmpp://localhost/pubsub.localhost?;node=/garden", relay.ln.Addr().String(), nil, client.Since(later), nil)
	r.connected()
	relay.cut()
	r.connected()
	w.Append(tidings.Event{Topic: "/garden", ID: "new", Time: later, ContentType: "text/plain", Payload: []byte("new")})
	if e := r.event(); e.ID != "new" {
		t.Errorf("%+v", e)
	}
}

func TestNodeGap(t *testing.T) { testGap(t, "xmpp://localhost/pubsub.localhost?;node=/brief/a") }

// Errors that do not pass end the stream, and say which they are.
func TestNodeErrors(t *testing.T) {
	w := startXMPP(t, nil, nil)
	w.Publish("/private/a", 1, 1)
	w.Publish("/news", 1, 1)
	for node, conf := range map[string]model.Values{"closed": {"pubsub#access_model": {"whitelist"}}, "asking": {"pubsub#access_model": {"authorize"}}} {
		if _, err := w.nodes.Create(t.Context(), hamlet, node, conf); err != nil {
			t.Fatal(err)
		}
	}
	const service, ann = "xmpp://localhost/pubsub.localhost", "xmpp://bernardo:bernardo@localhost/pubsub.localhost"
	w.refuses(t, []unreadable{
		{name: "no node", url: service + "?;node=nothing", kind: tidings.ErrNotFound, text: "item-not-found"},
		{name: "no such service", url: "xmpp://localhost/pubsub.nowhere?;node=nothing", kind: tidings.ErrNotFound},
		{name: "private", url: service + "?;node=/private/a", kind: tidings.ErrForbidden, text: "forbidden"},
		{name: "closed", url: ann + "?;node=closed", kind: tidings.ErrForbidden, text: "closed-node"},
		{name: "asking", url: ann + "?;node=asking", kind: tidings.ErrForbidden, text: "approved by an owner"},
		{name: "nothing to read", url: service, kind: tidings.ErrInvalid, text: "no node"},
		{name: "a filter", url: service, patterns: []string{"/news"}, filters: []client.Filter{{Field: "a", Value: "b"}}, kind: tidings.ErrInvalid, text: "no filters"},
		{name: "zero pattern", url: service, patterns: []string{""}, kind: tidings.ErrInvalid},
		{name: "overlapping", url: service, patterns: []string{"/news/*", "/**"}, kind: tidings.ErrInvalid, text: "same node"},
		{name: "bad id", url: service + "?;node=/news", from: client.AfterID("nonsense"), kind: tidings.ErrNotFound, text: "cannot be read from there"},
	})
	w.subscriptions(0)

	// What is ended in the middle.
	for name, tt := range map[string]struct {
		end  func(node string) error
		kind tidings.ErrorKind
		text string
	}{
		"outcast": {func(node string) error {
			return w.nodes.SetAffiliations(t.Context(), hamlet, node, []model.Affiliated{{JID: "bernardo@localhost", Affiliation: model.Outcast}})
		}, tidings.ErrForbidden, "has ended the subscription"},
		"deleted": {func(node string) error {
			return w.nodes.Delete(t.Context(), hamlet, node, "xmpp:pubsub.localhost?;node=other")
		}, tidings.ErrNotFound, "go on at xmpp:pubsub.localhost?;node=other"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := w.nodes.Create(t.Context(), hamlet, name, nil); err != nil {
				t.Fatal(err)
			}
			r := readRoom(t, ann+"?;node="+name, w.addr, nil, client.Live, nil)
			r.connected()
			if err := tt.end(name); err != nil {
				t.Fatal(err)
			}
			if err := r.err(); tidings.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v (%v)", err, tidings.KindOf(err))
			}
		})
	}
}

func TestNodeAddresses(t *testing.T) {
	for _, s := range []string{
		"xmpp:pubsub.localhost/x?;node=a", "xmpp:pubsub.localhost?;node=a;item=b", "xmpp:pubsub.localhost?pubsub;action=unsubscribe;node=a", "xmpp:pubsub.localhost?join;node=a",
		"xmpp:a@b?pubsub", "xmpp:pubsub.localhost?;node=%zz", "xmpp:pubsub.localhost?;node=a;password=b", "xmpp://localhost?;node=",
	} {
		if _, err := client.New(s); !errors.Is(err, tidings.ErrInvalid) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"/a", "/a", true},
		{"/a", "/b", false},
		{"/a", "/*", true},
		{"/a/b", "/*", false},
		{"/a/b", "/**", true},
		{"/a/*", "/b/*", false},
		{"/a/*", "/*/b", true},
		{"/a/*", "/a/*/c", false},
		{"/a/**", "/a", true},
		{"/a/**", "/a/*/c", true},
		{"/a/**", "/b/**", false},
		{"/a/*", "/a/*/**", true},
		{"/**/a", "/*/b", true}, // which is more than there is: how they end is not looked at
	} {
		a, b := tidings.MustPattern(tt.a), tidings.MustPattern(tt.b)
		if client.Overlap(a, b) != tt.want || client.Overlap(b, a) != tt.want {
			t.Errorf("%s and %s: %v, %v", a, b, client.Overlap(a, b), client.Overlap(b, a))
		}
	}
}
