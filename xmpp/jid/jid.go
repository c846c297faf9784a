// Package jid is the address format of XMPP. A parsed JID is prepared and enforced, so that two addresses are the same if
// and only if their JIDs are equal by ==.
//
//   - RFC 7622: the format, its limits and the order in which an address is taken apart
//   - RFC 8264 and RFC 8265: localparts are of the profile UsernameCaseMapped, resourceparts of OpaqueString
//   - RFC 5890 and UTS #46: domainparts, whose labels are LDH or U-labels, so that there is no underscore; RFC 5952: IPv6
//     literals
//   - XEP-0106: escaping of localparts
package jid

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxPart is the greatest length of each part in bytes of UTF-8, after enforcement (RFC 7622 section 3.1).
const MaxPart = 1023

// maxInput is the longest address that is looked at: three parts with their separators, and the dot behind the domainpart.
const maxInput = 3*MaxPart + 3

// ErrMalformed is what all errors of this package wrap. On a stream it is the stanza error jid-malformed.
var ErrMalformed = errors.New("jid: malformed")

// JID is an address: localpart@domainpart/resourcepart, of which only the domainpart is always there. JIDs are comparable.
// The zero JID is no address.
type JID struct{ local, domain, resource string }

// Parse parses an address (RFC 7622 section 3.1). The parts of an ASCII address share memory with s where nothing had to
// be mapped, and nothing is allocated then. A final dot of the domainpart is dropped, capitals of localpart and domainpart
// become small. Errors wrap ErrMalformed.
func Parse(s string) (JID, error) {
	if len(s) > maxInput {
		return JID{}, malformed(s, "too long")
	}
	if !ascii(s) {
		return recent.parse(s)
	}
	return parse(s)
}

// ParseBytes is Parse of a copy of b.
func ParseBytes(b []byte) (JID, error) {
	if len(b) > maxInput {
		return JID{}, malformed(string(b), "too long")
	}
	return Parse(string(b))
}

// MustParse is Parse for addresses that are constants. It panics if the address is malformed.
func MustParse(s string) JID {
	j, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return j
}

func parse(s string) (JID, error) {
	var local, resource string
	rest := s
	// The first slash ends the domainpart; only then is the first @ before it a separator.
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		if rest, resource = rest[:i], rest[i+1:]; resource == "" {
			return JID{}, malformed(s, "empty resourcepart")
		}
	}
	if i := strings.IndexByte(rest, '@'); i >= 0 {
		if local, rest = rest[:i], rest[i+1:]; local == "" {
			return JID{}, malformed(s, "empty localpart")
		}
	}
	return New(local, rest, resource)
}

// New returns the JID of three parts, each of which is prepared and enforced as Parse does. An empty localpart or
// resourcepart is none. Errors wrap ErrMalformed.
func New(local, domain, resource string) (JID, error) {
	var j JID
	var reason string
	if j.domain, reason = domainpart(domain); reason != "" {
		return JID{}, malformed(domain, reason)
	}
	if local != "" {
		if j.local, reason = localpart(local); reason != "" {
			return JID{}, malformed(local, reason)
		}
	}
	if resource != "" {
		if j.resource, reason = resourcepart(resource); reason != "" {
			return JID{}, malformed(resource, reason)
		}
	}
	return j, nil
}

// malformed makes an error of at most a few hundred bytes, whoever chose the input.
func malformed(s, reason string) error {
	if len(s) > 100 {
		n := 100
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		return fmt.Errorf("%w: %s in %q and %d more bytes", ErrMalformed, reason, s[:n], len(s)-n)
	}
	return fmt.Errorf("%w: %s in %q", ErrMalformed, reason, s)
}

// Local returns the localpart, or "".
func (j JID) Local() string { return j.local }

// Domain returns the domainpart: a name in small letters, in Unicode rather than in A-labels and without a final dot; an
// IPv4 address; or an IPv6 address in brackets.
func (j JID) Domain() string { return j.domain }

// Resource returns the resourcepart, or "".
func (j JID) Resource() string { return j.resource }

// Bare returns the JID without its resourcepart.
func (j JID) Bare() JID { return JID{j.local, j.domain, ""} }

// DomainJID returns the JID of the domainpart alone.
func (j JID) DomainJID() JID { return JID{"", j.domain, ""} }

// IsBare reports whether there is no resourcepart.
func (j JID) IsBare() bool { return j.resource == "" }

// IsZero reports whether the JID is no address.
func (j JID) IsZero() bool { return j.domain == "" }

// WithResource returns the JID with another resourcepart; "" takes it away. Errors wrap ErrMalformed.
func (j JID) WithResource(resource string) (JID, error) {
	if resource == "" {
		return j.Bare(), nil
	}
	r, reason := resourcepart(resource)
	if reason != "" {
		return JID{}, malformed(resource, reason)
	}
	return JID{j.local, j.domain, r}, nil
}

// String returns the address, which Parse turns into the same JID; "" for the zero JID.
func (j JID) String() string {
	switch {
	case j.local == "" && j.resource == "":
		return j.domain
	case j.local == "":
		return j.domain + "/" + j.resource
	case j.resource == "":
		return j.local + "@" + j.domain
	}
	return j.local + "@" + j.domain + "/" + j.resource
}

// AppendText appends the address to dst. It is not escaped for XML, and may hold &, ', < and others.
func (j JID) AppendText(dst []byte) []byte {
	if j.local != "" {
		dst = append(append(dst, j.local...), '@')
	}
	dst = append(dst, j.domain...)
	if j.resource != "" {
		dst = append(append(dst, '/'), j.resource...)
	}
	return dst
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
