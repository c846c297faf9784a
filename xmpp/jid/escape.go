package jid

import (
	"fmt"
	"strings"
)

// escapes are the characters that XEP-0106 section 4.1 escapes. The backslash is one only where it would be read as the
// beginning of an escape.
const escapes = ` "&'/:<>@\`

const hexDigits = "0123456789abcdef"

// EscapeLocal returns s as a localpart can hold it (XEP-0106): a blank becomes \20, an @ becomes \40. Parse has still to
// judge the rest. The error wraps ErrMalformed: s begins or ends with a blank, for which the XEP has no escape.
func EscapeLocal(s string) (string, error) {
	if strings.HasPrefix(s, " ") || strings.HasSuffix(s, " ") {
		return "", fmt.Errorf("%w: a blank at the beginning or end of a localpart has no escape", ErrMalformed)
	}
	if !strings.ContainsAny(s, escapes) {
		return s, nil
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if strings.IndexByte(escapes, c) < 0 || c == '\\' && !escaped(s[i:]) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('\\')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String(), nil
}

// UnescapeLocal returns what people are to see of an escaped localpart. It is not a localpart: it is never to be compared
// or put into a JID.
func UnescapeLocal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		// An escaped blank at the beginning or the end is none, as the XEP lets none be written there.
		if !escaped(s[i:]) || s[i:i+3] == `\20` && (i == 0 || i+3 == len(s)) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte(byte(hex(s[i+1])<<4 | hex(s[i+2])))
		i += 2
	}
	return b.String()
}

// escaped reports whether s begins with one of the ten escapes. Capitals count: localparts lose them.
func escaped(s string) bool {
	if len(s) < 3 || s[0] != '\\' {
		return false
	}
	h, l := hex(s[1]), hex(s[2])
	return h >= 0 && l >= 0 && strings.IndexByte(escapes, byte(h<<4|l)) >= 0
}

// hex returns the value of the digit, or -1.
func hex(c byte) int { return strings.IndexByte(hexDigits, c|0x20) }
