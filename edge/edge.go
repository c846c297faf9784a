// Package edge holds connections that are mostly idle and pushes shared bytes to them. It knows no protocol.
//
// A connection comes here after its handshake. From then on it costs a struct of a few hundred bytes: no goroutine, no
// buffer and no timer of its own. On Linux a few loops, each with an epoll set, own all TCP connections, those with TLS if a
// [Listener] has accepted them; elsewhere, and for any other, each connection has a reading and a writing goroutine instead,
// with the same code above it.
//
// What a connection writes is a [Cursor] over bytes that many connections share. Cursors over the same bytes form a
// [Group]; one Wake of the group is one entry in the queue of each loop, however many connections it has. A turn of a
// connection writes everything from its cursor to the end in one write, so that events which arrive during a pass are
// coalesced by themselves.
package edge

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Status is what a Cursor's Next found.
type Status uint8

// The statuses.
const (
	Idle   Status = iota // nothing to write now; the group's Wake will tell
	Ready                // the bytes returned are to be written
	Behind               // Fetch has to be called, in a goroutine that may block
	Ended                // the bytes returned, if any, are the last: close the connection after them
)

// Cursor is one connection's place in a sequence of bytes. Its methods are called by one goroutine at a time.
type Cursor interface {
	// Next returns the bytes to write next, whole messages, which stay unchanged until Advance, the next Next or Close is
	// called. It does not block. It may be called again without an Advance: nothing of the bytes has been written then.
	Next() ([]byte, Status)

	// Advance says that the connection took the first n bytes that Next returned last. Where n is inside a message,
	// it returns a copy of the rest of that message; the messages after it are returned by Next again.
	Advance(n int) (rest []byte)

	// Fetch does what Next could not do without blocking. Next is called after it.
	Fetch(ctx context.Context)

	// Goodbye returns what to write before the server closes the connection on its own account, nil for nothing.
	Goodbye() []byte

	// Close releases the cursor. Nothing is called after it.
	Close()
}

// completer is a Cursor that knows when it has nothing more. Complete is called after Advance took all that Next returned, and
// reports whether that was all there is until the group's Wake tells; then Next is not called to find out.
type completer interface{ Complete() bool }

// Protocol is what the connections of one protocol have in common.
type Protocol struct {
	// Name is for logs and metrics.
	Name string
	// Input is called with bytes the peer sent, which are valid during the call only. It must not block; an error
	// closes the connection with the error's text as the reason. Where it is nil, input is read and ignored.
	Input func(c *Conn, p []byte) error
	// Closed is called once, when the connection has been closed and its cursors too; on the goroutine that owns the
	// connection. It must not block. It may be nil.
	Closed func(c *Conn)
	// Keepalive is written after the configured time of silence; nothing if it is empty.
	Keepalive []byte
	// Goodbye is written before the server closes the connection on its own account where no cursor has a goodbye.
	Goodbye []byte
}

// Options configure an Edge; the zero value of each means its default.
type Options struct {
	Loops        int           // epoll loops (half the CPUs, at least one)
	Keepalive    time.Duration // silence after which a keepalive is written (15 s); at least 1 s, counted in seconds
	WriteTimeout time.Duration // time without progress after which a connection that has to take bytes is closed (60 s)
	MaxQueue     int           // bytes that may wait in a connection beside its cursors (64 KiB)
	Fetchers     int           // Fetch calls at once (4)
}

// Edge owns the connections.
type Edge struct {
	opt    Options
	loops  []*loop
	fetchq fetchQueue
	wg     sync.WaitGroup // loops, fetchers and goroutine connections
	cancel context.CancelFunc
	ctx    context.Context

	// adding is held for reading while a connection is added, so that Shutdown finds each that Add has taken.
	adding sync.RWMutex
	ended  atomic.Bool

	mu      sync.Mutex
	gconns  map[*Conn]struct{}
	drained *sync.Cond

	conns  atomic.Int64
	closed sync.Map // reason string -> *atomic.Uint64
	writes atomic.Uint64
	bytes  atomic.Uint64
}

// ErrEnded is returned by Add after Shutdown has begun.
var ErrEnded = errors.New("edge: shutting down")

// The reasons for which the edge itself closes a connection.
const (
	ReasonPeer         = "peer-closed"   // the peer closed or reset it
	ReasonWriteTimeout = "write-timeout" // no progress for WriteTimeout
	ReasonQueue        = "queue-full"    // MaxQueue bytes were waiting
	ReasonEnded        = "ended"         // a cursor ended
	ReasonShutdown     = "shutdown"      // the server stops
)

// New returns an Edge whose loops run until Shutdown.
func New(o Options) (*Edge, error) {
	if o.Loops <= 0 {
		o.Loops = max(1, runtime.GOMAXPROCS(0)/2)
	}
	if o.Keepalive <= 0 {
		o.Keepalive = 15 * time.Second
	}
	o.Keepalive = max(o.Keepalive, time.Second)
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = time.Minute
	}
	if o.MaxQueue <= 0 {
		o.MaxQueue = 64 << 10
	}
	if o.Fetchers <= 0 {
		o.Fetchers = 4
	}
	e := &Edge{opt: o, gconns: map[*Conn]struct{}{}}
	e.drained = sync.NewCond(&e.mu)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.fetchq.init()
	if err := e.startLoops(); err != nil {
		e.cancel()
		return nil, err
	}
	for range o.Fetchers {
		e.wg.Go(e.fetcher)
	}
	return e, nil
}

// Add takes over nc, whose handshake is done. input is what the peer has sent beyond the handshake. The connection
// begins with no cursor: Attach gives it one. On an error nc is left open.
func (e *Edge) Add(nc net.Conn, input []byte, p *Protocol) (*Conn, error) {
	e.adding.RLock()
	defer e.adding.RUnlock()
	if e.ended.Load() {
		return nil, ErrEnded
	}
	c := &Conn{edge: e, proto: p}
	// It counts before its owner can see it, which may find it closed at once.
	e.conns.Add(1)
	if err := e.adopt(c, nc, append([]byte(nil), input...)); err != nil {
		e.gone()
		return nil, err
	}
	return c, nil
}

// Stats are figures of an Edge at one moment.
type Stats struct {
	Conns  int64             // open connections
	Writes uint64            // write system calls that took bytes
	Bytes  uint64            // taken by them
	Closed map[string]uint64 // closed connections by reason
}

// Stats returns the figures.
func (e *Edge) Stats() Stats {
	s := Stats{Conns: e.conns.Load(), Writes: e.writes.Load(), Bytes: e.bytes.Load(), Closed: map[string]uint64{}}
	for _, l := range e.loops {
		s.Writes += l.writes.Load()
		s.Bytes += l.bytes.Load()
	}
	e.closed.Range(func(k, v any) bool {
		s.Closed[k.(string)] = v.(*atomic.Uint64).Load()
		return true
	})
	return s
}

func (e *Edge) countClosed(reason string) {
	v, ok := e.closed.Load(reason)
	if !ok {
		v, _ = e.closed.LoadOrStore(reason, new(atomic.Uint64))
	}
	v.(*atomic.Uint64).Add(1)
}

// gone tells Shutdown that there is one connection less.
func (e *Edge) gone() {
	e.conns.Add(-1)
	e.mu.Lock()
	e.drained.Broadcast()
	e.mu.Unlock()
}

// Shutdown lets every connection write up to the end of its cursors, says goodbye and closes it. When ctx ends first,
// the rest are closed as they are. It returns when no connection is open and every goroutine has ended.
func (e *Edge) Shutdown(ctx context.Context) error {
	e.adding.Lock()
	e.ended.Store(true)
	e.adding.Unlock()
	e.mu.Lock()
	gconns := make([]*Conn, 0, len(e.gconns))
	for c := range e.gconns {
		gconns = append(gconns, c)
	}
	e.mu.Unlock()
	for _, l := range e.loops {
		l.post(l.drain)
	}
	for _, c := range gconns {
		c.do(c.startDrain)
	}
	stop := context.AfterFunc(ctx, func() {
		e.mu.Lock()
		e.drained.Broadcast()
		e.mu.Unlock()
	})
	e.mu.Lock()
	for e.conns.Load() > 0 && ctx.Err() == nil {
		e.drained.Wait()
	}
	for c := range e.gconns {
		c.gc.abort(ReasonShutdown)
	}
	e.mu.Unlock()
	stop()
	err := ctx.Err()
	e.cancel()
	e.fetchq.close()
	for _, l := range e.loops {
		l.stop()
	}
	e.wg.Wait()
	return err
}

// fetcher runs the Fetch calls of connections on loops, which must not block themselves.
func (e *Edge) fetcher() {
	for {
		a, ok := e.fetchq.pop()
		if !ok {
			return
		}
		a.cur.Fetch(e.ctx)
		a.conn.loop.post(func() { a.conn.loop.fetched(a) })
	}
}

// fetchQueue is first in, first out, so that readers who catch up take turns.
type fetchQueue struct {
	mu     sync.Mutex
	cond   *sync.Cond
	q      []*Attachment
	closed bool
}

func (f *fetchQueue) init() { f.cond = sync.NewCond(&f.mu) }

func (f *fetchQueue) push(a *Attachment) {
	f.mu.Lock()
	f.q = append(f.q, a)
	f.mu.Unlock()
	f.cond.Signal()
}

func (f *fetchQueue) pop() (*Attachment, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.q) == 0 && !f.closed {
		f.cond.Wait()
	}
	if f.closed {
		return nil, false
	}
	a := f.q[0]
	f.q[0] = nil
	f.q = f.q[1:]
	return a, true
}

func (f *fetchQueue) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.cond.Broadcast()
}
