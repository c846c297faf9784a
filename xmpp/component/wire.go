package component

import (
	"fmt"
	"sync"
	"time"

	"tidings/edge"
	"tidings/xmpp/stream"
)

// wire is the link's connections to the server, which begin together and end together: the component's own, as the edge has it, and
// one for each sender.
type wire struct {
	l       *Link
	lines   []*line       // by lane
	over    chan struct{} // closed when the link has taken note of the end
	running sync.WaitGroup

	// Of the goroutine that owns the component's own connection.
	proto  edge.Protocol
	conn   *edge.Conn
	begun  bool
	deaf   bool // what comes is not looked at any more
	closed bool

	mu  sync.Mutex
	err error // why it ends; the first one
}

func newWire(l *Link) *wire {
	w := &wire{l: l, over: make(chan struct{})}
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
	for _, n := range w.lines {
		w.running.Go(n.write)
		if n.lane > 0 {
			w.running.Go(n.read)
		}
		n.process()
	}
}

// input takes what the server has sent to the component.
func (w *wire) input(c *edge.Conn, p []byte) error {
	w.begin(c)
	w.lines[0].input(p)
	return nil
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

// room reports whether put may be called. If not, pump is called when it may.
func (w *wire) room() bool {
	for _, n := range w.lines {
		if !n.room() {
			return false
		}
	}
	return true
}

// put has the pieces written, each over the line of its lane, and leaves empty ones in their places.
func (w *wire) put(p pieces) {
	for i, n := range w.lines {
		if len(p[i]) > 0 {
			p[i] = n.put(p[i])
		}
	}
}

// pause has nothing read, or goes on reading.
func (w *wire) pause(yes bool) {
	for _, n := range w.lines {
		n.pause(yes)
	}
}

// idle reports whether all has been given to the sockets.
func (w *wire) idle() bool {
	for _, n := range w.lines {
		if !n.idle() {
			return false
		}
	}
	return true
}

// since returns when a socket took something last.
func (w *wire) since() (last time.Time) {
	for _, n := range w.lines {
		last = later(last, n.since())
	}
	return last
}

// fail notes why the connections end, unless that is known.
func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// cause returns why the connections have ended.
func (w *wire) cause() error {
	w.fail(ErrLost)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// close has what is left written, and then the sockets closed.
func (w *wire) close() {
	for _, n := range w.lines {
		n.finish()
	}
}

// kill closes the connections at once.
func (w *wire) kill(err error) {
	w.fail(err)
	w.close()
	w.hangUp()
}

// hangUp closes the sockets.
func (w *wire) hangUp() {
	for _, n := range w.lines {
		n.hangUp()
	}
}

// stopped is called when the edge has closed the component's own connection.
func (w *wire) stopped(*edge.Conn) {
	w.closed = true
	if w.begun {
		w.l.stopped()
		w.close() // senders too, unless they have
	} else { // nobody writes
		w.hangUp()
	}
	for _, n := range w.lines {
		n.forget()
	}
	close(w.over)
}

// senderError says which of the senders an error is of.
func senderError(domain fmt.Stringer, err error) error {
	return fmt.Errorf("sender %s: %w", domain, err)
}
