package pubsub

import (
	"context"
	"slices"
	"time"

	"tidings"
	wire "tidings/outlet/xmpp"
	model "tidings/pubsub"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// send sends a notice to an account's own address.
func (a *account) send(to jid.JID, content []byte) {
	a.srv.notices.Add(1)
	a.srv.opt.Link.Peer(to).Send(a.srv.notice(to, "", content))
}

// changedAbroad is subscriptionChanged behind a link, where the subscription is the service's own.
func (s *Server) changedAbroad(n *model.Notification) {
	sub, node := n.Subscription, n.Node
	changed := n.Was != sub.State
	from := s.now
	if n.Was == model.NotThere || n.Was == model.Pending { // its beginning
		from = func(*model.Subscription) service.Mark { return wire.MarkOf(sub.Since) }
	}
	to, err := jid.Parse(sub.JID)
	if err != nil {
		return
	}
	s.mu.Lock()
	asker := s.accounts[sub.Bare()]
	s.mu.Unlock()
	own := asker != nil && asker.asked(node) // until the answer says it
	s.with(sub.Bare(), func(a *account) {
		ends := sub.State != model.Subscribed
		if ends { // no item comes behind the notice
			a.reconcile(node, from)
		}
		if changed && !own {
			a.send(to, event(func(b *xmlstream.Builder) { appendSubscription(b, &sub, true) }))
		}
		if !ends {
			a.reconcile(node, from)
			a.letIn(n, to)
		}
	})
}

// letIn is that of client.
func (a *account) letIn(n *model.Notification, to jid.JID) {
	sub := n.Subscription
	if n.Was != model.Pending || n.Config == nil || n.Config.SendLast == model.SendNever {
		return
	}
	if _, _, ok := a.srv.opt.Model.Deliverable(&sub); !ok {
		return
	}
	p := a.srv.opt.Link.Peer(to)
	p.Task(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, requestTime)
		defer cancel()
		subs, err := a.srv.opt.Model.Subscriptions(a.entity(), sub.Node)
		if err != nil || !slices.ContainsFunc(subs, func(x model.Subscription) bool { return x.SubID == sub.SubID && x.State == model.Subscribed }) {
			return nil
		}
		p.Send(a.srv.last(ctx, a.entity(), &sub, to, sub.Since, several(subs, &sub)))
		return nil
	})
}

// ownersAbroad is owners behind a link. Who may be reached by several services hears of it from the one through which the
// subscription was made, or else from the one of their own server.
func (s *Server) ownersAbroad(n *model.Notification, content []byte) {
	for _, owner := range n.Owners {
		to, err := jid.Parse(owner)
		if via := n.Subscription.Service; err != nil || via != s.service() && !(via == "" && s.atHome(to)) || s.elsewhere(to) {
			continue
		}
		s.with(owner, func(a *account) { a.send(to, content) })
	}
}

// atHome reports whether an address is of the server behind the link.
func (s *Server) atHome(j jid.JID) bool { return j.Domain() == s.opt.Link.Host }

// elsewhere reports whether an address is one of the embedded server.
func (s *Server) elsewhere(j jid.JID) bool {
	return s.opt.Link.Embedded != "" && j.Domain() == s.opt.Link.Embedded
}

// affiliatedAbroad is affiliationChanged behind a link.
func (s *Server) affiliatedAbroad(bare string, content []byte) {
	to, err := jid.Parse(bare)
	if err != nil || s.elsewhere(to) {
		return
	}
	s.mu.Lock()
	known := s.accounts[bare] != nil
	s.mu.Unlock()
	if known || s.atHome(to) {
		s.with(bare, func(a *account) { a.send(to, content) })
	}
}

// recheck looks at what is pushed of patterns, to an account or to all if bare is empty, after the rules of a topic's node have
// changed: who may read more or less now goes on in another channel.
func (s *Server) recheck(n *model.Notification, bare string) {
	if n.Topic == "" {
		return
	}
	s.mu.Lock()
	var all []*account
	for a := range s.globs {
		if bare == "" || a.bare == bare {
			a.uses++
			all = append(all, a)
		}
	}
	s.mu.Unlock()
	for _, a := range all {
		a.post(func() {
			a.recheck(n)
			s.let(a)
		})
	}
}

func (a *account) recheck(n *model.Notification) {
	s := a.srv
	var nodes []string
	for _, p := range a.pushed {
		ch := p.channel
		if ch.glob() && ch.query.Patterns[0].Match(n.Topic) && s.opt.Link.AudienceOf(a.actor(), ch.query.Patterns) != ch.key.audience {
			nodes = append(nodes, ch.key.node)
		}
	}
	for _, node := range nodes {
		a.reconcile(node, s.now)
	}
}

// presenceAbroad ends what a resource subscribes to by its full JID when it has gone.
func (s *Server) presenceAbroad(st *stanza.Stanza) {
	if st.Type == stanza.TypeUnavailable && !st.From.IsBare() {
		s.leave(s.entityOf(st.From), func(*model.Subscription) bool { return true })
	}
}

func (s *Server) entityOf(j jid.JID) model.Entity {
	return model.Entity{Actor: tidings.Actor{Kind: tidings.User, Name: j.Bare().String()}, JID: j.String(), Service: s.service()}
}

// without are the errors that say of a full JID that there is no such resource: RFC 6121 section 8.5.3.2 and XEP-0060 section
// 12.4. A server that is not reached says nothing of it.
var without = map[string]bool{"gone": true, "item-not-found": true, "recipient-unavailable": true, "service-unavailable": true}

// maxReturned is for how many days in a row messages to a bare JID have to come back for its subscriptions to end.
const maxReturned = 7

// run is the days in a row, counted since 1970, on which messages came back.
type run struct{ first, last int32 }

// returned takes a notification that came back from an address behind a link, and ends its subscriptions if nobody is there.
// What comes back from a bare JID says little of the account: service-unavailable is an account without a session, at servers
// that keep nothing for it, and other errors pass. Only gone (RFC 6120 section 8.3.3.5) is for ever; that there is no such
// account or server has to be said for days.
func (s *Server) returned(st *stanza.Stanza) {
	e := st.Err()
	there := true
	switch {
	case !st.From.IsBare():
		there = !without[e.Condition]
	case e.Condition == "gone":
		there = false
	case e.Type == stanza.Cancel && (e.Condition == "item-not-found" || e.Condition == "remote-server-not-found"):
		there = !s.countReturned(st.From.String())
	}
	if there {
		return
	}
	// Of a message from before the subscription was made, the id says so.
	at, err := tidings.ParsePosition(st.ID)
	s.leave(s.entityOf(st.From), func(sub *model.Subscription) bool {
		return err != nil || at.Epoch != sub.Since.Epoch || at.Offset > sub.Since.Offset
	})
}

// countReturned reports whether messages to a bare JID have come back for long enough.
func (s *Server) countReturned(bare string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[bare]
	if a == nil {
		return false
	}
	r, day := &a.returned, int32(time.Now().Unix()/(24*60*60))
	switch day {
	case r.last:
	case r.last + 1:
		r.last = day
	default:
		*r = run{day, day}
	}
	return r.last-r.first >= maxReturned
}
