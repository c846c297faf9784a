package sasl

import (
	"encoding/base64"
	"errors"
	"strings"
)

// NS is the namespace of the elements (RFC 6120 section 6).
const NS = "urn:ietf:params:xml:ns:xmpp-sasl"

// Decode returns the bytes that the text of <challenge/>, <response/> or <success/> stands for; nil for an empty text. The
// alphabet is that of RFC 4648 section 4 with padding, and nothing else is let through, line breaks included (RFC 6120
// section 13.9.1). The error is of type *Error, incorrect-encoding or, for more than MaxMessage bytes, malformed-request.
func Decode(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > base64.StdEncoding.EncodedLen(MaxMessage) {
		return nil, fail(MalformedRequest, "the message is too long")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, fail(IncorrectEncoding, "not base64")
	}
	return b, nil
}

// DecodeInitial is Decode for <auth/>, where an equals sign is data of no length and an empty text is no data, for which it
// returns nil (RFC 6120 section 6.4.2).
func DecodeInitial(text string) ([]byte, error) {
	if text == "=" {
		return []byte{}, nil
	}
	return Decode(text)
}

// AppendMechanisms appends the stream feature <mechanisms/> (RFC 6120 section 6.4.1).
func AppendMechanisms(dst []byte, mechanisms []string) []byte {
	dst = append(dst, "<mechanisms xmlns='"+NS+"'>"...)
	for _, m := range mechanisms {
		dst = append(dst, "<mechanism>"+m+"</mechanism>"...)
	}
	return append(dst, "</mechanisms>"...)
}

// AppendAuth appends the <auth/> with which a client begins. A nil initial is none, as opposed to one of no length.
func AppendAuth(dst []byte, mechanism string, initial []byte) []byte {
	dst = append(dst, "<auth xmlns='"+NS+"' mechanism='"+mechanism+"'"...)
	if initial != nil && len(initial) == 0 {
		return append(dst, ">=</auth>"...)
	}
	return appendData(dst, "auth", initial)
}

// AppendChallenge appends a server's <challenge/>.
func AppendChallenge(dst, data []byte) []byte { return appendElement(dst, "challenge", data) }

// AppendResponse appends a client's <response/>.
func AppendResponse(dst, data []byte) []byte { return appendElement(dst, "response", data) }

// AppendSuccess appends a server's <success/> with the mechanism's last data, if there is any.
func AppendSuccess(dst, data []byte) []byte { return appendElement(dst, "success", data) }

// AppendAbort appends the <abort/> of a client that gives up.
func AppendAbort(dst []byte) []byte { return appendElement(dst, "abort", nil) }

// AppendFailure appends the <failure/> for err, with its text if that is an *Error (RFC 6120 section 6.5).
func AppendFailure(dst []byte, err error) []byte {
	dst = append(dst, "<failure xmlns='"+NS+"'><"+string(ConditionOf(err))+"/>"...)
	if e, ok := errors.AsType[*Error](err); ok && e.Text != "" {
		dst = append(dst, "<text xml:lang='en'>"...)
		dst = append(dst, escape.Replace(e.Text)...)
		dst = append(dst, "</text>"...)
	}
	return append(dst, "</failure>"...)
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func appendElement(dst []byte, name string, data []byte) []byte {
	return appendData(append(dst, "<"+name+" xmlns='"+NS+"'"...), name, data)
}

// appendData ends the start tag and the element.
func appendData(dst []byte, name string, data []byte) []byte {
	if len(data) == 0 {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	dst = base64.StdEncoding.AppendEncode(dst, data)
	return append(dst, "</"+name+">"...)
}
