package component

import (
	"strconv"
	"time"

	"tidings/xmpp/stanza"
)

const (
	pieceSize = 64 << 10 // bytes that are put together for the socket at a time, but for the end of what has begun
	atOnce    = 4        // such pieces, before something else has its turn
)

// askPump has pump called soon.
func (l *Link) askPump() {
	if w := l.wire; w != nil && !l.pumping {
		l.pumping = true
		w.do(l.pump)
	}
}

// pump writes what there is to write, as far as the socket takes it: what was sent first, then flows in turns.
func (l *Link) pump() {
	w := l.wire
	if w == nil {
		return
	}
	l.pumping = false
	for n := 0; w.room(); n++ {
		if n == atOnce {
			l.askPump()
			return
		}
		b := l.sends(l.piece[:0])
		for len(l.out) == 0 && len(b) < l.times.piece && len(l.ready) > 0 {
			s := l.ready[0]
			l.ready[0] = nil
			l.ready = l.ready[1:]
			s.ready = false
			if s.closed || s.fetching {
				continue
			}
			var more bool
			if b, more = s.fill(b, l.times.piece); more {
				s.queue()
			}
		}
		if len(l.ready) == 0 {
			l.ready = nil
		}
		b = l.ping(b)
		if len(b) == 0 {
			l.piece = b
			if len(l.out) == 0 {
				break
			}
			continue
		}
		l.bytesOut.Add(uint64(len(b)))
		l.piece = w.put(b)
	}
	l.settle()
}

// sends appends what was sent.
func (l *Link) sends(b []byte) []byte {
	for len(l.out) > 0 && len(b) < l.times.piece {
		c := l.out[0]
		l.out[0] = chunk{}
		l.out = l.out[1:]
		b = append(b, c.b...)
		l.stanzasOut.Add(uint64(c.n))
		l.taken(len(c.b))
	}
	if len(l.out) == 0 {
		l.out = nil
	}
	return b
}

// ping appends a ping, if flows have been given out something that it would be behind, and none is under way.
func (l *Link) ping(b []byte) []byte {
	if l.pinged != l.acked || len(l.dirty) == 0 && !l.owed {
		return b
	}
	some := l.owed
	for _, s := range l.dirty {
		// In a round nothing is known to have been given to all since it began.
		if some = some || !s.closed && (s.round == nil || s.mark != s.snap); some {
			break
		}
	}
	if !some {
		return b
	}
	left := l.dirty[:0]
	for _, s := range l.dirty {
		if s.closed {
			continue
		}
		s.resolve()
		s.snap, s.snapAt = s.mark, l.pinged+1
		if s.dirty = s.round != nil; s.dirty { // some have had what is behind its mark
			left = append(left, s)
		}
	}
	clear(l.dirty[len(left):])
	l.dirty = left
	return l.appendPing(b)
}

func (l *Link) appendPing(b []byte) []byte {
	l.pinged++
	l.owed = false
	l.pingAt = time.Now()
	b = stanza.AppendStart(b, stanza.IQ, stanza.TypeGet, l.pingName(), l.domain, l.host)
	return stanza.AppendEnd(append(b, "<ping xmlns='urn:xmpp:ping'/>"...), stanza.IQ)
}

// pingName is the id of the last ping. Nobody who has not seen it can answer.
func (l *Link) pingName() string { return l.pingID + "-" + strconv.FormatUint(l.pinged, 36) }

// answered takes the answer to a ping, if the stanza is one.
func (l *Link) answered(st *stanza.Stanza) bool {
	if l.pinged == l.acked || st.ID != l.pingName() {
		return false
	}
	l.acked = l.pinged
	l.healthy.Store(true)
	l.moved.Store(true)
	l.askPump()
	return true
}

// settle tells Run, when it wants to stop, that all is acknowledged.
func (l *Link) settle() {
	if !l.stopping || l.wire == nil || l.pinged != l.acked || len(l.out) > 0 || len(l.ready) > 0 || len(l.fetching) > 0 || !l.wire.idle() {
		return
	}
	l.mu.Lock()
	quiet := len(l.inbox) == 0
	l.mu.Unlock()
	for _, s := range l.dirty {
		quiet = quiet && s.closed
	}
	if quiet && !l.owed {
		l.measure()
		l.stopping = false
		close(l.settled)
	}
}
