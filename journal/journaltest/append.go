package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidings"
	"tidings/journal"
)

func testEmpty(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	epoch := s.Head().Epoch
	if epoch == 0 {
		t.Error("the epoch is 0")
	}
	s.reopened(func(t *testing.T) {
		if h := s.Head(); h.Offset != 0 || h.Epoch != epoch {
			t.Errorf("Head = %s, want offset 0 of epoch %08x", h, epoch)
		}
		if s.Oldest() != s.Head() {
			t.Errorf("Oldest = %s, Head = %s, want the same", s.Oldest(), s.Head())
		}
		evs, upTo, err := s.Read(t.Context(), s.Head(), nil, 10)
		if err != nil || len(evs) != 0 || upTo != s.Head() {
			t.Errorf("Read = %d events, %s, %v", len(evs), upTo, err)
		}
		if p, err := s.At(t.Context(), time.Now()); err != nil || p != s.Head() {
			t.Errorf("At = %s, %v, want Head", p, err)
		}
		if ts, err := s.Topics(t.Context(), tidings.MustPattern("/**")); err != nil || len(ts) != 0 {
			t.Errorf("Topics = %v, %v", ts, err)
		}
		if n, err := s.Trim(t.Context(), time.Now()); n != 0 || err != nil {
			t.Errorf("Trim = %d, %v", n, err)
		}
		if got, err := s.Journal.Append(t.Context()); len(got) != 0 || err != nil {
			t.Errorf("Append of nothing = %v, %v", got, err)
		}
	})
}

func testAppend(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	zero := s.Head()
	var all []tidings.Position
	var want []string
	for i := range 5 {
		var ns []string
		for k := range 1 + i*3 {
			ns = append(ns, fmt.Sprintf("%d.%d", i, k))
		}
		for _, a := range s.put("/a/b", ns...) {
			if a.Duplicate {
				t.Error("an event without a key is called a duplicate")
			}
			all = append(all, a.Position)
		}
		want = append(want, ns...)
		if h := s.Head(); h != all[len(all)-1] {
			t.Errorf("Head = %s behind an append whose last event is at %s", h, all[len(all)-1])
		}
	}
	for i := 1; i < len(all); i++ {
		if all[i].Offset <= all[i-1].Offset || all[i].Epoch != zero.Epoch {
			t.Errorf("position %s follows %s", all[i], all[i-1])
		}
	}
	s.reopened(func(t *testing.T) {
		if h := s.Head(); h != all[len(all)-1] {
			t.Errorf("Head = %s, want %s", h, all[len(all)-1])
		}
		if s.Oldest() != zero {
			t.Errorf("Oldest = %s, want %s", s.Oldest(), zero)
		}
		got := readAll(t, s, zero, 7)
		wantNames(t, "all", got, want...)
		for i := range got {
			if got[i].Position != all[i] {
				t.Errorf("event %d is at %s, Append said %s", i, got[i].Position, all[i])
			}
		}
	})
	if a := s.put("/a/b", "more"); !s.Forgets && a[0].Position.Offset <= all[len(all)-1].Offset {
		t.Errorf("after reopening an event is at %s, not behind %s", a[0].Position, all[len(all)-1])
	}
}

// testFields stores events with every field at its extremes.
func testFields(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	long := func(n int) string { return strings.Repeat("ü", n/2) + strings.Repeat("x", n%2) }
	segs := strings.Repeat("/"+strings.Repeat(".", 62)+"%", 16)
	when := time.Date(2026, 2, 3, 4, 5, 6, 789012345, time.FixedZone("", 3600))
	evs := []tidings.Event{
		{Topic: "/a", Time: when},
		{Topic: "/en.wikipedia.org/100% >of it./_", Time: when, ID: " id with spaces ", Key: "k:1 ", ContentType: "application/json; charset=\"utf-8\"",
			Payload: []byte("{}\r\n\x00\xff"), Publisher: "source:mediawiki", Mark: "a%20b"},
		{Topic: tidings.Topic(segs[:1023]), Time: when, Kind: tidings.Retract, ID: long(tidings.MaxIDBytes), Key: long(tidings.MaxKeyBytes),
			ContentType: long(tidings.MaxContentTypeBytes), Publisher: long(tidings.MaxPublisherBytes), Mark: long(tidings.MaxMarkBytes),
			Payload: bytes.Repeat([]byte{7}, 1<<20)},
		{Topic: "/Žižkov/日本語/%2E/~a.b", Time: time.Unix(0, 0), ID: "%", Mark: " ", Publisher: ""},
		{Topic: "/_/_", Time: time.Date(0, 1, 1, 0, 0, 0, 1, time.UTC), Mark: "x", Publisher: "* > ."},
		{Topic: "/year", Time: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), ContentType: "text/plain"},
	}
	zero := s.Head()
	for i, a := range s.append(evs...) {
		evs[i].Position = a.Position
		evs[i].Time = evs[i].Time.UTC()
	}
	s.reopened(func(t *testing.T) {
		got := readAll(t, s, zero, 2)
		if d := cmp.Diff(evs, got, cmp.Transformer("bytes", func(b []byte) string { return string(b) })); d != "" {
			t.Error("the events come back changed (-want +got):\n", d)
		}
		for _, e := range evs {
			if m, err := s.Mark(t.Context(), e.Publisher); err != nil || m != e.Mark && e.Publisher != "" {
				t.Errorf("Mark(%.20q) = %.20q, %v, want %.20q", e.Publisher, m, err, e.Mark)
			}
		}
	})
	before := time.Now()
	s.put("/now", "x")
	if e, err := s.Last(t.Context(), "/now"); err != nil || e.Time.Before(before.Add(-time.Millisecond)) || e.Time.After(time.Now()) {
		t.Errorf("an event without a time has %v, %v", e.Time, err)
	}
}

func testInvalid(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{MaxPayload: 100})
	for name, tt := range map[string]struct {
		e    tidings.Event
		kind tidings.ErrorKind
	}{
		"topic":       {tidings.Event{Topic: "a"}, tidings.ErrInvalid},
		"no topic":    {tidings.Event{}, tidings.ErrInvalid},
		"glob":        {tidings.Event{Topic: "/a/*"}, tidings.ErrInvalid},
		"id":          {tidings.Event{Topic: "/a", ID: "a\nb"}, tidings.ErrInvalid},
		"long key":    {tidings.Event{Topic: "/a", Key: strings.Repeat("k", tidings.MaxKeyBytes+1)}, tidings.ErrInvalid},
		"kind":        {tidings.Event{Topic: "/a", Kind: 9}, tidings.ErrInvalid},
		"year":        {tidings.Event{Topic: "/a", Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, tidings.ErrInvalid},
		"big payload": {tidings.Event{Topic: "/a", Payload: make([]byte, 101)}, tidings.ErrTooLarge},
	} {
		_, err := s.Journal.Append(t.Context(), event("/a", "good"), tt.e)
		wantKind(t, name, err, tt.kind)
	}
	if h := s.Head(); h.Offset != 0 {
		t.Errorf("Head = %s: a refused call has stored something", h)
	}
	s.append(tidings.Event{Topic: "/a", Payload: make([]byte, 100)})
}

func testCanceled(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Journal.Append(ctx, event("/a", "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Append: %v, want context.Canceled", err)
	}
	if h := s.Head(); h.Offset != 0 {
		t.Errorf("Head = %s: a canceled call has stored something", h)
	}
}

func testDuplicates(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{DedupeWindow: time.Hour})
	keyed := func(key, name string) tidings.Event {
		e := event("/a", name)
		e.Key = key
		return e
	}
	first := s.append(keyed("k1", "one"), keyed("k2", "two"), keyed("k1", "one again"), keyed("", "free"), keyed("", "free"))
	if !first[2].Duplicate || first[2].Position != first[0].Position {
		t.Errorf("a repeat in one call: got %v, want a duplicate of %s", first[2], first[0].Position)
	}
	for _, i := range []int{0, 1, 3, 4} {
		if first[i].Duplicate {
			t.Errorf("event %d is called a duplicate", i)
		}
	}
	zero := tidings.Position{Epoch: s.Head().Epoch}
	want := []string{"one", "two", "free", "free"}
	n := 0
	s.reopened(func(t *testing.T) {
		n++
		more := s.append(keyed("k2", "two again"), keyed(fmt.Sprint("new", n), fmt.Sprint("new", n)), keyed("k1", "one again"))
		want = append(want, fmt.Sprint("new", n))
		if !more[0].Duplicate || more[0].Position != first[1].Position || !more[2].Duplicate || more[2].Position != first[0].Position {
			t.Errorf("repeats: got %v, want duplicates of %s and %s", more, first[1].Position, first[0].Position)
		}
		if more[1].Duplicate {
			t.Error("a new event between repeats is called a duplicate")
		}
		again := s.append(keyed("k1", "x"))
		if !again[0].Duplicate || again[0].Position != first[0].Position {
			t.Errorf("a repeat alone: got %v, want a duplicate of %s", again[0], first[0].Position)
		}
		wantNames(t, "all", readAll(t, s, zero, 100), want...)
		if h := s.Head(); h != more[1].Position {
			t.Errorf("Head = %s, want %s", h, more[1].Position)
		}
		if st := s.Stats(); st.Duplicates < 3 {
			t.Errorf("Stats.Duplicates = %d, want 3 at least", st.Duplicates)
		}
	})
}

func testDedupeWindow(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{DedupeWindow: 100 * time.Millisecond})
	e := event("/a", "x")
	e.Key = "k"
	first := s.append(e)
	for deadline := time.Now().Add(10 * time.Second); ; {
		began := time.Now()
		a := s.append(e)
		if !a[0].Duplicate {
			break
		}
		if a[0].Position != first[0].Position {
			t.Fatalf("a duplicate of %s, want %s", a[0].Position, first[0].Position)
		}
		if began.After(deadline) {
			t.Fatal("a key is still known after 100 times the window")
		}
	}
}

func testMark(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{DedupeWindow: time.Hour})
	marked := func(pub, key, mark string) tidings.Event {
		e := event("/a", key)
		e.Publisher, e.Key, e.Mark = pub, key, mark
		return e
	}
	want := func(t *testing.T, pub, mark string) {
		t.Helper()
		if m, err := s.Mark(t.Context(), pub); err != nil || m != mark {
			t.Errorf("Mark(%q) = %q, %v, want %q", pub, m, err, mark)
		}
	}
	want(t, "p", "")
	s.append(marked("p", "1", "m1"), marked("q.r", "2", "n1"), marked("p", "3", "m2"), marked("p", "4", ""))
	s.append(event("/a", "other"))
	n := 0
	s.reopened(func(t *testing.T) {
		want(t, "nobody", "")
		if n++; n == 1 {
			want(t, "p", "m2")
		}
		want(t, "q.r", "n1")
		wantNames(t, "all", readAll(t, s, tidings.Position{Epoch: s.Head().Epoch}, 2), "1", "2", "3", "4", "other")
		s.append(marked("p", "3", "m3")) // a repeat moves the mark too
		want(t, "p", "m3")
	})
	want(t, "p", "m3")
}
