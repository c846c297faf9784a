package pubsub

import "slices"

// NS is the namespace of XEP-0060; features are named in it.
const NS = "http://jabber.org/protocol/pubsub"

// features are the features of XEP-0060 section 10 that work here, by their names within NS.
var features = []string{
	"access-authorize", "access-open", "access-whitelist",
	"auto-create", "config-node", "config-node-max", "create-and-configure", "create-nodes",
	"delete-items", "delete-nodes", "get-pending", "instant-nodes", "item-ids", "last-published",
	"leased-subscription", "manage-subscriptions", "member-affiliation", "meta-data", "modify-affiliations",
	"multi-items", "multi-subscribe", "outcast-affiliation", "persistent-items",
	"publish", "publish-node-full", "publish-only-affiliation", "publish-options", "publisher-affiliation",
	"purge-nodes", "retract-items", "retrieve-affiliations", "retrieve-default", "retrieve-default-sub",
	"retrieve-items", "retrieve-subscriptions", "rsm", "subscribe", "subscription-notifications", "subscription-options",
}

// creation are those that do not work where nobody creates nodes.
var creation = []string{NS + "#auto-create", NS + "#create-and-configure", NS + "#create-nodes", NS + "#instant-nodes"}

// Features returns the disco features of this service: those of the package, less those that its Options rule out.
func (s *Service) Features() []string {
	all := Features()
	if s.opt.Create == ByNobody {
		all = slices.DeleteFunc(all, func(f string) bool { return slices.Contains(creation, f) })
	}
	return all
}

// Features returns the disco features of the service, in full and sorted: all that works and nothing that does not.
func Features() []string {
	out := make([]string, 0, len(features)+1)
	out = append(out, NS)
	for _, f := range features {
		out = append(out, NS+"#"+f)
	}
	return out
}
