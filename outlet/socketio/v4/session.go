package v4

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/socketio"
	"tidings/websocket"
)

// The namespaces.
const (
	rootNamespace = "/"
	rcNamespace   = "/rc"
)

// session is one client's, from its handshake to its end.
//
// What belongs to its holder is touched by one goroutine at a time: on a WebSocket the one that owns the connection, while
// the client polls the one that has the lease of its polls.
type session struct {
	// Static after the handshake.
	server *Server
	id     socketio.ID
	actor  *tidings.Actor // nil for the anonymous one
	begun  uint32         // second of the handshake

	heard atomic.Uint32 // second in which the client last answered a ping

	mu     sync.Mutex
	ended  bool
	joined bool            // it has connected to a namespace
	asked  uint32          // second of the last ping; 0 before the first
	ws     *websocket.Conn // nil while it polls
	polls  *polls          // nil on a WebSocket

	// The holder's.
	spaces []*space
	tasks  outlet.Tasks // of a WebSocket
	skip   int          // attachments that belong to a packet which was refused
}

// space is a namespace that the client has connected to.
type space struct {
	name  string
	actor *tidings.Actor // nil for the anonymous one
	query string         // what is subscribed to, as the query string that asks for it; "" for nothing
	sub   *hub.Subscription
	att   *edge.Attachment // of a WebSocket
}

func (ss *session) space(name string) *space {
	for _, sp := range ss.spaces {
		if sp.name == name {
			return sp
		}
	}
	return nil
}

// send sends a packet behind those that wait.
func (ss *session) send(pkt []byte) {
	ss.mu.Lock()
	ws, full := ss.ws, false
	if ss.polls != nil && !ss.ended {
		full = !ss.polls.add(pkt)
	}
	ss.mu.Unlock()
	if ws != nil {
		ws.WriteText(pkt)
	}
	if full {
		ss.end("queue-full")
	}
}

// end ends the session for a reason, which is a constant.
func (ss *session) end(reason string) {
	ss.mu.Lock()
	if ss.ended {
		ss.mu.Unlock()
		return
	}
	ss.ended = true
	ss.server.gone(ss, reason) // before the client can know
	ws, free := ss.ws, ss.polls != nil && ss.polls.end()
	ss.mu.Unlock()
	if free {
		ss.closeSubscriptions()
	}
	if ws != nil {
		ws.Close(websocket.NormalClosure, "") // and the edge the subscriptions
	}
}

// closeSubscriptions closes those that no connection has. The caller is the holder.
func (ss *session) closeSubscriptions() {
	for _, sp := range ss.spaces {
		if sp.sub != nil && sp.att == nil {
			sp.sub.Close()
			sp.sub = nil
		}
	}
}

// Tick is the wheel's.
func (ss *session) Tick(now uint32) uint32 {
	o := &ss.server.opt
	interval, timeout, connect := socketio.Seconds(o.PingInterval), socketio.Seconds(o.PingTimeout), socketio.Seconds(o.ConnectTimeout)
	ss.mu.Lock()
	last := max(ss.asked, ss.begun)
	silent := ss.asked > 0 && ss.heard.Load() < ss.asked
	reason := ""
	switch {
	case ss.ended:
		ss.mu.Unlock()
		return 0
	case !ss.joined && now >= ss.begun+connect:
		reason = "never-connected"
	case silent && now >= ss.asked+timeout:
		reason = "ping-timeout"
	}
	ping := now >= last+interval
	if ping && reason == "" {
		ss.asked, last = now, now
		silent = true
	}
	joined := ss.joined
	ss.mu.Unlock()
	if reason != "" {
		ss.end(reason)
		return 0
	}
	if ping {
		ss.send([]byte{enginePing})
	}
	due := last + interval
	if silent {
		due = min(due, last+timeout)
	}
	if !joined {
		due = min(due, ss.begun+connect)
	}
	return max(due, now+1)
}

// pong notes that the client has answered.
func (ss *session) pong() { ss.heard.Store(ss.server.wheel.Now()) }

// receive acts on a packet of Socket.IO: what may take long at once, and the rest in the function it returns, which the
// holder calls.
func (ss *session) receive(ctx context.Context, b []byte) (then func()) {
	p, err := parsePacket(b)
	if err != nil {
		ss.server.drops.Add(err.Error(), 1, "packet", socketio.Cut(b))
		return func() { ss.end("parse-error") }
	}
	switch p.typ {
	case typeConnect:
		return ss.connect(ctx, p)
	case typeDisconnect:
		return func() { ss.leave(p.namespace) }
	case typeEvent:
		return ss.event(ctx, p)
	case typeBinaryEvent, typeBinaryAck:
		ss.server.drops.Add("binary", 1)
		return func() {
			ss.skip = p.attachments
			if p.typ == typeBinaryEvent {
				ss.refuse(p, "", tidings.Errorf(tidings.ErrInvalid, "events with binary data are not taken"))
			}
		}
	}
	return func() {} // nothing of ours asks for an acknowledgement
}

// auth is what a client sends when it connects to a namespace.
type auth struct {
	Token  string `json:"token"`
	PID    string `json:"pid"`
	Offset string `json:"offset"`
}

// connect opens a namespace and, for a client that comes back, its subscription where it was.
func (ss *session) connect(ctx context.Context, p packet) (then func()) {
	s := ss.server
	refuse := func(text string, err error) func() {
		data := struct {
			Message string   `json:"message"`
			Data    *failure `json:"data,omitempty"`
		}{Message: text}
		if err != nil {
			f := failureOf("connect", err)
			data.Data = &f
		}
		return func() { ss.send(message(typeConnectError, p.namespace, "", data)) }
	}
	if p.namespace != rootNamespace && p.namespace != rcNamespace {
		return refuse("Invalid namespace", nil)
	}
	var a auth
	if len(p.data) > 0 && json.Unmarshal(p.data, &a) != nil {
		return refuse("Invalid authentication", tidings.Errorf(tidings.ErrInvalid, "token, pid and offset have to be texts"))
	}
	sp := &space{name: p.namespace, actor: ss.actor}
	if a.Token != "" {
		actor, err := s.opt.Token(a.Token)
		if err != nil {
			return refuse("Not authenticated", err)
		}
		sp.actor = &actor
	}
	// The offset says all there is to know of the client's state, so that it is recovered by any server with the journal.
	pos, values, ok := parseOffset(a.Offset)
	if _, is := socketio.ParseID(a.PID); !is {
		ok = false
	}
	if ok && len(values) > 0 {
		_, err := s.query(sp.name, values)
		ok = err == nil
	}
	return func() {
		if ss.space(sp.name) != nil {
			ss.send(message(typeConnectError, sp.name, "", map[string]any{"message": "Already connected"}))
			return
		}
		ss.spaces = append(ss.spaces, sp)
		ss.mu.Lock()
		ss.joined = true
		ss.mu.Unlock()
		lost := !pos.IsZero() && !s.kept(pos)
		var sub *hub.Subscription
		if ok = ok && !lost; ok && len(values) > 0 {
			var err error
			sub, err = ss.subscribe(sp, values, pos)
			ok = err == nil
		}
		pid := a.PID
		if !ok {
			pid = socketio.NewID().String()
		}
		ss.send(message(typeConnect, sp.name, "", welcome{socketio.NewID().String(), pid}))
		if lost {
			ss.send(message(typeEvent, sp.name, "", []any{"gap", gap{pos, s.opt.Hub.Oldest()}}))
		}
		if sub != nil {
			sp.query = values.Encode()
			ss.attach(sp, sub)
		}
	}
}

// welcome is what a client is told when it has connected to a namespace. Recovery is told by the pid it brought.
type welcome struct {
	SID string `json:"sid"`
	PID string `json:"pid"`
}

// parseOffset parses what form writes behind each event. ok is false for one that names no query because it was too long.
func parseOffset(text string) (p tidings.Position, query url.Values, ok bool) {
	position, rest, has := strings.Cut(text, "?")
	p, err := tidings.ParsePosition(position)
	if err != nil {
		return tidings.Position{}, nil, false
	}
	query, err = url.ParseQuery(rest)
	return p, query, err == nil && has == (len(query["topic"]) > 0)
}

// kept reports whether nothing behind the position has been lost, as far as the whole log goes.
func (s *Server) kept(p tidings.Position) bool {
	head, oldest := s.opt.Hub.Head(), s.opt.Hub.Oldest()
	return p.Epoch == head.Epoch && oldest.Offset <= p.Offset && p.Offset <= head.Offset
}

// attach gives the subscription to the transport.
func (ss *session) attach(sp *space, sub *hub.Subscription) {
	sp.sub = sub
	ss.mu.Lock()
	ws := ss.ws
	ss.mu.Unlock()
	if ws != nil {
		sp.att = outlet.Attach(ws.Edge(), sub)
	}
}

// leave closes a namespace.
func (ss *session) leave(name string) {
	sp := ss.space(name)
	if sp == nil {
		return
	}
	ss.spaces = slices.DeleteFunc(ss.spaces, func(x *space) bool { return x == sp })
	switch {
	case sp.att != nil:
		sp.att.Detach()
	case sp.sub != nil:
		sp.sub.Close()
	}
}

// refuse tells the client that its event failed: in the acknowledgement if it asks for one, else by the event error.
func (ss *session) refuse(p packet, request string, err error) {
	f := failureOf(request, err)
	if p.id != "" {
		ss.send(message(typeAck, p.namespace, p.id, []any{map[string]any{"error": f}}))
		return
	}
	ss.send(message(typeEvent, p.namespace, "", []any{"error", f}))
}
