package server

import (
	"bytes"
	"context"
	"sync"

	"tidings/edge"
	"tidings/xmpp/service"
)

// attached is a flow of a session, and the service's handle of it. Its fields belong to the session's owner.
type attached struct {
	x    *Session
	att  *edge.Attachment // of the connection there is
	cur  *cursor          // the last one opened; of a connection that is gone, perhaps
	gone bool             // detached, or ended

	seg   *segment
	tail  service.Mark                      // everything of seg up to it has been given out; kept with stream management only
	swaps []func(service.Mark) service.Flow // not done yet
}

// segment is a flow as stream.Queue knows it. A Swap begins another one.
type segment struct {
	a    *attached
	flow service.Flow
}

// Attach implements service.Peer. A session has at most Options.MaxFlows; the flows beyond are ended at once.
func (x *Session) Attach(f service.Flow) service.Handle {
	a := &attached{x: x, tail: f.Mark()}
	a.seg = &segment{a, f}
	x.enqueue(op{f: func() { x.attach(a) }})
	return a
}

func (x *Session) attach(a *attached) {
	if a.gone {
		return
	}
	x.flows = append(x.flows, a)
	x.srv.flows.Add(1)
	if len(x.flows) > x.srv.opt.MaxFlows {
		a.end(ErrTooManyFlows)
		return
	}
	a.open()
}

// Detach implements service.Handle.
func (a *attached) Detach() {
	a.x.enqueue(op{f: func() { a.remove() }})
}

// Swap implements service.Handle.
func (a *attached) Swap(next func(at service.Mark) service.Flow) {
	a.x.enqueue(op{f: func() {
		if !a.gone {
			a.swaps = append(a.swaps, next)
			a.swap()
		}
	}})
}

// remove takes the flow from the session. Its cursor gives nothing out from now on.
func (a *attached) remove() bool {
	if a.gone {
		return false
	}
	a.gone = true
	x := a.x
	for i, b := range x.flows {
		if b == a {
			x.flows = append(x.flows[:i], x.flows[i+1:]...)
			x.srv.flows.Add(-1)
			break
		}
	}
	if a.att != nil {
		a.att.Detach()
		a.att = nil
	}
	return true
}

// end is remove for a flow that has ended by itself.
func (a *attached) end(err error) {
	if a.remove() {
		a.seg.flow.Ended(err)
	}
}

// open gives the connection a cursor where the flow goes on.
func (a *attached) open() {
	g, src, err := a.seg.flow.Open(a.tail)
	if err != nil {
		a.end(err)
		return
	}
	a.adopt(g, src)
}

// adopt gives the connection a cursor over a source that stands where the flow goes on.
func (a *attached) adopt(g *edge.Group, src service.Source) {
	a.cur = &cursor{a: a, seg: a.seg, src: src}
	a.att = a.x.link.conn.Attach(g, a.cur)
	a.swap()
}

// swap asks for the swaps that are not done.
func (a *attached) swap() {
	if a.att != nil {
		for range a.swaps {
			a.att.Swap(a.swapNow)
		}
	}
}

// swapNow runs when the cursor stands still.
func (a *attached) swapNow() (*edge.Group, edge.Cursor) {
	if a.gone || len(a.swaps) == 0 || a.cur.final {
		return nil, nil
	}
	next := a.swaps[0]
	if a.swaps = a.swaps[1:]; len(a.swaps) == 0 {
		a.swaps = nil
	}
	f := next(a.cur.src.Mark())
	if f == nil {
		return nil, nil
	}
	a.seg, a.tail = &segment{a, f}, f.Mark()
	g, src, err := f.Open(a.tail)
	if err != nil {
		a.cur.final = true // nothing of the old flow comes any more
		a.x.enqueue(op{f: func() { a.end(err) }})
		return nil, nil
	}
	a.cur = &cursor{a: a, seg: a.seg, src: src}
	return g, a.cur
}

// cursor gives a flow's messages to a connection, with the session's head in the place of each service.To. Its fields
// belong to the goroutine that owns the connection.
type cursor struct {
	a      *attached
	seg    *segment
	src    service.Source
	final  bool // the source has ended, or is not wanted any more
	behind bool // Fetch is due, or under way

	// Between Next and Advance.
	buf  *[]byte // what is being written
	p    []byte  // the source's bytes that it was made of
	n    int     // messages in it
	mark service.Mark
}

// buffers are what messages are put together in, for as long as a write takes.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled bounds the size of a buffer that is kept, in bytes.
const maxPooled = 256 << 10

func putBuffer(b *[]byte) {
	if cap(*b) <= maxPooled {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// current reports whether the cursor is still the flow's.
func (c *cursor) current() bool { return !c.a.gone && c.a.cur == c && c.a.seg == c.seg }

// Next implements edge.Cursor.
func (c *cursor) Next() ([]byte, edge.Status) {
	if c.buf != nil {
		return *c.buf, edge.Ready
	}
	x := c.a.x
	if c.final || !c.current() || x.held() {
		return nil, edge.Idle
	}
	c.behind = false
	if x.sm != nil {
		c.mark = c.src.Mark()
		c.a.tail = c.mark
	}
	p, st := c.src.Next()
	switch st {
	case edge.Ready:
	case edge.Behind:
		if x.sm == nil {
			c.a.tail = c.src.Mark()
		}
		c.behind = true
		return nil, st
	case edge.Ended:
		c.final = true
		if len(p) == 0 {
			x.enqueue(op{f: func() { c.a.end(nil) }})
			return nil, edge.Idle
		}
	default:
		return nil, st
	}
	buf := buffers.Get().(*[]byte)
	b := (*buf)[:0]
	n := 0
	for rest := p; len(rest) > 0; n++ {
		var m []byte
		m, rest = service.Cut(rest)
		b = x.link.appendShared(b, m)
	}
	*buf = b
	c.buf, c.p, c.n = buf, p, n
	return b, edge.Ready
}

// Advance implements edge.Cursor.
func (c *cursor) Advance(n int) (rest []byte) {
	a := c.a
	x := a.x
	b, p, k := *c.buf, c.p, c.n
	end, taken := len(b), len(p)
	if n < len(b) && !c.final {
		// What lies behind the message that was cut is asked of the source again.
		k, end, taken = 0, 0, 0
		for left := p; end < n; k++ {
			m, next := service.Cut(left)
			end += x.link.sharedLen(m)
			taken += len(left) - len(next)
			left = next
		}
	}
	rest = bytes.Clone(b[n:end])
	putBuffer(c.buf)
	c.buf, c.p = nil, nil
	if c.final {
		x.enqueue(op{f: func() { a.end(nil) }})
	} else {
		for more := c.src.Advance(taken); len(more) > 0; k++ {
			var m []byte
			m, more = service.Cut(more)
			rest = x.link.appendShared(rest, m)
		}
	}
	if k > 0 {
		x.srv.stanzasOut.Add(uint64(k))
		if x.sm != nil {
			c.given(k)
			x.sent(k)
		}
	}
	return rest
}

// given notes that the connection was given n messages more.
func (c *cursor) given(n int) {
	m := c.a.x.sm
	if c.gathers() {
		c.a.tail = c.src.Mark()
		m.apart(c.seg, c.mark, c.a.tail)
		return
	}
	m.flow(c.seg, c.mark, n)
	c.a.tail = c.mark.Plus(n)
}

func (c *cursor) gathers() bool {
	_, ok := c.src.(service.Gathering)
	return ok
}

// Fetch implements edge.Cursor.
func (c *cursor) Fetch(ctx context.Context) { c.src.Fetch(ctx) }

// Goodbye implements edge.Cursor: the session says goodbye, not the flow.
func (c *cursor) Goodbye() []byte { return nil }

// Close implements edge.Cursor.
func (c *cursor) Close() {
	if c.buf != nil { // a write has failed: how much of it the client has is for the client to say when it resumes
		if x := c.a.x; x.sm != nil && !c.final {
			if c.gathers() {
				c.src.Advance(len(c.p))
			}
			c.given(c.n)
		}
		putBuffer(c.buf)
		c.buf, c.p = nil, nil
	}
	c.src.Close()
}
