// Package pubsub is the model of a publish-subscribe service (XEP-0060, sections 4 to 8 and 12) over the hub and the
// journal: nodes, their configuration, affiliations, subscriptions and items, without a stanza. What a protocol makes of
// it is thin: it parses requests, calls one method for each, and turns errors, which are XEP-0060's conditions ([Error]),
// into its own.
//
// # Nodes
//
// A node is a topic: tidings.TopicOfNode maps the one's name to the other. A topic that has events is a node without
// anybody having created it: open, of an open access model, and to be published to by tokens. Creating a node
// ([Service.Create], or the first publication), or configuring such a topic, gives it rules of its own. These hold in
// every protocol: package access asks the service for them. There are no collections: a name that is a pattern with
// globs (/recentchange/*.org) can be subscribed to, and brings whatever its subscriber may read.
//
// An item is what is left of the events with one ID: the newest version, unless it was retracted. It has not to have
// expired, and to be among the node's newest max_items. The journal's own retention bounds what is stored. A node that is
// purged or deleted leaves its events in the journal below a floor under which nobody reads.
//
// # Requests
//
// Requests are made by an [Entity], an actor with an address. The methods by sections of XEP-0060:
//
//	5.1      Features
//	5.2      Service.Nodes (created or configured ones; the journal knows the topics that have events)
//	5.3, 5.4 Service.Info
//	5.6, 5.7 Service.Subscriptions, Service.Affiliations
//	6.1, 6.2 Service.Subscribe, Service.Unsubscribe
//	6.3, 6.4 Service.Options, Service.SetOptions, Service.DefaultOptions
//	6.5      Service.Items, Service.Last
//	7.1, 7.2 Service.Publish, Service.Retract
//	8.1      Service.Create
//	8.2, 8.3 Service.Config, Service.Configure, Service.Default
//	8.4, 8.5 Service.Delete, Service.Purge
//	8.6, 8.7 Service.Approve, Service.PendingNodes, Service.Pending
//	8.8      Service.NodeSubscriptions, Service.SetSubscriptions
//	8.9      Service.NodeAffiliations, Service.SetAffiliations
//
// # Delivery
//
// Items are delivered by the hub: [Service.Deliverable] says with which query and from which position a subscription is
// to be read, and [Service.Lookup] how the node wants its notifications to be. Everything else that subscribers and owners
// are told, comes to the listeners ([Service.Listen]) as a [Notification]. When a request returns that takes a right away,
// the hub's subscriptions that it forbids have ended, and the listeners have been told, in this process; others follow
// as soon as they hear of the change.
//
// # Stored form
//
// One bucket has it all. The entry of a node has the key n: and its topic, and is JSON:
//
//	{"node": "/news", "life": 81985529216486895, "created": "2026-01-02T03:04:05Z", "creator": "ann@example.org",
//	 "config": {"access_model": ["whitelist"]}, "affiliations": {"owner": ["ann@example.org"]}, "floor": 1042,
//	 "deleted": true, "redirect": "xmpp:..."}
//
// The configuration has the fields in which it differs from the built-in one, which never changes. The floor is the offset
// up to which events of the topic are not the node's. A node that was deleted keeps an entry for its floor. A life is a
// random number by which subscriptions to an earlier node of the same name are told from this one's; a topic that was
// configured and not created has none.
//
// Subscriptions are kept in shards, of about 32 each: a hash of the subscriber's bare JID says in which one, and the number
// of shards grows with the node, by powers of two; what is in a shard stays there. The key of a shard is s, its number, a
// colon and the topic or the pattern. Its first line is "1", the node's life in base 36 and the topic or pattern, with
// spaces between; each other line is a subscription, with tabs between: JID, SubID, s or p (subscribed, pending), the
// journal's head when it was made or approved (base 36), when it ends (Unix time, or nothing), its options (words) and the
// domain of the service through which it was made (nothing for the server's own).
//
// A key that would have more than 255 bytes has # and the unpadded URL-safe base64 of the SHA-256 of the topic or pattern
// in place of it.
package pubsub
