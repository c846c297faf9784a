package room

import (
	"context"
	"errors"
	"slices"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/outlet"
	"tidings/xmpp/mam"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
)

// Bounds of a page of an archive.
const (
	defaultPage  = 50
	maxPage      = 250
	maxPageBytes = 32 << 10 // of its messages, from the second on
)

// archive answers a query of a room's archive (XEP-0313 section 4): the messages as a page, and behind them the end. A
// visitor who entered with a filter reads the archive through it.
func (s *Server) archive(r *request, a *asked, q mam.Query) {
	var messages []stored
	var fin mam.Fin
	s.later(r, func(ctx context.Context) error {
		p := reader{srv: s, asked: a, q: q}
		if err := p.read(ctx); err != nil {
			return err
		}
		messages, fin = p.page()
		return nil
	}, func(done func()) {
		s.pages.Add(1)
		v := s.welcome(r.peer)
		b := appendTo(nil, r.st.From, messages)
		v.send(r.st.AppendResult(b, fin.Append(nil)))
		v.pause(done)
	})
}

// reader collects the items of a query. They lie behind after and before until.
type reader struct {
	srv *Server
	*asked
	q      mam.Query
	limit  int
	after  tidings.Position // exclusive; its Offset is 0 for the beginning
	until  tidings.Position // exclusive; zero for the end
	strict bool             // after is the id of a message: that nothing behind it is missing matters

	items    []*hub.Item
	complete bool
}

// read finds the items.
func (p *reader) read(ctx context.Context) error {
	page := p.q.Page
	if page.Index >= 0 {
		return stanza.FeatureNotImplemented("pages are found by ids, not by an index")
	}
	if w := p.q.With; !w.IsZero() && w != p.room.bot && w != p.room.jid {
		p.complete = true
		return nil
	}
	p.limit = defaultPage
	if page.Max >= 0 {
		p.limit = min(page.Max, maxPage)
	}
	if err := p.bounds(ctx); err != nil {
		return err
	}
	switch {
	case len(p.q.IDs) > 0:
		return p.named(ctx)
	case p.limit == 0:
		return nil
	case page.Backward:
		return p.backward(ctx)
	}
	return p.forward(ctx)
}

// bounds finds out between what the items lie.
func (p *reader) bounds(ctx context.Context) error {
	h := p.srv.opt.Hub
	p.after = tidings.Position{Epoch: h.Head().Epoch}
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
	before := p.q.Page.Before
	for _, id := range [...]string{p.q.BeforeID, before} {
		if id == "" {
			continue
		}
		at, err := p.place(id)
		if err != nil {
			return err
		}
		// It has to be there, as everything behind it is if that is.
		if _, _, _, err := h.Read(ctx, p.query, p.actor, at, 1); err != nil {
			return err
		}
		if p.until.IsZero() || at.Offset < p.until.Offset {
			p.until = at
		}
	}
	if !p.q.Start.IsZero() {
		at, err := outlet.AtTime(ctx, h, p.q.Start)
		if err != nil {
			return err
		}
		if at.Offset > p.after.Offset {
			p.after, p.strict = at, false
		}
	}
	if !p.q.End.IsZero() {
		at, err := outlet.AtTime(ctx, h, p.q.End.Add(time.Millisecond)) // it counts itself
		if err != nil {
			return err
		}
		if at.Offset++; p.until.IsZero() || at.Offset < p.until.Offset {
			p.until = at
		}
	}
	return nil
}

// place returns the position that an id names. One that is none, or that the journal has not reached, is not in the archive
// (XEP-0313 section 3.4.3); so is one whose followers are not all kept, which shows when it is read.
func (p *reader) place(id string) (tidings.Position, error) {
	at, err := tidings.ParsePosition(id)
	head := p.srv.opt.Hub.Head()
	if err != nil {
		return at, stanza.ItemNotFound("the archive has no message " + short(id))
	}
	if at.Epoch != head.Epoch {
		return at, &tidings.GapError{Asked: at, Oldest: p.srv.opt.Hub.Oldest()}
	}
	// A reader may have seen what the hub is about to dispatch.
	return at, nil
}

func short(id string) string {
	if len(id) > 64 {
		return "of so long an id"
	}
	return id
}

// named finds the messages of a list of ids, all of which have to be there.
func (p *reader) named(ctx context.Context) error {
	if len(p.q.IDs) > maxPage {
		return tidings.Errorf(tidings.ErrTooLarge, "the query names %d messages and may name %d", len(p.q.IDs), maxPage)
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
		items, _, _, err := p.srv.opt.Hub.Read(ctx, p.query, p.actor, before, 1)
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
func (p *reader) forward(ctx context.Context) error {
	h := p.srv.opt.Hub
	after := p.after
	for {
		items, next, more, err := h.Read(ctx, p.query, p.actor, after, p.limit+1-len(p.items))
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
func (p *reader) backward(ctx context.Context) error {
	h := p.srv.opt.Hub
	if p.strict { // what is behind the earlier bound has to be kept
		if _, _, _, err := h.Read(ctx, p.query, p.actor, p.after, 1); err != nil {
			return err
		}
	}
	until := p.until
	if until.IsZero() {
		until = h.Head()
		until.Offset++
	}
	items, err := h.Before(ctx, p.query, p.actor, until, p.limit+1)
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

// page returns the messages of the answer and its end.
func (p *reader) page() ([]stored, mam.Fin) {
	messages := make([]stored, 0, len(p.items))
	size := 0
	add := func(it *hub.Item) bool {
		m := p.message(it)
		if size += len(m); size > maxPageBytes && len(messages) > 0 {
			p.complete = false
			return false
		}
		messages = append(messages, stored{it.Position, m})
		return true
	}
	if p.q.Page.Backward {
		for _, it := range slices.Backward(p.items) {
			if !add(it) {
				break
			}
		}
		slices.Reverse(messages)
	} else {
		for _, it := range p.items {
			if !add(it) {
				break
			}
		}
	}
	fin := mam.Fin{Complete: p.complete, Page: rsm.Result{Index: -1, Count: -1}}
	if n := len(messages); n > 0 {
		fin.Page.First, fin.Page.Last = messages[0].at.String(), messages[n-1].at.String()
	}
	if p.q.FlipPage {
		slices.Reverse(messages)
	}
	return messages, fin
}

// message returns the message that holds an archived one.
func (p *reader) message(it *hub.Item) []byte {
	inner := append([]byte("<message xmlns='jabber:client'"), p.room.form.append(nil, it)...)
	inner = append(inner, "</message>"...)
	b := append([]byte(nil), " from='"+escaped(p.room.jid.String())+"'>"...)
	return append(mam.AppendResult(b, p.q.ID, it.Position.String(), it.Time, inner), "</message>"...)
}

// metadata answers with the ends of the archive (XEP-0313 section 5).
func (s *Server) metadata(r *request, a *asked) {
	var m mam.Metadata
	s.later(r, func(ctx context.Context) error {
		p := reader{srv: s, asked: a, limit: 1}
		p.after = tidings.Position{Epoch: s.opt.Hub.Head().Epoch}
		if err := p.forward(ctx); err != nil || len(p.items) == 0 {
			return err
		}
		m.FirstID, m.First = p.items[0].Position.String(), p.items[0].Time
		last, _, err := s.opt.Hub.Latest(ctx, a.query, a.actor, 1)
		if err != nil || len(last) == 0 {
			return err
		}
		m.LastID, m.Last = last[0].Position.String(), last[0].Time
		return nil
	}, func(done func()) {
		r.result(m.Append(nil))
		done()
	})
}
