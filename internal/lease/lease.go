// Package lease decides which of several processes on one store may do what only one may do at a time. Who has a lease renews it;
// who waits for it takes it when it has been given back, or has not been renewed for a while.
//
// The store has one entry for each lease, which is JSON:
//
//	{"holder": "a1b2c3d4e5f60718", "beat": 42}
//
// The holder is a random name, and the beat goes up with each renewal. There is no time in it: who waits measures by its own clock
// how long the entry has stayed the same, and who holds it by its own how long ago it was renewed, so that the clocks of two machines
// need not agree. A lease that was given back has no entry.
package lease

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Store is where leases are kept: a bucket of package journal, whose comments say what each method promises.
type Store interface {
	Update(ctx context.Context, key string, f func(old []byte) ([]byte, error)) error
	Watch(ctx context.Context, f func(key string, value []byte)) error
}

// TTL is how long an entry has to stay as it is for somebody else to take the lease. It is renewed at a third of it, and the
// holder takes it for lost when it was not for two thirds of it.
const TTL = 6 * time.Second

// Lease is one process's part in a lease. Acquire, Lost and Release are called in turn, by one goroutine.
type Lease struct {
	store  Store
	key    string
	holder string

	cur *tenure
}

// tenure is the time from an Acquire to the loss or to Release.
type tenure struct {
	lost chan struct{}
	stop context.CancelFunc
	work sync.WaitGroup
}

// New returns a Lease of the key.
func New(store Store, key string) *Lease {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand ends the program first
	}
	return &Lease{store: store, key: key, holder: fmt.Sprintf("%x", b)}
}

type entry struct {
	Holder string `json:"holder"`
	Beat   uint64 `json:"beat"`
}

func (e entry) encode() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // of a string and a number
	}
	return b
}

var errTaken = errors.New("lease: another process has it")

// Acquire waits until this process has the lease, or ctx ends. Errors are those of ctx and of the store.
func (l *Lease) Acquire(ctx context.Context) error {
	if l.cur != nil {
		l.cur.stop()
		l.cur.work.Wait()
		l.cur = nil
	}
	var mu sync.Mutex
	var seen []byte
	at, bell := time.Now(), make(chan struct{}, 1)
	watch, stop := context.WithCancel(ctx)
	defer stop()
	if err := l.store.Watch(watch, func(key string, value []byte) {
		if key != l.key {
			return
		}
		mu.Lock()
		seen, at = value, time.Now()
		mu.Unlock()
		select {
		case bell <- struct{}{}:
		default:
		}
	}); err != nil {
		return fmt.Errorf("lease: watching %s: %w", l.key, err)
	}
	for {
		mu.Lock()
		value, left := seen, TTL-time.Since(at)
		mu.Unlock()
		if value == nil || left <= 0 {
			began := time.Now()
			err := l.store.Update(ctx, l.key, func(old []byte) ([]byte, error) {
				if old != nil && !bytes.Equal(old, value) {
					return nil, errTaken
				}
				return entry{Holder: l.holder}.encode(), nil
			})
			switch {
			case err == nil:
				l.begin(began)
				return nil
			case !errors.Is(err, errTaken):
				return fmt.Errorf("lease: taking %s: %w", l.key, err)
			}
			left = TTL // the watch is about to tell of whoever was quicker
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
		case <-bell:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// begin renews the lease, which was taken at or behind a time.
func (l *Lease) begin(taken time.Time) {
	t := &tenure{lost: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.work.Go(func() {
		if l.renew(ctx, taken) {
			close(t.lost)
		}
	})
	l.cur = t
}

// renew renews the lease until ctx ends or it is lost, and reports which.
func (l *Lease) renew(ctx context.Context, renewed time.Time) (lost bool) {
	for beat := uint64(1); ; beat++ {
		timer := time.NewTimer(TTL / 3)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		for {
			began := time.Now()
			within, cancel := context.WithDeadline(ctx, renewed.Add(TTL*2/3))
			err := l.store.Update(within, l.key, func(old []byte) ([]byte, error) {
				var e entry
				if json.Unmarshal(old, &e) != nil || e.Holder != l.holder {
					return nil, errTaken
				}
				return entry{l.holder, beat}.encode(), nil
			})
			cancel()
			if err == nil {
				renewed = began
				break
			}
			left := time.Until(renewed.Add(TTL * 2 / 3))
			if ctx.Err() != nil {
				return false
			}
			if errors.Is(err, errTaken) || left <= 0 {
				return true
			}
			timer.Reset(min(left, TTL/30)) // the store may answer again
			select {
			case <-ctx.Done():
				timer.Stop()
				return false
			case <-timer.C:
			}
		}
	}
}

// Lost returns a channel that is closed when this process has the lease no more.
func (l *Lease) Lost() <-chan struct{} { return l.cur.lost }

// Release gives the lease back, so that another process takes it at once. Where the store does not answer, that one waits.
func (l *Lease) Release() {
	t := l.cur
	t.stop()
	t.work.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), TTL/3)
	defer cancel()
	// Whatever the error, the entry is not renewed any more.
	_ = l.store.Update(ctx, l.key, func(old []byte) ([]byte, error) {
		var e entry
		if json.Unmarshal(old, &e) != nil || e.Holder != l.holder {
			return nil, errTaken
		}
		return nil, nil
	})
}
