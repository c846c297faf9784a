package websocket

import (
	"bytes"
	"compress/flate"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"tidings/edge"
)

// deflated returns the payload of a compressed message.
func deflated(t testing.TB, s string, flush bool) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(s))
	if !flush { // a last block, which RFC 7692 section 7.2.3.4 allows, and the byte that follows it
		w.Close()
		return b.String() + "\x00"
	}
	w.Flush()
	return strings.TrimSuffix(b.String(), tail)
}

const offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

func TestDeflate(t *testing.T) {
	s := serve(t, Options{MaxMessage: 1 << 20}, edge.Options{})
	const compressed = bitFin | bitRSV1 | opText
	long := deflated(t, strings.Repeat("hello ", 1000), true)
	for _, tc := range []struct {
		name string
		send []byte
		want string
	}{
		{"RFC 7692, 7.2.3.1", frame(compressed, "\xf2\x48\xcd\xc9\xc9\x07\x00"), "text Hello"},
		{"RFC 7692, 7.2.3.3: a block without compression", frame(compressed, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), "text Hello"},
		{"RFC 7692, 7.2.3.4: a last block", frame(compressed, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), "text Hello"},
		{"RFC 7692, 7.2.3.5: two blocks", frame(compressed, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), "text Hello"},
		{"empty", frame(compressed, "\x00"), "text "},
		{"not compressed after all", text("plain"), "text plain"},
		{"fragments", join(frame(bitRSV1|opText, long[:5]), frame(bitFin|opPing, "p"), frame(0, long[5:6]), frame(bitFin, long[6:])), "pong p|text 6000 bytes"},
		{"two messages", join(frame(compressed, deflated(t, "a", true)), frame(compressed, deflated(t, "b", false))), "text a|text b"},
		{"rsv1 on a continuation", join(frame(bitRSV1|opText, long[:5]), frame(bitFin|bitRSV1, long[5:])), "close 1002"},
		{"rsv1 on a ping", frame(bitFin|bitRSV1|opPing, ""), "close 1002"},
		{"rubbish", frame(compressed, "\xff\xff\xff\xff"), "close 1007"},
		{"cut short", frame(compressed, long[:len(long)-3]), "close 1007"},
		{"not UTF-8", frame(compressed, deflated(t, "\xff", true)), "close 1007"},
		{"a bomb", frame(compressed, deflated(t, strings.Repeat("\x00", 32<<20), true)), "close 1009"},
		{"as large as may be", frame(compressed, deflated(t, strings.Repeat("x", 1<<20), true)), "text 1048576 bytes"},
		{"a byte too large", frame(compressed, deflated(t, strings.Repeat("x", 1<<20+1), true)), "close 1009"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := s.dial(offer)
			if got := c.h.Get("Sec-WebSocket-Extensions"); got != "permessage-deflate; server_no_context_takeover; client_no_context_takeover" {
				t.Fatalf("agreed on %q", got)
			}
			c.send(tc.send)
			c.expect(t, strings.Split(tc.want, "|")...)
		})
	}
}

// TestAppendDeflated: a frame says the same to everyone, whatever they got before; incompressible ones are not made
// longer.
func TestAppendDeflated(t *testing.T) {
	long := strings.Repeat(`{"type":"edit","wiki":"enwiki"},`, 100)
	b := AppendDeflated([]byte("x"), []byte(long))
	if !bytes.Equal(b[1:], AppendDeflated(nil, []byte(long))) || len(b) > len(long)/4 {
		t.Errorf("%d bytes of %d, or not the same twice", len(b), len(long))
	}
	if b := AppendDeflated(nil, []byte("q7")); !bytes.Equal(b, AppendText(nil, []byte("q7"))) {
		t.Errorf("a short text became %x", b)
	}
}

// TestPeer talks to another implementation, with and without compression.
func TestPeer(t *testing.T) {
	s := serve(t, Options{MaxMessage: 1 << 20, Subprotocols: []string{"b", "a"}}, edge.Options{MaxQueue: 1 << 22})
	for name, mode := range map[string]websocket.CompressionMode{"plain": websocket.CompressionDisabled, "takeover": websocket.CompressionContextTakeover, "no-takeover": websocket.CompressionNoContextTakeover} {
		t.Run(name, func(t *testing.T) {
			c, _, err := websocket.Dial(t.Context(), strings.Replace(s.http.URL, "http", "ws", 1), &websocket.DialOptions{CompressionMode: mode, CompressionThreshold: 1, Subprotocols: []string{"a", "b"}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
			c.SetReadLimit(1 << 21)
			conn := <-s.conns
			if c.Subprotocol() != "b" || conn.Subprotocol() != "b" {
				t.Errorf("subprotocols %q and %q", c.Subprotocol(), conn.Subprotocol())
			}
			if conn.Deflate() != (mode != websocket.CompressionDisabled) {
				t.Errorf("Deflate is %t", conn.Deflate())
			}
			for _, n := range []int{0, 1, 125, 126, 1000, 70000, 1 << 20} {
				want := strings.Repeat("é€𝄞x", n/10+1)[:0] + strings.Repeat("y", n)
				if err := c.Write(t.Context(), websocket.MessageText, []byte(want)); err != nil {
					t.Fatal(err)
				}
				typ, got, err := c.Read(t.Context())
				if err != nil || typ != websocket.MessageText || string(got) != want {
					t.Fatalf("%d bytes came back as %d of type %v, %v", len(want), len(got), typ, err)
				}
				if conn.Deflate() {
					conn.Write(AppendDeflated(nil, []byte(want)))
					if _, got, err = c.Read(t.Context()); err != nil || string(got) != want {
						t.Fatalf("%d bytes, deflated, came as %d, %v", len(want), len(got), err)
					}
				}
			}
			reading := c.CloseRead(t.Context()) // answers pings
			if err := c.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			_ = reading
			if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
				t.Error(err)
			}
			if got := s.code(); got != NormalClosure {
				t.Errorf("told the code %d", got)
			}
		})
	}
}

func BenchmarkAppendDeflated(b *testing.B) {
	payload := []byte(strings.Repeat(`{"$schema":"/mediawiki/recentchange/1.0.1","meta":{"uri":"https://en.wikipedia.org/wiki/Foo","id":"3b5a1c0e-7d2f","domain":"en.wikipedia.org"}},`, 6))
	var dst []byte
	for b.Loop() {
		dst = AppendDeflated(dst[:0], payload)
	}
	b.ReportMetric(float64(len(dst))/float64(len(payload)), "ratio")
}

// TestTLS: over TLS, where each connection has goroutines of its own.
func TestTLS(t *testing.T) {
	e, err := edge.New(edge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	codes := make(chan int, 1)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Accept(e, w, r, Options{Handler: echo{codes}})
	}))
	defer srv.Close()
	c, _, err := websocket.Dial(t.Context(), strings.Replace(srv.URL, "http", "ws", 1), &websocket.DialOptions{HTTPClient: srv.Client(), CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for range 3 {
		if err := c.Write(t.Context(), websocket.MessageText, []byte("over TLS")); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); string(got) != "over TLS" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	done := make(chan error)
	go func() { done <- e.Shutdown(context.Background()) }()
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("got %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := <-codes; got != Abnormal {
		t.Errorf("told the code %d", got)
	}
}
