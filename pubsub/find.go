package pubsub

import (
	"context"
	"errors"
	"slices"
	"time"

	"tidings"
)

// stored returns what is stored of a node, nil for nothing.
func (s *Service) stored(name string) *stored {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := s.nodes[name]; n != nil {
		return n.stored
	}
	return nil
}

// find returns what is stored of the node, or nil for a topic that nobody has configured and that has events. Errors:
// item-not-found, gone, and those of the journal.
func (s *Service) find(ctx context.Context, topic tidings.Topic) (*stored, error) {
	st := s.stored(string(topic))
	switch {
	case st != nil && !st.deleted:
		return st, nil
	case st != nil && st.redirect != "":
		return nil, errGone(topic, st)
	}
	some, err := s.hasEvents(ctx, topic, st)
	if err != nil {
		return nil, err
	}
	if !some {
		return nil, errorf(ItemNotFound, "", "there is no node %s", topic.Node())
	}
	return nil, nil
}

func errGone(topic tidings.Topic, st *stored) error {
	return &Error{Stanza: Gone, URI: st.redirect, Text: "the node " + topic.Node() + " is now at " + st.redirect}
}

// hasEvents reports whether the topic has events that are not those of a node that is gone.
func (s *Service) hasEvents(ctx context.Context, topic tidings.Topic, st *stored) (bool, error) {
	e, err := s.opt.Log.Last(ctx, topic)
	if errors.Is(err, tidings.ErrNotFound) {
		return false, nil
	}
	return err == nil && (st == nil || e.Position.Offset > st.floor), err
}

// Emptied reports whether nothing is left of the topic that anybody may read: all its events are below the floor that a purge
// or the deletion of its node has set. The journal still has them, and lists the topic. It answers from memory but for
// topics that have a floor. Errors are the journal's.
func (s *Service) Emptied(ctx context.Context, topic tidings.Topic) (bool, error) {
	st := s.stored(string(topic))
	if st == nil || st.floor == 0 {
		return false, nil
	}
	some, err := s.hasEvents(ctx, topic, st)
	return err == nil && !some, err
}

// owned is find for what owners may do; see isAdmin for who else may.
func (s *Service) owned(ctx context.Context, who Entity, node string) (tidings.Topic, *stored, error) {
	topic, err := topicOf(node)
	if err != nil {
		return "", nil, err
	}
	st, err := s.find(ctx, topic)
	if err == nil {
		err = s.mustOwn(who, topic, st)
	}
	return topic, st, err
}

// mustOwn refuses who is neither an owner of the node nor an administrator.
func (s *Service) mustOwn(who Entity, topic tidings.Topic, st *stored) error {
	if st != nil && !st.deleted && st.of(who.bare()) == Owner || s.isAdmin(who, topic) {
		return nil
	}
	return errorf(Forbidden, "", "only an owner of the node %s may do this", topic.Node())
}

// mustRead refuses who may not read the node, in the words of section 6.5.9.
func (s *Service) mustRead(who Entity, topic tidings.Topic, st *stored) error {
	if s.isAdmin(who, topic) {
		return nil
	}
	err := s.opt.Policy.May(who.Actor, tidings.ReadAction, topic)
	if err == nil {
		return nil
	}
	if st != nil {
		switch is := st.of(who.bare()); {
		case is == Outcast || is == PublishOnly:
		case st.config.AccessModel == AccessWhitelist:
			return errorf(NotAllowed, ClosedNode, "the node %s is open to its members only", topic.Node())
		case st.config.AccessModel == AccessAuthorize:
			return errorf(NotAuthorized, NotSubscribed, "the node %s is open to those whose subscription an owner has approved", topic.Node())
		}
	}
	return errorf(Forbidden, "", "%v", err)
}

var errUnchanged = errors.New("pubsub: nothing to change")

// updateNode changes what is stored of a node. f is given nil for a node without an entry, and may be called again; it
// returns nil to remove the entry, or errUnchanged.
func (s *Service) updateNode(ctx context.Context, name string, f func(old *stored) (*stored, error)) error {
	err := s.opt.Store.Update(ctx, nodeKey(name), func(value []byte) ([]byte, error) {
		var old *stored
		if value != nil {
			var err error
			if _, old, err = decodeNode(value); err != nil {
				old = sealed // only an administrator gets past it
			}
		}
		st, err := f(old)
		if err != nil || st == nil {
			return nil, err
		}
		return st.encode(name)
	})
	if err == errUnchanged {
		return nil
	}
	return err
}

// updateShard changes one shard of subscriptions. f may be called again, and may return errUnchanged.
func (s *Service) updateShard(ctx context.Context, name string, life uint64, num int, f func([]record) ([]record, error)) error {
	err := s.opt.Store.Update(ctx, shardKey(name, num), func(value []byte) ([]byte, error) {
		var recs []record
		if value != nil {
			h, old, err := decodeRecords(value)
			if err == nil && h.life == life && h.name == name {
				recs = old // else they are of a node that is gone
			}
		}
		recs, err := f(recs)
		if err != nil {
			return nil, err
		}
		return encodeShard(shardHead{life: life, name: name}, recs), nil
	})
	if err == errUnchanged {
		return nil
	}
	return err
}

// lives returns the life that subscriptions to a place have.
func lives(st *stored) uint64 {
	if st == nil {
		return 0
	}
	return st.life
}

// Lookup returns the configuration of the topic's node, nil for a topic that has none of its own: then nothing is known
// of it but that it is open. It answers from memory, for those who shape notifications.
func (s *Service) Lookup(topic tidings.Topic) *Config {
	if st := s.stored(string(topic)); st != nil && !st.deleted {
		return st.config
	}
	return nil
}

// Info describes a node (sections 5.3 and 5.4). Errors: those of reading it.
func (s *Service) Info(ctx context.Context, who Entity, node string) (NodeInfo, error) {
	topic, err := topicOf(node)
	if err != nil {
		return NodeInfo{}, err
	}
	st, err := s.find(ctx, topic)
	if err != nil {
		return NodeInfo{}, err
	}
	if st == nil {
		// A topic with no rules of its own shows itself to those who may read it. A node shows that it is there to
		// everybody, so that they can ask to be let in.
		if err := s.mustRead(who, topic, nil); err != nil {
			return NodeInfo{}, err
		}
		return NodeInfo{Node: topic.Node(), Topic: topic, Config: &builtin, Subscribers: s.subscribers(string(topic))}, nil
	}
	if st.of(who.bare()) == Outcast {
		return NodeInfo{}, errorf(Forbidden, "", "the node %s is not for this account", topic.Node())
	}
	i := NodeInfo{Node: topic.Node(), Topic: topic, Config: st.config, Created: st.created, Creator: st.creator, Owners: st.owners(),
		Subscribers: s.subscribers(string(topic)), Stored: true}
	for _, a := range st.affiliations {
		if a.is == Publisher || a.is == PublishOnly {
			i.Publishers = append(i.Publishers, a.jid)
		}
	}
	return i, nil
}

func (s *Service) subscribers(name string) (c int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := s.nodes[name]; n != nil {
		n.each(time.Now(), func(_ *shard, _ *sub, is State) {
			if is == Subscribed {
				c++
			}
		})
	}
	return c
}

// Nodes returns the topics of the nodes that somebody has created or configured, sorted, but for those that the entity is
// banned from. Topics that merely have events are not among them.
func (s *Service) Nodes(who Entity) []tidings.Topic {
	bare := who.bare()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []tidings.Topic
	for name, n := range s.nodes {
		if n.alive() && n.stored.of(bare) != Outcast {
			out = append(out, tidings.Topic(name))
		}
	}
	slices.Sort(out)
	return out
}
