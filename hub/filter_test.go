package hub_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidings"
	"tidings/hub"
	"tidings/journal"
)

func TestFieldFilter(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{})
	f, err := hub.NewFieldFilter(map[string][]string{"wiki": {"dewiki", "enwiki"}, "bot": {"false"}, "length.new": {"7"}})
	if err != nil {
		t.Fatal(err)
	}
	q := query("/a")
	q.Filter = f
	s := w.subscribe(w.h.Head(), q, tidings.Actor{})
	for _, p := range []string{
		`{"wiki":"enwiki","bot":false,"length":{"old":null,"new":7}}`,
		`{"wiki":"frwiki","bot":false,"length":{"new":7}}`,
		`{"wiki":"enwiki","bot":true,"length":{"new":7}}`,
		`{"wiki":"enwiki","bot":false,"length":{"new":8}}`,
		`{"wiki":"enwiki","bot":false}`,
		`{"wiki":"enwiki","bot":false,"length":{"new":7}`, // cut: what was read of it counts
		`[1,2]`, `7`, ``,
		`{"length":{"new":7},"x":[{"wiki":"no"}],"wiki":"dewiki","bot":false}`,
	} {
		w.publish("/a", p)
	}
	w.drain()
	var got []string
	for line := range strings.Lines(read(s, all)) {
		n, _, _ := strings.Cut(line, " ")
		got = append(got, n)
	}
	if !slices.Equal(got, []string{"1", "6", "10"}) {
		t.Errorf("passed: %v", got)
	}
	many := map[string][]string{}
	for i := range hub.MaxFilterFields + 1 {
		many[fmt.Sprint("f", i)] = []string{"1"}
	}
	for name, fields := range map[string]map[string][]string{
		"fields": many, "bytes": {"a": {strings.Repeat("x", hub.MaxFilterBytes)}},
		"values": {"a": strings.Split(lines(1, hub.MaxFilterValues+1, "%d%d"), "\n")},
	} {
		if _, err := hub.NewFieldFilter(fields); !errors.Is(err, tidings.ErrInvalid) {
			t.Errorf("too many %s: %v", name, err)
		}
	}
}
