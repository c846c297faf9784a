package pubsub

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"

	"tidings"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	model "tidings/pubsub"
	"tidings/xmpp/delay"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/xmlstream"
)

// Namespaces of notifications.
const (
	nsEvent = model.NS + "#event"
	nsSHIM  = "http://jabber.org/protocol/shim" // XEP-0131
	nsSID   = "urn:xmpp:sid:0"                  // XEP-0359
)

// form is how events look to subscribers (XEP-0060 sections 7.1.2 and 7.2.2). The bytes of messages begin with service.To.
type form struct {
	service string
	body    bool   // messages have a body (pubsub#include_body)
	subID   string // of the subscription, where its subscriber has several
	digest  bool   // messages are in parts, for digest
	model   *model.Service
}

// form returns the form of a subscription's notifications, which say its SubID where its subscriber has several.
func (s *Server) form(sub *model.Subscription, several bool) form {
	f := form{service: s.domain.String(), body: sub.Options.IncludeBody, digest: sub.Options.Digest, model: s.opt.Model}
	if several {
		f.subID = sub.SubID
	}
	return f
}

// Key names the form.
func (f form) Key() string {
	return fmt.Sprintf("xmpp pubsub %s %t %t %s", f.service, f.body, f.digest, f.subID)
}

// config returns how the topic's node wants its notifications to be.
func (f form) config(t tidings.Topic) *model.Config {
	if c := f.model.Lookup(t); c != nil {
		return c
	}
	return &topics
}

// topics is the configuration of topics that have none of their own.
var topics = model.DefaultConfig()

// Append appends the message that notifies of the event; nothing if the node does not want that.
func (f form) Append(dst []byte, it *hub.Item) []byte {
	c := f.config(it.Topic)
	if !c.DeliverNotifications || it.Kind == tidings.Retract && !c.NotifyRetract && it.ContentType != model.TypeNotify {
		return dst
	}
	return append(f.append(append(dst, service.To), it, c), "</message>"...)
}

// append appends the message from the attributes behind to up to the end of its content.
func (f form) append(dst []byte, it *hub.Item, c *model.Config) []byte {
	dst = f.part(append(attr(append(dst, " from='"...), f.service), "' id='"...))
	dst = append(f.part(it.Position.AppendText(dst)), '\'')
	if c.NotificationType == "headline" {
		dst = append(dst, " type='headline'"...)
	}
	dst = append(dst, '>')
	dst = f.appendEvent(dst, it, c)
	if f.subID != "" {
		dst = append(dst, "<headers xmlns='"+nsSHIM+"'><header name='SubID'>"...)
		dst = append(xmlstream.AppendText(dst, f.subID), "</header></headers>"...)
	}
	if f.body {
		dst = append(dst, "<body>"...)
	}
	if dst = f.part(dst); f.body {
		dst = xmlstream.AppendText(dst, wire.Body(it))
	}
	if dst = f.part(dst); f.body {
		dst = append(dst, "</body>"...)
	}
	dst = attr(append(dst, "<stanza-id xmlns='"+nsSID+"' by='"...), f.service)
	dst = it.Position.AppendText(append(dst, "' id='"...))
	return append(dst, "'/>"...)
}

// appendEvent appends the element event.
func (f form) appendEvent(dst []byte, it *hub.Item, c *model.Config) []byte {
	dst = attr(append(dst, "<event xmlns='"+nsEvent+"'><items node='"...), it.Topic.Node())
	switch {
	case it.Kind == tidings.Retract:
		dst = attr(append(f.part(append(dst, "'>"...)), "<retract id='"...), it.ItemID())
		dst = append(dst, "'/>"...)
	case !c.PersistItems && !c.DeliverPayloads:
		return append(f.part(f.part(append(dst, "'/>"...))), "</event>"...)
	default:
		dst = f.appendItem(f.part(append(dst, "'>"...)), it, nsEvent, c.DeliverPayloads)
	}
	return append(f.part(dst), "</items></event>"...)
}

// part ends a part of a message that a digest is made of.
func (f form) part(dst []byte) []byte {
	if f.digest {
		dst = append(dst, partEnd)
	}
	return dst
}

// appendItem appends an item as an element of the namespace space.
func (f form) appendItem(dst []byte, it *hub.Item, space string, payload bool) []byte {
	dst = attr(append(dst, "<item id='"...), it.ItemID())
	if j, ok := strings.CutPrefix(it.Publisher, tidings.User.String()+":"); ok {
		dst = attr(append(dst, "' publisher='"...), j)
	}
	n := len(dst)
	dst = append(dst, "'>"...)
	if payload {
		dst = wire.AppendPayload(dst, it, space, f.uri(it))
	}
	if len(dst) == n+2 {
		return append(dst[:n], "'/>"...)
	}
	return append(dst, "</item>"...)
}

// uri names an item (XEP-0060 section 12.22).
func (f form) uri(it *hub.Item) string {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return "xmpp:" + f.service + "?;node=" + escape(it.Topic.Node()) + ";item=" + escape(it.ItemID())
}

// message returns a notification of an item that is not new, with the time it is of (XEP-0060 section 6.1.7).
func (f form) message(to jid.JID, it *hub.Item) []byte {
	b := append(attr([]byte("<message to='"), to.String()), '\'')
	b = f.append(b, it, f.config(it.Topic))
	return append(delay.Append(b, jid.JID{}, it.Time), "</message>"...)
}

// AppendGap appends a message of the service's own; oldest is the position that the reader goes on from.
func (f form) AppendGap(dst []byte, g *tidings.GapError) []byte {
	dst = append(append(dst, service.To), f.gap()...)
	dst = g.Asked.AppendText(append(dst, " xmlns='"+wire.NS+"' asked='"...))
	dst = g.Oldest.AppendText(append(dst, "' oldest='"...))
	return append(dst, "'/></message>"...)
}

// gap is what a message about a gap begins with.
func (f form) gap() string { return " from='" + f.service + "'><gap" }

// isGap reports whether a message, as service.Cut returns it, tells of a gap.
func (f form) isGap(message []byte) bool { return bytes.HasPrefix(message, []byte(f.gap())) }

// AppendEnd appends nothing: subscribers are told by what the model says.
func (f form) AppendEnd(dst []byte, _ error) []byte { return dst }

// AppendGoodbye appends nothing: that the server stops, the session says.
func (f form) AppendGoodbye(dst []byte) []byte { return dst }

func attr(dst []byte, s string) []byte { return xmlstream.AppendAttr(dst, s) }
