package pubsub

import (
	"slices"
	"strconv"
	"sync"

	"tidings"
	model "tidings/pubsub"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// client is a peer that the service knows: it has sent something, or is available.
type client struct {
	srv   *Server
	peer  service.Peer
	who   model.Entity
	full  jid.JID
	bare  string
	queue // belongs to the goroutine that owns the peer

	mu      sync.Mutex
	ops     []func() // that wait for their turn; see post
	posting bool     // somebody runs them
	held    int      // requests that are to be answered before they run
	own     string   // the node whose subscription the client's own request changes
	over    bool     // the session has ended

	// These belong to who runs ops.
	available bool // with a priority that is not negative
	show      string
	flows     map[place]*flow
}

// place names a subscription of a client.
type place struct{ node, subID string }

// client returns what is known of the peer, and makes it known.
func (s *Server) client(p service.Peer) *client {
	s.mu.Lock()
	c := s.clients[p]
	known := c != nil
	if !known {
		full := p.JID()
		c = &client{srv: s, peer: p, full: full, bare: full.Bare().String(), who: model.Entity{Actor: actorOf(p), JID: full.String()}, flows: map[place]*flow{}}
		s.clients[p] = c
		s.byBare[c.bare] = append(s.byBare[c.bare], c)
	}
	s.mu.Unlock()
	if !known { // it may have subscriptions by its full JID from before the service was started
		c.post(func() { c.reconcile("", tidings.Position{}) })
	}
	return c
}

// clientsOf returns the clients of an address: those of a bare JID, or the one of a full JID.
func (s *Server) clientsOf(address string) []*client {
	j, err := jid.Parse(address)
	if err != nil {
		return nil // what is stored was an address when it was
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.byBare[j.Bare().String()]
	if j.IsBare() {
		return slices.Clone(all)
	}
	for _, c := range all {
		if c.full == j {
			return []*client{c}
		}
	}
	return nil
}

// post runs f, which must not block, behind what was posted before it: now, or when somebody else who runs such things has
// come to it, or when the client's request has been answered.
func (c *client) post(f func()) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	c.ops = append(c.ops, f)
	c.mu.Unlock()
	c.work()
}

func (c *client) work() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.posting {
		return
	}
	c.posting = true
	for len(c.ops) > 0 && c.held == 0 && !c.over {
		f := c.ops[0]
		c.ops[0] = nil
		if c.ops = c.ops[1:]; len(c.ops) == 0 {
			c.ops = nil
		}
		c.mu.Unlock()
		f()
		c.mu.Lock()
	}
	c.posting = false
}

// hold lets what is posted wait until release, so that an answer comes before the notices of what it answers.
func (c *client) hold() {
	c.mu.Lock()
	c.held++
	c.mu.Unlock()
}

func (c *client) release() {
	c.mu.Lock()
	c.held--
	c.own = ""
	c.mu.Unlock()
	c.work()
}

// asks notes the node whose subscription the client's request changes: it learns of that from the answer.
func (c *client) asks(node string) {
	c.mu.Lock()
	c.own = node
	c.mu.Unlock()
}

func (c *client) asked(node string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.own == node
}

// notify sends the client a notice of what has happened.
func (c *client) notify(b []byte) {
	c.srv.notices.Add(1)
	c.peer.Send(b)
}

// Presence tells the service of a presence that a session of the server has broadcast (RFC 6121 section 4). The carrier of a
// component link is sent presence by itself; it has no need for it.
func (s *Server) Presence(p service.Peer, st *stanza.Stanza) {
	if st.Type != stanza.TypeAvailable && st.Type != stanza.TypeUnavailable {
		return
	}
	available, show := st.Type == stanza.TypeAvailable, st.Child("show").Text()
	if n, err := strconv.Atoi(st.Child("priority").Text()); err == nil && n < 0 {
		available = false
	}
	if show == "" {
		show = "online"
	}
	c := s.client(p)
	c.post(func() {
		first := available && !c.available
		c.available, c.show = available, show
		if first {
			c.arrive()
			return
		}
		c.reconcile("", tidings.Position{})
	})
}

// Gone implements service.Service. The program also calls it for sessions that were only heard of by Presence.
func (s *Server) Gone(p service.Peer) {
	s.mu.Lock()
	c := s.clients[p]
	delete(s.clients, p)
	if c != nil {
		if s.byBare[c.bare] = slices.DeleteFunc(s.byBare[c.bare], func(d *client) bool { return d == c }); len(s.byBare[c.bare]) == 0 {
			delete(s.byBare, c.bare)
		}
	}
	s.mu.Unlock()
	if c == nil {
		return
	}
	c.gone = true
	c.mu.Lock()
	c.over, c.ops = true, nil
	c.mu.Unlock()
	s.leave(c)
}

// subscriber is a session that has gone, and had subscriptions of its own.
type subscriber struct {
	who  model.Entity
	subs []model.Subscription
}

// leave ends the subscriptions of a full JID.
func (s *Server) leave(c *client) {
	subs, err := s.opt.Model.Subscriptions(c.who, "")
	if err != nil {
		return
	}
	subs = slices.DeleteFunc(subs, func(x model.Subscription) bool { return x.JID != c.who.JID })
	if len(subs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.leaving = append(s.leaving, subscriber{c.who, subs})
	if len(s.leaving) == 1 {
		s.work.Go(s.unsubscribe)
	}
}

// unsubscribe ends the subscriptions of those who have left, one after the other.
func (s *Server) unsubscribe() {
	for {
		s.mu.Lock()
		x := s.leaving[0]
		s.mu.Unlock()
		for _, sub := range x.subs {
			if err := s.opt.Model.Unsubscribe(s.ctx, x.who, sub.Node, sub.JID, sub.SubID); err != nil && model.ConditionOf(err) != model.NotSubscribed {
				s.drops.Add(DropLeaving, 1, "subscriber", sub.JID, "node", sub.Node, "err", err)
			}
		}
		s.mu.Lock()
		s.leaving = s.leaving[1:]
		more := len(s.leaving) > 0
		s.mu.Unlock()
		if !more || s.ctx.Err() != nil {
			return
		}
	}
}
