// Package media tells the content types that Tidings knows how to check from the others, and checks payloads: JSON
// (RFC 8259), XML (XML 1.0 and Namespaces in XML 1.0) and text.
package media

import (
	"bytes"
	"mime"
	"strings"
	"unicode/utf8"

	"tidings"
)

// Class is a family of content types that are written in the same syntax.
type Class uint8

// The classes.
const (
	Other Class = iota // bytes, not looked into
	JSON               // application/json, text/json and +json (RFC 6839 section 3.1)
	XML                // application/xml, text/xml and +xml (RFC 7303)
	Text               // text/* that is neither
)

// String returns the name of the class.
func (c Class) String() string {
	switch c {
	case JSON:
		return "JSON"
	case XML:
		return "XML"
	case Text:
		return "text"
	}
	return "bytes"
}

// ClassOf returns the class of a content type, which may have parameters. It looks at the type alone; Other for what is
// none.
func ClassOf(contentType string) Class {
	if i := strings.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	contentType = strings.Trim(contentType, " \t")
	switch {
	case equal(contentType, "application/json") || equal(contentType, "text/json") || hasSuffix(contentType, "+json"):
		return JSON
	case equal(contentType, "application/xml") || equal(contentType, "text/xml") || hasSuffix(contentType, "+xml"):
		return XML
	case len(contentType) > 5 && equal(contentType[:5], "text/"):
		return Text
	}
	return Other
}

func equal(s, lower string) bool { return len(s) == len(lower) && strings.EqualFold(s, lower) }

func hasSuffix(s, lower string) bool {
	return len(s) > len(lower) && equal(s[len(s)-len(lower):], lower)
}

// IsUTF8 reports whether a content type allows its content to be UTF-8: it has no charset parameter, or one that names
// UTF-8 or US-ASCII.
func IsUTF8(contentType string) bool {
	if strings.IndexByte(contentType, ';') < 0 {
		return true
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "utf8", "us-ascii":
		return true
	}
	return false
}

// MaxDepth is how deep the elements of XML, or the objects and arrays of JSON, may be nested in a payload that is
// checked.
const MaxDepth = 200

// Check reports whether the payload is what its content type says, as far as its class is known: nil, or an error of
// kind ErrInvalid that says where it is not. JSON has no duplicate names, no broken UTF-8 and one value; XML is UTF-8,
// well formed with namespaces, and has no document type; text is UTF-8. None is nested deeper than MaxDepth.
func Check(contentType string, payload []byte) error {
	class := ClassOf(contentType)
	if class == Other {
		return nil
	}
	if !IsUTF8(contentType) {
		return tidings.Errorf(tidings.ErrInvalid, "the content type %q names another charset than UTF-8", shorten(contentType))
	}
	switch class {
	case JSON:
		return checkJSON(payload)
	case XML:
		return checkXML(payload)
	default:
		return checkText(payload)
	}
}

func checkText(b []byte) error {
	if utf8.Valid(b) {
		return nil
	}
	at := 0
	for {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n <= 1 {
			break
		}
		at += n
	}
	return tidings.Errorf(tidings.ErrInvalid, "the body is not UTF-8: byte %d, in line %d, does not belong to a character", at, 1+bytes.Count(b[:at], []byte("\n")))
}

// shorten cuts what somebody sent to a length that fits a message.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
