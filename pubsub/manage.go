package pubsub

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"tidings"
)

// NodeSubscriptions returns the subscriptions of a node or a pattern to its owners (section 8.8.1), sorted by JID; those
// of patterns to administrators. Errors: nodeid-required, item-not-found, forbidden.
func (s *Service) NodeSubscriptions(ctx context.Context, who Entity, node string) ([]Subscription, error) {
	p, _, err := s.managed(ctx, who, node)
	if err != nil {
		return nil, err
	}
	return s.subscriptionsAt(p.name()), nil
}

// managed is owned for a place whose subscriptions are looked at.
func (s *Service) managed(ctx context.Context, who Entity, node string) (place, *stored, error) {
	p, err := placeOf(node)
	if err != nil {
		return p, nil, err
	}
	if p.isPattern() {
		if !s.isAdmin(who, "") {
			err = errorf(Forbidden, "", "only an administrator may see who subscribes to the pattern %s", node)
		}
		return p, nil, err
	}
	_, st, err := s.owned(ctx, who, node)
	return p, st, err
}

func (s *Service) subscriptionsAt(name string) (out []Subscription) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := s.nodes[name]; n != nil {
		n.each(time.Now(), func(_ *shard, x *sub, is State) { out = append(out, s.subscription(n, x, is)) })
	}
	sortSubscriptions(out)
	return out
}

// Subscribers returns the subscriptions to a topic's own node, those that are pending left out. It answers from memory,
// for those who deliver to them.
func (s *Service) Subscribers(topic tidings.Topic) []Subscription {
	return slices.DeleteFunc(s.subscriptionsAt(string(topic)), func(x Subscription) bool { return x.State != Subscribed })
}

// SetSubscriptions changes the states of subscriptions of a node (section 8.8.2): those given, and no others. subscribed
// approves a pending one, or subscribes a JID with the default options; none ends it. A SubID may be empty: then all of
// the JID's are meant. Errors: those of NodeSubscriptions, bad-request for a JID that is none; and a
// *RejectedError if some of the changes cannot be made, whereas the others were.
func (s *Service) SetSubscriptions(ctx context.Context, who Entity, node string, changes []Subscription) error {
	p, st, err := s.managed(ctx, who, node)
	if err != nil {
		return err
	}
	for _, c := range changes {
		if err := checkJID(c.JID); err != nil {
			return err
		}
	}
	var rejected *RejectedError
	for _, c := range changes {
		err := s.setState(ctx, who, p, st, c)
		if err == nil {
			continue
		}
		if ConditionOf(err) == "" && tidings.KindOf(err) == tidings.ErrUnavailable {
			return err
		}
		if rejected == nil {
			rejected = &RejectedError{Err: err}
		}
		as := Subscription{JID: c.JID, SubID: c.SubID, State: NotThere}
		for _, x := range s.own(p.name(), bareOf(c.JID)) {
			if x.JID == c.JID && (c.SubID == "" || x.SubID == c.SubID) {
				as = x.Subscription
				break
			}
		}
		rejected.Subscriptions = append(rejected.Subscriptions, as)
	}
	if rejected != nil {
		return rejected
	}
	return nil
}

func (s *Service) setState(ctx context.Context, who Entity, p place, st *stored, c Subscription) error {
	if c.State != Subscribed && c.State != NotThere && c.State != Pending {
		return errorf(NotAcceptable, "", "%.40q is no state of a subscription", c.State)
	}
	name, bare := p.name(), bareOf(c.JID)
	m := s.lock(name, bare)
	own := slices.DeleteFunc(s.own(name, bare), func(x ownSub) bool { return x.JID != c.JID || c.SubID != "" && x.SubID != c.SubID })
	defer func() {
		if m != nil {
			m.Unlock()
		}
	}()
	if len(own) == 0 && (c.SubID != "" || c.State == Pending) {
		return errorf(NotAcceptable, "", "%s has no such subscription to %s", c.JID, p.node)
	}
	for _, x := range own {
		switch {
		case x.State == c.State:
		case c.State == Pending:
			return errorf(NotAcceptable, "", "the subscription of %s to %s is approved already", c.JID, p.node)
		default:
			if err := s.change(ctx, name, x, func(r *record) bool {
				s.approve(r)
				return c.State == Subscribed
			}); err != nil {
				return err
			}
		}
	}
	if len(own) > 0 || c.State == NotThere {
		return nil
	}
	if st.of(bare) == Outcast || st.of(bare) == PublishOnly || st != nil && st.config.AccessModel == AccessWhitelist && !st.of(bare).inside() {
		return errorf(NotAcceptable, "", "%s may not subscribe to %s: change the affiliation first", bare, p.node)
	}
	m.Unlock()
	m = nil
	o := builtinOptions
	service := who.Service
	if domainOf(bare) == s.opt.Domain { // whom nobody else's server reaches
		service = ""
	}
	_, err := s.subscribe(ctx, p, st, c.JID, service, Subscribed, &o)
	return err
}

// approve lets a pending subscription in: it begins now.
func (s *Service) approve(r *record) { r.state, r.since = Subscribed, s.head().Offset }

// PendingNodes returns the names of the nodes whose subscriptions the entity may approve and where some wait (section 8.7.2),
// sorted: of those that it owns; to an administrator, of all. Errors: forbidden for who may approve none.
func (s *Service) PendingNodes(who Entity) (out []string, err error) {
	bare, now, may := who.bare(), time.Now(), s.isAdmin(who, "")
	all := may
	s.mu.RLock()
	defer s.mu.RUnlock()
	look := func(n *node) {
		may = true
		waits := false
		n.each(now, func(_ *shard, _ *sub, is State) { waits = waits || is == Pending })
		if waits {
			name, _ := nodeOf(n.name)
			out = append(out, name)
		}
	}
	if all {
		for _, n := range s.nodes {
			if n.alive() {
				look(n)
			}
		}
	} else if e := s.entities[bare]; bare != "" && e != nil {
		for _, n := range e.affiliated {
			if n.alive() && n.stored.of(bare) == Owner {
				look(n)
			}
		}
	}
	if !may {
		return nil, errorf(Forbidden, "", "only owners of nodes may approve subscriptions")
	}
	slices.Sort(out)
	return out, nil
}

// Pending returns the subscriptions of a node that wait for approval, to its owners (section 8.7.3), sorted by JID.
// Errors: those of NodeSubscriptions.
func (s *Service) Pending(ctx context.Context, who Entity, node string) ([]Subscription, error) {
	subs, err := s.NodeSubscriptions(ctx, who, node)
	return slices.DeleteFunc(subs, func(x Subscription) bool { return x.State != Pending }), err
}

// Approve lets a pending subscription in, or refuses it (section 8.6). subID may be empty, since a JID has one
// subscription that is pending. Errors: those of NodeSubscriptions, and not-subscribed if none is pending, as when another
// owner was first.
func (s *Service) Approve(ctx context.Context, who Entity, node, jid, subID string, allow bool) error {
	p, _, err := s.managed(ctx, who, node)
	if err != nil {
		return err
	}
	if err := checkJID(jid); err != nil {
		return err
	}
	defer s.lock(p.name(), bareOf(jid)).Unlock()
	for _, x := range s.own(p.name(), bareOf(jid)) {
		if x.JID == jid && x.State == Pending && (subID == "" || subID == x.SubID) {
			return s.change(ctx, p.name(), x, func(r *record) bool {
				s.approve(r)
				return allow
			})
		}
	}
	return errorf(UnexpectedRequest, NotSubscribed, "no subscription of %s to %s waits for approval", jid, p.node)
}

// newSubID returns an identifier that fits ten digits and letters.
func newSubID() uint64 { return rand.Uint64()>>13 + 1 }
