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
	secret   string  // of the room
	service  jid.JID // of PubSub; zero if the address names none
	node     string  // of the service
}

// pubsub reports whether the address is that of nodes.
func (s *xmppServer) pubsub() bool { return !s.service.IsZero() || s.node != "" }

// parseXMPP reads the address of a server, a room or a node (RFC 5122):
//
//	xmpp://[USER[:PASSWORD]@]HOST[:PORT][/ROOM@DOMAIN[/NICK]]      xmpp:ROOM@DOMAIN?join
//	xmpp://[USER[:PASSWORD]@]HOST[:PORT][/SERVICE][?;node=NODE]    xmpp:SERVICE?;node=NODE (XEP-0060 section 12.22)
//
// The port and the password go beyond the RFC, as does xmpps, which is TLS from the first byte.
func parseXMPP(u *url.URL) (*xmppServer, error) {
	s := &xmppServer{direct: u.Scheme == "xmpps"}
	path := strings.TrimPrefix(u.Path, "/")
	if u.Opaque != "" {
		var err error
		if path, err = url.PathUnescape(u.Opaque); err != nil {
			return nil, err
		}
	}
	var typ string // the query type (RFC 5122 section 2.5)
	for i, part := range strings.Split(u.RawQuery, ";") {
		name, value, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(value)
		switch {
		case err != nil:
			return nil, err
		case i == 0 && (part == "" || part == "join" || part == "pubsub"): // XEP-0045 section 17.3, XEP-0060 section 12.22
			typ = part
		case name == "password" && typ != "pubsub":
			s.secret = value
		case name == "node" && typ != "join" && value != "":
			s.node = value
		case name == "action" && typ == "pubsub" && (value == "subscribe" || value == "retrieve"):
		default:
			return nil, fmt.Errorf("nothing is known to do with %s", part)
		}
	}
	var home string // the domain of the account, unless the host is one
	if path != "" {
		j, err := jid.Parse(path)
		switch {
		case err != nil:
			return nil, err
		case typ != "join" && (s.node != "" || j.Local() == ""):
			if s.service = j; !j.IsBare() {
				return nil, fmt.Errorf("%s is not the address of a service", path)
			}
		case j.Local() == "" || typ == "pubsub":
			return nil, fmt.Errorf("%s is not the address of a room", path)
		default:
			s.room, s.nick = j.Bare(), j.Resource()
		}
		if home = j.Domain(); s.service.Local() == "" { // else it is an account, whose nodes are those of XEP-0163
			_, home, _ = strings.Cut(home, ".")
		}
	}
	if s.secret != "" && s.pubsub() {
		return nil, errors.New("a node has no password")
	}
	domain := cmp.Or(u.Hostname(), home)
	if addr, err := netip.ParseAddr(domain); err == nil {
		// An address is where the server listens, and hardly its name.
		s.address = u.Host
		if domain = home; domain == "" && addr.IsLoopback() {
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

// dialConfig returns how to connect.
func (c *Client) dialConfig() dial.Config {
	return dial.Config{
		JID: c.xmpp.account, Password: c.xmpp.password, Address: cmp.Or(c.address, c.xmpp.address), DirectTLS: c.xmpp.direct, TLS: c.tls,
		// As with HTTP, what is silent for three keepalives is dead.
		Timeout: c.timeout, Keepalive: 2 * c.keepalive, PingTimeout: c.keepalive, MaxStanza: c.maxMessage,
		Software: dial.Software{Name: "tidings"},
	}
}

// dialXMPP connects for a stream, and resumes a session if it is not nil.
func (c *Client) dialXMPP(ctx context.Context, session *dial.Session) (*dial.Conn, error) {
	cfg := c.dialConfig()
	cfg.Manage, cfg.Resume = true, session
	return dial.Dial(ctx, cfg)
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
	j, err := c.discover(ctx, conn, "has no rooms", func(i *disco.Info) bool {
		return i.Has(muc.NS) && slices.ContainsFunc(i.Identities, func(i disco.Identity) bool { return i.Category == "conference" })
	})
	return j.Domain(), err
}

// service returns the address of the server's PubSub: that of the address, or what the server says it has.
func (c *Client) service(ctx context.Context, conn *dial.Conn) (jid.JID, error) {
	if !c.xmpp.service.IsZero() {
		return c.xmpp.service, nil
	}
	return c.discover(ctx, conn, "has no PubSub", func(i *disco.Info) bool {
		return slices.ContainsFunc(i.Identities, func(i disco.Identity) bool { return i.Category == "pubsub" && i.Type == "service" })
	})
}

// discover returns the first of the server's services that fits (XEP-0030).
func (c *Client) discover(ctx context.Context, conn *dial.Conn, none string, fits func(*disco.Info) bool) (jid.JID, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	server := conn.JID().DomainJID()
	ans, err := conn.Request(ctx, stanza.TypeGet, server, disco.AppendItemsQuery(nil, ""))
	if err != nil {
		return jid.JID{}, err
	}
	items, err := disco.ParseItems(ans.Payload())
	if err != nil {
		return jid.JID{}, err
	}
	for _, it := range items {
		ans, err := conn.Request(ctx, stanza.TypeGet, it.JID, disco.AppendInfoQuery(nil, ""))
		if _, refused := errors.AsType[*stanza.Error](err); refused {
			continue
		}
		if err != nil {
			return jid.JID{}, err
		}
		if info, err := disco.ParseInfo(ans.Payload()); err == nil && fits(info) {
			return it.JID, nil
		}
	}
	return jid.JID{}, tidings.Errorf(tidings.ErrNotFound, "client: %s %s", server, none)
}

// pubsubKinds are the kinds of XEP-0060's own conditions that say more than the stanza's.
var pubsubKinds = map[string]tidings.ErrorKind{
	"payload-too-big": tidings.ErrTooLarge, "item-required": tidings.ErrInvalid, "invalid-payload": tidings.ErrInvalid,
	"precondition-not-met": tidings.ErrConflict, "node-full": tidings.ErrConflict, "pending-subscription": tidings.ErrForbidden,
	"closed-node": tidings.ErrForbidden, "too-many-subscriptions": tidings.ErrRateLimited,
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
		if kind = xmppKinds[e.Condition]; e.Space == nsPubSubErrors {
			kind = cmp.Or(pubsubKinds[e.Name], kind)
		}
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
