// Package stanza reads and answers the three stanzas of XMPP: message, presence and iq (RFC 6120 section 8, RFC 6121).
package stanza

import (
	"errors"
	"slices"

	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

// Namespaces of streams, which are those of the stanzas in them.
const (
	NSClient    = "jabber:client"           // RFC 6120 section 4.8.2
	NSServer    = "jabber:server"           // the same
	NSComponent = "jabber:component:accept" // XEP-0114
	NSConnect   = "jabber:component:connect"
)

// Kind is the name of a stanza.
type Kind uint8

// The kinds.
const (
	Message Kind = iota
	Presence
	IQ
)

// String returns the element's name.
func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Presence:
		return "presence"
	}
	return "iq"
}

// Types of stanzas.
const (
	TypeError = "error" // of each kind

	// RFC 6120 section 8.2.3
	TypeGet    = "get"
	TypeSet    = "set"
	TypeResult = "result"

	// RFC 6121 section 5.2.2
	TypeNormal    = "normal"
	TypeChat      = "chat"
	TypeGroupchat = "groupchat"
	TypeHeadline  = "headline"

	// RFC 6121 section 4.7.1
	TypeAvailable    = "available" // a presence without the attribute; it is not written
	TypeUnavailable  = "unavailable"
	TypeProbe        = "probe"
	TypeSubscribe    = "subscribe"
	TypeSubscribed   = "subscribed"
	TypeUnsubscribe  = "unsubscribe"
	TypeUnsubscribed = "unsubscribed"
)

var (
	iqTypes       = []string{TypeGet, TypeSet, TypeResult, TypeError}
	messageTypes  = []string{TypeNormal, TypeChat, TypeGroupchat, TypeHeadline, TypeError}
	presenceTypes = []string{TypeUnavailable, TypeProbe, TypeSubscribe, TypeSubscribed, TypeUnsubscribe, TypeUnsubscribed, TypeError}
)

// Stanza is a stanza that was received. It is valid for as long as its Element.
type Stanza struct {
	Kind    Kind
	Type    string  // one of the constants: TypeNormal for a message of an unknown type or of none, TypeAvailable for a presence of none
	ID      string  // never empty in an IQ that Parse accepted
	Lang    string  // xml:lang (RFC 6120 section 8.1.5)
	From    jid.JID // zero if it is not given
	To      jid.JID // zero if it is not given
	Element xmlstream.Element
}

// ErrNotStanza says that an element is none of the three: the stream error unsupported-stanza-type (RFC 6120 section 4.9.3.24).
var ErrNotStanza = errors.New("stanza: the element is not a stanza")

// Parse reads the common attributes of a stanza (RFC 6120 section 8.1) and checks what section 8.2.3 demands of an IQ: an id,
// a type, one child in a get or set and at most one in a result. The error is ErrNotStanza or an *Error; with the latter the
// stanza holds what could be read, so that it can be answered.
func Parse(e xmlstream.Element) (Stanza, error) {
	st := Stanza{Element: e}
	switch e.Name() {
	case "message":
		st.Kind = Message
	case "presence":
		st.Kind = Presence
	case "iq":
		st.Kind = IQ
	default:
		return st, ErrNotStanza
	}
	switch e.Space() {
	case NSClient, NSComponent, NSServer, NSConnect:
	default:
		return st, ErrNotStanza
	}
	st.ID = e.Attr("id")
	st.Lang = e.AttrNS(xmlstream.SpaceXML, "lang")
	st.Type = typeOf(st.Kind, e)
	// From first: where only to is malformed, the answer still finds its way.
	var err error
	if b := e.AttrBytes("from"); len(b) > 0 {
		if st.From, err = jid.ParseBytes(b); err != nil {
			return st, JIDMalformed("the address in from is not one")
		}
	}
	if b := e.AttrBytes("to"); len(b) > 0 {
		if st.To, err = jid.ParseBytes(b); err != nil {
			return st, JIDMalformed("the address in to is not one")
		}
	}
	if st.Type == "" {
		return st, BadRequest("unknown type of " + st.Kind.String())
	}
	if st.Kind == IQ {
		return st, st.checkIQ()
	}
	return st, nil
}

// typeOf returns the type as one of the constants, or "" where the kind has no such type.
func typeOf(k Kind, e xmlstream.Element) string {
	b := e.AttrBytes("type")
	types := iqTypes
	switch k {
	case Message:
		types = messageTypes
	case Presence:
		types = presenceTypes
		if len(b) == 0 {
			return TypeAvailable
		}
	}
	if i := slices.IndexFunc(types, func(t string) bool { return t == string(b) }); i >= 0 {
		return types[i]
	}
	if k == Message { // RFC 6121 section 5.2.2
		return TypeNormal
	}
	return ""
}

func (st *Stanza) checkIQ() error {
	if st.ID == "" {
		return BadRequest("an iq needs an id")
	}
	n := 0
	for range st.Element.Children() {
		n++
	}
	switch {
	case (st.Type == TypeGet || st.Type == TypeSet) && n != 1:
		return BadRequest("an iq of type " + st.Type + " needs exactly one child")
	case st.Type == TypeResult && n > 1:
		return BadRequest("an iq of type result has at most one child")
	}
	return nil
}

// Request reports whether the stanza is an IQ that must be answered.
func (st *Stanza) Request() bool {
	return st.Kind == IQ && (st.Type == TypeGet || st.Type == TypeSet)
}

// Payload returns the first child, the only one of an IQ get or set; none if there is none.
func (st *Stanza) Payload() xmlstream.Element { return st.Element.First() }

// Child returns the first child of that name in the stanza's own namespace, such as body, subject, show or priority.
func (st *Stanza) Child(name string) xmlstream.Element {
	return st.Element.Child(st.Element.Space(), name)
}

// AppendStart appends the start of a stanza that takes content: its name and attributes, and `>`. What is empty or zero, and
// the types available and normal, are left out. AppendEnd closes it.
func AppendStart(dst []byte, k Kind, typ, id string, from, to jid.JID) []byte {
	return append(appendHead(dst, k, typ, id, from, to), '>')
}

// AppendEnd appends the end tag.
func AppendEnd(dst []byte, k Kind) []byte {
	dst = append(dst, "</"...)
	dst = append(dst, k.String()...)
	return append(dst, '>')
}

// AppendEmpty appends a stanza without content.
func AppendEmpty(dst []byte, k Kind, typ, id string, from, to jid.JID) []byte {
	return append(appendHead(dst, k, typ, id, from, to), "/>"...)
}

func appendHead(dst []byte, k Kind, typ, id string, from, to jid.JID) []byte {
	if k == Presence && typ == TypeAvailable || k == Message && typ == TypeNormal {
		typ = ""
	}
	return xmlstream.AppendOptional(xmlstream.AppendTag(dst, k.String()), "from", from.String(), "to", to.String(), "type", typ, "id", id)
}

// AppendResult appends the result that answers an IQ, with the payload's bytes as its content; payload may be empty.
func (st *Stanza) AppendResult(dst, payload []byte) []byte {
	if len(payload) == 0 {
		return AppendEmpty(dst, IQ, TypeResult, st.ID, st.To, st.From)
	}
	dst = AppendStart(dst, IQ, TypeResult, st.ID, st.To, st.From)
	dst = append(dst, payload...)
	return AppendEnd(dst, IQ)
}
