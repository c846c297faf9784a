package mediawiki

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/internal/drops"
)

// appender is the appending half of a source.
func appender(f func(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error)) *UDP {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &UDP{config: Config{Append: f, Log: log}, drops: drops.New(log, Publisher), queue: queue{maxBytes: 1 << 20, wake: make(chan struct{}, 1)}}
}

func event(i int) tidings.Event {
	return tidings.Event{Topic: "/t", Key: strconv.Itoa(i), Payload: make([]byte, 100)}
}

func ok(events []tidings.Event) []tidings.Appended { return make([]tidings.Appended, len(events)) }

// TestBatches asserts that what arrives during an Append is handed over together, in order, 512 at most.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		next := 0
		u := appender(func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
			sizes = append(sizes, len(events))
			for _, e := range events {
				if e.Key != strconv.Itoa(next) {
					t.Errorf("got %s instead of %d", e.Key, next)
				}
				next++
			}
			time.Sleep(8 * time.Millisecond)
			return ok(events), nil
		})
		var done sync.WaitGroup
		done.Go(func() { u.appendAll(t.Context()) })
		u.queue.put(event(0))
		synctest.Wait()
		for i := 1; i < 1200; i++ {
			u.queue.put(event(i))
		}
		u.queue.close()
		done.Wait()
		if want := []int{1, 512, 512, 175}; len(sizes) != 4 || sizes[0] != want[0] || sizes[1] != want[1] || sizes[3] != want[3] {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
		if next != 1200 || u.appended.Load() != 1200 || u.queue.bytes != 0 {
			t.Errorf("%d events, %d bytes left", next, u.queue.bytes)
		}
	})
}

// TestUnavailable asserts that a batch is tried until the journal is back, that only what the queue cannot hold is
// dropped, and that it is counted.
func TestUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		var seen []string
		start := time.Now()
		back := start.Add(time.Minute)
		u := appender(func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
			calls++
			if time.Now().Before(back) {
				return nil, tidings.Errorf(tidings.ErrUnavailable, "the disk is full")
			}
			for _, e := range events {
				seen = append(seen, e.Key)
			}
			return ok(events), nil
		})
		u.queue.maxBytes = 10 * (eventBytes + 100)
		var done sync.WaitGroup
		done.Go(func() { u.appendAll(t.Context()) })
		put, refused := 0, 0
		for i := range 15 {
			if ok, failing := u.queue.put(event(i)); ok {
				put++
			} else {
				refused++
				if !failing {
					t.Error("the journal is not told as the reason")
				}
			}
			synctest.Wait()
		}
		if put != 10 || refused != 5 {
			t.Errorf("%d put, %d refused", put, refused)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		u.queue.close()
		done.Wait()
		if len(seen) != 10 || seen[0] != "0" || seen[9] != "9" || calls > 30 {
			t.Errorf("%v after %d calls", seen, calls)
		}
		if len(u.drops.Snapshot()) != 0 {
			t.Errorf("dropped %v", u.drops.Snapshot())
		}
	})
}

// TestUnavailableAtShutdown asserts that the source gives up and counts what is left.
func TestUnavailableAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := appender(func(context.Context, ...tidings.Event) ([]tidings.Appended, error) {
			return nil, errors.New("some failure of the machine")
		})
		for i := range 700 {
			u.queue.put(event(i))
		}
		ctx, giveUp := context.WithCancel(t.Context())
		time.AfterFunc(shutdownTime, giveUp)
		u.queue.close()
		start := time.Now()
		u.appendAll(ctx)
		if d := time.Since(start); d != shutdownTime {
			t.Errorf("it took %v", d)
		}
		if got := u.drops.Snapshot(); !maps.Equal(got, map[string]uint64{JournalUnavailable: 700}) {
			t.Errorf("dropped %v", got)
		}
	})
}

// TestRefused asserts that one bad event costs no other.
func TestRefused(t *testing.T) {
	var seen []string
	u := appender(func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
		for _, e := range events {
			switch e.Key {
			case "3":
				return nil, tidings.Errorf(tidings.ErrInvalid, "I do not like it")
			case "5":
				return nil, tidings.Errorf(tidings.ErrTooLarge, "too much")
			}
		}
		for _, e := range events {
			seen = append(seen, e.Key)
		}
		return ok(events), nil
	})
	for i := range 8 {
		u.queue.put(event(i))
	}
	u.queue.close()
	u.appendAll(t.Context())
	if len(seen) != 6 || u.appended.Load() != 6 {
		t.Errorf("appended %v", seen)
	}
	if got := u.drops.Snapshot(); !maps.Equal(got, map[string]uint64{JournalRefused: 1, "too-large": 1}) {
		t.Errorf("dropped %v", got)
	}
}

func TestQueueFull(t *testing.T) {
	u := appender(nil)
	u.config.Wikis = nil
	u.queue.maxBytes = eventBytes
	if ok, failing := u.queue.put(event(0)); ok || failing {
		t.Errorf("put %v, failing %v", ok, failing)
	}
}
