package ws

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/websocket"
)

// conn is the state of a connection: what its subscriptions are called. The tasks have it to themselves, one at a time, and
// what they do at their end is done by the goroutine that owns the connection.
type conn struct {
	server *Server
	actor  *tidings.Actor // nil for the anonymous one
	subs   []*entry
	// Owned by the goroutine that owns the connection.
	first func(*websocket.Conn) // begins the subscription of the address; nil when there is none, or it has begun
	tasks outlet.Tasks
}

// entry is a subscription by the name that the client gave it.
type entry struct {
	id  string
	sub *hub.Subscription // owned by the goroutine that owns the connection
	att *edge.Attachment
}

// maxID bounds the name of a subscription in bytes.
const maxID = 64

// request is a message of the client.
type request struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	outlet.Wanted
	Token string `json:"token"`
}

// open begins the subscription of the address. A message may come before the handshake has returned, and finds it begun.
func (c *conn) open(wc *websocket.Conn) {
	if first := c.first; first != nil {
		c.first = nil
		first(wc)
	}
}

// Message has a request worked off.
func (c *conn) Message(wc *websocket.Conn, binary bool, p []byte) error {
	c.open(wc)
	if binary {
		return &websocket.CloseError{Code: websocket.UnsupportedData, Reason: "messages are JSON in text messages"}
	}
	if !c.tasks.Add(wc.Edge(), c.server.group, func(ctx context.Context) ([]byte, func()) { return c.serve(ctx, wc, p) }) {
		return &websocket.CloseError{Code: websocket.PolicyViolation, Reason: "too many requests wait for their answer"}
	}
	return nil
}

// Closed has nothing to do: the edge closes the subscriptions with the connection.
func (c *conn) Closed(*websocket.Conn, int) {}

// serve works one request off.
func (c *conn) serve(ctx context.Context, wc *websocket.Conn, p []byte) (reply []byte, then func()) {
	var r request
	answer, then, err := c.answer(ctx, wc, &r, p)
	if err != nil {
		answer = failed(&r, err)
	}
	if len(answer) == 0 {
		return nil, then
	}
	return websocket.AppendText(nil, answer), then
}

func (c *conn) answer(ctx context.Context, wc *websocket.Conn, r *request, p []byte) (answer []byte, then func(), err error) {
	d := json.NewDecoder(bytes.NewReader(p))
	d.DisallowUnknownFields() // a misspelt filter would let everything pass
	if err := d.Decode(r); err != nil {
		if tidings.KindOf(err) == 0 {
			err = tidings.Errorf(tidings.ErrInvalid, "the message is no request: %v", err)
		}
		return nil, nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, nil, tidings.Errorf(tidings.ErrInvalid, "the message has something behind its JSON object")
	}
	if len(r.ID) > maxID {
		r.ID = ""
		return nil, nil, tidings.Errorf(tidings.ErrInvalid, "the id may have %d bytes", maxID)
	}
	switch r.Type {
	case "subscribe":
		return c.subscribe(ctx, wc, r)
	case "unsubscribe":
		return c.unsubscribe(wc, r)
	case "authenticate":
		actor, err := c.server.opt.Token(r.Token)
		if err != nil {
			return nil, nil, err
		}
		c.actor = &actor
		return object("authenticated", "actor", actor.String()), nil, nil
	case "ping":
		return object("pong", "id", r.ID), nil, nil
	}
	return nil, nil, tidings.Errorf(tidings.ErrInvalid, "the type %q is none of subscribe, unsubscribe, authenticate and ping", r.Type)
}

func (c *conn) find(id string) int {
	return slices.IndexFunc(c.subs, func(e *entry) bool { return e.id == id })
}

func (c *conn) subscribe(ctx context.Context, wc *websocket.Conn, r *request) ([]byte, func(), error) {
	s := c.server
	req := hub.Request{Form: form{deflate: wc.Deflate()}}
	if c.actor != nil {
		req.Actor = *c.actor
	}
	if r.ID == "" {
		return nil, nil, tidings.Errorf(tidings.ErrInvalid, "the subscription needs an id, by which it is changed and ended")
	}
	var err error
	if req.Query, err = r.Query(s.opt.MaxPatterns); err != nil {
		return nil, nil, err
	}
	explicit := false
	if req.After, explicit, err = r.Start(ctx, s.opt.Hub); err != nil {
		return nil, nil, err
	}
	if i := c.find(r.ID); i >= 0 {
		e := c.subs[i]
		return nil, func() { c.change(wc, e, r, req, explicit) }, nil
	}
	if len(c.subs) >= s.opt.MaxSubscriptions {
		return nil, nil, tidings.Errorf(tidings.ErrRateLimited, "the connection has %d subscriptions and may not have more", len(c.subs))
	}
	sub, err := outlet.Subscribe(s.opt.Hub, s.opt.Edge, req)
	if err != nil {
		return nil, nil, err
	}
	return subscribed(r.ID, req.Query, req.After), func() {
		c.subs = append(c.subs, &entry{id: r.ID, sub: sub, att: outlet.Attach(wc.Edge(), sub)})
	}, nil
}

// change puts another subscription in the place of e's.
func (c *conn) change(wc *websocket.Conn, e *entry, r *request, req hub.Request, explicit bool) {
	s := c.server
	outlet.Swap(e.att, func() *hub.Subscription {
		if !explicit {
			req.After = e.sub.Reached()
		}
		sub, err := outlet.Subscribe(s.opt.Hub, s.opt.Edge, req)
		if err != nil {
			wc.WriteText(failed(r, err))
			return nil
		}
		wc.WriteText(subscribed(e.id, req.Query, req.After))
		e.sub = sub
		return sub
	})
}

func (c *conn) unsubscribe(wc *websocket.Conn, r *request) ([]byte, func(), error) {
	i := c.find(r.ID)
	if i < 0 {
		return nil, nil, tidings.Errorf(tidings.ErrNotFound, "there is no subscription %q", r.ID)
	}
	e := c.subs[i]
	return nil, func() {
		c.subs = slices.Delete(c.subs, i, i+1)
		if len(c.subs) == 0 {
			c.subs = nil
		}
		// A cursor that has nothing takes the place, so that the position told is where the events end.
		e.att.Swap(func() (*edge.Group, edge.Cursor) {
			wc.WriteText(object("unsubscribed", "id", e.id, "position", e.sub.Reached().String()))
			e.att.Detach()
			return c.server.group, outlet.Nothing
		})
	}, nil
}
