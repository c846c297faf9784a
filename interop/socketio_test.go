//go:build interop && linux

package interop_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

// socketIO4 reads /rc with socket.io-client 4 on the transports.
func socketIO4(transports string) func(t *testing.T, base string) <-chan string {
	return func(t *testing.T, base string) <-chan string {
		return run(t, exec.Command("node", "node/socketio4.mjs", base, transports))
	}
}

// post publishes a JSON payload.
func (s *server) post(t *testing.T, topic, payload string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/topics"+topic, bytes.NewReader([]byte(payload)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.admin())
	req.Header.Set("Content-Type", "application/json")
	resp, err := visitor.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("publishing: %s", resp.Status)
	}
}

// TestSocketIO4: what socket.io-client 4 does beside reading, on each transport and with the upgrade.
func TestSocketIO4(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ transports, last string }{{"websocket", "websocket"}, {"polling", "polling"}, {"polling,websocket", "websocket"}} {
		t.Run(tc.transports, func(t *testing.T) {
			need(t, "socket.io-client 4 from npm", nodeModules())
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			s := newServer(t, "[access]\nprivate = [\"/private/**\"]\n")
			lines := &follower{lines: run(t, exec.Command("node", "node/socketio4-once.mjs", s.url, tc.transports, s.token("read:/private/**")))}
			expect := func(wants ...string) {
				t.Helper()
				for _, want := range wants {
					if line, err := lines.line(ctx); line != want {
						t.Fatalf("it says %q, %v; want %q", line, err, want)
					}
				}
			}
			expect("transport "+tc.last, `subscribed ["/a","/b"]`, `filtered ["/a","/b"]`, "refused unauthenticated", "unknown not-found", "binary invalid",
				`unsubscribed ["/a"]`, `rc ["*"]`, "nowhere Invalid namespace", `known ["/private/a"]`, "stranger Not authenticated unauthenticated", "ready")
			s.post(t, "/a", `{"n":3}`)
			s.post(t, "/b", `{"n":4}`)
			for n := 5; n < 30; n++ {
				s.post(t, "/a", fmt.Sprintf(`{"n":%d}`, n))
				expect(fmt.Sprintf(`event /a {"n":%d}`, n))
			}
			s.post(t, "/private/a", `{"secret":true}`)
			expect(`private {"secret":true}`)
		})
	}
}
