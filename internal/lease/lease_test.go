package lease

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidings/journal"
)

func bucket(t *testing.T) journal.Bucket {
	t.Helper()
	j := journal.NewMemory(journal.Options{})
	t.Cleanup(func() { j.Close() })
	b, err := j.Bucket(t.Context(), "links")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// acquire begins to wait for the lease.
func acquire(ctx context.Context, l *Lease) <-chan error {
	got := make(chan error, 1)
	go func() { got <- l.Acquire(ctx) }()
	return got
}

func isLost(l *Lease) bool {
	select {
	case <-l.Lost():
		return true
	default:
		return false
	}
}

// A lease that is given back is taken at once, however long it was held.
func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket(t)
		one, two := New(b, "x"), New(b, "x")
		began := time.Now()
		if err := one.Acquire(t.Context()); err != nil || !time.Now().Equal(began) {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		got := acquire(t.Context(), two)
		time.Sleep(10 * TTL)
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatal("the lease is held:", err)
		default:
		}
		if isLost(one) {
			t.Error("the lease is lost though it was renewed")
		}
		released := time.Now()
		one.Release()
		if err := <-got; err != nil || !time.Now().Equal(released) {
			t.Errorf("after %v: %v", time.Since(released), err)
		}
		// The first one may have it again.
		got = acquire(t.Context(), one)
		two.Release()
		if err := <-got; err != nil {
			t.Error(err)
		}
		one.Release()
	})
}

// store is a store that may be out of reach.
type store struct {
	journal.Bucket
	mu   sync.Mutex
	away bool
}

func (s *store) reach(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = !yes
}

var errAway = errors.New("the store does not answer")

func (s *store) Update(ctx context.Context, key string, f func([]byte) ([]byte, error)) error {
	s.mu.Lock()
	away := s.away
	s.mu.Unlock()
	if away {
		return errAway
	}
	return s.Bucket.Update(ctx, key, f)
}

// A process that does not renew its lease takes it for lost before another one takes it.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket(t)
		held := &store{Bucket: b}
		one, two, other := New(held, "x"), New(b, "x"), New(b, "y")
		if err := one.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := other.Acquire(t.Context()); err != nil {
			t.Fatal("another lease:", err)
		}
		time.Sleep(3 * TTL)
		got := acquire(t.Context(), two)
		synctest.Wait()
		held.reach(false)
		away := time.Now()
		<-one.Lost()
		lost := time.Now()
		if d := lost.Sub(away); d > TTL*2/3 {
			t.Errorf("lost after %v", d)
		}
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if d := time.Since(away); !time.Now().After(lost) || d > TTL {
			t.Errorf("taken after %v, %v behind the loss", d, time.Since(lost))
		}
		// Who has lost it waits as others do.
		held.reach(true)
		again := acquire(t.Context(), one)
		time.Sleep(5 * TTL)
		if isLost(two) {
			t.Error("taken from who renews it")
		}
		two.Release()
		if err := <-again; err != nil {
			t.Error(err)
		}
		one.Release()
		other.Release()
	})
}

// A short absence of the store costs nobody the lease.
func TestShortAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &store{Bucket: bucket(t)}
		l := New(b, "x")
		if err := l.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			b.reach(false)
			time.Sleep(TTL / 4)
			b.reach(true)
			time.Sleep(TTL)
		}
		if isLost(l) {
			t.Error("lost")
		}
		l.Release()
	})
}

// Of several who wait one gets it; and whoever gives up waiting leaves nothing behind.
func TestOneOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket(t)
		first := New(b, "x")
		if err := first.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		const n = 5
		got := make(chan *Lease, n)
		var wait sync.WaitGroup
		for range n {
			l := New(b, "x")
			wait.Go(func() {
				if l.Acquire(ctx) == nil {
					got <- l
				}
			})
		}
		synctest.Wait()
		first.Release()
		for range 2 {
			l := <-got
			time.Sleep(2 * TTL)
			synctest.Wait()
			if len(got) != 0 {
				t.Fatal("two have it")
			}
			l.Release()
		}
		last := <-got
		cancel()
		wait.Wait()
		if len(got) != 0 {
			t.Error("two have it")
		}
		last.Release()
	})
}

// An entry that is none is somebody's nobody knows, and is taken when it has stayed so for long enough.
func TestMalformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket(t)
		if err := b.Put(t.Context(), "x", []byte("{")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		l := New(b, "x")
		if err := l.Acquire(t.Context()); err != nil || time.Since(began) != TTL {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		// And a lease whose entry somebody has overwritten is lost.
		if err := b.Put(t.Context(), "x", []byte("{")); err != nil {
			t.Fatal(err)
		}
		<-l.Lost()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Acquire(ctx); err == nil {
			t.Error("acquired without waiting")
		}
	})
}
