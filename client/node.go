package client

import (
	"context"
	"strings"
	"time"

	"tidings"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/stanza"
	xmppstream "tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Namespaces of XEP-0060.
const (
	nsPubSub       = "http://jabber.org/protocol/pubsub"
	nsPubSubEvent  = nsPubSub + "#event"
	nsPubSubErrors = nsPubSub + "#errors"
)

// node is a node of a PubSub service, or all the nodes that a pattern matches. It is subscribed to by the full JID of the
// session: the user's own subscriptions, which are by the bare JID, stay as they are, and get nothing of ours.
type node struct {
	feed
	pattern tidings.Pattern // zero for one node

	asked  string    // id of the request that is not answered: to subscribe, or whether we still are subscribed
	since  time.Time // when that was asked
	self   string    // the JID that is subscribed; "" for none
	subID  string
	former []former // what sessions that were lost have subscribed to
}

// former is a subscription of a session that is lost.
type former struct{ jid, subID string }

// findNodes makes the nodes of the patterns, or of the address.
func (s *xmppStream) findNodes(ctx context.Context) error {
	service, err := s.c.service(ctx, s.conn)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	add := func(name string, p tidings.Pattern) {
		if _, one := p.Topic(); one {
			p = tidings.Pattern{}
		}
		if !seen[name] {
			seen[name] = true
			s.parts = append(s.parts, newNode(s, service, name, p))
		}
	}
	if len(s.patterns) == 0 {
		add(s.c.xmpp.node, patternOfNode(s.c.xmpp.node))
	}
	for _, p := range s.patterns {
		if t, one := p.Topic(); one {
			add(t.Node(), p)
		} else {
			add(p.String(), p)
		}
	}
	return nil
}

// patternOfNode returns the pattern that the name of a node is, zero if it is none.
func patternOfNode(name string) tidings.Pattern {
	p, err := tidings.ParsePattern(name)
	if _, one := p.Topic(); err != nil || one {
		return tidings.Pattern{}
	}
	return p
}

// overlap reports whether there may be a topic that both patterns match.
func overlap(p, q tidings.Pattern) bool {
	if t, one := p.Topic(); one {
		return q.Match(t)
	}
	if t, one := q.Topic(); one {
		return p.Match(t)
	}
	a, b := p.Segments(), q.Segments()
	for i := 0; ; i++ {
		switch {
		case i == len(a) || i == len(b):
			return len(a) == len(b) || i < len(a) && a[i] == "**" || i < len(b) && b[i] == "**"
		case a[i] == "**" || b[i] == "**":
			return true
		case a[i] != b[i] && !strings.ContainsAny(a[i]+b[i], "*?["):
			return false
		}
	}
}

func newNode(s *xmppStream, service jid.JID, name string, p tidings.Pattern) *node {
	n := &node{feed: feed{s: s, jid: service, node: name, name: name + " at " + service.String()}, pattern: p}
	n.parse = n.archived
	n.unkept = n.readList
	return n
}

// owns reports whether items of the node with a name are ours.
func (n *node) owns(name string) bool {
	if n.pattern.IsZero() {
		return name == n.node
	}
	t, err := tidings.TopicOfNode(name)
	return err == nil && n.pattern.Match(t)
}

// request sends what is asked of the service about subscriptions and returns its id.
func (n *node) request(typ, operation string, attrs ...string) (id string, err error) {
	id = xmppstream.NewID()
	var b xmlstream.Builder
	b.Open("pubsub", "xmlns", nsPubSub).Empty(operation, append([]string{"node", n.node}, attrs...)...).Close()
	return id, n.send(stanza.IQ, typ, id, n.jid, b.Bytes())
}

// enter subscribes (XEP-0060 section 6.1). What an earlier session has left with a service that does not notice its end is
// ended behind that.
func (n *node) enter() (err error) {
	n.reset()
	if n.list != nil {
		n.list.reading = false
	}
	if n.self != "" && n.s.c.xmpp.account.Local() != "" {
		n.former = append(n.former, former{n.self, n.subID})
	}
	n.self, n.subID = "", ""
	if n.asked, err = n.request(stanza.TypeSet, "subscribe", "jid", n.s.conn.JID().String()); err != nil {
		return err
	}
	for _, f := range n.former {
		if err := n.unsubscribe(f); err != nil {
			return err
		}
	}
	return nil
}

// unsubscribe is section 6.2. The answer is for nobody.
func (n *node) unsubscribe(f former) error {
	attrs := []string{"jid", f.jid}
	if f.subID != "" {
		attrs = append(attrs, "subid", f.subID)
	}
	_, err := n.request(stanza.TypeSet, "unsubscribe", attrs...)
	return err
}

// leave implements part: it unsubscribes.
func (n *node) leave() bool {
	if n.self == "" {
		return false
	}
	_ = n.unsubscribe(former{n.self, n.subID}) // a connection that fails now is the end as well
	n.self = ""
	return true
}

// take implements part.
func (n *node) take(st *stanza.Stanza) (mine bool, err error) {
	if st.From != n.jid && !(st.From.IsZero() && n.jid == n.s.conn.JID().Bare()) {
		return false, nil
	}
	switch st.Kind {
	case stanza.IQ:
		switch {
		case st.ID == "" || st.ID != n.asked && st.ID != n.query:
			return false, nil
		case st.ID == n.asked && n.state == joining:
			err = n.subscribed(st)
		case st.ID == n.asked:
			err = n.checked(st)
		case n.list != nil && n.list.reading:
			err = n.listed(st)
		default:
			err = n.answer(st)
		}
	case stanza.Message:
		mine, err = n.message(st)
		if !mine {
			return false, err
		}
	default:
		return false, nil
	}
	n.heard = time.Now()
	return true, err
}

// subscription returns the subscription with our JID that a parent has, zero if there is none.
func (n *node) subscription(parent xmlstream.Element) xmlstream.Element {
	for c := range parent.Children() {
		if node := c.Attr("node"); c.Name() == "subscription" && (node == n.node || node == "") && c.Attr("jid") == n.s.conn.JID().String() {
			return c
		}
	}
	return xmlstream.Element{}
}

// subscribed takes the answer to the request to subscribe.
func (n *node) subscribed(st *stanza.Stanza) error {
	n.asked = ""
	if st.Type == stanza.TypeError {
		return n.refusal("subscribing to", st.Err())
	}
	sub := n.subscription(st.Payload())
	n.self, n.subID, n.former = n.s.conn.JID().String(), sub.Attr("subid"), nil
	switch state := sub.Attr("subscription"); state {
	case "", "subscribed":
	case "pending":
		return tidings.Errorf(tidings.ErrForbidden, "client: the subscription to %s has to be approved by an owner of the node; one whom an owner makes a member needs no approval", n.name)
	default:
		return tidings.Errorf(tidings.ErrInvalid, "client: the subscription to %s is %q, which is not how a node can be read", n.name, state)
	}
	n.s.connected = true
	if n.jid.Local() != "" { // an account's own nodes (XEP-0163): its archive is that of its messages
		return n.readList()
	}
	return n.entered()
}

// look implements part: a service that says nothing is asked whether we are still subscribed.
func (n *node) look(now time.Time) (err error) {
	waits := n.heard
	switch {
	case n.asked != "" && n.state == live:
		waits = n.since
	case n.state == live && now.Sub(n.heard) >= n.s.c.silence:
		n.since = now
		n.asked, err = n.request(stanza.TypeGet, "subscriptions")
		return err
	case n.state == live:
		return nil
	}
	if now.Sub(waits) >= n.s.c.timeout {
		return tidings.Errorf(tidings.ErrUnavailable, "client: %s does not answer", n.jid)
	}
	return nil
}

// checked takes the answer to the question whether we are still subscribed (section 5.6).
func (n *node) checked(st *stanza.Stanza) error {
	n.asked = ""
	if st.Type == stanza.TypeError {
		e := st.Err()
		switch e.Condition {
		case "feature-not-implemented", "service-unavailable", "bad-request", "forbidden", "not-allowed", "not-authorized":
			if e.Type != stanza.Wait {
				return nil // it is there, and does not say
			}
		}
		return n.refusal("the subscription to", e)
	}
	if sub := n.subscription(st.Payload().First()); sub.Attr("subscription") == "subscribed" {
		return nil
	}
	return n.enter() // we have been forgotten
}

// message takes a message of the service: a notification, or what the archive has.
func (n *node) message(st *stanza.Stanza) (mine bool, err error) {
	if st.Type == stanza.TypeError {
		return false, nil
	}
	if found, ok := mam.FindResult(st.Element); ok {
		if found.QueryID != n.query || n.query == "" {
			return false, nil
		}
		return true, n.result(found)
	}
	for c := range st.Element.Children() {
		switch {
		case c.Is(nsTidings, "gap"):
			gap, ok := gapOf(nsTidings, "gap", []string{"asked", c.Attr("asked"), "oldest", c.Attr("oldest")})
			if ok && len(n.s.parts) == 1 {
				return true, n.say(saying{gap: gap})
			}
			if !ok { // whatever it says, it is a gap
				gap = &tidings.GapError{}
			}
			return true, n.s.emit(Event{}, gap) // of one of several nodes: none goes on from there
		case c.Is(nsPubSubEvent, "event"), c.Is(nsPubSub, "pubsub"):
			return n.event(st.Element, c)
		}
	}
	return false, nil
}

// event takes what the service tells of the node (sections 7.1.2, 7.2.2, 8.2.3, 8.4.2, 8.5.2, 8.8.4).
func (n *node) event(message, event xmlstream.Element) (mine bool, err error) {
	if sub := n.subscription(event); !sub.IsZero() && sub.Attr("node") == n.node {
		if sub.Attr("subscription") == "none" && n.self != "" {
			n.self = ""
			return true, tidings.Errorf(tidings.ErrForbidden, "client: %s has ended the subscription to %s", n.jid, n.node)
		}
		return true, nil
	}
	for c := range event.Children() {
		name := c.Attr("node")
		if !n.owns(name) {
			continue
		}
		switch c.Name() {
		case "items":
			all := itemsOf(message, c, n.jid)
			if p, err := tidings.ParsePosition(all[0].id); err == nil && len(all) > 1 && !p.IsZero() {
				continue // a digest of another subscription of the account's: ours brings each of them
			}
			for _, m := range all {
				if err := n.say(m); err != nil {
					return true, err
				}
			}
		case "purge":
			if n.list != nil {
				n.list.clear()
			}
		case "delete":
			if !n.pattern.IsZero() {
				return true, nil // it is one of many
			}
			n.self = ""
			why := ""
			if uri := c.Child(nsPubSubEvent, "redirect").Attr("uri"); uri != "" {
				why = ": go on at " + uri
			}
			return true, tidings.Errorf(tidings.ErrNotFound, "client: %s has been deleted%s", n.name, why)
		}
		return true, nil
	}
	return false, nil
}

// archived reads a message of the archive, which has one item (XEP-0442).
func (n *node) archived(message xmlstream.Element, id string, stamp time.Time) (s saying, ok bool) {
	items := message.Child(nsPubSubEvent, "event").Child(nsPubSubEvent, "items")
	if !n.owns(items.Attr("node")) {
		return s, false
	}
	m := itemsOf(message, items, n.jid)[0]
	m.id = id
	m.event.Position, _ = tidings.ParsePosition(id) // zero for another service's
	if m.event.ContentType != typeRC {
		m.event.Time = stamp
	}
	if m.event.ID == "" {
		m.event.ID = id
	}
	return m, true
}
