package pubsub

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"time"

	"tidings"
)

// node is what is known in memory of a topic or a pattern that somebody has created, configured or subscribed to.
type node struct {
	name   string
	stored *stored // nil if there is no entry
	shards []shard // sorted by number
}

// shard is the subscriptions of one entry of the store. They are replaced and never changed.
type shard struct {
	num  int
	life uint64
	subs []sub
}

// sub is one subscription. There may be a million: what they have in common is shared.
type sub struct {
	entity   *entity
	resource string
	id       uint64
	options  *SubOptions // without Expires; nil for the built-in ones
	expires  int64
	since    uint64
	service  *string // of the service; nil for the server's own
	state    State
}

// entity is a bare JID that subscribes or is affiliated, and where.
type entity struct {
	jid        string
	subscribed []subRef
	affiliated []*node
	mark       uint32 // see index
}

// subRef is a shard in which an entity has subscriptions.
type subRef struct {
	node  *node
	shard int
}

func (s *sub) jid() string {
	if s.resource == "" {
		return s.entity.jid
	}
	return s.entity.jid + "/" + s.resource
}

// of returns the domain of the service through which the subscription was made, "" for the server's own.
func (s *sub) of() string {
	if s.service == nil {
		return ""
	}
	return *s.service
}

func (s *sub) subID() string { return strconv.FormatUint(s.id, 36) }

// alive reports whether somebody has created or configured the node.
func (n *node) alive() bool { return n != nil && n.stored != nil && !n.stored.deleted }

func (n *node) shard(num int) *shard {
	i, ok := slices.BinarySearchFunc(n.shards, num, func(s shard, n int) int { return s.num - n })
	if !ok {
		return nil
	}
	return &n.shards[i]
}

// admits returns what a subscription in the given state amounts to under the rules of a node, which may be nil.
func (st *stored) admits(life uint64, bare string, state State) State {
	if st == nil {
		if life != 0 {
			return NotThere
		}
		return state
	}
	if st.deleted || st.life != life {
		return NotThere
	}
	is := st.of(bare)
	switch {
	case is == Outcast || is == PublishOnly || st.config.AccessModel == AccessWhitelist && !is.inside():
		return NotThere
	case st.config.AccessModel != AccessAuthorize || is.inside():
		return Subscribed // what was pending when its approval was needed
	}
	return state
}

// state returns what the subscription amounts to now.
func (n *node) state(sh *shard, s *sub, now time.Time) State {
	if s.expires != 0 && s.expires <= now.Unix() {
		return NotThere
	}
	return n.stored.admits(sh.life, s.entity.jid, s.state)
}

// each calls f for every subscription that amounts to something.
func (n *node) each(now time.Time, f func(sh *shard, s *sub, is State)) {
	for i := range n.shards {
		for j := range n.shards[i].subs {
			if is := n.state(&n.shards[i], &n.shards[i].subs[j], now); is != NotThere {
				f(&n.shards[i], &n.shards[i].subs[j], is)
			}
		}
	}
}

// eachOf is each for one entity.
func (e *entity) eachOf(n *node, now time.Time, f func(sh *shard, s *sub, is State)) {
	if e == nil {
		return
	}
	for _, ref := range e.subscribed {
		if ref.node != n {
			continue
		}
		sh := n.shard(ref.shard)
		for j := range sh.subs {
			if sh.subs[j].entity == e {
				if is := n.state(sh, &sh.subs[j], now); is != NotThere {
					f(sh, &sh.subs[j], is)
				}
			}
		}
	}
}

// subscribed reports whether the entity has a subscription to the node that is not pending.
func (e *entity) subscribedTo(n *node, now time.Time) (yes bool) {
	e.eachOf(n, now, func(_ *shard, _ *sub, is State) { yes = yes || is == Subscribed })
	return yes
}

// count returns the number of subscriptions in memory, whatever they amount to.
func (n *node) count() (c int) {
	for i := range n.shards {
		c += len(n.shards[i].subs)
	}
	return c
}

// subscription returns what is told of one.
func (s *Service) subscription(n *node, sb *sub, is State) Subscription {
	node, topic := nodeOf(n.name)
	o := sb.options
	if o == nil {
		o = &builtinOptions
	}
	if sb.expires != 0 {
		c := *o
		c.Expires = time.Unix(sb.expires, 0).UTC()
		o = &c
	}
	return Subscription{Node: node, Topic: topic, JID: sb.jid(), Service: sb.of(), SubID: sb.subID(), State: is, Options: o,
		Since: tidings.Position{Epoch: s.epoch, Offset: sb.since}}
}

// get returns the node for changing, which it makes. The caller holds mu.
func (s *Service) get(name string) *node {
	n := s.nodes[name]
	if n == nil {
		n = &node{name: name}
		s.nodes[name] = n
	}
	return n
}

// drop forgets a node that nothing is known of. The caller holds mu.
func (s *Service) drop(n *node) {
	if n.stored == nil && len(n.shards) == 0 {
		delete(s.nodes, n.name)
	}
}

// entityOf returns the entity of a bare JID, which it makes. The caller holds mu.
func (s *Service) entityOf(bare []byte) *entity {
	e := s.entities[string(bare)]
	if e == nil {
		e = &entity{jid: string(bare)}
		s.entities[e.jid] = e
	}
	return e
}

// serviceOf returns the domain of a service, of which there is one string. The caller holds mu.
func (s *Service) serviceOf(domain []byte) *string {
	p := s.services[string(domain)]
	if p == nil {
		p = new(string(domain))
		s.services[*p] = p
	}
	return p
}

// forget lets go of an entity that is nowhere any more. The caller holds mu.
func (s *Service) forget(e *entity) {
	if len(e.subscribed) == 0 && len(e.affiliated) == 0 {
		delete(s.entities, e.jid)
	}
}

var errName = errors.New("pubsub: the entry is under another key than its name's")

// setShard takes in an entry of subscriptions and returns the shard as it was and as it is. The caller holds mu.
func (s *Service) setShard(key string, num int, value []byte) (n *node, was, is shard, err error) {
	var subs []sub
	var head shardHead
	if value != nil {
		subs = make([]sub, 0, bytes.Count(value, []byte{'\n'}))
		head, err = decodeShard(value, func(r record) error {
			bare, resource, _ := bytes.Cut(r.jid, []byte{'/'})
			if len(bare) == 0 {
				return errShard
			}
			x := sub{entity: s.entityOf(bare), id: r.id, since: r.since, expires: r.expires, state: r.state}
			if len(resource) > 0 {
				x.resource = string(resource)
			}
			if len(r.options) > 0 {
				o := parseOptions(string(r.options))
				x.options = &o
			}
			if len(r.service) > 0 {
				x.service = s.serviceOf(r.service)
			}
			subs = append(subs, x)
			return nil
		})
		if err == nil && shardKey(head.name, num) != key {
			err = errName
		}
		if err != nil {
			for i := range subs {
				s.forget(subs[i].entity)
			}
			subs = nil
		}
	}
	name := s.nameOf(key, head.name)
	if name == "" {
		return nil, was, is, err
	}
	n = s.get(name)
	is = shard{num: num, life: head.life, subs: subs}
	i, there := slices.BinarySearchFunc(n.shards, num, func(sh shard, num int) int { return sh.num - num })
	if there {
		was = n.shards[i]
	}
	switch {
	case there && len(subs) == 0:
		n.shards = slices.Delete(n.shards, i, i+1)
	case there:
		n.shards[i] = is
	case len(subs) > 0:
		if n.shards == nil {
			n.shards = []shard{is}
		} else {
			n.shards = slices.Insert(n.shards, i, is)
		}
	}
	s.subs += len(subs) - len(was.subs)
	s.index(n, num, was.subs, subs)
	s.leases.set(subRef{n, num}, subs)
	s.drop(n)
	return n, was, is, err
}

// index keeps the entities' references to a shard that has changed. An entity's mark says where it has been seen in this
// run: one number for before, the next for now.
func (s *Service) index(n *node, num int, was, is []sub) {
	s.mark += 2
	before, now := s.mark, s.mark+1
	for i := range was {
		was[i].entity.mark = before
	}
	for i := range is {
		switch e := is[i].entity; e.mark {
		case now:
		case before:
			e.mark = now
		default:
			e.mark = now
			e.subscribed = append(e.subscribed, subRef{n, num})
		}
	}
	for i := range was {
		if e := was[i].entity; e.mark == before {
			e.mark = now
			e.subscribed = slices.DeleteFunc(e.subscribed, func(r subRef) bool { return r == subRef{n, num} })
			s.forget(e)
		}
	}
}

// setStored takes in a node's entry. The caller holds mu.
func (s *Service) setStored(n *node, st *stored) (was *stored) {
	was = n.stored
	n.stored = st
	if was != nil {
		for _, a := range was.affiliations {
			e := s.entities[a.jid]
			e.affiliated = slices.DeleteFunc(e.affiliated, func(m *node) bool { return m == n })
		}
	}
	if st != nil {
		for _, a := range st.affiliations {
			e := s.entityOf([]byte(a.jid))
			e.affiliated = append(e.affiliated, n)
		}
	}
	if was != nil {
		for _, a := range was.affiliations {
			if e := s.entities[a.jid]; e != nil {
				s.forget(e)
			}
		}
	}
	s.drop(n)
	return was
}

// nameOf returns the name behind a key, as the entry or the key itself says, and remembers it where only the entry does.
// The caller holds mu.
func (s *Service) nameOf(key, name string) string {
	i := bytes.IndexByte([]byte(key), ':')
	if rest := key[i+1:]; rest == "" || rest[0] != '#' {
		return rest
	}
	if name == "" {
		return s.hashed[key]
	}
	s.hashed[key] = name
	return name
}
