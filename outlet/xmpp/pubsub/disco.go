package pubsub

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"tidings"
	wire "tidings/outlet/xmpp"
	"tidings/outlet/xmpp/requests"
	model "tidings/pubsub"
	"tidings/xmpp/dataform"
	"tidings/xmpp/delay"
	"tidings/xmpp/disco"
	"tidings/xmpp/mam"
	"tidings/xmpp/rsm"
	"tidings/xmpp/xmlstream"
)

// featurePatterns says that nodes may be named by patterns.
const featurePatterns = wire.NS + "#patterns"

// info answers disco#info of the service (section 5.1) and of a node (sections 5.3 and 5.4).
func (r *request) info(node string) (work, error) {
	switch node {
	case "":
		return func(context.Context) ([]byte, error) {
			return (&disco.Info{
				Identities: []disco.Identity{{Category: "pubsub", Type: "service", Name: "What is published"}},
				Features: append(r.srv.opt.Model.Features(), disco.NSInfo, disco.NSItems, rsm.NS, nsSHIM, nsSID, mam.NS, mam.NSExtended, nsCommands,
					requests.NSPing, requests.NSVersion, requests.NSTime, featurePatterns),
			}).Append(nil), nil
		}, nil
	case nsCommands:
		return func(context.Context) ([]byte, error) {
			return (&disco.Info{Node: node, Identities: []disco.Identity{{Category: "automation", Type: "command-list"}}, Features: []string{nsCommands}}).Append(nil), nil
		}, nil
	case nsSHIM: // XEP-0131 section 2.2: the headers
		return func(context.Context) ([]byte, error) {
			return (&disco.Info{Node: node, Features: []string{nsSHIM, nsSHIM + "#SubID"}}).Append(nil), nil
		}, nil
	case commandPending:
		return func(context.Context) ([]byte, error) {
			return (&disco.Info{Node: node, Identities: []disco.Identity{{Category: "automation", Type: "command-node", Name: pendingTitle}},
				Features: []string{nsCommands, dataform.NS}}).Append(nil), nil
		}, nil
	}
	_, pattern, err := model.ParseNode(node)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) ([]byte, error) {
		info := &disco.Info{Node: node, Features: []string{model.NS, disco.NSInfo, disco.NSItems}}
		if !pattern.IsZero() {
			// It contains nodes, and no items, which is what a collection is (section 5.3).
			info.Identities = []disco.Identity{{Category: "pubsub", Type: "collection", Name: "All nodes that match " + pattern.String()}}
			info.Features = append(info.Features, model.NS+"#subscribe", featurePatterns, mam.NS, mam.NSExtended)
			return info.Append(nil), nil
		}
		i, err := r.srv.opt.Model.Info(ctx, r.who, node)
		if err != nil {
			return nil, err
		}
		info.Identities = []disco.Identity{{Category: "pubsub", Type: "leaf", Name: i.Config.Title}}
		info.Features = append(info.Features, mam.NS, mam.NSExtended)
		info.Forms = []*dataform.Form{metadata(&i)}
		return info.Append(nil), nil
	}, nil
}

// metadata is the form of section 5.4.
func metadata(i *model.NodeInfo) *dataform.Form {
	f := dataform.New(dataform.TypeResult, formMetadata)
	text := func(name, value string) {
		if value != "" {
			f.Add("pubsub#"+name, dataform.TextSingle, value)
		}
	}
	jids := func(name string, values []string) {
		if len(values) > 0 {
			f.Add("pubsub#"+name, dataform.JIDMulti, values...)
		}
	}
	text("title", i.Config.Title)
	text("description", i.Config.Description)
	text("language", i.Config.Language)
	text("type", i.Config.Type)
	if !i.Created.IsZero() {
		text("creation_date", delay.FormatTime(i.Created))
	}
	if i.Creator != "" && !strings.Contains(i.Creator, ":") {
		f.Add("pubsub#creator", dataform.JIDSingle, i.Creator)
	}
	jids("owner", i.Owners)
	jids("publisher", i.Publishers)
	jids("contact", i.Config.Contact)
	text("num_subscribers", strconv.Itoa(i.Subscribers))
	f.Add("pubsub#access_model", dataform.ListSingle, string(i.Config.AccessModel))
	f.Add("pubsub#publish_model", dataform.ListSingle, string(i.Config.PublishModel))
	return f
}

// items answers disco#items: with the nodes (section 5.2), with those that match a pattern, and with the items of a node
// (section 5.5).
func (r *request) items(query xmlstream.Element) (work, error) {
	node := query.Attr("node")
	page, err := rsm.Parse(rsm.Find(query))
	if err != nil {
		return nil, err
	}
	if node == nsCommands {
		return func(context.Context) ([]byte, error) {
			return disco.AppendItems(nil, node, []disco.Item{{JID: r.srv.domain, Node: commandPending, Name: pendingTitle}}, nil), nil
		}, nil
	}
	pattern := tidings.MustPattern("/**")
	if node != "" {
		if _, pattern, err = model.ParseNode(node); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) ([]byte, error) {
		if !pattern.IsZero() {
			return r.nodes(ctx, node, pattern, page)
		}
		return r.itemNames(ctx, node, page)
	}, nil
}

// nodes lists the nodes that match a pattern, by pages of their names.
func (r *request) nodes(ctx context.Context, node string, pattern tidings.Pattern, page rsm.Request) ([]byte, error) {
	topics, err := r.srv.opt.Topics(ctx, pattern)
	if err != nil {
		return nil, err
	}
	topics = slices.DeleteFunc(slices.Clone(topics), func(t tidings.Topic) bool { return !r.may(t) })
	for _, t := range r.srv.opt.Model.Nodes(r.who) {
		if pattern.Match(t) {
			topics = append(topics, t)
		}
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	from, to, err := cut(len(topics), page, func(node string) int {
		t, err := tidings.TopicOfNode(node)
		i, ok := slices.BinarySearch(topics, t)
		if err != nil || !ok {
			return -1
		}
		return i
	})
	if err != nil {
		return nil, err
	}
	items := make([]disco.Item, 0, to-from)
	for _, t := range topics[from:to] {
		it := disco.Item{JID: r.srv.domain, Node: t.Node()}
		if c := r.srv.opt.Model.Lookup(t); c != nil {
			it.Name = c.Title
		}
		items = append(items, it)
	}
	res := rsm.Result{Index: from, Count: len(topics)}
	if from < to {
		res.First, res.Last = topics[from].Node(), topics[to-1].Node()
	}
	return disco.AppendItems(nil, node, items, res.Append), nil
}

// itemNames lists the items of a node, which are none where none is kept.
func (r *request) itemNames(ctx context.Context, node string, page rsm.Request) ([]byte, error) {
	ask := model.ItemsRequest{Node: node, Names: true, Page: pageOf(page)}
	if page.Max < 0 || page.Max > maxList {
		ask.Page.Max = maxList
	}
	got, err := r.srv.opt.Model.Items(ctx, r.who, ask)
	if model.ConditionOf(err) == model.Unsupported {
		got, err = model.Items{}, nil
	}
	if err != nil {
		return nil, err
	}
	var items []disco.Item
	for _, name := range names(got.Items) {
		items = append(items, disco.Item{JID: r.srv.domain, Name: name})
	}
	return disco.AppendItems(nil, node, items, resultOf(&got).Append), nil
}
