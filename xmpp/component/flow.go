package component

import (
	"tidings/edge"
	"tidings/xmpp/service"
)

// attached is a flow of a peer, and the service's handle of it. Its fields belong to the link's owner. There may be millions:
// what few have is in Link.pasts and Link.swaps.
type attached struct {
	p     *peer
	flow  service.Flow
	s     *strand // that it is on; nil while there is no connection, or while its past is repeated
	index int32   // in s.members
	all   int32   // its index in Link.all
	mark  service.Mark
	place place
	gone  bool // detached, or ended
}

// place is how far a flow is acknowledged. mark is where it would be opened, while s.clean is false and no ping behind its
// joining s has been answered.
type place struct {
	base   service.Mark // acknowledged
	snap   service.Mark // acknowledged when the ping of number snapAt is
	snapAt uint64
	joined uint64 // pings up to this number were written before it joined s
	owed   bool   // something was given out behind base before it joined s
}

// segment is what a flow had before another took its place by Swap and is not acknowledged.
type segment struct {
	flow   service.Flow
	place  place
	until  service.Mark // the other one goes on from here
	at     uint64       // acknowledged when a later ping is
	again  bool         // it has to be repeated
	strand *strand      // that repeats it
}

// attach begins a flow.
func (l *Link) attach(a *attached) {
	if a.gone {
		return
	}
	a.mark = a.flow.Mark()
	a.place = place{base: a.mark}
	a.all = int32(len(l.all))
	l.all = append(l.all, a)
	a.p.flows = append(a.p.flows, a)
	l.flows.Add(1)
	if l.wire != nil {
		l.open(a)
	}
}

func (a *attached) member() member { return member{a, a.p.head, a.p.lane} }

// Detach implements service.Handle.
func (a *attached) Detach() {
	a.p.l.post(a.p, func() { a.remove() })
}

// Swap implements service.Handle.
func (a *attached) Swap(next func(at service.Mark) service.Flow) {
	a.p.l.post(a.p, func() { a.swap(next) })
}

// remove takes the flow from its peer. Nothing of it is given out from now on.
func (a *attached) remove() bool {
	if a.gone {
		return false
	}
	a.gone = true
	l := a.p.l
	last := len(l.all) - 1
	l.all[a.all] = l.all[last]
	l.all[a.all].all = a.all
	l.all[last] = nil
	l.all = l.all[:last]
	for i, b := range a.p.flows {
		if b == a {
			a.p.flows = append(a.p.flows[:i], a.p.flows[i+1:]...)
			break
		}
	}
	if len(a.p.flows) == 0 {
		a.p.flows = nil
	}
	a.p.touch()
	l.flows.Add(-1)
	if a.s != nil {
		a.s.remove(a)
	}
	for _, seg := range l.pasts[a] {
		if seg.strand != nil {
			seg.strand.close()
		}
	}
	delete(l.pasts, a)
	delete(l.swaps, a)
	return true
}

// end is remove for a flow that has ended by itself.
func (a *attached) end(err error) {
	if a.remove() {
		f := a.flow
		a.p.l.post(a.p, func() { f.Ended(err) })
	}
}

// open has the flow given out from its mark on: on a strand that stands there already, if there is one.
func (l *Link) open(a *attached) {
	if seg := a.toRepeat(); seg != nil {
		l.repeat(a, seg)
		return
	}
	g, src, err := a.flow.Open(a.mark)
	if err != nil {
		a.end(err)
		return
	}
	if s := l.find(a, src); s != nil {
		// It shares another's source, but only if its own has not ended.
		p, st := src.Next()
		src.Close()
		if st == edge.Ended {
			a.last(p)
			return
		}
		s.join(a)
		return
	}
	l.newStrand(a, g, src)
}

// find returns a strand with the flow's key that stands where its source does.
func (l *Link) find(a *attached, src service.Source) *strand {
	fam := l.families[a.flow.Key()]
	if fam == nil {
		return nil
	}
	if s := fam.main; s.begin == a.mark && !s.moved {
		return s
	}
	if s := fam.opened[a.mark]; s != nil {
		return s
	}
	fam.main.look()
	if fam.main.mark == src.Mark() {
		return fam.main
	}
	return nil
}

// last writes the last bytes of a flow that has ended, which are not acknowledged.
func (a *attached) last(p []byte) {
	l := a.p.l
	var b []byte
	for len(p) > 0 {
		var m []byte
		m, p = service.Cut(p)
		b = append(append(b, a.p.head...), m...)
		l.stanzasOut.Add(1)
	}
	if len(b) > 0 {
		l.mu.Lock()
		l.waiting += len(b)
		l.mu.Unlock()
		l.say(b, 0, a.p.lane)
	}
	a.end(nil)
}

// swap puts another flow in the place of this one, now or when the round is over in which it has been served.
func (a *attached) swap(next func(service.Mark) service.Flow) {
	s, l := a.s, a.p.l
	switch {
	case a.gone:
	case s == nil: // nothing of it has been given out behind its mark
		if f := next(a.mark); f != nil {
			a.take(f)
		}
	case len(l.swaps[a]) > 0 || s.extra || s.round != nil && int(a.index) < s.served:
		l.swaps[a] = append(l.swaps[a], next)
		s.swaps = append(s.swaps, a)
	default:
		a.swapNow(next)
	}
}

func (a *attached) take(f service.Flow) {
	a.flow, a.mark = f, f.Mark()
	a.place = place{base: a.mark}
}

func (a *attached) swapNow(next func(service.Mark) service.Flow) {
	s, l := a.s, a.p.l
	s.look()
	f := next(s.mark)
	if f == nil {
		return
	}
	a.settle()
	if a.place.owed {
		l.pasts[a] = append(l.pasts[a], &segment{flow: a.flow, place: a.place, until: s.mark, at: l.pinged})
		l.owed = true
	}
	s.remove(a)
	a.take(f)
	l.open(a)
}

// settle notes in place how far the flow is acknowledged, before it leaves its strand.
func (a *attached) settle() {
	s, p, acked := a.s, &a.place, a.p.l.acked
	if s.clean() {
		*p = place{base: s.mark}
		return
	}
	s.resolve()
	p.resolve(acked)
	if s.ackedAt > p.joined {
		p.base, p.snapAt = s.acked, 0
	}
	if s.snapAt > p.joined {
		p.snap, p.snapAt = s.snap, s.snapAt
	}
	p.owed = true
}

func (p *place) resolve(acked uint64) {
	if p.snapAt != 0 && p.snapAt <= acked {
		p.base, p.snapAt = p.snap, 0
	}
}

// rest notes where the flow goes on with another connection.
func (a *attached) rest() {
	l := a.p.l
	if s := a.s; s != nil {
		s.look()
		a.settle()
		a.place.resolve(l.acked)
		a.mark = a.place.base
		a.s = nil
	}
	a.place = place{base: a.mark}
	past := l.pasts[a]
	left := past[:0]
	for _, seg := range past {
		seg.place.resolve(l.acked)
		if seg.again || seg.at >= l.acked { // no ping behind it has been answered
			seg.again, seg.strand = true, nil
			seg.place.snapAt = 0
			left = append(left, seg)
		}
	}
	l.keepPast(a, past, left)
	// Those that have waited for the end of a round do not wait any more.
	swaps := l.swaps[a]
	delete(l.swaps, a)
	for _, next := range swaps {
		l.post(a.p, func() { a.swap(next) })
	}
}

// keepPast keeps of what a flow had before those segments that are left, which are at the beginning of the same array.
func (l *Link) keepPast(a *attached, past, left []*segment) {
	if len(left) == 0 {
		delete(l.pasts, a)
		return
	}
	clear(past[len(left):])
	l.pasts[a] = left
}

// toRepeat returns what has to be repeated before the flow goes on.
func (a *attached) toRepeat() *segment {
	for _, seg := range a.p.l.pasts[a] {
		if seg.again {
			return seg
		}
	}
	return nil
}

// repeat gives out what was not acknowledged of a flow that another has taken the place of.
func (l *Link) repeat(a *attached, seg *segment) {
	g, src, err := seg.flow.Open(seg.place.base)
	if err != nil { // it may not be read any more; of the flow that has taken its place Open says so too
		l.repeated(a, seg)
		return
	}
	if gathers, ok := src.(service.Gathering); ok {
		gathers.Limit(seg.until)
	}
	s := &strand{l: l, src: src, owner: a, past: seg, begin: seg.place.base, mark: seg.place.base}
	seg.strand = s
	s.members = []member{a.member()}
	l.addStrand(s, g)
}

// repeated goes on behind a segment that has been given out again.
func (l *Link) repeated(a *attached, seg *segment) {
	seg.again, seg.at, seg.strand = false, l.pinged, nil
	l.owed = true
	l.open(a)
}
