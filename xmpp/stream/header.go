package stream

import (
	"strconv"
	"strings"

	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Header opens a stream (RFC 6120 section 4.7, RFC 7395 section 3.4), in either direction.
type Header struct {
	Framing Framing
	Space   string  // content namespace: stanza.NSClient or stanza.NSComponent
	From    jid.JID // may be zero
	To      jid.JID // may be zero
	ID      string  // of a response
	Lang    string
	Major   int // version; 0.0 stands for a header without one, of the protocol before RFC 3920 and of XEP-0114
	Minor   int
}

// Append appends the header. Where its version is 0.0 none is written.
func (h Header) Append(dst []byte) []byte {
	if h.Framing == WebSocket {
		dst = append(dst, "<open xmlns='"+NSFraming+"'"...)
	} else {
		dst = append(dst, "<?xml version='1.0'?><stream:stream"...)
		dst = xmlstream.AppendPairs(dst, "xmlns", h.Space, "xmlns:stream", NSStreams)
	}
	version := ""
	if h.Major > 0 || h.Minor > 0 {
		version = strconv.Itoa(h.Major) + "." + strconv.Itoa(h.Minor)
	}
	dst = xmlstream.AppendOptional(dst, "from", h.From.String(), "to", h.To.String(), "id", h.ID, "version", version, "xml:lang", h.Lang)
	if h.Framing == WebSocket {
		return append(dst, "/>"...)
	}
	return append(dst, '>')
}

// ParseHeader reads a header: the start tag of a stream with the namespaces that it declares, or the element open of RFC 7395,
// for which ctx is nil. The error is an *Error for the stream: bad-format for another element, invalid-namespace,
// improper-addressing for an address that is none, unsupported-version for a version that is none. With it the header holds
// what could be read.
func ParseHeader(el xmlstream.Element, ctx *xmlstream.Context) (Header, error) {
	h := Header{ID: el.Attr("id"), Lang: el.AttrNS(xmlstream.SpaceXML, "lang")}
	switch name, space := el.Name(), el.Space(); {
	case name == "open" && space == NSFraming:
		h.Framing, h.Space = WebSocket, stanza.NSClient
	case name == "stream" && space == NSStreams:
		switch ns := ctx.Default(); ns {
		case stanza.NSClient, stanza.NSComponent:
			h.Space = ns
		default:
			return h, NewError("invalid-namespace", "the content namespace is not one of this service")
		}
	case name == "stream" || name == "open":
		return h, NewError("invalid-namespace", "the header is in a namespace that is not that of streams")
	default:
		return h, NewError("bad-format", "the stream does not begin with its header")
	}
	var err error
	if v := el.Attr("to"); v != "" {
		if h.To, err = jid.Parse(v); err != nil {
			return h, NewError("improper-addressing", "the address in to is not one")
		}
	}
	if v := el.Attr("from"); v != "" {
		if h.From, err = jid.Parse(v); err != nil {
			return h, NewError("improper-addressing", "the address in from is not one")
		}
	}
	if v := el.Attr("version"); v != "" {
		major, minor, ok := strings.Cut(v, ".")
		a, err1 := strconv.ParseUint(major, 10, 16)
		b, err2 := strconv.ParseUint(minor, 10, 16)
		if !ok || err1 != nil || err2 != nil {
			return h, NewError("unsupported-version")
		}
		h.Major, h.Minor = int(a), int(b)
	}
	return h, nil
}

// IsClose reports whether an element closes a stream over WebSocket (RFC 7395 section 3.6), and where the peer is told to
// connect instead, which is usually empty.
func IsClose(el xmlstream.Element) (otherURI string, ok bool) {
	if !el.Is(NSFraming, "close") {
		return "", false
	}
	return el.Attr("see-other-uri"), true
}
