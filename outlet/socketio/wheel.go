package socketio

import (
	"context"
	"sync"
	"time"
)

// wheelSlots is how many seconds ahead the wheel reaches, and maxTime the longest time it is asked for.
const (
	wheelSlots = 128
	maxTime    = (wheelSlots - 2) * time.Second
)

// Timed is a session that a Wheel calls.
type Timed interface {
	// Tick is called in the second, on the wheel's clock, for which it was asked. It returns the second in which it is to be
	// called again, 0 for never.
	Tick(now uint32) (due uint32)
}

// Wheel calls sessions when they are due, to the second.
type Wheel[S Timed] struct {
	start time.Time

	mu     sync.Mutex
	turned uint32 // the last second it was turned for
	slots  [wheelSlots][]S
}

// NewWheel returns a Wheel whose clock begins now.
func NewWheel[S Timed]() *Wheel[S] { return &Wheel[S]{start: time.Now()} }

// Now returns the second on the wheel's clock, from 1.
func (w *Wheel[S]) Now() uint32 { return uint32(time.Since(w.start)/time.Second) + 1 }

// Add has the session called in the second due, or as late as the wheel reaches.
func (w *Wheel[S]) Add(s S, due uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	due = min(max(due, w.turned+1), w.turned+wheelSlots-1)
	slot := &w.slots[due%wheelSlots]
	*slot = append(*slot, s)
}

// turn returns the sessions that are due up to now.
func (w *Wheel[S]) turn(now uint32) (due []S) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.turned < now {
		w.turned++
		slot := &w.slots[w.turned%wheelSlots]
		due = append(due, *slot...)
		*slot = nil
	}
	return due
}

// Run calls sessions until ctx ends.
func (w *Wheel[S]) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := w.Now()
		for _, s := range w.turn(now) {
			if due := s.Tick(now); due > 0 {
				w.Add(s, due)
			}
		}
	}
}

// Seconds returns the time on a wheel's scale.
func Seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// Whole makes *d, or the default if it is not positive, whole seconds that a wheel reaches.
func Whole(d *time.Duration, or time.Duration) {
	if *d <= 0 {
		*d = or
	}
	*d = min(max(d.Truncate(time.Second), time.Second), maxTime)
}

// Positive makes *n the default if it is not positive.
func Positive(n *int, or int) {
	if *n <= 0 {
		*n = or
	}
}
