package client

import (
	"cmp"
	"errors"
	"fmt"
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

// room is one room of a stream.
type room struct {
	feed
	topic   tidings.Topic // "" if the address does not say it
	nick    string
	subject bool // the subject has come, and with it all of the room's own history
}

func newRoom(s *xmppStream, address jid.JID) *room {
	r := &room{feed: feed{s: s, jid: address, name: address.String()}, topic: topicOf(address.Local())}
	r.parse = r.read
	return r
}

// enter implements part.
func (r *room) enter() error {
	r.nick = r.s.nick()
	return r.join()
}

// leave implements part. The end of the session says enough.
func (r *room) leave() bool { return false }

// take implements part.
func (r *room) take(st *stanza.Stanza) (mine bool, err error) {
	if st.From.Bare() != r.jid {
		return false, nil
	}
	r.heard = time.Now()
	switch st.Kind {
	case stanza.Presence:
		err = r.presence(st)
	case stanza.Message:
		err = r.message(st)
	case stanza.IQ:
		switch {
		case st.ID == selfPing:
			err = r.pinged(st)
		case st.ID == r.query && st.From == r.jid && r.query != "":
			err = r.answer(st)
		}
	}
	return true, err
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
	r.reset()
	r.subject = false
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
	return r.refusal("entering", e)
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

// message takes a message of the room: one that is said now, or one of the archive.
func (r *room) message(st *stanza.Stanza) error {
	if found, ok := mam.FindResult(st.Element); ok {
		if st.From != r.jid || found.QueryID != r.query || r.query == "" {
			return nil
		}
		return r.result(found)
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
	m, ok := r.parse(st.Element, idOf(st.Element, r.jid), stamp)
	if !ok {
		return nil
	}
	return r.say(m)
}

// idOf returns the id that an archive gives a message (XEP-0359), "" if it has none.
func idOf(message xmlstream.Element, archive jid.JID) string {
	for c := range message.Children() {
		if c.Is(nsSID, "stanza-id") && c.Attr("by") == archive.String() {
			return c.Attr("id")
		}
	}
	return ""
}

// selfPing is the id of pings of ourselves.
const selfPing = "self"

// look implements part.
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
