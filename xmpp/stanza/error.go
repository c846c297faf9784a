package stanza

import (
	"cmp"
	"slices"
	"strings"

	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

// NSErrors is the namespace of the conditions defined in RFC 6120 section 8.3.3.
const NSErrors = "urn:ietf:params:xml:ns:xmpp-stanzas"

// Types of errors (RFC 6120 section 8.3.2).
const (
	Auth     = "auth"     // retry after providing credentials
	Cancel   = "cancel"   // do not retry
	Continue = "continue" // proceed: the condition was only a warning
	Modify   = "modify"   // retry after changing what was sent
	Wait     = "wait"     // retry after waiting
)

// Error is a stanza error (RFC 6120 section 8.3), to be sent or as received.
type Error struct {
	Type      string  // one of the types of errors
	Condition string  // element name of a defined condition, such as item-not-found
	URI       string  // where to go instead; of gone and redirect only
	Text      string  // for people
	Lang      string  // of Text; "" is English when it is written
	By        jid.JID // who found the error, if that is not whom the stanza was sent to

	// An application condition: the namespace and name of its element, and names and values of its attributes by turns.
	Space, Name string
	Attrs       []string
}

// condition is a row of the table of defined conditions.
type condition struct{ name, typ string }

// conditions are those of RFC 6120 section 8.3.3 with the type that the RFC recommends; where it leaves the type open
// (undefined-condition) or names two, the one that keeps a client from trying the same again.
var conditions = []condition{
	{"bad-request", Modify},
	{"conflict", Cancel},
	{"feature-not-implemented", Cancel},
	{"forbidden", Auth},
	{"gone", Cancel},
	{"internal-server-error", Cancel},
	{"item-not-found", Cancel},
	{"jid-malformed", Modify},
	{"not-acceptable", Modify},
	{"not-allowed", Cancel},
	{"not-authorized", Auth},
	{"policy-violation", Modify},
	{"recipient-unavailable", Wait},
	{"redirect", Modify},
	{"registration-required", Auth},
	{"remote-server-not-found", Cancel},
	{"remote-server-timeout", Wait},
	{"resource-constraint", Wait},
	{"service-unavailable", Cancel},
	{"subscription-required", Auth},
	{"undefined-condition", Cancel},
	{"unexpected-request", Wait},
}

// find returns the row of a condition, that of undefined-condition for one that is not defined.
func find(name string) condition {
	i := slices.IndexFunc(conditions, func(c condition) bool { return c.name == name })
	if i < 0 {
		return condition{"undefined-condition", Cancel}
	}
	return conditions[i]
}

// NewError returns an error of a defined condition, with its usual type. A name that is not defined becomes
// undefined-condition.
func NewError(name string, text ...string) *Error {
	c := find(name)
	return &Error{Type: c.typ, Condition: c.name, Text: strings.Join(text, " ")}
}

// The functions below return an error of the condition they are named after (RFC 6120 section 8.3.3), with its usual type;
// text is for people and may be left out.

func BadRequest(text ...string) *Error { return NewError("bad-request", text...) }
func Conflict(text ...string) *Error   { return NewError("conflict", text...) }
func FeatureNotImplemented(text ...string) *Error {
	return NewError("feature-not-implemented", text...)
}
func Forbidden(text ...string) *Error            { return NewError("forbidden", text...) }
func InternalServerError(text ...string) *Error  { return NewError("internal-server-error", text...) }
func ItemNotFound(text ...string) *Error         { return NewError("item-not-found", text...) }
func JIDMalformed(text ...string) *Error         { return NewError("jid-malformed", text...) }
func NotAcceptable(text ...string) *Error        { return NewError("not-acceptable", text...) }
func NotAllowed(text ...string) *Error           { return NewError("not-allowed", text...) }
func NotAuthorized(text ...string) *Error        { return NewError("not-authorized", text...) }
func PolicyViolation(text ...string) *Error      { return NewError("policy-violation", text...) }
func RecipientUnavailable(text ...string) *Error { return NewError("recipient-unavailable", text...) }
func RegistrationRequired(text ...string) *Error { return NewError("registration-required", text...) }
func RemoteServerNotFound(text ...string) *Error { return NewError("remote-server-not-found", text...) }
func RemoteServerTimeout(text ...string) *Error  { return NewError("remote-server-timeout", text...) }
func ResourceConstraint(text ...string) *Error   { return NewError("resource-constraint", text...) }
func ServiceUnavailable(text ...string) *Error   { return NewError("service-unavailable", text...) }
func SubscriptionRequired(text ...string) *Error { return NewError("subscription-required", text...) }
func UndefinedCondition(text ...string) *Error   { return NewError("undefined-condition", text...) }
func UnexpectedRequest(text ...string) *Error    { return NewError("unexpected-request", text...) }

// Gone says that the address is used no more; uri, which may be empty, is its new one.
func Gone(uri string, text ...string) *Error {
	e := NewError("gone", text...)
	e.URI = uri
	return e
}

// Redirect says that requests go to uri for the time being.
func Redirect(uri string, text ...string) *Error {
	e := NewError("redirect", text...)
	e.URI = uri
	return e
}

// With returns a copy of the error with an application condition (RFC 6120 section 8.3.4): an empty element with the names
// and values of attributes by turns.
func (e *Error) With(space, name string, attrs ...string) *Error {
	c := *e
	c.Space, c.Name, c.Attrs = space, name, attrs
	return &c
}

// WithType returns a copy of the error with another type.
func (e *Error) WithType(typ string) *Error {
	c := *e
	c.Type = typ
	return &c
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Condition)
	if e.Name != "" {
		b.WriteString(" (" + e.Name + ")")
	}
	if e.Text != "" {
		b.WriteString(": " + e.Text)
	}
	return b.String()
}

// Append appends the error element as a child of a stanza.
func (e *Error) Append(dst []byte) []byte {
	c := find(e.Condition)
	dst = xmlstream.AppendOptional(append(dst, "<error"...), "by", e.By.String(), "type", cmp.Or(e.Type, c.typ))
	dst = append(dst, '>')
	if e.URI != "" && (c.name == "gone" || c.name == "redirect") {
		dst = xmlstream.AppendTextElement(dst, c.name, e.URI, "xmlns", NSErrors)
	} else {
		dst = append(xmlstream.AppendTag(dst, c.name, "xmlns", NSErrors), "/>"...)
	}
	if e.Text != "" {
		dst = xmlstream.AppendTextElement(dst, "text", e.Text, "xmlns", NSErrors, "xml:lang", cmp.Or(e.Lang, "en"))
	}
	if e.Name != "" {
		dst = xmlstream.AppendPairs(xmlstream.AppendTag(dst, e.Name, "xmlns", e.Space), e.Attrs...)
		dst = append(dst, "/>"...)
	}
	return append(dst, "</error>"...)
}

// maxEcho is how many bytes of what was sent an error returns at most (RFC 6120 section 8.3.1 leaves it open): the sender has
// them, and to be made to write large stanzas twice is no help to anybody.
const maxEcho = 4 << 10

// AppendError appends the error that answers the stanza, with from and to exchanged and with the content that was sent, if it
// is at most 4 KiB. Errors, and results of IQs, are never answered (RFC 6120 sections 8.2.3 and 8.3.1): for those dst is
// returned as it is.
func (st *Stanza) AppendError(dst []byte, err *Error) []byte {
	if st.Type == TypeError || st.Kind == IQ && st.Type == TypeResult {
		return dst
	}
	dst = AppendStart(dst, st.Kind, TypeError, st.ID, st.To, st.From)
	if len(st.Element.Raw()) <= maxEcho {
		for c := range st.Element.Children() {
			if c.Is(st.Element.Space(), "error") {
				continue // nobody shall take it for the answer
			}
			dst = c.AppendXML(dst, st.Element.Space())
		}
	}
	return AppendEnd(err.Append(dst), st.Kind)
}

// Err returns the error in a stanza of type error, and nil for other stanzas. A stanza without an error element has the
// condition undefined-condition, and so has an error whose condition is not one of RFC 6120.
func (st *Stanza) Err() *Error {
	if st.Type != TypeError {
		return nil
	}
	return ParseError(st.Child("error"))
}

// ParseError reads an error element. It never fails: what is not as it should be is left out, and what has no defined
// condition is undefined-condition.
func ParseError(el xmlstream.Element) *Error {
	e := UndefinedCondition()
	if el.IsZero() {
		return e
	}
	found := false
	for c := range el.Children() {
		switch name := c.Name(); {
		case c.Space() != NSErrors:
			if e.Name == "" {
				e.Space, e.Name = c.Space(), name
				for a := range c.Attrs() {
					if a.Space == "" {
						e.Attrs = append(e.Attrs, a.Name, a.Value)
					}
				}
			}
		case name == "text":
			e.Text, e.Lang = c.Text(), c.AttrNS(xmlstream.SpaceXML, "lang")
		case !found:
			found = true
			def := find(name)
			e.Condition, e.Type = def.name, def.typ
			if def.name == "gone" || def.name == "redirect" {
				e.URI = c.Text()
			}
		}
	}
	switch t := el.Attr("type"); t {
	case Auth, Cancel, Continue, Modify, Wait:
		e.Type = t
	}
	if by, err := jid.Parse(el.Attr("by")); err == nil {
		e.By = by
	}
	return e
}
