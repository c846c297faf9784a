package hub

import (
	"context"
	"time"

	"tidings"
)

// mayRead returns the error of access for the first topic that the query names and the actor may not read.
func (h *Hub) mayRead(q Query, actor tidings.Actor) error {
	if len(q.Patterns) == 0 {
		return tidings.Errorf(tidings.ErrInvalid, "the query needs a topic or a pattern")
	}
	for _, p := range q.Patterns {
		if t, ok := p.Topic(); ok {
			if err := h.access.May(actor, tidings.ReadAction, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// readBatches bounds how much of the log one call of Read looks through.
const readBatches = 64

// Read returns at most max events after the position that match the query and that the actor may read, and the position
// up to which the answer is complete. It looks at no more than a bounded number of events of the log, so it may return
// none although there are more: more tells. Errors: those of the log, a gap among them, and those of access.
func (h *Hub) Read(ctx context.Context, q Query, actor tidings.Actor, after tidings.Position, max int) (items []*Item, next tidings.Position, more bool, err error) {
	if err := h.mayRead(q, actor); err != nil {
		return nil, after, false, err
	}
	next = after
	for range readBatches {
		evs, end, err := h.log.Read(ctx, next, q.Patterns, dispatchBatch)
		if err != nil {
			return items, next, false, err
		}
		for i := range evs {
			it := &Item{Event: &evs[i], decode: h.opt.Decode}
			if q.filtered(it) || !h.readable(actor, it.Event) {
				continue
			}
			if len(items) == max {
				return items, next, true, nil
			}
			items = append(items, it)
			next = it.Position
		}
		if next = end; next.Offset >= h.log.Head().Offset {
			return items, next, false, nil
		}
	}
	return items, next, true, nil
}

// Latest returns the last max events that match the query and that the actor may read, the oldest of them first, and
// the position to go on from.
//
// The log is read forwards only, so it is asked for a window at its end, which grows until it holds enough.
func (h *Hub) Latest(ctx context.Context, q Query, actor tidings.Actor, max int) ([]*Item, tidings.Position, error) {
	head := h.Head()
	items, err := h.backwards(ctx, q, actor, head, uint64(max), last(max))
	return items, head, err
}

// Before returns the last max events before the one at the position that match the query and that the actor may read,
// the oldest of them first. Where events before it were removed there are fewer. Errors: a gap if the position is of
// another epoch, and those of access and of the log.
func (h *Hub) Before(ctx context.Context, q Query, actor tidings.Actor, before tidings.Position, max int) ([]*Item, error) {
	end := h.Head()
	if before.Epoch != end.Epoch {
		return nil, &tidings.GapError{Asked: before, Oldest: h.Oldest()}
	}
	if before.Offset == 0 {
		return nil, h.mayRead(q, actor)
	}
	end.Offset = min(end.Offset, before.Offset-1)
	return h.backwards(ctx, q, actor, end, uint64(max), last(max))
}

// last returns what backwards asks for in order to find the last max events.
func last(max int) func(part []*Item) ([]*Item, bool) {
	var found []*Item
	return func(part []*Item) ([]*Item, bool) {
		found = append(part, found...)
		if len(found) >= max {
			return found[len(found)-max:], true
		}
		return found, false
	}
}

// Item returns the newest version of the item with the id in the topic. Errors: ErrNotFound, and those of Read.
func (h *Hub) Item(ctx context.Context, topic tidings.Topic, actor tidings.Actor, id string) (*Item, error) {
	q := Query{Patterns: []tidings.Pattern{tidings.PatternOf(topic)}}
	if err := h.mayRead(q, actor); err != nil {
		return nil, err
	}
	newest := func(part []*Item) ([]*Item, bool) {
		for i := len(part) - 1; i >= 0; i-- {
			if part[i].ItemID() == id {
				return part[i : i+1], true
			}
		}
		return nil, false
	}
	head := h.Head()
	var begin tidings.Position
	if p, err := tidings.ParsePosition(id); err == nil && p.Epoch == head.Epoch && 0 < p.Offset && p.Offset <= head.Offset {
		// An item named by its position has no version before it.
		begin = tidings.Position{Epoch: p.Epoch, Offset: p.Offset - 1}
	}
	found, err := h.search(ctx, q, actor, begin, head, 16, newest)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && begin.Offset > 0 { // an ID that looks like a position
		if found, err = h.search(ctx, q, actor, tidings.Position{}, begin, 16, newest); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 || found[0].Kind == tidings.Retract {
		return nil, tidings.Errorf(tidings.ErrNotFound, "the topic %s keeps no item %q", topic, id)
	}
	return found[0], nil
}

// Bounds of a search from the head backwards.
const (
	maxWindow    = 1 << 16 // offsets of the log that are read forwards at once
	searchEvents = 200_000 // of the topics in question that are looked at
	searchTime   = 3 * time.Second
)

func (h *Hub) backwards(ctx context.Context, q Query, actor tidings.Actor, head tidings.Position, window uint64, enough func(part []*Item) ([]*Item, bool)) ([]*Item, error) {
	if err := h.mayRead(q, actor); err != nil {
		return nil, err
	}
	return h.search(ctx, q, actor, tidings.Position{}, head, window, enough)
}

// search reads windows of offsets, each before the last one, from head back to begin until enough, which is given what
// matches in each, has found what it wants; it returns what enough last returned. A search that has looked at its share
// of the log returns what it has, or an error of kind ErrUnavailable if that is nothing.
func (h *Hub) search(ctx context.Context, q Query, actor tidings.Actor, begin, head tidings.Position, window uint64, enough func(part []*Item) ([]*Item, bool)) ([]*Item, error) {
	deadline := time.Now().Add(searchTime)
	looked := 0
	end := head
	for window = max(window, 16) * 2; ; window = min(window*3, maxWindow) {
		from := tidings.Position{Epoch: head.Epoch}
		if window < end.Offset {
			from.Offset = end.Offset - window
		}
		oldest := h.log.Oldest()
		from.Offset = max(from.Offset, oldest.Offset, begin.Offset)
		part, complete, n, err := h.between(ctx, q, actor, from, end)
		if err != nil {
			return nil, err
		}
		looked += n
		items, ok := enough(part)
		if ok || complete.Offset > from.Offset || from.Offset <= max(oldest.Offset, begin.Offset) {
			return items, nil
		}
		if looked > searchEvents || time.Now().After(deadline) {
			if len(items) > 0 {
				return items, nil
			}
			return nil, tidings.Errorf(tidings.ErrUnavailable, "the last %d events searched hold none that match, and older ones were not looked at: name a narrower topic, or go forwards with since=", looked)
		}
		end = from
	}
}

// between returns the matching events after from up to end, where they begin to be complete, which is behind from if some
// were removed, and how many it has looked at.
func (h *Hub) between(ctx context.Context, q Query, actor tidings.Actor, from, end tidings.Position) (items []*Item, begin tidings.Position, looked int, err error) {
	begin = from
	for from.Offset < end.Offset {
		evs, next, err := h.log.Read(ctx, from, q.Patterns, dispatchBatch)
		if gap, ok := asGap(err); ok && gap.Oldest.Offset > from.Offset {
			from = gap.Oldest
			begin = from
			continue
		}
		if err != nil {
			return nil, begin, looked, err
		}
		looked += len(evs)
		for i := range evs {
			it := &Item{Event: &evs[i], decode: h.opt.Decode}
			if it.Position.Offset <= end.Offset && !q.filtered(it) && h.readable(actor, it.Event) {
				items = append(items, it)
			}
		}
		if next == from {
			break
		}
		from = next
	}
	return items, begin, looked, nil
}
