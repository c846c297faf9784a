package client

import (
	"fmt"
	"slices"
	"time"

	"tidings"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	xmppstream "tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// state is what a room or a node is waited for.
type state uint8

const (
	joining state = iota // to let us in
	asking               // to answer a query of its archive
	live
)

// feed is what a room or a node says, in order. It is entered first, then its archive is read from the last message on, and
// what was said meanwhile comes behind that: so nothing is missed between them, and what comes both ways is told apart by its
// id.
type feed struct {
	s    *xmppStream
	jid  jid.JID // of the room, or of the service
	node string  // of the service; "" for a room
	name string  // for errors
	// parse reads a message; ok is false if it says nothing for a reader.
	parse func(message xmlstream.Element, id string, stamp time.Time) (saying, bool)
	// unkept begins where there is no archive, with what the service has in its place; nil for nothing.
	unkept func() error

	state state
	heard time.Time

	known   bool // where to go on is known
	last    string
	at      tidings.Position // of last, if that is one
	seen    []string         // the last ids, oldest first, where they are no positions
	lasting bool             // there is an archive
	list    *list            // of a node that has none

	query   string // id of the query that is not answered
	paged   bool   // it has brought something
	anchor  bool   // it asks where the archive ends
	held    []saying
	dropped bool // more was said than is held
}

// saying is a message of a room, or an item of a node.
type saying struct {
	id    string
	event Event
	gap   *tidings.GapError
	old   bool // it is of another time, which the event has
}

// Limits of a feed.
const (
	maxHeld  = 10_000 // messages that wait while the archive is read
	maxSeen  = 512    // ids that are remembered
	pageSize = 100
	// What says nothing for so long is asked whether we are still in it (XEP-0410); one that owes an answer for half of it has
	// failed.
	defaultSilence = 5 * time.Minute
)

// reset forgets what belongs to a session.
func (f *feed) reset() {
	f.state, f.query, f.anchor, f.heard = joining, "", false, time.Now()
	f.held, f.dropped = nil, false
}

func (f *feed) ready() bool { return f.known && f.state != joining }

// send sends a stanza to the room or the service, or to somebody in it.
func (f *feed) send(k stanza.Kind, typ, id string, to jid.JID, payload []byte) error {
	b := append(stanza.AppendStart(nil, k, typ, id, jid.JID{}, to), payload...)
	return f.s.conn.Send(stanza.AppendEnd(b, k))
}

// entered asks for what is to come before what is said from now on.
func (f *feed) entered() error {
	switch {
	case f.known && !f.lasting && f.unkept != nil:
		return f.unkept()
	case f.known && !f.lasting:
		// What was said while we were away is kept nowhere.
		if err := f.s.emit(Event{}, &tidings.GapError{Asked: f.at}); err != nil {
			return err
		}
		return f.begin()
	case f.known && (f.last != "" || f.s.from.time.IsZero()):
		return f.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1, After: f.last}})
	case f.s.from.id != "":
		f.set(f.s.from.id)
		return f.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1, After: f.last}})
	case !f.s.from.time.IsZero():
		return f.ask(mam.Query{Start: f.s.from.time, Page: rsm.Request{Max: pageSize, Index: -1}})
	}
	// Live means behind the last message there is, so that there is something to go on from whenever the connection breaks.
	f.anchor = true
	return f.ask(mam.Query{Page: rsm.Request{Max: 1, Index: -1, Backward: true}})
}

// set remembers the id of the last message.
func (f *feed) set(id string) {
	f.last = id
	f.at, _ = tidings.ParsePosition(id) // zero for another server's
}

// ask sends a query to the archive (XEP-0313, XEP-0442).
func (f *feed) ask(q mam.Query) error {
	f.state, f.paged = asking, false
	f.query = xmppstream.NewID()
	q.ID, q.Node = f.query, f.node
	return f.send(stanza.IQ, stanza.TypeSet, f.query, f.jid, q.Append(nil))
}

// result takes a message of the archive, which was asked for.
func (f *feed) result(found mam.Result) error {
	if f.anchor {
		f.set(found.ID)
		f.remember(found.ID)
		return nil
	}
	f.paged, f.lasting, f.known = true, true, true
	if m, ok := f.parse(found.Message, found.ID, found.Stamp); ok {
		return f.tell(m)
	}
	f.set(found.ID)
	return nil
}

// answer takes the end of a page.
func (f *feed) answer(st *stanza.Stanza) error {
	if st.Type == stanza.TypeError {
		return f.denied(st.Err())
	}
	fin, err := mam.ParseFin(st.Payload())
	if err != nil {
		return fmt.Errorf("the archive of %s: %w", f.name, err)
	}
	f.query, f.lasting = "", true
	if f.anchor {
		f.anchor = false
		f.known = true
		return f.begin()
	}
	f.known = true
	if fin.Page.Last != "" {
		f.set(fin.Page.Last)
	}
	switch {
	case fin.Complete && !f.dropped:
		return f.begin()
	case !fin.Complete && !f.paged:
		return tidings.Errorf(tidings.ErrUnavailable, "client: the archive of %s says that there is more, and gives nothing", f.name)
	}
	f.dropped = false
	return f.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1, After: f.last}})
}

// refusal returns an error that what was asked for is answered with. A service that has been there and cannot be reached, such as
// a component that is being restarted, is waited for.
func (f *feed) refusal(what string, e *stanza.Error) error {
	err := fmt.Errorf("%s %s: %w", what, f.name, e)
	switch e.Condition {
	case "remote-server-not-found", "remote-server-timeout", "service-unavailable", "recipient-unavailable":
		if f.known {
			return tidings.Errorf(tidings.ErrUnavailable, "client: %w", err)
		}
	}
	return err
}

// denied acts on the error that a query is answered with.
func (f *feed) denied(e *stanza.Error) error {
	f.query, f.anchor = "", false
	if gap, ok := gapOf(e.Space, e.Name, e.Attrs); ok && gap.Oldest.String() != f.last {
		return f.skip(gap)
	}
	switch {
	case f.unkept != nil && !f.lasting && (e.Condition == "service-unavailable" || e.Condition == "feature-not-implemented"):
		return f.unkept()
	case e.Condition == "item-not-found" && f.last != "" && f.known: // the archive's own way to say it (XEP-0313 section 3.4.3)
		gap := &tidings.GapError{Asked: f.at}
		f.last, f.at = "", tidings.Position{}
		if err := f.s.emit(Event{}, gap); err != nil {
			return err
		}
		return f.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1}})
	case e.Type == stanza.Wait:
		return fmt.Errorf("the archive of %s: %w", f.name, e)
	case !f.known && f.s.from != Live:
		return fmt.Errorf("the archive of %s cannot be read from there: %w", f.name, e)
	case f.known && f.lasting:
		return f.refusal("the archive of", e)
	}
	f.known = true // without an archive there is nothing to go on from but now
	return f.begin()
}

// skip yields a gap and goes on behind it.
func (f *feed) skip(gap *tidings.GapError) error {
	f.known, f.lasting = true, true
	f.set(gap.Oldest.String())
	if err := f.s.emit(Event{}, gap); err != nil {
		return err
	}
	return f.ask(mam.Query{Page: rsm.Request{Max: pageSize, Index: -1, After: f.last}})
}

// begin tells what was held back, and from now on what is said.
func (f *feed) begin() error {
	f.state = live
	held := f.held
	f.held = nil
	f.s.up()
	for _, m := range held {
		if m.old && f.last == "" && m.event.Time.Before(f.s.from.time) {
			f.set(m.id) // the last item, which is sent to who subscribes, and is of before what was asked for
			f.remember(m.id)
			continue
		}
		if err := f.tell(m); err != nil {
			return err
		}
	}
	return nil
}

// say takes what is said now.
func (f *feed) say(m saying) error {
	switch {
	case f.state == joining:
		return nil
	case f.state == live:
		return f.tell(m)
	case len(f.held) >= maxHeld: // they are in the archive as well
		f.held, f.dropped = nil, true
		return nil
	}
	f.held = append(f.held, m)
	return nil
}

// tell yields a message that has not been told.
func (f *feed) tell(m saying) error {
	if m.gap != nil {
		if m.gap.Oldest.Epoch == f.at.Epoch && m.gap.Oldest.Offset <= f.at.Offset {
			return nil // the archive had it
		}
		f.set(m.gap.Oldest.String())
		return f.s.emit(Event{}, m.gap)
	}
	if p := m.event.Position; !p.IsZero() {
		if p.Epoch == f.at.Epoch && p.Offset <= f.at.Offset {
			return nil
		}
		f.last, f.at = m.id, p
	} else if f.list != nil {
		if !f.list.fresh(&m) {
			return nil
		}
	} else if m.id != "" {
		if slices.Contains(f.seen, m.id) {
			return nil
		}
		f.remember(m.id)
		f.last = m.id
	}
	return f.s.emit(m.event, nil)
}

func (f *feed) remember(id string) {
	if !f.at.IsZero() {
		return
	}
	if len(f.seen) == maxSeen {
		f.seen = slices.Delete(f.seen, 0, 1)
	}
	f.seen = append(f.seen, id)
}
