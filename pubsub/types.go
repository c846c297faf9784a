package pubsub

import (
	"strings"
	"time"
	"unicode/utf8"

	"tidings"
)

// Entity is who asks: the actor that package access judges, and the address that subscriptions and answers go by.
type Entity struct {
	// Actor is of the kind User for an account, and then named by its bare JID: that is whom affiliations name. For the
	// other kinds access is what package access says: tokens by their scopes, the system everything.
	Actor tidings.Actor
	// JID is the address: a full JID, or a bare one where there is no resource. It is valid and normalised (RFC 7622).
	JID string
	// Service is the domain of the service that is asked, where there are several: one for each domain that is served through
	// another server. It is "" for the server's own. Subscriptions through one are none of the others'.
	Service string
}

// bare returns the bare JID by which affiliations know the entity, "" if it is no account.
func (e Entity) bare() string {
	if e.Actor.Kind == tidings.User {
		return e.Actor.Name
	}
	return ""
}

// Affiliation is an entity's standing at a node (XEP-0060 section 4.1).
type Affiliation string

// The affiliations.
const (
	Owner       Affiliation = "owner"
	Publisher   Affiliation = "publisher"
	PublishOnly Affiliation = "publish-only"
	Member      Affiliation = "member"
	None        Affiliation = "none"
	Outcast     Affiliation = "outcast"
)

func (a Affiliation) valid() bool {
	switch a {
	case Owner, Publisher, PublishOnly, Member, None, Outcast:
		return true
	}
	return false
}

// inside reports whether the affiliation opens a node that is not open.
func (a Affiliation) inside() bool { return a == Owner || a == Publisher || a == Member }

// State is the state of a subscription (XEP-0060 section 4.2). Nothing is ever unconfigured here: options have defaults.
type State string

// The states.
const (
	NotThere   State = "none"
	Pending    State = "pending"
	Subscribed State = "subscribed"
)

// Subscription is one subscription.
type Subscription struct {
	Node    string        // its name; or the pattern
	Topic   tidings.Topic // "" for a pattern
	JID     string        // bare or full: where notifications go
	Service string        // through which it was made; see Entity
	SubID   string
	State   State
	Options *SubOptions
	// Since is the head of the journal when the subscription was made, or approved: it begins behind it.
	Since tidings.Position
}

// Bare returns the bare JID of the subscriber.
func (s *Subscription) Bare() string { return bareOf(s.JID) }

// Affiliated is an affiliation: of the JID with the node.
type Affiliated struct {
	Node        string
	JID         string // bare
	Affiliation Affiliation
}

// NodeInfo describes a node (XEP-0060 sections 5.3 and 5.4).
type NodeInfo struct {
	Node        string
	Topic       tidings.Topic
	Config      *Config
	Created     time.Time // zero for a topic that nobody has created
	Creator     string    // bare JID; "" if unknown
	Owners      []string  // bare JIDs
	Publishers  []string  // bare JIDs, publish-only ones included
	Subscribers int       // subscriptions that are not pending
	Stored      bool      // it was created or configured; else it is a topic that has events
}

func bareOf(jid string) string {
	if i := strings.IndexByte(jid, '/'); i >= 0 {
		return jid[:i]
	}
	return jid
}

func domainOf(jid string) string {
	bare := bareOf(jid)
	return bare[strings.IndexByte(bare, '@')+1:]
}

// maxJID is the length of a JID's parts and separators (RFC 7622 section 3.1).
const maxJID = 3*1023 + 2

// checkJID refuses what would not survive being stored. That it is a JID, the stanza layer has seen to.
func checkJID(jid string) error {
	if jid == "" {
		return errorf(BadRequest, JIDRequired, "the request names no JID")
	}
	if len(jid) > maxJID || jid[0] == '/' || !utf8.ValidString(jid) || !validText(jid) || strings.ContainsAny(jid, "\t\n\r") {
		return errorf(BadRequest, InvalidJID, "%.80q is no JID", jid)
	}
	return nil
}

// place is what a request's node name stands for: one topic, or the topics that a pattern matches.
type place struct {
	node    string // as it is told
	topic   tidings.Topic
	pattern tidings.Pattern // zero for a topic
}

func (p place) isPattern() bool { return p.topic == "" }

// name is the key of the place in memory and in the store: a topic's path, or a pattern's text.
func (p place) name() string {
	if p.topic != "" {
		return string(p.topic)
	}
	return p.pattern.String()
}

// placeOf returns what the name of a node stands for. A name that is a pattern with globs is that pattern.
func placeOf(node string) (place, error) {
	if node == "" {
		return place{}, errorf(BadRequest, NodeIDRequired, "the request names no node")
	}
	if node[0] == '/' && strings.ContainsAny(node, "*?[") {
		p, err := tidings.ParsePattern(node)
		if err != nil {
			return place{}, errorf(ItemNotFound, "", "%v", err)
		}
		return place{node: node, pattern: p}, nil
	}
	t, err := tidings.TopicOfNode(node)
	if err != nil {
		return place{}, errorf(ItemNotFound, "", "%v", err)
	}
	return place{node: node, topic: t}, nil
}

// ParseNode returns what the name of a node stands for: a topic, or else the pattern of topics. Errors: nodeid-required,
// and item-not-found for what can be neither.
func ParseNode(node string) (tidings.Topic, tidings.Pattern, error) {
	p, err := placeOf(node)
	return p.topic, p.pattern, err
}

// topicOf is placeOf for what a pattern cannot have done to it.
func topicOf(node string) (tidings.Topic, error) {
	p, err := placeOf(node)
	if err == nil && p.isPattern() {
		err = errorf(NotAllowed, "", "%s is a pattern: it can be subscribed to, and nothing else", p.node)
	}
	return p.topic, err
}

// nodeOf returns the name of the node that a place's name is the key of.
func nodeOf(name string) (node string, topic tidings.Topic) {
	if strings.ContainsAny(name, "*?[") {
		return name, ""
	}
	t := tidings.Topic(name)
	return t.Node(), t
}
