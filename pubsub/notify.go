package pubsub

import (
	"slices"
	"time"

	"tidings"
)

// Event says what a Notification is of.
type Event uint8

// The events. Items are not among them: those come from the hub.
const (
	// NodeCreated: the node was created, or a topic was configured for the first time.
	NodeCreated Event = iota + 1
	// NodeConfigured: Config is the new configuration (section 8.2.5). Subscriptions are who is to be told, if the node
	// has notify_config set.
	NodeConfigured
	// NodePurged: all items are gone (section 8.5). Subscriptions are who is to be told, if the node has notify_retract set.
	NodePurged
	// NodeDeleted: the node is gone (section 8.4), and Subscriptions have ended with it: they are to be told, if Config has
	// notify_delete set, and of the URI in Redirect, if it is not empty. No SubscriptionChanged follows.
	NodeDeleted
	// SubscriptionChanged: Subscription is as it is now, State none if it has ended, and had the state Was. Whoever made
	// the change, the subscriber is to be told of it (sections 6.1.6, 8.6, 8.8.4 and 12.18), and the Owners as well, if
	// the node has notify_sub set. Subscription.Options may have changed too.
	SubscriptionChanged
	// SubscriptionRequested: Subscription waits for one of the Owners to approve it (section 8.6).
	SubscriptionRequested
	// AffiliationChanged: Affiliated is as it is now (section 8.9.4).
	AffiliationChanged
)

// Notification is what the model tells its listeners, in every process on the same journal.
type Notification struct {
	Event         Event
	Node          string
	Topic         tidings.Topic // "" for a pattern
	Config        *Config       // of the node; nil where it has none of its own
	Redirect      string
	Subscriptions []Subscription
	Subscription  Subscription
	Was           State
	Affiliated    Affiliated
	Owners        []string // bare JIDs
}

// entry takes in an entry of the store, or its removal if value is nil.
func (s *Service) entry(key string, value []byte) {
	s.telling.Lock()
	defer s.telling.Unlock()
	isNode, num, ok := parseKey(key)
	if !ok {
		s.noteMalformed(key, nil)
		return
	}
	var c change
	if isNode {
		c = s.nodeEntry(key, value)
	} else {
		c = s.shardEntry(key, num, value)
	}
	if !s.opened {
		return
	}
	if c.rights {
		s.opt.Policy.NodesChanged(c.withdrawn...)
	}
	for _, n := range c.tell {
		for _, f := range s.listeners {
			f(n)
		}
	}
}

// change is what an entry of the store has changed.
type change struct {
	rights    bool // of somebody to read
	withdrawn []tidings.Topic
	tell      []Notification
}

func (s *Service) noteMalformed(key string, err error) {
	s.mu.Lock()
	s.malformed++
	total := s.malformed
	s.mu.Unlock()
	if total <= 10 || total%1000 == 0 {
		s.opt.Logger.Warn("pubsub: an entry of the store cannot be read", "reason", "malformed", "key", key, "err", err, "total", total)
	}
}

// sealed is a node whose entry cannot be read: nobody is let in by accident.
var sealed = &stored{life: 1, config: &Config{AccessModel: AccessWhitelist, PublishModel: ByPublishers, NotificationType: "normal",
	SendLast: SendNever, ItemReply: "publisher", WhenFull: DiscardOldest}}

func (s *Service) nodeEntry(key string, value []byte) (c change) {
	var name string
	var st *stored
	if value != nil {
		var err error
		name, st, err = decodeNode(value)
		if err == nil && nodeKey(name) != key {
			err = errName
		}
		if err != nil {
			s.noteMalformed(key, err)
			name, st = "", sealed
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if name = s.nameOf(key, name); name == "" {
		return c
	}
	n := s.get(name)
	was := s.setStored(n, st)
	s.items.forget(name, was, st)
	if !s.opened || was == nil && st == nil {
		return c
	}
	return s.nodeChange(n, was, st)
}

// nodeChange compares a node with what it was. The caller holds mu.
func (s *Service) nodeChange(n *node, was, is *stored) (c change) {
	node, topic := nodeOf(n.name)
	base := Notification{Node: node, Topic: topic}
	lived, lives := was != nil && !was.deleted, is != nil && !is.deleted
	now := time.Now()
	if lived && (!lives || is.life != was.life) {
		d := base
		d.Event, d.Config = NodeDeleted, was.config
		if is != nil && is.deleted {
			d.Redirect = is.redirect
		}
		d.Subscriptions = s.under(n, was, now)
		c.tell = append(c.tell, d)
		lived = false // what there is now, if anything, is another node
	}
	if lives {
		base.Config, base.Owners = is.config, is.owners()
	}
	var changes []Notification
	if lives && lived && (was.config.AccessModel != is.config.AccessModel || !slices.Equal(was.affiliations, is.affiliations)) {
		changes = s.stateChanges(n, base, was, is)
	}
	switch {
	case lives && !lived:
		created := base
		created.Event = NodeCreated
		c.tell = append(c.tell, created)
	case lives && !was.config.equal(is.config):
		c.tell = append(c.tell, changes...) // so that who is let in begins where that says
		changes = nil
		d := base
		d.Event = NodeConfigured
		d.Subscriptions = s.under(n, is, now)
		c.tell = append(c.tell, d)
	}
	if lives && lived && is.floor > was.floor {
		d := base
		d.Event = NodePurged
		d.Subscriptions = s.under(n, is, now)
		c.tell = append(c.tell, d)
	}
	if lives && lived {
		c.tell = append(c.tell, affiliationChanges(base, was, is)...)
		c.tell = append(c.tell, changes...)
	}
	switch {
	case was == nil:
		c.rights = is.config.AccessModel != AccessOpen || is.floor > 0 || slices.ContainsFunc(is.affiliations, func(a affiliation) bool { return !a.is.inside() })
	case is == nil:
		c.rights = true
	default:
		c.rights = was.deleted != is.deleted || was.life != is.life || was.floor != is.floor ||
			was.config.AccessModel != is.config.AccessModel || !slices.Equal(was.affiliations, is.affiliations)
	}
	// Who loses an affiliation has had an audience of its own, which ends. What everybody loses is in the tails of all.
	if is != nil && (was == nil && is.life == 0 || lives && lived && was.config.AccessModel == AccessOpen && is.config.AccessModel != AccessOpen ||
		was != nil && is.floor > was.floor) {
		c.withdrawn = []tidings.Topic{topic}
	}
	return c
}

// under returns the subscriptions of the node as the rules let them be. The caller holds mu.
func (s *Service) under(n *node, st *stored, now time.Time) (out []Subscription) {
	for i := range n.shards {
		sh := &n.shards[i]
		for j := range sh.subs {
			x := &sh.subs[j]
			if x.expires != 0 && x.expires <= now.Unix() {
				continue
			}
			if is := st.admits(sh.life, x.entity.jid, x.state); is != NotThere {
				out = append(out, s.subscription(n, x, is))
			}
		}
	}
	return out
}

// stateChanges returns what other rules make of the node's subscriptions. The caller holds mu.
func (s *Service) stateChanges(n *node, base Notification, was, is *stored) (out []Notification) {
	for i := range n.shards {
		sh := &n.shards[i]
		for j := range sh.subs {
			x := &sh.subs[j]
			before, now := was.admits(sh.life, x.entity.jid, x.state), is.admits(sh.life, x.entity.jid, x.state)
			if before != now {
				c := s.changed(base, n, x, before, now)
				if before == Pending && now == Subscribed { // it begins now; settle writes that down
					c.Subscription.Since = s.head()
				}
				out = append(out, c)
			}
		}
	}
	return out
}

func (s *Service) changed(base Notification, n *node, x *sub, was, is State) Notification {
	base.Event = SubscriptionChanged
	if is == Pending && was != Pending {
		base.Event = SubscriptionRequested
	}
	base.Subscription, base.Was = s.subscription(n, x, is), was
	return base
}

func affiliationChanges(base Notification, was, is *stored) (out []Notification) {
	tell := func(jid string, now Affiliation) {
		n := base
		n.Event = AffiliationChanged
		n.Affiliated = Affiliated{Node: base.Node, JID: jid, Affiliation: now}
		out = append(out, n)
	}
	for _, a := range was.affiliations {
		if is.of(a.jid) == None {
			tell(a.jid, None)
		}
	}
	for _, a := range is.affiliations {
		if was.of(a.jid) != a.is {
			tell(a.jid, a.is)
		}
	}
	return out
}

func (s *Service) shardEntry(key string, num int, value []byte) (c change) {
	s.mu.Lock()
	n, was, is, err := s.setShard(key, num, value)
	if n == nil || !s.opened {
		s.mu.Unlock()
		if err != nil {
			s.noteMalformed(key, err)
		}
		return c
	}
	node, topic := nodeOf(n.name)
	base := Notification{Node: node, Topic: topic}
	if n.alive() {
		base.Config, base.Owners = n.stored.config, n.stored.owners()
	}
	old := make(map[uint64]*sub, len(was.subs))
	for i := range was.subs {
		old[was.subs[i].id] = &was.subs[i]
	}
	for i := range is.subs {
		x := &is.subs[i]
		now, before := n.stored.admits(is.life, x.entity.jid, x.state), NotThere
		o := old[x.id]
		delete(old, x.id)
		if o != nil {
			before = n.stored.admits(was.life, o.entity.jid, o.state)
		}
		if before != now || o != nil && now != NotThere && (o.expires != x.expires || o.options.text() != x.options.text()) {
			c.tell = append(c.tell, s.changed(base, n, x, before, now))
		}
	}
	for i := range was.subs {
		if o := old[was.subs[i].id]; o != nil {
			if before := n.stored.admits(was.life, o.entity.jid, o.state); before != NotThere {
				c.tell = append(c.tell, s.changed(base, n, o, before, NotThere))
			}
		}
	}
	// Where subscriptions are approved, they open the node.
	c.rights = len(c.tell) > 0 && n.alive() && n.stored.config.AccessModel == AccessAuthorize
	if at := s.leases.next[subRef{n, num}]; at != 0 {
		s.wake(at)
	}
	s.mu.Unlock()
	if err != nil {
		s.noteMalformed(key, err)
	}
	return c
}
