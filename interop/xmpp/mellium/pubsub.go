package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/form"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/mux"
	"mellium.im/xmpp/paging"
	"mellium.im/xmpp/pubsub"
	"mellium.im/xmpp/stanza"
)

const nsEvent = "http://jabber.org/protocol/pubsub#event"

// event is what the service tells in a message.
type event struct {
	stanza.Message
	Event struct {
		Items []struct {
			Node string `xml:"node,attr"`
			Item []struct {
				ID    string `xml:"id,attr"`
				Entry struct {
					RC *struct {
						Attrs []xml.Attr `xml:",any,attr"`
					} `xml:"rc"`
				} `xml:"entry"`
			} `xml:"item"`
		} `xml:"items"`
		Configuration []struct {
			Node string `xml:"node,attr"`
		} `xml:"configuration"`
		Delete []struct {
			Node string `xml:"node,attr"`
		} `xml:"delete"`
	} `xml:"http://jabber.org/protocol/pubsub#event event"`
}

// notices reports what the service tells, and lets others wait for it.
type notices struct {
	mu      sync.Mutex
	changed sync.Cond
	seen    map[[3]string]bool
	items   int
}

func newNotices() *notices {
	n := &notices{seen: map[[3]string]bool{}}
	n.changed.L = &n.mu
	return n
}

func (n *notices) tell(kind, node, id string, more map[string]any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if more == nil {
		more = map[string]any{}
	}
	more["node"] = node
	if kind == "item" {
		more["id"] = id
		n.items++
	}
	report(kind, more)
	n.seen[[3]string{kind, node, id}] = true
	n.changed.Broadcast()
}

func (n *notices) until(ready func() bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for !ready() {
		n.changed.Wait()
	}
}

func (n *notices) wait(kind, node, id string) {
	n.until(func() bool { return n.seen[[3]string{kind, node, id}] })
}

// more returns when so many more items have been told.
func (n *notices) more(count int) {
	n.mu.Lock()
	goal := n.items + count
	n.mu.Unlock()
	n.until(func() bool { return n.items >= goal })
}

// HandleMessage is called with each message that has an event.
func (n *notices) HandleMessage(_ stanza.Message, r xmlstream.TokenReadEncoder) error {
	var got event
	if err := xml.NewTokenDecoder(r).Decode(&got); err != nil && err != io.EOF {
		return err
	}
	for _, items := range got.Event.Items {
		for _, i := range items.Item {
			var rc any
			if i.Entry.RC != nil {
				rc = attributes(i.Entry.RC.Attrs)
			}
			n.tell("item", items.Node, i.ID, map[string]any{"rc": rc})
		}
	}
	for _, c := range got.Event.Configuration {
		n.tell("configuration", c.Node, "", nil)
	}
	for _, d := range got.Event.Delete {
		n.tell("deleted", d.Node, "", nil)
	}
	return nil
}

// round is the round of PubSub (XEP-0060) with one service.
type round struct {
	*notices
	s       *xmpp.Session
	service jid.JID
}

func (r *round) iq() stanza.IQ { return stanza.IQ{To: r.service} }

func element(name string, payload xml.TokenReader, attrs ...string) xml.TokenReader {
	start := xml.StartElement{Name: xml.Name{Local: name}}
	for i := 0; i < len(attrs); i += 2 {
		start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: attrs[i]}, Value: attrs[i+1]})
	}
	return xmlstream.Wrap(payload, start)
}

func in(namespace string, payload ...xml.TokenReader) xml.TokenReader {
	return xmlstream.Wrap(xmlstream.MultiReader(payload...), xml.StartElement{Name: xml.Name{Space: namespace, Local: "pubsub"}})
}

// subscribe and deletion of nodes are not in the library.
func (r *round) subscribe(ctx context.Context, node string) error {
	iq := r.iq()
	iq.Type = stanza.SetIQ
	return r.s.UnmarshalIQElement(ctx, in(pubsub.NS, element("subscribe", nil, "node", node, "jid", r.s.LocalAddr().Bare().String())), iq, nil)
}

func (r *round) deleteNode(ctx context.Context, node string) error {
	iq := r.iq()
	iq.Type = stanza.SetIQ
	return r.s.UnmarshalIQElement(ctx, in(pubsub.NSOwner, element("delete", nil, "node", node)), iq, nil)
}

func (r *round) publish(ctx context.Context, node, id string) error {
	title := element("title", xmlstream.Token(xml.CharData("from "+id)))
	entry := xmlstream.Wrap(title, xml.StartElement{Name: xml.Name{Space: "http://www.w3.org/2005/Atom", Local: "entry"}})
	_, err := pubsub.PublishIQ(ctx, r.s, r.iq(), node, id, entry)
	return err
}

// allItems reads all items by pages of two.
func (r *round) allItems(ctx context.Context, node string) error {
	ids, pages, after := []string{}, 0, ""
	for {
		iq := r.iq()
		iq.Type = stanza.GetIQ
		var page struct {
			XMLName xml.Name `xml:"http://jabber.org/protocol/pubsub pubsub"`
			Items   []struct {
				ID string `xml:"id,attr"`
			} `xml:"items>item"`
			Set struct {
				Last string `xml:"last"`
			} `xml:"http://jabber.org/protocol/rsm set"`
		}
		next := &paging.RequestNext{Max: 2, After: after}
		if err := r.s.UnmarshalIQElement(ctx, in(pubsub.NS, element("items", nil, "node", node), next.TokenReader()), iq, &page); err != nil {
			return err
		}
		for _, i := range page.Items {
			ids = append(ids, i.ID)
		}
		if len(page.Items) > 0 {
			pages++
		}
		if after = page.Set.Last; after == "" || len(page.Items) == 0 {
			break
		}
	}
	report("items", map[string]any{"ids": ids, "pages": pages})
	return nil
}

// attempt reports a refusal and returns whether there was none.
func attempt(action string, err error) (bool, error) {
	var refused stanza.Error
	if errors.As(err, &refused) {
		report("refused", map[string]any{"action": action, "condition": string(refused.Condition)})
		return false, nil
	}
	return err == nil, err
}

// configure sets the fields that the service offers, and returns which.
func (r *round) configure(ctx context.Context, node string, fields map[string]any) (map[string]bool, error) {
	f, err := pubsub.GetConfigIQ(ctx, r.s, r.iq(), node)
	if err != nil {
		return nil, err
	}
	offered := map[string]bool{}
	f.ForFields(func(d form.FieldData) {
		if _, ok := fields[d.Var]; ok {
			offered[d.Var] = true
		}
	})
	for name := range offered {
		if _, err := f.Set(name, fields[name]); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return offered, pubsub.SetConfigIQ(ctx, r.s, r.iq(), node, f)
}

// ownNode configures a node, is told so, publishes, and deletes it.
func (r *round) ownNode(ctx context.Context, node string) error {
	tells, err := r.configure(ctx, node, map[string]any{"pubsub#notify_config": true, "pubsub#notify_delete": true})
	if err != nil {
		return err
	}
	if err := r.subscribe(ctx, node); err != nil {
		return err
	}
	if _, err := r.configure(ctx, node, map[string]any{"pubsub#max_items": "7"}); err != nil {
		return err
	}
	if tells["pubsub#notify_config"] {
		r.wait("configuration", node, "")
	}
	f, err := pubsub.GetConfigIQ(ctx, r.s, r.iq(), node)
	if err != nil {
		return err
	}
	items, _ := f.Raw("pubsub#max_items")
	report("configured", map[string]any{"node": node, "max_items": strings.Join(items, " ")})
	if err := r.publish(ctx, node, "own-1"); err != nil {
		return err
	}
	r.wait("item", node, "own-1")
	if err := r.deleteNode(ctx, node); err != nil {
		return err
	}
	if tells["pubsub#notify_delete"] {
		r.wait("deleted", node, "")
	}
	return nil
}

func (c *client) pubsub(ctx context.Context, target string, count int) error {
	host, node, _ := strings.Cut(target, "/")
	s, err := c.login(ctx)
	if err != nil {
		return err
	}
	r := &round{newNotices(), s, jid.MustParse(host)}
	told := xml.Name{Space: nsEvent, Local: "event"}
	go s.Serve(mux.New(stanza.NSClient, mux.Message(stanza.HeadlineMessage, told, r), mux.Message(stanza.NormalMessage, told, r)))
	if err := r.subscribe(ctx, node); err != nil {
		return err
	}
	report("subscribed", map[string]any{"node": node})
	if err := r.allItems(ctx, node); err != nil {
		return err
	}
	name := s.LocalAddr().Resourcepart()
	if ok, err := attempt("publish", r.publish(ctx, node, "from-"+name)); err != nil {
		return err
	} else if ok {
		report("published", map[string]any{"id": "from-" + name})
	}
	own := node + "-" + name
	if ok, err := attempt("create", pubsub.CreateNodeIQ(ctx, s, r.iq(), own, nil)); err != nil {
		return err
	} else if ok {
		report("created", map[string]any{"node": own})
		if err := r.ownNode(ctx, own); err != nil {
			return err
		}
	}
	report("ready", nil)
	r.more(count)
	return s.Close()
}
