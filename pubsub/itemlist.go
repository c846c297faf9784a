package pubsub

import (
	"context"
	"errors"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"tidings"
	"tidings/hub"
)

// entry is one item of a node: where its newest version is.
type entry struct {
	id        string
	publisher string
	offset    uint64
	at        int64 // Unix seconds of its event's time
}

// itemList is the items of a node that count, as far as the log has been read. It is made when somebody asks for it and
// follows the log from then on, whenever somebody asks again.
type itemList struct {
	mu     sync.Mutex
	ready  bool
	life   uint64
	floor  uint64
	most   int
	upTo   tidings.Position
	items  []entry           // in the order of the log; those that offset does not have are of the past
	offset map[string]uint64 // of the newest version, by ID
	used   uint64            // guarded by the cache
}

// itemCache keeps the lists that were used last.
type itemCache struct {
	mu    sync.Mutex
	lists map[string]*itemList
	clock uint64
}

// maxLists is how many lists are kept.
const maxLists = 256

func (c *itemCache) init() { c.lists = map[string]*itemList{} }

// forget drops the list of a node that is no longer the same.
func (c *itemCache) forget(name string, was, is *stored) {
	if was != nil && is != nil && was.life == is.life && was.floor == is.floor && was.deleted == is.deleted && was.config.MaxItems == is.config.MaxItems {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.lists, name)
}

func (c *itemCache) get(name string) *itemList {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lists[name]
	if l == nil {
		if len(c.lists) >= maxLists {
			oldest := ""
			for n, l := range c.lists {
				if oldest == "" || l.used < c.lists[oldest].used {
					oldest = n
				}
			}
			delete(c.lists, oldest)
		}
		l = &itemList{}
		c.lists[name] = l
	}
	c.clock++
	l.used = c.clock
	return l
}

// most returns how many items a configuration keeps.
func (s *Service) most(c *Config) int {
	if c.MaxItems == 0 || c.MaxItems > s.opt.MaxItems {
		return s.opt.MaxItems
	}
	return c.MaxItems
}

var system = tidings.Actor{Kind: tidings.System}

func queryOf(topic tidings.Topic) hub.Query {
	return hub.Query{Patterns: []tidings.Pattern{tidings.PatternOf(topic)}}
}

// itemsOf calls f with the list of a node's items as of now, which is f's during the call. Errors are the journal's.
func (s *Service) itemsOf(ctx context.Context, topic tidings.Topic, st *stored, f func(*itemList)) error {
	c, life, floor := &builtin, uint64(0), uint64(0)
	if st != nil {
		c, life, floor = st.config, st.life, st.floor
	}
	l := s.items.get(string(topic))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life != life || l.floor != floor || l.most != s.most(c) {
		l.ready, l.life, l.floor, l.most = false, life, floor, s.most(c)
	}
	for range 2 {
		if !l.ready {
			if err := s.readBack(ctx, topic, l); err != nil {
				return err
			}
		}
		err := s.readOn(ctx, topic, l)
		if errors.Is(err, tidings.ErrGap) {
			l.ready = false // what was missed is gone: begin again with what is there
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	f(l)
	return nil
}

// listBatch is how many events of a node are read at once.
const listBatch = 512

// readBack makes the list from the end of the log, as far back as it takes.
func (s *Service) readBack(ctx context.Context, topic tidings.Topic, l *itemList) error {
	l.items, l.offset = nil, map[string]uint64{}
	q := queryOf(topic)
	ended := map[string]uint64{} // where the version that is looked for next was replaced or retracted, by ID
	var crowd crowd
	var back []entry
	part, head, err := s.opt.Hub.Latest(ctx, q, system, listBatch)
	for {
		if err != nil && (len(ended) == 0 || !errors.Is(err, tidings.ErrUnavailable)) {
			return err
		}
		for _, it := range slices.Backward(part) {
			id, at := it.ItemID(), it.Position.Offset
			end, over := ended[id]
			ended[id] = at
			if it.Kind == tidings.Retract {
				continue
			}
			if len(crowd) >= l.most { // they have pushed this one out, and so all before it
				break
			}
			if !over {
				back = append(back, entryOf(it.Event))
				l.offset[id] = at
				end = math.MaxUint64
			}
			crowd.add(at, end)
		}
		// The search for more may end at its bounds: what is so far behind other events is not listed.
		if len(part) < listBatch || len(crowd) >= l.most || err != nil {
			break
		}
		part, err = s.opt.Hub.Before(ctx, q, system, part[0].Position, listBatch)
	}
	slices.Reverse(back)
	l.items, l.upTo, l.ready = back, head, true
	return nil
}

// crowd is how many items there were at once at the most, of those that were added, each of which began before the others. What was
// published before them has been pushed out if they were too many at any time, also if some are gone since. It has the
// offsets, the latest first, at which there was one more than at any time before.
type crowd []uint64

// add adds an item that was there from one offset until before another.
func (c *crowd) add(from, until uint64) {
	// Until its end there was one more at any time, and from its end on there were as many as before: the first step from there on is none.
	switch i := sort.Search(len(*c), func(i int) bool { return (*c)[i] < until }) - 1; {
	case i == 0:
		*c = (*c)[1:]
	case i > 0:
		*c = slices.Delete(*c, i, i+1)
	}
	*c = append(*c, from)
}

func entryOf(e *tidings.Event) entry {
	return entry{id: e.ItemID(), publisher: e.Publisher, offset: e.Position.Offset, at: e.Time.Unix()}
}

// readOn takes in what has been published since.
func (s *Service) readOn(ctx context.Context, topic tidings.Topic, l *itemList) error {
	for {
		part, next, more, err := s.opt.Hub.Read(ctx, queryOf(topic), system, l.upTo, listBatch)
		if err != nil {
			return err
		}
		for _, it := range part {
			e := entryOf(it.Event)
			if it.Kind == tidings.Retract {
				delete(l.offset, e.id)
				continue
			}
			l.offset[e.id] = e.offset
			l.items = append(l.items, e)
			l.trim()
		}
		l.upTo = next
		if !more {
			return nil
		}
	}
}

// trim lets the oldest items go where there are too many, and those of the past now and then.
func (l *itemList) trim() {
	first := 0
	for ; len(l.offset) > l.most; first++ {
		if l.is(&l.items[first]) {
			delete(l.offset, l.items[first].id)
		}
	}
	l.items = l.items[first:]
	if len(l.items) > 2*len(l.offset)+64 {
		kept := make([]entry, 0, len(l.offset))
		for i := range l.items {
			if l.is(&l.items[i]) {
				kept = append(kept, l.items[i])
			}
		}
		l.items = kept
	}
}

// is reports whether the entry is the newest version of an item.
func (l *itemList) is(e *entry) bool { return l.offset[e.id] == e.offset }

// fresh reports whether the item has not expired.
func (c *Config) fresh(e *entry, now time.Time) bool {
	return c.ItemExpire == 0 || e.at+int64(c.ItemExpire) > now.Unix()
}

// current returns the items, the oldest first.
func (l *itemList) current(c *Config, now time.Time) []entry {
	out := make([]entry, 0, len(l.offset))
	for i := range l.items {
		if e := &l.items[i]; l.is(e) && c.fresh(e, now) {
			out = append(out, *e)
		}
	}
	return out
}

// last returns the newest item.
func (l *itemList) last(c *Config, now time.Time) (entry, bool) {
	for i := range slices.Backward(l.items) {
		if e := &l.items[i]; l.is(e) {
			return *e, c.fresh(e, now)
		}
	}
	return entry{}, false
}

// find returns the item with the ID.
func (l *itemList) find(c *Config, id string, now time.Time) (entry, bool) {
	at, ok := l.offset[id]
	if !ok {
		return entry{}, false
	}
	i := sort.Search(len(l.items), func(i int) bool { return l.items[i].offset >= at })
	return l.items[i], c.fresh(&l.items[i], now)
}
