package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"tidings"
	"tidings/xmpp/dial"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/muc"
	"tidings/xmpp/sasl"
	"tidings/xmpp/stanza"
	xmppstream "tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// xmppServer is what an address of XMPP says.
type xmppServer struct {
	account  jid.JID // a domain for an anonymous login
	password string
	address  string // HOST:PORT; empty for what DNS says
	direct   bool
	room     jid.JID // zero if the address names none
	nick     string
	secret   string // of the room
}

// parseXMPP reads the address of a server or a room (RFC 5122): xmpp://[USER[:PASSWORD]@]HOST[:PORT][/ROOM@DOMAIN[/NICK]], or
// xmpp:ROOM@DOMAIN?join. The port and the password go beyond the RFC, as does xmpps, which is TLS from the first byte.
func parseXMPP(u *url.URL) (*xmppServer, error) {
	s := &xmppServer{direct: u.Scheme == "xmpps"}
	path := strings.TrimPrefix(u.Path, "/")
	if u.Opaque != "" {
		var err error
		if path, err = url.PathUnescape(u.Opaque); err != nil {
			return nil, err
		}
	}
	if path != "" {
		room, err := jid.Parse(path)
		if err != nil {
			return nil, err
		}
		if room.Local() == "" {
			return nil, fmt.Errorf("%s is not the address of a room", path)
		}
		s.room, s.nick = room.Bare(), room.Resource()
	}
	for i, part := range strings.Split(u.RawQuery, ";") {
		name, value, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(value)
		switch {
		case err != nil:
			return nil, err
		case i == 0 && (part == "" || part == "join"): // the query type (RFC 5122 section 2.5, XEP-0045 section 17.3)
		case name == "password":
			s.secret = value
		default:
			return nil, fmt.Errorf("nothing is known to do with %s", part)
		}
	}
	_, parent, _ := strings.Cut(s.room.Domain(), ".")
	domain := cmp.Or(u.Hostname(), parent)
	if addr, err := netip.ParseAddr(domain); err == nil {
		// An address is where the server listens, and hardly its name.
		s.address = u.Host
		if domain = parent; domain == "" && addr.IsLoopback() {
			domain = "localhost"
		}
		domain = cmp.Or(domain, u.Hostname())
	} else if u.Port() != "" {
		s.address = u.Host
	}
	local := ""
	if u.User != nil {
		local = u.User.Username()
		s.password, _ = u.User.Password()
	}
	var err error
	s.account, err = jid.New(local, domain, "")
	return s, err
}

// WithTLS says whom to trust over XMPP. WithHTTPClient says it over HTTP.
func WithTLS(conf *tls.Config) Option { return func(c *Client) { c.tls = conf } }

// WithAddress connects to HOST:PORT for XMPP, whatever DNS says of the domain.
func WithAddress(address string) Option { return func(c *Client) { c.address = address } }

// dialXMPP connects, and resumes a session if it is not nil.
func (c *Client) dialXMPP(ctx context.Context, session *dial.Session) (*dial.Conn, error) {
	return dial.Dial(ctx, dial.Config{
		JID: c.xmpp.account, Password: c.xmpp.password, Address: cmp.Or(c.address, c.xmpp.address), DirectTLS: c.xmpp.direct, TLS: c.tls,
		Manage: true, Resume: session,
		// As with HTTP, what is silent for three keepalives is dead.
		Timeout: c.timeout, Keepalive: 2 * c.keepalive, PingTimeout: c.keepalive, MaxStanza: c.maxMessage,
		Software: dial.Software{Name: "tidings"},
	})
}

// RoomAddress returns the localpart of the room that a Tidings server has for a pattern: the host for the topic
// /recentchange/HOST, else the pattern itself, escaped (XEP-0106). The error is of kind tidings.ErrInvalid: its name would be
// too long.
func RoomAddress(p tidings.Pattern) (string, error) {
	path := p.String()
	if host, ok := strings.CutPrefix(path, "/recentchange/"); ok && strings.Contains(host, ".") && !strings.Contains(host, "/") {
		if _, one := p.Topic(); one && keeps(host) {
			return host, nil
		}
	}
	for _, all := range []bool{false, true} {
		if local, err := jid.EscapeLocal(percentEncode(path, all)); err == nil && keeps(local) {
			return local, nil
		}
	}
	return "", tidings.Errorf(tidings.ErrInvalid, "client: no room can have the name of %s", path)
}

// keeps reports whether a localpart comes back as it is.
func keeps(local string) bool {
	j, err := jid.New(local, "localhost", "")
	return err == nil && j.Local() == local
}

// percentEncode encodes what a localpart does not keep: percent signs, capitals and, where told so, all that is not ASCII.
func percentEncode(s string, nonASCII bool) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c == '%' || 'A' <= c && c <= 'Z' || c >= 0x80 && nonASCII || c == ' ' && i == len(s)-1 {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// conference returns the domain of the server's rooms: that of the address, or what the server says it has.
func (c *Client) conference(ctx context.Context, conn *dial.Conn) (string, error) {
	if !c.xmpp.room.IsZero() {
		return c.xmpp.room.Domain(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	server := conn.JID().DomainJID()
	ans, err := conn.Request(ctx, stanza.TypeGet, server, disco.AppendItemsQuery(nil, ""))
	if err != nil {
		return "", err
	}
	items, err := disco.ParseItems(ans.Payload())
	if err != nil {
		return "", err
	}
	for _, it := range items {
		ans, err := conn.Request(ctx, stanza.TypeGet, it.JID, disco.AppendInfoQuery(nil, ""))
		if _, refused := errors.AsType[*stanza.Error](err); refused {
			continue
		}
		if err != nil {
			return "", err
		}
		info, err := disco.ParseInfo(ans.Payload())
		if err == nil && info.Has(muc.NS) && slices.ContainsFunc(info.Identities, func(i disco.Identity) bool { return i.Category == "conference" }) {
			return it.JID.Domain(), nil
		}
	}
	return "", tidings.Errorf(tidings.ErrNotFound, "client: %s has no rooms", server)
}

// xmppKinds are the kinds of errors that others than a failing connection are; what is not here may pass.
var xmppKinds = map[string]tidings.ErrorKind{
	"bad-request": tidings.ErrInvalid, "jid-malformed": tidings.ErrInvalid, "not-acceptable": tidings.ErrInvalid,
	"not-authorized": tidings.ErrUnauthenticated, "forbidden": tidings.ErrForbidden, "registration-required": tidings.ErrForbidden,
	"not-allowed": tidings.ErrForbidden, "item-not-found": tidings.ErrNotFound, "gone": tidings.ErrNotFound, "conflict": tidings.ErrConflict,
	"remote-server-not-found": tidings.ErrNotFound,
	"policy-violation":        tidings.ErrRateLimited, "feature-not-implemented": tidings.ErrInvalid, "service-unavailable": tidings.ErrNotFound,
	// of streams
	"host-unknown": tidings.ErrInvalid, "host-gone": tidings.ErrInvalid, "invalid-namespace": tidings.ErrInvalid, "bad-format": tidings.ErrInvalid,
	"unsupported-version": tidings.ErrInvalid, "not-well-formed": tidings.ErrInvalid, "unsupported-stanza-type": tidings.ErrInvalid,
}

// xmppError gives an error of XMPP its kind.
func xmppError(err error) error {
	if err == nil || err == errStopped || tidings.KindOf(err) != 0 || errors.Is(err, context.Canceled) {
		return err
	}
	kind := tidings.ErrorKind(0)
	if e, ok := errors.AsType[*stanza.Error](err); ok && e.Type != stanza.Wait {
		kind = xmppKinds[e.Condition]
	} else if e, ok := errors.AsType[*xmppstream.Error](err); ok {
		if kind = xmppKinds[e.Condition]; kind == tidings.ErrRateLimited {
			kind = 0 // on another connection it may go
		}
	} else if e, ok := errors.AsType[*xmlstream.Error](err); ok {
		if kind = tidings.ErrInvalid; e.Condition == xmlstream.PolicyViolation {
			kind = tidings.ErrTooLarge
		}
	} else if e, ok := errors.AsType[*sasl.Error](err); ok && e.Condition != sasl.TemporaryAuthFailure {
		kind = tidings.ErrUnauthenticated
	} else if errors.Is(err, dial.ErrTLSRequired) || errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.HostnameError)) {
		kind = tidings.ErrInvalid
	} else if errors.Is(err, dial.ErrNoMechanism) {
		kind = tidings.ErrUnauthenticated
	}
	return tidings.Errorf(cmp.Or(kind, tidings.ErrUnavailable), "client: %w", err)
}
