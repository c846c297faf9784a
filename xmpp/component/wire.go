package component

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"tidings/edge"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// wire is the connection to the server, as the edge has it: it writes in a goroutine of its own, so that the one that owns the
// link never waits for the socket and reads on while the server does not; and it stops reading when it is told to.
type wire struct {
	net.Conn
	l    *Link
	over chan struct{} // closed when the link has taken note of the end
	done chan struct{} // closed when the socket is closed

	// Of the goroutine that owns the connection; during the handshake, of that.
	proto  edge.Protocol
	conn   *edge.Conn
	scan   xmlstream.Scanner
	doc    xmlstream.Document
	ns     *xmlstream.Context
	begun  bool
	deaf   bool // what comes is not looked at any more
	closed bool

	mu       sync.Mutex
	change   *sync.Cond
	next     []byte // what is written next
	spare    []byte
	writing  bool
	wanted   bool // somebody waits for next to be taken
	paused   bool // nothing is read
	closing  bool // as soon as all is written
	progress time.Time
	err      error // why it ends; the first one
}

func newWire(l *Link, nc net.Conn) *wire {
	w := &wire{Conn: nc, l: l, over: make(chan struct{}), done: make(chan struct{}), progress: time.Now()}
	w.change = sync.NewCond(&w.mu)
	w.proto = edge.Protocol{Name: "component", Goodbye: stream.AppendClose(nil, stream.TCP)}
	w.proto.Input = w.input
	w.proto.Closed = w.stopped
	return w
}

// begin is called when the edge has the connection: before any input, or with it.
func (w *wire) begin(c *edge.Conn) {
	if w.begun || w.closed {
		return
	}
	w.begun, w.conn = true, c
	w.l.start(w)
	go w.write() // ends with the connection: Run waits for done
	w.process()
}

// do runs f on the goroutine that owns the connection, if that is open then. It is not called before begin.
func (w *wire) do(f func()) { w.on(w.conn, f) }

func (w *wire) on(c *edge.Conn, f func()) {
	c.Do(func() {
		if !w.closed {
			f()
		}
	})
}

// Write implements net.Conn for the edge, which has the goodbye to write.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = append(w.next, p...)
	w.change.Broadcast()
	return len(p), nil
}

// room reports whether put may be called. If not, pump is called when it may.
func (w *wire) room() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.next) > 0 || w.closing {
		w.wanted = true
		return false
	}
	return true
}

// put has b written, which is not the caller's any more, and returns an empty buffer in its place.
func (w *wire) put(b []byte) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	empty := w.next
	w.next = b
	w.change.Broadcast()
	return empty
}

// idle reports whether all has been given to the socket.
func (w *wire) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.next) == 0 && !w.writing
}

// since returns when the socket took something last.
func (w *wire) since() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress
}

// maxKept bounds a buffer that is used again, in bytes.
const maxKept = 4 * pieceSize

// write is the goroutine that writes.
func (w *wire) write() {
	defer close(w.done)
	defer w.hangUp()
	for {
		w.mu.Lock()
		for len(w.next) == 0 && !w.closing {
			w.change.Wait()
		}
		if len(w.next) == 0 {
			w.mu.Unlock()
			w.Conn.Close() // which says goodbye where there is TLS
			return
		}
		p := w.next
		w.next, w.spare, w.writing = w.spare[:0], nil, true
		wanted, closing := w.wanted, w.closing
		w.wanted = false
		w.mu.Unlock()
		if wanted {
			w.do(w.l.pump)
		}
		patience := w.l.opt.AckTimeout
		if closing {
			patience = w.l.times.close
		}
		w.Conn.SetWriteDeadline(time.Now().Add(patience))
		_, err := w.Conn.Write(p)
		w.mu.Lock()
		w.writing = false
		w.progress = time.Now()
		if cap(p) <= maxKept {
			w.spare = p[:0]
		}
		settled := len(w.next) == 0
		w.mu.Unlock()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = ErrSilent
			}
			w.fail(err)
			return
		}
		if settled {
			w.do(w.l.settle)
		}
	}
}

// Read implements net.Conn for the edge.
func (w *wire) Read(p []byte) (int, error) {
	w.mu.Lock()
	for w.paused && !w.closing {
		w.change.Wait()
	}
	w.mu.Unlock()
	n, err := w.Conn.Read(p)
	if err != nil {
		w.fail(ErrLost)
	}
	return n, err
}

// pause has nothing read, or goes on reading.
func (w *wire) pause(yes bool) {
	w.mu.Lock()
	w.paused = yes
	w.change.Broadcast()
	w.mu.Unlock()
}

// Close implements net.Conn for the edge: what is left is written, and then the socket is closed.
func (w *wire) Close() error {
	w.mu.Lock()
	w.closing = true
	w.change.Broadcast()
	w.mu.Unlock()
	return w.Conn.SetWriteDeadline(time.Now().Add(w.l.times.close))
}

// fail notes why the connection ends, unless that is known.
func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// cause returns why the connection has ended.
func (w *wire) cause() error {
	w.fail(ErrLost)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// kill closes the connection at once.
func (w *wire) kill(err error) {
	w.fail(err)
	w.Close()
	w.hangUp()
}

// hangUp closes the socket without waiting for what TLS would still say.
func (w *wire) hangUp() {
	if t, ok := w.Conn.(*tls.Conn); ok {
		t.NetConn().Close()
		return
	}
	w.Conn.Close()
}

// leave ends the stream with an error of the server's making, or without one.
func (w *wire) leave(why error, e *stream.Error) {
	w.deaf = true
	w.fail(why)
	var b []byte
	if e != nil {
		b = e.Append(nil, stream.TCP)
	}
	w.conn.Close(reasonClosed, stream.AppendClose(b, stream.TCP))
}

// stopped is called when the edge has closed the connection.
func (w *wire) stopped(*edge.Conn) {
	w.closed = true
	w.scan = xmlstream.Scanner{}
	w.doc = xmlstream.Document{}
	if w.begun {
		w.l.stopped()
	} else { // nobody writes
		w.hangUp()
		close(w.done)
	}
	close(w.over)
}
