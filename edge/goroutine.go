package edge

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// goConn drives a connection that cannot be on a loop: two goroutines, one that reads and one that owns the Conn and
// writes. The socket is never "full" here: a write waits, with a deadline.
type goConn struct {
	c     *Conn
	nc    net.Conn
	start time.Time

	mu    sync.Mutex
	inbox []func()
	woken map[*Attachment]struct{}
	ended bool
	deaf  bool          // nobody reads any more
	quiet bool          // lingering: what is read is discarded, and the reader closes the socket
	bell  chan struct{} // of one

	aborted atomic.Bool
}

func (e *Edge) adoptGo(c *Conn, nc net.Conn, input []byte) error {
	g := &goConn{c: c, nc: nc, start: time.Now(), woken: map[*Attachment]struct{}{}, bell: make(chan struct{}, 1)}
	c.gc = g
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gconns[c] = struct{}{}
	g.post(func() { c.input(input) })
	e.wg.Go(g.reading)
	e.wg.Go(g.writing)
	return nil
}

func (g *goConn) post(f func()) {
	g.mu.Lock()
	if !g.ended {
		g.inbox = append(g.inbox, f)
	} else {
		defer f() // closed already: f sees that and releases what it holds
	}
	g.mu.Unlock()
	g.ring()
}

func (g *goConn) wake(a *Attachment) {
	g.mu.Lock()
	g.woken[a] = struct{}{}
	g.mu.Unlock()
	g.ring()
}

func (g *goConn) ring() {
	select {
	case g.bell <- struct{}{}:
	default:
	}
}

// abort ends a write or a read that waits, and closes.
func (g *goConn) abort(reason string) {
	g.aborted.Store(true)
	g.nc.SetDeadline(time.Unix(1, 0))
	g.post(func() { g.c.finish(reason) })
}

func (g *goConn) reading() {
	defer func() {
		g.mu.Lock()
		g.deaf = true
		lingers := g.quiet
		g.mu.Unlock()
		if lingers {
			g.close()
		}
	}()
	buf := make([]byte, 4096)
	for left := lingerBytes; left > 0; {
		n, err := g.nc.Read(buf)
		if g.lingers() {
			if left -= n; err != nil {
				return
			}
			continue
		}
		if n > 0 && g.c.proto.Input != nil {
			// It waits until the input is used, so that a peer that floods waits too.
			used := make(chan struct{})
			g.post(func() {
				g.c.input(buf[:n])
				close(used)
			})
			<-used
		}
		if err != nil {
			g.post(func() { g.c.finish(ReasonPeer) })
			return
		}
	}
}

func (g *goConn) lingers() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.quiet
}

// linger closes the writing side. It reports false if that cannot be, or if nobody reads any more.
func (g *goConn) linger() bool {
	nc := g.nc
	if tc, ok := nc.(*tls.Conn); ok {
		if tc.CloseWrite() != nil {
			return false
		}
		nc = tc.NetConn()
	}
	if a, ok := nc.(*accepted); ok {
		nc = a.Conn
	}
	if tc, ok := nc.(*net.TCPConn); !ok || tc.CloseWrite() != nil {
		return false
	}
	g.mu.Lock()
	g.quiet = !g.deaf
	quiet := g.quiet
	g.mu.Unlock()
	g.nc.SetReadDeadline(time.Now().Add(lingerTime))
	if g.aborted.Load() {
		g.nc.SetDeadline(time.Unix(1, 0))
	}
	return quiet
}

func (g *goConn) writing() {
	c := g.c
	keepalive := time.NewTicker(c.edge.opt.Keepalive)
	defer keepalive.Stop()
	for {
		select {
		case <-g.bell:
		case <-keepalive.C:
			// The ticker's period is the keepalive time, so silence lasts twice that at the most.
			c.keepalive(g.seconds())
		}
		g.mu.Lock()
		inbox, woken := g.inbox, g.woken
		g.inbox = nil
		g.woken = map[*Attachment]struct{}{}
		g.mu.Unlock()
		for _, f := range inbox {
			f()
		}
		for a := range woken {
			if !a.detached {
				c.turn(a)
			}
		}
		if c.closed {
			g.mu.Lock()
			g.ended = true
			rest := g.inbox
			g.inbox = nil
			g.mu.Unlock()
			for _, f := range rest {
				f()
			}
			return
		}
	}
}

func (g *goConn) seconds() int64 { return int64(time.Since(g.start) / time.Second) }

func (g *goConn) write(p []byte) int {
	g.nc.SetWriteDeadline(time.Now().Add(g.c.edge.opt.WriteTimeout))
	if g.aborted.Load() { // it may have set its deadline before this one was set
		g.nc.SetDeadline(time.Unix(1, 0))
	}
	n, err := g.nc.Write(p)
	g.c.lastWrite = g.seconds()
	g.c.edge.writes.Add(1)
	g.c.edge.bytes.Add(uint64(n))
	if err != nil {
		reason := ReasonPeer
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			reason = ReasonWriteTimeout
		}
		g.c.finish(reason)
		return 0
	}
	return n
}

func (g *goConn) fetch(a *Attachment) {
	a.cur.Fetch(g.c.edge.ctx)
	a.fetching = false
}

func (g *goConn) close() {
	if tc, ok := g.nc.(*tls.Conn); ok && g.aborted.Load() {
		tc.NetConn().Close() // TLS would wait for its own goodbye to be taken
	} else {
		g.nc.Close()
	}
	e := g.c.edge
	e.mu.Lock()
	delete(e.gconns, g.c)
	e.mu.Unlock()
}
