package websocket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tidings/edge"
)

const patience = 10 * time.Second

// echo sends each message back and tells how connections ended.
type echo struct{ codes chan int }

func (h echo) Message(c *Conn, binary bool, p []byte) error {
	switch {
	case string(p) == "close me":
		return &CloseError{4321, "as you wish"}
	case string(p) == "fail":
		return io.ErrUnexpectedEOF
	case binary:
		c.WriteBinary(p)
	default:
		c.WriteText(p)
	}
	return nil
}

func (h echo) Closed(c *Conn, code int) { h.codes <- code }

// server accepts WebSockets for the handler that it is given.
type server struct {
	*testing.T
	edge  *edge.Edge
	http  *httptest.Server
	conns chan *Conn // those that were accepted
	codes chan int
}

func serve(t *testing.T, o Options, eo edge.Options) *server {
	t.Helper()
	e, err := edge.New(eo)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{T: t, edge: e, conns: make(chan *Conn, 2000), codes: make(chan int, 2000)}
	if o.Handler == nil {
		o.Handler = echo{s.codes}
	}
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := Accept(e, w, r, o); err == nil {
			s.conns <- c
		}
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
		s.http.Close()
		if n := e.Stats().Conns; n != 0 {
			t.Errorf("%d connections are open after the shutdown", n)
		}
	})
	return s
}

// client speaks WebSocket by hand.
type client struct {
	net.Conn
	r *bufio.Reader
	h http.Header // of the response
}

const handshake = "GET /x HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

// dial shakes hands; more are header lines to add, and frames are sent in the same packet.
func (s *server) dial(more string, frames ...byte) *client {
	s.Helper()
	nc, err := net.Dial("tcp", s.http.Listener.Addr().String())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	c := &client{Conn: nc, r: bufio.NewReader(nc)}
	c.send([]byte(handshake+more+"\r\n"), frames)
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		s.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		s.Fatalf("handshake: %s %v", resp.Status, resp.Header)
	}
	c.h = resp.Header
	return c
}

func (c *client) send(bs ...[]byte) { c.Write(bytes.Join(bs, nil)) }

// frame makes a client's frame: masked, with the first byte given.
func frame(first byte, payload string) []byte {
	b := appendHeader(nil, first, len(payload))
	b[1] |= bitMask
	mask := [4]byte{1, 0xfe, 0x37, 0x90}
	b = append(b, mask[:]...)
	n := len(b)
	b = append(b, payload...)
	xor(b[n:], mask, 0)
	return b
}

func text(payload string) []byte { return frame(bitFin|opText, payload) }

// read returns the next frame of the server.
func (c *client) read() (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[1]&bitMask != 0 {
		return 0, nil, fmt.Errorf("the server masks")
	}
	n := int(head[1])
	var ext [8]byte
	switch n {
	case 126:
		_, err = io.ReadFull(c.r, ext[:2])
		n = int(binary.BigEndian.Uint16(ext[:]))
	case 127:
		_, err = io.ReadFull(c.r, ext[:])
		n = int(binary.BigEndian.Uint64(ext[:]))
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.r, payload)
	return head[0], payload, err
}

// words returns the next frame in a few words, such as "text hello" or "close 1002", and "end" for the end.
func (c *client) words() string {
	first, p, err := c.read()
	switch {
	case err == io.EOF:
		return "end"
	case err != nil:
		return err.Error()
	}
	if len(p) > 200 {
		p = fmt.Appendf(nil, "%d bytes", len(p))
	}
	switch first {
	case bitFin | opText:
		return "text " + string(p)
	case bitFin | opBinary:
		return fmt.Sprintf("binary %x", p)
	case bitFin | opPong:
		return "pong " + string(p)
	case bitFin | opPing:
		return "ping " + string(p)
	case bitFin | opClose:
		if len(p) >= 2 {
			return fmt.Sprintf("close %d", binary.BigEndian.Uint16(p))
		}
		return "close"
	case bitFin | bitRSV1 | opText:
		return "deflated"
	}
	return fmt.Sprintf("frame %#x", first)
}

func (c *client) expect(t *testing.T, want ...string) {
	t.Helper()
	for i, w := range want {
		if got := c.words(); got != w {
			t.Fatalf("frame %d: got %q, want %q", i, got, w)
		}
	}
}

// code returns the code that the handler was told.
func (s *server) code() int {
	s.Helper()
	select {
	case c := <-s.codes:
		return c
	case <-time.After(patience):
		s.Fatal("the handler was not told of the end")
		return 0
	}
}

// nonce is a valid key.
func nonce(b byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 16)) }
