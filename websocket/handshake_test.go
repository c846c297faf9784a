package websocket

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tidings/edge"
)

// TestHandshakeRefused: what is no handshake gets a problem before anything is upgraded.
func TestHandshakeRefused(t *testing.T) {
	s := serve(t, Options{Origins: []string{"https://good.example"}, Subprotocols: []string{"xmpp"}, NeedSubprotocol: true}, edge.Options{})
	good := map[string]string{"Host": "example.org", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": nonce(1), "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "xmpp"}
	for _, tc := range []struct {
		name, line string
		change     map[string]string
		status     int
		header     string // that the response has
	}{
		{"ok", "", nil, 101, "Sec-Websocket-Protocol: xmpp"},
		{"no upgrade", "", map[string]string{"Upgrade": "", "Connection": "keep-alive"}, 426, "Upgrade: websocket"},
		{"another protocol", "", map[string]string{"Upgrade": "h2c"}, 426, "Connection: Upgrade"},
		{"connection without upgrade", "", map[string]string{"Connection": "close"}, 426, "Upgrade: websocket"},
		{"no version", "", map[string]string{"Sec-WebSocket-Version": ""}, 426, "Sec-Websocket-Version: 13"},
		{"old version", "", map[string]string{"Sec-WebSocket-Version": "8"}, 426, "Sec-Websocket-Version: 13"},
		{"two versions", "", map[string]string{"Sec-WebSocket-Version": "13\r\nSec-WebSocket-Version: 8"}, 426, "Sec-Websocket-Version: 13"},
		{"no key", "", map[string]string{"Sec-WebSocket-Key": ""}, 400, ""},
		{"two keys", "", map[string]string{"Sec-WebSocket-Key": nonce(1) + "\r\nSec-WebSocket-Key: " + nonce(2)}, 400, ""},
		{"short key", "", map[string]string{"Sec-WebSocket-Key": "aGVsbG8="}, 400, ""},
		{"key no base64", "", map[string]string{"Sec-WebSocket-Key": "????????????????????????"}, 400, ""},
		{"body", "", map[string]string{"Content-Length": "3"}, 400, ""},
		{"post", "POST / HTTP/1.1", nil, 405, "Allow: GET"},
		{"http 1.0", "GET / HTTP/1.0", nil, 400, ""},
		{"bad origin", "", map[string]string{"Origin": "https://evil.example"}, 403, ""},
		{"origin null", "", map[string]string{"Origin": "null"}, 403, ""},
		{"same host", "", map[string]string{"Origin": "http://example.org"}, 101, ""},
		{"good origin", "", map[string]string{"Origin": "https://good.example"}, 101, ""},
		{"no subprotocol", "", map[string]string{"Sec-WebSocket-Protocol": "chat"}, 400, ""},
		{"one of several subprotocols", "", map[string]string{"Sec-WebSocket-Protocol": "chat, xmpp"}, 101, "Sec-Websocket-Protocol: xmpp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc, err := net.Dial("tcp", s.http.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(patience))
			line := tc.line
			if line == "" {
				line = "GET / HTTP/1.1"
			}
			req := line + "\r\n"
			for name, v := range good {
				if c, ok := tc.change[name]; ok {
					v = c
				}
				if v != "" {
					req += name + ": " + v + "\r\n"
				}
			}
			for name, v := range tc.change {
				if _, ok := good[name]; !ok {
					req += name + ": " + v + "\r\n"
				}
			}
			req += "\r\n"
			if tc.name == "body" {
				req += "xyz"
			}
			if _, err := nc.Write([]byte(req)); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.status {
				t.Fatalf("status %d, want %d", resp.StatusCode, tc.status)
			}
			var head strings.Builder
			resp.Header.Write(&head)
			if !strings.Contains(head.String(), tc.header) {
				t.Errorf("want %q in\n%s", tc.header, head.String())
			}
			if tc.status == 101 {
				return
			}
			var p struct {
				Status int
				Detail string
			}
			if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Status != tc.status || p.Detail == "" {
				t.Errorf("problem %+v, %v", p, err)
			}
			if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type: %s", ct)
			}
		})
	}
}

func TestNegotiateDeflate(t *testing.T) {
	const both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, tc := range []struct{ offer, want string }{
		{"", ""},
		{"permessage-deflate", both},
		{"permessage-deflate; client_max_window_bits", both}, // Chrome, Firefox
		{"permessage-deflate; client_max_window_bits=10", both},
		{"Permessage-Deflate;server_no_context_takeover ; client_no_context_takeover", both},
		{"permessage-deflate; server_max_window_bits=15", both + "; server_max_window_bits=15"},
		{`permessage-deflate; server_max_window_bits="15"`, both + "; server_max_window_bits=15"},
		{"permessage-deflate; server_max_window_bits=10", ""},
		{"permessage-deflate; server_max_window_bits=10, permessage-deflate", both},
		{"x-webkit-deflate-frame, permessage-deflate", both},
		{"permessage-deflate; server_max_window_bits", ""},
		{"permessage-deflate; client_max_window_bits=16", ""},
		{"permessage-deflate; client_max_window_bits=07", ""},
		{"permessage-deflate; client_max_window_bits; client_max_window_bits", ""},
		{"permessage-deflate; server_no_context_takeover=1", ""},
		{"permessage-deflate; unknown", ""},
		{"permessage-deflate; ", ""},
		{"permessage-bzip2", ""},
	} {
		if got := negotiateDeflate([]string{tc.offer}); got != tc.want {
			t.Errorf("%q: got %q, want %q", tc.offer, got, tc.want)
		}
	}
}
