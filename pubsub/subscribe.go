package pubsub

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/hub"
)

// Subscribe subscribes a JID to a node or a pattern (section 6.1), with the default options changed by the fields given
// (section 6.3.8). The subscription is pending where an owner has to approve it. A JID that has a subscription with the
// same options gets that one, its lease renewed; with others, it has one more, told apart by its SubID (section 6.1.6).
//
// The JID's bare form must be the entity's; the anonymous subscribe by their full JID, to what everybody may read.
// Errors: nodeid-required, jid-required, invalid-jid, item-not-found, gone, forbidden, closed-node, pending-subscription,
// unsupported subscribe, too-many-subscriptions, invalid-options.
func (s *Service) Subscribe(ctx context.Context, who Entity, node, jid string, options Values) (Subscription, error) {
	p, err := placeOf(node)
	if err != nil {
		return Subscription{}, err
	}
	if err := checkJID(jid); err != nil {
		return Subscription{}, err
	}
	if bareOf(jid) != bareOf(who.JID) || who.Actor.Kind == tidings.Anonymous && jid != who.JID {
		return Subscription{}, errorf(BadRequest, InvalidJID, "%s cannot subscribe %s", who.JID, jid)
	}
	var st *stored
	if !p.isPattern() {
		if st, err = s.find(ctx, p.topic); err != nil {
			return Subscription{}, err
		}
	}
	o := builtinOptions
	if err := s.setOptions(&o, options); err != nil {
		return Subscription{}, err
	}
	state, err := s.admit(who, p, st)
	if err != nil {
		return Subscription{}, err
	}
	return s.subscribe(ctx, p, st, jid, who.Service, state, &o)
}

// setOptions changes options by the fields of a form, within the service's limits.
func (s *Service) setOptions(o *SubOptions, values Values) error {
	if err := o.Set(values); err != nil {
		return err
	}
	if o.Expires.IsZero() {
		return nil
	}
	now := time.Now()
	if !o.Expires.After(now) {
		return errorf(BadRequest, InvalidOptions, "pubsub#expire: the time is over")
	}
	if longest := now.Add(s.opt.MaxLease).UTC().Truncate(time.Second); o.Expires.After(longest) { // section 12.18
		o.Expires = longest
	}
	return nil
}

// admit returns the state that a subscription of the entity begins in.
func (s *Service) admit(who Entity, p place, st *stored) (State, error) {
	if p.isPattern() {
		return Subscribed, nil // what it brings is judged item by item
	}
	bare := who.bare()
	if st == nil {
		return Subscribed, s.mustRead(who, p.topic, nil)
	}
	is := st.of(bare)
	if is == Outcast || is == PublishOnly {
		return NotThere, errorf(Forbidden, "", "%s may not subscribe to the node %s", bare, p.node)
	}
	if !st.config.Subscribe {
		return NotThere, unsupported("subscribe", "the node %s takes no subscriptions", p.node)
	}
	switch {
	case is.inside():
		return Subscribed, nil
	case st.config.AccessModel == AccessWhitelist:
		return NotThere, errorf(NotAllowed, ClosedNode, "the node %s is open to its members only", p.node)
	case st.config.AccessModel == AccessAuthorize && bare == "":
		return NotThere, errorf(Forbidden, "", "subscriptions to the node %s are approved for accounts only", p.node)
	case st.config.AccessModel == AccessAuthorize:
		return Pending, nil
	}
	return Subscribed, s.mustRead(who, p.topic, st)
}

// subscribe stores a subscription, or returns the one that is there.
func (s *Service) subscribe(ctx context.Context, p place, st *stored, jid, service string, state State, o *SubOptions) (Subscription, error) {
	name, bare := p.name(), bareOf(jid)
	defer s.lock(name, bare).Unlock()
	own := s.own(name, bare)
	here := 0
	num := -1
	for _, x := range own {
		num = x.shard
		here++
		if x.JID != jid || x.Service != service {
			continue
		}
		if x.State == Pending {
			return Subscription{}, errorf(NotAuthorized, PendingSubscription, "the subscription of %s to %s waits for an owner's approval", jid, p.node)
		}
		switch old := x.Options; {
		case old.text() != o.text():
		case old.Expires.Equal(o.Expires):
			return x.Subscription, nil
		case !old.Expires.IsZero() && !o.Expires.IsZero(): // a lease is renewed
			if err := s.change(ctx, name, x, func(r *record) bool {
				r.expires = o.Expires.Unix()
				return true
			}); err != nil {
				return Subscription{}, err
			}
			renewed := x.Subscription
			renewed.Options = o
			return renewed, nil
		}
	}
	s.mu.RLock()
	places, count := 0, 0
	if e := s.entities[bare]; e != nil {
		places = len(e.subscribed)
	}
	if n := s.nodes[name]; n != nil {
		count = n.count()
	}
	s.mu.RUnlock()
	if here >= s.opt.MaxPerNode || here == 0 && places >= s.opt.MaxSubscriptions {
		return Subscription{}, errorf(PolicyViolation, TooManySubscriptions, "%s has %d subscriptions to %s, and subscribes to %d nodes: no more are taken", bare, here, p.node, places)
	}
	if num < 0 {
		num = shardFor(bare, count)
	}
	r := record{jid: []byte(jid), id: newSubID(), state: state, since: s.head().Offset, options: []byte(o.text()), service: []byte(service)}
	if !o.Expires.IsZero() {
		r.expires = o.Expires.Unix()
	}
	if err := s.updateShard(ctx, name, lives(st), num, func(recs []record) ([]record, error) { return append(recs, r), nil }); err != nil {
		return Subscription{}, err
	}
	id := strconv.FormatUint(r.id, 36)
	for _, x := range s.own(name, bare) {
		if x.SubID == id {
			return x.Subscription, nil
		}
	}
	// Withdrawn between: the node is gone, or closed to the JID.
	return Subscription{}, errorf(Forbidden, "", "%s may not subscribe to %s any more", jid, p.node)
}

// ownSub is a subscription and the shard it is in.
type ownSub struct {
	Subscription
	shard int
	life  uint64
	id    uint64
}

// own returns the subscriptions that a bare JID has at a place.
func (s *Service) own(name, bare string) (out []ownSub) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.nodes[name]
	if n == nil {
		return nil
	}
	s.entities[bare].eachOf(n, time.Now(), func(sh *shard, x *sub, is State) {
		out = append(out, ownSub{s.subscription(n, x, is), sh.num, sh.life, x.id})
	})
	return out
}

// pick returns the one subscription of the JID that a request to a service means. Errors: those of sections 6.2.3 and 6.3.4.
func (s *Service) pick(name, service, jid, subID string) (ownSub, error) {
	own := slices.DeleteFunc(s.own(name, bareOf(jid)), func(x ownSub) bool { return x.JID != jid || x.Service != service })
	switch {
	case len(own) == 0:
		return ownSub{}, errorf(UnexpectedRequest, NotSubscribed, "%s has no subscription to %s", jid, name)
	case subID == "" && len(own) > 1:
		return ownSub{}, errorf(BadRequest, SubIDRequired, "%s has %d subscriptions to %s: say which by its SubID", jid, len(own), name)
	case subID == "":
		return own[0], nil
	}
	i := slices.IndexFunc(own, func(x ownSub) bool { return x.SubID == subID })
	if i < 0 {
		return ownSub{}, errorf(NotAcceptable, InvalidSubID, "%s has no subscription %.40q to %s", jid, subID, name)
	}
	return own[i], nil
}

// mine returns the place of a request about the entity's own subscription.
func (s *Service) mine(ctx context.Context, who Entity, node, jid string) (place, error) {
	p, err := placeOf(node)
	if err != nil {
		return p, err
	}
	if err := checkJID(jid); err != nil {
		return p, err
	}
	if bareOf(jid) != bareOf(who.JID) || who.Actor.Kind == tidings.Anonymous && jid != who.JID {
		return p, errorf(Forbidden, "", "%s may not manage the subscriptions of %s", who.JID, jid)
	}
	if !p.isPattern() && len(s.own(p.name(), bareOf(jid))) == 0 {
		_, err = s.find(ctx, p.topic)
	}
	return p, err
}

// Unsubscribe ends a subscription of the entity (section 6.2). subID may be empty where there is one. Errors:
// nodeid-required, jid-required, item-not-found, forbidden, not-subscribed, subid-required, invalid-subid.
func (s *Service) Unsubscribe(ctx context.Context, who Entity, node, jid, subID string) error {
	p, err := s.mine(ctx, who, node, jid)
	if err != nil {
		return err
	}
	defer s.lock(p.name(), bareOf(jid)).Unlock()
	x, err := s.pick(p.name(), who.Service, jid, subID)
	if err != nil {
		return err
	}
	return s.change(ctx, p.name(), x, func(*record) bool { return false })
}

// change has f change the record of a subscription, or report that it is to be removed.
func (s *Service) change(ctx context.Context, name string, x ownSub, f func(*record) (keep bool)) error {
	return s.updateShard(ctx, name, x.life, x.shard, func(recs []record) ([]record, error) {
		i := slices.IndexFunc(recs, func(r record) bool { return r.id == x.id })
		if i < 0 {
			return nil, errUnchanged // gone meanwhile
		}
		if !f(&recs[i]) {
			recs = slices.Delete(recs, i, i+1)
		}
		return recs, nil
	})
}

// Options returns the options of a subscription of the entity (section 6.3). Errors: those of Unsubscribe.
func (s *Service) Options(ctx context.Context, who Entity, node, jid, subID string) (Subscription, error) {
	p, err := s.mine(ctx, who, node, jid)
	if err != nil {
		return Subscription{}, err
	}
	x, err := s.pick(p.name(), who.Service, jid, subID)
	return x.Subscription, err
}

// SetOptions changes the options of a subscription of the entity by the fields given (section 6.3.5); a lease is renewed
// by it. Errors: those of Unsubscribe, and invalid-options.
func (s *Service) SetOptions(ctx context.Context, who Entity, node, jid, subID string, values Values) error {
	p, err := s.mine(ctx, who, node, jid)
	if err != nil {
		return err
	}
	defer s.lock(p.name(), bareOf(jid)).Unlock()
	x, err := s.pick(p.name(), who.Service, jid, subID)
	if err != nil {
		return err
	}
	o := *x.Options
	if err := s.setOptions(&o, values); err != nil {
		return err
	}
	return s.change(ctx, p.name(), x, func(r *record) bool {
		r.options, r.expires = []byte(o.text()), 0
		if !o.Expires.IsZero() {
			r.expires = o.Expires.Unix()
		}
		return true
	})
}

// DefaultOptions returns the options that a subscription begins with (section 6.4): of the service if node is empty.
// Errors: item-not-found.
func (s *Service) DefaultOptions(ctx context.Context, node string) (*SubOptions, error) {
	if node != "" {
		p, err := placeOf(node)
		if err != nil {
			return nil, err
		}
		if !p.isPattern() {
			if _, err := s.find(ctx, p.topic); err != nil {
				return nil, err
			}
		}
	}
	return &builtinOptions, nil
}

// Subscriptions returns the subscriptions of the entity's bare JID and of its resources (section 5.6) through the entity's
// service, at one node if node is not empty, sorted by node.
func (s *Service) Subscriptions(who Entity, node string) ([]Subscription, error) {
	only := ""
	if node != "" {
		p, err := placeOf(node)
		if err != nil {
			return nil, err
		}
		only = p.name()
	}
	now := time.Now()
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.entities[bareOf(who.JID)]
	if e == nil {
		return nil, nil
	}
	var out []Subscription
	for _, ref := range e.subscribed {
		if only != "" && ref.node.name != only {
			continue
		}
		sh := ref.node.shard(ref.shard)
		for j := range sh.subs {
			x := &sh.subs[j]
			if x.entity != e || x.of() != who.Service || who.Actor.Kind == tidings.Anonymous && x.jid() != who.JID {
				continue
			}
			if is := ref.node.state(sh, x, now); is != NotThere {
				out = append(out, s.subscription(ref.node, x, is))
			}
		}
	}
	sortSubscriptions(out)
	return out, nil
}

// Through calls f for the bare JIDs that have subscriptions through a service, in no particular order. f must call no method
// of the Service.
func (s *Service) Through(service string, f func(bare string)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	domain := s.services[service]
	if domain == nil && service != "" {
		return
	}
	for _, e := range s.entities {
		if e.through(domain) {
			f(e.jid)
		}
	}
}

// through reports whether the entity has a subscription through the service.
func (e *entity) through(domain *string) bool {
	for _, ref := range e.subscribed {
		for i := range ref.node.shard(ref.shard).subs {
			if x := &ref.node.shard(ref.shard).subs[i]; x.entity == e && x.service == domain {
				return true
			}
		}
	}
	return false
}

func sortSubscriptions(subs []Subscription) {
	slices.SortFunc(subs, func(a, b Subscription) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.JID, b.JID), strings.Compare(a.SubID, b.SubID))
	})
}

// Deliverable returns what brings the subscription its items: the query and the position to subscribe to the hub with, as
// the actor of the subscriber. ok is false for a subscription that brings none: it is pending, paused or of the type
// nodes, or the node delivers no notifications.
func (s *Service) Deliverable(sub *Subscription) (q hub.Query, after tidings.Position, ok bool) {
	if sub.State != Subscribed || !sub.Options.Deliver || sub.Options.Type == "nodes" {
		return q, after, false
	}
	if sub.Topic == "" {
		p, err := tidings.ParsePattern(sub.Node)
		if err != nil {
			return q, after, false
		}
		return hub.Query{Patterns: []tidings.Pattern{p}}, sub.Since, true
	}
	if c := s.Lookup(sub.Topic); c != nil && !c.DeliverNotifications {
		return q, after, false
	}
	return hub.Query{Patterns: []tidings.Pattern{tidings.PatternOf(sub.Topic)}}, sub.Since, true
}
