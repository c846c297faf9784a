package hub_test

import (
	"slices"
	"strings"
	"testing"

	"tidings"
	"tidings/hub"
	"tidings/journal"
)

// nodes is an Access whose topics can become private, be purged, and be named as withdrawn.
type nodes struct {
	rights
	floor     map[tidings.Topic]uint64
	withdrawn []tidings.Topic
}

func (n *nodes) Floor(t tidings.Topic) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.floor[t]
}

func (n *nodes) Withdrawn() []tidings.Topic { return n.withdrawn }

func (n *nodes) AudienceOf(a tidings.Actor, patterns []tidings.Pattern) string {
	var own []string
	for _, t := range strings.Fields(n.Audience(a)) {
		if slices.ContainsFunc(patterns, func(p tidings.Pattern) bool { return p.Match(tidings.Topic(t)) }) {
			own = append(own, t)
		}
	}
	return strings.Join(own, " ")
}

func newNodes(t *testing.T) (*world, *nodes) {
	n := &nodes{rights: rights{private: map[tidings.Topic][]string{}}, floor: map[tidings.Topic]uint64{}}
	w := &world{T: t, j: journal.NewMemory(journal.Options{}), rights: &n.rights}
	w.h = hub.New(w.j, n, hub.Options{})
	t.Cleanup(func() {
		w.h.Close()
		w.j.Close()
	})
	return w, n
}

// change changes the rules and has the hub look at them.
func (n *nodes) change(h *hub.Hub, f func(), withdrawn ...tidings.Topic) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	n.withdrawn = withdrawn
	h.Recheck()
	n.withdrawn = nil
}

func TestTopicBecomesPrivate(t *testing.T) {
	w, n := newNodes(t)
	alice := tidings.Actor{Kind: tidings.User, Name: "alice"}
	start := w.h.Head()
	w.publish("/a", "1")
	w.publish("/b", "2")
	w.drain()
	anyone, member := w.subscribe(start, query("/a"), tidings.Actor{}), w.subscribe(start, query("/a"), alice)
	everywhere, other := w.subscribe(start, query("/*"), tidings.Actor{}), w.subscribe(start, query("/b"), tidings.Actor{})
	fetched := w.subscribe(start, query("/?"), tidings.Actor{})
	fetched.Fetch(t.Context())
	memberEverywhere := w.subscribe(start, query("/*"), alice)
	if n := w.h.Stats().Feeds; n != 4 {
		t.Errorf("%d feeds: readers of one topic, and of patterns with the same rights, share theirs", n)
	}
	w.publish("/a", "3")
	w.publish("/b", "4")
	w.drain()
	n.change(w.h, func() { n.private["/a"] = []string{"alice"} }, "/a")
	w.publish("/a", "5")
	w.publish("/b", "6")
	w.drain()
	for _, c := range []struct {
		name string
		s    *hub.Subscription
		want string
	}{
		{"who may no more", anyone, "end the permission to read this has been withdrawn\n"},
		{"who still may", member, "1 1\n3 3\n5 5\n"},
		{"a pattern, with the tail", everywhere, "2 2\n4 4\n6 6\n"},
		{"a pattern, with what was read before", fetched, "2 2\n4 4\n6 6\n"},
		{"another topic", other, "2 2\n4 4\n6 6\n"},
		{"a pattern of more by now", memberEverywhere, "end which of these topics may be read has changed: subscribe again\n"},
	} {
		if got := read(c.s, all); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	// When everybody may again, those who were ended stay so, and others begin.
	n.change(w.h, func() { delete(n.private, "/a") })
	if got := read(anyone, all); !strings.HasPrefix(got, "end ") {
		t.Errorf("a subscription that was ended: got %q", got)
	}
	if got := read(w.subscribe(start, query("/a"), tidings.Actor{}), all); got != "1 1\n3 3\n5 5\n" {
		t.Errorf("a new subscription: got %q", got)
	}
}

// TestReachedWhenEnded: who goes on with another subscription from where one was ended misses nothing that was published since.
func TestReachedWhenEnded(t *testing.T) {
	w, n := newNodes(t)
	alice := tidings.Actor{Kind: tidings.User, Name: "alice"}
	pattern, anyone := w.subscribe(w.h.Head(), query("/*"), alice), w.subscribe(w.h.Head(), query("/a"), tidings.Actor{})
	w.publish("/a", "1")
	w.publish("/noise/of/others", "2")
	w.drain()
	for _, s := range []*hub.Subscription{pattern, anyone} {
		if got := read(s, all); got != "1 1\n" {
			t.Fatalf("before: got %q", got)
		}
	}
	head := w.h.Head()
	n.change(w.h, func() { n.private["/a"] = []string{"alice"} })
	w.publish("/a", "3")
	w.publish("/noise/of/others", "4")
	w.drain()
	if got := pattern.Reached(); got != head {
		t.Errorf("a reader who may read more by now: reached %s, want %s", got, head)
	}
	if got := anyone.Reached(); got.Offset > head.Offset {
		t.Errorf("a reader who may no more: reached %s, which is behind %s", got, head)
	}
	if got := read(w.subscribe(pattern.Reached(), query("/*"), alice), all); got != "3 3\n" {
		t.Errorf("the subscription in its place: got %q", got)
	}
}

// Rights elsewhere make no difference to a pattern: its readers share a feed and are not ended.
func TestRightsElsewhere(t *testing.T) {
	w, n := newNodes(t)
	n.private["/secret/a"] = []string{"alice"}
	alice := tidings.Actor{Kind: tidings.User, Name: "alice"}
	a, _ := w.subscribe(w.h.Head(), query("/open/*"), alice), w.subscribe(w.h.Head(), query("/open/*"), tidings.Actor{})
	if n := w.h.Stats().Feeds; n != 1 {
		t.Errorf("%d feeds, want 1", n)
	}
	n.change(w.h, func() { n.private["/secret/b"] = []string{"alice"} })
	w.publish("/open/x", "1")
	w.drain()
	if got := read(a, all); got != "1 1\n" {
		t.Errorf("got %q", got)
	}
}

func TestFloor(t *testing.T) {
	w, n := newNodes(t)
	start := w.h.Head()
	w.publish("/a", "1")
	w.publish("/b", "2")
	w.publish("/a", "3")
	w.drain()
	live := w.subscribe(start, query("/a"), tidings.Actor{})
	pattern := w.subscribe(start, query("/*"), tidings.Actor{})
	n.change(w.h, func() { n.floor["/a"] = 3 }, "/a")
	w.publish("/a", "4")
	w.drain()
	for name, c := range map[string]struct {
		s    *hub.Subscription
		want string
	}{"live": {live, "4 4\n"}, "pattern": {pattern, "2 2\n4 4\n"}, "new": {w.subscribe(start, query("/a"), tidings.Actor{}), "4 4\n"}} {
		if got := read(c.s, all); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	if _, err := w.h.Item(t.Context(), "/a", tidings.Actor{}, tidings.Position{Epoch: start.Epoch, Offset: 3}.String()); tidings.KindOf(err) != tidings.ErrNotFound {
		t.Errorf("an item below the floor: %v", err)
	}
	items, _, err := w.h.Latest(t.Context(), query("/**"), tidings.Actor{}, 10)
	if err != nil || len(items) != 2 {
		t.Errorf("the latest: %d items, %v", len(items), err)
	}
	items, _, _, err = w.h.Read(t.Context(), query("/a"), tidings.Actor{}, start, 10)
	if err != nil || len(items) != 1 {
		t.Errorf("Read: %d items, %v", len(items), err)
	}
}
