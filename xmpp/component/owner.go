package component

import (
	"slices"
	"time"
)

// op is something that the link's owner is to do.
type op struct {
	p *peer  // it is done while the peer is there; nil for always
	b []byte // stanzas to send
	n int    // calls of Send that they are of
	f func() // or what else
}

// chunk is what waits for the socket beside flows.
type chunk struct {
	b    []byte
	n    int
	lane uint8
}

// maxChunk is how many bytes of Sends are put together while they wait.
const maxChunk = pieceSize

// broken is how many times Options.MaxBacklog may wait before the connection is given up.
const broken = 4

// enqueue leaves something to the owner. It reports false if the peer has been forgotten, or Run has returned.
func (l *Link) enqueue(o op) bool {
	l.mu.Lock()
	reason := ""
	switch {
	case l.ended:
		reason = ReasonStopped
	case o.p != nil && o.p.gone:
		reason = ReasonGone
	case len(o.b) > 0 && l.carrier == nil && l.waiting+len(o.b) > l.opt.MaxBacklog:
		reason = ReasonOffline
	}
	if reason != "" {
		l.mu.Unlock()
		if len(o.b) > 0 {
			l.drop(reason, 1, o.p)
		}
		return false
	}
	if o.p != nil {
		o.p.touch()
	}
	last := len(l.inbox) - 1
	if len(o.b) > 0 && last >= 0 && l.inbox[last].f == nil && l.inbox[last].p == o.p && len(l.inbox[last].b) < maxChunk {
		l.inbox[last].b = append(l.inbox[last].b, o.b...)
		l.inbox[last].n++
	} else {
		if o.f == nil {
			o.b, o.n = slices.Clone(o.b), 1
		}
		l.inbox = append(l.inbox, o)
	}
	l.waiting += len(o.b)
	w := l.carrier
	full := w != nil && l.waiting > broken*l.opt.MaxBacklog
	if w != nil && !l.choked && l.waiting > l.opt.MaxBacklog {
		l.choke(w, true)
	}
	ask := !l.scheduled
	l.scheduled = true
	l.mu.Unlock()
	switch {
	case full:
		w.kill(ErrBacklog)
	case ask && w != nil:
		w.conn.Do(func() { l.drainOn(w) })
	case ask:
		l.ring()
	}
	return true
}

// choke stops reading from the server and beginning tasks, or goes on. mu is held.
func (l *Link) choke(w *wire, yes bool) {
	l.choked = yes
	if w != nil {
		w.pause(yes)
	}
	l.workers.pause(yes)
}

// taken notes that n bytes of Sends wait no longer.
func (l *Link) taken(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting -= n
	if l.choked && l.waiting <= l.opt.MaxBacklog/2 {
		l.choke(l.carrier, false)
	}
}

// ring wakes Run's goroutine, which owns the link while there is no connection.
func (l *Link) ring() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// post has f done behind what was asked before.
func (l *Link) post(p *peer, f func()) { l.enqueue(op{p: p, f: f}) }

// drainOn is drain on the goroutine of a connection.
func (l *Link) drainOn(w *wire) {
	if !w.closed { // else Run's goroutine does it
		l.drain()
		l.pump()
	}
}

// drain does what is in the inbox. The owner calls it.
func (l *Link) drain() {
	l.mu.Lock()
	todo := l.inbox
	l.inbox, l.scheduled = nil, false
	l.mu.Unlock()
	for _, o := range todo {
		if o.p != nil && l.isGone(o.p) {
			if len(o.b) > 0 {
				l.taken(len(o.b))
				l.drop(ReasonGone, o.n, o.p)
			}
			continue
		}
		switch {
		case o.f != nil:
			o.f()
		case o.p != nil:
			l.say(o.b, o.n, o.p.lane)
		default:
			l.say(o.b, o.n, 0)
		}
	}
}

// say puts stanzas behind what waits for the socket. They count as waiting already.
func (l *Link) say(b []byte, n int, lane uint8) {
	if last := len(l.out) - 1; last >= 0 && l.out[last].lane == lane && len(l.out[last].b)+len(b) <= maxChunk {
		l.out[last].b = append(l.out[last].b, b...)
		l.out[last].n += n
		return
	}
	l.out = append(l.out, chunk{b, n, lane})
}

// reply sends a stanza of the link's own.
func (l *Link) reply(b []byte) {
	if len(b) > 0 {
		l.enqueue(op{b: b})
	}
}

// start is called on the goroutine of a connection that has come to the edge, which owns the link from now on.
func (l *Link) start(w *wire) {
	l.wire = w
	l.heard, l.pingAt = time.Now(), time.Now()
	l.acked, l.unanswered = l.pinged, 0
	l.mu.Lock()
	l.carrier = w
	l.scheduled = true // drain is called below, when the flows are there
	if l.choked {
		w.pause(true)
	}
	l.mu.Unlock()
	l.connected()
	l.multicast.ask(l)
	for _, a := range slices.Clone(l.all) {
		if !a.gone {
			l.open(a)
		}
	}
	l.drain()
	l.pump()
}

// stopped is called on the goroutine of the connection when that has been closed. Run's owns the link from then on.
func (l *Link) stopped() {
	for _, a := range l.all {
		a.rest()
	}
	for len(l.strands) > 0 {
		l.strands[len(l.strands)-1].close()
	}
	l.families = map[any]*family{}
	l.ready, l.dirty, l.owed = nil, nil, false
	broken := l.wire.cause() == ErrBacklog
	l.wire, l.pumping = nil, false
	l.mu.Lock()
	l.carrier = nil
	l.scheduled = true // Run's goroutine drains
	l.mu.Unlock()
	if broken { // the services may send more than the server will take
		for _, c := range l.out {
			l.taken(len(c.b))
			l.drop(ReasonBacklog, c.n, nil)
		}
		l.out = nil
	}
	l.ring()
}
