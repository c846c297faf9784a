package component

import (
	"context"
	"sync"
	"time"

	"tidings/xmpp/service"
)

// tick is called at intervals of times.tick on the goroutine of the connection, if the position may have moved, and every
// second in any case.
func (l *Link) tick() {
	now := time.Now()
	// Where there are many strands, looking at all of them shall take a hundredth of the time at most.
	if now.Sub(l.measured) >= 100*l.cost {
		l.measure()
	}
	if now.Sub(l.swept) >= max(l.opt.Idle/4, time.Second) {
		l.sweep(l.opt.Idle)
	}
	if l.pinged != l.acked {
		if since := l.wire.since(); now.Sub(later(l.pingAt, since)) > l.opt.AckTimeout {
			l.wire.kill(ErrSilent)
		}
		return
	}
	if now.Sub(later(l.heard, l.pingAt)) > l.opt.AckTimeout/2 && l.wire.room() {
		l.appendPings()
		l.wire.put(l.pieces)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// measure finds the acknowledged position: the least mark that a flow would be opened at.
func (l *Link) measure() {
	began := time.Now()
	l.moved.Store(false)
	var least service.Mark
	ok := true
	count := func(m service.Mark) {
		m.Skip = 0 // which is of one flow only
		switch {
		case m == service.Mark{} || !ok:
		case least == service.Mark{}:
			least = m
		case m.Epoch != least.Epoch: // a flow has not come to the journal's new life yet
			ok = false
		case less(m, least):
			least = m
		}
	}
	for _, s := range l.strands {
		if s.begin != (service.Mark{}) && s.past == nil {
			count(s.acknowledged())
		}
	}
	for a, past := range l.pasts {
		left := past[:0]
		for _, seg := range past {
			if seg.again || seg.at >= l.acked {
				seg.place.resolve(l.acked)
				count(seg.place.base)
				left = append(left, seg)
			}
		}
		l.keepPast(a, past, left)
		if len(left) > 0 && a.s == nil {
			count(a.mark)
		}
	}
	l.measured = time.Now()
	l.cost = l.measured.Sub(began)
	if ok && least != (service.Mark{}) {
		l.acknowledge(least)
	}
}

// acknowledged returns how far all members are acknowledged.
func (s *strand) acknowledged() service.Mark {
	s.resolve()
	if s.clean() {
		s.look()
		return s.mark
	}
	if s.floored && s.ackedAt <= s.floorAt {
		if less(s.floor, s.acked) {
			return s.floor
		}
		return s.acked
	}
	s.floored = false
	return s.acked
}

func (l *Link) acknowledge(m service.Mark) {
	l.mu.Lock()
	changed := !l.known || l.ack != m
	l.ack, l.known = m, true
	l.mu.Unlock()
	if changed && l.opt.Position != nil {
		l.saver.ring()
	}
}

// load reads the position that was saved.
func (l *Link) load(ctx context.Context) error {
	if l.opt.Position == nil {
		return nil
	}
	m, ok, err := l.opt.Position.Load(ctx)
	if err != nil {
		return &positionError{"loading", err}
	}
	if ok {
		l.mu.Lock()
		l.ack, l.known = m, true
		l.mu.Unlock()
	}
	return nil
}

// takeOver has the flows go on where the process that had the link before has left them. Run's goroutine calls it while it owns
// the link.
func (l *Link) takeOver(ctx context.Context) error {
	if err := l.load(ctx); err != nil {
		return err
	}
	m, ok := l.Acknowledged()
	if !ok {
		return nil
	}
	l.drain() // flows that begin
	for _, a := range l.all {
		if a.mark.Epoch == m.Epoch && less(a.mark, m) {
			a.mark, a.place = m, place{base: m}
		}
	}
	clear(l.pasts)
	return nil
}

// positionError is an error of the Position.
type positionError struct {
	doing string
	err   error
}

func (e *positionError) Error() string {
	return "component: " + e.doing + " the acknowledged position: " + e.err.Error()
}
func (e *positionError) Unwrap() error { return e.err }

// saver saves the position.
type saver struct {
	bell chan struct{}
	mu   sync.Mutex // held while one is saved
	last service.Mark
	had  bool
}

func (v *saver) init() { v.bell = make(chan struct{}, 1) }

func (v *saver) ring() {
	select {
	case v.bell <- struct{}{}:
	default:
	}
}

// save saves the position unless that was done.
func (l *Link) save(ctx context.Context) error {
	v := &l.saver
	v.mu.Lock()
	defer v.mu.Unlock()
	m, ok := l.Acknowledged()
	if !ok || l.opt.Position == nil || !l.mine.Load() || v.had && v.last == m {
		return nil
	}
	if err := l.opt.Position.Save(ctx, m); err != nil {
		return &positionError{"saving", err}
	}
	v.last, v.had = m, true
	return nil
}

// saving saves the position as it moves, until ctx ends.
func (l *Link) saving(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.saver.bell:
		}
		if err := l.save(ctx); err != nil && ctx.Err() == nil {
			l.note("the position is not saved", err)
			l.saver.ring()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(l.times.save):
		}
	}
}
