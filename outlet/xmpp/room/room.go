package room

import (
	"bytes"
	"fmt"
	"sync"

	"tidings"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	"tidings/xmpp/delay"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/xmlstream"
)

// room is a room that somebody is in, or asks something of.
type room struct {
	target
	jid  jid.JID
	bot  jid.JID
	form form

	occupants int // guarded by Server.mu

	past past
}

// roomOf returns the room that a target names: the one that somebody is in, or a new one.
func (s *Server) roomOf(t target) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rooms[t.local]; r != nil {
		return r
	}

	r := &room{target: t}
	// Both are addresses: the localpart came out of one, and the nick was checked by New.
	r.jid, _ = jid.New(t.local, s.opt.Domain, "")
	r.bot, _ = r.jid.WithResource(s.opt.Bot)
	r.form = newForm(r)
	return r
}

// form is how events look in a room. The bytes of live messages begin with service.To.
type form struct {
	key   string
	event string // what stands before the position of an event
	id    string // what stands before its stanza-id's
	gap   string // what a message about a gap begins with
}

func newForm(r *room) form {
	room, bot := xmlstream.AppendAttr(nil, r.jid.String()), xmlstream.AppendAttr(nil, r.bot.String())
	return form{
		key:   "xmpp room " + r.jid.String(),
		event: fmt.Sprintf(" from='%s' id='", bot),
		id:    fmt.Sprintf("<stanza-id xmlns='urn:xmpp:sid:0' by='%s' id='", room),
		gap:   fmt.Sprintf(" from='%s' type='groupchat'><gap ", room),
	}
}

// Key names the form.
func (f form) Key() string { return f.key }

// Append appends the message that says the event, with its position as the id and as the archive's id (XEP-0359).
func (f form) Append(dst []byte, it *hub.Item) []byte {
	return append(f.append(append(dst, service.To), it), "</message>"...)
}

// append appends the message from the attributes behind to up to the end of its content.
func (f form) append(dst []byte, it *hub.Item) []byte {
	dst = it.Position.AppendText(append(dst, f.event...))
	dst = append(dst, "' type='groupchat'>"...)
	dst = wire.AppendContent(dst, it)
	dst = it.Position.AppendText(append(dst, f.id...))
	return append(dst, "'/>"...)
}

// AppendGap appends a message of the room's own; oldest is the position that the reader goes on from.
func (f form) AppendGap(dst []byte, g *tidings.GapError) []byte {
	dst = append(append(dst, service.To), f.gap...)
	dst = g.Asked.AppendText(append(dst, "xmlns='"+wire.NS+"' asked='"...))
	dst = g.Oldest.AppendText(append(dst, "' oldest='"...))
	return fmt.Appendf(dst, "'/><body>Events after %s are not all kept any more. Going on from %s, the oldest that is kept.</body></message>", g.Asked, g.Oldest)
}

// AppendEnd appends nothing: a visitor is told by presence.
func (f form) AppendEnd(dst []byte, _ error) []byte { return dst }

// AppendGoodbye appends nothing, for the same reason.
func (f form) AppendGoodbye(dst []byte) []byte { return dst }

// isGap reports whether a message, as service.Cut returns it, tells of a gap.
func (f form) isGap(message []byte) bool { return bytes.HasPrefix(message, []byte(f.gap)) }

// stored is an event as a message of history, without what differs between readers.
type stored struct {
	at      tidings.Position
	message []byte // from behind the attribute to
}

// past is the end of a room's journal that joins begin with. It is read on from where it stands, so that many who join at
// once cost one reading.
type past struct {
	mu       sync.Mutex
	audience string
	upTo     tidings.Position // complete up to here
	messages []stored         // at most defaultHistory
}

// store returns events as messages of history, with the time they are of (XEP-0203).
func (r *room) store(items []*hub.Item) []stored {
	messages := make([]stored, len(items))
	for i, it := range items {
		b := delay.Append(r.form.append(nil, it), r.jid, it.Time)
		messages[i] = stored{it.Position, append(b, "</message>"...)}
	}
	return messages
}

// appendTo appends the messages with the address they go to.
func appendTo(dst []byte, to jid.JID, messages []stored) []byte {
	address := escaped(to.String())
	for _, m := range messages {
		dst = append(append(append(dst, "<message to='"...), address...), '\'')
		dst = append(dst, m.message...)
	}
	return dst
}

func escaped(s string) string { return string(xmlstream.AppendAttr(nil, s)) }
