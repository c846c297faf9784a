package edge

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// session is TLS on a loop. The records go through memory: what the peer sent is read from the socket without waiting, and
// what is encrypted waits in out until the socket takes it. So a TLS connection needs no goroutine either.
type session struct {
	conn *tls.Conn
	of   *Conn
	out  []byte // records that the socket has not taken
}

// wouldBlock is the error of a read that finds nothing. It is temporary, after which crypto/tls goes on where it was.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "edge: nothing to read" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// onLoop returns the TLS connection's own connection if it can go to a loop: its handshake is done, and below it is one that a
// Listener accepted, which can be told to read and write otherwise from now on.
func onLoop(tc *tls.Conn) *accepted {
	a, ok := tc.NetConn().(*accepted)
	if !ok || !tc.ConnectionState().HandshakeComplete {
		return nil
	}
	if _, ok := a.Conn.(*net.TCPConn); !ok {
		return nil
	}
	return a
}

// Read implements io.Reader for the records that come.
func (s *session) Read(p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(s.of.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch {
		case errno == unix.EAGAIN:
			return 0, wouldBlock{}
		case errno == unix.EINTR:
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		default:
			return int(n), nil
		}
	}
}

// Write implements io.Writer for the records that go.
func (s *session) Write(p []byte) (int, error) {
	s.out = append(s.out, p...)
	return len(p), nil
}

// write encrypts p and gives it to the socket. All of p counts as taken; what the socket has no room for is held here, so that
// blocked may be set all the same.
func (s *session) write(p []byte) int {
	c := s.of
	if len(s.out) == 0 {
		s.out = c.loop.records[:0]
	}
	if _, err := s.conn.Write(p); err != nil {
		c.finish(ReasonPeer)
		return 0
	}
	s.flush()
	if c.closed {
		return 0
	}
	return len(p)
}

// flush gives the socket what it has not taken.
func (s *session) flush() {
	c := s.of
	if len(s.out) == 0 {
		return
	}
	n := c.writeSocket(s.out)
	if c.closed {
		return
	}
	if cap(s.out) <= maxRecords {
		c.loop.records = s.out[:0]
	}
	if n == len(s.out) {
		s.out = nil
		return
	}
	s.out = append([]byte(nil), s.out[n:]...)
}

// maxRecords bounds the memory that a loop keeps for encrypting.
const maxRecords = 128 << 10

// closeWrite tells the peer that nothing more comes (RFC 8446 section 6.1), unless it cannot be told any more.
func (s *session) closeWrite() {
	if len(s.out) > 0 {
		return
	}
	s.out = nil
	if s.conn.CloseWrite() != nil || len(s.out) == 0 {
		return
	}
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(s.of.fd), uintptr(unsafe.Pointer(&s.out[0])), uintptr(len(s.out)))
	s.out = nil
}

// read takes what the peer has sent.
func (s *session) read(l *loop) {
	c := s.of
	for range maxReads {
		n, err := s.conn.Read(l.buf)
		if n > 0 {
			c.input(l.buf[:n])
		}
		if c.closed {
			return
		}
		if err != nil {
			if _, ok := err.(wouldBlock); !ok {
				c.finish(ReasonPeer)
			} else if len(s.out) > 0 && !c.blocked { // an answer of TLS itself
				s.flush()
			}
			return
		}
	}
	l.post(func() {
		if !c.closed {
			l.read(c)
		}
	})
}
