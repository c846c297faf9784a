package pubsub

import (
	"context"
	"errors"
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
	seen := map[string]bool{}
	var back []entry
	part, head, err := s.opt.Hub.Latest(ctx, q, system, listBatch)
	for {
		if err != nil && (len(seen) == 0 || !errors.Is(err, tidings.ErrUnavailable)) {
			return err
		}
		for _, it := range slices.Backward(part) {
			id := it.ItemID()
			if seen[id] {
				continue
			}
			seen[id] = true
			if it.Kind == tidings.Publish && len(back) < l.most {
				back = append(back, entryOf(it.Event))
				l.offset[id] = it.Position.Offset
			}
		}
		// The search for more may end at its bounds: what is so far behind other events is not listed.
		if len(part) < listBatch || len(back) == l.most || err != nil {
			break
		}
		part, err = s.opt.Hub.Before(ctx, q, system, part[0].Position, listBatch)
	}
	slices.Reverse(back)
	l.items, l.upTo, l.ready = back, head, true
	return nil
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
		}
		l.upTo = next
		l.trim()
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

// ItemsRequest says which items of a node are wanted: all that there are, if nothing but Node is set.
type ItemsRequest struct {
	Node  string
	SubID string   // of a subscription of the entity, where it has several; it makes no difference to the items
	IDs   []string // these, in this order, as far as they are there; the rest does not count then
	Max   int      // the newest so many; 0 for no limit
	Page  *Page    // a page of them (XEP-0059), the oldest first
}

// Page is a request for a page of a result set (XEP-0059). The zero Page is the first one, as long as the service gives.
type Page struct {
	Max    int    // most items of the page; 0 for the service's own limit
	Count  bool   // no items, but how many there are
	After  string // the ID of the item before the page
	Before string // the ID of the item behind the page
	Last   bool   // the last page (an empty before)
	Index  int    // of the first item of the page, if none of the others is set
}

// MaxPage is how many items are returned at once.
const MaxPage = 1000

// Items is an answer to an ItemsRequest.
type Items struct {
	Items    []*hub.Item // the oldest first; by IDs in their order
	Count    int         // how many items the node has
	Index    int         // of the first item of a page among them
	Complete bool        // the page is the last one in its direction
}

// Items returns items of a node (section 6.5) in the order of their newest versions. At most MaxPage are returned, the
// newest if no page is asked for. Errors: nodeid-required, item-not-found for a node that is not there or an item that a
// page is to begin at, gone, forbidden, closed-node, not-subscribed, invalid-subid, unsupported persistent-items, and
// those of the journal.
func (s *Service) Items(ctx context.Context, who Entity, r ItemsRequest) (Items, error) {
	topic, st, err := s.readableItems(ctx, who, r.Node)
	if err != nil {
		return Items{}, err
	}
	if r.SubID != "" && !slices.ContainsFunc(s.own(string(topic), bareOf(who.JID)), func(x ownSub) bool { return x.SubID == r.SubID }) {
		return Items{}, errorf(NotAcceptable, InvalidSubID, "%s has no subscription %.40q to %s", bareOf(who.JID), r.SubID, r.Node)
	}
	c := configOf(st)
	var all, wanted []entry
	now := time.Now()
	if err := s.itemsOf(ctx, topic, st, func(l *itemList) {
		if len(r.IDs) == 0 {
			all = l.current(c, now)
			return
		}
		for _, id := range r.IDs {
			if e, ok := l.find(c, id, now); ok {
				wanted = append(wanted, e)
			}
		}
	}); err != nil {
		return Items{}, err
	}
	out := Items{Count: len(all), Complete: true}
	switch {
	case len(r.IDs) > 0:
		out.Count = len(wanted)
		wanted = wanted[:min(len(wanted), MaxPage)]
	case r.Page != nil:
		if wanted, err = r.Page.cut(all, &out); err != nil {
			return Items{}, err
		}
	default:
		n := MaxPage
		if r.Max > 0 {
			n = min(n, r.Max)
		}
		out.Index = max(len(all)-n, 0)
		wanted = all[out.Index:]
		out.Complete = out.Index == 0
	}
	out.Items, err = s.fetch(ctx, topic, wanted)
	return out, err
}

func configOf(st *stored) *Config {
	if st == nil {
		return &builtin
	}
	return st.config
}

// readableItems is find for who wants items.
func (s *Service) readableItems(ctx context.Context, who Entity, node string) (tidings.Topic, *stored, error) {
	topic, err := topicOf(node)
	if err != nil {
		return "", nil, err
	}
	st, err := s.find(ctx, topic)
	if err == nil {
		err = s.mustRead(who, topic, st)
	}
	if err == nil && st != nil && !st.config.PersistItems {
		err = errNoItems(topic)
	}
	return topic, st, err
}

// cut returns the page of the items.
func (p *Page) cut(all []entry, out *Items) ([]entry, error) {
	n := MaxPage
	if p.Max > 0 {
		n = min(n, p.Max)
	}
	from, to := 0, len(all)
	at := func(id string) (int, error) {
		i := slices.IndexFunc(all, func(e entry) bool { return e.id == id })
		if i < 0 {
			return 0, errorf(ItemNotFound, "", "the node has no item %.80q", id)
		}
		return i, nil
	}
	backwards := p.Last || p.Before != ""
	if p.After != "" {
		i, err := at(p.After)
		if err != nil {
			return nil, err
		}
		from = i + 1
	}
	if p.Before != "" {
		i, err := at(p.Before)
		if err != nil {
			return nil, err
		}
		to = max(i, from)
	}
	if p.After == "" && !backwards && p.Index > 0 {
		if p.Index > len(all) {
			return nil, errorf(ItemNotFound, "", "the node has %d items and none with the index %d", len(all), p.Index)
		}
		from = p.Index
	}
	switch {
	case p.Count:
		out.Complete = len(all) == 0
		return nil, nil
	case backwards:
		out.Complete = to-from <= n
		from = max(from, to-n)
	default:
		out.Complete = to-from <= n
		to = min(to, from+n)
	}
	out.Index = from
	return all[from:to], nil
}

// Last returns the newest item of a node (section 6.1.7), or an error of the stanza condition item-not-found if there is
// none. Other errors: those of Items.
func (s *Service) Last(ctx context.Context, who Entity, node string) (*hub.Item, error) {
	topic, st, err := s.readableItems(ctx, who, node)
	if err != nil {
		return nil, err
	}
	var wanted []entry
	if err := s.itemsOf(ctx, topic, st, func(l *itemList) {
		if e, ok := l.last(configOf(st), time.Now()); ok {
			wanted = append(wanted, e)
		}
	}); err != nil {
		return nil, err
	}
	got, err := s.fetch(ctx, topic, wanted)
	if err == nil && len(got) == 0 {
		err = errorf(ItemNotFound, "", "the node %s has no item", topic.Node())
	}
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// fetch reads the items from the log and returns them in the order asked for. Those that were removed meanwhile are left
// out.
func (s *Service) fetch(ctx context.Context, topic tidings.Topic, wanted []entry) ([]*hub.Item, error) {
	offsets := make([]uint64, 0, len(wanted))
	for _, e := range wanted {
		offsets = append(offsets, e.offset)
	}
	slices.Sort(offsets)
	found := make(map[uint64]*hub.Item, len(wanted))
	for len(offsets) > 0 {
		after := tidings.Position{Epoch: s.epoch, Offset: offsets[0] - 1}
		part, _, _, err := s.opt.Hub.Read(ctx, queryOf(topic), system, after, min(len(offsets), listBatch))
		var gap *tidings.GapError
		switch {
		case errors.As(err, &gap):
			// The log has begun to forget: what lies before is gone.
			offsets = slices.DeleteFunc(offsets, func(o uint64) bool { return o <= max(gap.Oldest.Offset, after.Offset+1) })
			continue
		case err != nil:
			return nil, err
		}
		reached := offsets[0]
		for _, it := range part {
			found[it.Position.Offset] = it
			reached = max(reached, it.Position.Offset)
		}
		// Versions that do not count may lie between: the next read begins at the next that does.
		offsets = slices.DeleteFunc(offsets, func(o uint64) bool { return o <= reached })
	}
	out := make([]*hub.Item, 0, len(wanted))
	for _, e := range wanted {
		if it := found[e.offset]; it != nil {
			out = append(out, it)
		}
	}
	return out, nil
}
