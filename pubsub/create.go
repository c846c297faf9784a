package pubsub

import (
	"context"
	"crypto/rand"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"tidings"
)

// Default returns what nodes are created with (section 8.3).
func (s *Service) Default() *Config { return s.opt.Default }

// Create creates a node (section 8.1) with the default configuration, changed by the fields given, and returns its name:
// one made here if node is empty. The entity becomes its owner, if it is an account. Errors: conflict if the node or
// events of the topic are there, registration-required, forbidden, not-acceptable for what no node can be named or
// configured as, conflict and max-nodes-exceeded; unsupported create-nodes where nobody creates nodes.
func (s *Service) Create(ctx context.Context, who Entity, node string, values Values) (name string, err error) {
	if node == "" {
		node = instantName()
	}
	p, err := placeOf(node)
	if err != nil || p.isPattern() {
		return "", errorf(NotAcceptable, "", "%.80q cannot be the name of a node: a topic's path or other text without the globs of a pattern can", node)
	}
	if err := s.mayCreate(who, p.topic); err != nil {
		return "", err
	}
	config := *s.opt.Default
	if err := s.configure(&config, values); err != nil {
		return "", err
	}
	if err := s.create(ctx, who, p.topic, &config); err != nil {
		return "", err
	}
	return p.node, nil
}

// create stores a new node.
func (s *Service) create(ctx context.Context, who Entity, topic tidings.Topic, config *Config) error {
	st := s.stored(string(topic))
	if st != nil && st.deleted {
		st = &stored{floor: st.floor} // wherever the old one has gone
	} else if st != nil {
		return errExists(topic)
	}
	some, err := s.hasEvents(ctx, topic, st)
	if err != nil {
		return err
	}
	if some {
		return errExists(topic)
	}
	bare := who.bare()
	if bare != "" && s.owns(bare) >= s.opt.MaxNodes {
		return errorf(ConflictError, MaxNodesExceeded, "%s owns %d nodes already", bare, s.opt.MaxNodes)
	}
	return s.updateNode(ctx, string(topic), func(old *stored) (*stored, error) {
		if old != nil && !old.deleted {
			return nil, errExists(topic)
		}
		st := &stored{life: newLife(), created: time.Now().UTC().Truncate(time.Second), creator: bare, config: config}
		if bare == "" {
			st.creator = who.Actor.String()
		} else {
			st = st.with(bare, Owner)
		}
		if old != nil {
			st.floor = old.floor
		}
		return st, nil
	})
}

func errExists(topic tidings.Topic) error {
	return errorf(ConflictError, "", "the node %s is there already", topic.Node())
}

func newLife() uint64 { return mathrand.Uint64()>>1 + 1 }

// instantName returns a name for an instant node: 100 random bits.
func instantName() string {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		panic(err) // crypto/rand ends the program first
	}
	return n.Text(36)
}

// owns returns how many nodes the account owns.
func (s *Service) owns(bare string) (c int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.entities[bare]; e != nil {
		for _, n := range e.affiliated {
			if n.alive() && n.stored.of(bare) == Owner {
				c++
			}
		}
	}
	return c
}

// mayCreate refuses who may not create a node on the topic.
func (s *Service) mayCreate(who Entity, topic tidings.Topic) error {
	if s.opt.Create == ByNobody && who.Actor.Kind != tidings.System {
		return unsupported("create-nodes", "nodes are not created here")
	}
	if s.isAdmin(who, topic) {
		return nil
	}
	bare := who.bare()
	switch {
	case bare == "" || domainOf(bare) != s.opt.Domain && !slices.Contains(s.opt.Domains, domainOf(bare)):
		return errorf(RegistrationRequired, "", "nodes are created by accounts of %s", s.opt.Domain)
	case s.opt.Create != ByAccounts:
		return errorf(Forbidden, "", "only administrators create nodes here")
	case slices.ContainsFunc(s.opt.Reserved, func(p tidings.Pattern) bool { return p.Match(topic) }):
		return errorf(Forbidden, "", "the topic %s is reserved", topic)
	}
	if st := s.stored(string(topic)); st == nil || st.deleted {
		if err := s.opt.Policy.May(who.Actor, tidings.ReadAction, topic); err != nil {
			return errorf(Forbidden, "", "%v", err)
		}
	}
	return nil
}

// configure changes the configuration by the fields of a form, within the service's limits.
func (s *Service) configure(c *Config, values Values) error {
	if err := c.Set(values); err != nil {
		return err
	}
	if c.MaxItems > s.opt.MaxItems {
		return invalidValue("max_items", "the service keeps at most %d (say max)", s.opt.MaxItems)
	}
	if c.MaxPayloadSize > s.opt.MaxPayload {
		return invalidValue("max_payload_size", "the service takes at most %d bytes", s.opt.MaxPayload)
	}
	return nil
}

// Config returns the configuration of a node to its owners (section 8.2.1). Errors: nodeid-required, forbidden,
// item-not-found.
func (s *Service) Config(ctx context.Context, who Entity, node string) (*Config, error) {
	_, st, err := s.owned(ctx, who, node)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return &builtin, nil
	}
	return st.config, nil
}

// Configure changes the configuration of a node by the fields given (section 8.2.4). A topic that merely has events
// becomes a node with rules of its own by it, if an administrator does it. What the new configuration forbids has ended
// when it returns. Errors: those of Config, and not-acceptable.
func (s *Service) Configure(ctx context.Context, who Entity, node string, values Values) error {
	topic, _, err := s.owned(ctx, who, node)
	if err != nil {
		return err
	}
	if err := s.updateNode(ctx, string(topic), func(old *stored) (*stored, error) {
		st := s.orTopic(old, who)
		if err := s.mustOwn(who, topic, old); err != nil {
			return nil, err
		}
		config := *st.config
		if err := s.configure(&config, values); err != nil {
			return nil, err
		}
		if old != nil && !old.deleted && config.equal(old.config) {
			return nil, errUnchanged
		}
		st.config = &config
		return st, nil
	}); err != nil {
		return err
	}
	return s.settle(ctx, string(topic))
}

// orTopic returns a copy of what is stored of a node, or a first entry for a topic that merely has events.
func (s *Service) orTopic(old *stored, who Entity) *stored {
	if old != nil && !old.deleted {
		c := *old
		return &c
	}
	st := &stored{created: time.Now().UTC().Truncate(time.Second), creator: who.Actor.String(), config: &builtin}
	if b := who.bare(); b != "" {
		st.creator = b
	}
	if old != nil {
		st.floor = old.floor
	}
	return st
}

// Purge removes all items of a node (section 8.5): nobody reads them any more, in any protocol. Errors: those of Config,
// and unsupported persistent-items.
func (s *Service) Purge(ctx context.Context, who Entity, node string) error {
	topic, st, err := s.owned(ctx, who, node)
	if err != nil {
		return err
	}
	if st != nil && !st.config.PersistItems {
		return errNoItems(topic)
	}
	return s.updateNode(ctx, string(topic), func(old *stored) (*stored, error) {
		if err := s.mustOwn(who, topic, old); err != nil {
			return nil, err
		}
		st := s.orTopic(old, who)
		st.floor = s.head().Offset
		return st, nil
	})
}

func errNoItems(topic tidings.Topic) error {
	return unsupported("persistent-items", "the node %s keeps no items", topic.Node())
}

// Delete removes a node (section 8.4), its items, affiliations and subscriptions; redirect is the URI of where it has
// gone, or empty. Who subscribes to it, or reads its topic by its rules, is at an end when it returns. Errors: those of
// Config, and not-acceptable for a redirect that is no URI.
func (s *Service) Delete(ctx context.Context, who Entity, node, redirect string) error {
	topic, _, err := s.owned(ctx, who, node)
	if err != nil {
		return err
	}
	if len(redirect) > maxTextBytes || !validText(redirect) {
		return errorf(NotAcceptable, "", "the redirect is no URI of at most %d bytes", maxTextBytes)
	}
	events, err := s.hasEvents(ctx, topic, nil)
	if err != nil {
		return err
	}
	if err := s.updateNode(ctx, string(topic), func(old *stored) (*stored, error) {
		if err := s.mustOwn(who, topic, old); err != nil {
			return nil, err
		}
		if old != nil && old.deleted {
			return nil, errUnchanged
		}
		if !events && redirect == "" {
			return nil, nil
		}
		return &stored{config: &builtin, deleted: true, floor: s.head().Offset, redirect: redirect}, nil
	}); err != nil {
		return err
	}
	// What is left of the subscriptions amounts to nothing. It is removed for the room it takes.
	s.mu.RLock()
	var nums []int
	if n := s.nodes[string(topic)]; n != nil {
		for i := range n.shards {
			nums = append(nums, n.shards[i].num)
		}
	}
	s.mu.RUnlock()
	for _, num := range nums {
		if err := s.updateShard(ctx, string(topic), 0, num, func([]record) ([]record, error) { return nil, nil }); err != nil {
			s.opt.Logger.Warn("pubsub: removing the subscriptions of a node that is gone", "node", topic.Node(), "err", err)
			break
		}
	}
	return nil
}

// tidy removes the entries of nodes that are gone whose events the journal has not any more either.
func (s *Service) tidy() {
	oldest := s.opt.Log.Oldest().Offset
	var names []string
	s.mu.RLock()
	for name, n := range s.nodes {
		if n.stored != nil && n.stored.forgettable(oldest) {
			names = append(names, name)
		}
	}
	s.mu.RUnlock()
	for _, name := range names {
		err := s.updateNode(s.ctx, name, func(old *stored) (*stored, error) {
			if old == nil || !old.forgettable(oldest) {
				return nil, errUnchanged
			}
			return nil, nil
		})
		if err != nil {
			if s.ctx.Err() == nil {
				s.opt.Logger.Warn("pubsub: removing what was kept of a node that is gone", "topic", name, "err", err)
			}
			return
		}
	}
}

func (s *stored) forgettable(oldest uint64) bool {
	return s.deleted && s.redirect == "" && s.floor <= oldest
}
