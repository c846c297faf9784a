package journal

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"tidings"
)

// A read that finds the tail too short goes on, even if the tail is filled from the store just then: an answer that holds nothing and
// ends where it began would have a reader wait for the next event.
func TestReadWhileTailFills(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}
	j := openInternal(t, o)
	const n = 10
	for range n {
		if _, err := j.Append(t.Context(), tidings.Event{Topic: "/a", Payload: bytes.Repeat([]byte("x"), 100)}); err != nil {
			t.Fatal(err)
		}
	}
	head := j.Head()
	evs, _, err := j.Read(t.Context(), j.Oldest(), []tidings.Pattern{tidings.PatternOf("/a")}, n)
	if err != nil || len(evs) != n {
		t.Fatalf("%d events, %v", len(evs), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { // the tail begins at the head, and then behind the first event
		for ctx.Err() == nil {
			j.tail.reset(head.Offset)
			j.tail.prepend(evs[1:], evs[0].Position.Offset, head.Offset)
		}
	})
	for i := range 20_000 {
		after := evs[i%(n-1)].Position
		_, upTo, err := j.Read(ctx, after, []tidings.Pattern{tidings.PatternOf("/a")}, 1)
		if err != nil || upTo.Offset <= after.Offset {
			t.Errorf("read %d: after %s it is complete up to %s, %v", i, after, upTo, errors.Join(err, ctx.Err()))
			break
		}
	}
	cancel()
	work.Wait()
}
