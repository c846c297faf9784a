package jid

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"
)

// Reasons why a part is refused.
const (
	tooLong      = "part longer than 1023 bytes"
	badUTF8      = "invalid UTF-8"
	badLocal     = "character not allowed in a localpart"
	badDomain    = "no domainpart"
	badLabel     = "label that is no part of a domain name"
	badIP        = "bad IP literal"
	badResource  = "character not allowed in a resourcepart"
	badStability = "part that changes each time it is enforced"
)

// excluded are the characters of UsernameCaseMapped that a localpart must not hold all the same (RFC 7622 section 3.3.1).
const excluded = `"&'/:<>@`

// inLocal tells which ASCII characters a localpart may hold, capitals included.
var inLocal = func() (t [256]bool) {
	for c := byte('!'); c <= '~'; c++ {
		t[c] = strings.IndexByte(excluded, c) < 0
	}
	return t
}()

func localpart(s string) (enforced, reason string) {
	if ascii(s) {
		enforced = strings.ToLower(s) // allocates only if there is a capital
	} else if enforced, reason = stable(s, badLocal, precis.UsernameCaseMapped.String); reason != "" {
		return "", reason
	}
	for i := range len(enforced) { // what was excluded may have come by the mapping
		if c := enforced[i]; c < utf8.RuneSelf && !inLocal[c] {
			return "", badLocal
		}
	}
	if len(enforced) > MaxPart {
		return "", tooLong
	}
	return enforced, ""
}

func resourcepart(s string) (enforced, reason string) {
	enforced = s
	if ascii(s) {
		for i := range len(s) {
			if s[i] < ' ' || s[i] == 0x7f {
				return "", badResource
			}
		}
	} else if enforced, reason = stable(s, badResource, precis.OpaqueString.String); reason != "" {
		return "", reason
	}
	if len(enforced) > MaxPart {
		return "", tooLong
	}
	return enforced, ""
}

// domains maps to Unicode. The result must be in the permanent form of IDNA 2008, so nothing is transitional.
var domains = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.StrictDomainName(true),
	idna.ValidateLabels(true),
	idna.CheckHyphens(true),
	idna.CheckJoiners(true),
	idna.BidiRule(),
)

func domainpart(s string) (enforced, reason string) {
	if strings.HasPrefix(s, "[") {
		return literal(s)
	}
	if ascii(s) && !aLabel(s) {
		enforced = strings.ToLower(strings.TrimSuffix(s, "."))
	} else {
		if enforced, reason = stable(s, badLabel, domains.ToUnicode); reason != "" {
			return "", reason
		}
		// A dot in another script is only now a dot.
		enforced = strings.TrimSuffix(enforced, ".")
	}
	if enforced == "" {
		return "", badDomain
	}
	if len(enforced) > MaxPart {
		return "", tooLong
	}
	for label := range strings.SplitSeq(enforced, ".") {
		if !validLabel(label) {
			return "", badLabel
		}
	}
	return enforced, ""
}

// aLabel reports whether one of the labels begins with xn--, in any case.
func aLabel(s string) bool {
	for i := 0; i+4 <= len(s); i++ {
		if (i == 0 || s[i-1] == '.') && strings.EqualFold(s[i:i+4], "xn--") {
			return true
		}
	}
	return false
}

// validLabel reports whether the label is an NR-LDH label, or a U-label which as an A-label is as short as DNS wants it
// (RFC 5890 section 2.3). Whether the characters of a U-label are right the profile has said.
func validLabel(s string) bool {
	if !ascii(s) {
		a, err := idna.Punycode.ToASCII(s)
		return err == nil && len(a) <= 63
	}
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' || len(s) > 3 && s[2:4] == "--" {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// literal brings an IPv6 address in brackets into the one form of RFC 5952. Zones mean nothing to another host.
func literal(s string) (enforced, reason string) {
	s, ok := strings.CutSuffix(strings.TrimSuffix(s, "."), "]")
	if !ok {
		return "", badIP
	}
	a, err := netip.ParseAddr(s[1:])
	if err != nil || !a.Is6() || a.Zone() != "" {
		return "", badIP
	}
	return "[" + a.String() + "]", ""
}

// stable applies a profile until it changes nothing more, at most four times, as RFC 8264 section 7 asks.
func stable(s, refused string, profile func(string) (string, error)) (enforced, reason string) {
	if !utf8.ValidString(s) {
		return "", badUTF8
	}
	for range 4 {
		next, err := profile(s)
		if err != nil || next == "" {
			return "", refused
		}
		if next == s {
			return s, ""
		}
		s = next
	}
	return "", badStability
}
