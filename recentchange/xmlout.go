package recentchange

import (
	"encoding/xml"
	"unicode/utf8"
)

func attr(name, value string) xml.Attr { return xml.Attr{Name: xml.Name{Local: name}, Value: value} }

// appendXML appends the element on lines of its own, as ApiFormatXml writes it with that indentation.
func (n *node) appendXML(dst []byte, indent int) []byte {
	dst = appendBlanks(dst, indent)
	dst = append(append(dst, '<'), n.name...)
	for _, a := range n.attrs {
		dst = appendAttr(dst, a.Name.Local, a.Value)
	}
	switch {
	case len(n.kids) > 0:
		dst = append(dst, ">\n"...)
		for _, k := range n.kids {
			dst = k.appendXML(dst, indent+2)
		}
		dst = appendBlanks(dst, indent)
	case n.text != "":
		dst = appendEscaped(append(dst, '>'), n.text)
	default:
		return append(dst, " />\n"...)
	}
	dst = append(append(dst, "</"...), n.name...)
	return append(dst, ">\n"...)
}

func appendBlanks(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, ' ')
	}
	return dst
}

// appendAttr appends a blank and an attribute.
func appendAttr(dst []byte, name, value string) []byte {
	dst = append(append(append(dst, ' '), name...), '=', '"')
	return append(appendEscaped(dst, value), '"')
}

// appendEscaped appends s as MediaWiki escapes attributes and text, with U+FFFD for what XML 1.0 section 2.2 excludes.
func appendEscaped(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '&':
			dst = append(dst, "&amp;"...)
		case c == '<':
			dst = append(dst, "&lt;"...)
		case c == '>':
			dst = append(dst, "&gt;"...)
		case c == '"':
			dst = append(dst, "&quot;"...)
		case c == '\'':
			dst = append(dst, "&#039;"...)
		case c == '\n':
			dst = append(dst, "&#10;"...)
		case c == '\r':
			dst = append(dst, "&#13;"...)
		case c == '\t':
			dst = append(dst, "&#9;"...)
		case c < 0x20:
			dst = append(dst, "\uFFFD"...)
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == 0xFFFE || r == 0xFFFF {
				r = utf8.RuneError
			}
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return dst
}
