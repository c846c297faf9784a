package stream

import (
	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

// NSBind is the namespace of resource binding (RFC 6120 section 7).
const NSBind = "urn:ietf:params:xml:ns:xmpp-bind"

// AppendBind appends the payload of the IQ set that asks for a resource; empty leaves the choice to the server.
func AppendBind(dst []byte, resource string) []byte {
	if resource == "" {
		return append(dst, "<bind xmlns='"+NSBind+"'/>"...)
	}
	dst = append(dst, "<bind xmlns='"+NSBind+"'><resource>"...)
	dst = xmlstream.AppendText(dst, resource)
	return append(dst, "</resource></bind>"...)
}

// ParseBind returns the resource that the payload of an IQ set asks for, as it was sent; ok is false for another payload.
func ParseBind(payload xmlstream.Element) (resource string, ok bool) {
	if !payload.Is(NSBind, "bind") {
		return "", false
	}
	return payload.Child(NSBind, "resource").Text(), true
}

// AppendBound appends the payload of the result: the address that the session has.
func AppendBound(dst []byte, j jid.JID) []byte {
	dst = append(dst, "<bind xmlns='"+NSBind+"'><jid>"...)
	dst = xmlstream.AppendText(dst, j.String())
	return append(dst, "</jid></bind>"...)
}

// ParseBound returns the address in the payload of the result.
func ParseBound(payload xmlstream.Element) (jid.JID, error) {
	return jid.Parse(payload.Child(NSBind, "jid").Text())
}
