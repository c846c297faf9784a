package v4

import (
	"sync"
	"time"
)

// wheelSlots is how many seconds ahead the wheel reaches.
const wheelSlots = 128

// wheel calls sessions when they are due, to the second.
type wheel struct {
	start time.Time

	mu     sync.Mutex
	turned uint32 // the last second it was turned for
	slots  [wheelSlots][]*session
}

// now returns the second on the wheel's clock, from 1.
func (w *wheel) now() uint32 { return uint32(time.Since(w.start)/time.Second) + 1 }

// add has the session called in the second due, or as late as the wheel reaches.
func (w *wheel) add(ss *session, due uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	due = min(max(due, w.turned+1), w.turned+wheelSlots-1)
	slot := &w.slots[due%wheelSlots]
	*slot = append(*slot, ss)
}

// turn returns the sessions that are due up to now.
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

// turnWheel calls sessions, which say when they are due again, until the server ends.
func (s *Server) turnWheel() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		now := s.wheel.now()
		for _, ss := range s.wheel.turn(now) {
			if due := ss.tick(now); due > 0 {
				s.wheel.add(ss, due)
			}
		}
	}
}
