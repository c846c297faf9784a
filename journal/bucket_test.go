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
