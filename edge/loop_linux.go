package edge

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bounds of one step of a loop, so that a pass over ten thousand connections does not keep the others waiting.
const (
	passStep   = 256      // connections of a group that get their turn between two looks at the sockets
	maxReads   = 16       // reads of one connection between two looks
	readBuffer = 16 << 10 // bytes of one read
	wheelSlots = 128      // seconds
)

// notSentLowat bounds what the kernel keeps unsent for one connection, so that a reader that never reads costs little
// more than its receive window (tcp(7), TCP_NOTSENT_LOWAT).
const notSentLowat = 128 << 10

// loop owns the connections of one epoll set. Everything below the inbox belongs to its goroutine.
type loop struct {
	edge   *Edge
	index  int
	epfd   int
	wakefd int

	writes, bytes atomic.Uint64

	mu      sync.Mutex
	inbox   []func()
	parts   []*groupPart
	asleep  bool
	stopped bool
	exited  bool // run has returned: every connection is closed

	start    time.Time
	now      int64   // seconds since start
	conns    []*Conn // by descriptor
	open     int
	wheel    [wheelSlots][]*Conn
	turned   int64 // the last second the wheel was turned for
	passes   []*groupPart
	draining bool
	buf      []byte
	records  []byte // what TLS encrypts into
}

func (e *Edge) startLoops() error {
	for i := range e.opt.Loops {
		l := &loop{edge: e, index: i, start: time.Now(), buf: make([]byte, readBuffer)}
		var err error
		if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
			return fmt.Errorf("edge: making an epoll set: %w", err)
		}
		if l.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
			unix.Close(l.epfd)
			return fmt.Errorf("edge: making an event descriptor: %w", err)
		}
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.wakefd)}
		if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, l.wakefd, &ev); err != nil {
			return fmt.Errorf("edge: watching the event descriptor: %w", err)
		}
		e.loops = append(e.loops, l)
		e.wg.Go(l.run)
	}
	return nil
}

// adopt moves a TCP connection to a loop, with TLS if a Listener has accepted it, and gives any other its goroutines. The input
// is used before any other.
func (e *Edge) adopt(c *Conn, nc net.Conn, input []byte) error {
	var secure *session
	if t, isTLS := nc.(*tls.Conn); isTLS {
		a := onLoop(t)
		if a == nil {
			return e.adoptGo(c, nc, input)
		}
		secure, nc = &session{conn: t, of: c}, a
	}
	inner := nc
	if a, ok := nc.(*accepted); ok {
		inner = a.Conn
	}
	tc, ok := inner.(*net.TCPConn)
	if !ok {
		return e.adoptGo(c, nc, input)
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return fmt.Errorf("edge: taking over a connection: %w", err)
	}
	fd := -1
	var dupErr error
	if err := raw.Control(func(s uintptr) { fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || dupErr != nil {
		if err == nil {
			err = dupErr
		}
		return fmt.Errorf("edge: taking over a connection: %w", err)
	}
	if a, ok := nc.(*accepted); ok {
		c.done = a.detach()
	}
	tc.Close() // the duplicate keeps the connection open
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)
	c.fd = int32(fd)
	c.loop = e.loops[fd%len(e.loops)]
	c.loop.post(func() {
		if secure != nil {
			nc.(*accepted).through.Store(&through{secure})
			c.tls = secure
		}
		c.loop.add(c)
		c.input(input)
		if secure != nil && !c.closed {
			c.loop.read(c) // TLS may hold what it has read already
		}
	})
	return nil
}

// post runs f on the loop's goroutine.
func (l *loop) post(f func()) {
	l.mu.Lock()
	if l.exited {
		l.mu.Unlock()
		f() // it finds its connection closed and releases what it holds
		return
	}
	l.inbox = append(l.inbox, f)
	l.signal()
}

func (l *loop) wakePart(p *groupPart) {
	l.mu.Lock()
	l.parts = append(l.parts, p)
	l.signal()
}

// signal ends the loop's wait if it waits; it unlocks mu.
func (l *loop) signal() {
	asleep := l.asleep
	l.asleep = false
	l.mu.Unlock()
	if asleep {
		var one = [8]byte{1}
		unix.Write(l.wakefd, one[:])
	}
}

func (l *loop) stop() {
	l.mu.Lock()
	l.stopped = true
	l.signal()
}

func (l *loop) run() {
	events := make([]unix.EpollEvent, 256)
	defer func() {
		for _, c := range l.conns {
			if c == nil {
				continue
			}
			c.finish(ReasonShutdown)
			if c.lingering {
				c.release()
			}
		}
		unix.Close(l.epfd)
		l.mu.Lock()
		l.exited = true
		inbox := l.inbox
		l.inbox = nil
		unix.Close(l.wakefd)
		l.mu.Unlock()
		for _, f := range inbox {
			f()
		}
	}()
	for {
		timeout := l.untilTick()
		l.mu.Lock()
		if len(l.inbox) > 0 || len(l.parts) > 0 || len(l.passes) > 0 {
			timeout = 0
		} else if l.stopped {
			l.mu.Unlock()
			return
		} else {
			l.asleep = true
		}
		l.mu.Unlock()
		n, err := epollWait(l.epfd, events, timeout)
		if err != nil && err != unix.EINTR {
			panic("edge: epoll_wait: " + err.Error()) // the set itself is broken: nothing can go on
		}
		l.now = int64(time.Since(l.start) / time.Second)
		for _, ev := range events[:max(n, 0)] {
			l.event(ev)
		}
		l.mu.Lock()
		l.asleep = false
		inbox, parts := l.inbox, l.parts
		l.inbox, l.parts = nil, nil
		l.mu.Unlock()
		for _, f := range inbox {
			f()
		}
		l.passes = append(l.passes, parts...)
		l.pass()
		l.turnWheel()
	}
}

// epollWait does not tell the scheduler about a wait of no time.
func epollWait(epfd int, events []unix.EpollEvent, timeout int) (int, error) {
	if timeout != 0 {
		return unix.EpollWait(epfd, events, timeout)
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// untilTick returns the milliseconds to the next second of the wheel.
func (l *loop) untilTick() int {
	return 1000 - int(time.Since(l.start)%time.Second/time.Millisecond)
}

func (l *loop) event(ev unix.EpollEvent) {
	if int(ev.Fd) == l.wakefd {
		var b [8]byte
		unix.Read(l.wakefd, b[:])
		return
	}
	if int(ev.Fd) >= len(l.conns) {
		return
	}
	c := l.conns[ev.Fd]
	if c == nil {
		return
	}
	if c.lingering {
		l.discard(c)
		return
	}
	if ev.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		c.finish(ReasonPeer)
		return
	}
	if ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0 {
		l.read(c)
	}
	if ev.Events&unix.EPOLLOUT != 0 && !c.closed && c.blocked {
		c.blocked = false
		c.flush()
	}
}

func (l *loop) read(c *Conn) {
	if c.tls != nil {
		c.tls.read(l)
		return
	}
	for range maxReads {
		n, err := unix.Read(int(c.fd), l.buf)
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
			continue
		case err != nil || n == 0:
			c.finish(ReasonPeer)
			return
		}
		c.input(l.buf[:n])
		if c.closed {
			return
		}
	}
	l.post(func() { // the set is edge-triggered: what is left would not be told again
		if !c.closed {
			l.read(c)
		}
	})
}

// linger begins to linger. It reports false if the socket cannot.
func (c *Conn) linger() bool {
	if c.gc != nil {
		return c.gc.linger()
	}
	if c.tls != nil {
		c.tls.closeWrite()
	}
	if unix.Shutdown(int(c.fd), unix.SHUT_WR) != nil {
		return false
	}
	l := c.loop
	c.lingering, c.lastWrite = true, l.now+int64(lingerTime/time.Second)
	l.schedule(c, c.lastWrite)
	l.post(func() { l.discard(c) }) // what has come already is not told again
	return true
}

// discard reads what a lingering connection sends, and closes it at the end of that.
func (l *loop) discard(c *Conn) {
	for range maxReads {
		if !c.lingering {
			return
		}
		n, err := unix.Read(int(c.fd), l.buf)
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EINTR:
			continue
		case err != nil || n == 0:
			c.release()
			return
		}
		if c.discarded += int32(n); c.discarded > lingerBytes {
			c.release()
			return
		}
	}
	l.post(func() { l.discard(c) })
}

func (l *loop) add(c *Conn) {
	for len(l.conns) <= int(c.fd) {
		l.conns = append(l.conns, make([]*Conn, 1024)...)
	}
	l.conns[c.fd] = c
	l.open++
	c.lastWrite = l.now
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: c.fd}
	if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, int(c.fd), &ev); err != nil {
		c.finish(fmt.Sprintf("epoll_ctl: %v", err))
		return
	}
	l.schedule(c, l.now+int64(l.edge.opt.Keepalive/time.Second))
	if l.draining {
		c.startDrain()
	}
}

// drain begins the goodbye of every connection.
func (l *loop) drain() {
	l.draining = true
	for _, c := range l.conns {
		if c != nil {
			c.startDrain()
		}
	}
}

// pass gives a step's worth of connections their turn.
func (l *loop) pass() {
	budget := passStep
	for len(l.passes) > 0 && budget > 0 {
		p := l.passes[0]
		if p.next == 0 {
			p.queued.Store(false) // a Wake from now on asks for another pass
		}
		for p.next < len(p.atts) && budget > 0 {
			a := p.atts[p.next]
			p.next++
			budget--
			a.conn.turn(a)
		}
		if p.next >= len(p.atts) {
			p.next = 0
			l.passes[0] = nil
			l.passes = l.passes[1:]
		}
	}
	if len(l.passes) == 0 {
		l.passes = nil
	}
}

func (l *loop) fetched(a *Attachment) {
	a.fetching = false
	if a.detached {
		a.cur.Close()
		return
	}
	swaps := a.swaps
	a.swaps = nil
	for _, next := range swaps {
		a.swap(next)
	}
	a.conn.turn(a)
	a.conn.checkDrained()
}

func (l *loop) schedule(c *Conn, due int64) {
	due = min(max(due, l.turned+1), l.turned+wheelSlots-1)
	s := &l.wheel[due%wheelSlots]
	*s = append(*s, c)
}

func (l *loop) turnWheel() {
	for l.turned < l.now {
		l.turned++
		slot := l.wheel[l.turned%wheelSlots]
		l.wheel[l.turned%wheelSlots] = nil
		for _, c := range slot {
			if c.closed {
				if c.lingering && l.now >= c.lastWrite {
					c.release()
				}
				continue
			}
			c.keepalive(l.now)
			if !c.closed {
				l.schedule(c, max(c.lastWrite+int64(l.edge.opt.Keepalive/time.Second), l.now+1))
			}
		}
	}
}

// write gives p to the socket. Fewer bytes taken than given means that the socket is full: blocked is set, and flush is
// called when there is room.
func (c *Conn) write(p []byte) int {
	if c.gc != nil {
		return c.gc.write(p)
	}
	if c.tls != nil {
		return c.tls.write(p)
	}
	return c.writeSocket(p)
}

// writeSocket is write below TLS.
func (c *Conn) writeSocket(p []byte) int {
	// The descriptor does not block, so the scheduler need not be told: a raw system call saves its bookkeeping, which would
	// cost a tenth of the write itself. send(2) is a twentieth cheaper than write(2), which also looks at the inode.
	for len(p) > 0 {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			c.lastWrite = c.loop.now
			c.loop.writes.Add(1)
			c.loop.bytes.Add(uint64(n))
			if int(n) < len(p) {
				c.blocked = true
			}
			return int(n)
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if !c.blocked {
				c.lastWrite = c.loop.now
			}
			c.blocked = true
			return 0
		default:
			c.finish(ReasonPeer)
			return 0
		}
	}
	return 0
}

func (c *Conn) fetch(a *Attachment) {
	if c.gc != nil {
		c.gc.fetch(a)
		return
	}
	c.edge.fetchq.push(a)
}

func (c *Conn) closeSocket() {
	if c.gc != nil {
		c.gc.close()
		return
	}
	if c.tls != nil && !c.blocked {
		c.tls.closeWrite()
	}
	c.loop.conns[c.fd] = nil
	c.loop.open--
	unix.Close(int(c.fd)) // leaves the epoll set by itself
}
