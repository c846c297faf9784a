package access

import "tidings"

// Nodes knows the topics with rules of their own: the PubSub nodes that somebody has created or configured. Its methods
// are called often, from many goroutines and with locks held: they answer from memory and call nobody.
type Nodes interface {
	// Rights returns what the rules of the topic's node give the actor; ok is false for a topic that has none. The
	// anonymous actor stands for everybody.
	Rights(a tidings.Actor, t tidings.Topic) (r Rights, ok bool)
	// Audience returns a text that tells accounts apart by which of the topics that match one of the patterns (any, if
	// there are none) they may read: "" for an account that may read what the anonymous actor may, else a line for each
	// topic, begun with + where it may read what that one may not, with - where it may not what that one may.
	Audience(a tidings.Actor, patterns []tidings.Pattern) string
	// Floor returns the offset up to which the topic's events are no longer to be read by anybody, since its node was
	// purged or deleted; 0 if there is none.
	Floor(t tidings.Topic) uint64
}

// Rights are what a node's rules give an actor.
type Rights uint8

// The rights.
const (
	MayRead    Rights = 1 << iota
	MayPublish        // for actors who have an account; others publish by a token's scope only
	Named             // they are the actor's own, by an affiliation or an approved subscription, and not everybody's
)

// SetNodes has the policy ask n for the rules of nodes. It is called once, before readers subscribe.
func (p *Policy) SetNodes(n Nodes) { p.nodes.Store(&n) }

// rights returns what the rules of the topic's node give the actor, if it has any.
func (p *Policy) rights(a tidings.Actor, t tidings.Topic) (Rights, bool) {
	if n := p.nodes.Load(); n != nil && t != "" {
		return (*n).Rights(a, t)
	}
	return 0, false
}

// Floor returns the offset up to which the topic's events are no longer to be read by anybody; see Nodes.
func (p *Policy) Floor(t tidings.Topic) uint64 {
	if n := p.nodes.Load(); n != nil {
		return (*n).Floor(t)
	}
	return 0
}

// NodesChanged calls the callbacks of OnChange and returns once they have: what rules that have just changed forbid has
// ended then. Of the withdrawn topics there are events that some may not read any more who could.
func (p *Policy) NodesChanged(withdrawn ...tidings.Topic) {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.closed {
		return
	}
	p.told = withdrawn
	p.tell()
	p.told = nil
}

// Withdrawn returns, to a callback of OnChange and during its call only, the topics of which there are events that some
// may not read any more who could: what is kept of them in memory has to be judged again.
func (p *Policy) Withdrawn() []tidings.Topic { return p.told }
