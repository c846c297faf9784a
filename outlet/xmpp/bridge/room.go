package bridge

import (
	"strings"
	"time"

	"tidings"
	"tidings/internal/retry"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/muc"
	"tidings/xmpp/stanza"
)

// state is how a bridge stands with a room.
type state uint8

const (
	out         state = iota // waits until it may enter
	asking                   // whether the room is there: it was destroyed, and is not to be made again
	joining                  // has asked to be let in
	configuring              // has made the room, and lets others in
	in
)

var stateNames = [...]string{"out", "out", "joining", "joining", "in"}

// room is one room.
type room struct {
	b        *Bridge
	jid      jid.JID
	password string
	flows    []*flow

	nick      string // the one it has, or asks for
	state     state
	since     time.Time // when what is waited for was asked
	retry     time.Time // when to enter, or to speak again
	failures  int       // in a row
	err       string    // of the last failure
	heard     time.Time
	pinged    time.Time // zero if no ping is under way
	pings     int
	tried     int  // nicks that others have
	narrow    int  // acknowledgements for which it gets one message at a time
	keepsIDs  bool // a message came back with the id it had
	strange   int  // messages under our nick with an id that is not ours, since it was entered
	inOrder   bool // the room gives ids of its own: messages come back in their order
	destroyed bool
}

// underWay returns how many messages are.
func (r *room) underWay() (n int) {
	for _, f := range r.flows {
		for _, m := range f.way {
			if m.sent && !m.acked {
				n++
			}
		}
	}
	return n
}

// speaks reports whether messages may be sent now.
func (r *room) speaks(now time.Time) bool { return r.state == in && !now.Before(r.retry) }

// reset forgets what was sent: it is sent again.
func (r *room) reset() {
	for _, f := range r.flows {
		for _, m := range f.way {
			r.unsend(m)
		}
	}
	r.pinged = time.Time{}
}

func (r *room) unsend(m *message) {
	if m.sent && !m.acked {
		m.sent = false
		r.b.underWay -= len(m.stanza)
	}
}

// self returns the bridge's address in the room; ok is false for a nick that cannot be one.
func (r *room) self() (jid.JID, error) { return r.jid.WithResource(r.nick) }

// enter asks to be let in, without history. A room that was destroyed is asked for first, since entering would make it again.
func (r *room) enter(now time.Time) error {
	r.reset()
	r.since, r.strange = now, 0
	if r.destroyed {
		r.state = asking
		return r.request(stanza.TypeGet, "there", r.jid, disco.AppendInfoQuery(nil, ""))
	}
	r.state = joining
	self, err := r.self()
	if err != nil {
		r.failed(now, "join", stanza.JIDMalformed(err.Error()).Condition, err.Error(), joinErrors["jid-malformed"])
		return nil
	}
	b := stanza.AppendStart(nil, stanza.Presence, stanza.TypeAvailable, "", jid.JID{}, self)
	b = muc.Join{Password: r.password, History: muc.History{MaxChars: -1, MaxStanzas: 0, Seconds: -1}}.Append(b)
	if err := r.b.conn.Send(stanza.AppendEnd(b, stanza.Presence)); err != nil {
		r.state, r.retry = out, now // a resumed session may have it or not
		return err
	}
	return nil
}

// request sends a request whose answer comes with the others; what it is about is its id.
func (r *room) request(typ, id string, to jid.JID, payload []byte) error {
	b := stanza.AppendStart(nil, stanza.IQ, typ, id, jid.JID{}, to)
	return r.b.conn.Send(stanza.AppendEnd(append(b, payload...), stanza.IQ))
}

// leave says that the bridge leaves.
func (r *room) leave() error {
	if r.state == out || r.state == asking {
		return nil
	}
	self, err := r.self()
	if err != nil {
		return nil // it was never in
	}
	r.state = out
	return r.b.conn.Send(stanza.AppendEmpty(nil, stanza.Presence, stanza.TypeUnavailable, "", jid.JID{}, self))
}

// failed counts a failure, says it and leaves the room alone for a while.
func (r *room) failed(now time.Time, what, condition, text string, why refusal) {
	pause := retry.Backoff(firstRetry, lastRetry, r.failures)
	switch {
	case why.long:
		pause = lastRetry
	case why.soon && r.failures == 0:
		pause = time.Second
	}
	r.failures++
	r.b.changed = true
	r.retry = now.Add(pause)
	r.err = what + ": " + condition
	if text != "" {
		r.err += ": " + text
	}
	r.b.counters.failed(what + "-" + condition)
	attrs := []any{"room", r.jid, "what", what, "condition", condition, "retry", pause.Round(time.Second)}
	if text != "" {
		attrs = append(attrs, "text", text)
	}
	if why.hint != "" {
		attrs = append(attrs, "hint", why.hint)
	}
	r.b.log.Warn("a room does not take what it is to be told", attrs...)
}

// gone is failed for what means that the bridge is not in the room.
func (r *room) gone(now time.Time, what, condition, text string, why refusal) {
	r.state = out
	r.reset()
	r.failed(now, what, condition, text, why)
}

// presence takes what the room says about who is in it.
func (r *room) presence(now time.Time, s *said) error {
	self, _ := r.self()
	own := s.user.Has(muc.StatusSelf) || s.from == self
	switch {
	case s.typ == stanza.TypeError:
		return r.refused(now, s.err)
	case !own || r.state == out || r.state == asking:
	case s.typ == stanza.TypeUnavailable && s.user.Has(muc.StatusNickChange):
		r.nick = s.user.Item.Nick
	case s.typ == stanza.TypeUnavailable:
		r.shownOut(now, &s.user)
	case s.typ == stanza.TypeAvailable:
		r.nick = s.from.Resource() // the room may give another
		if r.state == in && s.user.Item.Role != muc.Visitor && strings.HasPrefix(r.err, "message: forbidden") {
			r.retry, r.err = now, "" // it was given voice
		}
		if r.state != joining {
			return nil
		}
		if s.user.Has(muc.StatusCreated) {
			// It is locked until its owner says that it is as it shall be (XEP-0045 section 10.1.2).
			r.state, r.since = configuring, now
			return r.request(stanza.TypeSet, "instant", r.jid, []byte("<query xmlns='"+muc.NSOwner+"'><x xmlns='jabber:x:data' type='submit'/></query>"))
		}
		r.entered(now)
	}
	return nil
}

func (r *room) entered(now time.Time) {
	r.state, r.heard, r.retry, r.destroyed, r.tried = in, now, now, false, 0
	r.b.changed = true
	r.b.log.Info("the room has let the bridge in", "room", r.jid, "nick", r.nick)
}

// refused acts on the error that a presence is answered with.
func (r *room) refused(now time.Time, e *stanza.Error) error {
	if r.state != joining {
		return nil // of a nick, or of a room that was left
	}
	if e.Condition == "conflict" && r.tried < maxNicks { // somebody has that nick
		r.tried++
		r.nick += "_"
		r.b.counters.failed("join-conflict")
		r.b.log.Warn("others have the nick", "room", r.jid, "next", r.nick, "hint", joinErrors["conflict"].hint)
		return r.enter(now)
	}
	r.nick, r.tried = r.b.opt.Nick, 0
	r.gone(now, "join", e.Condition, e.Text+uri(e), joinErrors[e.Condition])
	return nil
}

func uri(e *stanza.Error) string {
	if e.URI == "" {
		return ""
	}
	return " (" + e.URI + ")"
}

// shownOut acts on having been put out of the room.
func (r *room) shownOut(now time.Time, u *muc.User) {
	r.nick = r.b.opt.Nick
	text := strings.TrimSpace(u.Item.Reason + " " + u.Reason)
	if u.Destroyed {
		r.destroyed = true
		hint := "the room was destroyed; it is entered when it is there again"
		if !u.Alternate.IsZero() {
			hint += ", or set its new address in [[bridge.rooms]]: " + u.Alternate.String()
		}
		r.gone(now, "out", "destroyed", text, refusal{hint: hint, long: true})
		return
	}
	for _, d := range departures {
		if u.Has(d.status) {
			r.gone(now, "out", d.name, text, d.refusal)
			return
		}
	}
	// Such as the leaving of a session that was left behind, which the room hears of when the new one has entered.
	r.gone(now, "out", "unavailable", text, refusal{hint: "the room has shown it out; it enters again", soon: true})
}

// message takes a message of the room: a reflection, or an error.
func (r *room) message(now time.Time, s *said) {
	r.heard = now
	if s.typ == stanza.TypeError {
		r.bounced(now, s)
		return
	}
	if s.typ != stanza.TypeGroupchat || s.from.Resource() != r.nick || s.delayed || !s.body || r.state == out {
		return
	}
	f, m := r.find(s.id)
	switch {
	case m != nil:
		r.keepsIDs = true
	case ours(s.id): // for the second time, as it was said twice
	case r.inOrder:
		f, m = r.first()
	default:
		r.strange++
	}
	if m != nil {
		r.acknowledged(f, m)
	}
}

// ours reports whether an id has the form of those that the bridge gives.
func ours(id string) bool {
	for _, prefix := range []string{"gap-", "skipped-"} {
		id = strings.TrimPrefix(id, prefix)
	}
	_, err := tidings.ParsePosition(id)
	return err == nil
}

// find returns the message with the id, if it is not acknowledged.
func (r *room) find(id string) (*flow, *message) {
	for _, f := range r.flows {
		for _, m := range f.way {
			if m.id == id && !m.acked {
				return f, m
			}
		}
	}
	return nil, nil
}

// first returns the message that is the longest under way.
func (r *room) first() (flow *flow, first *message) {
	for _, f := range r.flows {
		for _, m := range f.way {
			if m.sent && !m.acked && (first == nil || m.when.Before(first.when)) {
				flow, first = f, m
			}
		}
	}
	return flow, first
}

func (r *room) acknowledged(f *flow, m *message) {
	if m.sent {
		r.b.underWay -= len(m.stanza)
	}
	m.acked = true
	r.failures, r.err = 0, ""
	if r.narrow > 0 {
		r.narrow--
	}
	r.b.counters.acknowledged.Add(1)
	f.acknowledged()
}

// bounced acts on a message that the room has refused.
func (r *room) bounced(now time.Time, s *said) {
	f, m := r.find(s.id)
	if m == nil || r.state == out {
		return // acknowledged, or of before
	}
	if !m.sent {
		return // one that was under way behind the one that is acted on
	}
	r.unsend(m)
	c := s.err.Condition
	if !passing[c] {
		m.tries++
	}
	if m.tries >= maxTries {
		r.giveUp(f, m, s.err)
		r.failures, r.retry = 0, now // it was not the room
	}
	r.narrow = r.b.opt.Window
	if now.Before(r.retry) { // it was under way with the one that the pause is for
		r.b.counters.failed("message-" + c)
		return
	}
	if outside[c] {
		r.gone(now, "message", c, s.err.Text+uri(s.err), messageErrors[c])
		return
	}
	r.failed(now, "message", c, s.err.Text, messageErrors[c])
}

// giveUp skips a message that the room does not take whatever happens: it would be the last one otherwise.
func (r *room) giveUp(f *flow, m *message, e *stanza.Error) {
	f.skip(SkipRefused, m.at, "err", e)
	told := f.tell() // behind the others
	f.way = f.way[:len(f.way)-1]
	*m = message{id: told.id, stanza: told.stanza, at: m.at}
}
