package room

import (
	"context"
	"slices"

	"tidings/hub"
	wire "tidings/outlet/xmpp"
	"tidings/xmpp/mam"
	"tidings/xmpp/rsm"
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
	fin := mam.Fin{Complete: true, Page: rsm.Result{Index: -1, Count: -1}}
	s.later(r, func(ctx context.Context) error {
		if w := q.With; !w.IsZero() && w != a.room.bot && w != a.room.jid {
			return nil
		}
		items, complete, err := s.archiveOf(a).Page(ctx, q, defaultPage)
		if err != nil {
			return err
		}
		messages, fin.Complete = a.page(q, items, complete)
		if n := len(messages); n > 0 {
			fin.Page.First, fin.Page.Last = messages[0].at.String(), messages[n-1].at.String()
		}
		if q.FlipPage {
			slices.Reverse(messages)
		}
		return nil
	}, func(done func()) {
		s.pages.Add(1)
		v := s.welcome(r.peer)
		b := appendTo(nil, r.st.From, messages)
		s.desk.Send(v, r.st.AppendResult(b, fin.Append(nil)))
		s.desk.Taken(v, done)
	})
}

// archiveOf returns the archive of what a request is about.
func (s *Server) archiveOf(a *asked) wire.Archive {
	return wire.Archive{Hub: s.opt.Hub, Query: a.query, Actor: a.actor, Max: maxPage}
}

// page returns the messages of the items, as many as an answer may hold; what is too much is left out where a next page begins.
func (a *asked) page(q mam.Query, items []*hub.Item, all bool) (messages []stored, complete bool) {
	size := 0
	for i := range items {
		it := items[i]
		if q.Page.Backward {
			it = items[len(items)-1-i]
		}
		m := a.message(q.ID, it)
		if size += len(m); size > maxPageBytes && len(messages) > 0 {
			all = false
			break
		}
		messages = append(messages, stored{it.Position, m})
	}
	if q.Page.Backward {
		slices.Reverse(messages)
	}
	return messages, all
}

// message returns the message that holds an archived one.
func (a *asked) message(queryID string, it *hub.Item) []byte {
	inner := append([]byte("<message xmlns='jabber:client'"), a.room.form.append(nil, it)...)
	inner = append(inner, "</message>"...)
	b := append([]byte(nil), " from='"+escaped(a.room.jid.String())+"'>"...)
	return append(mam.AppendResult(b, queryID, it.Position.String(), it.Time, inner), "</message>"...)
}

// metadata answers with the ends of the archive (XEP-0313 section 5).
func (s *Server) metadata(r *request, a *asked) {
	var m mam.Metadata
	s.later(r, func(ctx context.Context) error {
		first, last, err := s.archiveOf(a).Ends(ctx)
		if first != nil {
			m = mam.Metadata{FirstID: first.Position.String(), First: first.Time, LastID: last.Position.String(), Last: last.Time}
		}
		return err
	}, func(done func()) {
		r.result(m.Append(nil))
		done()
	})
}
