package hub

import (
	"errors"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
)

// Bounds of a feed's memory.
const (
	firstChunk = 1 << 10  // bytes of a feed's first chunk
	maxChunk   = 64 << 10 // bytes of a chunk, except for one event that is larger
	scarceTail = 256 << 10
	maxLost    = 64 // chunks whose place is remembered after they were dropped
)

// Feed is the recent tail of what one query yields in one wire form: the encoded bytes, contiguous but for chunks. A
// subscriber is an offset into it.
type Feed struct {
	hub     *Hub
	key     feedKey
	query   Query
	literal bool // the query has no globs: all of its readers may read all of it
	form    Form
	waker   Waker
	era     atomic.Uint32 // anonymous readers of an earlier one have lost the right to read
	judged  atomic.Uint32 // moves when what was read from the log has to be judged again

	// Guarded by hub.mu.
	actor   tidings.Actor // one of its audience
	refs    int
	named   map[*Subscription]struct{} // those whose rights can change
	seen    uint64
	touched bool
	scratch []byte

	mu     sync.Mutex
	chunks []*chunk
	head   int64  // bytes ever appended: where the next event begins
	start  uint64 // offset in the log: every event of the feed behind it is in the chunks
	size   int    // bytes of the chunks' buffers
	lost   []lostChunk
}

// chunk is a run of whole messages. Its bytes up to len never change, and cap is never exceeded, so that readers hold
// slices of it without a lock.
type chunk struct {
	base  int64  // of buf[0] in the feed
	first uint64 // offset in the log of the first event, less one: a reader at base has everything up to it
	buf   []byte
	ends  []entry
	at    time.Time // of the last append
}

// entry is where an event ends in a chunk.
type entry struct {
	end    int
	offset uint64 // in the log
}

// lostChunk remembers of a dropped chunk where it began, so that a reader who finds its place gone knows what it has.
type lostChunk struct {
	base  int64
	first uint64
}

// mayRead reports whether the feed's audience may read the topic. Rights are asked of an actor, and the one the feed asks
// for may have others than its audience by now: then another of the audience takes its place, so that nobody misses an
// event because of somebody else's revocation, or gets one by somebody else's right. The caller holds hub.mu.
func (f *Feed) mayRead(t tidings.Topic) bool {
	if f.literal {
		return true
	}
	h := f.hub
	if f.actor.Kind == tidings.Anonymous || h.audience(f.query, f.actor) == f.key.audience {
		return h.access.May(f.actor, tidings.ReadAction, t) == nil
	}
	for s := range f.named {
		if h.audience(f.query, *s.actor) == f.key.audience {
			f.actor = *s.actor
			return h.access.May(f.actor, tidings.ReadAction, t) == nil
		}
	}
	return false
}

// append adds one encoded event.
func (f *Feed) append(b []byte, offset uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var c *chunk
	if n := len(f.chunks); n > 0 {
		c = f.chunks[n-1]
	}
	if c == nil || cap(c.buf)-len(c.buf) < len(b) {
		size := firstChunk
		if c != nil {
			size = min(2*cap(c.buf), maxChunk)
		}
		c = &chunk{base: f.head, first: offset - 1, buf: make([]byte, 0, max(size, len(b)))}
		f.chunks = append(f.chunks, c)
		f.size += cap(c.buf)
		f.hub.tails.Add(int64(cap(c.buf)))
	}
	c.buf = append(c.buf, b...)
	c.ends = append(c.ends, entry{end: len(c.buf), offset: offset})
	c.at = time.Now()
	f.head += int64(len(b))
	limit := f.hub.opt.FeedTail
	if f.hub.tails.Load() > int64(f.hub.opt.Tails) {
		limit = min(limit, scarceTail)
	}
	for f.size > limit && len(f.chunks) > 1 {
		f.drop()
	}
}

// drop lets go of the oldest chunk.
func (f *Feed) drop() {
	c := f.chunks[0]
	f.chunks[0] = nil
	f.chunks = f.chunks[1:]
	f.size -= cap(c.buf)
	f.hub.tails.Add(-int64(cap(c.buf)))
	f.start = c.ends[len(c.ends)-1].offset
	if len(f.lost) == maxLost {
		f.lost = slices.Delete(f.lost, 0, maxLost/2)
	}
	f.lost = append(f.lost, lostChunk{base: c.base, first: c.first})
}

// trimAge drops the chunks that were last appended to before t.
func (f *Feed) trimAge(t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.chunks) > 0 && f.chunks[0].at.Before(t) {
		f.drop()
	}
	if len(f.chunks) == 0 {
		f.chunks = nil
	}
}

// restart forgets the tail: what follows is complete from offset on only.
func (f *Feed) restart(offset uint64) {
	f.judged.Add(1)
	f.mu.Lock()
	for len(f.chunks) > 0 {
		f.drop()
	}
	f.start = offset
	// Every reader's place lies before the head, so all of them go on from the log.
	f.head++
	f.mu.Unlock()
	f.waker.Wake()
}

func (f *Feed) release() {
	f.mu.Lock()
	f.hub.tails.Add(-int64(f.size))
	f.size, f.chunks = 0, nil
	f.mu.Unlock()
}

// attach puts the subscription at its place in the tail, if its position is covered by it.
func (f *Feed) attach(s *Subscription) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.pos.Epoch != f.hub.epoch || s.pos.Offset < f.start || s.pos.Offset > f.hub.pos.Load() {
		return false
	}
	s.off = f.head
	// The first chunk that ends behind the position holds the first event the reader has not had.
	for i := len(f.chunks) - 1; i >= 0; i-- {
		c := f.chunks[i]
		if c.ends[len(c.ends)-1].offset <= s.pos.Offset {
			break
		}
		j := sort.Search(len(c.ends), func(j int) bool { return c.ends[j].offset > s.pos.Offset })
		s.off = c.base
		if j > 0 {
			s.off += int64(c.ends[j-1].end)
		}
	}
	s.catchUp = nil
	return true
}

// next returns the bytes from the subscription's place to the end of their chunk.
func (f *Feed) next(s *Subscription) (p []byte, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.all = s.off == f.head
	if s.all {
		return nil, true
	}
	n := len(f.chunks)
	if n == 0 || s.off < f.chunks[0].base {
		f.lag(s)
		return nil, false
	}
	c := f.chunks[n-1]
	if s.off < c.base {
		i := sort.Search(n, func(i int) bool { return f.chunks[i].base > s.off }) - 1
		c = f.chunks[i]
	}
	s.all = c == f.chunks[n-1]
	s.cur = c
	s.curEnd = c.ends[len(c.ends)-1]
	return c.buf[s.off-c.base : len(c.buf) : len(c.buf)], true
}

// reached returns the offset in the log before that of the first event at the subscription's place, 0 where the place is
// gone.
func (f *Feed) reached(s *Subscription) uint64 {
	head := f.hub.pos.Load() // before the feed is looked at: what is dispatched up to it is in the feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.off == f.head {
		return head
	}
	i := sort.Search(len(f.chunks), func(i int) bool { return f.chunks[i].base > s.off }) - 1
	if i < 0 {
		return 0
	}
	c := f.chunks[i]
	j := sort.Search(len(c.ends), func(j int) bool { return c.base+int64(c.ends[j].end) > s.off })
	return c.ends[j].offset - 1
}

// lag gives up the subscription's place, which has been dropped. What it has had is the later of its own position and
// of what the dropped chunk at its place began after: a feed's events may lie far apart in the log, and those that are
// none of its own need not be kept.
func (f *Feed) lag(s *Subscription) {
	i := sort.Search(len(f.lost), func(i int) bool { return f.lost[i].base > s.off }) - 1
	if i >= 0 && f.lost[i].first > s.pos.Offset {
		s.pos.Offset = f.lost[i].first
	}
	s.cur = nil
	s.catchUp = &catchUp{}
	f.hub.behind.Add(1)
}

func asGap(err error) (*tidings.GapError, bool) {
	var g *tidings.GapError
	return g, errors.As(err, &g)
}
