// Package outlet holds what the outlets share: a hub subscription as the cursor of an edge connection, and the move of
// an HTTP request to the edge. Each protocol has its own package below it.
package outlet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tidings/edge"
	"tidings/hub"
)

// Subscribe subscribes with a waker that wakes the edge connections of the feed.
func Subscribe(h *hub.Hub, e *edge.Edge, r hub.Request) (*hub.Subscription, error) {
	r.NewWaker = func() hub.Waker { return e.NewGroup() }
	return h.Subscribe(r)
}

// Attach makes the connection write what the subscription, which Subscribe returned, has for it. The edge closes the
// subscription with the connection.
func Attach(c *edge.Conn, s *hub.Subscription) *edge.Attachment {
	return c.Attach(Cursor(s))
}

// Cursor returns the subscription, which Subscribe returned, as a cursor, and the group it belongs to.
func Cursor(s *hub.Subscription) (*edge.Group, edge.Cursor) {
	return s.Waker().(*edge.Group), cursor{s}
}

// Swap makes an attachment, which Attach returned, write what another subscription has in the place of the one it has. next
// is called on the goroutine that owns the connection, when the old one stands still, so that the new one can begin where
// that is; the old one is closed after it. If next returns nil, the old one stays.
func Swap(a *edge.Attachment, next func() *hub.Subscription) {
	a.Swap(func() (*edge.Group, edge.Cursor) {
		s := next()
		if s == nil {
			return nil, nil
		}
		return Cursor(s)
	})
}

// cursor is a subscription in the edge's words.
type cursor struct{ *hub.Subscription }

func (c cursor) Next() ([]byte, edge.Status) {
	p, st := c.Subscription.Next()
	switch st {
	case hub.HasBytes:
		return p, edge.Ready
	case hub.Lagging:
		return nil, edge.Behind
	case hub.Over:
		return p, edge.Ended
	}
	return nil, edge.Idle
}

// Nothing is a cursor that has nothing to say.
var Nothing edge.Cursor = nothing{}

type nothing struct{}

func (nothing) Next() ([]byte, edge.Status) { return nil, edge.Idle }
func (nothing) Advance(int) []byte          { return nil }
func (nothing) Fetch(context.Context)       {}
func (nothing) Goodbye() []byte             { return nil }
func (nothing) Close()                      {}

// handshakeTimeout bounds the writing of a response's head.
const handshakeTimeout = 10 * time.Second

// ErrNotTaken says that a connection cannot leave its HTTP server, as those of HTTP/2 cannot.
var ErrNotTaken = errors.New("outlet: the connection cannot be taken over")

// Hijack answers the request with the status and w's header, followed by start, and hands the connection to the edge.
// The body goes on until the connection is closed (RFC 9112 section 6.3): it has no length and is not chunked, so that
// all readers share its bytes. After an error that is ErrNotTaken the response is still w's to give; after any other the
// connection is closed.
func Hijack(e *edge.Edge, w http.ResponseWriter, status int, start []byte, p *edge.Protocol) (*edge.Conn, error) {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotTaken, err)
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: close\r\n", status, http.StatusText(status), time.Now().UTC().Format(http.TimeFormat))
	w.Header().Write(&head)
	head.WriteString("\r\n")
	head.Write(start)
	nc.SetDeadline(time.Now().Add(handshakeTimeout))
	if _, err := nc.Write(head.Bytes()); err != nil {
		nc.Close()
		return nil, fmt.Errorf("outlet: writing the response's head: %w", err)
	}
	nc.SetDeadline(time.Time{})
	c, err := e.Add(nc, buffered(rw.Reader), p)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func buffered(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	return b
}
