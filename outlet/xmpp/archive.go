package xmpp

import (
	"context"
	"errors"
	"slices"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/outlet"
	"tidings/xmpp/mam"
	"tidings/xmpp/stanza"
)

// Archive is the journal as the archive (XEP-0313) of what an actor reads: positions are the ids.
type Archive struct {
	Hub   *hub.Hub
	Query hub.Query
	Actor tidings.Actor
	Max   int // most messages of a page, and most ids of a query
}

// page collects the items of a query. They lie behind after and before until.
type page struct {
	Archive
	q      mam.Query
	limit  int
	after  tidings.Position // exclusive; its Offset is 0 for the beginning
	until  tidings.Position // exclusive; zero for the end
	strict bool             // after is the id of a message: that nothing behind it is missing matters

	items    []*hub.Item
	complete bool
}

// Page returns the items of a query, limit of them if it does not say how many, in the order of the archive; complete tells
// that nothing follows in the direction of paging. What With and FlipPage say is the caller's. It may block on the journal.
// Errors: those of the journal, a gap among them, too-large for more ids than Max, and of type *stanza.Error item-not-found
// for an id that is none, and feature-not-implemented for an index.
func (a Archive) Page(ctx context.Context, q mam.Query, limit int) (items []*hub.Item, complete bool, err error) {
	p := page{Archive: a, q: q, limit: limit}
	if q.Page.Index >= 0 {
		return nil, false, stanza.FeatureNotImplemented("pages are found by ids, not by an index")
	}
	if q.Page.Max >= 0 {
		p.limit = min(q.Page.Max, a.Max)
	}
	if err := p.bounds(ctx); err != nil {
		return nil, false, err
	}
	switch {
	case len(q.IDs) > 0:
		err = p.named(ctx)
	case p.limit == 0:
	case q.Page.Backward:
		err = p.backward(ctx)
	default:
		err = p.forward(ctx)
	}
	return p.items, p.complete, err
}

// Ends returns the first and the last item of the archive (XEP-0313 section 5), nil if it is empty. Errors are those of Page.
func (a Archive) Ends(ctx context.Context) (first, last *hub.Item, err error) {
	p := page{Archive: a, limit: 1, after: tidings.Position{Epoch: a.Hub.Head().Epoch}}
	if err := p.forward(ctx); err != nil || len(p.items) == 0 {
		return nil, nil, err
	}
	items, _, err := a.Hub.Latest(ctx, a.Query, a.Actor, 1)
	if err != nil || len(items) == 0 {
		return nil, nil, err
	}
	return p.items[0], items[0], nil
}

// bounds finds out between what the items lie.
func (p *page) bounds(ctx context.Context) error {
	p.after = tidings.Position{Epoch: p.Hub.Head().Epoch}
	for _, id := range [...]string{p.q.AfterID, p.q.Page.After} {
		if id == "" {
			continue
		}
		at, err := p.place(id)
		if err != nil {
			return err
		}
		if at.Offset >= p.after.Offset {
			p.after, p.strict = at, true
		}
	}
	for _, id := range [...]string{p.q.BeforeID, p.q.Page.Before} {
		if id == "" {
			continue
		}
		at, err := p.place(id)
		if err != nil {
			return err
		}
		// It has to be there, as everything behind it is if that is.
		if _, _, _, err := p.Hub.Read(ctx, p.Query, p.Actor, at, 1); err != nil {
			return err
		}
		if p.until.IsZero() || at.Offset < p.until.Offset {
			p.until = at
		}
	}
	if !p.q.Start.IsZero() {
		at, err := outlet.AtTime(ctx, p.Hub, p.q.Start)
		if err != nil {
			return err
		}
		if at.Offset > p.after.Offset {
			p.after, p.strict = at, false
		}
	}
	if !p.q.End.IsZero() {
		at, err := outlet.AtTime(ctx, p.Hub, p.q.End.Add(time.Millisecond)) // it counts itself
		if err != nil {
			return err
		}
		if at.Offset++; p.until.IsZero() || at.Offset < p.until.Offset {
			p.until = at
		}
	}
	return nil
}

// place returns the position that an id names. One that is none is not in the archive (XEP-0313 section 3.4.3); so is one
// whose followers are not all kept, which shows when it is read. It may be one that the hub is about to dispatch.
func (p *page) place(id string) (tidings.Position, error) {
	at, err := tidings.ParsePosition(id)
	if err != nil {
		if len(id) > 64 {
			id = "of so long an id"
		}
		return at, stanza.ItemNotFound("the archive has no message " + id)
	}
	if at.Epoch != p.Hub.Head().Epoch {
		return at, &tidings.GapError{Asked: at, Oldest: p.Hub.Oldest()}
	}
	return at, nil
}

// named finds the messages of a list of ids, all of which have to be there.
func (p *page) named(ctx context.Context) error {
	if len(p.q.IDs) > p.Max {
		return tidings.Errorf(tidings.ErrTooLarge, "the query names %d messages and may name %d", len(p.q.IDs), p.Max)
	}
	var at []tidings.Position
	for _, id := range p.q.IDs {
		a, err := p.place(id)
		if err != nil {
			return err
		}
		at = append(at, a)
	}
	slices.SortFunc(at, func(a, b tidings.Position) int { return int(int64(a.Offset - b.Offset)) })
	for _, a := range slices.Compact(at) {
		before := a
		before.Offset = max(a.Offset, 1) - 1
		items, _, _, err := p.Hub.Read(ctx, p.Query, p.Actor, before, 1)
		if err != nil {
			return err
		}
		if len(items) == 0 || items[0].Position != a {
			return stanza.ItemNotFound("the archive has no message " + a.String())
		}
		if a.Offset > p.after.Offset && (p.until.IsZero() || a.Offset < p.until.Offset) {
			p.items = append(p.items, items[0])
		}
	}
	p.complete = len(p.items) <= p.limit
	if p.q.Page.Backward {
		p.items = p.items[max(0, len(p.items)-p.limit):]
	}
	p.items = p.items[:min(p.limit, len(p.items))]
	return nil
}

// forward reads from the earlier bound on.
func (p *page) forward(ctx context.Context) error {
	after := p.after
	for {
		items, next, more, err := p.Hub.Read(ctx, p.Query, p.Actor, after, p.limit+1-len(p.items))
		var gap *tidings.GapError
		if errors.As(err, &gap) && !p.strict && gap.Oldest.Offset > after.Offset {
			after = gap.Oldest // what was asked for is what there is
			continue
		}
		if err != nil {
			if len(p.items) > 0 && ctx.Err() != nil {
				return nil
			}
			return err
		}
		p.strict = false
		for _, it := range items {
			if !p.until.IsZero() && it.Position.Offset >= p.until.Offset {
				p.complete = true
				return nil
			}
			if len(p.items) == p.limit {
				return nil
			}
			p.items = append(p.items, it)
		}
		if !more || !p.until.IsZero() && next.Offset+1 >= p.until.Offset {
			p.complete = true
			return nil
		}
		after = next
	}
}

// backward reads from the later bound back.
func (p *page) backward(ctx context.Context) error {
	if p.strict { // what is behind the earlier bound has to be kept
		if _, _, _, err := p.Hub.Read(ctx, p.Query, p.Actor, p.after, 1); err != nil {
			return err
		}
	}
	until := p.until
	if until.IsZero() {
		until = p.Hub.Head()
		until.Offset++
	}
	items, err := p.Hub.Before(ctx, p.Query, p.Actor, until, p.limit+1)
	if err != nil {
		return err
	}
	p.complete = len(items) <= p.limit
	items = items[max(0, len(items)-p.limit):]
	for len(items) > 0 && items[0].Position.Offset <= p.after.Offset {
		items, p.complete = items[1:], true
	}
	p.items = items
	return nil
}
