package xmlstream

import "unicode/utf8"

// Classes of bytes. What is not ASCII is a nameByte, and is looked at as a rune later.
const (
	nameStart = 1 << iota // of a name, the colon included
	nameChar              // inside a name, the colon included
	nameByte              // nameChar, or a byte of one outside ASCII
	space                 // S of XML
	plainText             // itself in character data
	plainAttr             // itself in an attribute value
)

var class = func() (t [256]uint8) {
	for c := range 0x80 {
		if c >= ' ' || c == '\t' || c == '\n' || c == '\r' {
			t[c] |= plainText
		}
		if c >= ' ' {
			t[c] |= plainAttr
		}
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == ':'
		if letter {
			t[c] |= nameStart
		}
		if letter || '0' <= c && c <= '9' || c == '-' || c == '.' {
			t[c] |= nameChar | nameByte
		}
	}
	for c := 0x80; c < len(t); c++ {
		t[c] = nameByte
	}
	for _, c := range "<&]" {
		t[c] &^= plainText
	}
	for _, c := range `<&'"` {
		t[c] &^= plainAttr
	}
	for _, c := range " \t\r\n" {
		t[c] |= space
	}
	return t
}()

// isChar reports whether XML 1.0 allows the character (section 2.2, Char). Text may hold a surrogate only where it is not
// UTF-8 anyway.
func isChar(r rune) bool {
	return r >= ' ' && r < 0xd800 || r == '\t' || r == '\n' || r == '\r' ||
		r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= utf8.MaxRune
}

// isNameStart is NameStartChar of XML 1.0 section 2.3 from U+0080 on.
func isNameStart(r rune) bool {
	switch {
	case r < 0xc0:
		return false
	case r <= 0x2ff:
		return r != 0xd7 && r != 0xf7
	case r < 0x370:
		return false
	case r <= 0x1fff:
		return r != 0x37e
	case r < 0x2070:
		return r == 0x200c || r == 0x200d
	case r <= 0x218f:
		return true
	}
	return 0x2c00 <= r && r <= 0x2fef || 0x3001 <= r && r <= 0xd7ff || 0xf900 <= r && r <= 0xfdcf ||
		0xfdf0 <= r && r <= 0xfffd || 0x10000 <= r && r <= 0xeffff
}

// isNameChar is NameChar of XML 1.0 section 2.3 from U+0080 on.
func isNameChar(r rune) bool {
	return isNameStart(r) || r == 0xb7 || 0x300 <= r && r <= 0x36f || r == 0x203f || r == 0x2040
}

// ncName returns the length of the name without colons that b begins with; 0 if it begins with none.
func ncName(b []byte) int {
	i := 0
	for i < len(b) {
		c := b[i]
		if c < utf8.RuneSelf {
			if class[c]&nameChar == 0 || c == ':' || i == 0 && class[c]&nameStart == 0 {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 || !isNameChar(r) || i == 0 && !isNameStart(r) {
			return i
		}
		i += n
	}
	return i
}

// reference decodes the reference that b begins with: one of the five entities of XML, or a character.
func reference(b []byte) (r rune, n int, err *Error) {
	if len(b) > 2 && b[1] == '#' {
		return charRef(b)
	}
	n = 1 + ncName(b[1:])
	if n == 1 || n >= len(b) || b[n] != ';' {
		return 0, 0, malformed("a & that begins no reference")
	}
	switch string(b[1:n]) {
	case "lt":
		r = '<'
	case "gt":
		r = '>'
	case "amp":
		r = '&'
	case "apos":
		r = '\''
	case "quot":
		r = '"'
	default:
		return 0, 0, restricted("entity reference")
	}
	return r, n + 1, nil
}

func charRef(b []byte) (r rune, n int, err *Error) {
	n, base := 2, rune(10)
	if b[2] == 'x' {
		n, base = 3, 16
	}
	first := n
	for ; n < len(b); n++ {
		c := rune(b[n])
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case base == 16 && 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		case c == ';' && n > first && isChar(r):
			return r, n + 1, nil
		default:
			return 0, 0, errCharRef
		}
		if r = r*base + c; r > utf8.MaxRune {
			return 0, 0, errCharRef
		}
	}
	return 0, 0, errCharRef
}

// Errors that say all there is to say.
var (
	errCharRef   = malformed("a reference to no character")
	errChar      = malformed("a character that XML does not allow")
	errUTF8      = malformed("invalid UTF-8")
	errLTInValue = malformed("a < in an attribute value")
	errTag       = malformed("a start tag that is not right")
	errEndTag    = malformed("an end tag that does not fit")
	errCut       = malformed("the element is not complete")
)
