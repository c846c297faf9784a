package main

import (
	"time"
)

// matcher finds what one of two servers sent and the other did not. It is told what comes and what time it is; it starts
// nothing and waits for nothing.
//
// Something that one side sent waits for the other for the grace period, which stands still while the other's connection
// is down. What has waited long enough is told as missing; if it comes later still, within ten times the period, it is
// told as late. What cannot be judged is not: what one side sent in the first grace period, because the other may have
// sent it before the comparison began, after the end, and while the other side had a gap.
//
// Memory is bounded: max things wait, and of twice as many it is remembered that they came.
type matcher struct {
	grace time.Duration
	max   int
	names *wikiNames
	wiki  string // the only one to compare, by its id or its host; empty for all

	start   time.Time // of the comparison; zero before both are there
	since   time.Time // what was made from then on is compared, whenever it comes; zero: from start on
	end     time.Time // zero before it
	sides   [2]oneSide
	waiting int // of both
	stats   matchStats
}

// side is one of the two servers.
type side int

func (s side) String() string { return [...]string{"A", "B"}[s] }
func (s side) other() side    { return 1 - s }

// oneSide is what is known of a server.
type oneSide struct {
	up       bool
	upSince  time.Time
	judged   time.Time           // what came before it is not judged, because the other side had a gap
	index    map[key][]*sighting // what waits or has been told
	queue    fifo[*sighting]     // what waits, in the order in which it came
	told     fifo[*sighting]     // what has been told as missing on the other side
	seen     map[key]struct{}    // what came
	seenList fifo[seenKey]
}

type seenKey struct {
	key key
	at  time.Time
}

// key is a name by which two servers may have the same thing. A class is weaker the greater it is: things that have names
// of a class in the same place, and not the same ones, are different, whatever weaker names they share.
type key struct {
	class keyClass
	where string // the wiki's id or its host
	id    string
}

type keyClass uint8

const (
	byID       keyClass = iota // rcid, or logid
	byRevision                 // revision ids and the title
	byLog                      // what a log entry says, where it has no id: IRC
	byPayload                  // what is no change
)

// sighting is something that a server sent.
type sighting struct {
	side   side
	keys   []key
	thing  thing
	at     time.Time // it came
	moment time.Time // it was made, if that is known and counts; else at
	told   bool
	gone   bool // matched or forgotten
	soft   bool // not judged
}

// finding is a difference.
type finding struct {
	thing thing
	in    side          // only in this one, or late in this one
	late  time.Duration // 0: it did not come
}

// lag is by how much one side was behind the other.
type lag struct {
	times int64
	sum   time.Duration
	most  time.Duration
}

type matchStats struct {
	matched   int64
	only      [2]int64
	late      [2]int64 // of those that came in the end
	lags      [2]lag   // by the side that was behind
	repeated  [2]int64
	gaps      [2]int64
	notJudged int64
	skipped   int64 // of other wikis
}

func (s *matchStats) differ() bool { return s.only != [2]int64{} || s.late != [2]int64{} }

// lateFactor is for how many grace periods something that was told as missing may come late.
const lateFactor = 10

func newMatcher(grace time.Duration, max int, wiki string) *matcher {
	m := &matcher{grace: grace, max: max, wiki: wiki, names: newWikiNames()}
	for i := range m.sides {
		m.sides[i].index = map[key][]*sighting{}
		m.sides[i].seen = map[key]struct{}{}
	}
	return m
}

// connected says that the side is connected, and reports whether the comparison begins by it.
func (m *matcher) connected(s side, now time.Time) (begins bool) {
	m.sides[s].up, m.sides[s].upSince = true, now
	if !m.start.IsZero() || !m.sides[s.other()].up {
		return false
	}
	m.start = now
	return true
}

// disconnected says that the side is away: what the other sends waits for it.
func (m *matcher) disconnected(s side) { m.sides[s].up = false }

// gap says that something of the side was lost on the way here, so that its absence says nothing about the server.
func (m *matcher) gap(s side, now time.Time) {
	m.stats.gaps[s]++
	o := &m.sides[s.other()]
	o.judged = now.Add(m.grace)
	for w := range o.queue.all() {
		w.soft = true
	}
}

// add takes what a side sent and returns what that shows. made is when the change was made, if that decides whether it
// belongs to the comparison; else zero.
func (m *matcher) add(s side, t thing, made, now time.Time) (f finding, found bool) {
	t.learn(m.names)
	w := &sighting{side: s, keys: t.keys(m.names), thing: t, at: now, moment: made}
	if made.IsZero() {
		w.moment = now
	}
	if m.belongs(&w.thing) == no {
		m.stats.skipped++
		return f, false
	}
	me, other := &m.sides[s], &m.sides[s.other()]
	if m.repeated(me, w) {
		m.stats.repeated[s]++
		return f, false
	}
	if first := other.find(w); first != nil {
		other.forget(first)
		if !first.told {
			m.waiting--
		}
		return m.match(first, w)
	}
	from := m.since
	if from.IsZero() {
		from = m.start
	}
	w.soft = from.IsZero() || w.moment.Before(from.Add(m.grace)) || !m.end.IsZero() || now.Before(me.judged)
	for _, k := range w.keys {
		me.index[k] = append(me.index[k], w)
	}
	me.queue.push(w)
	if m.waiting++; m.waiting > m.max {
		m.shed()
	}
	return f, false
}

// match counts a pair, of which first came first.
func (m *matcher) match(first, then *sighting) (f finding, found bool) {
	m.stats.matched++
	behind := then.at.Sub(first.at)
	if first.told {
		m.stats.only[first.side]--
		m.stats.late[then.side]++
		return finding{then.thing, then.side, max(behind, 1)}, true
	}
	if m.sides[then.side].upSince.After(first.at) || first.soft {
		return f, false // the connection was late, and not the server
	}
	l := &m.stats.lags[then.side]
	l.times++
	l.sum += behind
	l.most = max(l.most, behind)
	return f, false
}

// repeated reports whether the side has sent the same before, as far as its names tell.
func (m *matcher) repeated(me *oneSide, w *sighting) bool {
	for _, k := range w.keys {
		if k.class > byRevision || k.class != w.keys[0].class {
			break
		}
		if _, ok := me.seen[k]; ok {
			return true
		}
	}
	for _, k := range w.keys {
		if k.class > byRevision {
			break
		}
		me.seen[k] = struct{}{}
		me.seenList.push(seenKey{k, w.at})
	}
	for me.seenList.len() > 4*m.max { // two names for most changes
		delete(me.seen, me.seenList.pop().key)
	}
	return false
}

// find returns what the side has that is the same as w, by the strongest name that both have, and the oldest of those.
func (o *oneSide) find(w *sighting) *sighting {
	for _, k := range w.keys {
		for _, candidate := range o.index[k] {
			if !differ(candidate.keys, w.keys, k.class) {
				return candidate
			}
		}
	}
	return nil
}

// differ reports whether names that are stronger than those of the class tell two things apart.
func differ(a, b []key, class keyClass) bool {
	for _, x := range a {
		for _, y := range b {
			if x.class < class && x.class == y.class && x.where == y.where && x.id != y.id {
				return true
			}
		}
	}
	return false
}

// forget takes w out of the index. It stays in its queue until its turn comes.
func (o *oneSide) forget(w *sighting) {
	w.gone = true
	for _, k := range w.keys {
		ws := o.index[k]
		for i := range ws {
			if ws[i] != w {
				continue
			}
			if len(ws) == 1 {
				delete(o.index, k)
			} else {
				o.index[k] = append(append([]*sighting(nil), ws[:i]...), ws[i+1:]...)
			}
			break
		}
	}
}

// shed forgets the oldest of what waits on the side where more does.
func (m *matcher) shed() {
	s := &m.sides[0]
	if m.sides[1].queue.len() > s.queue.len() {
		s = &m.sides[1]
	}
	for s.queue.len() > 0 {
		if w := s.queue.pop(); !w.gone {
			s.forget(w)
			m.waiting--
			m.stats.notJudged++
			return
		}
	}
}

// expire returns what has waited long enough.
func (m *matcher) expire(now time.Time) (found []finding) {
	for i := range m.sides {
		s := &m.sides[i]
		for s.queue.len() > 0 {
			w := s.queue.first()
			if !w.gone && now.Before(m.deadline(w)) {
				break
			}
			s.queue.pop()
			if w.gone {
				continue
			}
			m.waiting--
			if m.belongs(&w.thing) != yes {
				s.forget(w)
				m.stats.skipped++
				continue
			}
			if w.soft {
				s.forget(w)
				m.stats.notJudged++
				continue
			}
			w.told = true
			m.stats.only[i]++
			s.told.push(w)
			if s.told.len() > m.max {
				s.forget(s.told.pop())
			}
			found = append(found, finding{thing: w.thing, in: side(i)})
		}
		for s.told.len() > 0 && (s.told.first().gone || now.Sub(s.told.first().at) > lateFactor*m.grace) {
			if w := s.told.pop(); !w.gone {
				s.forget(w)
			}
		}
		for s.seenList.len() > 0 && now.Sub(s.seenList.first().at) > lateFactor*m.grace {
			delete(s.seen, s.seenList.pop().key)
		}
	}
	return found
}

// never is a time that does not come.
var never = time.Unix(1<<40, 0)

// deadline returns until when w waits.
func (m *matcher) deadline(w *sighting) time.Time {
	o := &m.sides[w.side.other()]
	if !o.up {
		return never
	}
	from := w.at
	if o.upSince.After(from) {
		from = o.upSince
	}
	return from.Add(m.grace)
}

// next returns when expire has something to do, never if nothing waits.
func (m *matcher) next() time.Time {
	at := never
	for i := range m.sides {
		s := &m.sides[i]
		for s.queue.len() > 0 && s.queue.first().gone {
			s.queue.pop()
		}
		if s.queue.len() > 0 {
			if d := m.deadline(s.queue.first()); d.Before(at) {
				at = d
			}
		}
	}
	return at
}

// finish ends the comparison: what comes from now on is only there to match what waits.
func (m *matcher) finish(now time.Time) { m.end = now }

// open reports whether something waits that will be judged.
func (m *matcher) open() bool {
	for i := range m.sides {
		for w := range m.sides[i].queue.all() {
			if !w.gone && !w.soft {
				return true
			}
		}
	}
	return false
}

// close counts what still waits as not judged.
func (m *matcher) close() { m.stats.notJudged += int64(m.waiting) }

// answer is one of yes, no and maybe.
type answer int

const (
	maybe answer = iota
	no
	yes
)

// belongs says whether the thing is of the wiki that is compared.
func (m *matcher) belongs(t *thing) answer {
	if m.wiki == "" {
		return yes
	}
	names := t.wheres(m.names)
	for _, n := range names {
		if n == m.wiki {
			return yes
		}
	}
	if len(names) == 0 || len(names) > 1 || m.names.both(m.wiki) {
		return no
	}
	return maybe // it is known by its host and the wiki by its id, or the other way round
}

// fifo is a queue.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }
func (f *fifo[T]) push(v T) { f.items = append(f.items, v) }
func (f *fifo[T]) first() T { return f.items[f.head] }

func (f *fifo[T]) pop() T {
	var zero T
	v := f.items[f.head]
	f.items[f.head] = zero
	if f.head++; f.head > 64 && f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	return v
}

func (f *fifo[T]) all() func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for _, v := range f.items[f.head:] {
			if !yield(v) {
				return
			}
		}
	}
}
