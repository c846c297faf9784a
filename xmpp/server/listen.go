package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"tidings/edge"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// TLSMode is how the connections of a listener come to TLS.
type TLSMode uint8

// The modes. Whatever the mode, a client that is not on loopback needs TLS to log in unless Options.Plaintext says otherwise, and
// PLAIN is offered over TLS only.
const (
	NoTLS     TLSMode = iota
	StartTLS          // RFC 6120 section 5; clients on loopback may go without
	DirectTLS         // XEP-0368, with the ALPN name xmpp-client for clients that name any
)

// Serve accepts connections until Close, or until the listener fails. An edge.LimitListener bounds those of one address.
func (s *Server) Serve(ln net.Listener, mode TLSMode) error {
	if mode != NoTLS && s.opt.TLS == nil {
		return errors.New("server: TLS needs a certificate")
	}
	over := make(chan struct{})
	defer close(over)
	if !s.begin(func() { <-over }) {
		return ln.Close()
	}
	return edge.Accept(s.ctx, ln, func(nc net.Conn) {
		if s.handshakes.Add(1) > int64(s.opt.MaxHandshakes) {
			s.handshakes.Add(-1)
			s.count(ReasonFull, "address", nc.RemoteAddr())
			nc.Close()
			return
		}
		s.running.Go(func() {
			defer s.handshakes.Add(-1)
			s.receive(nc, mode)
		})
	})
}

// lingering bounds how long a connection that is closed with an error waits for the client to read it.
const lingering = time.Second

// receive negotiates a stream over TCP and gives it to the edge.
func (s *Server) receive(nc net.Conn, mode TLSMode) {
	ctx, cancel := context.WithTimeout(s.ctx, s.opt.HandshakeTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	nc.SetDeadline(deadline)
	defer context.AfterFunc(s.ctx, func() { nc.SetReadDeadline(time.Unix(1, 0)) })()

	c, loopback := remote(nc.RemoteAddr().String())
	c.NeedsTLS, c.TLS = !loopback && !s.opt.Plaintext, mode == DirectTLS
	t := &tcp{srv: s, nc: nc, n: s.negotiate(stream.TCP, c)}
	t.n.offer = mode == StartTLS
	t.scan.Limits = s.opt.Limits
	t.scan.Limits.Stanza = maxEarly
	if mode == DirectTLS && !t.handshake(ctx, s.direct) {
		return
	}
	if t.run(ctx) {
		t.handOver()
		return
	}
	if err := nc.SetDeadline(time.Now().Add(lingering)); err == nil && t.flush() == nil {
		if a, ok := nc.(interface{ NetConn() net.Conn }); ok {
			nc = a.NetConn()
		}
		if w, ok := nc.(interface{ CloseWrite() error }); ok && w.CloseWrite() == nil {
			io.CopyN(io.Discard, nc, 1<<20)
		}
	}
	t.nc.Close()
}

// tcp is a connection with a goroutine of its own, until it has a session.
type tcp struct {
	srv  *Server
	nc   net.Conn
	n    *negotiation
	scan xmlstream.Scanner
	ns   *xmlstream.Context
	doc  xmlstream.Document
	buf  *[]byte
	read bool // something of the stream has come
}

// reads are the buffers that connections without a session read into.
var reads = sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}

// run negotiates, and reports whether there is a session. If not, what is left to be said is in n.
func (t *tcp) run(ctx context.Context) bool {
	for {
		kind, raw, err := t.scan.Next()
		if err != nil {
			t.n.fail(stream.AsError(err))
			return false
		}
		var out outcome
		var e *stream.Error
		switch kind {
		case xmlstream.None:
			if !t.more(ctx) {
				return false
			}
			continue
		case xmlstream.End:
			t.srv.count(ReasonPeer)
			t.n.goodbye(nil)
			return false
		case xmlstream.Open:
			e = t.header(raw)
		case xmlstream.Stanza:
			out, e = t.element(ctx, raw)
		}
		if e != nil {
			t.n.fail(e)
			return false
		}
		switch out {
		case startTLS:
			if len(bytes.TrimSpace(t.scan.Rest())) > 0 {
				t.n.fail(stream.NewError("policy-violation", "something came between starttls and TLS"))
				return false
			}
			if t.flush() != nil || !t.handshake(ctx, t.srv.opt.TLS) {
				return false
			}
			t.restart(nil)
		case restart:
			t.restart(t.scan.Rest())
			t.scan.Limits = t.srv.opt.Limits
		case compress:
			if t.flush() != nil {
				return false
			}
			t.nc = stream.NewZlib(t.nc, bytes.Clone(t.scan.Rest()))
			t.restart(nil)
		case connected:
			return true
		}
	}
}

func (t *tcp) header(raw []byte) *stream.Error {
	t.doc.Limits = t.scan.Limits
	el, ns, err := t.doc.ParseHeader(raw)
	if err != nil {
		return stream.AsError(err)
	}
	t.ns = ns
	return t.n.header(el, ns)
}

func (t *tcp) element(ctx context.Context, raw []byte) (outcome, *stream.Error) {
	t.doc.Limits = t.scan.Limits
	el, err := t.doc.Parse(raw, t.ns)
	if err != nil {
		return proceed, stream.AsError(err)
	}
	return t.n.element(ctx, el)
}

// restart begins a new stream. What has come of it is fed.
func (t *tcp) restart(input []byte) {
	input = bytes.Clone(input)
	t.scan.Reset()
	t.read = false
	t.feed(input)
}

// feed gives the scanner what has come, without whitespace before a stream: there are clients that end what they send with a
// newline, and behind that an XML declaration would be out of its place.
func (t *tcp) feed(p []byte) {
	if !t.read {
		p = bytes.TrimLeft(p, " \t\r\n")
	}
	t.read = t.read || len(p) > 0
	t.scan.Feed(p)
}

// more writes what there is to say and waits for more.
func (t *tcp) more(ctx context.Context) bool {
	err := t.flush()
	if err == nil {
		if t.buf == nil {
			t.buf = reads.Get().(*[]byte)
		}
		var k int
		if k, err = t.nc.Read(*t.buf); k > 0 {
			t.feed((*t.buf)[:k])
			return true
		}
	}
	var e *stream.Error
	switch {
	case t.srv.ctx.Err() != nil:
		t.srv.count(ReasonShutdown)
		t.n.goodbye(shutdown)
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.srv.count(ReasonHandshake, "address", t.n.conn.Addr)
		t.n.goodbye(stream.NewError("connection-timeout", "no resource was bound in time"))
	case errors.As(err, &e): // of the compressed stream
		t.n.fail(e)
	default:
		t.srv.count(ReasonPeer, "address", t.n.conn.Addr)
	}
	return false
}

func (t *tcp) flush() error {
	if len(t.n.out) == 0 {
		return nil
	}
	_, err := t.nc.Write(t.n.out)
	t.n.out = t.n.out[:0]
	return err
}

// handshake is that of TLS. After an error the connection is closed.
func (t *tcp) handshake(ctx context.Context, c *tls.Config) bool {
	tc := tls.Server(t.nc, c)
	if err := tc.HandshakeContext(ctx); err != nil {
		t.srv.count(ReasonTLS, "address", t.n.conn.Addr, "err", err)
		t.nc.Close()
		return false
	}
	t.nc = tc
	return true
}

// handOver gives the connection and its session to the edge.
func (t *tcp) handOver() {
	x := t.n.x
	l := newLink(x, stream.TCP)
	l.ns = t.ns
	l.tls = t.n.conn.TLS
	l.scan, t.scan = t.scan, xmlstream.Scanner{}
	if t.flush() != nil || t.nc.SetDeadline(time.Time{}) != nil {
		t.nc.Close()
		x.stopped()
		return
	}
	c, err := t.srv.opt.Edge.Add(t.nc, nil, l.protocol())
	if err != nil {
		t.nc.Close()
		x.stopped()
		return
	}
	buf := t.buf
	c.Do(func() {
		l.begin(c)
		reads.Put(buf) // all that it holds has been used
	})
}
