package server

import (
	"bytes"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"tidings/internal/transcript"
	"tidings/xmpp/xmlstream"
)

// TestTranscripts runs testdata/*.txt. Each line of the server is one element, or the header or the end of the stream. Beside
// the directives of package transcript they have
//
//	! mode plain|starttls|tls|websocket|remote   of connections from now on; remote is plain and not on loopback
//	! tls        the handshake, on the connection opened last
//	! beat N     the service pulse.localhost appends N messages to its flow
//	! revoke     and lets nobody read it any more
//	! waiting    waits until the sessions with stream management wait for their resumption
//	! ended      waits until those that have been closed are over
//	! expire     lets those that wait wait no longer
//	! stop       the server stops
//
// {{open}} is the client's header and {{close}} the end of a stream.
func TestTranscripts(t *testing.T) {
	transcript.Files(t, "testdata/*.txt", func(t *testing.T) *transcript.Runner {
		t.Parallel()
		w := start(t, nil)
		mode, far := NoTLS, false
		var last *elements
		return &transcript.Runner{
			Vars: map[string]string{"open": header, "close": "</stream:stream>", "password": b64("\x00alice\x00alice"), "wrong": b64("\x00nobody\x00x")},
			Dial: func() (net.Conn, error) {
				c := w.dial(mode)
				if far {
					c = w.dialFar()
				}
				if ws, ok := c.nc.(*wsConn); ok {
					ws.raw = true
					return &messages{Conn: ws}, nil
				}
				last = &elements{Conn: c.nc}
				return last, nil
			},
			Do: map[string]func(map[string]string, string) error{
				"mode": func(_ map[string]string, name string) error {
					mode = map[string]TLSMode{"plain": NoTLS, "remote": NoTLS, "starttls": StartTLS, "tls": DirectTLS, "websocket": webSocketMode}[name]
					far = name == "remote"
					return nil
				},
				"tls": func(map[string]string, string) error {
					tc := tls.Client(last.Conn, w.client)
					tc.SetDeadline(time.Now().Add(patient))
					last.Conn, last.scan = tc, xmlstream.Scanner{}
					return tc.Handshake()
				},
				"beat":    func(_ map[string]string, n string) error { w.pulse.beat(atoi(n)); return nil },
				"revoke":  func(map[string]string, string) error { w.pulse.revoke(); return nil },
				"waiting": func(map[string]string, string) error { w.settle(); return nil },
				"ended":   func(map[string]string, string) error { w.ended(); return nil },
				"expire": func(map[string]string, string) error {
					for _, x := range w.s.waiting(func(*Session) bool { return true }) {
						x.finish()
					}
					return nil
				},
				"stop": func(map[string]string, string) error { w.stop(); return nil },
			},
		}
	})
}

func atoi(s string) (n int) {
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

// elements is a connection whose Read gives a line for each element.
type elements struct {
	net.Conn
	scan   xmlstream.Scanner
	opened bool
	queue  []byte // received and not scanned
	lines  []byte
}

var declaration = []byte("<?xml version='1.0'?>")

func (c *elements) Read(p []byte) (int, error) {
	for len(c.lines) == 0 {
		kind, raw, err := c.scan.Next()
		switch {
		case err != nil:
			return 0, err
		case kind != xmlstream.None:
			c.opened = c.opened || kind == xmlstream.Open
			c.lines = append(bytes.Clone(raw), "\r\n"...)
			continue
		case len(c.queue) > 0:
			next := c.queue
			if i := bytes.Index(c.queue, declaration); i > 0 {
				next = c.queue[:i]
			} else if i == 0 && c.opened { // the stream after SASL
				c.scan, c.opened = xmlstream.Scanner{}, false
			}
			if i := bytes.Index(next[1:], declaration); i >= 0 {
				next = next[:i+1]
			}
			c.queue = c.queue[len(next):]
			c.scan.Feed(next)
			continue
		}
		buf := make([]byte, 4096)
		n, err := c.Conn.Read(buf)
		if n == 0 && err != nil {
			return 0, err
		}
		c.queue = buf[:n]
	}
	n := copy(p, c.lines)
	c.lines = c.lines[n:]
	return n, nil
}

// messages is a WebSocket whose Read gives a line for each message, and whose Write takes lines.
type messages struct {
	net.Conn
	line []byte
}

func (c *messages) Read(p []byte) (int, error) {
	if len(c.line) == 0 {
		buf := make([]byte, 64<<10)
		n, err := c.Conn.Read(buf)
		if err != nil {
			return 0, err
		}
		c.line = append(buf[:n], "\r\n"...)
	}
	n := copy(p, c.line)
	c.line = c.line[n:]
	return n, nil
}

func (c *messages) Write(p []byte) (int, error) {
	_, err := c.Conn.Write(bytes.TrimSpace(p))
	return len(p), err
}
