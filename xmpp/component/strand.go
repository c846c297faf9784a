package component

import (
	"context"

	"tidings/edge"
	"tidings/xmpp/service"
)

// strand is an open source with the flows that share it: they have equal keys and stand at the same mark. Its messages are given
// out in rounds: a few messages, to each of them in turn, over as many pieces as it takes. A server that is given several for one
// address at a time wakes that session, and writes to it, fewer times.
type strand struct {
	l     *Link
	key   any
	owner *attached // whose flow the source is of; nil when it has gone
	src   service.Source
	att   *edge.Attachment
	past  *segment // it repeats this, and shares with nobody
	index int      // in Link.strands

	members []member
	mark    service.Mark // all up to it has been given out to every member; behind it, what is of the round and not more
	begin   service.Mark // where it was opened
	moved   bool         // something has been given out
	swaps   []*attached  // with swaps that wait for the end of the round

	round  []byte // messages of the source, to be given out
	ends   []int  // of messages in round
	shared bool   // they may be sent to many at once
	served int    // members that have had them
	extra  bool   // they are what remained of an event, and are given out already as the source sees it
	left   []byte // what remains of it behind the round

	ready    bool // it stands in Link.ready
	idle     bool // the source had nothing when it was asked last
	fetching bool
	closed   bool

	// How far it is acknowledged; see attached.place.
	dirty   bool // something was given out, or is owed, behind snap
	snap    service.Mark
	snapAt  uint64 // the ping behind snap, 0 for none
	acked   service.Mark
	ackedAt uint64 // the ping that said so
	floor   service.Mark
	floorAt uint64 // as long as no later ping was answered, a member is acknowledged to floor only
	floored bool
}

// member is a flow on a strand.
type member struct {
	a    *attached
	head string
	lane uint8
}

// family are the strands of one key: the one that others join, and those that stand elsewhere.
type family struct {
	main   *strand
	others map[*strand]struct{}
	opened map[service.Mark]*strand // of the others, those that have not moved, by where they were opened
}

func (l *Link) newStrand(a *attached, g *edge.Group, src service.Source) {
	s := &strand{l: l, key: a.flow.Key(), src: src, owner: a, begin: a.mark, mark: src.Mark(), acked: a.mark}
	fam := l.families[s.key]
	if fam == nil {
		fam = &family{main: s}
		l.families[s.key] = fam
	} else {
		if fam.others == nil {
			fam.others, fam.opened = map[*strand]struct{}{}, map[service.Mark]*strand{}
		}
		fam.others[s] = struct{}{}
		fam.opened[s.begin] = s
	}
	s.join(a)
	l.addStrand(s, g)
}

func (l *Link) addStrand(s *strand, g *edge.Group) {
	s.index = len(l.strands)
	l.strands = append(l.strands, s)
	l.sources.Add(1)
	s.att = l.wire.conn.Attach(g, (*bell)(s))
	s.queue()
}

// join adds a flow that stands where the strand does.
func (s *strand) join(a *attached) {
	l := s.l
	p := &a.place
	if p.owed {
		p.resolve(l.acked)
		if !s.floored || less(p.base, s.floor) {
			s.floor, s.floored = p.base, true
		}
		s.floorAt = l.pinged
		s.flag()
	} else {
		*p = place{base: s.mark}
	}
	p.joined = l.pinged
	a.s, a.index = s, int32(len(s.members))
	s.members = append(s.members, a.member())
}

// remove takes a flow away. Those that have been served in this round stay before the others.
func (s *strand) remove(a *attached) {
	a.s = nil
	i, last := int(a.index), len(s.members)-1
	if i < s.served {
		s.served--
		s.move(s.served, i)
		i = s.served
	}
	s.move(last, i)
	s.members[last] = member{}
	s.members = s.members[:last]
	if s.owner == a {
		s.owner = nil
	}
	if last == 0 {
		s.close()
	}
}

func (s *strand) move(from, to int) {
	if from == to { // what was there has moved already
		return
	}
	s.members[to] = s.members[from]
	s.members[to].a.index = int32(to)
}

// close closes the source.
func (s *strand) close() {
	if s.closed {
		return
	}
	l := s.l
	s.closed = true
	last := len(l.strands) - 1
	l.strands[s.index] = l.strands[last]
	l.strands[s.index].index = s.index
	l.strands[last] = nil
	l.strands = l.strands[:last]
	l.sources.Add(-1)
	if !s.fetching {
		s.src.Close()
	}
	s.att.Detach()
	s.round = nil
	if fam := l.families[s.key]; fam != nil && s.past == nil {
		fam.leave(s)
		if fam.main == nil {
			delete(l.families, s.key)
		}
	}
}

func (f *family) leave(s *strand) {
	delete(f.others, s)
	if f.opened[s.begin] == s {
		delete(f.opened, s.begin)
	}
	if f.main != s {
		return
	}
	f.main = nil
	for o := range f.others {
		delete(f.others, o)
		if f.opened[o.begin] == o {
			delete(f.opened, o.begin)
		}
		f.main = o
		break
	}
}

// look brings mark up to where the source stands, if it does.
func (s *strand) look() {
	if s.round == nil && !s.fetching && !s.closed {
		s.mark = s.src.Mark()
	}
}

// clean reports whether all that was given out is acknowledged.
func (s *strand) clean() bool { return !s.dirty && (s.snapAt == 0 || s.snapAt <= s.l.acked) }

// resolve takes note of the ping that was answered.
func (s *strand) resolve() {
	if s.snapAt != 0 && s.snapAt <= s.l.acked {
		s.acked, s.ackedAt, s.snapAt = s.snap, s.snapAt, 0
	}
}

// flag notes that something is owed.
func (s *strand) flag() {
	if !s.dirty {
		s.dirty = true
		s.l.dirty = append(s.l.dirty, s)
	}
}

// queue has the strand given its turn.
func (s *strand) queue() {
	if s.closed || s.ready || s.fetching {
		return
	}
	s.ready = true
	s.l.ready = append(s.l.ready, s)
	s.l.askPump()
}

// bell is a strand as a cursor of the edge, which has nothing to write: it only hears of the source.
type bell strand

// Next implements edge.Cursor.
func (b *bell) Next() ([]byte, edge.Status) {
	(*strand)(b).queue()
	return nil, edge.Idle
}

// Advance implements edge.Cursor.
func (b *bell) Advance(int) []byte { return nil }

// Fetch implements edge.Cursor.
func (b *bell) Fetch(context.Context) {}

// Goodbye implements edge.Cursor.
func (b *bell) Goodbye() []byte { return nil }

// Close implements edge.Cursor: the strand closes its source.
func (b *bell) Close() {}

// fetch has the source do what may block.
func (s *strand) fetch() {
	s.fetching = true
	s.l.fetching[s] = struct{}{}
	s.l.fetches.push(s)
}

func (s *strand) fetched() {
	s.fetching = false
	delete(s.l.fetching, s)
	if s.closed {
		s.src.Close()
		return
	}
	s.queue()
}

// fill appends messages to the pieces, each to that of its lane, until those have size bytes or somewhat more. It reports whether
// the strand has to have another turn.
func (s *strand) fill(out pieces, size int) bool {
	for have := out.size(); have < size; {
		if s.round == nil && !s.advance(size-have) {
			return false
		}
		n := s.served
		for s.served < len(s.members) && have < size {
			next := s.members[s.served:]
			lane, got := next[0].lane, 1
			b := out[lane]
			if s.shared && len(next) > 1 {
				b, got = s.l.multicast.give(b, s, next)
			} else {
				b = s.give(b, next[0].head)
			}
			have += len(b) - len(out[lane])
			out[lane] = b
			s.served += got
		}
		s.l.stanzasOut.Add(uint64((s.served - n) * len(s.ends)))
		if s.served < len(s.members) {
			break
		}
		if s.finish(); s.closed {
			return false
		}
	}
	return true
}

// give appends the round's messages for one address.
func (s *strand) give(b []byte, head string) []byte {
	at := 0
	for _, end := range s.ends {
		b = append(append(b, head...), s.round[at+1:end]...)
		at = end
	}
	return b
}

// advance begins a round, if the source has something. room is what the piece has room for, in bytes.
func (s *strand) advance(room int) bool {
	if s.past != nil && s.beyond() {
		return false
	}
	s.idle = false
	p, st := s.src.Next()
	switch st {
	case edge.Idle:
		s.mark = s.src.Mark()
		s.rests()
		return false
	case edge.Behind:
		s.fetch()
		return false
	case edge.Ended:
		s.over(p)
		return false
	}
	if s.past == nil {
		s.flag()
		s.stir()
		room = max(room, s.l.times.round)
	} else {
		room = 0 // one by one, so that it ends where it has to
	}
	s.set(p, room)
	return true
}

// stir notes that the strand does not stand any more where it was opened.
func (s *strand) stir() {
	if s.moved {
		return
	}
	s.moved = true
	if fam := s.l.families[s.key]; fam.opened[s.begin] == s {
		delete(fam.opened, s.begin)
	}
}

// set makes the first messages of p the round: as many as there is room for when each member has them, at least one.
func (s *strand) set(p []byte, room int) {
	s.ends, s.served = s.ends[:0], 0
	copies := len(s.members)
	at, total := 0, 0
	for at < len(p) && (at == 0 || total < room) {
		m, _ := service.Cut(p[at:])
		switch shared := s.l.multicast.takes(m); {
		case at == 0 && shared:
			s.shared, copies = true, s.l.multicast.copies(copies)
			room = min(room, copies*s.l.times.piece) // as each copy has all of the round
		case at == 0:
			s.shared = false
		case shared != s.shared:
			s.round = p[:at]
			return
		}
		at += 1 + len(m)
		total += len(m)*copies + len(s.members[0].head)*len(s.members)
		s.ends = append(s.ends, at)
	}
	s.round = p[:at]
}

// finish ends a round that every member has had.
func (s *strand) finish() {
	n := len(s.ends)
	p := s.round
	s.round, s.served = nil, 0
	rest := s.left
	if !s.extra {
		rest = s.src.Advance(len(p))
	}
	if s.extra = len(rest) > 0; s.extra {
		s.mark = s.mark.Plus(n)
		s.set(rest, 1<<30)
		s.left = rest[len(s.round):]
		return
	}
	s.left = nil
	s.mark = s.src.Mark()
	if len(s.swaps) > 0 {
		swaps := s.swaps
		s.swaps = nil
		for _, a := range swaps {
			if all := s.l.swaps[a]; len(all) > 0 && a.s == s { // the first of several does them in turn
				delete(s.l.swaps, a)
				a.swapNow(all[0])
				for _, next := range all[1:] {
					s.l.post(a.p, func() { a.swap(next) })
				}
			}
		}
		if s.closed {
			return
		}
	}
	s.meet()
}
