package xmlstream

import (
	"bytes"
	"strings"
)

// declared checks an XML declaration (XML 1.0 section 2.8): the version, then perhaps the encoding, then perhaps standalone.
func declared(decl []byte) *Error {
	rest, ok := bytes.CutPrefix(decl[:len(decl)-2], []byte("<?xml"))
	if !ok || len(rest) == 0 || class[rest[0]]&space == 0 {
		return restricted("processing instruction")
	}
	bad := malformed("the XML declaration is wrong")
	name, value, rest, ok := pseudoAttr(rest)
	if !ok || name != "version" {
		return bad
	}
	if value != "1.0" {
		return malformed("the version of XML is not 1.0")
	}
	if len(rest) == 0 {
		return nil
	}
	if name, value, rest, ok = pseudoAttr(rest); !ok {
		return bad
	}
	if name == "encoding" {
		if !strings.EqualFold(value, "utf-8") {
			return &Error{UnsupportedEncoding, "the encoding is not UTF-8"}
		}
		if len(rest) == 0 {
			return nil
		}
		if name, value, rest, ok = pseudoAttr(rest); !ok {
			return bad
		}
	}
	if name != "standalone" || value != "yes" && value != "no" || len(rest) > 0 {
		return bad
	}
	return nil
}

// pseudoAttr takes one name='value' with the whitespace before it, and drops whitespace that ends the declaration.
func pseudoAttr(b []byte) (name, value string, rest []byte, ok bool) {
	trimmed := bytes.TrimLeft(b, " \t\r\n")
	n, v, found := bytes.Cut(trimmed, []byte("="))
	v = bytes.TrimLeft(v, " \t\r\n")
	if !found || len(trimmed) == len(b) || len(v) < 2 || v[0] != '\'' && v[0] != '"' {
		return "", "", nil, false
	}
	end := bytes.IndexByte(v[1:], v[0])
	if end < 0 {
		return "", "", nil, false
	}
	rest = v[end+2:]
	if len(bytes.TrimLeft(rest, " \t\r\n")) == 0 {
		rest = nil
	}
	return string(bytes.TrimRight(n, " \t\r\n")), string(v[1 : end+1]), rest, true
}
