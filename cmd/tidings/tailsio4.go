package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"tidings"
	"tidings/client"
	"tidings/recentchange"
)

// sio4Wire reads a server of Tidings over Socket.IO 4 (Engine.IO protocol 4, Socket.IO protocol 5) on a WebSocket; see the doc of
// package outlet/socketio/v4. Each event has its position, so that a new connection goes on behind the last one.
type sio4Wire struct {
	url       *url.URL // sio4://HOST[:PORT]/?topic=PATTERN&FILTER or sio4://HOST[:PORT]/rc?subscribe=WIKI&FILTER
	namespace string   // as packets have it: empty for /, or with a comma behind it
	wanted    sio4Wanted
	token     string

	last tidings.Position
	was  bool // connected before
}

// sio4Wanted is the argument of subscribe.
type sio4Wanted struct {
	Topics []string          `json:"topics"`
	Filter []any             `json:"filter,omitempty"`
	After  *tidings.Position `json:"after,omitempty"`
	Since  string            `json:"since,omitempty"`
}

// newSIO4 checks the address. What is no topic in its query is a filter, as in the addresses of the other streams.
func newSIO4(command string, u *url.URL, token string, from point) (*sio4Wire, error) {
	w := &sio4Wire{url: u, token: token, last: from.after}
	topics, example := "topic", u.Scheme+"://"+u.Host+"/?topic=/**"
	switch path := strings.TrimSuffix(u.Path, "/"); path {
	case "":
	case sioNamespace:
		w.namespace = path + ","
		topics, example = "subscribe", u.Scheme+"://"+u.Host+"/rc?subscribe=*"
	default:
		return nil, usagef(command, "%s: the namespaces are / and %s, not %s", describe(u), sioNamespace, path)
	}
	fields := map[string][]string{}
	for name, values := range u.Query() {
		switch name {
		case topics:
			w.wanted.Topics = values
		case "filter":
			for _, expression := range values {
				w.wanted.Filter = append(w.wanted.Filter, expression)
			}
		default:
			fields[name] = values
		}
	}
	if len(fields) > 0 {
		w.wanted.Filter = append(w.wanted.Filter, fields)
	}
	if len(w.wanted.Topics) == 0 {
		return nil, withHint(usagef(command, "%s: Socket.IO sends nothing that was not subscribed to", describe(u)), "tidings "+command+" '"+example+"'")
	}
	if !from.since.IsZero() {
		w.wanted.Since = from.since.UTC().Format(time.RFC3339Nano)
	}
	return w, nil
}

func (w *sio4Wire) connect(ctx context.Context, up func(), emit func(received, error) bool) error {
	u := &url.URL{Scheme: map[string]string{"sio4": "ws", "sio4s": "wss"}[w.url.Scheme], Host: w.url.Host, Path: "/socket.io/", RawQuery: "EIO=4&transport=websocket"}
	c, err := dialWS(ctx, u, w.token)
	if err != nil {
		return err
	}
	defer c.CloseNow()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &sio4Session{w: w, emit: emit, up: up, silence: dialTimeout, send: func(packet string) error {
		return c.Write(ctx, websocket.MessageText, []byte(packet))
	}}
	watch := time.AfterFunc(s.silence, func() { cancel(errSilent) })
	defer watch.Stop()
	for {
		typ, data, err := c.Read(ctx)
		if err == nil && typ == websocket.MessageText { // nothing of ours is binary
			err = s.packet(data)
		}
		if err == nil {
			watch.Reset(s.silence)
			continue
		}
		if err == errStopped || tidings.KindOf(err) != 0 {
			return err
		}
		return wsLost(ctx, err)
	}
}

// sio4Session is one session.
type sio4Session struct {
	w       *sio4Wire
	emit    func(received, error) bool
	up      func()
	send    func(packet string) error
	silence time.Duration // after which the server is taken to be gone
}

// sio4Subscribe is the id of the packet that asks for an acknowledgement.
const sio4Subscribe = "0"

// packet acts on a packet of Engine.IO: TYPE [DATA].
func (s *sio4Session) packet(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	switch b[0] {
	case '0':
		return s.open(b[1:])
	case '1':
		return tidings.Errorf(tidings.ErrUnavailable, "the server ended the session")
	case '2':
		return s.send("3")
	case '4':
		return s.message(b[1:])
	}
	return nil
}

// open connects to the namespace.
func (s *sio4Session) open(b []byte) error {
	var o struct {
		SID                       string
		PingInterval, PingTimeout int64 // milliseconds
	}
	if err := json.Unmarshal(b, &o); err != nil || o.SID == "" {
		return tidings.Errorf(tidings.ErrInvalid, "%s is no Socket.IO 4: it begins with %q", s.w.url.Redacted(), cut(string(b)))
	}
	if ms := o.PingInterval + o.PingTimeout; 0 < ms && ms < time.Hour.Milliseconds() {
		s.silence = time.Duration(ms)*time.Millisecond + wsPingTimeout
	}
	return s.send("40" + s.w.namespace)
}

// message acts on a packet of Socket.IO: TYPE [NAMESPACE ","] [ID] [JSON].
func (s *sio4Session) message(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	typ, b := b[0], b[1:]
	if len(b) > 0 && b[0] == '/' {
		_, b, _ = bytes.Cut(b, []byte(","))
	}
	data := bytes.TrimLeft(b, "0123456789")
	id := string(b[:len(b)-len(data)])
	switch typ {
	case '0':
		return s.begin()
	case '1':
		return tidings.Errorf(tidings.ErrUnavailable, "the server closed the namespace")
	case '2':
		return s.event(data)
	case '3':
		return s.ack(id, data)
	case '4':
		var refused struct {
			Message string
			Data    sio4Failure
		}
		_ = json.Unmarshal(data, &refused) // what there is of it
		if refused.Data.Detail == "" {
			refused.Data.Detail = refused.Message
		}
		return refused.Data.err()
	}
	return nil
}

// sio4Failure is an error as the server tells it.
type sio4Failure struct{ Code, Detail string }

func (f sio4Failure) err() error {
	if f.Code == "" {
		return tidings.Errorf(tidings.ErrInvalid, "the server refuses: %s", cut(printable(f.Detail)))
	}
	kind, ok := wsKinds[f.Code]
	if !ok {
		kind = tidings.ErrUnavailable
	}
	return tidings.Errorf(kind, "the server says %s: %s", f.Code, f.Detail)
}

// begin subscribes once the namespace is open.
func (s *sio4Session) begin() error {
	w := s.w
	want := w.wanted
	if !w.last.IsZero() {
		want.After, want.Since = &w.last, ""
	}
	b, err := json.Marshal([]any{"subscribe", want})
	if err != nil {
		return tidings.Errorf(tidings.ErrInvalid, "subscribing: %w", err)
	}
	if err := s.send("42" + w.namespace + sio4Subscribe + string(b)); err != nil {
		return err
	}
	s.up()
	if w.was && w.last.IsZero() && !s.emit(received{}, &lostError{"the server tells no positions to go on from"}) {
		return errStopped
	}
	w.was = true
	return nil
}

// ack takes the answer to subscribe.
func (s *sio4Session) ack(id string, data []byte) error {
	var args []struct {
		Error    *sio4Failure
		Position tidings.Position
	}
	if id != sio4Subscribe || json.Unmarshal(data, &args) != nil || len(args) == 0 {
		return nil
	}
	if f := args[0].Error; f != nil {
		return f.err()
	}
	if s.w.last.IsZero() {
		s.w.last = args[0].Position
	}
	return nil
}

func (s *sio4Session) event(data []byte) error {
	var args []json.RawMessage
	var name string
	if json.Unmarshal(data, &args) != nil || len(args) == 0 || json.Unmarshal(args[0], &name) != nil {
		return tidings.Errorf(tidings.ErrInvalid, "the server sent an event that is none: %q", cut(string(data)))
	}
	args = args[1:]
	if len(args) == 0 {
		return nil
	}
	at := offsetOf(args)
	switch name {
	case "change":
		r := foreign(args[0], s.w.url.Host)
		r.ContentType = recentchange.TypeJSON
		if !at.IsZero() {
			s.w.last, r.Position = at, at
		}
		return emitted(s.emit(r, nil))
	case "event":
		ev, err := client.ParseEvent(args[0])
		if err != nil {
			return emitted(s.emit(foreign(args[0], s.w.url.Host), nil))
		}
		s.w.last = ev.Position
		return emitted(s.emit(received{Event: ev, record: oneLine(args[0])}, nil))
	case "gap":
		gap := &tidings.GapError{}
		// Whatever it says, it is a gap.
		_ = json.Unmarshal(args[0], gap)
		if !gap.Oldest.IsZero() {
			s.w.last = gap.Oldest
		}
		return emitted(s.emit(received{}, gap))
	case "error":
		var f sio4Failure
		_ = json.Unmarshal(args[0], &f) // what there is of it
		return f.err()
	}
	return nil // subscribed, whose acknowledgement says the same
}

// offsetOf returns the position in an event's offset, its last argument: POSITION["?"SUBSCRIPTION]. It is zero where there is none.
func offsetOf(args []json.RawMessage) (p tidings.Position) {
	var text string
	if json.Unmarshal(args[len(args)-1], &text) != nil {
		return p
	}
	text, _, _ = strings.Cut(text, "?")
	p, _ = tidings.ParsePosition(text)
	return p
}
