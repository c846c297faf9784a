package client

import (
	"fmt"

	"tidings"
	"tidings/xmpp/mam"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	xmppstream "tidings/xmpp/stream"
)

// entered asks for what is to come before what is said from now on.
func (r *room) entered() error {
	switch {
	case r.known && !r.lasting:
		// What was said while we were away is kept nowhere.
		if err := r.s.emit(Event{}, &tidings.GapError{Asked: r.at}); err != nil {
			return err
		}
		return r.begin()
	case r.known:
		return r.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1, After: r.last}})
	case r.s.from.id != "":
		r.set(r.s.from.id)
		return r.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1, After: r.last}})
	case !r.s.from.time.IsZero():
		return r.ask(mam.Query{Start: r.s.from.time, Page: rsm.Request{Max: pageSize, Index: -1}})
	}
	// Live means behind the last message there is, so that there is something to go on from whenever the connection breaks.
	r.anchor = true
	return r.ask(mam.Query{Page: rsm.Request{Max: 1, Index: -1, Backward: true}})
}

// set remembers the id of the last message.
func (r *room) set(id string) {
	r.last = id
	r.at, _ = tidings.ParsePosition(id) // zero for another server's
}

// ask sends a query to the archive (XEP-0313).
func (r *room) ask(q mam.Query) error {
	r.state, r.paged = asking, false
	r.query = xmppstream.NewID()
	q.ID = r.query
	return r.send(stanza.IQ, stanza.TypeSet, r.query, r.jid, q.Append(nil))
}

// answer takes the end of a page, or the answer to a ping.
func (r *room) answer(st *stanza.Stanza) error {
	switch {
	case st.ID == selfPing:
		return r.pinged(st)
	case st.ID != r.query || st.From != r.jid || r.query == "":
		return nil
	case st.Type == stanza.TypeError:
		return r.denied(st.Err())
	}
	fin, err := mam.ParseFin(st.Payload())
	if err != nil {
		return fmt.Errorf("the archive of %s: %w", r.jid, err)
	}
	r.query, r.lasting = "", true
	if r.anchor {
		r.anchor = false
		r.known = true
		return r.begin()
	}
	r.known = true
	if fin.Page.Last != "" {
		r.set(fin.Page.Last)
	}
	switch {
	case fin.Complete && !r.dropped:
		return r.begin()
	case !fin.Complete && !r.paged:
		return tidings.Errorf(tidings.ErrUnavailable, "client: the archive of %s says that there is more, and gives nothing", r.jid)
	}
	r.dropped = false
	return r.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1, After: r.last}})
}

// denied acts on the error that a query is answered with.
func (r *room) denied(e *stanza.Error) error {
	r.query, r.anchor = "", false
	if gap, ok := gapOf(e.Space, e.Name, e.Attrs); ok && gap.Oldest.String() != r.last {
		return r.skip(gap)
	}
	switch {
	case e.Condition == "item-not-found" && r.last != "" && r.known: // the archive's own way to say it (XEP-0313 section 3.4.3)
		gap := &tidings.GapError{Asked: r.at}
		r.last, r.at = "", tidings.Position{}
		if err := r.s.emit(Event{}, gap); err != nil {
			return err
		}
		return r.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1}})
	case e.Type == stanza.Wait:
		return fmt.Errorf("the archive of %s: %w", r.jid, e)
	case !r.known && r.s.from != Live:
		return fmt.Errorf("the archive of %s cannot be read from there: %w", r.jid, e)
	case r.known && r.lasting:
		return fmt.Errorf("the archive of %s: %w", r.jid, e)
	}
	r.known = true // without an archive there is nothing to go on from but now
	return r.begin()
}

// skip yields a gap and goes on behind it.
func (r *room) skip(gap *tidings.GapError) error {
	r.known, r.lasting = true, true
	r.set(gap.Oldest.String())
	if err := r.s.emit(Event{}, gap); err != nil {
		return err
	}
	return r.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1, After: r.last}})
}
