//go:build linux

package xmpppeer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Names is a DNS server on loopback by which servers find each other (RFC 6120 section 3.2): it has the SRV records of
// _xmpp-server for the domains of each server that is started with it, and nothing else.
type Names struct {
	conn net.PacketConn
	done chan struct{}

	mu  sync.Mutex
	srv map[string]uint16 // port by domain
}

// NewNames starts a DNS server, which runs until Close.
func NewNames() (*Names, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("xmpppeer: %w", err)
	}
	n := &Names{conn: conn, done: make(chan struct{}), srv: map[string]uint16{}}
	go n.serve()
	return n, nil
}

// Close ends it.
func (n *Names) Close() error {
	err := n.conn.Close()
	<-n.done
	return err
}

func (n *Names) add(domain, addr string) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("xmpppeer: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.srv[domain] = at.Port()
	return nil
}

// port is where it listens.
func (n *Names) port() int { return n.conn.LocalAddr().(*net.UDPAddr).Port }

func (n *Names) serve() {
	defer close(n.done)
	b := make([]byte, 64<<10)
	for {
		size, from, err := n.conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var m dnsmessage.Message
		if err != nil || m.Unpack(b[:size]) != nil || len(m.Questions) != 1 {
			continue
		}
		n.answer(&m)
		if answer, err := m.Pack(); err == nil {
			n.conn.WriteTo(answer, from)
		}
	}
}

// target is the host that all servers are on. They know its address.
var target = dnsmessage.MustNewName("localhost.")

func (n *Names) answer(m *dnsmessage.Message) {
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: true}
	m.Answers, m.Authorities, m.Additionals = nil, nil, nil
	n.mu.Lock()
	defer n.mu.Unlock()
	name := strings.ToLower(q.Name.String())
	port := n.srv[strings.TrimSuffix(strings.TrimPrefix(name, "_xmpp-server._tcp."), ".")]
	if port == 0 || !strings.HasPrefix(name, "_") {
		m.RCode = dnsmessage.RCodeNameError
		return
	}
	if q.Type == dnsmessage.TypeSRV {
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.SRVResource{Port: port, Target: target}}}
	}
}
