package poll

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"tidings"
)

func TestMarkAgain(t *testing.T) {
	for _, w := range []*window{
		{seen: map[int64]int64{}},
		{floor: place{100, 7}, high: 200, seen: map[int64]int64{1: 150, 2: 150, 1 << 40: 200}},
		{floor: place{-5, 0}, high: -1, seen: map[int64]int64{9: 0, -12345: 3}},
	} {
		wiki, got, err := parseMark(w.mark("a wiki-x"))
		if err != nil || wiki != "a wiki-x" || got.high != w.high || got.floor != w.floor {
			t.Fatalf("%+v came back as %q %+v, %v", w, wiki, got, err)
		}
		want := map[int64]int64{}
		for id := range w.seen {
			if id > 0 {
				want[id] = w.high
			}
		}
		if !maps.Equal(got.seen, want) {
			t.Errorf("%v came back as %v", w.seen, got.seen)
		}
	}
}

// TestMarkFits asserts that a mark holds what a busy wiki makes in five minutes, and that one which does not fit leaves
// out the oldest rows and says so.
func TestMarkFits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	build := func(n, holes int) *window {
		w := &window{floor: place{time: 1_700_000_000}, seen: map[int64]int64{}}
		id := int64(2_000_000_000)
		for i := range n {
			id += 1 + int64(random.IntN(holes+1))
			w.add(place{w.floor.time + int64(i/50), id}, 1<<40)
		}
		return w
	}
	for _, tc := range []struct {
		name     string
		n, holes int
		all      bool
	}{
		{"50 a second for five minutes", 15_000, 0, true},
		{"the same with an rcid in two lost", 7_500, 1, true},
		{"far too many", 150_000, 20, false},
	} {
		w := build(tc.n, tc.holes)
		m := w.mark("enwiki")
		if len(m) > tidings.MaxMarkBytes {
			t.Errorf("%s: %d bytes", tc.name, len(m))
		}
		_, got, err := parseMark(m)
		if err != nil {
			t.Fatal(err)
		}
		if (len(got.seen) == tc.n) != tc.all || len(got.seen) < 2000 {
			t.Errorf("%s: %d rows of %d", tc.name, len(got.seen), tc.n)
		}
		for id, at := range w.seen {
			if !got.known(place{at, id}) {
				t.Fatalf("%s: the row %d would be told again", tc.name, id)
			}
		}
		t.Logf("%s: %d rows of %d in %d bytes", tc.name, len(got.seen), tc.n, len(m))
	}
}

func TestPrune(t *testing.T) {
	w := &window{seen: map[int64]int64{}}
	for i := range int64(maxSeen) {
		w.add(place{100 + i/100_000, i + 1}, 1<<40)
	}
	if w.prune(100) || len(w.seen) != maxSeen {
		t.Fatalf("%d rows are left", len(w.seen))
	}
	w.add(place{102, maxSeen + 1}, 1<<40)
	if !w.prune(100) || len(w.seen) != maxSeen/2 {
		t.Fatalf("%d rows are left", len(w.seen))
	}
	for _, p := range []place{{100, 1}, {101, 100_001}, {102, maxSeen + 1}} {
		if !w.known(p) {
			t.Errorf("%v is forgotten", p)
		}
	}
	if w.known(place{102, maxSeen + 2}) {
		t.Error("a new row is taken for a known one")
	}
	if w.prune(103); len(w.seen) != 0 {
		t.Errorf("%d rows are left", len(w.seen))
	}
}

func FuzzParseMark(f *testing.F) {
	w := &window{floor: place{100, 7}, high: 200, seen: map[int64]int64{1: 150, 2: 150, 1 << 40: 200}}
	m := w.mark("enwiki")
	for _, s := range []string{m, m[:len(m)-3], "", "1 a 1 2 3 -", "1 a 1 2 3 !", "2 a 1 2 3 -", "1 %zz 1 2 3 -", "1 a x 2 3 -", strings.Repeat("1 ", 3000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		wiki, w, err := parseMark(s)
		if err != nil {
			if tidings.KindOf(err) != tidings.ErrInvalid {
				t.Fatal(err)
			}
			return
		}
		again := w.mark(wiki)
		if len(again) > tidings.MaxMarkBytes && len(wiki) < 100 {
			t.Fatalf("%d bytes", len(again))
		}
		if wiki == "" {
			return
		}
		if _, _, err := parseMark(again); err != nil {
			t.Fatalf("%q became %q: %v", s, again, err)
		}
	})
}
