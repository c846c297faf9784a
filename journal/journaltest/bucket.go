package journaltest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tidings"
	"tidings/journal"
)

func testBucketUpdate(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{MaxPayload: 1000})
	ctx := t.Context()
	b := s.bucket(t, "nodes")
	var w watched
	if err := b.Watch(ctx, w.f); err != nil {
		t.Fatal(err)
	}
	update := func(key, want string, there bool, next []byte) {
		t.Helper()
		if err := b.Update(ctx, key, func(old []byte) ([]byte, error) {
			if string(old) != want || (old != nil) != there {
				t.Errorf("Update(%q) is given %q, want %q", key, old, want)
			}
			for i := range old {
				old[i] = 'x' // it is the caller's
			}
			return next, nil
		}); err != nil {
			t.Fatalf("Update(%q): %v", key, err)
		}
	}
	update("a", "", false, []byte("1"))
	w.want(t, "a new key", "map[a:1]")
	update("a", "1", true, []byte("2"))
	w.want(t, "another value", "map[a:2]")
	update("a", "2", true, []byte{})
	w.want(t, "an empty value", "map[a:]")
	update("a", "", true, nil)
	w.want(t, "no value", "map[]")
	update("a", "", false, nil)
	update("a", "", false, []byte("3"))
	w.want(t, "a key that was deleted", "map[a:3]")
	if err := b.Put(ctx, "a", []byte("4")); err != nil {
		t.Fatal(err)
	}
	update("a", "4", true, []byte("5"))
	if err := b.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	update("a", "", false, []byte("6"))
	w.want(t, "after Put and Delete", "map[a:6]")

	refused := errors.New("refused")
	if err := b.Update(ctx, "a", func([]byte) ([]byte, error) { return []byte("7"), refused }); err != refused {
		t.Errorf("an Update that its function refuses: %v", err)
	}
	wantKind(t, "Update to a big value", b.Update(ctx, "a", func([]byte) ([]byte, error) { return make([]byte, 1001), nil }), tidings.ErrTooLarge)
	wantKind(t, "Update of no key", b.Update(ctx, "", func([]byte) ([]byte, error) { return nil, nil }), tidings.ErrInvalid)
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := b.Update(over, "a", func([]byte) ([]byte, error) { return []byte("7"), nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("Update with a context that is over: %v", err)
	}
	w.want(t, "after refusals", "map[a:6]")
	if err := s.Journal.Close(); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "Update after Close", b.Update(ctx, "a", func([]byte) ([]byte, error) { return nil, nil }), tidings.ErrUnavailable)
}

// testBucketUpdateConcurrent has several goroutines add to the same values, through buckets that were opened twice.
func testBucketUpdateConcurrent(t *testing.T, o Opener) {
	s := start(t, o, quiet)
	const writers, rounds, keys = 8, 15, 3
	var w watched
	if err := s.bucket(t, "nodes").Watch(t.Context(), w.f); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range writers {
		b := s.bucket(t, "nodes")
		wg.Go(func() {
			for r := range rounds {
				key := fmt.Sprint("k", (i+r)%keys)
				if err := b.Update(t.Context(), key, Increment); err != nil {
					t.Error("Update:", err)
					return
				}
				if err := b.Put(t.Context(), fmt.Sprint("own", i), []byte(strconv.Itoa(r))); err != nil {
					t.Error("Put:", err)
					return
				}
			}
		})
	}
	wg.Wait()
	want := map[string]string{}
	for k := range keys {
		want[fmt.Sprint("k", k)] = strconv.Itoa(writers * rounds / keys)
	}
	for i := range writers {
		want[fmt.Sprint("own", i)] = strconv.Itoa(rounds - 1)
	}
	w.want(t, "after all updates", fmt.Sprint(want))
	if s.reopen() {
		var again watched
		if err := s.bucket(t, "nodes").Watch(t.Context(), again.f); err != nil {
			t.Fatal(err)
		}
		again.want(t, "reopened", fmt.Sprint(want))
	}
}

// testBucketUpdateSeen has many goroutines add to big values, faster than the watch brings them: an update has still reached
// the watch when it returns, be it in a later value of its key.
func testBucketUpdateSeen(t *testing.T, o Opener) {
	s := start(t, o, journal.Options{TrimInterval: -1, MaxPayload: 16 << 10})
	const writers, rounds, keys = 32, 12, 8
	var w watched
	b := s.bucket(t, "nodes")
	if err := b.Watch(t.Context(), w.f); err != nil {
		t.Fatal(err)
	}
	number := func(value string) int {
		n, _ := strconv.Atoi(strings.TrimSpace(value))
		return n
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for r := range rounds {
				key := fmt.Sprint("k", (i+r)%keys)
				var mine int
				err := b.Update(t.Context(), key, func(old []byte) ([]byte, error) {
					mine = number(string(old)) + 1
					return fmt.Appendf(nil, "%8192d", mine), nil
				})
				if err != nil {
					t.Error("Update:", err)
					return
				}
				if seen := number(w.value(key)); seen < mine {
					t.Errorf("the watch has %s = %d when the update that made it %d returns", key, seen, mine)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Increment adds one to a decimal number, for Update.
func Increment(old []byte) ([]byte, error) {
	n := 0
	if old != nil {
		var err error
		if n, err = strconv.Atoi(string(old)); err != nil {
			return nil, err
		}
	}
	return strconv.AppendInt(nil, int64(n+1), 10), nil
}
