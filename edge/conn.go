package edge

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Conn is one connection that the edge owns. Its exported methods may be called from any goroutine; they take effect in
// the order of the calls, on the goroutine that owns the connection.
type Conn struct {
	// What a turn looks at comes first, and together with the usual attachment: a pass over ten thousand connections waits for
	// memory more than for anything else. loop, gc, tls and edge are static after Add; the rest is owned by the loop or, without
	// one, by the writing goroutine.
	loop      *loop    // nil for a connection with goroutines
	gc        *goConn  // nil for a connection on a loop
	tls       *session // on a loop; nil without TLS
	edge      *Edge
	lastWrite int64 // seconds on the loop's clock of the last write that took bytes, or of the wait's beginning; while lingering: when that ends
	fd        int32
	closed    bool
	blocked   bool        // the socket took less than it was given
	draining  bool        // goodbye as soon as all is written
	leaving   bool        // goodbye has been queued: close when out is empty
	said      bool        // with a goodbye
	lingering bool        // closed, but for the socket
	taken     atomic.Bool // first is in use, or was
	first     Attachment

	proto     *Protocol
	done      func() // releases what the listener counted; may be nil
	reason    string
	out       []byte // bytes to write before any cursor's
	discarded int32  // bytes that came while lingering
	atts      []*Attachment
	one       [1]*Attachment // backs atts for the usual case
}

// Attachment joins a connection to a cursor in a group.
type Attachment struct {
	conn     *Conn
	cur      Cursor
	group    *Group
	index    int // in the group's part; -1 when detached
	fetching bool
	detached bool
	swaps    []func() (*Group, Cursor) // asked for while fetching
}

// Attach gives the connection a cursor, which the group's Wake makes it look at. What the cursor holds is written at once.
func (c *Conn) Attach(g *Group, cur Cursor) *Attachment {
	a := &c.first
	if c.taken.Swap(true) {
		a = new(Attachment)
	}
	a.conn, a.cur, a.group, a.index = c, cur, g, -1
	c.do(func() {
		if c.closed {
			a.detached = true
			cur.Close()
			return
		}
		if c.atts == nil {
			c.atts = c.one[:0]
		}
		c.atts = append(c.atts, a)
		g.join(a)
		c.turn(a)
	})
	return a
}

// Detach takes the cursor away and closes it. Messages it has begun to write are finished.
func (a *Attachment) Detach() {
	a.conn.do(func() { a.conn.detach(a) })
}

// Wake makes the connection look at the cursor, as the group's Wake does for all: for a cursor that was Idle for a reason
// of its own.
func (a *Attachment) Wake() {
	a.conn.do(func() {
		if !a.detached {
			a.conn.turn(a)
		}
	})
}

// Swap puts another cursor in the place of this one. next is called on the goroutine that owns the connection, when the
// old cursor stands still, so that the new one can begin exactly where the old one is; the old one is closed after it.
// next must not block for long. If it returns no group, the old cursor stays. If the connection is closed or the
// attachment detached meanwhile, next is not called.
func (a *Attachment) Swap(next func() (*Group, Cursor)) {
	a.conn.do(func() { a.swap(next) })
}

func (a *Attachment) swap(next func() (*Group, Cursor)) {
	if a.detached {
		return
	}
	if a.fetching { // the cursor is in use elsewhere: fetched comes back
		a.swaps = append(a.swaps, next)
		return
	}
	g, cur := next()
	if g == nil {
		return
	}
	a.group.leave(a)
	old := a.cur
	a.group, a.cur = g, cur
	g.join(a)
	old.Close()
	a.conn.turn(a)
}

// Write queues a copy of p behind what is being written. If more than MaxQueue bytes are waiting already, the connection
// is closed.
func (c *Conn) Write(p []byte) {
	b := append([]byte(nil), p...)
	c.do(func() { c.Put(b, c.edge.opt.MaxQueue) })
}

// Put is Write for the goroutine that owns the connection, in Input and in what Do runs: what the socket takes is written
// from p before Put returns, and only the rest is copied. When Put returns the connection may be closed, and Closed has
// been called then. It must not be called by a cursor, whose own bytes it would cut. In the place of MaxQueue it has a bound of
// its own.
func (c *Conn) Put(p []byte, most int) {
	if c.closed || c.leaving || len(p) == 0 {
		return
	}
	if len(c.out) > 0 || c.blocked {
		if len(c.out)+len(p) > most && len(c.out) > 0 {
			c.finish(ReasonQueue)
			return
		}
		c.out = append(c.out, p...)
		return
	}
	if n := c.write(p); n < len(p) && !c.closed {
		c.out = append(c.out, p[n:]...)
	}
}

// Close closes the connection, after the goodbye if it is not empty. The reason is counted. The socket of a connection that
// was told goodbye stays open for what the peer has still to send, which is discarded, until the peer closes its side: for
// 5 s and 4 MiB at most. Closed is called before that.
func (c *Conn) Close(reason string, goodbye []byte) {
	b := append([]byte(nil), goodbye...)
	c.do(func() {
		if c.closed || c.leaving {
			return
		}
		c.leave(reason, b)
	})
}

// Abort closes the connection at once, without a goodbye, also where a write has been waiting for the peer. The reason is
// counted unless such a write fails first.
func (c *Conn) Abort(reason string) {
	if c.gc != nil {
		c.gc.abort(reason)
		return
	}
	c.do(func() { c.finish(reason) })
}

// Do runs f on the goroutine that owns the connection, the one that calls Input, behind what was asked before. f must not
// block. On a connection that has been closed f runs too, unless the edge itself has ended.
func (c *Conn) Do(f func()) { c.do(f) }

// do runs f on the goroutine that owns the connection.
func (c *Conn) do(f func()) {
	if c.loop != nil {
		c.loop.post(f)
		return
	}
	c.gc.post(f)
}

// The methods below run on the owner.

func (c *Conn) detach(a *Attachment) {
	if a.detached {
		return
	}
	a.detached = true
	if a.index >= 0 {
		a.group.leave(a)
	}
	for i, b := range slices.Backward(c.atts) { // the end of a connection detaches the last one first
		if b == a {
			c.atts = slices.Delete(c.atts, i, i+1)
			break
		}
	}
	if !a.fetching { // else fetched closes it
		a.cur.Close()
	}
}

// turn writes what the cursor has, until the socket is full or the cursor is at its end.
func (c *Conn) turn(a *Attachment) {
	for !c.blocked && !c.closed && !c.leaving && !a.detached && !a.fetching {
		p, st := a.cur.Next()
		switch st {
		case Idle:
			c.checkDrained()
			return
		case Behind:
			a.fetching = true
			c.fetch(a)
			if a.fetching {
				return // fetched goes on
			}
			continue
		case Ended:
			c.leave(ReasonEnded, p)
			return
		}
		n := c.write(p)
		if c.closed {
			return
		}
		rest := a.cur.Advance(n)
		if len(rest) > 0 {
			c.out = append(c.out, rest...)
		}
		if f, ok := a.cur.(completer); ok && n == len(p) && f.Complete() {
			c.checkDrained()
			return
		}
	}
}

// flush writes out, and then what the cursors have.
func (c *Conn) flush() {
	if c.tls != nil {
		if c.tls.flush(); c.blocked || c.closed {
			return
		}
	}
	if len(c.out) > 0 {
		n := c.write(c.out)
		if c.closed {
			return
		}
		if n < len(c.out) {
			c.out = append([]byte(nil), c.out[n:]...)
			return
		}
		c.out = nil
		if c.blocked { // all of it is encrypted, and some waits for room
			return
		}
	}
	if c.leaving {
		c.end(c.reason, c.said)
		return
	}
	for i := 0; i < len(c.atts) && !c.blocked && !c.closed; i++ {
		c.turn(c.atts[i])
	}
	c.checkDrained()
}

// leave queues the goodbye and closes when it has been taken.
func (c *Conn) leave(reason string, goodbye []byte) {
	c.leaving, c.reason, c.said = true, reason, len(goodbye) > 0
	c.out = append(c.out, goodbye...)
	if !c.blocked {
		c.flush()
	}
}

func (c *Conn) startDrain() {
	c.draining = true
	if !c.blocked && !c.leaving && !c.closed {
		c.flush()
	}
}

// checkDrained says goodbye when everything has been written and the server is stopping.
func (c *Conn) checkDrained() {
	if !c.draining || c.leaving || c.closed || c.blocked || len(c.out) > 0 {
		return
	}
	var goodbye []byte
	for _, a := range c.atts {
		if a.fetching {
			return
		}
		if _, st := a.cur.Next(); st != Idle {
			return
		}
		if goodbye == nil {
			goodbye = a.cur.Goodbye()
		}
	}
	if goodbye == nil {
		goodbye = c.proto.Goodbye
	}
	c.leave(ReasonShutdown, goodbye)
}

func (c *Conn) input(p []byte) {
	if c.closed || c.leaving || c.proto.Input == nil || len(p) == 0 {
		return
	}
	if err := c.proto.Input(c, p); err != nil {
		c.finish(err.Error())
	}
}

// finish closes the connection at once.
func (c *Conn) finish(reason string) { c.end(reason, false) }

// What a connection that was told goodbye may take to close its side, and send meanwhile.
const (
	lingerTime  = 5 * time.Second
	lingerBytes = 4 << 20
)

// end closes the connection. The socket of one that lingers is closed on the server's side only, and stays until the peer
// has closed its own: a close with bytes unread, or to come, is a reset, which may take the goodbye away from the peer
// (RFC 9112 section 9.6).
func (c *Conn) end(reason string, linger bool) {
	if c.closed {
		return
	}
	c.closed = true
	c.out = nil
	c.edge.countClosed(reason)
	for len(c.atts) > 0 {
		c.detach(c.atts[len(c.atts)-1])
	}
	if !linger || !c.linger() {
		c.release()
	}
	if c.proto.Closed != nil {
		c.proto.Closed(c)
	}
	c.edge.gone()
}

// release closes the socket.
func (c *Conn) release() {
	c.lingering = false
	c.closeSocket()
	if c.done != nil {
		c.done()
	}
}

// keepalive is called when the connection may have been silent for the keepalive time; now is in seconds.
func (c *Conn) keepalive(now int64) {
	if c.closed {
		return
	}
	silent := now - c.lastWrite
	if c.blocked {
		if silent >= int64(c.edge.opt.WriteTimeout.Seconds()) {
			c.finish(ReasonWriteTimeout)
		}
		return
	}
	if silent >= int64(c.edge.opt.Keepalive.Seconds()) && len(c.proto.Keepalive) > 0 && !c.leaving {
		if n := c.write(c.proto.Keepalive); n < len(c.proto.Keepalive) && !c.closed {
			c.out = append(c.out, c.proto.Keepalive[n:]...)
		}
	}
}

// Group is the set of attachments whose cursors read the same bytes.
type Group struct {
	edge  *Edge
	parts []groupPart // one for each loop

	mu     sync.Mutex
	gconns map[*Attachment]struct{} // those of connections with goroutines
}

// groupPart is what one loop has of a group.
type groupPart struct {
	group  *Group
	atts   []*Attachment // owned by the loop
	next   int           // where the running pass goes on
	size   atomic.Int64  // len(atts), readable from anywhere
	queued atomic.Bool   // it stands in the loop's queue
}

// NewGroup returns an empty group.
func (e *Edge) NewGroup() *Group {
	g := &Group{edge: e, parts: make([]groupPart, len(e.loops))}
	for i := range g.parts {
		g.parts[i].group = g
	}
	return g
}

// Wake makes every attached connection look at its cursor. It does not block and may be called from any goroutine.
func (g *Group) Wake() {
	for i := range g.parts {
		p := &g.parts[i]
		if p.size.Load() > 0 && p.queued.CompareAndSwap(false, true) {
			g.edge.loops[i].wakePart(p)
		}
	}
	g.mu.Lock()
	for a := range g.gconns {
		a.conn.gc.wake(a)
	}
	g.mu.Unlock()
}

func (g *Group) join(a *Attachment) {
	if l := a.conn.loop; l != nil {
		p := &g.parts[l.index]
		a.index = len(p.atts)
		p.atts = append(p.atts, a)
		p.size.Store(int64(len(p.atts)))
		return
	}
	g.mu.Lock()
	if g.gconns == nil {
		g.gconns = map[*Attachment]struct{}{}
	}
	g.gconns[a] = struct{}{}
	a.index = 0
	g.mu.Unlock()
}

func (g *Group) leave(a *Attachment) {
	if l := a.conn.loop; l != nil {
		p := &g.parts[l.index]
		last := len(p.atts) - 1
		// The last one takes the place. A running pass that is already beyond that place would miss it, so it is
		// given its turn by a pass of its own.
		if a.index < p.next && last >= p.next && p.queued.CompareAndSwap(false, true) {
			l.wakePart(p)
		}
		p.atts[a.index] = p.atts[last]
		p.atts[a.index].index = a.index
		p.atts[last] = nil
		p.atts = p.atts[:last]
		p.size.Store(int64(last))
		a.index = -1
		return
	}
	g.mu.Lock()
	delete(g.gconns, a)
	a.index = -1
	g.mu.Unlock()
}
