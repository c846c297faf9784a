package dial

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// Ports where neither the address nor DNS tells one.
const (
	portStartTLS  = "5222"
	portDirectTLS = "5223"
)

// connectTimeout bounds the attempt at one of several addresses.
const connectTimeout = 10 * time.Second

// target is where a server may be.
type target struct {
	address string // HOST:PORT
	direct  bool   // TLS from the first byte
}

// connect makes a connection to the first target that answers.
func (cfg *Config) connect(ctx context.Context) (nc net.Conn, secure bool, err error) {
	targets, err := cfg.targets(ctx)
	if err != nil {
		return nil, false, err
	}
	var errs []error
	for _, t := range targets {
		if nc, err = cfg.try(ctx, t); err == nil {
			return nc, t.direct, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, false, errors.Join(errs...)
}

func (cfg *Config) try(ctx context.Context, t target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dial := cfg.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	nc, err := dial(ctx, "tcp", t.address)
	if err != nil || !t.direct {
		return nc, err
	}
	conf := cfg.tls()
	conf.NextProtos = []string{"xmpp-client"}
	tc := tls.Client(nc, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}

// tls returns the configuration for this server.
func (cfg *Config) tls() *tls.Config {
	conf := cfg.TLS.Clone()
	if conf == nil {
		conf = &tls.Config{}
	}
	conf.ServerName = cmp.Or(conf.ServerName, cfg.host())
	return conf
}

// host returns the domain as DNS and certificates have it: in A-labels, an IPv6 address without brackets.
func (cfg *Config) host() string {
	domain := strings.Trim(cfg.JID.Domain(), "[]")
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
		return ascii
	}
	return domain
}

// targets returns where to look for the server, best first.
func (cfg *Config) targets(ctx context.Context) ([]target, error) {
	port := portStartTLS
	if cfg.DirectTLS {
		port = portDirectTLS
	}
	var ts []target
	if s := cfg.Resume; s != nil && s.location != "" { // XEP-0198 section 5: try this first
		ts = append(ts, target{withPort(s.location, port), s.direct})
	}
	if cfg.Address != "" {
		return append(ts, target{withPort(cfg.Address, port), cfg.DirectTLS}), nil
	}
	host := cfg.host()
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
		found, err := cfg.lookup(ctx, host)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			return append(ts, found...), nil
		}
	}
	return append(ts, target{net.JoinHostPort(host, port), cfg.DirectTLS}), nil
}

// withPort returns the address with a port; one of IPv6 may be without brackets.
func withPort(address, port string) string {
	if a, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
		return net.JoinHostPort(a.String(), port)
	}
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(address, port)
}

// lookup returns what the SRV records of the domain say (RFC 6120 section 3.2.1, XEP-0368 section 4): both kinds by priority
// and, within one, as their weights fall. It returns nothing if there are none, or if nobody can say.
func (cfg *Config) lookup(ctx context.Context, host string) ([]target, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	r := cfg.Resolver
	if r == nil {
		r = net.DefaultResolver
	}
	type record struct {
		*net.SRV
		direct bool
	}
	var records []record
	refused := 0
	for _, direct := range []bool{true, false} {
		service := "xmpp-client"
		if direct {
			service = "xmpps-client"
		} else if cfg.DirectTLS {
			continue
		}
		_, found, err := r.LookupSRV(ctx, service, "tcp", host)
		if err != nil {
			continue // no such record, or no answer: the domain itself is tried
		}
		for _, s := range found {
			if s.Target == "." { // the service is not there (RFC 2782)
				refused++
				continue
			}
			records = append(records, record{s, direct})
		}
	}
	if len(records) == 0 && refused > 0 {
		return nil, errors.New(host + " has no XMPP service for clients, as DNS says")
	}
	slices.SortStableFunc(records, func(a, b record) int { return int(a.Priority) - int(b.Priority) })
	var ts []target
	for _, s := range records {
		ts = append(ts, target{net.JoinHostPort(strings.TrimSuffix(s.Target, "."), strconv.Itoa(int(s.Port))), s.direct})
	}
	return ts, nil
}

// loopback reports whether the other end is this machine.
func loopback(nc net.Conn) bool {
	switch a := nc.RemoteAddr().(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}
