// Package websocket is the server's side of the WebSocket protocol (RFC 6455) with permessage-deflate (RFC 7692) over
// connections that package edge holds. It knows no event.
//
// [Accept] answers the opening handshake (RFC 6455 section 4.2) and hands the connection to the edge. From then on what
// the peer sends is parsed as it comes, by the goroutine that owns the connection, and whole messages go to a
// [Handler]; between messages a connection has no buffer. What the server sends is made by functions that append frames
// to a slice ([AppendText] and its like), so that one frame can be written to many connections: a server's frames are
// not masked (section 5.1), and compressed ones depend on nothing that was sent before, because the server always
// negotiates server_no_context_takeover (RFC 7692 section 7.1.1.1).
//
// Checked of what comes in: reserved bits, opcodes, masks, minimal lengths, fragmentation, control frames, UTF-8 of
// texts and reasons, codes of close frames, and the size of messages, before and after they are inflated. What fails is
// answered with a close frame of the code that section 7.4.1 has for it and counted by the edge under a reason that
// begins with "websocket-".
//
// Pings are the edge's keepalive; a peer's pings are answered, its pongs need no answer and get none.
package websocket

import (
	"strconv"
	"sync/atomic"

	"tidings/edge"
)

// Handler gets what the peers of connections send. Its methods are called by the goroutine that owns the connection, so
// they must not block; those of one connection are called one at a time.
type Handler interface {
	// Message is called with each message that is complete. The bytes are the handler's to keep; those of a text are
	// valid UTF-8. An error closes the connection: with the code and the reason of a *CloseError, else with
	// InternalError and no reason.
	Message(c *Conn, binary bool, p []byte) error

	// Closed is called once, when the connection is closed, with the code of the peer's close frame: NoStatus if it
	// had none and Abnormal if no close frame came.
	Closed(c *Conn, code int)
}

// Conn is a connection whose handshake is done. Its methods may be called from any goroutine.
type Conn struct {
	edge        atomic.Pointer[edge.Conn]
	handler     Handler
	proto       edge.Protocol
	subprotocol string

	// Owned by the goroutine that owns the edge connection.
	in      *inbound // of a message that is not complete; nil between messages
	max     uint32   // bytes of a message
	code    uint16   // of the peer's close frame
	closing bool     // nothing is read any more
	deflate bool     // messages may be compressed
}

// Edge returns the edge's connection, to which cursors over frames are attached.
func (c *Conn) Edge() *edge.Conn { return c.edge.Load() }

// Subprotocol returns the subprotocol that was agreed on, or "".
func (c *Conn) Subprotocol() string { return c.subprotocol }

// Deflate reports whether permessage-deflate was agreed on, so that the peer takes frames of AppendDeflated.
func (c *Conn) Deflate() bool { return c.deflate }

// WriteText queues a text message, which must be UTF-8, behind what is being written. A connection with too much
// waiting is closed; see edge.Conn.Write.
func (c *Conn) WriteText(p []byte) { c.Edge().Write(AppendText(nil, p)) }

// WriteBinary queues a binary message.
func (c *Conn) WriteBinary(p []byte) { c.Edge().Write(AppendBinary(nil, p)) }

// Write queues frames that were made by the functions of this package.
func (c *Conn) Write(frames []byte) { c.Edge().Write(frames) }

// Close closes the connection with a close frame (section 5.5.1). The reason is cut to 123 bytes at a rune boundary.
// After it nothing is read or written.
func (c *Conn) Close(code int, reason string) {
	c.Edge().Close(reasonOf(code), AppendClose(nil, code, reason))
}

// CloseError closes a connection with a code and a reason.
type CloseError struct {
	Code   int
	Reason string
}

// Error returns the code and the reason.
func (e *CloseError) Error() string {
	return "websocket: close " + strconv.Itoa(e.Code) + ": " + e.Reason
}

// The status codes of section 7.4.1 and, from ServiceRestart on, of IANA's registry.
const (
	NormalClosure   = 1000
	GoingAway       = 1001
	ProtocolError   = 1002
	UnsupportedData = 1003
	NoStatus        = 1005 // never sent: the close frame had no code
	Abnormal        = 1006 // never sent: there was no close frame
	InvalidPayload  = 1007 // text that is not UTF-8, a message that cannot be inflated
	PolicyViolation = 1008
	MessageTooBig   = 1009
	InternalError   = 1011
	ServiceRestart  = 1012
	TryAgainLater   = 1013
)

// The reasons under which the edge counts connections that were closed here.
var reasons = map[int]string{
	NormalClosure:   "websocket-normal",
	GoingAway:       "websocket-going-away",
	ProtocolError:   "websocket-protocol",
	UnsupportedData: "websocket-unsupported",
	InvalidPayload:  "websocket-invalid-payload",
	PolicyViolation: "websocket-policy",
	MessageTooBig:   "websocket-too-big",
	InternalError:   "websocket-internal",
	ServiceRestart:  "websocket-restart",
	TryAgainLater:   "websocket-try-later",
}

// reasonPeer is counted for a connection that the peer closed with a close frame.
const reasonPeer = "websocket-closed"

func reasonOf(code int) string {
	if r, ok := reasons[code]; ok {
		return r
	}
	return "websocket-other" // one of the codes that applications make up
}
