package client

import (
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	"tidings"
	"tidings/xmpp/delay"
	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

const nsAtom = "http://www.w3.org/2005/Atom"

// Media types of what elements are.
const (
	typeEntry = "application/atom+xml;type=entry" // RFC 4287 section 7
	typeXML   = "application/xml"
	typeJSON  = "application/json"
	typeText  = "text/plain; charset=utf-8"
)

// itemsOf reads the items and retractions in an element items of a notification; one at least, without an ID where there is none.
func itemsOf(message, items xmlstream.Element, service jid.JID) (out []saying) {
	node := items.Attr("node")
	topic, _ := tidings.TopicOfNode(node) // "" where no topic can be of that name
	id := idOf(message, service)
	stamp, _, old := delay.Find(message)
	if !old {
		stamp = time.Now()
	}
	add := func(e Event) {
		e.Topic = topic
		if e.Time.IsZero() {
			e.Time = stamp
		}
		if e.ID == "" {
			e.ID = id
		}
		out = append(out, saying{id: id, event: e, old: old})
	}
	for c := range items.Children() {
		switch {
		case c.Space() != items.Space():
		case c.Name() == "item":
			add(itemOf(c, service, node))
		case c.Name() == "retract":
			add(Event{ID: c.Attr("id"), Kind: tidings.Retract})
		}
	}
	if len(out) == 0 { // a notification without an item (XEP-0060 section 7.1.2.2)
		add(Event{})
	}
	if len(out) == 1 {
		out[0].event.Position, _ = tidings.ParsePosition(id) // zero for another service's
	}
	return out
}

// itemOf reads an item. Its time is zero unless the payload tells it.
func itemOf(item xmlstream.Element, service jid.JID, node string) Event {
	e := Event{ID: item.Attr("id")}
	el := item.First()
	switch {
	case el.IsZero():
	case el.Is(nsJSON, "json"):
		e.ContentType, e.Payload = typeJSON, []byte(el.Text())
	case el.Is("", "rc"):
		e.setChange(el)
	case el.Is(nsAtom, "entry"):
		if el.Child(nsAtom, "id").Text() != itemURI(service, node, e.ID) || !e.unwrap(el) {
			e.ContentType, e.Payload = typeEntry, published(el)
		}
	default:
		e.ContentType, e.Payload = typeXML, published(el)
	}
	return e
}

// setChange takes the element rc.
func (e *Event) setChange(rc xmlstream.Element) {
	e.ContentType, e.Payload = typeRC, published(rc)
	if t, err := time.Parse(time.RFC3339, rc.Attr("timestamp")); err == nil {
		e.Time = t
	}
}

// unwrap takes what an Atom entry carries that was made to carry it: a change, text, or bytes in base64 (RFC 4287 section
// 4.1.3). It is known by its id, which names the item itself.
func (e *Event) unwrap(entry xmlstream.Element) bool {
	if rc := entry.Child("", "rc"); !rc.IsZero() {
		e.setChange(rc)
		return true
	}
	content := entry.Child(nsAtom, "content")
	switch typ := content.Attr("type"); {
	case content.IsZero():
		return false
	case typ == "" || typ == "text":
		e.ContentType, e.Payload = typeText, []byte(content.Text())
	default:
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(content.Text()), ""))
		if err != nil || !content.First().IsZero() {
			return false
		}
		e.ContentType, e.Payload = typ, b
	}
	if t, err := time.Parse(time.RFC3339, entry.Child(nsAtom, "updated").Text()); err == nil {
		e.Time = t
	}
	return true
}

// itemURI names an item (XEP-0060 section 12.22).
func itemURI(service jid.JID, node, item string) string {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return "xmpp:" + service.String() + "?;node=" + escape(node) + ";item=" + escape(item)
}
