package requests

import (
	"time"

	"tidings"
	"tidings/xmpp/delay"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Namespaces of what every entity is asked.
const (
	NSPing    = "urn:xmpp:ping"     // XEP-0199
	NSVersion = "jabber:iq:version" // XEP-0092
	NSTime    = "urn:xmpp:time"     // XEP-0202
)

// About returns the payload of the answer to a request of the type get in one of these namespaces, which is empty for a ping; ok is
// false for any other request. version is that of the program.
func About(payload xmlstream.Element, version string) (answer []byte, ok bool) {
	var b xmlstream.Builder
	switch {
	case payload.Is(NSPing, "ping"):
	case payload.Is(NSVersion, "query"):
		b.Open("query", "xmlns", NSVersion).TextElement("name", "Tidings").TextElement("version", version).Close()
	case payload.Is(NSTime, "time"):
		b.Open("time", "xmlns", NSTime).TextElement("tzo", "+00:00").TextElement("utc", delay.FormatTime(time.Now())).Close()
	default:
		return nil, false
	}
	return b.Bytes(), true
}

// ActorOf returns who asks. Behind a component link (XEP-0114) everybody has an account, at some server.
func ActorOf(p service.Peer, linked bool) tidings.Actor {
	if p.Account() == "" && !linked {
		return tidings.Actor{}
	}
	return tidings.Actor{Kind: tidings.User, Name: p.JID().Bare().String()}
}

// AppendUnsubscribed appends the answer to a presence that asks to be told of the service's own: it is nobody's contact.
func AppendUnsubscribed(dst []byte, st *stanza.Stanza) []byte {
	return stanza.AppendEmpty(dst, stanza.Presence, stanza.TypeUnsubscribed, st.ID, st.To.Bare(), st.From)
}

// undeliverable are the errors of messages that came back because their address is there no more.
var undeliverable = map[string]bool{
	"gone": true, "item-not-found": true, "recipient-unavailable": true, "remote-server-not-found": true,
	"remote-server-timeout": true, "service-unavailable": true, "jid-malformed": true,
}

// Undeliverable reports whether a message of the type error is one of the service's own that came back because its address is
// there no more.
func Undeliverable(st *stanza.Stanza) bool {
	e := st.Err()
	return e != nil && undeliverable[e.Condition]
}
