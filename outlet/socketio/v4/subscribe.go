package v4

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"slices"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/socketio"
	"tidings/outlet/socketio/v09"
)

// event acts on an event of the client.
func (ss *session) event(ctx context.Context, p packet) (then func()) {
	name, args, _ := parseEvent(p.data)
	var c change
	var err error
	switch name {
	case "subscribe":
		err = c.subscribe(ctx, ss.server, p.namespace, args)
	case "unsubscribe":
		err = c.unsubscribe(args)
	default:
		ss.server.drops.Add("event-unknown", 1, "event", socketio.Cut(name))
		err = tidings.Errorf(tidings.ErrNotFound, "the event %q is none of subscribe and unsubscribe", socketio.Cut(name))
	}
	return func() {
		sp := ss.space(p.namespace)
		switch {
		case sp == nil:
			ss.end("namespace-not-connected") // as the reference server does
		case err != nil:
			ss.refuse(p, name, err)
		default:
			ss.change(sp, p, name, &c)
		}
	}
}

// change is what a client changes about its subscription in a namespace.
type change struct {
	remove bool
	topics []string   // to add or to remove; of remove, none means all
	filter url.Values // in the place of the one there is; nil to leave it
	after  *tidings.Position
}

// arguments collects topics, which are texts and lists of them, and at most one object.
func (c *change) arguments(args []json.RawMessage) (object json.RawMessage, err error) {
	for _, a := range args {
		var one string
		var many []string
		switch {
		case a[0] == '"' && json.Unmarshal(a, &one) == nil:
			c.topics = append(c.topics, one)
		case a[0] == '[' && json.Unmarshal(a, &many) == nil:
			c.topics = append(c.topics, many...)
		case a[0] == '{' && object == nil:
			object = a
		default:
			return nil, tidings.Errorf(tidings.ErrInvalid, "the arguments are topics, lists of them, and one object with topics, filter, after and since")
		}
	}
	return object, nil
}

func (c *change) subscribe(ctx context.Context, s *Server, namespace string, args []json.RawMessage) error {
	object, err := c.arguments(args)
	if err != nil {
		return err
	}
	if object != nil {
		var w outlet.Wanted
		d := json.NewDecoder(bytes.NewReader(object))
		d.DisallowUnknownFields() // a misspelt filter would let everything pass
		if err := d.Decode(&w); err != nil {
			if tidings.KindOf(err) == 0 {
				err = tidings.Errorf(tidings.ErrInvalid, "the argument is not what subscribe takes: %v", err)
			}
			return err
		}
		c.topics = append(c.topics, w.Topics...)
		if len(w.Filter) > 0 {
			if c.filter, err = outlet.FilterQuery(w.Filter); err != nil {
				return err
			}
		}
		if at, explicit, err := w.Start(ctx, s.opt.Hub); err != nil {
			return err
		} else if explicit {
			c.after = &at
		}
	}
	if len(c.topics) == 0 && c.filter == nil && c.after == nil {
		return tidings.Errorf(tidings.ErrInvalid, "subscribe needs topics, as texts, a list, or an object with topics and filter")
	}
	// What is wrong with them shows here, outside of the goroutine that owns the connection.
	if len(c.topics) > 0 {
		_, err = s.query(namespace, c.to(url.Values{}))
	} else if c.filter != nil {
		_, err = outlet.Filter(c.filter)
	}
	return err
}

func (c *change) unsubscribe(args []json.RawMessage) error {
	c.remove = true
	object, err := c.arguments(args)
	if err == nil && object != nil {
		err = tidings.Errorf(tidings.ErrInvalid, "unsubscribe takes topics, as texts or a list, or nothing to end all")
	}
	return err
}

// to applies the change to what is subscribed to.
func (c *change) to(v url.Values) url.Values {
	topics := v["topic"]
	switch {
	case c.remove && len(c.topics) == 0:
		return url.Values{}
	case c.remove:
		topics = slices.DeleteFunc(topics, func(t string) bool { return slices.Contains(c.topics, t) })
		if len(topics) == 0 {
			return url.Values{}
		}
	default:
		topics = append(topics, c.topics...)
		slices.Sort(topics)
		topics = slices.Compact(topics)
	}
	if c.filter != nil {
		v = url.Values{}
		for name, values := range c.filter {
			v[name] = values
		}
	}
	v["topic"] = topics
	return v
}

// query returns the query that a query string asks for in a namespace.
func (s *Server) query(namespace string, v url.Values) (q hub.Query, err error) {
	topics := v["topic"]
	if namespace == rcNamespace {
		if len(topics) > s.opt.MaxPatterns {
			return q, tidings.Errorf(tidings.ErrInvalid, "the subscription names %d wikis and may name %d", len(topics), s.opt.MaxPatterns)
		}
		if q, err = v09.Query(topics); err == nil && len(q.Patterns) == 0 {
			err = tidings.Errorf(tidings.ErrInvalid, "no wiki can have this name")
		}
	} else {
		q.Patterns, err = outlet.Patterns(topics, s.opt.MaxPatterns)
	}
	if err != nil {
		return q, err
	}
	filter, err := outlet.Filter(v)
	q.Filter = hub.All(q.Filter, filter)
	return q, err
}

// subscribe returns a subscription for the session's transport.
func (ss *session) subscribe(sp *space, v url.Values, after tidings.Position) (*hub.Subscription, error) {
	s := ss.server
	q, err := s.query(sp.name, v)
	if err != nil {
		return nil, err
	}
	r := hub.Request{After: after, Query: q, Form: newForm(ss.transport(), sp.name, v.Encode())}
	if sp.actor != nil {
		r.Actor = *sp.actor
	}
	return outlet.Subscribe(s.opt.Hub, s.opt.Edge, r)
}

func (ss *session) transport() transport {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.ws != nil {
		return socket
	}
	return polling
}

// change applies a change where the subscription stands, and answers.
func (ss *session) change(sp *space, p packet, request string, c *change) {
	switch {
	case sp.att != nil: // on a WebSocket, where the cursor may be in use by a fetcher
		att := sp.att
		att.Swap(func() (*edge.Group, edge.Cursor) {
			sub, ok := ss.changed(sp, p, request, c)
			switch {
			case !ok:
				return nil, nil
			case sub == nil:
				sp.sub, sp.att = nil, nil
				att.Detach()
				return ss.server.group, outlet.Nothing
			}
			sp.sub = sub
			return outlet.Cursor(sub)
		})
	default:
		sub, ok := ss.changed(sp, p, request, c)
		if !ok {
			return
		}
		if sp.sub != nil {
			sp.sub.Close()
			sp.sub = nil
		}
		if sub != nil {
			ss.attach(sp, sub)
		}
	}
}

// changed returns the subscription after the change, nil for none. ok is false if everything stays as it was.
func (ss *session) changed(sp *space, p packet, request string, c *change) (sub *hub.Subscription, ok bool) {
	v, _ := url.ParseQuery(sp.query) // one that we have encoded
	v = c.to(v)
	at := ss.server.opt.Hub.Head()
	if sp.sub != nil {
		at = sp.sub.Reached()
	}
	if c.after != nil {
		at = *c.after
	}
	query := ""
	if len(v["topic"]) > 0 {
		var err error
		if sub, err = ss.subscribe(sp, v, at); err != nil {
			ss.refuse(p, request, err)
			return nil, false
		}
		query = v.Encode()
	} else if !c.remove {
		ss.refuse(p, request, tidings.Errorf(tidings.ErrInvalid, "nothing is subscribed to yet: subscribe needs topics"))
		return nil, false
	}
	sp.query = query
	now := subscribed{Topics: v["topic"], Position: at}
	if now.Topics == nil {
		now.Topics = []string{}
	}
	// The event gives the client an offset to come back with before anything was published.
	f := newForm(polling, sp.name, query)
	ss.send(message(typeEvent, sp.name, "", []any{"subscribed", now, json.RawMessage(f.appendOffset(nil, at))}))
	if p.id != "" {
		ss.send(message(typeAck, sp.name, p.id, []any{now}))
	}
	return sub, true
}

// subscribed is what a client is told of its subscription.
type subscribed struct {
	Topics   []string         `json:"topics"`
	Position tidings.Position `json:"position"`
}
