package dial

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Limits of what waits.
const (
	maxBacklog = 16 << 20 // bytes of stanzas that wait for Next while somebody waits for an answer
	maxUnacked = 4 << 20  // bytes of stanzas that the server has not acknowledged
	askEvery   = 20       // stanzas between two requests for an acknowledgement
)

// Conn is a session with a server. One goroutine calls Next; all else may be called from any.
type Conn struct {
	cfg      *Config
	jid      jid.JID
	features stream.Features
	resumed  bool
	live     bool // negotiated: silence is looked into

	reading chan struct{} // who has put something in reads
	// These belong to the one who reads.
	scan  xmlstream.Scanner
	ns    *xmlstream.Context
	buf   []byte
	heard time.Time // something came, or a ping was sent
	pings bool      // nothing has come since

	held held // what Next returned last

	writing sync.Mutex // also guards ended, sm.out and sm.sent
	ended   bool       // our side of the stream is closed
	sm      *management

	refused atomic.Uint64

	mu           sync.Mutex
	nc           net.Conn
	err          error
	waiting      map[string]*asked // requests by their ids
	backlog      [][]byte          // stanzas for Next that somebody else has read
	backlogBytes int
	arrived      chan struct{} // of one: there is something in the backlog
}

// held is a stanza with the memory that it lies in.
type held struct {
	raw []byte
	doc xmlstream.Document
}

// asked is a request that has no answer yet.
type asked struct {
	to     jid.JID
	answer chan *Answer // of one
}

// parse parses the stanza in h.
func (c *Conn) parse(h *held) (xmlstream.Element, error) {
	h.doc.Limits = c.scan.Limits
	return h.doc.Parse(h.raw, c.ns)
}

// management is the state of XEP-0198.
type management struct {
	id       string // empty if the session cannot be resumed
	location string
	in       atomic.Uint32 // stanzas taken: each has been given out, answered, or is in the backlog
	out      stream.Queue[struct{}, struct{}]
	sent     int // stanzas since an acknowledgement was asked for
}

// JID returns the full JID of the session.
func (c *Conn) JID() jid.JID { return c.jid }

// Features returns what the server offers to a client that has logged in.
func (c *Conn) Features() stream.Features { return c.features }

// Resumed reports whether the session is the one that Config.Resume names: everything is as it was.
func (c *Conn) Resumed() bool { return c.resumed }

// Refused returns how many stanzas were dropped because they break RFC 6120. Requests among them were answered.
func (c *Conn) Refused() uint64 { return c.refused.Load() }

// Err returns why the connection has ended, or nil.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail ends the connection for a reason; the first one counts and is returned.
func (c *Conn) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		c.nc.Close()
	}
	return c.err
}

// reject ends the stream because of what the server sent, and tells it why (RFC 6120 section 4.9.1.1).
func (c *Conn) reject(err error) error {
	c.bye(stream.AsError(err).Append(nil, stream.TCP))
	return c.fail(err)
}

// bye closes our side of a stream that is over behind what is given. That the server may not hear it any more is not why it
// is over.
func (c *Conn) bye(b []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.ended || c.Err() != nil {
		return
	}
	c.ended = true
	_ = c.nc.SetWriteDeadline(time.Now().Add(closeTimeout)) // as in writeLocked
	_, _ = c.nc.Write(stream.AppendClose(b, stream.TCP))
}

// end closes our side of the stream behind what is given, once.
func (c *Conn) end(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.ended {
		return nil
	}
	c.ended = true
	return c.writeLocked(stream.AppendClose(b, stream.TCP))
}

// fill reads once. It returns the cause of ctx's end, after which the connection goes on, or what has ended the connection.
func (c *Conn) fill(ctx context.Context) error {
	if c.buf == nil {
		c.buf = make([]byte, 16<<10)
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		deadline := time.Time{}
		if c.live {
			wait := c.cfg.Keepalive
			if c.pings {
				wait = c.cfg.PingTimeout
			}
			deadline = c.heard.Add(wait)
		}
		_ = c.nc.SetReadDeadline(deadline) // a connection that is closed fails at the read
		woken := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(woken)
			_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // likewise
		})
		n, err := c.nc.Read(c.buf)
		if !stop() {
			<-woken
		}
		if n > 0 {
			c.heard, c.pings = time.Now(), false
			c.scan.Feed(c.buf[:n])
			return nil
		}
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return c.fail(err)
		case ctx.Err() != nil:
		case c.pings:
			return c.fail(ErrSilent)
		default:
			c.heard, c.pings = time.Now(), true
			if err := c.ping(); err != nil {
				return err
			}
		}
	}
}

// element returns the next element below the stream's header. It lies in h.
func (c *Conn) element(ctx context.Context, h *held) (xmlstream.Element, error) {
	for {
		kind, b, err := c.scan.Next()
		switch {
		case err != nil:
			return xmlstream.Element{}, c.reject(err)
		case kind == xmlstream.None:
			if err := c.fill(ctx); err != nil {
				return xmlstream.Element{}, err
			}
		case kind == xmlstream.End:
			c.bye(nil)
			return xmlstream.Element{}, c.fail(ErrClosed)
		case kind == xmlstream.Stanza:
			h.raw = append(h.raw[:0], b...)
			el, err := c.parse(h)
			if err != nil {
				return el, c.reject(err)
			}
			if stream.IsError(el) {
				c.bye(nil)
				return el, c.fail(stream.ParseError(el))
			}
			return el, nil
		default:
			return xmlstream.Element{}, c.reject(stream.NewError("bad-format", "a second header"))
		}
	}
}

// write writes as it is.
func (c *Conn) write(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.writeLocked(b)
}

func (c *Conn) writeLocked(b []byte) error {
	if err := c.Err(); err != nil {
		return err
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)) // a connection that is closed fails at the write
	if _, err := c.nc.Write(b); err != nil {
		return c.fail(err)
	}
	return nil
}

// Send sends one complete stanza, which may leave out from. With stream management one that the connection breaks under is sent
// again when the session is resumed, whatever Send returned. One that is given to a connection that Err already calls broken
// is not: it is the caller's to send on the resumed one.
func (c *Conn) Send(b []byte) error { return c.send(b) }

func (c *Conn) send(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	m := c.sm
	if m == nil {
		return c.writeLocked(b)
	}
	if err := c.Err(); err != nil {
		return err
	}
	if m.out.Bytes() > maxUnacked {
		return c.fail(ErrBacklog)
	}
	m.out.Stanza(b)
	if m.sent++; m.sent >= askEvery {
		m.sent = 0
		b = append(slices.Clip(b), stream.Request...)
	}
	return c.writeLocked(b)
}

// keep puts a stanza into the backlog.
func (c *Conn) keep(raw []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.backlogBytes += len(raw); c.backlogBytes > maxBacklog {
		c.backlogBytes -= len(raw)
		return ErrBacklog
	}
	c.backlog = append(c.backlog, bytes.Clone(raw))
	select {
	case c.arrived <- struct{}{}:
	default:
	}
	return nil
}

// kept takes the first stanza out of the backlog.
func (c *Conn) kept() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.backlog) == 0 {
		return nil
	}
	raw := c.backlog[0]
	c.backlog = c.backlog[1:]
	c.backlogBytes -= len(raw)
	return raw
}

// Session is what remains of a connection that was lost or dropped, for Config.Resume.
type Session struct {
	jid          jid.JID
	features     stream.Features
	sm           *management
	location     string
	direct       bool
	backlog      [][]byte
	backlogBytes int
}

// JID returns the full JID of the session.
func (s *Session) JID() jid.JID { return s.jid }

// Drop closes the connection without ending the session, if it is still open, and returns what is needed to resume it: nil if
// it cannot be resumed. The stanzas that Next has not returned are kept for the new connection.
func (c *Conn) Drop() *Session {
	over := c.fail(ErrDone)
	c.reading <- struct{}{} // the one who reads has failed
	defer func() { <-c.reading }()
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.sm == nil || c.sm.id == "" || over == ErrClosed {
		return nil
	}
	if e, ok := errors.AsType[*stream.Error](over); ok && e.Condition != "connection-timeout" && e.Condition != "reset" && e.Condition != "system-shutdown" {
		return nil // the session is over as well (XEP-0198 section 5)
	}
	s := &Session{jid: c.jid, features: c.features, sm: c.sm, location: c.sm.location, direct: c.cfg.DirectTLS}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.backlog, s.backlogBytes = c.backlog, c.backlogBytes
	c.sm, c.backlog, c.backlogBytes = nil, nil, 0
	return s
}

// handled returns the acknowledgement of what has been taken, nothing without stream management.
func (c *Conn) handled() []byte {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.sm == nil {
		return nil
	}
	return stream.AppendAnswer(nil, c.sm.in.Load())
}

// closeTimeout bounds the wait for the server's end of the stream.
const closeTimeout = 2 * time.Second

// Close ends the session: it closes the stream, waits a moment for the server to do the same, so that all that was sent has
// been read, and closes the connection. The error is that of the network; what had ended the connection before is none.
func (c *Conn) Close() error {
	if c.Err() != nil {
		return nil
	}
	err := c.end(c.handled())
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for h := (held{}); err == nil && ctx.Err() == nil && c.Err() == nil; {
		select {
		case c.reading <- struct{}{}:
			_, _ = c.element(ctx, &h) // what comes now is for nobody
			<-c.reading
		case <-ctx.Done():
		}
	}
	c.fail(ErrDone)
	return err
}
