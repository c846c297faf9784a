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

	// places are what is to be given out. There is more than one only after a resumption: then the first are of flows that
	// others have been put in the place of, whose last messages were not acknowledged.
	places []place
	one    [1]place
	swaps  []func(service.Mark) service.Flow // not done yet
}

// place is where a flow goes on. Its mark is kept up to date on streams with stream management.
type place struct {
	seg  *segment
	mark service.Mark
	n    int // messages from there on; -1 for no end
}

// segment is a flow as stream.Queue knows it. A Swap begins another one.
type segment struct {
	a    *attached
	flow service.Flow
}

// Attach implements service.Peer. A session has at most Options.MaxFlows; the flows beyond are ended at once.
func (x *Session) Attach(f service.Flow) service.Handle {
	a := &attached{x: x}
	a.one[0] = place{seg: &segment{a, f}, mark: f.Mark(), n: -1}
	a.places = a.one[:]
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
	f := a.places[len(a.places)-1].seg.flow
	if a.remove() {
		f.Ended(err)
	}
}

// open gives the connection a cursor at the first place.
func (a *attached) open() {
	if a.att != nil {
		a.att.Swap(func() (*edge.Group, edge.Cursor) {
			if a.gone {
				return nil, nil
			}
			g, cur, err := a.at(a.places[0])
			if err != nil {
				a.fail(err)
				return nil, nil
			}
			return g, cur
		})
	} else {
		g, cur, err := a.at(a.places[0])
		if err != nil {
			a.end(err)
			return
		}
		a.att = a.x.link.conn.Attach(g, cur)
	}
	a.swap()
}

// at opens a cursor at the place, which is the flow's from then on.
func (a *attached) at(p place) (*edge.Group, *cursor, error) {
	g, src, err := p.seg.flow.Open(p.mark)
	if err != nil {
		return nil, nil, err
	}
	a.cur = &cursor{a: a, seg: p.seg, src: src}
	return g, a.cur, nil
}

// fail is end where a cursor is being looked at. Nothing of the flow comes any more.
func (a *attached) fail(err error) {
	a.cur.final = true
	a.x.enqueue(op{f: func() { a.end(err) }})
}

// swap asks for the swaps that are not done, if the flow is not at one that has been replaced already.
func (a *attached) swap() {
	if a.att == nil || len(a.places) > 1 {
		return
	}
	for range a.swaps {
		a.att.Swap(a.swapNow)
	}
}

// swapNow runs when the cursor stands still.
func (a *attached) swapNow() (*edge.Group, edge.Cursor) {
	if a.gone || len(a.swaps) == 0 || len(a.places) > 1 || a.cur.final {
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
	a.places[0] = place{seg: &segment{a, f}, mark: f.Mark(), n: -1}
	g, cur, err := a.at(a.places[0])
	if err != nil {
		a.fail(err)
		return nil, nil
	}
	return g, cur
}

// given takes what has been given out off the first place.
func (a *attached) given(after service.Mark, n int) {
	p := &a.places[0]
	p.mark = after.Plus(n)
	if p.n < 0 {
		return
	}
	if p.n -= n; p.n <= 0 {
		a.places = a.places[1:]
		a.x.enqueue(op{f: func() {
			if !a.gone && a.att != nil {
				a.open()
			}
		}})
	}
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
func (c *cursor) current() bool { return !c.a.gone && c.a.cur == c && c.a.places[0].seg == c.seg }

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
		c.a.places[0].mark = c.mark
	}
	p, st := c.src.Next()
	switch st {
	case edge.Ready:
	case edge.Behind:
		if x.sm == nil {
			c.a.places[0].mark = c.src.Mark()
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
	most := c.a.places[0].n
	rest, n := p, 0
	for len(rest) > 0 && n != most {
		var m []byte
		m, rest = service.Cut(rest)
		b = x.link.appendShared(b, m)
		n++
	}
	*buf = b
	c.buf, c.p, c.n = buf, p[:len(p)-len(rest)], n
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
			x.sm.flow(c.seg, c.mark, k)
			x.sent(k)
		}
		if x.sm != nil || a.places[0].n >= 0 {
			a.given(c.mark, k)
		}
	}
	return rest
}

// Fetch implements edge.Cursor.
func (c *cursor) Fetch(ctx context.Context) { c.src.Fetch(ctx) }

// Goodbye implements edge.Cursor: the session says goodbye, not the flow.
func (c *cursor) Goodbye() []byte { return nil }

// Close implements edge.Cursor.
func (c *cursor) Close() {
	if c.buf != nil { // a write has failed: how much of it the client has is for the client to say when it resumes
		if x := c.a.x; x.sm != nil && !c.final {
			x.sm.flow(c.seg, c.mark, c.n)
			c.a.given(c.mark, c.n)
		}
		putBuffer(c.buf)
		c.buf, c.p = nil, nil
	}
	c.src.Close()
}
