package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"tidings"
	"tidings/hub"
	"tidings/journal"
)

func TestLatestAndItem(t *testing.T) {
	w := newWorld(t, journal.Options{}, hub.Options{})
	ctx := context.Background()
	var positional string
	for i := 1; i <= 2000; i++ {
		topic := "/busy"
		if i%400 == 0 {
			topic = "/rare"
		}
		if _, err := w.j.Append(ctx, tidings.Event{Topic: tidings.Topic(topic), ID: fmt.Sprint("item", i%800), Payload: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	w.drain()
	for _, c := range []struct {
		topic string
		max   int
		want  []string
	}{{"/busy", 2, []string{"1998", "1999"}}, {"/rare", 3, []string{"1200", "1600", "2000"}},
		{"/rare", 10, []string{"400", "800", "1200", "1600", "2000"}}, {"/none", 3, nil}} {
		items, next, err := w.h.Latest(ctx, query(c.topic), tidings.Actor{}, c.max)
		var got []string
		for _, it := range items {
			got = append(got, string(it.Payload))
		}
		if err != nil || !slices.Equal(got, c.want) || next != w.h.Head() {
			t.Errorf("the last %d of %s: %v, %v, %v", c.max, c.topic, got, next, err)
		}
	}
	head := w.h.Head()
	for _, c := range []struct {
		topic  string
		before uint64
		max    int
		want   []string
	}{{"/busy", 1999, 2, []string{"1997", "1998"}}, {"/busy", 401, 2, []string{"398", "399"}}, {"/rare", 2000, 2, []string{"1200", "1600"}},
		{"/rare", 401, 5, []string{"400"}}, {"/rare", 400, 5, nil}, {"/busy", 1, 5, nil}, {"/busy", 0, 5, nil},
		{"/rare", 9999, 1, []string{"2000"}}} {
		items, err := w.h.Before(ctx, query(c.topic), tidings.Actor{}, tidings.Position{Epoch: head.Epoch, Offset: c.before}, c.max)
		var got []string
		for _, it := range items {
			got = append(got, string(it.Payload))
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("the last %d of %s before %d: %v, %v; want %v", c.max, c.topic, c.before, got, err, c.want)
		}
	}
	if _, err := w.h.Before(ctx, query("/rare"), tidings.Actor{}, tidings.Position{Epoch: head.Epoch ^ 1, Offset: 3}, 1); !errors.Is(err, tidings.ErrGap) {
		t.Errorf("before a position of another epoch: %v", err)
	}
	it, err := w.h.Item(ctx, "/rare", tidings.Actor{}, "item400")
	if err != nil || string(it.Payload) != "2000" {
		t.Errorf("item400: %v, %v", it, err)
	}
	// An item named by its position is found by it, in its newest version, until it is retracted.
	for i, c := range []struct {
		e    tidings.Event
		want string
	}{
		{tidings.Event{Payload: []byte("first")}, "first"},
		{tidings.Event{Payload: []byte("second"), ID: "first"}, "second"},
		{tidings.Event{Kind: tidings.Retract, ID: "first"}, ""},
		{tidings.Event{Payload: []byte("third"), ID: "first"}, "third"},
	} {
		c.e.Topic = "/versions"
		if c.e.ID != "" {
			c.e.ID = positional
		}
		r, err := w.j.Append(ctx, c.e)
		if err != nil {
			t.Fatal(err)
		}
		w.drain()
		if i == 0 {
			positional = r[0].Position.String()
		}
		it, err := w.h.Item(ctx, "/versions", tidings.Actor{}, positional)
		if c.want == "" {
			if !errors.Is(err, tidings.ErrNotFound) {
				t.Errorf("version %d: %v, %v, want ErrNotFound", i, it, err)
			}
		} else if err != nil || string(it.Payload) != c.want {
			t.Errorf("version %d: %v, %v, want %s", i, it, err, c.want)
		}
	}
	if _, err := w.h.Item(ctx, "/rare", tidings.Actor{}, "item5"); !errors.Is(err, tidings.ErrNotFound) {
		t.Errorf("an item of another topic: %v", err)
	}
}
