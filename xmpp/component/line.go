package component

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// line is one connection to the server. It writes in a goroutine of its own, so that the one that owns the link never waits for the
// socket and reads on while the server does not; and it stops reading when it is told to.
type line struct {
	net.Conn
	w      *wire
	lane   uint8   // 0: the component's own
	domain jid.JID // of the stream

	// Of the goroutine that owns the link; during the handshake, of that.
	scan xmlstream.Scanner
	doc  xmlstream.Document
	ns   *xmlstream.Context

	mu       sync.Mutex
	change   *sync.Cond
	next     []byte // what is written next
	spare    []byte
	writing  bool
	wanted   bool // somebody waits for next to be taken
	paused   bool // nothing is read
	closing  bool // as soon as all is written
	progress time.Time
}

// newLine adds a connection to a wire.
func newLine(w *wire, nc net.Conn, domain jid.JID) *line {
	n := &line{Conn: nc, w: w, lane: uint8(len(w.lines)), domain: domain, progress: time.Now()}
	n.change = sync.NewCond(&n.mu)
	n.scan.Limits = w.l.opt.Limits
	w.lines = append(w.lines, n)
	return n
}

// forget drops what reading needs.
func (n *line) forget() { n.scan, n.doc = xmlstream.Scanner{}, xmlstream.Document{} }

// Write implements net.Conn for the edge, which has the goodbye to write.
func (n *line) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next = append(n.next, p...)
	n.change.Broadcast()
	return len(p), nil
}

func (n *line) room() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.next) > 0 || n.closing {
		n.wanted = true
		return false
	}
	return true
}

// put has b written, which is not the caller's any more, and returns an empty buffer in its place.
func (n *line) put(b []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	empty := n.next
	n.next = b
	n.change.Broadcast()
	return empty
}

func (n *line) idle() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.next) == 0 && !n.writing
}

func (n *line) since() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.progress
}

// maxKept bounds a buffer that is used again, in bytes.
const maxKept = 4 * pieceSize

// write is the goroutine that writes.
func (n *line) write() {
	defer n.hangUp()
	l := n.w.l
	for {
		n.mu.Lock()
		for len(n.next) == 0 && !n.closing {
			n.change.Wait()
		}
		if len(n.next) == 0 {
			n.mu.Unlock()
			n.Conn.Close() // which says goodbye where there is TLS
			return
		}
		p := n.next
		n.next, n.spare, n.writing = n.spare[:0], nil, true
		wanted, closing := n.wanted, n.closing
		n.wanted = false
		n.mu.Unlock()
		if wanted {
			n.w.do(l.pump)
		}
		patience := l.opt.AckTimeout
		if closing {
			patience = l.times.close
		}
		n.Conn.SetWriteDeadline(time.Now().Add(patience))
		_, err := n.Conn.Write(p)
		n.mu.Lock()
		n.writing = false
		n.progress = time.Now()
		if cap(p) <= maxKept {
			n.spare = p[:0]
		}
		settled := len(n.next) == 0
		n.mu.Unlock()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = ErrSilent
			}
			n.fail(err)
			return
		}
		if settled {
			n.w.do(l.settle)
		}
	}
}

// Read implements net.Conn for the edge, which reads from the component's own connection.
func (n *line) Read(p []byte) (int, error) {
	n.mu.Lock()
	for n.paused && !n.closing {
		n.change.Wait()
	}
	n.mu.Unlock()
	k, err := n.Conn.Read(p)
	if err != nil {
		n.w.fail(n.name(ErrLost))
	}
	return k, err
}

// read is the goroutine that reads what the server sends to a sender, which is hardly more than why it closes the stream.
func (n *line) read() {
	buf := make([]byte, 4096)
	for {
		k, err := n.Read(buf)
		if k > 0 {
			p := slices.Clone(buf[:k]) // the Scanner may keep it
			taken := make(chan struct{})
			n.w.do(func() {
				defer close(taken)
				n.input(p)
			})
			select {
			case <-taken:
			case <-n.w.over:
				return
			}
		}
		if err != nil {
			n.fail(ErrLost)
			return
		}
	}
}

// fail ends all connections because of this one. What the others have to say is written still.
func (n *line) fail(err error) {
	n.w.fail(n.name(err))
	n.w.close()
}

// name says of an error that it is of a sender, if it is.
func (n *line) name(err error) error {
	if n.lane == 0 {
		return err
	}
	return senderError(n.domain, err)
}

func (n *line) pause(yes bool) {
	n.mu.Lock()
	n.paused = yes
	n.change.Broadcast()
	n.mu.Unlock()
}

// Close implements net.Conn for the edge: of all connections what is left is written, and then the sockets are closed.
func (n *line) Close() error {
	n.w.close()
	return nil
}

// finish has what is left written, and then the socket closed.
func (n *line) finish() {
	n.mu.Lock()
	if n.lane > 0 && !n.closing { // to the component's own the edge says goodbye
		n.next = stream.AppendClose(n.next, stream.TCP)
	}
	n.closing = true
	n.change.Broadcast()
	n.mu.Unlock()
	n.SetWriteDeadline(time.Now().Add(n.w.l.times.close))
}

// hangUp closes the socket without waiting for what TLS would still say.
func (n *line) hangUp() {
	if t, ok := n.Conn.(*tls.Conn); ok {
		t.NetConn().Close()
		return
	}
	n.Conn.Close()
}

// leave ends the stream with an error of the server's making, or without one, and so all of them.
func (n *line) leave(why error, e *stream.Error) {
	w := n.w
	w.deaf = true
	w.fail(n.name(why))
	var b []byte
	if e != nil {
		b = e.Append(nil, stream.TCP)
	}
	if n.lane > 0 {
		n.Write(b)
		b = nil
	}
	w.conn.Close(reasonClosed, stream.AppendClose(b, stream.TCP))
}
