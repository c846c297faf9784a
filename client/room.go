package client

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"tidings"
	"tidings/xmpp/delay"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/muc"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
	xmppstream "tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// state is what a room is waited for.
type state uint8

const (
	joining state = iota // to let us in
	asking               // to answer a query of its archive
	live
)

// room is one room of a stream. It is entered first, then its archive is read from the last message on, and what was said
// meanwhile comes behind that: so nothing is missed between them, and what comes both ways is told apart by its id.
type room struct {
	s     *rooms
	jid   jid.JID
	topic tidings.Topic // "" if the address does not say it
	nick  string
	state state
	heard time.Time

	known   bool // where to go on is known
	last    string
	at      tidings.Position // of last, if that is one
	seen    []string         // the last ids, oldest first, where they are no positions
	lasting bool             // the room has an archive

	query   string // id of the query that is not answered
	paged   bool   // it has brought something
	anchor  bool   // it asks where the archive ends
	subject bool   // the subject has come, and with it all of the room's own history
	held    []saying
	dropped bool // more was said than is held
}

// saying is a message of a room.
type saying struct {
	id    string
	event Event
	gap   *tidings.GapError
}

// Limits of a room.
const (
	maxHeld  = 10_000 // messages that wait while the archive is read
	maxSeen  = 512    // ids that are remembered
	pageSize = 100
	// A room that says nothing for so long is asked whether we are still in it (XEP-0410); one that owes an answer for half of
	// it has failed.
	defaultSilence = 5 * time.Minute
)

func newRoom(s *rooms, address jid.JID) *room {
	return &room{s: s, jid: address, topic: topicOf(address.Local())}
}

// send sends a stanza to the room, or to somebody in it.
func (r *room) send(k stanza.Kind, typ, id string, to jid.JID, payload []byte) error {
	b := append(stanza.AppendStart(nil, k, typ, id, jid.JID{}, to), payload...)
	return r.s.conn.Send(stanza.AppendEnd(b, k))
}

// self returns our address in the room.
func (r *room) self() (jid.JID, error) {
	self, err := r.jid.WithResource(r.nick)
	if err != nil {
		return self, tidings.Errorf(tidings.ErrInvalid, "client: the nick %q: %w", r.nick, err)
	}
	return self, nil
}

// join enters the room without history (XEP-0045 section 7.2).
func (r *room) join() error {
	r.state, r.subject, r.query, r.heard = joining, false, "", time.Now()
	r.held, r.dropped = nil, false
	self, err := r.self()
	if err != nil {
		return err
	}
	var b xmlstream.Builder
	b.Open("x", "xmlns", muc.NS).Empty("history", "maxstanzas", "0")
	if secret := r.s.c.xmpp.secret + r.s.c.token; secret != "" {
		if r.s.c.xmpp.secret != "" {
			secret = r.s.c.xmpp.secret
		}
		b.TextElement("password", secret)
	}
	if r.s.filter != "" {
		b.TextElement("filter", r.s.filter, "xmlns", nsTidings)
	}
	b.Close()
	return r.send(stanza.Presence, "", "", self, b.Bytes())
}

// presence takes what the room says about who is in it.
func (r *room) presence(st *stanza.Stanza) error {
	self, err := r.self()
	if err != nil {
		return err
	}
	u, _ := muc.FindUser(st.Element)
	own := u.Has(muc.StatusSelf) || st.From == self
	switch {
	case st.Type == stanza.TypeError:
		return r.refused(st.Err())
	case !own:
		return nil
	case st.Type == stanza.TypeUnavailable && u.Has(muc.StatusNickChange):
		r.nick = u.Item.Nick
		return nil
	case st.Type == stanza.TypeUnavailable:
		return r.out(&u)
	case st.Type != stanza.TypeAvailable || r.state != joining:
		return nil
	}
	r.nick = st.From.Resource() // the room may give another
	r.s.connected = true
	return r.entered()
}

// refused acts on the error that a join is answered with.
func (r *room) refused(e *stanza.Error) error {
	if e.Condition == "conflict" && r.s.c.xmpp.nick == "" && r.state == joining && len(r.nick) < 64 { // somebody has that nick
		r.nick += "_"
		return r.join()
	}
	return fmt.Errorf("entering %s: %w", r.jid, e)
}

// out acts on having been put out of the room.
func (r *room) out(u *muc.User) error {
	why := u.Reason + u.Item.Reason
	kind := tidings.ErrUnavailable
	switch {
	case u.Destroyed:
		kind = tidings.ErrNotFound
	case u.Has(muc.StatusBanned) || u.Has(muc.StatusAffiliationLost) || u.Has(muc.StatusMembersOnly):
		kind = tidings.ErrForbidden
	}
	if why == "" {
		why = "no reason given"
	}
	return tidings.Errorf(kind, "client: %s has shown us out: %s", r.jid, why)
}

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

// begin tells what was held back, and from now on what is said.
func (r *room) begin() error {
	r.state = live
	held := r.held
	r.held = nil
	r.s.up()
	for _, m := range held {
		if err := r.tell(m); err != nil {
			return err
		}
	}
	return nil
}

// message takes a message of the room: one that is said now, or one of the archive.
func (r *room) message(st *stanza.Stanza) error {
	if found, ok := mam.FindResult(st.Element); ok {
		switch {
		case st.From != r.jid || found.QueryID != r.query || r.query == "":
			return nil
		case r.anchor:
			r.set(found.ID)
			r.remember(found.ID)
			return nil
		}
		r.paged, r.lasting, r.known = true, true, true
		if m, ok := r.parse(found.Message, found.ID, found.Stamp); ok {
			return r.tell(m)
		}
		r.set(found.ID)
		return nil
	}
	if st.Type != stanza.TypeGroupchat {
		return nil
	}
	if _, ok := muc.Subject(st); ok {
		r.subject = true
		return nil
	}
	stamp, _, old := delay.Find(st.Element)
	if old && !r.subject {
		return nil // a room that sends history to those who want none
	}
	m, ok := r.parse(st.Element, r.idOf(st.Element), stamp)
	switch {
	case !ok || r.state == joining:
		return nil
	case r.state == live:
		return r.tell(m)
	case len(r.held) >= maxHeld: // they are in the archive as well
		r.held, r.dropped = nil, true
		return nil
	}
	r.held = append(r.held, m)
	return nil
}

// idOf returns the id that the room's archive gives a message (XEP-0359), "" if it has none.
func (r *room) idOf(message xmlstream.Element) string {
	for c := range message.Children() {
		if c.Is(nsSID, "stanza-id") && c.Attr("by") == r.jid.String() {
			return c.Attr("id")
		}
	}
	return ""
}

// tell yields a message that has not been told.
func (r *room) tell(m saying) error {
	if m.gap != nil {
		if m.gap.Oldest.Epoch == r.at.Epoch && m.gap.Oldest.Offset <= r.at.Offset {
			return nil // the archive had it
		}
		r.set(m.gap.Oldest.String())
		return r.s.emit(Event{}, m.gap)
	}
	if p := m.event.Position; !p.IsZero() {
		if p.Epoch == r.at.Epoch && p.Offset <= r.at.Offset {
			return nil
		}
		r.last, r.at = m.id, p
	} else if m.id != "" {
		if slices.Contains(r.seen, m.id) {
			return nil
		}
		r.remember(m.id)
		r.last = m.id
	}
	return r.s.emit(m.event, nil)
}

func (r *room) remember(id string) {
	if !r.at.IsZero() {
		return
	}
	if len(r.seen) == maxSeen {
		r.seen = slices.Delete(r.seen, 0, 1)
	}
	r.seen = append(r.seen, id)
}

// selfPing is the id of pings of ourselves.
const selfPing = "self"

// look sees whether the room has been silent for too long.
func (r *room) look(now time.Time) error {
	quiet := now.Sub(r.heard)
	if r.state != live {
		if quiet >= r.s.c.silence/2 {
			return tidings.Errorf(tidings.ErrUnavailable, "client: %s does not answer", r.jid)
		}
		return nil
	}
	if quiet < r.s.c.silence {
		return nil
	}
	self, err := r.self()
	if err != nil {
		return err
	}
	return r.send(stanza.IQ, stanza.TypeGet, selfPing, self, []byte(dial.Ping))
}

// pinged judges the answer to a ping of ourselves (XEP-0410 section 3.3).
func (r *room) pinged(st *stanza.Stanza) error {
	if st.Type != stanza.TypeError || r.state != live {
		return nil
	}
	switch e := st.Err(); e.Condition {
	case "service-unavailable", "feature-not-implemented", "item-not-found":
		return nil // it came as far as an occupant
	case "remote-server-not-found", "remote-server-timeout":
		return fmt.Errorf("%s: %w", r.jid, errors.Join(tidings.ErrUnavailable, e))
	}
	return r.join() // we have been forgotten
}
