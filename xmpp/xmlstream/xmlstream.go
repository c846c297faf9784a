// Package xmlstream reads and writes the XML of XMPP streams. A Scanner cuts the bytes of a stream into its header, its
// stanzas and its end; a Document parses one of them; a Builder and AppendXML write.
//
//   - RFC 6120 section 11: the XML that XMPP uses. There are no comments, no processing instructions, no DTD and no entities
//     but the five of XML; the encoding is UTF-8. CDATA sections are not forbidden and are taken.
//   - RFC 6120 section 4.9.3: the conditions of Error
//   - XML 1.0, fifth edition: characters, names, line ends, normalisation of attribute values
//   - Namespaces in XML 1.0, third edition: prefixes, defaults, what is reserved, unique attributes
//   - RFC 7395: a WebSocket message is one element, which needs no Scanner, and a Document parses it without a Context
//
// What a Scanner passes is framed rightly and within the limits; whether it is well-formed Document.Parse says, so that each
// rule is written once.
package xmlstream

import "fmt"

// Namespaces that are bound by the standards.
const (
	SpaceXML    = "http://www.w3.org/XML/1998/namespace" // of the prefix xml
	SpaceXMLNS  = "http://www.w3.org/2000/xmlns/"        // of the prefix xmlns
	SpaceStream = "http://etherx.jabber.org/streams"     // of the stream header (RFC 6120 section 4.8.1)
)

// Limits bound what a peer can make us hold. A limit of zero is its default. Each has an error text of its own, with the
// condition policy-violation. A Scanner refuses as soon as a limit is passed; a Document has limits of its own for what comes
// without a Scanner.
type Limits struct {
	// Depth is how many elements may be open within each other in a stanza; the stanza itself is the first. Default 64.
	Depth int
	// Attrs is how many attributes an element may have, namespace declarations counted, and how many prefixes may be
	// declared where one stands in a stanza. Default 64.
	Attrs int
	// Elements is how many elements a stanza may consist of. A Document needs some hundred bytes for each. Default 16,384.
	Elements int
	// Name is the length of a name with its prefix, in bytes. Default 256.
	Name int
	// Stanza is the length of a stanza as received, in bytes. Default 262,144 (256 KiB); RFC 6120 section 13.12 allows none
	// below 10,000. It is also the most that a Scanner buffers. A stream header may have MaxHeader bytes whatever is set here.
	Stanza int
}

// Default limits.
const (
	DefaultDepth    = 64
	DefaultAttrs    = 64
	DefaultElements = 16 << 10
	DefaultName     = 256
	DefaultStanza   = 256 << 10
)

// MaxHeader is the most bytes that a stream header may have. What it declares is kept as long as the stream lasts.
const MaxHeader = 10_000

func (l *Limits) depth() int    { return or(l.Depth, DefaultDepth) }
func (l *Limits) attrs() int    { return or(l.Attrs, DefaultAttrs) }
func (l *Limits) elements() int { return or(l.Elements, DefaultElements) }
func (l *Limits) name() int     { return or(l.Name, DefaultName) }
func (l *Limits) stanza() int   { return or(l.Stanza, DefaultStanza) }

func or(n, preset int) int {
	if n > 0 {
		return n
	}
	return preset
}

func (l *Limits) errDepth() *Error {
	return policy("more than %d elements within each other", l.depth())
}

func (l *Limits) errAttrs() *Error {
	return policy("more than %d attributes in one element", l.attrs())
}

func (l *Limits) errPrefixes() *Error {
	return policy("more than %d namespace prefixes declared at one place", l.attrs())
}

func (l *Limits) errElements() *Error {
	return policy("more than %d elements in one stanza", l.elements())
}

func (l *Limits) errName() *Error {
	return policy("a name longer than %d bytes", l.name())
}

func (l *Limits) errStanza() *Error {
	return policy("a stanza longer than %d bytes", l.stanza())
}

var errHeader = policy("a stream header longer than %d bytes", MaxHeader)

// Conditions of Error (RFC 6120 section 4.9.3).
const (
	BadFormat           = "bad-format"           // well-formed, but no stream: text between stanzas
	BadNamespacePrefix  = "bad-namespace-prefix" // a prefix that nothing declares
	NotWellFormed       = "not-well-formed"      // against XML 1.0 or Namespaces in XML
	PolicyViolation     = "policy-violation"     // over a limit
	RestrictedXML       = "restricted-xml"       // what RFC 6120 section 11.1 forbids
	UnsupportedEncoding = "unsupported-encoding" // anything but UTF-8
)

// Error is what all errors of a Scanner and a Document are: the condition of a stream error, and what to tell beside it. It
// holds nothing that the peer chose.
type Error struct{ Condition, Text string }

func (e *Error) Error() string { return "xmlstream: " + e.Condition + ": " + e.Text }

func policy(format string, limit int) *Error {
	return &Error{PolicyViolation, fmt.Sprintf(format, limit)}
}

func malformed(text string) *Error { return &Error{NotWellFormed, text} }

func restricted(text string) *Error { return &Error{RestrictedXML, text} }
