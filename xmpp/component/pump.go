package component

import (
	"strconv"
	"time"

	"tidings/xmpp/stanza"
)

const (
	pieceSize = 64 << 10 // bytes that are put together for a socket at a time, but for the end of what has begun
	roundSize = 4 << 20  // bytes of a round with more than one message
	atOnce    = 4        // such pieces, before something else has its turn
)

// pieces are what is put together for the connections of a wire, by lane.
type pieces [][]byte

func (p pieces) size() (n int) {
	for _, b := range p {
		n += len(b)
	}
	return n
}

// askPump has pump called soon.
func (l *Link) askPump() {
	if w := l.wire; w != nil && !l.pumping {
		l.pumping = true
		w.do(l.pump)
	}
}

// pump writes what there is to write, as far as the sockets take it: what was sent first, then flows in turns.
func (l *Link) pump() {
	w := l.wire
	if w == nil {
		return
	}
	l.pumping = false
	size := l.times.piece * len(w.lines)
	for n := 0; w.room(); n++ {
		if n == atOnce {
			l.askPump()
			return
		}
		l.sends(size)
		for len(l.out) == 0 && l.pieces.size() < size && len(l.ready) > 0 {
			s := l.ready[0]
			l.ready[0] = nil
			l.ready = l.ready[1:]
			s.ready = false
			if s.closed || s.fetching {
				continue
			}
			if s.fill(l.pieces, size) {
				s.queue()
			}
		}
		if len(l.ready) == 0 {
			l.ready = nil
		}
		if l.toPing() {
			l.appendPings()
		}
		bytes := l.pieces.size()
		if bytes == 0 {
			if len(l.out) == 0 {
				break
			}
			continue
		}
		l.bytesOut.Add(uint64(bytes))
		w.put(l.pieces)
	}
	l.settle()
}

// sends appends what was sent.
func (l *Link) sends(size int) {
	for len(l.out) > 0 && l.pieces.size() < size {
		c := l.out[0]
		l.out[0] = chunk{}
		l.out = l.out[1:]
		l.pieces[c.lane] = append(l.pieces[c.lane], c.b...)
		l.stanzasOut.Add(uint64(c.n))
		l.taken(len(c.b))
	}
	if len(l.out) == 0 {
		l.out = nil
	}
}

// toPing notes what a ping would be behind. It reports false if that is nothing, or a ping is under way.
func (l *Link) toPing() bool {
	if l.pinged != l.acked || len(l.dirty) == 0 && !l.owed {
		return false
	}
	some := l.owed
	for _, s := range l.dirty {
		// In a round nothing is known to have been given to all since it began.
		if some = some || !s.closed && (s.round == nil || s.mark != s.snap); some {
			break
		}
	}
	if !some {
		return false
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
	return true
}

// appendPings appends a ping in each lane. All are the component's own, so that the answers come over its own connection.
func (l *Link) appendPings() {
	l.pinged++
	l.owed = false
	l.pingAt = time.Now()
	for lane, b := range l.pieces {
		b = stanza.AppendStart(b, stanza.IQ, stanza.TypeGet, l.pingName(uint8(lane)), l.domain, l.host)
		l.pieces[lane] = stanza.AppendEnd(append(b, "<ping xmlns='urn:xmpp:ping'/>"...), stanza.IQ)
		l.unanswered |= 1 << lane
	}
}

// pingName is the id of the last ping in a lane. Nobody who has not seen it can answer.
func (l *Link) pingName(lane uint8) string {
	return l.pingID + "-" + strconv.FormatUint(l.pinged, 36) + "-" + strconv.Itoa(int(lane))
}

// answered takes the answer to a ping, if the stanza is one. What the ping was behind is acknowledged when that of each lane has
// been answered.
func (l *Link) answered(st *stanza.Stanza) bool {
	lane := uint8(0)
	for l.unanswered&(1<<lane) == 0 || st.ID != l.pingName(lane) {
		if lane++; int(lane) >= len(l.pieces) {
			return false
		}
	}
	l.unanswered &^= 1 << lane
	if l.unanswered != 0 {
		return true
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
