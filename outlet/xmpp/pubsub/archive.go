package pubsub

import (
	"context"
	"slices"

	"tidings"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	model "tidings/pubsub"
	"tidings/xmpp/mam"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Bounds of a page of an archive.
const (
	defaultPage  = 50
	maxPage      = 250
	maxPageBytes = 32 << 10 // of its messages, from the second on
)

// archive answers what is asked of the archive of a node (XEP-0442): everything that was published to it and is kept, earlier
// versions of items and retractions too.
func (r *request) archive(payload xmlstream.Element, get bool) (work, error) {
	node := payload.Attr("node")
	switch {
	case get && payload.Is(mam.NS, "query"):
		return func(context.Context) ([]byte, error) { return mam.AppendFields(nil), nil }, nil
	case get && payload.Is(mam.NS, "metadata"):
		return func(ctx context.Context) ([]byte, error) { return r.ends(ctx, node) }, nil
	case get || !payload.Is(mam.NS, "query"):
		return nil, errUnserved
	}
	q, err := mam.ParseQuery(payload)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) { return r.page(ctx, q) }, nil
}

// archiveOf returns the archive of a node.
func (r *request) archiveOf(ctx context.Context, node string) (wire.Archive, error) {
	a := wire.Archive{Hub: r.srv.opt.Hub, Actor: r.who.Actor, Max: maxPage}
	topic, pattern, err := model.ParseNode(node)
	if err != nil {
		return a, err
	}
	if topic != "" {
		if _, err := r.srv.opt.Model.Info(ctx, r.who, node); err != nil {
			return a, err
		}
		pattern = tidings.PatternOf(topic)
	}
	a.Query = hub.Query{Patterns: []tidings.Pattern{pattern}}
	return a, nil
}

// page returns the end of a page; its messages go before the answer.
func (r *request) page(ctx context.Context, q mam.Query) ([]byte, error) {
	a, err := r.archiveOf(ctx, q.Node)
	if err != nil {
		return nil, err
	}
	fin := mam.Fin{Complete: true, Page: rsm.Result{Index: -1, Count: -1}}
	if w := q.With; !w.IsZero() && w != r.srv.domain {
		return fin.Append(nil), nil
	}
	items, complete, err := a.Page(ctx, q, defaultPage)
	if err != nil {
		return nil, err
	}
	fm := form{service: r.srv.domain.String(), model: r.srv.opt.Model}
	var messages [][]byte
	size := 0
	for i := range items {
		it := items[i]
		if q.Page.Backward {
			it = items[len(items)-1-i]
		}
		m := r.archived(fm, q.ID, it)
		if size += len(m); size > maxPageBytes && len(messages) > 0 {
			complete = false
			break
		}
		messages = append(messages, m)
	}
	n := len(messages)
	if q.Page.Backward {
		slices.Reverse(messages)
		items = items[len(items)-n:]
	}
	fin.Complete = complete
	if n > 0 {
		fin.Page.First, fin.Page.Last = items[0].Position.String(), items[n-1].Position.String()
	}
	if q.FlipPage {
		slices.Reverse(messages)
	}
	r.before = slices.Concat(messages...)
	return fin.Append(nil), nil
}

// archived returns the message with one of the archive.
func (r *request) archived(fm form, queryID string, it *hub.Item) []byte {
	inner := append([]byte("<message xmlns='jabber:client'"), fm.append(nil, it, fm.config(it.Topic))...)
	inner = append(inner, "</message>"...)
	b := stanza.AppendStart(nil, stanza.Message, "", "", r.srv.domain, r.full)
	return stanza.AppendEnd(mam.AppendResult(b, queryID, it.Position.String(), it.Time, inner), stanza.Message)
}

// ends returns the metadata of an archive (XEP-0313 section 5).
func (r *request) ends(ctx context.Context, node string) ([]byte, error) {
	a, err := r.archiveOf(ctx, node)
	if err != nil {
		return nil, err
	}
	var m mam.Metadata
	first, last, err := a.Ends(ctx)
	if err != nil {
		return nil, err
	}
	if first != nil {
		m = mam.Metadata{FirstID: first.Position.String(), First: first.Time, LastID: last.Position.String(), Last: last.Time}
	}
	return m.Append(nil), nil
}
