package pubsub

import (
	"tidings"
	model "tidings/pubsub"
	"tidings/xmpp/dataform"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// hear takes what the model tells. It does not block.
func (s *Server) hear(n model.Notification) {
	if s.opt.Link != nil && !s.isActive() {
		return
	}
	switch n.Event {
	case model.NodeCreated:
		s.recheck(&n, "")
	case model.NodeConfigured:
		if n.Config.NotifyConfig {
			s.tell(&n, func(b *xmlstream.Builder) {
				b.Open("configuration", "node", n.Node)
				if n.Config.DeliverPayloads {
					b.Raw(formOf(dataform.TypeResult, formConfig, n.Config.Fields()).Append(nil))
				}
				b.Close()
			})
		}
		s.reconcile(&n)
		s.recheck(&n, "")
	case model.NodePurged:
		if n.Config.NotifyRetract {
			s.tell(&n, func(b *xmlstream.Builder) { b.Empty("purge", "node", n.Node) })
		}
	case model.NodeDeleted:
		s.reconcile(&n) // no item comes behind the notice
		if n.Config.NotifyDelete {
			s.tell(&n, func(b *xmlstream.Builder) {
				b.Open("delete", "node", n.Node)
				if n.Redirect != "" {
					b.Empty("redirect", "uri", n.Redirect)
				}
				b.Close()
			})
		}
		s.recheck(&n, "")
	case model.SubscriptionChanged:
		s.subscriptionChanged(&n)
		s.recheck(&n, n.Subscription.Bare())
	case model.SubscriptionRequested:
		s.requested(&n)
	case model.AffiliationChanged:
		s.affiliationChanged(&n)
		s.recheck(&n, n.Affiliated.JID)
	}
}

// event is a message with the element event; f appends what is in it.
func event(f func(b *xmlstream.Builder)) []byte {
	var b xmlstream.Builder
	b.Open("event", "xmlns", nsEvent)
	f(&b)
	return b.Close().Bytes()
}

// notice appends a message of the service's to an address. typ may be empty.
func (s *Server) notice(to jid.JID, typ string, content []byte) []byte {
	b := stanza.AppendStart(nil, stanza.Message, typ, stream.NewID(), s.domain, to)
	return stanza.AppendEnd(append(b, content...), stanza.Message)
}

// tell sends a notice to the subscribers that a notification names, each of their sessions once.
func (s *Server) tell(n *model.Notification, f func(b *xmlstream.Builder)) {
	content, typ := event(f), ""
	if n.Config.NotificationType == "headline" {
		typ = stanza.TypeHeadline
	}
	if s.opt.Link != nil {
		s.tellAbroad(n, typ, content)
		return
	}
	told := map[*client]bool{}
	for i := range n.Subscriptions {
		sub := n.Subscriptions[i]
		if sub.Service != "" || !sub.Options.Deliver || !hears(&sub, n) {
			continue
		}
		for _, c := range s.clientsOf(sub.JID) {
			if told[c] {
				continue
			}
			told[c] = true
			c.post(func() {
				if c.wants(&sub) {
					c.notify(s.notice(c.full, typ, content))
				}
			})
		}
	}
}

// hears reports whether a subscription is one that is told. Of its node's end also who waits for approval hears (section 8.4.2).
func hears(sub *model.Subscription, n *model.Notification) bool {
	return sub.State == model.Subscribed || sub.State == model.Pending && n.Event == model.NodeDeleted
}

// reconcile has the subscribers that a notification names make their flows what is asked for now.
func (s *Server) reconcile(n *model.Notification) {
	node := n.Node
	for i := range n.Subscriptions {
		if sub := &n.Subscriptions[i]; sub.Service != s.service() {
			continue
		} else if s.opt.Link != nil {
			s.with(sub.Bare(), func(a *account) { a.reconcile(node, s.now) })
			continue
		}
		for _, c := range s.clientsOf(n.Subscriptions[i].JID) {
			c.post(func() { c.reconcile(node, tidings.Position{}) })
		}
	}
}

// subscriptionChanged tells the subscriber what its subscription is, and the owners where they want to know (sections 8.8.4
// and 12.21), and begins or ends its flow.
func (s *Server) subscriptionChanged(n *model.Notification) {
	sub, node := n.Subscription, n.Node
	changed := n.Was != sub.State
	content := event(func(b *xmlstream.Builder) { appendSubscription(b, &sub, true) })
	if changed && n.Config != nil && n.Config.NotifySub {
		defer s.owners(n, content)
	}
	switch {
	case sub.Service != s.service():
		return
	case s.opt.Link != nil:
		s.changedAbroad(n)
		return
	}
	after := tidings.Position{}
	if n.Was == model.NotThere || n.Was == model.Pending { // its beginning
		after = sub.Since
	}
	bare, _ := jid.Parse(sub.JID)
	for _, c := range s.clientsOf(bare.Bare().String()) { // by its other subscriptions a client may have to be told SubIDs
		own := c.asked(node)
		c.post(func() {
			ends := sub.State != model.Subscribed
			if ends { // no item comes behind the notice
				c.reconcile(node, after)
			}
			if changed && !own && (sub.JID == c.who.JID || sub.JID == c.bare && c.available) {
				c.notify(s.notice(c.full, "", content))
			}
			if !ends {
				c.reconcile(node, after)
				c.letIn(n)
			}
		})
	}
}

// owners sends a notice to the sessions of a node's owners.
func (s *Server) owners(n *model.Notification, content []byte) {
	if s.opt.Link != nil {
		s.ownersAbroad(n, content)
		return
	}
	for _, owner := range n.Owners {
		for _, c := range s.clientsOf(owner) {
			c.post(func() {
				if c.available {
					c.notify(s.notice(c.full, "", content))
				}
			})
		}
	}
}

// affiliationChanged tells an account what its affiliation is (section 8.9.4).
func (s *Server) affiliationChanged(n *model.Notification) {
	content := envelope(model.NS, func(b *xmlstream.Builder) {
		b.Open("affiliations", "node", n.Node)
		b.Empty("affiliation", "jid", n.Affiliated.JID, "affiliation", string(n.Affiliated.Affiliation))
		b.Close()
	})
	if s.opt.Link != nil {
		s.affiliatedAbroad(n.Affiliated.JID, content)
		return
	}
	for _, c := range s.clientsOf(n.Affiliated.JID) {
		c.post(func() {
			if c.available {
				c.notify(s.notice(c.full, "", content))
			}
		})
	}
}
