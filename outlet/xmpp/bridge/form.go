package bridge

import (
	"encoding/binary"
	"fmt"
	"time"

	"tidings"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// frame is what a flow reads: a stanza, or what a template has found, with the event's position and time.
type frame struct {
	gap  bool
	at   tidings.Position
	time time.Time
	body []byte
}

// frameHead is the length of a frame's head: the body's length, whether it is a gap, the position and the time.
const frameHead = 4 + 1 + 4 + 8 + 8

// beginFrame appends the head of a frame, whose length endFrame sets.
func beginFrame(dst []byte, gap bool, at tidings.Position, t time.Time) []byte {
	dst = append(dst, 0, 0, 0, 0, 0)
	if gap {
		dst[len(dst)-1] = 1
	}
	dst = binary.BigEndian.AppendUint32(dst, at.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, at.Offset)
	return binary.BigEndian.AppendUint64(dst, uint64(t.UnixMilli()))
}

// endFrame closes the frame that began at begin.
func endFrame(dst []byte, begin int) []byte {
	binary.BigEndian.PutUint32(dst[begin:], uint32(len(dst)-begin-frameHead))
	return dst
}

// cutFrame returns the first of the frames, and the others.
func cutFrame(b []byte) (f frame, rest []byte) {
	n := int(binary.BigEndian.Uint32(b))
	f.gap = b[4] == 1
	f.at = tidings.Position{Epoch: binary.BigEndian.Uint32(b[5:]), Offset: binary.BigEndian.Uint64(b[9:])}
	f.time = time.UnixMilli(int64(binary.BigEndian.Uint64(b[17:])))
	f.body = b[frameHead : frameHead+n]
	return f, b[frameHead+n:]
}

// form is how events look in a room: frames with the whole stanza.
type form struct {
	key  string
	head string // up to the value of the attribute id
}

func newForm(key string, room jid.JID) form {
	return form{key: "xmpp bridge " + key, head: fmt.Sprintf("<message to='%s' type='groupchat' id='", xmlstream.AppendAttr(nil, room.String()))}
}

// Key names the form, which is one flow's alone: a feed has one waker.
func (f form) Key() string { return f.key }

// Append appends the message that says the event.
func (f form) Append(dst []byte, it *hub.Item) []byte {
	n := len(dst)
	dst = beginFrame(dst, false, it.Position, it.Time)
	dst = it.Position.AppendText(append(dst, f.head...))
	dst = wire.AppendContent(append(dst, "'>"...), it)
	return endFrame(append(dst, "</message>"...), n)
}

// AppendGap appends a message of the bridge's own; oldest is the position that the room goes on from.
func (f form) AppendGap(dst []byte, g *tidings.GapError) []byte {
	n := len(dst)
	dst = beginFrame(dst, true, g.Oldest, time.Time{})
	dst = g.Oldest.AppendText(append(append(dst, f.head...), "gap-"...))
	dst = g.Asked.AppendText(append(dst, "'><gap xmlns='"+wire.NS+"' asked='"...))
	dst = g.Oldest.AppendText(append(dst, "' oldest='"...))
	dst = fmt.Appendf(dst, "'/><body>Events after %s are not all kept any more. Going on from %s, the oldest that is kept.</body></message>", g.Asked, g.Oldest)
	return endFrame(dst, n)
}

// AppendEnd appends nothing: the bridge subscribes again.
func (f form) AppendEnd(dst []byte, _ error) []byte { return dst }

// AppendGoodbye appends nothing: the bridge leaves the room.
func (f form) AppendGoodbye(dst []byte) []byte { return dst }

// notice returns a message that tells the room what was not said.
func notice(room jid.JID, id, text string) []byte {
	b := stanza.AppendStart(nil, stanza.Message, stanza.TypeGroupchat, id, jid.JID{}, room)
	b = xmlstream.AppendText(append(b, "<body>"...), text)
	return stanza.AppendEnd(append(b, "</body>"...), stanza.Message)
}
