// Package dial connects to an XMPP server as a client and carries stanzas.
//
//   - RFC 6120: streams, STARTTLS, SASL, resource binding; section 3.2: how the server is found
//   - XEP-0368: TLS from the first byte, with its SRV records
//   - XEP-0198: stream management, with resumption
//   - XEP-0199: ping, both ways; XEP-0030, XEP-0092, XEP-0202: what others ask of every client
//
// # Use
//
//	c, err := dial.Dial(ctx, dial.Config{JID: jid.MustParse("ann@example.org"), Password: "…"})
//	err = c.Send(presence)
//	for {
//		st, err := c.Next(ctx) // pings and the like are answered inside
//		…
//	}
//
// A Conn has no goroutine. Stanzas are read by whoever calls [Conn.Next] or waits in [Conn.Request], and it is there that a
// connection which has gone silent is found out: so one of them has to be called again and again.
package dial

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Defaults of a Config.
const (
	DefaultTimeout     = 30 * time.Second
	DefaultKeepalive   = 60 * time.Second
	DefaultPingTimeout = 30 * time.Second
	DefaultMaxStanza   = 16 << 20 // bytes
)

// writeTimeout bounds each write: a server that does not read for so long is gone.
const writeTimeout = 30 * time.Second

// Errors of a connection. Beside them there are *stream.Error, what the server ended the stream with or was told; *sasl.Error,
// why it did not let us in; *stanza.Error, with which it answered a request; and those of the network and of package tls.
var (
	ErrClosed      = errors.New("the server has closed the stream")
	ErrDone        = errors.New("the connection has been closed by this side")
	ErrSilent      = errors.New("nothing came, and no answer to a ping")
	ErrTLSRequired = errors.New("the server offers no TLS, without which nothing is told to another machine")
	ErrNoMechanism = errors.New("the server has no way to log in that this client knows")
	ErrBacklog     = errors.New("too many stanzas wait to be taken, or to be acknowledged")
)

// Config says where to connect to and as whom. Only JID is needed.
type Config struct {
	// JID is the account, and the resource to ask for if it has one. One without a localpart is the server's domain, and the
	// login is anonymous (RFC 4505).
	JID      jid.JID
	Password string

	// Address is the server, HOST or HOST:PORT. Empty: what DNS says of the domain, else the domain itself; on the port 5222,
	// or 5223 with DirectTLS.
	Address string
	// DirectTLS begins with TLS (XEP-0368) rather than with STARTTLS. It is also chosen by the records of DNS.
	DirectTLS bool
	// Plaintext allows a stream without TLS to another machine. On loopback that needs no permission: there TLS is begun if the
	// server requires it or if TLS is set. No password is sent as it is without TLS.
	Plaintext bool
	// TLS has the roots to trust, or InsecureSkipVerify. The certificate has to be for the domain of the JID unless ServerName
	// says otherwise (RFC 6120 section 13.7.2).
	TLS *tls.Config

	// Manage asks for stream management, so that the session can be resumed.
	Manage bool
	// Resume is the session to go on with, which Conn.Drop returned. If the server does not have it any more, a new one begins:
	// see Conn.Resumed.
	Resume *Session

	Timeout     time.Duration // from the connection to the session (30 s)
	Keepalive   time.Duration // a server of which nothing came for so long is asked whether it is there (60 s)
	PingTimeout time.Duration // and has so long to answer (30 s)
	MaxStanza   int           // the length of the longest stanza that is taken, in bytes (16 MiB)

	// Handle is called with requests that came, on the goroutine that reads, and reports whether it takes care of the answer.
	// Otherwise those about this client are answered as Software says, and others by service-unavailable. It may be nil.
	Handle func(c *Conn, st *stanza.Stanza) bool
	// Software is what this client says of itself; without a name it is "tidings".
	Software Software

	Resolver *net.Resolver // nil: the usual one
	// DialContext makes connections; nil: net.Dialer's.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// Software is what a client says of itself (XEP-0030, XEP-0092).
type Software struct {
	Name, Version string
	Identity      disco.Identity // client, bot by default
	Features      []string       // beside those of this package
}

// Dial connects, logs in and binds a resource, or resumes a session. ctx bounds that only. Close or Drop has to be called.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	if cfg.JID.IsZero() {
		return nil, errors.New("dial: there is no address to log in as")
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	cfg.Keepalive = cmp.Or(cfg.Keepalive, DefaultKeepalive)
	cfg.PingTimeout = cmp.Or(cfg.PingTimeout, DefaultPingTimeout)
	cfg.MaxStanza = cmp.Or(cfg.MaxStanza, DefaultMaxStanza)
	cfg.Software.Name = cmp.Or(cfg.Software.Name, "tidings")
	if cfg.Software.Identity == (disco.Identity{}) {
		cfg.Software.Identity = disco.Identity{Category: "client", Type: "bot"}
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	nc, secure, err := cfg.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	c := newConn(nc, &cfg)
	n := negotiation{Conn: c, secure: secure}
	if err := n.run(ctx); err != nil {
		n.giveUp(err)
		return nil, fmt.Errorf("dial: %s: %w", cfg.JID.Domain(), err)
	}
	c.live, c.heard = true, time.Now()
	return c, nil
}

// newConn returns a connection on which nothing has been said.
func newConn(nc net.Conn, cfg *Config) *Conn {
	c := &Conn{cfg: cfg, nc: nc, reading: make(chan struct{}, 1), arrived: make(chan struct{}, 1), waiting: map[string]*asked{}}
	c.limit()
	return c
}

// limit bounds what the server may send.
func (c *Conn) limit() {
	c.scan.Limits = xmlstream.Limits{Stanza: c.cfg.MaxStanza}
}
