package config

import (
	"strings"
	"time"
	"unicode"

	"tidings"
)

// PubSub is the section [pubsub]: what the service of nodes at pubsub.DOMAIN lets accounts do. It holds in every protocol,
// also where no XMPP is served.
type PubSub struct {
	Admins   []string `toml:"admins"`   // bare JIDs that may do to every node what its owners may
	Create   string   `toml:"create"`   // who creates nodes: accounts, admins or nobody
	Reserved []string `toml:"reserved"` // patterns of topics on which nobody but an admin creates one

	MaxItems         int      `toml:"max_items"`         // that a node keeps, whatever its configuration
	MaxPayload       Size     `toml:"max_payload"`       // of an item of a node, whatever its configuration
	MaxNodes         int      `toml:"max_nodes"`         // that one account owns
	MaxSubscriptions int      `toml:"max_subscriptions"` // nodes and patterns that one address subscribes to
	MaxPerNode       int      `toml:"max_per_node"`      // subscriptions of one address at one node
	MaxLease         Duration `toml:"max_lease"`         // ahead of which a subscription may be said to end

	// What nodes are created with.
	DefaultAccess     string `toml:"default_access"`      // open, authorize or whitelist
	DefaultMaxItems   int    `toml:"default_max_items"`   // 0: as many as MaxItems
	DefaultMaxPayload Size   `toml:"default_max_payload"` // 0: as many as MaxPayload
}

func defaultPubSub() PubSub {
	return PubSub{
		Admins:           []string{},
		Create:           "accounts",
		Reserved:         []string{"/recentchange/**"},
		MaxItems:         10_000,
		MaxPayload:       1 << 20,
		MaxNodes:         10_000,
		MaxSubscriptions: 10_000,
		MaxPerNode:       32,
		MaxLease:         Duration(365 * day),
		DefaultAccess:    "open",
	}
}

// ReservedPatterns returns pubsub.reserved as patterns, which are not nil if there are none; Validate says beforehand whether it can.
func (p PubSub) ReservedPatterns() ([]tidings.Pattern, error) { return patterns(p.Reserved) }

// pubsub checks [pubsub].
func (v *checker) pubsub(c *Config) {
	p := c.PubSub
	for _, a := range p.Admins {
		if local, domain, _ := strings.Cut(a, "@"); !isRoomName(local) || domain == "" || strings.ContainsAny(domain, "@/") || strings.ContainsFunc(domain, unicode.IsSpace) {
			v.bad("pubsub.admins", "has %q: want an address without a resource, in small letters, such as ann@%s", a, c.Domain)
		}
	}
	v.oneOf("pubsub.create", p.Create, "accounts", "admins", "nobody")
	for _, s := range p.Reserved {
		if _, err := tidings.ParsePattern(s); err != nil {
			v.bad("pubsub.reserved", "has a malformed %v", err)
		}
	}
	v.count("pubsub.max_items", p.MaxItems, 1, 1_000_000)
	v.size("pubsub.max_payload", p.MaxPayload, 1, 32<<20)
	v.count("pubsub.max_nodes", p.MaxNodes, 1, 10_000_000)
	v.count("pubsub.max_subscriptions", p.MaxSubscriptions, 1, 10_000_000)
	v.count("pubsub.max_per_node", p.MaxPerNode, 1, 1000)
	v.duration("pubsub.max_lease", p.MaxLease, time.Minute, 100*365*day)
	v.oneOf("pubsub.default_access", p.DefaultAccess, "open", "authorize", "whitelist")
	if v.count("pubsub.default_max_items", p.DefaultMaxItems, 0, 1_000_000); p.DefaultMaxItems > p.MaxItems {
		v.bad("pubsub.default_max_items", "is %d, and pubsub.max_items %d: want no more than that", p.DefaultMaxItems, p.MaxItems)
	}
	if v.size("pubsub.default_max_payload", p.DefaultMaxPayload, 0, 32<<20); p.DefaultMaxPayload > p.MaxPayload {
		v.bad("pubsub.default_max_payload", "is %s, and pubsub.max_payload %s: want no more than that", p.DefaultMaxPayload, p.MaxPayload)
	}
}
