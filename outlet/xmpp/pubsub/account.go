package pubsub

import (
	"context"
	"maps"
	"slices"

	"tidings"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	model "tidings/pubsub"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
)

// account is a bare JID behind a link that subscribes or asks something. What it and its resources subscribe to is pushed
// whether or not they have written.
type account struct {
	turns
	srv    *Server
	bare   string
	pushed []*pushed // belongs to whose turn it is
	uses   int       // clients, and turns that are to come; guarded by Server.mu

	returned run // of messages, to the bare JID; guarded by Server.mu
}

func (a *account) actor() tidings.Actor { return tidings.Actor{Kind: tidings.User, Name: a.bare} }

func (a *account) entity() model.Entity {
	return model.Entity{Actor: a.actor(), JID: a.bare, Service: a.srv.service()}
}

// accountOf returns the account of a bare JID, for which let has to be called. The caller holds mu.
func (s *Server) accountOf(bare string) *account {
	a := s.accounts[bare]
	if a == nil {
		a = &account{srv: s, bare: bare}
		s.accounts[bare] = a
	}
	a.uses++
	return a
}

// let forgets an account that nobody uses and that is pushed nothing.
func (s *Server) let(a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.uses--; a.uses == 0 && len(a.pushed) == 0 {
		delete(s.accounts, a.bare)
	}
}

// with runs f when it is the account's turn.
func (s *Server) with(bare string, f func(a *account)) {
	s.mu.Lock()
	a := s.accountOf(bare)
	s.mu.Unlock()
	a.post(func() {
		f(a)
		s.let(a)
	})
}

// each is with for all accounts that there are.
func (s *Server) each(f func(a *account)) {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.accounts))
	for _, a := range all {
		a.uses++
	}
	s.mu.Unlock()
	for _, a := range all {
		a.post(func() {
			f(a)
			s.let(a)
		})
	}
}

// Resume begins to push to everybody who subscribes through the service, whatever was published behind the mark and behind the
// beginning of each subscription. ok is false if there is no mark. The carrier need not be connected. At the end of ctx it
// leaves off.
func (s *Server) Resume(ctx context.Context, acknowledged service.Mark, ok bool) {
	s.suspend(true)
	from := func(sub *model.Subscription) service.Mark {
		if ok && acknowledged.Epoch == sub.Since.Epoch && acknowledged.Offset > sub.Since.Offset {
			return service.Mark{Epoch: acknowledged.Epoch, Offset: acknowledged.Offset}
		}
		return wire.MarkOf(sub.Since)
	}
	var all []string
	s.opt.Model.Through(s.service(), func(bare string) { all = append(all, bare) })
	for _, bare := range all {
		if ctx.Err() != nil {
			return
		}
		s.with(bare, func(a *account) { a.reconcile("", from) })
	}
}

// Suspend ends the pushing, until Resume: another process does it.
func (s *Server) Suspend() { s.suspend(false) }

func (s *Server) suspend(active bool) {
	s.mu.Lock()
	s.active = active
	s.mu.Unlock()
	s.each(func(a *account) {
		for _, p := range slices.Clone(a.pushed) {
			a.detach(p)
		}
	})
}

func (s *Server) isActive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

// reconcile makes what the account is pushed what its subscriptions to a node ask for, or all if node is empty. What is new
// begins where from says.
func (a *account) reconcile(node string, from func(*model.Subscription) service.Mark) {
	s := a.srv
	var subs []model.Subscription
	if s.isActive() {
		subs, _ = s.opt.Model.Subscriptions(a.entity(), node) // an error means that no node is named so
	}
	var had map[place]*pushed
	for _, p := range a.pushed {
		if node == "" || p.channel.key.node == node {
			if had == nil {
				had = map[place]*pushed{}
			}
			had[p.place()] = p
		}
	}
	for i := range subs {
		sub := &subs[i]
		query, _, ok := s.opt.Model.Deliverable(sub)
		if !ok {
			continue
		}
		key := channelKey{node: sub.Node, body: sub.Options.IncludeBody, digest: sub.Options.Digest}
		if several(subs, sub) {
			key.subID = sub.SubID
		}
		if key.audience, ok = s.audience(query, a.actor()); !ok {
			s.drops.Add(DropFlow, 1, "node", sub.Node, "client", sub.JID, "err", errChanged)
			continue
		}
		at := place{sub.Node, sub.SubID}
		a.push(had[at], sub, key, query, from)
		delete(had, at)
	}
	for _, p := range had {
		a.detach(p)
	}
}

// named is the audience of a topic's node that does not let everybody in.
const named = "+"

// audience tells those apart who may read different things of what a query asks for. ok is false for who may read nothing.
func (s *Server) audience(q hub.Query, a tidings.Actor) (audience string, ok bool) {
	topic, one := q.Patterns[0].Topic()
	switch {
	case !one:
		return s.opt.Link.AudienceOf(a, q.Patterns), true
	case s.opt.May(tidings.Actor{}, tidings.ReadAction, topic) == nil && s.opt.May(a, tidings.ReadAction, topic) == nil:
		return "", true
	}
	return named, s.opt.May(a, tidings.ReadAction, topic) == nil
}

// push pushes a subscription, in the place of what was pushed of it before, if that is not nil.
func (a *account) push(old *pushed, sub *model.Subscription, key channelKey, query hub.Query, from func(*model.Subscription) service.Mark) {
	s := a.srv
	if old != nil && old.channel.key == key && !old.channel.over.Load() {
		return
	}
	p := &pushed{account: a, subID: sub.SubID, channel: s.join(a, key, query)}
	if old != nil {
		a.pushed[slices.Index(a.pushed, old)] = p
		p.handle = old.handle
		old.past.Store(true)
		old.handle.Swap(func(at service.Mark) service.Flow {
			p.begin = at
			return p
		})
		s.quit(a, old.channel)
		return
	}
	to, err := jid.Parse(sub.JID)
	if err != nil {
		s.quit(a, p.channel) // what is stored was an address when it was
		return
	}
	a.pushed = append(a.pushed, p)
	p.begin = from(sub)
	s.flows.Add(1)
	p.handle = s.opt.Link.Peer(to).Attach(p)
}

func (a *account) detach(p *pushed) {
	if !a.drop(p) {
		return
	}
	p.handle.Detach()
}

// drop takes something out of what is pushed.
func (a *account) drop(p *pushed) bool {
	i := slices.Index(a.pushed, p)
	if i < 0 {
		return false
	}
	if a.pushed = slices.Delete(a.pushed, i, i+1); len(a.pushed) == 0 {
		a.pushed = nil
	}
	p.past.Store(true)
	a.srv.flows.Add(-1)
	a.srv.quit(a, p.channel)
	return true
}
