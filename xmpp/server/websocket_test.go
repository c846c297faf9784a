package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"tidings/edge"
	"tidings/websocket"
)

// webSocketMode has a client come over WebSocket.
const webSocketMode TLSMode = 99

// mux serves what the server has over HTTP.
func (w *world) mux() http.Handler {
	m := http.NewServeMux()
	m.Handle("/xmpp-websocket", w.s.WebSocket(func(rw http.ResponseWriter, r *http.Request, s Socket) (*edge.Conn, error) {
		c, err := websocket.Accept(w.e, rw, r, websocket.Options{Handler: socket{s}, Name: "xmpp-websocket",
			Subprotocols: []string{Subprotocol}, NeedSubprotocol: true, Origins: []string{"*"}, MaxMessage: s.MaxMessage, Goodbye: s.Goodbye})
		if err != nil {
			return nil, err
		}
		return c.Edge(), nil
	}))
	m.Handle("/.well-known/", w.s.HostMeta("/xmpp-websocket"))
	return m
}

// socket is a Socket as package websocket wants it.
type socket struct{ Socket }

func (s socket) Message(c *websocket.Conn, binary bool, p []byte) error {
	if binary {
		return &websocket.CloseError{Code: websocket.UnsupportedData, Reason: "XMPP is text"}
	}
	s.Socket.Message(c.Edge(), p)
	return nil
}

func (s socket) Closed(c *websocket.Conn, _ int) { s.Socket.Closed(c.Edge()) }

// wsConn makes a WebSocket look like a TCP connection: headers and ends of streams are translated, stanzas get their
// namespace, and what comes is the payloads one after the other.
type wsConn struct {
	net.Conn
	r       *bufio.Reader
	payload []byte
	raw     bool // what is written is sent as it is, a message each
	code    int  // of the close frame
}

func (w *world) dialWebSocket() *client {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.http.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.conns = append(w.conns, nc)
	fmt.Fprintf(nc, "GET /xmpp-websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: foo, xmpp\r\n\r\n")
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Protocol") != "xmpp" {
		w.t.Fatal(resp, err)
	}
	return &client{t: w.t, nc: &wsConn{Conn: nc, r: r}}
}

func (c *wsConn) Read(p []byte) (int, error) {
	for len(c.payload) == 0 {
		head := make([]byte, 2)
		if _, err := io.ReadFull(c.r, head); err != nil {
			return 0, err
		}
		n := int(head[1])
		switch n {
		case 126:
			b := make([]byte, 2)
			if _, err := io.ReadFull(c.r, b); err != nil {
				return 0, err
			}
			n = int(binary.BigEndian.Uint16(b))
		case 127:
			b := make([]byte, 8)
			if _, err := io.ReadFull(c.r, b); err != nil {
				return 0, err
			}
			n = int(binary.BigEndian.Uint64(b))
		}
		payload := make([]byte, n)
		if k, err := io.ReadFull(c.r, payload); err != nil {
			_ = k
			return 0, err
		}
		switch head[0] {
		case 0x81:
			// A message is one element.
			if first, rest := cutStanza(payload); len(rest) > 0 || !bytes.HasSuffix(first, []byte(">")) {
				return 0, fmt.Errorf("a message is %q", payload)
			}
			c.payload = payload
		case 0x88:
			c.code = int(binary.BigEndian.Uint16(payload))
		case 0x89:
		default:
			return 0, fmt.Errorf("a frame begins with %x", head[0])
		}
	}
	n := copy(p, c.payload)
	c.payload = c.payload[n:]
	return n, nil
}

func (c *wsConn) Write(p []byte) (int, error) {
	s := string(p)
	for s != "" {
		var m string
		switch {
		case c.raw:
			m, s = s, ""
		case strings.HasPrefix(s, header):
			m, s = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>", s[len(header):]
		case strings.HasPrefix(s, "</stream:stream>"):
			m, s = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", s[len("</stream:stream>"):]
		default:
			first, rest := cutStanza([]byte(s))
			s = string(rest)
			for _, name := range []string{"message", "presence", "iq"} {
				if after, ok := strings.CutPrefix(string(first), "<"+name); ok {
					first = []byte("<" + name + " xmlns='jabber:client'" + after)
				}
			}
			m = string(first)
		}
		frame := []byte{0x81}
		if n := len(m); n < 126 {
			frame = append(frame, 0x80|byte(n))
		} else if n <= 0xffff {
			frame = append(frame, 0x80|126, byte(n>>8), byte(n))
		} else {
			frame = binary.BigEndian.AppendUint64(append(frame, 0x80|127), uint64(n))
		}
		frame = append(frame, 0, 0, 0, 0) // a mask that changes nothing
		if _, err := c.Conn.Write(append(frame, m...)); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func TestWebSocket(t *testing.T) {
	w := start(t, nil)
	c := w.dial(webSocketMode)
	if f := c.anonymous(); !strings.Contains(f, "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind ") {
		t.Error(f)
	}
	full := c.bind("r")
	c.send("<presence to='pulse.localhost'/>")
	c.expect("<presence xmlns='jabber:client' from='pulse.localhost' to='" + full + "'/>")
	w.pulse.beat(1)
	c.expect("<message xmlns='jabber:client' to='" + full + "' from='pulse.localhost'><body>1</body></message>")
	if st := w.s.Stats(); st.WebSocket != 1 || st.Sessions != 1 {
		t.Errorf("%+v", st)
	}
	c.send("</stream:stream>")
	if s := c.rest(); s != "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>" || c.nc.(*wsConn).code != 1000 {
		t.Errorf("%s %d", s, c.nc.(*wsConn).code)
	}
}
