package pubsub

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	model "tidings/pubsub"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
)

// flow is what a client is pushed of a subscription: its items behind a position.
type flow struct {
	c        *client
	place    place
	query    hub.Query
	form     form
	begin    service.Mark
	audience string // of the client when the flow began
	handle   service.Handle
	detached bool
	opened   bool
	next     *flow        // which has taken its place
	at       service.Mark // where the last source stood when it ended
}

// place names a subscription of a client.
type place struct{ node, subID string }

func (p place) compare(q place) int {
	return cmp.Or(strings.Compare(p.node, q.node), strings.Compare(p.subID, q.subID))
}

// flows are those of a client in the order of their places: most have one, and would pay for a map.
type flows []*flow

func (l flows) search(p place) (int, bool) {
	return slices.BinarySearchFunc(l, p, func(f *flow, p place) int { return f.place.compare(p) })
}

// of returns the flow of a subscription, nil if there is none.
func (l flows) of(p place) *flow {
	if i, ok := l.search(p); ok {
		return l[i]
	}
	return nil
}

// put adds the flow, in the place of what was there for its subscription.
func (l *flows) put(f *flow) {
	i, ok := l.search(f.place)
	if ok {
		(*l)[i] = f
		return
	}
	*l = slices.Insert(*l, i, f)
}

func (l *flows) remove(p place) {
	if i, ok := l.search(p); ok {
		*l = slices.Delete(*l, i, i+1)
	}
}

// flowKey tells flows apart that may have different bytes.
type flowKey struct {
	form            form
	query, audience string
}

func (f *flow) Key() any           { return flowKey{f.form, f.query.String(), f.audience} }
func (f *flow) Mark() service.Mark { return f.begin }

var errChanged = tidings.Errorf(tidings.ErrForbidden, "what may be read has changed")

func (f *flow) Open(after service.Mark) (*edge.Group, service.Source, error) {
	f.at, f.opened = after, true
	s := f.c.srv
	if s.opt.Audience(f.c.who.Actor) != f.audience {
		return nil, nil, errChanged
	}
	g, src, err := wire.Open(s.opt.Hub, s.opt.Edge, hub.Request{Query: f.query, Actor: f.c.who.Actor, Form: f.form}, after, f.form.isGap)
	if err != nil {
		return nil, nil, err
	}
	return g, f.form.gather(source{src, f}), nil
}

// source notes where it stands when it ends.
type source struct {
	service.Source
	f *flow
}

func (s source) Next() ([]byte, edge.Status) {
	p, st := s.Source.Next()
	if st == edge.Ended {
		s.f.at = s.Source.Mark()
	}
	return p, st
}

// Ended begins anew where the rights of the reader have changed and the subscription stays: a pattern brings other nodes
// from then on.
func (f *flow) Ended(err error) {
	at := f.at
	if f.next != nil && f.next.opened {
		return
	}
	f.c.post(func() {
		c := f.c
		if n := f.next; n != nil && c.flows.of(f.place) == n { // it was to go on where this one stood
			f, f.detached = n, false
		}
		if f.detached {
			return
		}
		c.srv.flows.Add(-1)
		f.detached = true
		c.flows.remove(f.place)
		if err != nil && err != error(errChanged) {
			c.srv.drops.Add(DropFlow, 1, "node", f.place.node, "client", c.full, "err", err)
			return
		}
		c.reconcileFrom(f.place.node, func(*model.Subscription) service.Mark { return at })
	})
}

// reconcile makes the client's flows what its subscriptions to a node ask for, or all if node is empty. What is new begins
// behind after, or now if that is zero. It is called by who runs ops.
func (c *client) reconcile(node string, after tidings.Position) {
	from := c.srv.now
	if !after.IsZero() {
		from = func(*model.Subscription) service.Mark { return wire.MarkOf(after) }
	}
	c.reconcileFrom(node, from)
}

func (c *client) reconcileFrom(node string, from func(*model.Subscription) service.Mark) {
	subs, err := c.srv.opt.Model.Subscriptions(c.who, node)
	if err != nil {
		subs = nil
	}
	wanted := map[place]bool{}
	for i := range subs {
		sub := &subs[i]
		if !c.wants(sub) {
			continue
		}
		query, _, ok := c.srv.opt.Model.Deliverable(sub)
		if !ok {
			continue
		}
		p := place{sub.Node, sub.SubID}
		wanted[p] = true
		c.push(p, query, c.srv.form(sub, several(subs, sub)), func() service.Mark { return from(sub) })
	}
	for _, f := range slices.Clone(c.flows) {
		if (node == "" || f.place.node == node) && !wanted[f.place] {
			c.detach(f)
		}
	}
}

// several reports whether the subscriber has another subscription to the node: then notifications say which they are of.
func several(subs []model.Subscription, sub *model.Subscription) bool {
	return slices.ContainsFunc(subs, func(o model.Subscription) bool {
		return o.Node == sub.Node && o.JID == sub.JID && o.SubID != sub.SubID && o.State == model.Subscribed
	})
}

// wants reports whether notifications of the subscription go to this client.
func (c *client) wants(sub *model.Subscription) bool {
	if sub.JID != c.who.JID && !(sub.JID == c.bare && c.available) {
		return false
	}
	return sub.Options.ShowValues == nil || c.available && slices.Contains(sub.Options.ShowValues, c.show)
}

// push attaches a flow, or puts it in the place of the one that is there.
func (c *client) push(p place, query hub.Query, fm form, from func() service.Mark) {
	f := &flow{c: c, place: p, query: query, form: fm, audience: c.srv.opt.Audience(c.who.Actor)}
	old := c.flows.of(p)
	if old != nil && old.form == fm && old.query.String() == query.String() {
		return
	}
	c.flows.put(f)
	if old == nil {
		f.begin = from()
		c.srv.flows.Add(1)
		f.handle = c.peer.Attach(f)
		return
	}
	old.detached, old.next = true, f
	f.handle = old.handle
	old.handle.Swap(func(at service.Mark) service.Flow {
		f.begin = at
		return f
	})
}

func (c *client) detach(f *flow) {
	f.detached = true
	c.flows.remove(f.place)
	c.srv.flows.Add(-1)
	f.handle.Detach()
}

// arrive begins the flows of a client that has become available, and sends it the last items of the nodes that want that
// (XEP-0060 section 12.7).
func (c *client) arrive() {
	head := c.srv.opt.Hub.Head()
	c.reconcile("", head)
	subs, err := c.srv.opt.Model.Subscriptions(c.who, "")
	if err != nil {
		return
	}
	var nodes []model.Subscription
	for _, sub := range subs {
		if sub.Topic == "" || c.flows.of(place{sub.Node, sub.SubID}) == nil {
			continue
		}
		if conf := c.srv.opt.Model.Lookup(sub.Topic); conf != nil && conf.SendLast == model.SendOnSubAndPresence {
			nodes = append(nodes, sub)
		}
	}
	c.sendLast(nodes, subs, head)
}

// letIn sends the last item of a node that wants it to who waited for approval and has it (section 12.11).
func (c *client) letIn(n *model.Notification) {
	sub := n.Subscription
	if n.Was != model.Pending || n.Config == nil || n.Config.SendLast == model.SendNever || c.flows.of(place{sub.Node, sub.SubID}) == nil {
		return
	}
	if subs, err := c.srv.opt.Model.Subscriptions(c.who, sub.Node); err == nil {
		c.sendLast([]model.Subscription{sub}, subs, sub.Since)
	}
}

// sendLast sends the last items of the nodes of subscriptions, as far as they are not behind a position: those the flows bring.
func (c *client) sendLast(nodes, subs []model.Subscription, upTo tidings.Position) {
	if len(nodes) == 0 {
		return
	}
	c.peer.Task(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, requestTime)
		defer cancel()
		var b []byte
		for i := range nodes {
			b = append(b, c.last(ctx, &nodes[i], c.full, upTo, several(subs, &nodes[i]))...)
		}
		if len(b) == 0 {
			return nil
		}
		return func() {
			if !c.Closed() {
				c.srv.desk.Send(c, b)
			}
		}
	})
}

// last returns the message with the last item of a node, if it is not behind a position: then the flow brings it.
func (c *client) last(ctx context.Context, sub *model.Subscription, to jid.JID, upTo tidings.Position, several bool) []byte {
	return c.srv.last(ctx, c.who, sub, to, upTo, several)
}

func (s *Server) last(ctx context.Context, who model.Entity, sub *model.Subscription, to jid.JID, upTo tidings.Position, several bool) []byte {
	it, err := s.opt.Model.Last(ctx, who, sub.Node)
	if err != nil || it.Position.Offset > upTo.Offset {
		return nil
	}
	fm := s.form(sub, several)
	fm.digest = false
	return fm.message(to, it)
}
