package v09

import (
	"sync"
	"time"
)

// wheelSlots is how many seconds ahead the wheel reaches, and maxTime the longest time it is asked for.
const (
	wheelSlots = 128
	maxTime    = (wheelSlots - 2) * time.Second
)

// wheel wakes sessions, second by second.
type wheel struct {
	start time.Time

	mu     sync.Mutex
	turned uint32 // the last second it was turned for
	slots  [wheelSlots][]*session
}

// seconds returns the time on the wheel's clock, from 1.
func (w *wheel) seconds() uint32 { return uint32(time.Since(w.start)/time.Second) + 1 }

// add has the session looked at in the second due.
func (w *wheel) add(ss *session, due uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	due = min(max(due, w.turned+1), w.turned+wheelSlots-1)
	slot := &w.slots[due%wheelSlots]
	*slot = append(*slot, ss)
}

// turn returns the sessions due up to now.
func (w *wheel) turn(now uint32) (due []*session) {
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

// turnWheel looks at each session when it is due, which says when it will be again; 0 for never.
func (s *Server) turnWheel() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		now := s.wheel.seconds()
		for _, ss := range s.wheel.turn(now) {
			if next := ss.tick(now); next > 0 {
				s.wheel.add(ss, next)
			}
		}
	}
}
