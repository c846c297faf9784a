package xmpp

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"

	"tidings"
	"tidings/hub"
	"tidings/recentchange"
	"tidings/xmpp/delay"
	"tidings/xmpp/xmlstream"
)

// Namespaces of elements in messages.
const (
	nsClient  = "jabber:client"
	nsAtom    = "http://www.w3.org/2005/Atom"
	nsJSON    = "urn:xmpp:json:0"            // XEP-0335
	nsRetract = "urn:xmpp:message-retract:1" // XEP-0424
)

// AppendContent appends what stands inside a message about the event: the body, which is never empty, and
//
//   - of a recent change the element <rc> as the XMLRC bridge sent it, without a namespace of its own: one that came so goes
//     out with the same bytes, if they are XML that a stream can hold
//   - of JSON the element json (XEP-0335), of XML that a stream can hold the element itself; of both, of text and of
//     everything else the element event, with the topic, the item, the content type and the time
//   - of a retraction the element retract with the item, and XEP-0424's if the item is named by its position
//
// Characters that XML does not have become U+FFFD.
func AppendContent(dst []byte, it *hub.Item) []byte {
	d := documents.Get().(*xmlstream.Document)
	defer documents.Put(d)
	rc, _ := it.Value().(*recentchange.RecentChange)
	change := rc != nil && it.Kind == tidings.Publish
	var el xmlstream.Element
	if it.Kind == tidings.Publish && (change && rc.Dialect == recentchange.TypeRC || !change && isXML(it.ContentType)) {
		el = element(d, it.Payload)
	}
	dst = xmlstream.AppendText(append(dst, "<body>"...), body(it, rc, el))
	dst = append(dst, "</body>"...)
	switch {
	case change && el.Is("", "rc"):
		return append(dst, el.Raw()...)
	case change:
		return rc.AppendRC(dst)
	case it.Kind == tidings.Retract:
		dst = xmlstream.AppendPairs(append(dst, "<retract xmlns='"+NS+"'"...), "item", it.ItemID(), "topic", string(it.Topic))
		dst = append(dst, "/>"...)
		if p, err := tidings.ParsePosition(it.ItemID()); err == nil && p.Epoch == it.Position.Epoch {
			dst = append(xmlstream.AppendPairs(append(dst, "<retract xmlns='"+nsRetract+"'"...), "id", it.ItemID()), "/>"...)
		}
		return dst
	case !el.IsZero() && !reserved(el.Space()):
		dst = el.AppendXML(dst, nsClient)
	case carriesJSON(it):
		dst = xmlstream.AppendText(append(dst, "<json xmlns='"+nsJSON+"'>"...), it.Payload)
		dst = append(dst, "</json>"...)
	}
	dst = xmlstream.AppendPairs(append(dst, "<event xmlns='"+NS+"'"...), "topic", string(it.Topic), "item", it.ItemID(), "type", it.ContentType)
	dst = delay.AppendTime(append(dst, " time='"...), it.Time)
	return append(dst, "'/>"...)
}

// carriesJSON reports whether a message has the payload as an element of JSON.
func carriesJSON(it *hub.Item) bool { return isJSON(it.ContentType) && json.Valid(it.Payload) }

var documents = sync.Pool{New: func() any { return new(xmlstream.Document) }}

// element parses a payload, without the XML declaration that a stream cannot hold (RFC 6120 section 11.1). It returns none
// for what is not well-formed and for comments, processing instructions and a DTD.
func element(d *xmlstream.Document, payload []byte) xmlstream.Element {
	p := bytes.TrimSpace(bytes.TrimPrefix(payload, []byte("\xef\xbb\xbf")))
	if bytes.HasPrefix(p, []byte("<?xml")) {
		_, rest, ok := bytes.Cut(p, []byte("?>"))
		if !ok {
			return xmlstream.Element{}
		}
		p = bytes.TrimSpace(rest)
	}
	el, err := d.Parse(p, nil)
	if err != nil {
		return xmlstream.Element{}
	}
	return el
}

// reserved reports whether elements of a namespace mean something to clients beside being content: what a publisher writes
// must not be taken for what the room or the server says. Their content is in the body.
func reserved(space string) bool {
	switch space {
	case nsClient, "jabber:server", "jabber:component:accept", xmlstream.SpaceStream, "http://jabber.org/protocol/muc",
		"http://jabber.org/protocol/muc#user", "http://jabber.org/protocol/address", "jabber:x:delay", "jabber:x:conference",
		"jabber:x:oob", "jabber:x:encrypted", nsJSON, NS:
		return true
	}
	rest, ok := strings.CutPrefix(space, "urn:xmpp:")
	if !ok {
		return strings.HasPrefix(space, "http://jabber.org/protocol/pubsub") || strings.HasPrefix(space, "urn:ietf:params:xml:ns:xmpp-")
	}
	name, _, _ := strings.Cut(rest, ":")
	switch name {
	case "sid", "delay", "mam", "forward", "carbons", "receipts", "chat-markers", "message-correct", "message-retract",
		"message-moderate", "occupant-id", "hints", "jingle-message", "eme", "reply", "fallback", "reactions", "omemo", "sce",
		"fasten", "attention", "idle", "spoiler":
		return true
	}
	return false
}

// summary returns what an element says to people: of an Atom entry the title and the link, of another its text.
func summary(el xmlstream.Element) string {
	if el.Is(nsAtom, "entry") {
		text := oneLine(el.Child(nsAtom, "title").Text())
		for c := range el.Children() {
			if rel := c.Attr("rel"); c.Is(nsAtom, "link") && (rel == "" || rel == "alternate") && c.Attr("href") != "" {
				return shorten(strings.TrimSpace(text + " " + c.Attr("href")))
			}
		}
		if text != "" {
			return shorten(text)
		}
	}
	var b strings.Builder
	appendText(&b, el)
	return shorten(oneLine(b.String()))
}

// appendText writes the text of an element and of those in it, as long as it is needed.
func appendText(b *strings.Builder, el xmlstream.Element) {
	if b.Len() > maxSummary {
		return
	}
	b.WriteString(el.Text())
	b.WriteByte(' ')
	for c := range el.Children() {
		appendText(b, c)
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
