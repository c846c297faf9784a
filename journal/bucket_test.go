package journal_test

import (
	"strconv"
	"sync"
	"testing"

	"tidings/journal"
	"tidings/journal/journaltest"
)

// Two processes on the same servers add to the same value: nothing is lost, and both see it.
func TestBucketUpdateOfTwoProcesses(t *testing.T) {
	srv := natsServer(t, t.TempDir(), -1)
	const rounds = 40
	var wg sync.WaitGroup
	var mu sync.Mutex
	last := map[int]string{}
	for p := range 2 {
		j := open(t, journal.Options{URL: srv.ClientURL(), Stream: "two"})
		b, err := j.Bucket(t.Context(), "nodes")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Watch(t.Context(), func(_ string, value []byte) {
			mu.Lock()
			defer mu.Unlock()
			last[p] = string(value)
		}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			wg.Go(func() {
				for range rounds {
					if err := b.Update(t.Context(), "n", journaltest.Increment); err != nil {
						t.Error("Update:", err)
						return
					}
				}
			})
		}
		defer func() {
			if err := b.Update(t.Context(), "n", func(old []byte) ([]byte, error) { return old, nil }); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if want := strconv.Itoa(4 * rounds); last[p] != want {
				t.Errorf("process %d sees %s, want %s", p, last[p], want)
			}
		}()
	}
	wg.Wait()
}

func BenchmarkBucketPut(b *testing.B) {
	j := open(b, journal.Options{Dir: b.TempDir()})
	bucket, err := j.Bucket(b.Context(), "nodes")
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 300)
	for _, writers := range []int{1, 64} {
		b.Run(strconv.Itoa(writers), func(b *testing.B) {
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := w; i < b.N; i += writers {
						if err := bucket.Put(b.Context(), "k"+strconv.Itoa(i), value); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// A watcher that is late is not brought a value that was replaced before its turn came. A change has reached it all the same when
// it returns, with the value that replaced it.
func TestBucketWatchIsLate(t *testing.T) {
	srv := natsServer(t, t.TempDir(), -1)
	bucket := func() journal.Bucket {
		b, err := open(t, journal.Options{URL: srv.ClientURL(), Stream: "late"}).Bucket(t.Context(), "nodes")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b, other := bucket(), bucket()
	held, updated := make(chan struct{}), make(chan struct{})
	var seen string // the value of k; belongs to the watch until updated is closed
	if err := b.Watch(t.Context(), func(key string, value []byte) {
		switch key {
		case "first":
			<-held
		case "k":
			for range 20 { // round trips to the store: in their time an update would return that is content with what is behind it
				if err := other.Put(t.Context(), "round trip", nil); err != nil {
					t.Error(err)
				}
			}
			select {
			case <-updated:
				t.Error("the update has returned before the watch has been called for its key")
			default:
			}
			if string(value) != "later" {
				t.Errorf("the watch is brought %q: it is not late", value)
			}
			seen = string(value)
		}
	}); err != nil {
		t.Fatal(err)
	}
	put := func(key string, value []byte) {
		t.Helper()
		if err := other.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	put("first", nil)
	for i := range 500 { // more than is on the way to a watcher, which is some hundred values at first, and 2 MB
		put("fill"+strconv.Itoa(i), make([]byte, 32<<10*(i/300)))
	}
	go func() {
		defer close(updated)
		if err := b.Update(t.Context(), "k", func([]byte) ([]byte, error) { return []byte("mine"), nil }); err != nil {
			t.Error(err)
		}
	}()
	for stored := false; !stored; {
		if err := other.Update(t.Context(), "seen", func([]byte) ([]byte, error) { return []byte{}, nil }); err != nil {
			t.Fatal(err)
		}
		if err := other.Update(t.Context(), "k", func(old []byte) ([]byte, error) {
			if stored = old != nil; !stored {
				return nil, nil
			}
			return []byte("later"), nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	close(held)
	<-updated
	if seen != "later" {
		t.Errorf("the watch has %q", seen)
	}
}
