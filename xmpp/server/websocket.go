package server

import (
	"bytes"
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"tidings/edge"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Subprotocol is the WebSocket subprotocol of XMPP (RFC 7395 section 3.1).
const Subprotocol = "xmpp"

// Upgrader answers the opening handshake of a WebSocket (RFC 6455 section 4.2), agrees on Subprotocol or refuses, and gives
// the connection to the server's edge. A request that is no handshake is answered too.
type Upgrader func(w http.ResponseWriter, r *http.Request, s Socket) (*edge.Conn, error)

// Socket is what a WebSocket has to do. The functions are called by the goroutine that owns the connection.
type Socket struct {
	// MaxMessage is the length of the longest message that may come, in bytes.
	MaxMessage int
	// Message is called with each text message that is complete, and may keep the bytes. The connection stays open.
	Message func(c *edge.Conn, p []byte)
	// Closed is called once, when the connection has been closed.
	Closed func(c *edge.Conn)
	// Goodbye is what the edge writes when it closes the connection on its own account: frames, a close frame among them.
	Goodbye []byte
}

// wsGoodbye is what a WebSocket is told when the server stops.
var wsGoodbye = appendGoodbye(nil, stream.WebSocket, shutdown)

// webSocket is a stream over WebSocket. Where nothing else is said its fields belong to the goroutine that owns the
// connection.
type webSocket struct {
	srv      *Server
	n        *negotiation // while there is no session; a step of it may be under way
	l        *link        // when there is one
	conn     atomic.Pointer[edge.Conn]
	deadline int64 // on the server's clock, for the session
	busy     bool  // a step is under way
	deaf     bool
	closed   bool
	pending  [][]byte // messages that came meanwhile
}

// maxPending bounds the messages that a client may send ahead of the answers.
const maxPending = 32

// WebSocket serves XMPP over WebSocket (RFC 7395). Clients need TLS, by which the request has come, unless they are on loopback.
func (s *Server) WebSocket(upgrade Upgrader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := s.handshakes.Add(1); s.closing.Load() || n > int64(s.opt.MaxHandshakes) {
			s.handshakes.Add(-1)
			s.count(ReasonFull, "address", r.RemoteAddr)
			http.Error(w, "too many connections", http.StatusServiceUnavailable)
			return
		}
		c, loopback := remote(r.RemoteAddr)
		c.TLS, c.NeedsTLS = r.TLS != nil, !loopback && !s.opt.Plaintext
		ws := &webSocket{srv: s, n: s.negotiate(stream.WebSocket, c)}
		ws.deadline = s.clock() + int64(s.opt.HandshakeTimeout/time.Second) + 1
		s.mu.Lock()
		s.sockets[ws] = struct{}{}
		s.mu.Unlock()
		limit := s.opt.Limits.Stanza
		if limit == 0 {
			limit = xmlstream.DefaultStanza
		}
		ec, err := upgrade(w, r, Socket{MaxMessage: limit, Message: ws.message, Closed: ws.stop, Goodbye: wsGoodbye})
		if err != nil {
			s.count(ReasonPeer, "address", r.RemoteAddr, "err", err)
			ws.done()
			return
		}
		ws.conn.Store(ec)
	})
}

// done says that the negotiation has ended, in whatever way.
func (w *webSocket) done() {
	s := w.srv
	s.mu.Lock()
	_, ok := s.sockets[w]
	delete(s.sockets, w)
	s.mu.Unlock()
	if ok {
		s.handshakes.Add(-1)
	}
}

func (w *webSocket) message(c *edge.Conn, p []byte) {
	w.conn.Store(c)
	switch {
	case w.deaf || w.closed:
	case w.l != nil:
		w.l.message(p)
	case len(w.pending) == maxPending:
		w.end("xmpp-policy-violation", stream.NewError("policy-violation", "too many messages at once"))
	default:
		w.pending = append(w.pending, p)
		w.next()
	}
}

// next has the next message looked at, in a goroutine, for it may take long.
func (w *webSocket) next() {
	if w.busy || w.deaf || w.closed || len(w.pending) == 0 {
		return
	}
	p := w.pending[0]
	w.pending = w.pending[1:]
	w.busy = true
	s := w.srv
	c := w.conn.Load()
	if !s.begin(func() {
		ctx, cancel := context.WithTimeout(s.ctx, s.opt.HandshakeTimeout)
		out, e := w.n.message(ctx, p)
		cancel()
		c.Do(func() { w.stepped(c, out, e) })
	}) {
		w.busy = false
		w.end(ReasonShutdown, shutdown)
	}
}

// message takes a message of a stream without a session.
func (n *negotiation) message(ctx context.Context, p []byte) (outcome, *stream.Error) {
	if n.bare.IsZero() && len(p) > maxEarly {
		return proceed, stream.NewError("policy-violation", "the element is too long")
	}
	d := xmlstream.Document{Limits: n.srv.opt.Limits}
	el, err := d.Parse(bytes.TrimSpace(p), nil)
	if err != nil {
		return proceed, stream.AsError(err)
	}
	if _, ok := stream.IsClose(el); ok {
		return closed, nil
	}
	if n.expecting {
		return proceed, n.header(el, nil)
	}
	return n.element(ctx, el)
}

// stepped takes what a message has led to.
func (w *webSocket) stepped(c *edge.Conn, out outcome, e *stream.Error) {
	w.busy = false
	n := w.n
	if e != nil && !w.deaf {
		w.deaf = true
		n.fail(e)
		c.Close(reasonOf(e), n.out)
		return
	}
	if w.closed || w.deaf {
		if n.x != nil {
			n.x.stopped()
		}
		return
	}
	if len(n.out) > 0 {
		c.Put(n.out, maxInbox)
		n.out = nil
	}
	switch out {
	case closed:
		w.end(ReasonPeer, nil)
	case connected:
		w.done()
		w.l = newLink(n.x, stream.WebSocket)
		w.n = nil
		if w.closed {
			w.l.stop(c)
			return
		}
		w.l.begin(c)
		for _, p := range w.pending {
			w.l.message(p)
		}
		w.pending = nil
	default:
		w.next()
	}
}

// end closes a stream without a session.
func (w *webSocket) end(reason string, e *stream.Error) {
	w.deaf = true
	w.srv.count(reason)
	c := w.conn.Load()
	if w.busy { // the negotiation is in use
		c.Close(reason, appendGoodbye(nil, stream.WebSocket, e))
		return
	}
	w.n.goodbye(e)
	c.Close(reason, w.n.out)
}

// timeout is called by the wheel.
func (w *webSocket) timeout() {
	if c := w.conn.Load(); c != nil {
		c.Do(func() {
			if w.l == nil && !w.closed && !w.deaf {
				w.end(ReasonHandshake, stream.NewError("connection-timeout", "no resource was bound in time"))
			}
		})
	}
}

func (w *webSocket) stop(c *edge.Conn) {
	w.closed = true
	w.done()
	if w.l != nil {
		w.l.stop(c)
	}
}

// message takes a message of a stream with a session.
func (l *link) message(p []byte) {
	if !l.deaf && !l.closed {
		l.element(bytes.TrimSpace(p), nil)
	}
}
