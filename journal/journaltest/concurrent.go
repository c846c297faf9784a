package journaltest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/journal"
)

func testConcurrent(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{DedupeWindow: time.Hour})
	const writers, calls = 8, 25
	zero := s.Head()
	at := make([][]tidings.Appended, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for c := range calls {
				n := 1 + (w+c)%4
				evs := make([]tidings.Event, n)
				for i := range evs {
					evs[i] = event(tidings.Topic(fmt.Sprintf("/w/%d", w)), fmt.Sprintf("%d.%d.%d", w, c, i))
					evs[i].Publisher, evs[i].Mark = fmt.Sprint("p", w), fmt.Sprintf("%d.%d", c, i)
					evs[i].Key = string(evs[i].Payload)
				}
				got, err := s.Journal.Append(t.Context(), evs...)
				if err != nil {
					t.Error("Append:", err)
					return
				}
				if h := s.Head(); h.Offset < got[n-1].Position.Offset {
					t.Errorf("Head = %s behind an append at %s", h, got[n-1].Position)
				}
				at[w] = append(at[w], got...)
			}
		})
	}
	wg.Wait()
	s.reopened(func(t *testing.T) {
		all := readAll(t, s, zero, 50)
		byWriter := map[tidings.Topic][]tidings.Event{}
		for _, e := range all {
			byWriter[e.Topic] = append(byWriter[e.Topic], e)
		}
		for w := range writers {
			topic := tidings.Topic(fmt.Sprintf("/w/%d", w))
			evs := byWriter[topic]
			if len(evs) != len(at[w]) {
				t.Fatalf("%s has %d events, want %d", topic, len(evs), len(at[w]))
			}
			for i, e := range evs {
				if e.Position != at[w][i].Position {
					t.Errorf("%s: event %d is at %s, Append said %s", topic, i, e.Position, at[w][i].Position)
				}
			}
			want := evs[len(evs)-1].Mark
			if m, err := s.Mark(t.Context(), fmt.Sprint("p", w)); err != nil || m != want {
				t.Errorf("Mark of writer %d = %q, %v, want %q", w, m, err, want)
			}
		}
	})
}

// testReadersJoining has readers join at random positions while events are appended and old ones are removed: each
// sees every event behind its position once and in order, or is told of a gap.
func testReadersJoining(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{TailBytes: 8 << 10, Retention: []journal.Retention{{Prefix: "/gone", Age: time.Hour}}})
	const total = 1500
	ctx := t.Context()
	zero := s.Head()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; n < total; {
			evs := make([]tidings.Event, 1+rand.IntN(20))
			for i := range evs {
				evs[i] = event(tidings.Topic(fmt.Sprintf("/t/%d", (n+i)%7)), fmt.Sprint(n+i))
			}
			evs = append(evs, event("/gone", "x"))
			if _, err := s.Journal.Append(ctx, evs...); err != nil {
				t.Error("Append:", err)
				return
			}
			n += len(evs) - 1
			if rand.IntN(20) == 0 {
				if _, err := s.Trim(ctx, time.Now().Add(2*time.Hour)); err != nil {
					t.Error("Trim:", err)
					return
				}
			}
		}
	}()
	var wg sync.WaitGroup
	for r := range 12 {
		ps := [][]tidings.Pattern{patterns("/t/*"), patterns("/t/3"), patterns("/t/1", "/t/2", "/gone"), nil}[r%4]
		wg.Go(func() {
			ch := make(chan struct{}, 1)
			defer s.Notify(ch)()
			for {
				head := s.Head()
				from := tidings.Position{Epoch: head.Epoch, Offset: rand.Uint64N(head.Offset + 1)}
				got, err := readThrough(ctx, s, from, head, 1+rand.IntN(100), ps)
				if err != nil {
					t.Errorf("reading from %s to %s: %v", from, head, err)
					return
				}
				if len(ps) != 3 && ps != nil {
					checkRun(t, got, ps)
				}
				select {
				case <-ch:
				case <-done:
					return
				}
			}
		})
	}
	wg.Wait()
	<-done
	all := readAll(t, s, zero, 100, "/t/*")
	if len(all) < total {
		t.Fatalf("%d events of %d are there", len(all), total)
	}
	for i, e := range all {
		if string(e.Payload) != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, e.Payload)
		}
	}
}

// checkRun checks that the events are consecutive among those that match.
func checkRun(t *testing.T, evs []tidings.Event, ps []tidings.Pattern) {
	t.Helper()
	next := -1
	for _, e := range evs {
		var n int
		if _, err := fmt.Sscan(string(e.Payload), &n); err != nil {
			t.Errorf("unexpected event %q", e.Payload)
			return
		}
		if next >= 0 && n != next {
			t.Errorf("event %d where %d was to come", n, next)
			return
		}
		for next = n + 1; !slices.ContainsFunc(ps, func(p tidings.Pattern) bool {
			return p.Match(tidings.Topic(fmt.Sprintf("/t/%d", next%7)))
		}); next++ {
		}
	}
}

func testClose(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	s.put("/a", "1")
	b, err := s.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	// What is under way when Close is called is either stored or refused.
	results := make(chan error, 20)
	for i := range 20 {
		go func() {
			_, err := s.Journal.Append(context.Background(), event("/c", fmt.Sprint(i)))
			results <- err
		}()
	}
	if err := s.Journal.Close(); err != nil {
		t.Fatal("Close:", err)
	}
	stored := 0
	for range 20 {
		if err := <-results; err == nil {
			stored++
		} else {
			wantKind(t, "Append during Close", err, tidings.ErrUnavailable)
		}
	}
	if err := s.Journal.Close(); err != nil {
		t.Error("the second Close:", err)
	}
	ctx := t.Context()
	pos := s.Head()
	_, errAppend := s.Journal.Append(ctx, event("/a", "2"))
	_, _, errRead := s.Read(ctx, pos, nil, 1)
	_, errAt := s.At(ctx, time.Now())
	_, errLast := s.Last(ctx, "/a")
	_, errTopics := s.Topics(ctx, tidings.MustPattern("/**"))
	_, errMark := s.Mark(ctx, "p")
	_, errBucket := s.Bucket(ctx, "b")
	_, errTrim := s.Trim(ctx, time.Now())
	for name, err := range map[string]error{
		"Append": errAppend, "Read": errRead, "At": errAt, "Last": errLast, "Topics": errTopics, "Mark": errMark, "Bucket": errBucket, "Trim": errTrim,
		"Put": b.Put(ctx, "k", nil), "Delete": b.Delete(ctx, "k"), "Watch": b.Watch(ctx, func(string, []byte) {}),
	} {
		wantKind(t, name+" after Close", err, tidings.ErrUnavailable)
	}
	if !s.Forgets {
		s.Journal = s.Open(t, s.opts)
		if got := readAll(t, s, s.Oldest(), 100, "/c"); len(got) != stored {
			t.Errorf("%d events are there, %d were acknowledged", len(got), stored)
		}
	}
}

// watched collects what a watch is told.
type watched struct {
	mu  sync.Mutex
	m   map[string]string
	all []string
}

func (w *watched) f(key string, value []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = map[string]string{}
	}
	w.all = append(w.all, key)
	if value == nil {
		delete(w.m, key)
	} else {
		w.m[key] = string(value)
	}
}

// value returns the last value of a key; "" for none.
func (w *watched) value(key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.m[key]
}

func (w *watched) want(t *testing.T, what, want string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := fmt.Sprint(w.m); got != want {
		t.Errorf("%s: the watch has %s, want %s", what, got, want)
	}
}

func (s *suite) bucket(t *testing.T, name string) journal.Bucket {
	t.Helper()
	b, err := s.Bucket(t.Context(), name)
	if err != nil {
		t.Fatalf("Bucket(%q): %v", name, err)
	}
	return b
}

func testBucket(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{MaxPayload: 1000})
	ctx := t.Context()
	b := s.bucket(t, "tokens")
	for _, name := range []string{"", "A", "a.b", "ü", "a b"} {
		_, err := s.Bucket(ctx, name)
		wantKind(t, fmt.Sprintf("Bucket(%q)", name), err, tidings.ErrInvalid)
	}
	long := make([]byte, 256)
	for i := range long {
		long[i] = 'k'
	}
	for _, key := range []string{"", "\xff", string(long)} {
		wantKind(t, fmt.Sprintf("Put(%.10q)", key), b.Put(ctx, key, nil), tidings.ErrInvalid)
		wantKind(t, fmt.Sprintf("Delete(%.10q)", key), b.Delete(ctx, key), tidings.ErrInvalid)
	}
	wantKind(t, "Put of a big value", b.Put(ctx, "k", make([]byte, 1001)), tidings.ErrTooLarge)
	if err := b.Delete(ctx, "nothing"); err != nil {
		t.Error("Delete of a key that is not there:", err)
	}
	for _, key := range []string{"user@example.org", "a.b.*", "=2F", " ", "日本", "/a/b", ".", string(long[:255])} {
		if err := b.Put(ctx, key, []byte("v:"+key)); err != nil {
			t.Errorf("Put(%q): %v", key, err)
		}
	}
	var w watched
	if err := b.Watch(ctx, w.f); err != nil {
		t.Fatal("Watch:", err)
	}
	for key, v := range w.m {
		if v != "v:"+key {
			t.Errorf("key %q has the value %.40q", key, v)
		}
	}
	if len(w.m) != 8 {
		t.Errorf("%d keys, want 8", len(w.m))
	}
	var other watched
	if err := s.bucket(t, "other").Watch(ctx, other.f); err != nil {
		t.Fatal(err)
	}
	other.want(t, "another bucket", "map[]")
}

func testBucketWatch(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	b := s.bucket(t, "b")
	ctx, cancel := context.WithCancel(t.Context())
	put := func(key, value string) {
		t.Helper()
		if err := b.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal("Put:", err)
		}
	}
	put("a", "1")
	put("gone", "1")
	if err := b.Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	var w1, w2 watched
	if err := b.Watch(ctx, w1.f); err != nil {
		t.Fatal(err)
	}
	w1.want(t, "at first", "map[a:1]")
	if slices.Contains(w1.all, "gone") {
		t.Error("the watch was told of a key deleted before")
	}
	// A change has reached f when Put returns, with the bucket opened twice too.
	if err := s.bucket(t, "b").Watch(t.Context(), w2.f); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		put("b", fmt.Sprint(i))
		w1.want(t, "after Put", fmt.Sprintf("map[a:1 b:%d]", i))
	}
	put("empty", "")
	w1.want(t, "after Put of nothing", "map[a:1 b:19 empty:]")
	if err := b.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	w1.want(t, "after Delete", "map[a:1 empty:]")
	cancel()
	put("c", "1")
	w2.want(t, "after the end of the other watch", "map[a:1 c:1 empty:]")
	if err := b.Watch(ctx, w1.f); !errors.Is(err, context.Canceled) && err != nil {
		t.Errorf("Watch with a context that is over: %v", err)
	}
}

func testBucketReopened(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	if s.Forgets {
		return
	}
	b := s.bucket(t, "accounts")
	for i := range 5 {
		if err := b.Put(t.Context(), fmt.Sprint("k", i), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(t.Context(), "k2"); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	var w watched
	if err := s.bucket(t, "accounts").Watch(t.Context(), w.f); err != nil {
		t.Fatal(err)
	}
	w.want(t, "reopened", "map[k0:v k1:v k3:v k4:v]")
}
