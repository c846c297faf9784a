package pubsub

import (
	"context"
	"errors"
	"slices"
	"time"

	"tidings"
	"tidings/hub"
)

// ItemsRequest says which items of a node are wanted: all that there are, if nothing but Node is set.
type ItemsRequest struct {
	Node  string
	SubID string   // of a subscription of the entity, needed where it has several; it makes no difference to the items
	Names bool     // what is wanted is their IDs (section 5.5), for which no SubID is needed
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
// page is to begin at, gone, forbidden, closed-node, not-subscribed, subid-required, invalid-subid, unsupported
// persistent-items, unsupported retrieve-items for a pattern, and those of the journal.
func (s *Service) Items(ctx context.Context, who Entity, r ItemsRequest) (Items, error) {
	topic, st, err := s.readableItems(ctx, who, r.Node)
	if err != nil {
		return Items{}, err
	}
	if !r.Names {
		if err := s.mustName(topic, who, r.SubID); err != nil {
			return Items{}, err
		}
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

// mustName compares a SubID with the subscriptions that the entity has by the address that asks, or by its bare JID (sections
// 6.5.9.1 and 6.5.9.2).
func (s *Service) mustName(topic tidings.Topic, who Entity, subID string) error {
	own := s.own(string(topic), bareOf(who.JID))
	if subID != "" {
		if !slices.ContainsFunc(own, func(x ownSub) bool { return x.SubID == subID }) {
			return errorf(NotAcceptable, InvalidSubID, "%s has no subscription %.40q to %s", bareOf(who.JID), subID, topic.Node())
		}
		return nil
	}
	count := map[string]int{}
	for _, x := range own {
		if x.State == Subscribed {
			count[x.JID]++
		}
	}
	if n := max(count[who.JID], count[bareOf(who.JID)]); n > 1 {
		return errorf(BadRequest, SubIDRequired, "%s has %d subscriptions to %s: say which by its SubID", bareOf(who.JID), n, topic.Node())
	}
	return nil
}

// readableItems is find for who wants items.
func (s *Service) readableItems(ctx context.Context, who Entity, node string) (tidings.Topic, *stored, error) {
	p, err := placeOf(node)
	if err == nil && p.isPattern() {
		err = unsupported("retrieve-items", "%s is a pattern, and keeps no items: ask for those of a node", node)
	}
	if err != nil {
		return "", nil, err
	}
	topic := p.topic
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
	// The newest event is the newest item, unless it is a retraction.
	newest, err := s.opt.Log.Last(ctx, topic)
	if err == nil && newest.Kind == tidings.Publish && (st == nil || newest.Position.Offset > st.floor) {
		e := entryOf(&newest)
		if !configOf(st).fresh(&e, time.Now()) {
			return nil, errNoLast(topic)
		}
		if got, err := s.fetch(ctx, topic, []entry{e}); err != nil || len(got) > 0 {
			return first(got), err
		}
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
		err = errNoLast(topic)
	}
	return first(got), err
}

func errNoLast(topic tidings.Topic) error {
	return errorf(ItemNotFound, "", "the node %s has no item", topic.Node())
}

func first(items []*hub.Item) *hub.Item {
	if len(items) == 0 {
		return nil
	}
	return items[0]
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
