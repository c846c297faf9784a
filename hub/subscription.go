package hub

import (
	"context"
	"sort"
	"sync/atomic"
	"time"

	"tidings"
)

// State is what a subscription's Next found.
type State uint8

// The states.
const (
	AtHead   State = iota // nothing now; the feed's waker will tell
	HasBytes              // the bytes returned are to be written
	Lagging               // Fetch has to be called
	Over                  // the bytes returned, if any, are the last
)

// Subscription is one reader's cursor. One goroutine at a time may use it; ending it from outside is the hub's part.
type Subscription struct {
	feed    *Feed
	actor   *tidings.Actor
	off     int64            // place in the feed; without meaning while catchUp is set
	pos     tidings.Position // everything up to here has been given out
	cur     *chunk           // what Next returned last is of it, up to the entry curEnd
	curEnd  entry
	catchUp *catchUp
	ended   atomic.Pointer[ending]
	era     uint32 // of the feed, when an anonymous reader subscribed
	closed  bool
	all     bool // what Next returned last went up to the head of the feed
}

// ending is why and where a subscription was ended from outside.
type ending struct {
	err error
	at  uint64 // offset in the log: what was dispatched up to it is in the feed
}

// catchUp is the state of a reader that reads from the log.
type catchUp struct {
	buf  []byte // encoded and not yet given out
	ends []entry
	pos  tidings.Position // complete up to here once buf has been given out
	told uint64           // offset in the log up to which the reader knows that events are missing

	judged uint32 // of the feed, when buf was filled
}

// Bounds of one Fetch.
const (
	fetchEvents = 256
	fetchBytes  = 64 << 10
	fetchLook   = 16 // batches it looks through for a match before it lets others have their turn
)

// Waker returns the waker of the feed that the subscription reads.
func (s *Subscription) Waker() Waker { return s.feed.waker }

// Position returns the position up to which everything has been given out.
func (s *Subscription) Position() tidings.Position { return s.pos }

// Reached returns the last position before what the reader has not had: nothing of what it asked for lies between Position
// and it. A reader that goes on from it with another query gets what was published since, and not the history that nothing
// it had asked for happened in. Once the subscription has been ended from outside it does not move.
func (s *Subscription) Reached() tidings.Position {
	p := s.pos
	if cu := s.catchUp; cu != nil {
		if len(cu.ends) > 0 && p.Epoch == s.feed.hub.epoch && cu.ends[0].offset > 0 {
			p.Offset = max(p.Offset, cu.ends[0].offset-1)
		}
		return p
	}
	reached := s.feed.reached(s)
	// Looked at last: what was published after the end may not have been put into the feed.
	if e := s.ended.Load(); e != nil {
		reached = min(reached, e.at)
	} else if s.over() != nil {
		return p
	}
	p.Offset = max(p.Offset, reached)
	return p
}

// Next returns the encoded events that the reader has not had: whole messages, shared and never changed. It does not
// block. After HasBytes, Advance has to be called.
func (s *Subscription) Next() ([]byte, State) {
	p, st := s.next()
	// Looked at last: the bytes may have an event that was published after the subscription ended.
	if err := s.over(); err != nil {
		return s.feed.form.AppendEnd(nil, err), Over
	}
	return p, st
}

// over returns why the subscription was ended from outside, if it was.
func (s *Subscription) over() error {
	if e := s.ended.Load(); e != nil {
		return e.err
	}
	if s.actor == &publicActor && s.era != s.feed.era.Load() {
		return errWithdrawn
	}
	return nil
}

// Complete reports whether what Next returned last was all there is until the feed's waker tells.
func (s *Subscription) Complete() bool { return s.all }

func (s *Subscription) next() ([]byte, State) {
	if cu := s.catchUp; cu != nil {
		s.all = false
		if cu.judged != s.feed.judged.Load() {
			cu.buf, cu.ends = nil, nil // read again, with the rights of now
		}
		if len(cu.buf) > 0 {
			return cu.buf, HasBytes
		}
		return nil, Lagging
	}
	p, ok := s.feed.next(s)
	switch {
	case !ok:
		return nil, Lagging
	case p == nil:
		return nil, AtHead
	}
	return p, HasBytes
}

// Advance says that the first n of the bytes that Next returned have been taken. Where n lies inside an event, it returns
// a copy of the event's rest, which counts as given out; later events are returned again by Next.
func (s *Subscription) Advance(n int) (rest []byte) {
	if cu := s.catchUp; cu != nil {
		return s.advanceCatchUp(cu, n)
	}
	c := s.cur
	s.cur = nil
	at := int(s.off-c.base) + n
	if at == s.curEnd.end {
		s.off += int64(n)
		s.pos.Offset = s.curEnd.offset
		return nil
	}
	s.feed.mu.Lock()
	buf, ends := c.buf, c.ends
	s.feed.mu.Unlock()
	end, offset, rest := cut(buf, ends, at)
	s.off = c.base + int64(end)
	s.pos.Offset = max(s.pos.Offset, offset)
	return rest
}

func (s *Subscription) advanceCatchUp(cu *catchUp, n int) (rest []byte) {
	if n == len(cu.buf) {
		s.pos = cu.pos
	} else {
		// What was not taken is read again when there is room, so that a reader that stands still holds no more than
		// the rest of one event.
		_, offset, r := cut(cu.buf, cu.ends, n)
		rest = r
		if len(rest) > 0 || offset > 0 { // a gap may lead to offset 0 of another epoch
			s.pos = tidings.Position{Epoch: s.feed.hub.epoch, Offset: offset}
		}
	}
	cu.buf, cu.ends = nil, nil
	return rest
}

// cut finds the event that ends at or behind at, unless at is a boundary: it returns the end in bytes and the offset in
// the log of the last event that is taken wholly or by the copy of its rest. The offset is 0 if there is none.
func cut(buf []byte, ends []entry, at int) (end int, offset uint64, rest []byte) {
	i := sort.Search(len(ends), func(i int) bool { return ends[i].end > at }) // the event that holds the byte at
	if i > 0 {
		end, offset = ends[i-1].end, ends[i-1].offset
	}
	if at > end {
		rest = append([]byte(nil), buf[at:ends[i].end]...)
		end, offset = ends[i].end, ends[i].offset
	}
	return end, offset, rest
}

// Fetch reads from the log what the tail of the feed does not hold any more, at most a bounded number of bytes, and
// leaves it for Next; or it puts the subscription back into the tail. It may block on the log.
func (s *Subscription) Fetch(ctx context.Context) {
	cu := s.catchUp
	if cu == nil || len(cu.buf) > 0 || s.over() != nil {
		return
	}
	f, h := s.feed, s.feed.hub
	for range fetchLook {
		if f.attach(s) {
			return
		}
		if s.pos.Epoch == h.epoch && s.pos.Offset > h.pos.Load() && s.pos.Offset <= h.log.Head().Offset {
			// The reader has seen what is not dispatched yet, an event of its own perhaps.
			if h.waitFor(ctx, s.pos.Offset) != nil {
				return
			}
			continue
		}
		limit := h.pos.Load() // what lies behind comes through the feed
		cu.judged = f.judged.Load()
		read := h.log.Read
		if s.pos.Epoch == h.epoch && s.pos.Offset < cu.told {
			read = h.log.ReadKept
		}
		evs, next, err := read(ctx, s.pos, f.query.Patterns, fetchEvents)
		if gap, ok := asGap(err); ok {
			h.gaps.Add(1)
			gap = s.gapBefore(ctx, gap)
			cu.buf = f.form.AppendGap(nil, gap)
			cu.pos = gap.Oldest
			cu.ends = []entry{{end: len(cu.buf), offset: gap.Oldest.Offset}}
			if len(cu.buf) == 0 {
				s.pos = gap.Oldest
				continue
			}
			return
		}
		if err != nil {
			// Next asks again; the pause keeps a broken log from being asked all the time.
			select {
			case <-ctx.Done():
			case <-h.done:
			case <-time.After(retryPause):
			}
			return
		}
		if next.Offset > limit {
			next.Offset = limit
		}
		denied := false
		for i := range evs {
			if evs[i].Position.Offset > limit {
				break
			}
			if len(cu.buf) >= fetchBytes {
				next = tidings.Position{Epoch: h.epoch, Offset: evs[i].Position.Offset - 1}
				break
			}
			n := len(cu.buf)
			it := &Item{Event: &evs[i], decode: h.opt.Decode}
			if f.query.filtered(it) || h.hidden(it.Event) {
				continue
			}
			if h.access.May(*s.actor, tidings.ReadAction, it.Topic) != nil {
				denied = true
				continue
			}
			cu.buf = f.form.Append(cu.buf, it)
			if len(cu.buf) > n {
				cu.ends = append(cu.ends, entry{end: len(cu.buf), offset: evs[i].Position.Offset})
			}
		}
		if denied && (f.literal || h.audience(f.query, *s.actor) != f.key.audience) {
			// A right has just been withdrawn and Recheck is about to end the reader. It must not go on behind what it
			// may not read any more as if that had never been there: the tail still has what followed it.
			cu.buf, cu.ends = nil, nil
			return
		}
		cu.pos = next
		if len(cu.buf) > 0 {
			return
		}
		if next == s.pos && h.waitFor(ctx, limit+1) != nil { // the tail was cut beyond limit by a batch under way
			return
		}
		s.pos = next
	}
}

// gapBefore returns the gap as the reader is told of it. Where rules of retention differ, events of some of its topics are
// kept that lie before the gap's Oldest: the reader goes on from the first of them, and is not told again of what is
// missing between.
func (s *Subscription) gapBefore(ctx context.Context, gap *tidings.GapError) *tidings.GapError {
	h := s.feed.hub
	if gap.Asked.Epoch != h.epoch || gap.Asked.Offset >= gap.Oldest.Offset {
		return gap
	}
	evs, _, err := h.log.ReadKept(ctx, gap.Asked, s.feed.query.Patterns, 1)
	if err != nil || len(evs) == 0 || evs[0].Position.Offset > gap.Oldest.Offset {
		return gap
	}
	s.catchUp.told = gap.Oldest.Offset
	return &tidings.GapError{Asked: gap.Asked, Oldest: tidings.Position{Epoch: h.epoch, Offset: evs[0].Position.Offset - 1}}
}

// Goodbye returns what tells the reader that the server stops.
func (s *Subscription) Goodbye() []byte { return s.feed.form.AppendGoodbye(nil) }

// end makes Next return Over. The caller wakes the feed.
func (s *Subscription) end(err error, at uint64) { s.ended.CompareAndSwap(nil, &ending{err, at}) }

// Close ends the subscription; its feed goes with the last of its subscriptions.
func (s *Subscription) Close() {
	if s.closed {
		return
	}
	s.closed = true
	s.feed.hub.unsubscribe(s)
}
