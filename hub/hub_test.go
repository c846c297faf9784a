package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/journal"
)

// text is a form that writes one line for each event: its offset and its payload.
type text struct{ key string }

func (f text) Key() string { return f.key }
func (f text) Append(dst []byte, it *hub.Item) []byte {
	return fmt.Appendf(dst, "%d %s\n", it.Position.Offset, it.Payload)
}
func (text) AppendGap(dst []byte, g *tidings.GapError) []byte {
	return fmt.Appendf(dst, "gap %d\n", g.Oldest.Offset)
}
func (text) AppendEnd(dst []byte, err error) []byte { return fmt.Appendf(dst, "end %v\n", err) }
func (text) AppendGoodbye(dst []byte) []byte        { return append(dst, "bye\n"...) }

// bell is a waker that a reader can wait for, together with others of its feed.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

func newBell() hub.Waker { return &bell{ch: make(chan struct{})} }

func (b *bell) Wake() {
	b.mu.Lock()
	close(b.ch)
	b.ch = make(chan struct{})
	b.mu.Unlock()
}

func (b *bell) rung() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ch
}

// rights is an Access in which some topics are private to actors of given names.
type rights struct {
	mu      sync.Mutex
	private map[tidings.Topic][]string
	gone    map[string]bool // names that may nothing any more
}

func (r *rights) May(a tidings.Actor, _ tidings.Action, t tidings.Topic) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone[a.Name] {
		return tidings.Errorf(tidings.ErrUnauthenticated, "%s was revoked", a.Name)
	}
	names, private := r.private[t]
	if private && !slices.Contains(names, a.Name) {
		return tidings.Errorf(tidings.ErrForbidden, "%s is private", t)
	}
	return nil
}

func (r *rights) Audience(a tidings.Actor) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone[a.Name] {
		return "-"
	}
	var own []string
	for t, names := range r.private {
		if slices.Contains(names, a.Name) {
			own = append(own, string(t))
		}
	}
	slices.Sort(own)
	return strings.Join(own, " ")
}

type world struct {
	*testing.T
	j      *journal.Memory
	h      *hub.Hub
	rights *rights
}

func newWorld(t *testing.T, jo journal.Options, ho hub.Options) *world {
	w := &world{T: t, j: journal.NewMemory(jo), rights: &rights{private: map[tidings.Topic][]string{}}}
	w.h = hub.New(w.j, w.rights, ho)
	t.Cleanup(func() {
		w.h.Close()
		w.j.Close()
	})
	return w
}

func (w *world) publish(topic, payload string) tidings.Position {
	w.Helper()
	r, err := w.j.Append(context.Background(), tidings.Event{Topic: tidings.Topic(topic), ContentType: "application/json", Payload: []byte(payload)})
	if err != nil {
		w.Fatal(err)
	}
	return r[0].Position
}

func (w *world) drain() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.h.Drain(ctx); err != nil {
		w.Fatal(err)
	}
}

func query(patterns ...string) hub.Query {
	var q hub.Query
	for _, p := range patterns {
		q.Patterns = append(q.Patterns, tidings.MustPattern(p))
	}
	q.Patterns = tidings.Patterns(q.Patterns...)
	return q
}

func (w *world) subscribe(after tidings.Position, q hub.Query, a tidings.Actor) *hub.Subscription {
	w.Helper()
	s, err := w.h.Subscribe(hub.Request{After: after, Query: q, Actor: a, Form: text{"text"}, NewWaker: newBell})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(s.Close)
	return s
}

// read takes what the subscription has until it is at the head or over. take says how many of n bytes to take.
func read(s *hub.Subscription, take func(n int) int) string {
	var b strings.Builder
	for {
		p, st := s.Next()
		switch st {
		case hub.AtHead:
			return b.String()
		case hub.Lagging:
			s.Fetch(context.Background())
		case hub.Over:
			b.Write(p)
			return b.String()
		case hub.HasBytes:
			n := take(len(p))
			b.Write(p[:n])
			b.Write(s.Advance(n))
		}
	}
}

func all(n int) int { return n }

func lines(from, to int, format string) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, format+"\n", i, i)
	}
	return b.String()
}

func TestHistoryAndLive(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{})
	for i := 1; i <= 1000; i++ {
		w.publish("/a", fmt.Sprint(i))
	}
	w.drain()
	head := w.h.Head()
	for _, after := range []uint64{0, 1, 500, 999, 1000} {
		s := w.subscribe(tidings.Position{Epoch: head.Epoch, Offset: after}, query("/a"), tidings.Actor{})
		if got, want := read(s, all), lines(int(after)+1, 1000, "%d %d"); got != want {
			t.Errorf("after %d: got %.60q, want %.60q", after, got, want)
		}
		if s.Position() != head {
			t.Errorf("after %d: position %v, want %v", after, s.Position(), head)
		}
	}
	s := w.subscribe(head, query("/a"), tidings.Actor{})
	w.publish("/b", "other")
	w.publish("/a", "1002")
	w.drain()
	if got := read(s, all); got != "1002 1002\n" {
		t.Errorf("live: got %q", got)
	}
}

// TestJoinAtRandom has readers join, lag, be cut and leave while events are published, and each must see every event
// behind its start once.
func TestJoinAtRandom(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{FeedTail: 2 << 10, TailAge: 20 * time.Millisecond})
	const events, readers = 3000, 200
	pad := strings.Repeat("p", 30)
	var wg sync.WaitGroup
	start := make(chan struct{}, readers)
	wg.Go(func() {
		for i := 1; i <= events; i++ {
			w.publish("/a", fmt.Sprintf("%d %s", i, pad))
			if i%(events/readers) == 0 {
				start <- struct{}{}
			}
		}
	})
	for i := range readers {
		wg.Go(func() {
			<-start
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			after := w.h.Head()
			if rng.IntN(2) == 0 && after.Offset > 0 {
				after.Offset = rng.Uint64N(after.Offset)
			}
			sub := func() *hub.Subscription {
				s, err := w.h.Subscribe(hub.Request{After: after, Query: query("/a"), Form: text{"text"}, NewWaker: newBell})
				if err != nil {
					t.Error(err)
				}
				return s
			}
			s := sub()
			defer func() { s.Close() }()
			next := after.Offset + 1
			for next <= events {
				woken := s.Waker().(*bell).rung()
				got := read(s, func(n int) int { return rng.IntN(n + 1) })
				for line := range strings.Lines(got) {
					var off, num uint64
					fmt.Sscan(line, &off, &num)
					if off != next || num != next || !strings.HasSuffix(line, pad+"\n") {
						t.Errorf("reader %d: got %q, want event %d", i, line, next)
						return
					}
					next++
				}
				if next > events {
					break
				}
				if rng.IntN(8) == 0 { // come back where it was
					after = s.Position()
					if after.Offset+1 != next {
						t.Errorf("reader %d: position %d, next %d", i, after.Offset, next)
						return
					}
					s.Close()
					s = sub()
					continue
				}
				<-woken
			}
		})
	}
	wg.Wait()
	if st := w.h.Stats(); st.Subscriptions != 0 || st.Feeds != 0 || st.TailBytes != 0 {
		t.Errorf("left over: %+v", st)
	}
}

func TestCut(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{})
	start := w.h.Head()
	live := w.subscribe(start, query("/a"), tidings.Actor{})
	for i := 1; i <= 20; i++ {
		w.publish("/a", fmt.Sprint(i))
	}
	w.drain()
	want := lines(1, 20, "%d %d")
	for n := range len(want) + 1 {
		for name, s := range map[string]*hub.Subscription{
			"tail":    w.subscribe(start, query("/a"), tidings.Actor{}),
			"history": w.subscribe(start, query("/*"), tidings.Actor{}),
		} {
			first := true
			got := read(s, func(max int) int {
				if first {
					first = false
					return min(n, max)
				}
				return max
			})
			if got != want {
				t.Fatalf("%s cut at %d: got %q", name, n, got)
			}
		}
	}
	if got := read(live, all); got != want {
		t.Errorf("live: got %q", got)
	}
}

// TestLaggingAtAnyPlace leaves a reader behind after each event in turn, with events between its own that are not.
func TestLaggingAtAnyPlace(t *testing.T) {
	for taken := range 40 {
		w := newWorld(t, journal.Options{}, hub.Options{FeedTail: 8 << 10})
		s := w.subscribe(w.h.Head(), query("/a"), tidings.Actor{})
		var want strings.Builder
		publish := func(n int) {
			for range n {
				w.publish("/noise", "x")
				fmt.Fprintf(&want, "%d %s\n", w.publish("/a", strings.Repeat("y", 90)).Offset, strings.Repeat("y", 90))
				w.publish("/noise", "x")
			}
			w.drain()
		}
		publish(40)
		var got strings.Builder
		for range taken {
			p, st := s.Next()
			if st != hub.HasBytes {
				t.Fatalf("after %d events: state %d", taken, st)
			}
			n := strings.IndexByte(string(p), '\n') + 1
			got.Write(p[:n])
			s.Advance(n)
		}
		publish(100)
		got.WriteString(read(s, all))
		if got.String() != want.String() {
			t.Fatalf("left behind after %d events: got %d bytes, want %d", taken, got.Len(), want.Len())
		}
		if w.h.Stats().Behind == 0 {
			t.Fatal("nobody was left behind")
		}
	}
}

// TestReached: a reader that changes its query where it stands misses nothing that it asked for and gets nothing that
// was published before it asked.
func TestReached(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{})
	start := w.h.Head()
	live := w.subscribe(start, query("/a"), tidings.Actor{})
	check := func(what string, s *hub.Subscription, want uint64) {
		t.Helper()
		if got := s.Reached(); got.Offset != want || got.Epoch != start.Epoch {
			t.Errorf("%s: reached %s, want offset %d", what, got, want)
		}
	}
	check("nothing published", live, start.Offset)
	noise := w.publish("/noise", "1")
	w.drain()
	check("something else published", live, noise.Offset)
	a := w.publish("/a", "1")
	w.publish("/a", "2")
	noise = w.publish("/noise", "2")
	w.drain()
	check("two waiting", live, a.Offset-1)
	late := w.subscribe(start, query("/a"), tidings.Actor{})
	check("history waiting in the tail", late, a.Offset-1)
	p, _ := live.Next()
	n := strings.IndexByte(string(p), '\n') + 1
	live.Advance(n)
	check("one waiting", live, a.Offset)
	live.Next()
	live.Advance(len(p) - n)
	check("none waiting", live, noise.Offset)

	// A feed made later begins at the head, so that history comes from the log.
	s := w.subscribe(start, query("/a", "/b"), tidings.Actor{})
	check("not yet read", s, start.Offset)
	if _, st := s.Next(); st != hub.Lagging {
		t.Fatalf("state %d", st)
	}
	s.Fetch(context.Background())
	check("history waiting", s, a.Offset-1)
	read(s, all)
	check("all read", s, noise.Offset)
	gap := w.subscribe(tidings.Position{Epoch: start.Epoch ^ 1, Offset: 7}, query("/c"), tidings.Actor{})
	gap.Next()
	gap.Fetch(context.Background())
	if got := gap.Reached(); got.Epoch == start.Epoch {
		t.Errorf("before the gap was told: reached %s", got)
	}
	read(gap, all)
	check("behind the gap", gap, noise.Offset)
}

func TestGap(t *testing.T) {
	w := newWorld(t, journal.Options{TrimInterval: -1, Retention: []journal.Retention{{Prefix: "/a", Age: time.Minute}}}, hub.Options{})
	start := w.h.Head()
	for i := 1; i <= 10; i++ {
		w.publish("/a", fmt.Sprint(i))
	}
	w.publish("/quiet", "11")
	w.drain()
	if _, err := w.j.Trim(context.Background(), time.Now().Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	w.publish("/a", "12")
	w.drain()
	s := w.subscribe(start, query("/a"), tidings.Actor{})
	if got := read(s, all); !strings.HasPrefix(got, "gap ") || !strings.HasSuffix(got, "12 12\n") {
		t.Errorf("after removed events: got %q", got)
	}
	s = w.subscribe(start, query("/quiet"), tidings.Actor{})
	if got := read(s, all); got != "11 11\n" {
		t.Errorf("of a topic that lost nothing: got %q", got)
	}
	s = w.subscribe(tidings.Position{Epoch: start.Epoch + 1, Offset: 5}, query("/quiet"), tidings.Actor{})
	if got := read(s, all); !strings.HasPrefix(got, "gap ") {
		t.Errorf("of another epoch: got %q", got)
	}
	s = w.subscribe(tidings.Position{Epoch: start.Epoch, Offset: 5000}, query("/quiet"), tidings.Actor{})
	if got := read(s, all); !strings.HasPrefix(got, "gap ") {
		t.Errorf("after the head: got %q", got)
	}
	if n := w.h.Stats().Gaps; n != 3 {
		t.Errorf("%d gaps counted, want 3", n)
	}
}

// TestGapKeepsWhatIsKept: where rules of retention differ, a reader of all topics is told of the gap and gets what is kept
// before its end.
func TestGapKeepsWhatIsKept(t *testing.T) {
	w := newWorld(t, journal.Options{TrimInterval: -1, Retention: []journal.Retention{{Prefix: "/brief", Age: time.Minute}}}, hub.Options{})
	start := w.h.Head()
	for _, topic := range []string{"/brief", "/kept", "/brief", "/kept", "/brief", "/kept"} {
		w.publish(topic, topic)
	}
	w.drain()
	if _, err := w.j.Trim(context.Background(), time.Now().Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	w.publish("/brief", "/brief")
	w.drain()
	const want = "gap 1\n2 /kept\n4 /kept\n6 /kept\n7 /brief\n"
	if got := read(w.subscribe(start, query("/**"), tidings.Actor{}), all); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for cutAt := range len(want) {
		s := w.subscribe(start, query("/*"), tidings.Actor{})
		first := true
		got := read(s, func(n int) int {
			if first {
				first = false
				return min(n, cutAt)
			}
			return min(n, 9)
		})
		if strings.TrimPrefix(got, "gap 1\n") != strings.TrimPrefix(want, "gap 1\n") {
			t.Errorf("cut at %d: got %q", cutAt, got)
		}
	}
}

func TestRecheckEndsSubscriptions(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{})
	w.rights.private["/secret"] = []string{"alice", "bob"}
	alice := tidings.Actor{Kind: tidings.Token, Name: "alice"}
	bob := tidings.Actor{Kind: tidings.Token, Name: "bob"}
	start := w.h.Head()
	if _, err := w.h.Subscribe(hub.Request{After: start, Query: query("/secret"), Form: text{"text"}, NewWaker: newBell}); !errors.Is(err, tidings.ErrForbidden) {
		t.Errorf("anonymous: %v", err)
	}
	a := w.subscribe(start, query("/secret"), alice)
	b := w.subscribe(start, query("/**"), bob)
	anyone := w.subscribe(start, query("/**"), tidings.Actor{})
	history := w.subscribe(start, query("/*"), bob)
	w.publish("/secret", "1")
	w.publish("/open", "2")
	w.drain()
	for name, c := range map[string]struct {
		s    *hub.Subscription
		want string
	}{"alice": {a, "1 1\n"}, "bob": {b, "1 1\n2 2\n"}, "anyone": {anyone, "2 2\n"}} {
		if got := read(c.s, all); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	w.publish("/secret", "3") // is there for bob, and must not be given out after the call below
	w.drain()
	w.rights.mu.Lock()
	w.rights.private["/secret"] = []string{"alice"}
	w.rights.mu.Unlock()
	w.h.Recheck()
	for name, s := range map[string]*hub.Subscription{"live": b, "history": history} {
		if got := read(s, all); !strings.HasPrefix(got, "end ") {
			t.Errorf("bob, %s, after the revocation: got %q", name, got)
		}
	}
	if got := read(a, all); got != "3 3\n" {
		t.Errorf("alice after bob's revocation: got %q", got)
	}
	items, _, _, err := w.h.Read(context.Background(), query("/**"), bob, start, 10)
	if err != nil || len(items) != 1 || items[0].Topic != "/open" {
		t.Errorf("bob's Read after the revocation: %d items, %v", len(items), err)
	}
}

// TestCatchingUpWhileRevoked: a reader whose right is withdrawn while it reads the log does not skip to what follows.
func TestCatchingUpWhileRevoked(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{})
	w.rights.private["/secret"] = []string{"alice", "bob"}
	w.rights.gone = map[string]bool{}
	start := w.h.Head()
	w.publish("/secret", "1")
	w.drain()
	// The feed begins here, so that both have to read the first event from the log.
	alice := w.subscribe(start, query("/secret"), tidings.Actor{Kind: tidings.Token, Name: "alice"})
	bob := w.subscribe(start, query("/secret"), tidings.Actor{Kind: tidings.Token, Name: "bob"})
	w.publish("/secret", "2")
	w.drain()
	w.rights.mu.Lock()
	w.rights.gone["alice"] = true
	w.rights.mu.Unlock()
	alice.Fetch(context.Background())
	if p, st := alice.Next(); st != hub.Lagging || alice.Position() != start {
		t.Errorf("before the revocation is complete: %q, state %d at %s", p, st, alice.Position())
	}
	w.h.Recheck()
	alice.Fetch(context.Background())
	if got := read(alice, all); !strings.HasPrefix(got, "end ") {
		t.Errorf("alice got %q", got)
	}
	if got := read(bob, all); got != "1 1\n2 2\n" {
		t.Errorf("bob got %q", got)
	}
}

// TestFeedOutlivesItsActor: the actors of one audience share a feed, and those who stay miss nothing when the one who
// came first is revoked, not even what is dispatched before Recheck is called.
func TestFeedOutlivesItsActor(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{})
	w.rights.private["/secret"] = []string{"alice", "bob"}
	w.rights.gone = map[string]bool{}
	start := w.h.Head()
	token := func(name string) tidings.Actor { return tidings.Actor{Kind: tidings.Token, Name: name} }
	alice, carol := w.subscribe(start, query("/secret"), token("alice")), w.subscribe(start, query("/open"), token("carol"))
	bob, anyone := w.subscribe(start, query("/secret"), token("bob")), w.subscribe(start, query("/open"), tidings.Actor{})
	if n := w.h.Stats().Feeds; n != 2 {
		t.Fatalf("%d feeds, want 2", n)
	}
	w.rights.mu.Lock()
	w.rights.gone["alice"], w.rights.gone["carol"] = true, true
	w.rights.mu.Unlock()
	w.publish("/secret", "1")
	w.publish("/open", "2")
	w.drain()
	w.h.Recheck()
	for name, c := range map[string]struct {
		s    *hub.Subscription
		want string
	}{"alice": {alice, "end "}, "carol": {carol, "end "}, "bob": {bob, "1 1\n"}, "anyone": {anyone, "2 2\n"}} {
		if got := read(c.s, all); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestOnlyMatchingFeedsAreTouched(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{})
	var subs []*hub.Subscription
	for i := range 1000 {
		subs = append(subs, w.subscribe(w.h.Head(), query(fmt.Sprintf("/t/%d", i)), tidings.Actor{}))
	}
	both := w.subscribe(w.h.Head(), query("/t/*", "/t/7", "/**/7"), tidings.Actor{})
	w.publish("/t/7", "x")
	w.drain()
	for i, s := range subs {
		if got := read(s, all); (got != "") != (i == 7) {
			t.Errorf("subscriber %d: got %q", i, got)
		}
	}
	if got := read(both, all); got != "1 x\n" {
		t.Errorf("a query of which three patterns match: got %q", got)
	}
	if n := w.h.Stats().Encoded; n != 2 {
		t.Errorf("encoded %d times, want 2", n)
	}
}

// TestMemoryIsBounded asserts the bounds of a feed's tail with readers that stand still.
func TestMemoryIsBounded(t *testing.T) {
	const tail = 128 << 10
	w := newWorld(t, journal.Options{}, hub.Options{FeedTail: tail})
	start := w.h.Head()
	var subs []*hub.Subscription
	for range 50 {
		s := w.subscribe(start, query("/a"), tidings.Actor{})
		subs = append(subs, s)
	}
	payload := strings.Repeat("m", 1000)
	for i := range 1000 {
		w.publish("/a", payload)
		if i == 10 {
			w.drain()
			for _, s := range subs { // they take a piece of the first event and then nothing
				s.Next()
				if rest := s.Advance(3); len(rest) == 0 || len(rest) > 1100 {
					t.Fatalf("rest of %d bytes", len(rest))
				}
			}
		}
	}
	w.drain()
	if n := w.h.Stats().TailBytes; n > 2*tail {
		t.Errorf("the tail has %d bytes, bound %d", n, tail)
	}
	for i, s := range subs {
		if got := strings.Count(read(s, all), "\n"); got != 999 {
			t.Errorf("reader %d: %d events after the first, want 999", i, got)
		}
	}
}

func BenchmarkDispatch(b *testing.B) {
	for _, topics := range []int{10, 1000, 100000} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			j := journal.NewMemory(journal.Options{})
			defer j.Close()
			h := hub.New(j, &rights{}, hub.Options{})
			defer h.Close()
			for i := range topics {
				for range 2 {
					s, err := h.Subscribe(hub.Request{After: h.Head(), Query: query(fmt.Sprintf("/t/%d", i)), Form: text{"text"}, NewWaker: newBell})
					if err != nil {
						b.Fatal(err)
					}
					defer s.Close()
				}
			}
			e := tidings.Event{Topic: "/t/3", Payload: make([]byte, 512)}
			for b.Loop() {
				if _, err := j.Append(context.Background(), e); err != nil {
					b.Fatal(err)
				}
				if err := h.Drain(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
