package client

import (
	"cmp"
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
	"tidings/xmpp/stanza"
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
	if secret := cmp.Or(r.s.c.xmpp.secret, r.s.c.token); secret != "" { // a private room's password is a token
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
