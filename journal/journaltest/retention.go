package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tidings"
	"tidings/journal"
)

func (s *suite) trim(t *testing.T, now time.Time, want int) {
	t.Helper()
	n, err := s.Trim(t.Context(), now)
	if err != nil {
		t.Fatal("Trim:", err)
	}
	if n != want {
		t.Errorf("Trim has removed %d events, want %d", n, want)
	}
}

// between returns a time that is after what was appended and before what will be, plus d.
func between(d time.Duration) time.Time { return tick().Add(d) }

func testRetentionByAge(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{Retention: []journal.Retention{{Age: time.Hour}}})
	zero := s.Head()
	quietAt := s.put("/quiet", "q")[0].Position
	old := s.put("/busy", "1", "2", "3")
	cut := between(time.Hour)
	kept := s.put("/busy", "4", "5")
	s.trim(t, time.Now(), 0)
	s.trim(t, cut, 4)
	s.reopened(func(t *testing.T) {
		s.trim(t, cut, 0)
		oldest := s.Oldest()
		if oldest != old[2].Position {
			t.Errorf("Oldest = %s, want %s", oldest, old[2].Position)
		}
		wantNames(t, "from Oldest", readAll(t, s, oldest, 10), "4", "5")
		for _, p := range []tidings.Position{zero, quietAt, old[0].Position, old[1].Position} {
			if got := wantGap(t, s, p); got != old[2].Position {
				t.Errorf("after %s there is a gap up to %s, want %s", p, got, old[2].Position)
			}
			wantGap(t, s, p, "/busy")
			wantGap(t, s, p, "/b*")
		}
		wantNames(t, "after the last one removed", readAll(t, s, old[2].Position, 10, "/busy"), "4", "5")
		wantNames(t, "after one that is kept", readAll(t, s, kept[0].Position, 10), "5")
		// A quiet topic: nothing was lost behind its last event, or anywhere if it never had one.
		wantNames(t, "quiet", readAll(t, s, quietAt, 10, "/quiet"))
		wantNames(t, "never", readAll(t, s, zero, 10, "/never/**"))
		wantGap(t, s, zero, "/quiet")
		if p, err := s.At(t.Context(), time.Unix(0, 0)); err != nil || p != oldest {
			t.Errorf("At(1970) = %s, %v, want %s", p, err, oldest)
		}
		if _, err := s.Last(t.Context(), "/quiet"); tidings.KindOf(err) != tidings.ErrNotFound {
			t.Errorf("Last of a topic that has lost all: %v", err)
		}
		if ts, err := s.Topics(t.Context(), tidings.MustPattern("/**")); err != nil || fmt.Sprint(ts) != "[{/busy 2}]" {
			t.Errorf("Topics = %v, %v", ts, err)
		}
	})
}

func testRetentionByBytes(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{Retention: []journal.Retention{{Bytes: 100 << 10}}})
	zero := s.Head()
	big := bytes.Repeat([]byte("x"), 10<<10)
	var last []tidings.Appended
	for range 30 {
		last = s.append(tidings.Event{Topic: "/a", Payload: big})
	}
	n, err := s.Trim(t.Context(), time.Now())
	if err != nil || n < 20 || n > 22 {
		t.Fatalf("Trim = %d, %v, want about 20 of 30 events of 10 KiB gone", n, err)
	}
	s.reopened(func(t *testing.T) {
		wantGap(t, s, zero)
		got := readAll(t, s, s.Oldest(), 100)
		if len(got) != 30-n || got[len(got)-1].Position != last[0].Position {
			t.Errorf("%d events are kept, want %d, the newest", len(got), 30-n)
		}
		s.trim(t, time.Now(), 0)
	})
}

func testRetentionByPrefix(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{Retention: []journal.Retention{
		{Prefix: "/short", Age: time.Hour}, {Prefix: "/small", Bytes: 3000},
	}})
	zero := s.Head()
	kb := func(name string) string { return name + string(bytes.Repeat([]byte("."), 900)) }
	var shorts, others []tidings.Appended
	for i := range 5 {
		shorts = append(shorts, s.put("/short/x", fmt.Sprint("s", i))...)
		others = append(others, s.put("/shorter", fmt.Sprint("o", i))...)
		s.put("/small", kb(fmt.Sprint("b", i)))
	}
	cut := between(time.Hour)
	s.put("/short", "s5")
	n, err := s.Trim(t.Context(), cut)
	if err != nil || n < 7 || n > 8 {
		t.Fatalf("Trim = %d, %v, want the 5 of /short/x and 2 or 3 of /small", n, err)
	}
	s.reopened(func(t *testing.T) {
		s.trim(t, cut, 0)
		wantNames(t, "short", readAll(t, s, shorts[4].Position, 10, "/short/**"), "s5")
		wantNames(t, "shorter", readAll(t, s, zero, 2, "/shorter"), "o0", "o1", "o2", "o3", "o4")
		wantNames(t, "from the last one removed", readAll(t, s, shorts[4].Position, 10, "/short/x"))
		if got := wantGap(t, s, shorts[3].Position, "/short/x"); got != shorts[4].Position {
			t.Errorf("a gap up to %s, want %s", got, shorts[4].Position)
		}
		if got := len(readAll(t, s, wantGap(t, s, zero, "/small"), 10, "/small")); got != 10-n {
			t.Errorf("%d events of /small are kept, want %d", got, 10-n)
		}
		// A reader of everything is told, and can have what is kept of the rest.
		to := wantGap(t, s, others[0].Position)
		evs, err := readTo(t.Context(), s.ReadKept, others[0].Position, to, 2, nil)
		if err != nil {
			t.Fatal("ReadKept:", err)
		}
		var kept []tidings.Event
		for _, e := range evs {
			if e.Topic == "/shorter" {
				kept = append(kept, e)
			}
		}
		if len(kept) < 3 || string(kept[0].Payload) != "o1" {
			t.Errorf("ReadKept has left out events of another rule: %v", names(kept))
		}
	})
}

// testRetentionNested has a rule that keeps longer below one that does not.
func testRetentionNested(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{Retention: []journal.Retention{
		{Age: time.Hour}, {Prefix: "/a/keep", Age: 0}, {Prefix: "/a", Age: 2 * time.Hour},
	}})
	zero := s.Head()
	for i := range 3 {
		s.put("/x", fmt.Sprint("x", i))
		s.put("/a/keep/y", fmt.Sprint("k", i))
		s.put("/a/b", fmt.Sprint("a", i))
	}
	one, two := between(time.Hour), between(2*time.Hour)
	s.put("/x", "x3")
	s.trim(t, one, 3)
	wantNames(t, "after an hour", readAll(t, s, zero, 10, "/a/**"), "k0", "a0", "k1", "a1", "k2", "a2")
	wantNames(t, "x", readAll(t, s, s.posOf(t, "/x", "x3", -1), 10, "/x"), "x3")
	s.trim(t, two, 4) // x3 too
	s.reopened(func(t *testing.T) {
		s.trim(t, two, 0)
		wantNames(t, "kept", readAll(t, s, zero, 2, "/a/keep/**"), "k0", "k1", "k2")
		wantGap(t, s, zero, "/a/**")
		wantGap(t, s, zero, "/a/b")
		wantGap(t, s, zero, "/x")
	})
}

// posOf returns the position of the last event of a topic, which has to be the one named, plus d.
func (s *suite) posOf(t *testing.T, topic tidings.Topic, name string, d int64) tidings.Position {
	t.Helper()
	e, err := s.Last(t.Context(), topic)
	if err != nil || string(e.Payload) != name {
		t.Fatalf("Last(%s) = %q, %v, want %q", topic, e.Payload, err, name)
	}
	e.Position.Offset = uint64(int64(e.Position.Offset) + d)
	return e.Position
}

func testRetentionOfAll(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{Retention: []journal.Retention{{Age: time.Hour}}})
	e := event("/a", "1")
	e.Publisher, e.Mark = "p", "m1"
	s.append(e)
	last := s.put("/a", "2")[0].Position
	s.trim(t, time.Now().Add(2*time.Hour), 2)
	for range 3 { // what the journal writes for itself must not look like a loss
		s.trim(t, time.Now().Add(2*time.Hour), 0)
		if !s.reopen() {
			break
		}
		if s.Head() != last || s.Oldest() != last {
			t.Fatalf("Head = %s, Oldest = %s, want both %s", s.Head(), s.Oldest(), last)
		}
		if evs, upTo, err := s.Read(t.Context(), last, nil, 10); err != nil || len(evs) != 0 || upTo != last {
			t.Fatalf("Read after the head: %d events, %s, %v", len(evs), upTo, err)
		}
	}
	a := s.put("/a", "3")
	if a[0].Position.Offset <= last.Offset {
		t.Errorf("a new event is at %s, not behind %s", a[0].Position, last)
	}
	wantNames(t, "the new one", readAll(t, s, last, 10), "3")
	if s.reopen() {
		wantNames(t, "the new one", readAll(t, s, last, 10), "3")
	}
}

func testMarkOutlives(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{Retention: []journal.Retention{{Age: time.Hour}}})
	for i := range 5 {
		for _, p := range []string{"p", "q"} {
			e := event("/a", "x")
			e.Publisher, e.Mark = p, fmt.Sprint(p, i)
			s.append(e)
		}
	}
	cut := between(time.Hour)
	e := event("/a", "y")
	e.Publisher, e.Mark = "q", "newer"
	s.append(e)
	s.trim(t, cut, 10)
	s.reopened(func(t *testing.T) {
		for p, want := range map[string]string{"p": "p4", "q": "newer"} {
			if m, err := s.Mark(t.Context(), p); err != nil || m != want {
				t.Errorf("Mark(%s) = %q, %v, want %q", p, m, err, want)
			}
		}
		wantNames(t, "kept", readAll(t, s, s.Oldest(), 10), "y")
	})
	s.trim(t, time.Now().Add(2*time.Hour), 1)
	s.reopened(func(t *testing.T) {
		for p, want := range map[string]string{"p": "p4", "q": "newer"} {
			if m, err := s.Mark(t.Context(), p); err != nil || m != want {
				t.Errorf("all removed: Mark(%s) = %q, %v, want %q", p, m, err, want)
			}
		}
	})
}

// readThrough reads to the head, going on behind gaps, and returns the events.
func readThrough(ctx context.Context, j Journal, after, to tidings.Position, max int, ps []tidings.Pattern) ([]tidings.Event, error) {
	var all []tidings.Event
	for after.Offset < to.Offset {
		evs, upTo, err := j.Read(ctx, after, ps, max)
		var gap *tidings.GapError
		if errors.As(err, &gap) {
			if gap.Oldest.Offset <= after.Offset {
				return all, fmt.Errorf("a gap after %s goes on from %s", after, gap.Oldest)
			}
			after = gap.Oldest
			continue
		}
		if err != nil {
			return all, err
		}
		all = append(all, evs...)
		after = upTo
	}
	return all, nil
}
