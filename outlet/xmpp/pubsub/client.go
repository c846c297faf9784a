package pubsub

import (
	"slices"
	"strconv"
	"strings"

	"tidings"
	"tidings/outlet/xmpp/requests"
	model "tidings/pubsub"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// client is a peer that the service knows: it has sent something, or is available.
type client struct {
	srv            *Server
	peer           service.Peer
	who            model.Entity
	full           jid.JID
	bare           string
	account        *account // behind a link
	requests.Queue          // belongs to the goroutine that owns the peer

	*turns // its own; behind a link those of its account

	// These belong to whose turn it is. Behind a link nothing is known of them.
	available bool // with a priority that is not negative
	show      string
	flows     flows
}

// Peer, Begin and End implement requests.Client: an answer comes before the notices of what it answers.
func (c *client) Peer() service.Peer { return c.peer }
func (c *client) Begin()             { c.hold() }
func (c *client) End()               { c.release() }

// client returns what is known of the peer, and makes it known.
func (s *Server) client(p service.Peer) *client {
	s.mu.Lock()
	c := s.clients[p]
	known := c != nil
	if !known {
		full := p.JID()
		address := full.String()
		bare, _, _ := strings.Cut(address, "/")
		c = &client{srv: s, peer: p, full: full, bare: bare, who: model.Entity{Actor: requests.ActorOf(p, s.opt.Link != nil), JID: address, Service: s.service()}}
		s.clients[p] = c
		if s.opt.Link != nil {
			c.account = s.accountOf(c.bare)
			c.turns = &c.account.turns
		} else {
			c.turns = &turns{}
			s.byBare[c.bare] = append(s.byBare[c.bare], c)
		}
	}
	if c.account != nil {
		c.account.returned = run{} // somebody is there
	}
	s.mu.Unlock()
	if !known && c.account == nil { // it may have subscriptions by its full JID from before the service was started
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
	s.desk.Close(c)
	if c.account != nil { // what it subscribes to stays until messages come back
		s.let(c.account)
		return
	}
	c.post(func() {
		s.flows.Add(-int64(len(c.flows)))
		c.flows = nil
		c.end()
	})
	s.leave(c.who, func(*model.Subscription) bool { return true })
}

// subscriber is an address that has gone, and had subscriptions of its own.
type subscriber struct {
	who  model.Entity
	subs []model.Subscription
}

// leave ends those of the subscriptions of an address that f is true for.
func (s *Server) leave(who model.Entity, f func(*model.Subscription) bool) {
	subs, err := s.opt.Model.Subscriptions(who, "")
	if err != nil {
		return
	}
	subs = slices.DeleteFunc(subs, func(x model.Subscription) bool { return x.JID != who.JID || !f(&x) })
	if len(subs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.leaving = append(s.leaving, subscriber{who, subs})
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
