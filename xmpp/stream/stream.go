// Package stream is what surrounds stanzas: the headers, features and errors of a stream (RFC 6120 section 4), its framing
// over WebSocket (RFC 7395), stream management (XEP-0198), stream compression (XEP-0138) and resource binding (RFC 6120
// section 7).
package stream

import (
	"crypto/rand"

	"tidings/xmpp/xmlstream"
)

// Namespaces.
const (
	NSStreams     = "http://etherx.jabber.org/streams"
	NSFraming     = "urn:ietf:params:xml:ns:xmpp-framing" // RFC 7395
	NSTLS         = "urn:ietf:params:xml:ns:xmpp-tls"
	NSSASL        = "urn:ietf:params:xml:ns:xmpp-sasl"
	NSSession     = "urn:ietf:params:xml:ns:xmpp-session" // RFC 3921
	NSRosterVer   = "urn:xmpp:features:rosterver"         // RFC 6121 section 2.6
	NSPreApproval = "urn:xmpp:features:pre-approval"      // RFC 6121 section 3.4
	NSCSI         = "urn:xmpp:csi:0"                      // XEP-0352
	NSBinding     = "urn:xmpp:sasl-cb:0"                  // XEP-0440
	NSRegister    = "http://jabber.org/features/iq-register"
)

// Elements of the negotiation of TLS (RFC 6120 section 5.4).
const (
	StartTLS   = "<starttls xmlns='" + NSTLS + "'/>"
	Proceed    = "<proceed xmlns='" + NSTLS + "'/>"
	TLSFailure = "<failure xmlns='" + NSTLS + "'/>"
)

// Framing is how the stream lies in its transport.
type Framing uint8

// The framings.
const (
	TCP       Framing = iota // one XML document (RFC 6120)
	WebSocket                // a document for each element, in a message of its own (RFC 7395)
)

// appendPrefix declares the prefix stream where the framing has no header that does.
func (f Framing) appendPrefix(dst []byte) []byte {
	if f == WebSocket {
		return xmlstream.AppendPairs(dst, "xmlns:stream", NSStreams)
	}
	return dst
}

// NewID returns a name that nobody can guess, for streams and sessions: 130 random bits (RFC 6120 section 4.7.3).
func NewID() string { return rand.Text() }

// AppendClose appends what closes the stream (RFC 6120 section 4.4, RFC 7395 section 3.6).
func AppendClose(dst []byte, f Framing) []byte {
	if f == WebSocket {
		return append(dst, "<close xmlns='"+NSFraming+"'/>"...)
	}
	return append(dst, "</stream:stream>"...)
}
