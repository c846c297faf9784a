package stream

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"tidings/xmpp/xmlstream"
)

// NSErrors is the namespace of the stream errors defined in RFC 6120 section 4.9.3.
const NSErrors = "urn:ietf:params:xml:ns:xmpp-streams"

// Error is a stream error (RFC 6120 section 4.9): after it the stream is closed.
type Error struct {
	Condition string // element name of a defined condition, such as not-well-formed
	Host      string // where to connect instead; of see-other-host only
	Text      string // for people
	Lang      string // of Text; "" is English when it is written

	// An application condition: the namespace and name of its element, and names and values of its attributes by turns.
	Space, Name string
	Attrs       []string
	Content     string // XML inside of it; not read by ParseError
}

// conditions are those of RFC 6120 section 4.9.3, and invalid-id, which RFC 3920 section 4.7.3 had and old peers send.
var conditions = []string{
	"bad-format", "bad-namespace-prefix", "conflict", "connection-timeout", "host-gone", "host-unknown",
	"improper-addressing", "internal-server-error", "invalid-from", "invalid-id", "invalid-namespace", "invalid-xml",
	"not-authorized", "not-well-formed", "policy-violation", "remote-connection-failed", "reset", "resource-constraint",
	"restricted-xml", "see-other-host", "system-shutdown", "undefined-condition", "unsupported-encoding",
	"unsupported-feature", "unsupported-stanza-type", "unsupported-version",
}

// find returns the condition, and undefined-condition for one that is not defined.
func find(name string) string {
	if i := slices.Index(conditions, name); i >= 0 {
		return conditions[i]
	}
	return "undefined-condition"
}

// NewError returns an error of a defined condition. A name that is not defined becomes undefined-condition.
func NewError(name string, text ...string) *Error {
	return &Error{Condition: find(name), Text: strings.Join(text, " ")}
}

// AsError returns the stream error that tells the peer of err: an *Error in err, an *xmlstream.Error in its words, and
// internal-server-error for anything else, whose text is not told.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var x *xmlstream.Error
	if errors.As(err, &x) {
		return NewError(x.Condition, x.Text)
	}
	return NewError("internal-server-error")
}

// Error implements error.
func (e *Error) Error() string {
	s := "stream error " + e.Condition
	if e.Name != "" {
		s += " (" + e.Name + ")"
	}
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Append appends the error element. The stream has to be open, and is closed after it ([AppendClose]).
func (e *Error) Append(dst []byte, f Framing) []byte {
	c := find(e.Condition)
	dst = append(dst, "<stream:error"...)
	dst = f.appendPrefix(dst)
	dst = append(dst, '>')
	if c == "see-other-host" && e.Host != "" {
		dst = xmlstream.AppendTextElement(dst, c, e.Host, "xmlns", NSErrors)
	} else {
		dst = append(xmlstream.AppendTag(dst, c, "xmlns", NSErrors), "/>"...)
	}
	if e.Text != "" {
		dst = xmlstream.AppendTextElement(dst, "text", e.Text, "xmlns", NSErrors, "xml:lang", cmp.Or(e.Lang, "en"))
	}
	if e.Name != "" {
		dst = xmlstream.AppendPairs(xmlstream.AppendTag(dst, e.Name, "xmlns", e.Space), e.Attrs...)
		dst = append(append(dst, '>'), e.Content...)
		dst = append(append(append(dst, "</"...), e.Name...), '>')
	}
	return append(dst, "</stream:error>"...)
}

// IsError reports whether an element is a stream error.
func IsError(el xmlstream.Element) bool { return el.Is(NSStreams, "error") }

// ParseError reads a stream error element. It never fails: what has no defined condition is undefined-condition.
func ParseError(el xmlstream.Element) *Error {
	e := NewError("undefined-condition")
	found := false
	for c := range el.Children() {
		switch {
		case c.Space() != NSErrors:
			if e.Name == "" {
				e.Space, e.Name = c.Space(), c.Name()
				for a := range c.Attrs() {
					if a.Space == "" {
						e.Attrs = append(e.Attrs, a.Name, a.Value)
					}
				}
			}
		case c.Name() == "text":
			e.Text, e.Lang = c.Text(), c.AttrNS(xmlstream.SpaceXML, "lang")
		case !found:
			found = true
			e.Condition = find(c.Name())
			if e.Condition == "see-other-host" {
				e.Host = c.Text()
			}
		}
	}
	return e
}
