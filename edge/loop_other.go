//go:build !linux

package edge

import (
	"net"
	"sync/atomic"
)

// loop exists on Linux only; elsewhere every connection has its goroutines.
type loop struct {
	index         int
	writes, bytes atomic.Uint64
}

func (e *Edge) startLoops() error { return nil }
func (e *Edge) adopt(c *Conn, nc net.Conn, input []byte) error {
	return e.adoptGo(c, nc, input)
}
func (l *loop) post(func())         {}
func (l *loop) wakePart(*groupPart) {}
func (l *loop) fetched(*Attachment) {}
func (l *loop) drain()              {}
func (l *loop) stop()               {}
func (c *Conn) write(p []byte) int  { return c.gc.write(p) }
func (c *Conn) fetch(a *Attachment) { c.gc.fetch(a) }
func (c *Conn) linger() bool        { return c.gc.linger() }
func (c *Conn) closeSocket()        { c.gc.close() }

// session is TLS on a loop, of which there are none.
type session struct{}

func (*session) flush() {}
