package journaltest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tidings"
	"tidings/journal"
)

func testRead(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	zero := s.Head()
	topics := []tidings.Topic{"/a", "/a/b", "/a/b/c", "/ab", "/b/en.x.org", "/b/de.x.org", "/b/en", "/c"}
	var all []tidings.Event
	for i := range 200 {
		e := event(topics[i*i%len(topics)], fmt.Sprint(i))
		if i%3 == 0 {
			e.Publisher, e.Mark = "p", fmt.Sprint(i) // offsets have holes
		}
		e.Position = s.append(e)[0].Position
		all = append(all, e)
	}
	s.reopened(func(t *testing.T) {
		for _, ps := range [][]string{
			{}, {"/**"}, {"/a"}, {"/a/**"}, {"/a/*"}, {"/**/c"}, {"/b/*.x.org"}, {"/b/en*"}, {"/nothing"}, {"/nothing/**"},
			{"/a", "/c"}, {"/a/**", "/a/b", "/b/*"}, {"/?"}, {"/[ab]/**"}, {"/a", "/nothing", "/**"},
			{"/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9", "/10", "/11", "/12", "/13", "/14", "/15", "/16", "/17", "/c"},
		} {
			pats := patterns(ps...)
			for _, max := range []int{1, 3, 1000} {
				for _, after := range []tidings.Position{zero, all[0].Position, all[77].Position, all[150].Position, s.Head()} {
					var want []string
					for _, e := range all {
						hit := len(pats) == 0 || slices.ContainsFunc(pats, func(p tidings.Pattern) bool { return p.Match(e.Topic) })
						if hit && e.Position.Offset > after.Offset {
							want = append(want, string(e.Payload))
						}
					}
					got, err := readTo(t.Context(), s.Read, after, s.Head(), max, pats)
					if err != nil {
						t.Fatalf("%q, %d at a time, after %s: %v", ps, max, after, err)
					}
					wantNames(t, fmt.Sprintf("%q, %d at a time, after %s", ps, max, after), got, want...)
				}
			}
		}
	})
}

// testReadAside reads a topic of few events out of many others that do not fit the memory.
func testReadAside(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{TailBytes: 20 << 10})
	zero := s.Head()
	var want []string
	for i := range 40 {
		for range 10 {
			evs := make([]tidings.Event, 25)
			for k := range evs {
				evs[k] = event(tidings.Topic(fmt.Sprintf("/busy/%d", k)), "x")
			}
			s.append(evs...)
		}
		s.put("/few", fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	s.reopened(func(t *testing.T) {
		wantNames(t, "few", readAll(t, s, zero, 3, "/few"), want...)
		wantNames(t, "few and none", readAll(t, s, zero, 30, "/few", "/none/**"), want...)
		if n := len(readAll(t, s, zero, 1000, "/busy/*")); n != 10000 {
			t.Errorf("got %d events of the busy topics, want 10000", n)
		}
		if n := len(readAll(t, s, zero, 999)); n != 10040 {
			t.Errorf("got %d events, want 10040", n)
		}
	})
}

func testReadBounds(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	s.put("/a", "1", "2", "3")
	head := s.Head()
	s.reopened(func(t *testing.T) {
		evs, upTo, err := s.Read(t.Context(), head, nil, 10)
		if err != nil || len(evs) != 0 || upTo != head {
			t.Errorf("after Head: %d events, %s, %v", len(evs), upTo, err)
		}
		evs, upTo, err = s.Read(t.Context(), s.Oldest(), nil, 0)
		if err != nil || len(evs) != 0 || upTo != s.Oldest() {
			t.Errorf("at most 0: %d events, %s, %v", len(evs), upTo, err)
		}
		evs, upTo, err = s.Read(t.Context(), s.Oldest(), patterns("/other"), 10)
		if err != nil || len(evs) != 0 || upTo != head {
			t.Errorf("nothing that matches: %d events, %s, %v, want a position of %s", len(evs), upTo, err, head)
		}
	})
}

func testGap(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	s.put("/a", "1", "2", "3")
	s.reopened(func(t *testing.T) {
		head := s.Head()
		for name, p := range map[string]tidings.Position{
			"another epoch":      {Epoch: head.Epoch ^ 1, Offset: 1},
			"no epoch":           {Offset: 1},
			"zero":               {},
			"behind the head":    {Epoch: head.Epoch, Offset: head.Offset + 1},
			"far behind the end": {Epoch: head.Epoch, Offset: 1 << 62},
		} {
			t.Run(name, func(t *testing.T) {
				oldest := wantGap(t, s, p)
				wantNames(t, "from there", readAll(t, s, oldest, 10), "1", "2", "3")
				wantGap(t, s, p, "/other")
			})
		}
	})
}

func testAt(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	var times []time.Time // before each event
	for i := range 5 {
		times = append(times, tick())
		s.put("/a", fmt.Sprint(i))
	}
	end := tick()
	s.reopened(func(t *testing.T) {
		at := func(when time.Time) tidings.Position {
			t.Helper()
			p, err := s.At(t.Context(), when)
			if err != nil {
				t.Fatalf("At(%s): %v", when, err)
			}
			return p
		}
		for _, when := range []time.Time{{}, time.Unix(0, 0), times[0], times[0].Add(-time.Hour)} {
			if p := at(when); p != s.Oldest() {
				t.Errorf("At(%s) = %s, want Oldest, %s", when, p, s.Oldest())
			}
		}
		for i, when := range times {
			got := readAll(t, s, at(when), 10)
			if len(got) != 5-i || string(got[0].Payload) != fmt.Sprint(i) {
				t.Errorf("from the time before event %d: got %v", i, names(got))
			}
		}
		for _, when := range []time.Time{end, end.Add(time.Hour), end.AddDate(300, 0, 0)} {
			if p := at(when); p != s.Head() {
				t.Errorf("At(%s) = %s, want Head, %s", when, p, s.Head())
			}
		}
	})
}

// tick returns the time once the clock has moved on by a little, so that events before and after it differ in time.
func tick() time.Time {
	start := time.Now()
	for time.Since(start) < 100*time.Microsecond {
	}
	return time.Now()
}

func testLast(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{TailBytes: 4 << 10})
	_, err := s.Last(t.Context(), "/a")
	wantKind(t, "Last in an empty journal", err, tidings.ErrNotFound)
	s.put("/a", "1", "2")
	s.put("/a/b", "3")
	for i := range 100 {
		s.put("/other", fmt.Sprint(i))
	}
	s.reopened(func(t *testing.T) {
		for topic, want := range map[tidings.Topic]string{"/a": "2", "/a/b": "3", "/other": "99"} {
			e, err := s.Last(t.Context(), topic)
			if err != nil || string(e.Payload) != want || e.Topic != topic {
				t.Errorf("Last(%s) = %s %q, %v, want %q", topic, e.Topic, e.Payload, err, want)
			}
		}
		_, err := s.Last(t.Context(), "/a/b/c")
		wantKind(t, "Last of a topic without events", err, tidings.ErrNotFound)
	})
}

func testTopics(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	for _, topic := range []tidings.Topic{"/b", "/a/x.y", "/a", "/a/x.y", "/a/x.z", "/a/x.y/deep"} {
		e := event(topic, "x")
		e.Publisher, e.Mark = "p", "m"
		s.append(e)
	}
	s.reopened(func(t *testing.T) {
		for pattern, want := range map[string]string{
			"/**":     "[{/a 1} {/a/x.y 2} {/a/x.y/deep 1} {/a/x.z 1} {/b 1}]",
			"/a/**":   "[{/a 1} {/a/x.y 2} {/a/x.y/deep 1} {/a/x.z 1}]",
			"/a/*":    "[{/a/x.y 2} {/a/x.z 1}]",
			"/a/*.z":  "[{/a/x.z 1}]",
			"/a":      "[{/a 1}]",
			"/c/**":   "[]",
			"/**/x.y": "[{/a/x.y 2}]",
		} {
			got, err := s.Topics(t.Context(), tidings.MustPattern(pattern))
			if err != nil || fmt.Sprint(got) != want {
				t.Errorf("Topics(%s) = %v, %v, want %s", pattern, got, err, want)
			}
		}
	})
}

func testNotify(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	ch, full := make(chan struct{}, 1), make(chan struct{}, 1)
	full <- struct{}{} // never emptied: must not hold anybody up
	stop, stopFull := s.Notify(ch), s.Notify(full)
	defer stopFull()
	for i := range 10 {
		a := s.put("/a", fmt.Sprint(i))
		select {
		case <-ch:
		case <-time.After(10 * time.Second):
			t.Fatal("no notification within 10s")
		}
		if s.Head().Offset < a[0].Position.Offset {
			t.Errorf("Head = %s when notified of %s", s.Head(), a[0].Position)
		}
	}
	stop()
	select {
	case <-ch:
	default:
	}
	s.put("/a", "unseen")
	select {
	case <-ch:
		t.Error("notified after stop")
	default:
	}
	stop()
}

func testStats(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	e := event("/a", "x")
	e.Key, e.Publisher, e.Mark = "k", "p", "m"
	s.append(e, event("/b", "y"))
	s.append(e)
	st := s.Stats()
	if st.Events != 2 || st.Bytes == 0 || st.Appended != 2 || st.Duplicates != 1 || st.Commits != 2 || st.Durability == "" {
		t.Errorf("Stats = %+v", st)
	}
	if s.reopen() {
		if st := s.Stats(); st.Events != 2 || st.Bytes == 0 || st.Appended != 0 || st.Commits != 0 {
			t.Errorf("reopened: Stats = %+v", st)
		}
	}
}
