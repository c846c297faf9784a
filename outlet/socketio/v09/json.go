package v09

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// The JSON of RCStream is what Python's json.dumps makes of it with sort_keys=True and separators=(",", ":"): the members of
// objects sorted at any depth, no blanks, and nothing but the printable characters of ASCII.

type member struct{ key, raw, value []byte }

// appendSorted appends the value that src begins with in that form and returns what follows it. src is valid JSON without white
// space between its tokens.
func appendSorted(dst, src []byte) (out, rest []byte) {
	switch src[0] {
	case '{':
		var room [32]member
		members := room[:0]
		for src = src[1:]; src[0] != '}'; {
			if src[0] == ',' {
				src = src[1:]
			}
			n := stringEnd(src)
			m := member{raw: src[:n], key: src[1 : n-1]}
			if bytes.IndexByte(m.key, '\\') >= 0 {
				m.key, _ = jsontext.AppendUnquote(nil, m.raw) // the text is valid
			}
			src = src[n+1:]
			n = valueEnd(src)
			m.value, src = src[:n], src[n:]
			members = append(members, m)
		}
		slices.SortStableFunc(members, func(a, b member) int { return bytes.Compare(a.key, b.key) })
		dst = append(dst, '{')
		for i, m := range members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, m.raw), ':')
			dst, _ = appendSorted(dst, m.value)
		}
		return append(dst, '}'), src[1:]
	case '[':
		dst = append(dst, '[')
		for src = src[1:]; src[0] != ']'; {
			if src[0] == ',' {
				dst, src = append(dst, ','), src[1:]
			}
			dst, src = appendSorted(dst, src)
		}
		return append(dst, ']'), src[1:]
	case '"':
		n := stringEnd(src)
		return appendString(dst, src[:n]), src[n:]
	}
	n := valueEnd(src)
	return append(dst, src[:n]...), src[n:]
}

// appendASCII appends valid JSON with the strings in that form and everything else as it is.
func appendASCII(dst, src []byte) []byte {
	for len(src) > 0 {
		i := bytes.IndexByte(src, '"')
		if i < 0 {
			return append(dst, src...)
		}
		dst = append(dst, src[:i]...)
		src = src[i:]
		n := stringEnd(src)
		dst = appendString(dst, src[:n])
		src = src[n:]
	}
	return dst
}

// stringEnd returns the length of the JSON string that b begins with.
func stringEnd(b []byte) int {
	i := 1
	for ; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// valueEnd returns the length of the JSON value that b begins with.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
		if depth == 0 && (b[i] == '"' || b[i] == '}' || b[i] == ']') {
			return i + 1
		}
	}
	return len(b)
}

// appendString appends a JSON string as Python writes it.
func appendString(dst, quoted []byte) []byte {
	plain := true
	for _, c := range quoted[1 : len(quoted)-1] {
		if c < ' ' || c > '~' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return append(dst, quoted...)
	}
	s, _ := jsontext.AppendUnquote(nil, quoted) // the text is valid
	return appendQuoted(dst, string(s))
}

// appendQuoted appends s as a JSON string in ASCII. Invalid UTF-8 becomes U+FFFD.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c >= ' ' && c <= '~':
				dst = append(dst, c)
			case c == '\b':
				dst = append(dst, '\\', 'b')
			case c == '\f':
				dst = append(dst, '\\', 'f')
			case c == '\n':
				dst = append(dst, '\\', 'n')
			case c == '\r':
				dst = append(dst, '\\', 'r')
			case c == '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = appendUnit(dst, uint16(c))
			}
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if r >= 0x10000 {
			r -= 0x10000
			dst = appendUnit(dst, uint16(0xd800+r>>10))
			r = 0xdc00 + r&0x3ff
		}
		dst = appendUnit(dst, uint16(r))
	}
	return append(dst, '"')
}

// appendUnit appends the escape of one UTF-16 code unit.
func appendUnit(dst []byte, u uint16) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[u>>12], hex[u>>8&15], hex[u>>4&15], hex[u&15])
}
