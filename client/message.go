package client

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"time"

	"tidings"
	"tidings/xmpp/delay"
	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

// Namespaces of what stands in messages.
const (
	nsTidings = "urn:tidings:0"
	nsClient  = "jabber:client"
	nsSID     = "urn:xmpp:sid:0"  // XEP-0359
	nsJSON    = "urn:xmpp:json:0" // XEP-0335
	nsDelay   = delay.NS
)

// typeRC is the media type of the element <rc>.
const typeRC = "application/vnd.mediawiki.rc+xml"

// topicOf returns the topic that the localpart of a Tidings server's room stands for, "" if that cannot be seen.
func topicOf(local string) tidings.Topic {
	path := "/recentchange/" + local
	if strings.HasPrefix(local, `\2f`) {
		var err error
		if path, err = url.PathUnescape(jid.UnescapeLocal(local)); err != nil {
			return ""
		}
	} else if !strings.Contains(local, ".") {
		return "" // the id of a wiki, or a room of the configuration
	}
	t, err := tidings.ParseTopic(path)
	if err != nil {
		return ""
	}
	return t
}

// read reads what a message says; ok is false if that is nothing for a reader.
func (r *room) read(m xmlstream.Element, id string, stamp time.Time) (s saying, ok bool) {
	s.id = id
	e := &s.event
	e.Topic, e.ID, e.Time = r.topic, id, stamp
	e.Position, _ = tidings.ParsePosition(id) // zero for another server's
	var envelope, rc, retract, json, other xmlstream.Element
	for c := range m.Children() {
		switch space := c.Space(); {
		case c.Is(nsTidings, "gap"):
			if s.gap, ok = gapOf(nsTidings, "gap", []string{"asked", c.Attr("asked"), "oldest", c.Attr("oldest")}); !ok {
				s.gap = &tidings.GapError{} // whatever it says, it is a gap
			}
			return s, true
		case c.Is(nsTidings, "event"):
			envelope = c
		case c.Is(nsTidings, "retract"):
			retract = c
		case c.Is(nsJSON, "json"):
			json = c
		case c.Name() == "rc" && (space == nsClient || space == ""):
			rc = c
		case space == nsClient, space == nsSID, space == nsDelay, space == nsTidings:
		case other.IsZero():
			other = c
		}
	}
	body := m.Child(nsClient, "body").Text()
	switch {
	case !retract.IsZero():
		e.Kind = tidings.Retract
		e.ID = retract.Attr("item")
		r.told(e, retract)
	case !rc.IsZero():
		e.ContentType, e.Payload = typeRC, bytes.Clone(rc.Raw())
		if t, err := time.Parse(time.RFC3339, rc.Attr("timestamp")); err == nil {
			e.Time = t
		}
	case !envelope.IsZero():
		e.ID, e.ContentType = envelope.Attr("item"), envelope.Attr("type")
		if t, err := delay.ParseTime(envelope.Attr("time")); err == nil {
			e.Time = t
		}
		r.told(e, envelope)
		switch {
		case !json.IsZero():
			e.Payload = []byte(json.Text())
		case !other.IsZero():
			e.Payload = published(other)
		case body != fmt.Sprintf("[%d bytes of %s, item %s]", sizeOf(body), e.ContentType, e.ID):
			e.Payload = []byte(body)
		}
	case body != "": // another server's: what people say
		e.ContentType, e.Payload = "text/plain", []byte(body)
	default:
		return s, false
	}
	return s, true
}

// published returns an element as it was published.
func published(el xmlstream.Element) []byte {
	b := el.AppendXML(nil, "")
	if el.Space() == "" { // which had to be said in the message
		b = bytes.Replace(b, []byte(" xmlns=''"), nil, 1)
	}
	return b
}

// told takes the topic that an element names.
func (r *room) told(e *Event, el xmlstream.Element) {
	if t, err := tidings.ParseTopic(el.Attr("topic")); err == nil {
		e.Topic = t
	}
}

// sizeOf returns the number that a body tells in place of a payload that is no text, -1 for another body.
func sizeOf(body string) int {
	n := -1
	if _, err := fmt.Sscanf(body, "[%d bytes of ", &n); err != nil {
		return -1
	}
	return n
}

// gapOf reads the element gap: its namespace, its name, and names and values of its attributes by turns.
func gapOf(space, name string, attrs []string) (*tidings.GapError, bool) {
	if space != nsTidings || name != "gap" {
		return nil, false
	}
	gap := &tidings.GapError{}
	for i := 0; i+1 < len(attrs); i += 2 {
		p, err := tidings.ParsePosition(attrs[i+1])
		switch {
		case err != nil:
		case attrs[i] == "asked":
			gap.Asked = p
		case attrs[i] == "oldest":
			gap.Oldest = p
		}
	}
	return gap, !gap.Oldest.IsZero()
}
