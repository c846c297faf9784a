package server

import (
	"bytes"
	"encoding/binary"

	"tidings/edge"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// link is a connection of a session, at the edge. Its fields belong to the goroutine that owns the connection.
type link struct {
	x       *Session
	conn    *edge.Conn
	framing stream.Framing
	head    []byte // what stands in the place of service.To
	begun   bool   // the session has been told of it
	deaf    bool   // what comes is not looked at any more
	closed  bool
	tls     bool

	// Over TCP.
	proto edge.Protocol
	scan  xmlstream.Scanner
	ns    *xmlstream.Context // of the stream's header
}

// Of streams over TCP.
var (
	whitespace = []byte(" ") // RFC 6120 section 4.6.1
	shutdown   = stream.NewError("system-shutdown", "the server stops: come back")
	tcpGoodbye = stream.AppendClose(shutdown.Append(nil, stream.TCP), stream.TCP)
)

// newLink returns a link that is not begun.
func newLink(x *Session, f stream.Framing) *link {
	l := &link{x: x, framing: f}
	if f == stream.WebSocket {
		l.head = append(l.head, "<message xmlns='"+stanza.NSClient+"' to='"...)
	} else {
		l.head = append(l.head, "<message to='"...)
	}
	l.head = append(xmlstream.AppendAttr(l.head, x.jid.String()), '\'')
	return l
}

// tcpProtocol is what all connections over TCP have in common.
var tcpProtocol = edge.Protocol{Name: "xmpp", Keepalive: whitespace, Goodbye: tcpGoodbye}

// protocol returns the link's protocol, for edge.Add.
func (l *link) protocol() *edge.Protocol {
	l.proto = tcpProtocol
	l.proto.Input = l.input
	l.proto.Closed = l.stop
	return &l.proto
}

// begin is called when the edge has the connection: before any input, or with it.
func (l *link) begin(c *edge.Conn) {
	if l.begun || l.closed {
		return
	}
	l.begun, l.conn = true, c
	l.count(1)
	l.x.start(l)
	l.process()
}

// do runs f on the goroutine that owns the connection, if that is open then: a session that has another connection by that time is
// not its own any more.
func (l *link) do(f func()) {
	l.conn.Do(func() {
		if !l.closed {
			f()
		}
	})
}

func (l *link) input(c *edge.Conn, p []byte) error {
	l.begin(c)
	if !l.deaf && !l.closed {
		l.scan.Feed(p)
		l.process()
	}
	return nil
}

// process takes the elements that are complete.
func (l *link) process() {
	for !l.deaf && !l.closed {
		kind, raw, err := l.scan.Next()
		if err != nil {
			l.fail(stream.AsError(err))
			return
		}
		switch kind {
		case xmlstream.None:
			return
		case xmlstream.End:
			l.deaf = true
			l.x.Close(ReasonClosed, nil)
		case xmlstream.Open:
			l.fail(stream.NewError("bad-format", "a second stream header"))
		default:
			l.element(raw, l.ns)
		}
	}
}

// element parses an element and gives it to the session.
func (l *link) element(raw []byte, ns *xmlstream.Context) {
	d := documents.Get().(*xmlstream.Document)
	d.Limits = l.x.srv.opt.Limits
	e, err := d.Parse(raw, ns)
	if _, bye := stream.IsClose(e); err != nil {
		l.fail(stream.AsError(err))
	} else if bye && l.framing == stream.WebSocket {
		l.deaf = true
		l.x.Close(ReasonClosed, nil)
	} else if e := l.x.element(e); e != nil {
		l.fail(e)
	}
	documents.Put(d)
}

// fail ends the session with a stream error of the client's making.
func (l *link) fail(e *stream.Error) {
	l.deaf = true
	l.x.Close(reasonOf(e), e)
}

func (l *link) stop(*edge.Conn) {
	l.closed = true
	if l.begun {
		l.count(-1)
	}
	l.scan = xmlstream.Scanner{}
	l.x.stopped()
}

// count counts the link among those of its transport.
func (l *link) count(n int64) {
	switch {
	case l.framing == stream.WebSocket:
		l.x.srv.overSocket.Add(n)
	case l.tls:
		l.x.srv.overTLS.Add(n)
	}
}

// goodbye returns what closes the stream, after the error if there is one.
func (l *link) goodbye(e *stream.Error) []byte { return appendGoodbye(nil, l.framing, e) }

func appendGoodbye(dst []byte, f stream.Framing, e *stream.Error) []byte {
	if f == stream.TCP {
		if e != nil {
			dst = e.Append(dst, f)
		}
		return stream.AppendClose(dst, f)
	}
	if e != nil {
		dst = appendText(dst, e.Append(nil, f))
	}
	return append(appendText(dst, stream.AppendClose(nil, f)), wsClose...)
}

// put writes what is framed already.
func (l *link) put(b []byte) { l.conn.Put(b, maxInbox) }

// frame returns an element as the transport needs it.
func (l *link) frame(b []byte) []byte {
	if l.framing == stream.TCP {
		return b
	}
	return appendText(nil, b)
}

// appendOwn appends a stanza that is the session's own.
func (l *link) appendOwn(dst, st []byte) []byte {
	if l.framing == stream.WebSocket {
		return appendClientText(dst, st)
	}
	return append(dst, st...)
}

// appendShared appends a message of a flow.
func (l *link) appendShared(dst, m []byte) []byte {
	if l.framing == stream.WebSocket {
		dst = appendTextHeader(dst, len(l.head)+len(m))
	}
	return append(append(dst, l.head...), m...)
}

// sharedLen returns how much appendShared appends.
func (l *link) sharedLen(m []byte) int {
	n := len(l.head) + len(m)
	if l.framing == stream.WebSocket {
		n += textHeaderLen(n)
	}
	return n
}

// What the session writes over WebSocket are text frames that are not masked (RFC 6455 section 5.2); the frames that come
// are for the WebSocket implementation.
const wsText = 0x81

// wsClose is a close frame that says normal closure.
var wsClose = []byte{0x88, 2, 3, 0xe8}

// appendText appends an element in a frame.
func appendText(dst, b []byte) []byte { return append(appendTextHeader(dst, len(b)), b...) }

func appendTextHeader(dst []byte, n int) []byte {
	switch {
	case n < 126:
		return append(dst, wsText, byte(n))
	case n <= 0xffff:
		return append(dst, wsText, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, wsText, 127), uint64(n))
}

func textHeaderLen(n int) int {
	switch {
	case n < 126:
		return 2
	case n <= 0xffff:
		return 4
	}
	return 10
}

// appendClientText appends a stanza in a frame, with its namespace, which has no stream header to come from (RFC 7395 section
// 3.3.3).
func appendClientText(dst, st []byte) []byte {
	tag := st
	if i := bytes.IndexByte(st, '>'); i >= 0 {
		tag = st[:i]
	}
	if bytes.Contains(tag, []byte(" xmlns=")) {
		return appendText(dst, st)
	}
	const ns = " xmlns='" + stanza.NSClient + "'"
	i := bytes.IndexAny(tag, " /")
	if i < 0 {
		i = len(tag)
	}
	dst = appendTextHeader(dst, len(st)+len(ns))
	dst = append(dst, st[:i]...)
	dst = append(dst, ns...)
	return append(dst, st[i:]...)
}

// cutStanza returns the first element of b, which is XML that services have written, and what follows it.
func cutStanza(b []byte) (first, rest []byte) {
	depth := 0
	for i := 0; i < len(b); {
		j := bytes.IndexByte(b[i:], '<')
		if j < 0 {
			return b, nil
		}
		i += j
		if bytes.HasPrefix(b[i:], cdata) {
			end := bytes.Index(b[i:], cdataEnd)
			if end < 0 {
				return b, nil
			}
			i += end + len(cdataEnd)
			continue
		}
		end := tagEnd(b[i:])
		if end < 0 {
			return b, nil
		}
		switch {
		case b[i+1] == '/':
			depth--
		case b[i+end-1] != '/':
			depth++
		}
		if i += end + 1; depth == 0 {
			return b[:i:i], b[i:]
		}
	}
	return b, nil
}

var (
	cdata    = []byte("<![CDATA[")
	cdataEnd = []byte("]]>")
)

// tagEnd returns where the > of the tag is that b begins with: values may have one too.
func tagEnd(b []byte) int {
	var quote byte
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '>':
			return i
		case c == '\'' || c == '"':
			quote = c
		}
	}
	return -1
}
