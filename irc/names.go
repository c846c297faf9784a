package irc

import "strings"

// Limits of names that servers of today have; RFC 1459 has less.
const (
	MaxNick    = 30  // bytes
	MaxChannel = 200 // bytes, RFC 1459 section 1.3
)

// Fold returns the form in which names are compared: the case mapping "rfc1459", in which {}|^ are the small letters of
// []\~ (RFC 1459 section 2.2).
func Fold(name string) string {
	for i := range len(name) {
		if fold(name[i]) != name[i] {
			b := []byte(name)
			for j := i; j < len(b); j++ {
				b[j] = fold(b[j])
			}
			return string(b)
		}
	}
	return name
}

func fold(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '[' || c == ']' || c == '\\':
		return c + '{' - '['
	case c == '~':
		return '^'
	}
	return c
}

// Same reports whether two names are the same but for their case.
func Same(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

// ValidNick reports whether a client may have the nick: 1 to MaxNick letters, digits and []\`_^{|}-' in any order. RFC
// 2812 wants no digit and no hyphen at the beginning; feeds never insisted on it.
func ValidNick(s string) bool {
	if s == "" || len(s) > MaxNick {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("[]\\`_^{|}-'", c) >= 0) {
			return false
		}
	}
	return true
}

// ValidChannel reports whether s can be the name of a channel: # and 1 to MaxChannel-1 bytes, none of them a control
// character, a blank or a comma (RFC 2812 section 1.3).
func ValidChannel(s string) bool {
	if len(s) < 2 || len(s) > MaxChannel || s[0] != '#' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == ',' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
