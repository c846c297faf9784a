package recentchange

import (
	"bytes"
	"errors"

	"tidings"
)

// Limits of what is decoded. MediaWiki's own events have at most some thousands of bytes.
const (
	MaxBytes   = 1 << 20 // of a payload
	MaxDepth   = 32      // of nested values and elements
	MaxMembers = 128     // of the event itself, and attributes of one element
)

// Reason says in one constant word why a payload was refused, for counters. It is an error, and the cause of the errors
// of [Decode]; see [ReasonOf].
type Reason string

// The reasons.
const (
	Empty          Reason = "empty"           // nothing but white space
	TooLarge       Reason = "too-large"       // over MaxBytes
	TooDeep        Reason = "too-deep"        // over MaxDepth or MaxMembers
	Truncated      Reason = "truncated"       // it ends too early, as MediaWiki's UDP transport cuts at 65507 bytes
	InvalidUTF8    Reason = "invalid-utf8"    // or half of a surrogate pair
	Malformed      Reason = "malformed"       // it breaks the syntax of its dialect
	BadField       Reason = "bad-field"       // a field has a value of the wrong type
	MissingField   Reason = "missing-field"   // it has no type
	Canary         Reason = "canary"          // an EventStreams canary event: a heartbeat, no change
	UnknownDialect Reason = "unknown-dialect" // none of the forms of this package
	UnknownWiki    Reason = "unknown-wiki"    // it cannot be told which wiki has changed
)

// Error returns the word.
func (r Reason) Error() string { return string(r) }

// ReasonOf returns the reason of an error from this package, or "" if err is none.
func ReasonOf(err error) Reason {
	var r Reason
	errors.As(err, &r)
	return r
}

func fail(r Reason, format string, args ...any) error {
	kind := tidings.ErrInvalid
	if r == TooLarge {
		kind = tidings.ErrTooLarge
	}
	return tidings.Errorf(kind, "recentchange: %w: "+format, append([]any{r}, args...)...)
}

// Detect returns the content type of a payload by its content, a prefix of MediaWiki's UDP transport aside. It looks
// at little of the payload, so that one which is detected may still fail to decode.
func Detect(payload []byte) (contentType string, ok bool) {
	_, body := cutPrefix(payload)
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) == 0 {
		return "", false
	}
	switch body[0] {
	case '{':
		// In a JSON string the quotes would be escaped, so that these can only be names.
		if bytes.Contains(body, []byte(`"$schema":`)) || bytes.Contains(body, []byte(`"meta":`)) {
			return TypeEventStreams, true
		}
		return TypeJSON, true
	case '\x03':
		return TypeIRC, true
	case '<':
		switch rootName(body) {
		case "recentchange":
			return TypeXML, true
		case "rc":
			return TypeRC, true
		}
	}
	return "", false
}

// rootName returns the name of the first element of an XML document, or "".
func rootName(b []byte) string {
	if bytes.HasPrefix(b, []byte("<?xml")) {
		_, rest, ok := bytes.Cut(b, []byte("?>"))
		if !ok {
			return ""
		}
		b = bytes.TrimLeft(rest, " \t\r\n")
	}
	if len(b) == 0 || b[0] != '<' {
		return ""
	}
	b = b[1:]
	if i := bytes.IndexAny(b, " \t\r\n/>"); i >= 0 {
		b = b[:i]
	}
	if len(b) > len("recentchange") {
		return ""
	}
	return string(b)
}

// Decode returns the change that payload announces in the dialect that contentType names. It does not keep payload.
//
// Its errors are of kind ErrInvalid, or ErrTooLarge over MaxBytes, and have a [Reason].
func Decode(contentType string, payload []byte) (*RecentChange, error) {
	d := dialect(contentType)
	if d == "" {
		return nil, fail(UnknownDialect, "%.80q is not the content type of a MediaWiki change", contentType)
	}
	if len(payload) > MaxBytes {
		return nil, fail(TooLarge, "it has %d bytes and may have %d", len(payload), MaxBytes)
	}
	prefix, body := cutPrefix(payload)
	if len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
		return nil, fail(Empty, "the payload has no content")
	}
	rc := &RecentChange{Dialect: d}
	var err error
	switch d {
	case TypeJSON, TypeEventStreams:
		err = rc.decodeJSON(body)
	case TypeXML:
		err = rc.decodeXML(body)
	case TypeRC:
		err = rc.decodeRC(body)
	case TypeIRC:
		err = rc.decodeIRC(prefix, body)
	case TypeAPI:
		err = rc.decodeAPI(contentType, body)
	}
	if err != nil {
		return nil, err
	}
	if rc.Type == "" {
		if rc.Meta != nil && rc.Meta.Domain == "canary" {
			return nil, fail(Canary, "a canary event announces no change")
		}
		return nil, fail(MissingField, "it has no type")
	}
	return rc, nil
}
