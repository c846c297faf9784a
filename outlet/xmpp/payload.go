package xmpp

import (
	"encoding/base64"
	"mime"
	"strings"
	"unicode/utf8"

	"tidings"
	"tidings/hub"
	"tidings/recentchange"
	"tidings/xmpp/delay"
	"tidings/xmpp/xmlstream"
)

// AppendPayload appends an event as the payload of a PubSub item, one element inside a parent whose default namespace is
// space:
//
//   - XML that a stream can hold as it is, and JSON as the element json (XEP-0335)
//   - a recent change as an Atom entry that holds the element rc, which has no namespace
//   - anything else as an Atom entry with the payload as its content (RFC 4287 section 4.1.3): text as it is, other bytes in
//     base64
//
// uri names the item: it is the id of an entry (RFC 4287 section 4.2.6). An event without a payload and a content type has
// none.
func AppendPayload(dst []byte, it *hub.Item, space, uri string) []byte {
	d := documents.Get().(*xmlstream.Document)
	defer documents.Put(d)
	rc, _ := it.Value().(*recentchange.RecentChange)
	var el xmlstream.Element
	if rc == nil && isXML(it.ContentType) || rc != nil && rc.Dialect == recentchange.TypeRC {
		el = element(d, it.Payload)
	}
	switch {
	case rc != nil:
		return appendChangeEntry(dst, it, rc, el, uri)
	case !el.IsZero():
		return el.AppendXML(dst, space)
	case carriesJSON(it):
		dst = xmlstream.AppendText(append(dst, "<json xmlns='"+nsJSON+"'>"...), it.Payload)
		return append(dst, "</json>"...)
	case len(it.Payload) == 0 && it.ContentType == "":
		return dst
	}
	dst = appendEntry(dst, it, uri, it.ItemID())
	dst = append(dst, "<content"...)
	switch media, _, _ := mime.ParseMediaType(it.ContentType); {
	case strings.HasPrefix(media, "text/") && media != "text/html" && utf8.Valid(it.Payload):
		dst = xmlstream.AppendText(append(dst, '>'), it.Payload)
	default:
		if media == "" {
			media = "application/octet-stream"
		}
		dst = append(xmlstream.AppendPairs(dst, "type", media), '>')
		dst = base64.StdEncoding.AppendEncode(dst, it.Payload)
	}
	return append(dst, "</content></entry>"...)
}

// appendEntry appends the start of an Atom entry and what every entry has.
func appendEntry(dst []byte, it *hub.Item, uri, title string) []byte {
	dst = xmlstream.AppendText(append(dst, "<entry xmlns='"+nsAtom+"'><id>"...), uri)
	dst = xmlstream.AppendText(append(dst, "</id><title>"...), title)
	dst = delay.AppendTime(append(dst, "</title><updated>"...), it.Time)
	return append(dst, "</updated>"...)
}

// appendChangeEntry appends a recent change. el is its payload if that is the element rc.
func appendChangeEntry(dst []byte, it *hub.Item, rc *recentchange.RecentChange, el xmlstream.Element, uri string) []byte {
	title := rc.Title.Value()
	if title == "" {
		title = it.ItemID()
	}
	dst = appendEntry(dst, it, uri, title)
	if user := rc.User.Value(); user != "" {
		dst = xmlstream.AppendText(append(dst, "<author><name>"...), user)
		dst = append(dst, "</name></author>"...)
	}
	target := title
	if rc.Type == recentchange.Log {
		target = "Special:Log/" + rc.LogType.Value()
	}
	if url := appendURL(nil, rc, target); len(url) > 0 {
		dst = append(xmlstream.AppendPairs(append(dst, "<link rel='alternate'"...), "href", string(url)), "/>"...)
	}
	dst = xmlstream.AppendText(append(dst, "<summary>"...), body(it, rc, el))
	dst = append(dst, "</summary>"...)
	if el.Is("", "rc") {
		dst = el.AppendXML(dst, nsAtom)
	} else {
		const tag = "<rc"
		written := rc.AppendRC(nil)
		dst = append(append(dst, tag+" xmlns=''"...), written[len(tag):]...)
	}
	return append(dst, "</entry>"...)
}

// Content types of what is published over XMPP.
const (
	TypeEntry = "application/atom+xml;type=entry" // an Atom entry (RFC 4287 section 7)
	TypeXML   = "application/xml"
	TypeJSON  = "application/json"
)

// Payload returns what an element of a PubSub item says, as events have it: the text of XEP-0335's json, and of any other
// element the XML, which declares what it needs.
func Payload(el xmlstream.Element) (contentType string, payload []byte) {
	switch {
	case el.Is(nsJSON, "json"):
		return TypeJSON, []byte(el.Text())
	case el.Is("", "rc"):
		contentType = recentchange.TypeRC
	case el.Is(nsAtom, "entry"):
		contentType = TypeEntry
	default:
		contentType = TypeXML
	}
	return contentType, el.AppendXML(nil, "")
}

// Body returns the text for people of an event, which is never empty.
func Body(it *hub.Item) string {
	d := documents.Get().(*xmlstream.Document)
	defer documents.Put(d)
	rc, _ := it.Value().(*recentchange.RecentChange)
	var el xmlstream.Element
	if it.Kind == tidings.Publish && rc == nil && isXML(it.ContentType) {
		el = element(d, it.Payload)
	}
	return body(it, rc, el)
}
