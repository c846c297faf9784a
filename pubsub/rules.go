package pubsub

import (
	"slices"
	"strings"
	"time"

	"tidings"
	"tidings/access"
)

// rules are the rules of the service's nodes, as package access asks for them.
type rules struct{ s *Service }

var _ access.Nodes = rules{}

// Rights implements access.Nodes.
func (r rules) Rights(a tidings.Actor, t tidings.Topic) (access.Rights, bool) {
	s := r.s
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := s.nodes[string(t)]
	if !n.alive() {
		return 0, false
	}
	return s.rights(n, Entity{Actor: a}.bare()), true
}

// rights returns what the rules of the node give the account with the bare JID, or everybody if it is empty. The table is
// that of XEP-0060 sections 4.1 and 4.5. The caller holds mu.
func (s *Service) rights(n *node, bare string) (r access.Rights) {
	st := n.stored
	is := st.of(bare)
	if is == Outcast {
		return 0
	}
	var subscribed bool
	if bare != "" && (st.config.AccessModel == AccessAuthorize || st.config.PublishModel == BySubscribers) {
		subscribed = s.entities[bare].subscribedTo(n, time.Now())
	}
	switch {
	case is.inside() || st.config.AccessModel == AccessAuthorize && subscribed && is != PublishOnly:
		r = access.MayRead | access.Named
	case st.config.AccessModel == AccessOpen && is != PublishOnly:
		r = access.MayRead
	}
	switch {
	case is == Owner || is == Publisher || is == PublishOnly,
		bare != "" && st.config.PublishModel == ByAnyone,
		st.config.PublishModel == BySubscribers && subscribed:
		r |= access.MayPublish
	}
	return r
}

// Audience implements access.Nodes.
func (r rules) Audience(a tidings.Actor, patterns []tidings.Pattern) string {
	s := r.s
	bare := Entity{Actor: a}.bare()
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.entities[bare]
	if bare == "" || e == nil {
		return ""
	}
	var lines []string
	add := func(n *node) {
		if !n.alive() || len(patterns) > 0 && !slices.ContainsFunc(patterns, func(p tidings.Pattern) bool { return p.Match(tidings.Topic(n.name)) }) {
			return
		}
		own, all := s.rights(n, bare)&access.MayRead, s.rights(n, "")&access.MayRead
		switch {
		case own > all:
			lines = append(lines, "+"+n.name)
		case own < all:
			lines = append(lines, "-"+n.name)
		}
	}
	for _, n := range e.affiliated {
		add(n)
	}
	for _, ref := range e.subscribed {
		if ref.node.alive() && ref.node.stored.config.AccessModel == AccessAuthorize {
			add(ref.node)
		}
	}
	if len(lines) == 0 {
		return ""
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n") + "\n"
}

// Floor implements access.Nodes.
func (r rules) Floor(t tidings.Topic) uint64 {
	r.s.mu.RLock()
	defer r.s.mu.RUnlock()
	if n := r.s.nodes[string(t)]; n != nil && n.stored != nil {
		return n.stored.floor
	}
	return 0
}
