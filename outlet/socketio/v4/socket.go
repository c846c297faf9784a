package v4

import (
	"context"
	"net/http"
	"net/url"

	"tidings/outlet"
	"tidings/outlet/socketio"
	"tidings/websocket"
)

// probe is what a client asks a WebSocket with before it leaves its polls for it.
const probe = "probe"

// serveSocket serves the transport websocket: of a new session, or of the one that ss is, whose client polls so far.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request, ss *session) {
	o := websocket.Options{Name: "socket.io-4", Origins: s.opt.Origins, MaxMessage: s.opt.MaxPayload, NoDeflate: true, Keepalive: []byte{}}
	if !websocket.IsUpgrade(r) {
		s.fail(w, errRequest, "Bad request")
		return
	}
	if ss == nil {
		actor, err := s.opt.Authenticate(r)
		if err != nil {
			s.fail(w, errForbidden, err.Error())
			return
		}
		h := &wire{}
		h.ss, err = s.newSession(actor, false)
		if err != nil {
			s.fail(w, errUnavailable, err.Error())
			return
		}
		o.Handler = h
		c, err := websocket.Accept(s.opt.Edge, w, r, o)
		if err != nil {
			h.ss.end("websocket-handshake")
			return
		}
		h.open(c)
		return
	}
	o.Handler = &wire{ss: ss, probing: true}
	websocket.Accept(s.opt.Edge, w, r, o) // which has answered in any case
}

// wire hears a WebSocket.
type wire struct {
	ss      *session
	probing bool // the session's client polls still; owned by the goroutine that owns the connection
	opened  bool // guarded by ss.mu
}

// open gives a new session its connection, with the first sign of it: the return of Accept or a message.
func (h *wire) open(c *websocket.Conn) {
	ss := h.ss
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if h.opened {
		return
	}
	h.opened = true
	ss.ws = c
	c.WriteText(ss.server.openPacket(ss, nil))
	if ss.ended {
		c.Close(websocket.NormalClosure, "")
	}
}

// Message takes one packet of Engine.IO.
func (h *wire) Message(c *websocket.Conn, binary bool, p []byte) error {
	ss := h.ss
	if !h.probing {
		h.open(c)
	}
	if binary {
		if ss.skip == 0 || h.probing {
			ss.server.drops.Add("binary", 1)
			return &websocket.CloseError{Code: websocket.UnsupportedData, Reason: "packets are text"}
		}
		ss.skip--
		return nil
	}
	typ := byte(0)
	if len(p) > 0 {
		typ = p[0]
	}
	switch {
	case h.probing && typ == enginePing && string(p[1:]) == probe:
		c.WriteText([]byte{enginePong, 'p', 'r', 'o', 'b', 'e'})
		ss.startUpgrade()
		return nil
	case h.probing && typ == engineUpgrade && len(p) == 1 && ss.choose(h):
		h.probing = false
		return h.task(c, func(ctx context.Context) func() { return ss.upgrade(ctx, c) })
	case h.probing:
		ss.server.drops.Add("probe", 1, "packet", socketio.Cut(p))
		return &websocket.CloseError{Code: websocket.PolicyViolation, Reason: "the upgrade has to begin with a probe"}
	}
	switch typ {
	case engineMessage:
		if ss.skip > 0 {
			ss.server.drops.Add("packet-attachments", 1)
			return &websocket.CloseError{Code: websocket.PolicyViolation, Reason: "attachments are missing"}
		}
		if len(p) > 1 && (p[1] == typeBinaryEvent || p[1] == typeBinaryAck) {
			ss.receive(context.Background(), p[1:])() // at once: its attachments come next
			return nil
		}
		return h.task(c, func(ctx context.Context) func() { return ss.receive(ctx, p[1:]) })
	case enginePong:
		ss.pong()
		return nil
	case engineClose:
		ss.end("client-close")
		return nil
	case engineNoop:
		return nil
	}
	ss.server.drops.Add("engine-packet", 1, "packet", socketio.Cut(p))
	ss.end("parse-error")
	return nil
}

// task has something done outside of the goroutine that owns the connection.
func (h *wire) task(c *websocket.Conn, f func(context.Context) func()) error {
	ok := h.ss.tasks.Add(c.Edge(), h.ss.server.group, func(ctx context.Context) ([]byte, func()) { return nil, f(ctx) })
	if !ok {
		h.ss.server.drops.Add("too-many-packets", 1)
		return &websocket.CloseError{Code: websocket.PolicyViolation, Reason: "too many packets wait"}
	}
	return nil
}

// Closed ends the session, unless its client polls still.
func (h *wire) Closed(c *websocket.Conn, _ int) {
	ss := h.ss
	if h.probing {
		ss.stopUpgrade()
		return
	}
	ss.end("transport-close")
}

// choose makes a WebSocket the one that the session moves to. It reports false if there is one already.
func (ss *session) choose(h *wire) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.ended || ss.polls == nil || ss.polls.upgrader != nil {
		return false
	}
	ss.polls.upgrader = h
	h.opened = true
	return true
}

// upgrade moves the session from its polls to the WebSocket: off the loop as far as it waits for the polls to end.
func (ss *session) upgrade(ctx context.Context, c *websocket.Conn) (then func()) {
	ss.mu.Lock()
	ps := ss.polls
	ss.mu.Unlock()
	if ps == nil || !ps.acquire(ctx, ss) {
		return func() { c.Close(websocket.PolicyViolation, "the session is not there any more") }
	}
	return func() {
		ss.mu.Lock()
		if ss.ended {
			ss.mu.Unlock()
			ss.closeSubscriptions()
			c.Close(websocket.NormalClosure, "")
			return
		}
		out := ps.out
		ss.ws, ss.polls = c, nil
		close(ps.over)
		ss.mu.Unlock()
		ss.server.moved(ss)
		if len(out) > 0 {
			splitPayload(out[1:], func(p []byte) bool {
				c.WriteText(p)
				return true
			})
		}
		for _, sp := range ss.spaces {
			if sp.sub != nil {
				ss.reform(sp)
			}
		}
	}
}

// reform goes on with the WebSocket's form where the one of the polls stands.
func (ss *session) reform(sp *space) {
	old := sp.sub
	sp.sub = nil
	v, _ := url.ParseQuery(sp.query)
	sub, err := ss.subscribe(sp, v, old.Reached())
	old.Close()
	if err != nil { // a right was withdrawn
		f := newForm(socket, sp.name, "")
		ss.send(message(typeEvent, sp.name, "", []any{"error", failureOf("", err)}))
		ss.send(appendHead(nil, typeDisconnect, f.namespace, ""))
		ss.leave(sp.name)
		return
	}
	sp.sub, sp.att = sub, outlet.Attach(ss.ws.Edge(), sub)
}
