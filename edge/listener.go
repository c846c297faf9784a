package edge

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Listener bounds how many connections one address may have open, those that Add has taken over included. IPv6
// addresses count by their /64, which one customer is given as a whole (RFC 6177).
type Listener struct {
	net.Listener
	max     int
	exempt  []netip.Prefix
	refused atomic.Uint64
	onDrop  func(netip.Addr)

	mu    sync.Mutex
	count map[netip.Addr]int
}

// LimitListener wraps ln. Connections from an address that has max open are closed at once and reported to onDrop; max
// 0 means no limit, and addresses in exempt have none.
func LimitListener(ln net.Listener, max int, exempt []netip.Prefix, onDrop func(netip.Addr)) *Listener {
	return &Listener{Listener: ln, max: max, exempt: exempt, onDrop: onDrop, count: map[netip.Addr]int{}}
}

// Refused returns how many connections were closed because of the limit.
func (l *Listener) Refused() uint64 { return l.refused.Load() }

// Accept waits for a connection within the limit.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr, limited := l.address(nc)
		if !limited {
			return &accepted{Conn: nc, release: func() {}}, nil
		}
		l.mu.Lock()
		ok := l.count[addr] < l.max
		if ok {
			l.count[addr]++
		}
		l.mu.Unlock()
		if !ok {
			nc.Close()
			l.refused.Add(1)
			if l.onDrop != nil {
				l.onDrop(addr)
			}
			continue
		}
		return &accepted{Conn: nc, release: sync.OnceFunc(func() { l.release(addr) })}, nil
	}
}

func (l *Listener) address(nc net.Conn) (a netip.Addr, limited bool) {
	ap, err := netip.ParseAddrPort(nc.RemoteAddr().String())
	if err != nil || l.max <= 0 {
		return a, false
	}
	a = ap.Addr().Unmap().WithZone("")
	for _, p := range l.exempt {
		if p.Contains(a) {
			return a, false
		}
	}
	if a.Is6() {
		p, _ := a.Prefix(64)
		a = p.Addr()
	}
	return a, true
}

func (l *Listener) release(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count[a]--; l.count[a] <= 0 {
		delete(l.count, a)
	}
}

// accepted counts until it is closed, or until the edge, which has detached the count, closes its own descriptor.
type accepted struct {
	net.Conn
	release func()
	moved   atomic.Bool
	through atomic.Pointer[through] // where TLS above it reads and writes, once the edge has taken it over
}

// through is another way to read and write.
type through struct{ io.ReadWriter }

func (a *accepted) Read(p []byte) (int, error) {
	if t := a.through.Load(); t != nil {
		return t.Read(p)
	}
	return a.Conn.Read(p)
}

func (a *accepted) Write(p []byte) (int, error) {
	if t := a.through.Load(); t != nil {
		return t.Write(p)
	}
	return a.Conn.Write(p)
}

func (a *accepted) Close() error {
	err := a.Conn.Close()
	if !a.moved.Load() {
		a.release()
	}
	return err
}

// NetConn returns the connection itself, as that of crypto/tls does.
func (a *accepted) NetConn() net.Conn { return a.Conn }

func (a *accepted) detach() func() {
	a.moved.Store(true)
	return a.release
}
