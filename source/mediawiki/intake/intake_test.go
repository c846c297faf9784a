package intake

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/internal/drops"
	"tidings/recentchange"
)

// queue returns a queue before a journal.
func queue(maxBytes int, f Append) (*Intake, *Queue) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	in := &Intake{Publisher: "test", Append: f, Log: log, Drops: drops.New(log, "test")}
	return in, in.NewQueue(maxBytes)
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
		in, q := queue(1<<20, func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
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
		finish := q.Start(t.Context())
		q.Put(event(0))
		synctest.Wait()
		for i := 1; i < 1200; i++ {
			q.Put(event(i))
		}
		finish()
		if want := []int{1, 512, 512, 175}; len(sizes) != 4 || sizes[0] != want[0] || sizes[1] != want[1] || sizes[3] != want[3] {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
		if next != 1200 || in.Appended() != 1200 || q.bytes != 0 || q.Len() != 0 {
			t.Errorf("%d events, %d bytes left", next, q.bytes)
		}
	})
}

// TestUnavailable asserts that a batch is tried until the journal is back, that only what the queue cannot hold is
// dropped, and that it is counted.
func TestUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		var seen []string
		back := time.Now().Add(time.Minute)
		in, q := queue(10*(eventBytes+100), func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
			calls++
			if time.Now().Before(back) {
				return nil, tidings.Errorf(tidings.ErrUnavailable, "the disk is full")
			}
			for _, e := range events {
				seen = append(seen, e.Key)
			}
			return ok(events), nil
		})
		finish := q.Start(t.Context())
		for i := range 15 {
			q.Put(event(i))
			synctest.Wait()
		}
		if got := in.Drops.Snapshot(); !maps.Equal(got, map[string]uint64{JournalUnavailable: 5}) {
			t.Errorf("dropped %v", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		finish()
		if len(seen) != 10 || seen[0] != "0" || seen[9] != "9" || calls > 30 {
			t.Errorf("%v after %d calls", seen, calls)
		}
	})
}

// TestUnavailableAtShutdown asserts that the source gives up and counts what is left.
func TestUnavailableAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, q := queue(1<<20, func(context.Context, ...tidings.Event) ([]tidings.Appended, error) {
			return nil, errors.New("some failure of the machine")
		})
		for i := range 700 {
			q.Put(event(i))
		}
		// The end of the source's own time is not the end of what it has received.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		q.Start(ctx)()
		if d := time.Since(start); d != ShutdownTime {
			t.Errorf("it took %v", d)
		}
		if got := in.Drops.Snapshot(); !maps.Equal(got, map[string]uint64{JournalUnavailable: 700}) {
			t.Errorf("dropped %v", got)
		}
	})
}

// TestRefused asserts that one bad event costs no other.
func TestRefused(t *testing.T) {
	var seen []string
	in, q := queue(1<<20, func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
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
		q.Put(event(i))
	}
	q.Start(t.Context())()
	if len(seen) != 6 || in.Appended() != 6 {
		t.Errorf("appended %v", seen)
	}
	if got := in.Drops.Snapshot(); !maps.Equal(got, map[string]uint64{JournalRefused: 1, "too-large": 1}) {
		t.Errorf("dropped %v", got)
	}
}

func TestQueueFull(t *testing.T) {
	in, q := queue(eventBytes, nil)
	q.Put(event(0))
	if got := in.Drops.Snapshot(); !maps.Equal(got, map[string]uint64{QueueFull: 1}) {
		t.Errorf("dropped %v", got)
	}
}

// TestWait asserts that a source that can wait loses nothing and goes on when there is room.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen int
		in, q := queue(3*(eventBytes+100), func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
			time.Sleep(time.Second)
			seen += len(events)
			return ok(events), nil
		})
		finish := q.Start(t.Context())
		start := time.Now()
		for i := range 30 {
			if err := q.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			q.Put(event(i))
		}
		finish()
		if took := time.Since(start); seen != 30 || took < 5*time.Second || len(in.Drops.Snapshot()) > 0 {
			t.Errorf("%d in %v, dropped %v", seen, took, in.Drops.Snapshot())
		}
		for range 3 {
			q.Put(event(0))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := q.Wait(ctx); err == nil {
			t.Error("there is no room, and it did not wait")
		}
	})
}

func TestEvent(t *testing.T) {
	in, _ := queue(1<<20, nil)
	payload := []byte(`{"id":5,"type":"edit","title":"A","timestamp":1700000000,"server_name":"x.example","wiki":"xwiki"}`)
	e, err := in.Event(recentchange.TypeJSON, payload, nil, time.Now())
	if err != nil || e.Topic != "/recentchange/x.example" || e.Key != "rc/xwiki/5" || e.Publisher != "test" || string(e.Payload) != string(payload) || e.Time.Unix() != 1700000000 {
		t.Errorf("%+v, %v", e, err)
	}
	payload[2] = 'X'
	if e.Payload[2] != 'i' {
		t.Error("the payload is not a copy")
	}
	for bad, want := range map[string]string{`{`: "truncated", `{"type":"edit"}`: "unknown-wiki"} {
		if _, err := in.Event(recentchange.TypeJSON, []byte(bad), nil, time.Now()); ReasonOf(err) != want {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if got := ReasonOf(tidings.Errorf(tidings.ErrInvalid, "x")); got != InvalidEvent {
		t.Error(got)
	}
}
