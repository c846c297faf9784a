package v09

import (
	"sync"

	"tidings"
	"tidings/hub"
	"tidings/internal/cloudevents"
	"tidings/outlet"
	"tidings/recentchange"
	"tidings/websocket"
)

// form writes events as packets of the namespace /rc: recent changes as RCStream's event change, what else is published as the
// events publish and retract, whose argument is a CloudEvent.
type form struct {
	key string
	// positions adds the position as the second argument of change.
	positions bool
	// frame appends a packet as the transport needs it.
	frame func(dst, pkt []byte) []byte
}

// forms are the wire forms, without positions and with them.
var forms = map[carrier][2]*form{
	socket:  {{"rcstream-ws", false, websocket.AppendText}, {"rcstream-ws+position", true, websocket.AppendText}},
	polling: {{"rcstream-poll", false, appendFramed}, {"rcstream-poll+position", true, appendFramed}},
}

func formOf(c carrier, positions bool) *form {
	if positions {
		return forms[c][1]
	}
	return forms[c][0]
}

func (f *form) Key() string { return f.key }

// buffers are for a packet whose length has to be known before it is written.
type buffers struct{ object, args, packet []byte }

var pool = sync.Pool{New: func() any { return new(buffers) }}

// event appends the event, whose arguments add appends, as the transport needs it.
func (f *form) event(dst []byte, name string, add func(b *buffers)) []byte {
	b := pool.Get().(*buffers)
	b.args = append(b.args[:0], '[')
	add(b)
	b.args = append(b.args, ']')
	b.packet = appendEvent(b.packet[:0], namespace, name, b.args)
	dst = f.frame(dst, b.packet)
	if cap(b.packet) <= 64<<10 {
		pool.Put(b)
	}
	return dst
}

func (f *form) Append(dst []byte, it *hub.Item) []byte {
	rc, _ := it.Value().(*recentchange.RecentChange)
	switch {
	case rc != nil && it.Kind == tidings.Publish:
		return f.event(dst, eventChange, func(b *buffers) {
			b.object = rc.AppendJSON(b.object[:0])
			b.args, _ = appendSorted(b.args, b.object)
			if f.positions {
				b.args = append(b.args, ',', '"')
				b.args = append(it.Position.AppendText(b.args), '"')
			}
		})
	case it.Kind == tidings.Publish:
		return f.event(dst, eventPublish, func(b *buffers) { f.cloudEvent(b, it) })
	}
	return f.event(dst, eventRetract, func(b *buffers) { f.cloudEvent(b, it) })
}

func (f *form) cloudEvent(b *buffers, it *hub.Item) {
	typ, data := outlet.Payload(nil, it)
	b.object = cloudevents.Append(b.object[:0], it.Event, typ, data)
	b.args = appendASCII(b.args, b.object)
}

func (f *form) AppendGap(dst []byte, g *tidings.GapError) []byte {
	return f.event(dst, eventGap, func(b *buffers) {
		b.args = append(b.args, `{"asked":"`...)
		b.args = append(g.Asked.AppendText(b.args), `","oldest":"`...)
		b.args = append(g.Oldest.AppendText(b.args), `"}`...)
	})
}

// AppendEnd tells the reader what RCStream would have told it where a subscription is refused, and ends its socket.
func (f *form) AppendEnd(dst []byte, err error) []byte {
	dst = f.event(dst, eventError, func(b *buffers) { b.args = appendPair(b.args, subscribeError, err.Error()) })
	return f.frame(dst, []byte(packetDisconnect))
}

func (f *form) AppendGoodbye(dst []byte) []byte { return f.frame(dst, []byte(packetGoodbye)) }

func appendPair(dst []byte, a, b string) []byte {
	return appendQuoted(append(appendQuoted(dst, a), ','), b)
}
