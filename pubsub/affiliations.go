package pubsub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Affiliations returns the affiliations of the entity (section 5.7), at one node if node is not empty, sorted by node.
func (s *Service) Affiliations(who Entity, node string) ([]Affiliated, error) {
	only := ""
	if node != "" {
		topic, err := topicOf(node)
		if err != nil {
			return nil, err
		}
		only = string(topic)
	}
	bare := who.bare()
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.entities[bare]
	if bare == "" || e == nil {
		return nil, nil
	}
	var out []Affiliated
	for _, n := range e.affiliated {
		if n.alive() && (only == "" || n.name == only) {
			name, _ := nodeOf(n.name)
			out = append(out, Affiliated{Node: name, JID: bare, Affiliation: n.stored.of(bare)})
		}
	}
	slices.SortFunc(out, func(a, b Affiliated) int { return strings.Compare(a.Node, b.Node) })
	return out, nil
}

// NodeAffiliations returns the affiliations of a node to its owners (section 8.9.1), sorted by JID. Errors:
// nodeid-required, item-not-found, forbidden.
func (s *Service) NodeAffiliations(ctx context.Context, who Entity, node string) ([]Affiliated, error) {
	topic, st, err := s.owned(ctx, who, node)
	if err != nil || st == nil {
		return nil, err
	}
	out := make([]Affiliated, 0, len(st.affiliations))
	for _, a := range st.affiliations {
		out = append(out, Affiliated{Node: topic.Node(), JID: a.jid, Affiliation: a.is})
	}
	return out, nil
}

// SetAffiliations changes affiliations of a node (section 8.9.2): those given, and no others. JIDs count by their bare
// form. What the changes forbid has ended when it returns, subscriptions included. Errors: nodeid-required,
// item-not-found, forbidden, bad-request for a JID that is named twice or is none; and a *RejectedError if some of the
// changes cannot be made, as the last owner cannot go, whereas the others were.
func (s *Service) SetAffiliations(ctx context.Context, who Entity, node string, changes []Affiliated) error {
	topic, _, err := s.owned(ctx, who, node)
	if err != nil {
		return err
	}
	changes = slices.Clone(changes)
	seen := map[string]bool{}
	for i := range changes {
		c := &changes[i]
		if err := checkJID(c.JID); err != nil {
			return err
		}
		if c.JID = bareOf(c.JID); seen[c.JID] {
			return errorf(BadRequest, "", "%s is named twice", c.JID)
		}
		seen[c.JID] = true
	}
	var rejected *RejectedError
	err = s.updateNode(ctx, string(topic), func(old *stored) (*stored, error) {
		if err := s.mustOwn(who, topic, old); err != nil {
			return nil, err
		}
		rejected = nil
		st := s.orTopic(old, who)
		all, owners, changed := make(map[string]Affiliation, len(st.affiliations)), 0, false
		for _, a := range st.affiliations {
			all[a.jid] = a.is
			owners += count(a.is == Owner)
		}
		// Owners come first, so that a node can be handed over in one request.
		slices.SortStableFunc(changes, func(a, b Affiliated) int { return count(b.Affiliation == Owner) - count(a.Affiliation == Owner) })
		for _, c := range changes {
			is, ok := all[c.JID]
			if !ok {
				is = None
			}
			var why string
			switch {
			case is == c.Affiliation:
				continue
			case !c.Affiliation.valid():
				why = fmt.Sprintf("%.40q is no affiliation", c.Affiliation)
			case is == Owner && owners == 1:
				why = fmt.Sprintf("%s is the only owner of the node %s", c.JID, topic.Node())
			case is == None && len(all) >= maxAffiliations:
				why = fmt.Sprintf("the node %s has %d affiliations, and no more are kept", topic.Node(), maxAffiliations)
			default:
				owners += count(c.Affiliation == Owner) - count(is == Owner)
				if all[c.JID] = c.Affiliation; c.Affiliation == None {
					delete(all, c.JID)
				}
				changed = true
				continue
			}
			if rejected == nil {
				rejected = &RejectedError{Err: errorf(NotAcceptable, "", "%s", why)}
			}
			rejected.Affiliations = append(rejected.Affiliations, Affiliated{Node: topic.Node(), JID: c.JID, Affiliation: is})
		}
		if !changed && old != nil && !old.deleted {
			return nil, errUnchanged
		}
		st.affiliations = make([]affiliation, 0, len(all))
		for _, jid := range slices.Sorted(maps.Keys(all)) {
			st.affiliations = append(st.affiliations, affiliation{jid, all[jid]})
		}
		return st, nil
	})
	if err != nil {
		return err
	}
	if err := s.settle(ctx, string(topic)); err != nil {
		return err
	}
	if rejected != nil {
		return rejected
	}
	return nil
}

// maxAffiliations bounds the affiliations of a node, whose entry in the store has them all.
const maxAffiliations = 10_000

// count is 1 for what is so.
func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// settle writes down what a node's rules make of its subscriptions, which holds already: those that they forbid go, and
// those that they let in without an approval are approved, so that other rules find them so.
func (s *Service) settle(ctx context.Context, name string) error {
	type part struct {
		num   int
		life  uint64
		fates map[uint64]State
	}
	var parts []part
	s.mu.RLock()
	if n := s.nodes[name]; n.alive() {
		for i := range n.shards {
			sh := &n.shards[i]
			p := part{num: sh.num, life: sh.life}
			for j := range sh.subs {
				x := &sh.subs[j]
				if is := n.stored.admits(sh.life, x.entity.jid, x.state); is != x.state {
					if p.fates == nil {
						p.fates = map[uint64]State{}
					}
					p.fates[x.id] = is
				}
			}
			if p.fates != nil {
				parts = append(parts, p)
			}
		}
	}
	s.mu.RUnlock()
	for _, p := range parts {
		if err := s.updateShard(ctx, name, p.life, p.num, func(recs []record) ([]record, error) {
			for i := range recs {
				switch is, ok := p.fates[recs[i].id]; {
				case ok && is == Subscribed:
					s.approve(&recs[i])
				case ok && is == Pending:
					recs[i].state = is
				}
			}
			return slices.DeleteFunc(recs, func(r record) bool { return p.fates[r.id] == NotThere }), nil
		}); err != nil {
			return err
		}
	}
	return nil
}
