package recentchange

import "unicode/utf8"

// AppendJSON appends the change as MediaWiki's JSONRCFeedFormatter writes it: compact, in ASCII, nulls included. Members
// have the order in which they were received, or else the formatter's.
func (rc *RecentChange) AppendJSON(dst []byte) []byte {
	w := writer{dst: append(dst, '{'), nulls: true, php: true}
	w.fields(rc)
	return append(w.dst, '}')
}

// appendPHPString appends s as PHP's json_encode does with MediaWiki's flags: everything outside ASCII escaped, < > & too,
// the slash not.
func appendPHPString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		n := 1
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
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
		case c == '<' || c == '>' || c == '&':
			dst = append(dst, '\\', 'u', '0', '0', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		case c < 0x20:
			dst = appendUnit(dst, uint16(c))
		default:
			var r rune
			r, n = utf8.DecodeRuneInString(s[i:])
			if r >= 0x10000 {
				r -= 0x10000
				dst = appendUnit(dst, uint16(0xd800+r>>10))
				dst = appendUnit(dst, uint16(0xdc00+r&0x3ff))
			} else {
				dst = appendUnit(dst, uint16(r))
			}
		}
		i += n
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendUnit appends the escape of one UTF-16 code unit.
func appendUnit(dst []byte, u uint16) []byte {
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[u>>12], hex[u>>8&15], hex[u>>4&15], hex[u&15])
}
