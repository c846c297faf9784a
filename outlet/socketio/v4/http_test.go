package v4

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tidings/edge"
	"tidings/outlet/outlettest"
)

// TestHTTP: the answers to requests that are none of a session are those of the reference server.
func TestHTTP(t *testing.T) {
	w := newWorld(t, Options{Origins: []string{"https://good.example"}, MaxPolling: 5, Log: slog.New(slog.DiscardHandler)})
	known := w.start(t, overPolls)
	sid := known.url[strings.Index(known.url, "&sid=")+5:]
	for _, tc := range []struct {
		name, method, query string
		header              string // to send
		status              int
		body                string // that the answer has
		got                 string // a header that it has
	}{
		{"handshake", "GET", "EIO=4&transport=polling", "", 200, `0{"sid":"`, "Content-Type: text/plain; charset=UTF-8"},
		{"timestamp", "GET", "EIO=4&transport=polling&t=x1", "", 200, `"maxPayload":65536}`, "Cache-Control: no-store"},
		{"no version", "GET", "transport=polling", "", 400, `"code":5,"message":"Unsupported protocol version"`, "Content-Type: application/json"},
		{"version 3", "GET", "EIO=3&transport=polling", "", 400, `"code":5`, ""},
		{"no transport", "GET", "EIO=4", "", 400, `"code":0,"message":"Transport unknown"`, ""},
		{"another transport", "GET", "EIO=4&transport=flashsocket", "", 400, `"code":0`, ""},
		{"unknown session", "GET", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", "", 400, `"code":1,"message":"Session ID unknown"`, ""},
		{"no session", "GET", "EIO=4&transport=polling&sid=../x", "", 400, `"code":1`, ""},
		{"post without a session", "POST", "EIO=4&transport=polling", "", 400, `"code":2,"message":"Bad handshake method"`, ""},
		{"put", "PUT", "EIO=4&transport=polling&sid=" + sid, "", 400, `"code":2`, ""},
		{"post to a WebSocket", "POST", "EIO=4&transport=websocket&sid=" + sid, "", 400, `"code":2`, ""},
		{"a WebSocket without an upgrade", "GET", "EIO=4&transport=websocket", "", 400, `"code":3,"message":"Bad request"`, ""},
		{"good origin", "GET", "EIO=4&transport=polling", "Origin: https://good.example", 200, `0{"sid":"`, "Access-Control-Allow-Origin: https://good.example"},
		{"credentials", "GET", "EIO=4&transport=polling", "Origin: https://good.example", 200, `0{"sid":"`, "Access-Control-Allow-Credentials: true"},
		{"bad origin", "GET", "EIO=4&transport=polling", "Origin: https://evil.example", 403, `"code":4`, ""},
		{"preflight", "OPTIONS", "EIO=4&transport=polling", "Origin: https://good.example", 204, "", "Access-Control-Allow-Methods: GET, POST, OPTIONS"},
		{"bad token", "GET", "EIO=4&transport=polling", "Authorization: Bearer x", 403, `"code":4`, ""},
		{"too many sessions", "GET", "EIO=4&transport=polling", "", 503, `too many sessions`, "Retry-After: 10"},
	} {
		req, err := http.NewRequest(tc.method, "http://"+w.addr+"/socket.io/?"+tc.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name, value, ok := strings.Cut(tc.header, ": "); ok {
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		var head strings.Builder
		resp.Header.Write(&head)
		if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.body) || !strings.Contains(head.String(), tc.got) {
			t.Errorf("%s: %s\n%s\n%s", tc.name, resp.Status, head.String(), b)
		}
		if tc.status >= 400 && !json.Valid(b) {
			t.Errorf("%s: %s is no JSON", tc.name, b)
		}
	}
}

// polls returns a function that waits for what it is given: 1, a poll waits in the edge, or -1, its connection is closed. What
// is published has to be drained before a poll that is to be answered at once.
func (w *world) polls() func(n int) {
	waits := make(chan int, 100)
	w.waits = waits
	return func(want int) {
		w.Helper()
		select {
		case n := <-waits:
			if n != want {
				w.Fatalf("polls: %d, want %d", n, want)
			}
		case <-time.After(20 * time.Second):
			w.Fatalf("no poll: want %d", want)
		}
	}
}

// publish publishes what the next poll is to find.
func (w *world) publish(topic string, n int) {
	w.Helper()
	w.Publish(topic, n, n)
	if err := w.Hub.Drain(context.Background()); err != nil {
		w.Fatal(err)
	}
}

// TestPolls: what the reference server does with polls that are out of order.
func TestPolls(t *testing.T) {
	w := newWorld(t, Options{MaxPayload: 1000, Log: slog.New(slog.DiscardHandler)})
	get := func(e *engine) chan string {
		got := make(chan string, 1)
		go func() {
			b, err := e.do(http.MethodGet, "")
			if err != nil {
				b = err.Error()
			}
			got <- b
		}()
		return got
	}
	polls := w.polls()

	// A poll that waits gives way to packets of the client; the next one brings the answer.
	e := w.start(t, overPolls)
	first := get(e)
	polls(1)
	e.send("40")
	if p := <-first; p != "6" {
		t.Errorf("got %q", p)
	}
	polls(-1)
	e.expect(t, connected)
	e.send(`42["subscribe","/a"]`, `420["subscribe","/b"]`)
	e.expect(t, `42\["subscribed".*`, `42\["subscribed".*`, `430.*`)
	first = get(e)
	polls(1)
	w.Publish("/a", 1, 3) // in one batch
	if p := <-first; strings.Count(p, "\x1e") != 2 || !strings.Contains(p, `{"n":3}`) {
		t.Errorf("got %q", p)
	}
	polls(-1)

	// A change while a poll waits.
	first = get(e)
	polls(1)
	e.send(`42["unsubscribe","/a"]`)
	if p := <-first; p != "6" {
		t.Errorf("got %q", p)
	}
	polls(-1)
	e.expect(t, `42\["subscribed".*`)
	w.publish("/a", 4)
	w.publish("/b", 5)
	e.expect(t, `42\["event",.*\{"n":5\}.*`)

	// A client whose poll is cut and who polls again is not disturbed; nor is one that says something behind a poll.
	_, query, _ := strings.Cut(e.url, "?")
	for n, more := range []string{"", "GET / HTTP/1.1\r\n\r\n"} {
		nc, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		fmt.Fprintf(nc, "GET /socket.io/?%s&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n", query)
		polls(1)
		if more == "" {
			nc.Close()
		} else {
			io.WriteString(nc, more)
		}
		polls(-1)
		w.publish("/b", 6+n)
		e.expect(t, fmt.Sprintf(`42\["event",.*\{"n":%d\}.*`, 6+n))
	}
	if n := w.Edge.Stats().Closed[errPollInput.Error()]; n != 1 {
		t.Errorf("closed: %v", w.Edge.Stats().Closed)
	}

	// Two polls at once end the session.
	first = get(e)
	polls(1)
	if p := <-get(e); !strings.Contains(p, "400") {
		t.Errorf("the second poll got %q", p)
	}
	if p := <-first; p != "1" {
		t.Errorf("the first poll got %q", p)
	}
	polls(-1)
	if p := <-get(e); !strings.Contains(p, "Session ID unknown") {
		t.Errorf("got %q", p)
	}

	// Too big a body, and too many packets.
	e = w.start(t, overPolls)
	if err := e.send(strings.Repeat("x", 1001)); err == nil || !strings.Contains(err.Error(), "413") {
		t.Errorf("got %v", err)
	}
	e = w.start(t, overPolls)
	e.send(strings.TrimSuffix(strings.Repeat("6\x1e", 100), "\x1e"))
	if p := <-get(e); !strings.Contains(p, "Session ID unknown") {
		t.Errorf("got %q", p)
	}
	st := w.Stats()
	if st.Ended["poll-overlap"] != 1 || st.Ended["payload-too-big"] != 1 || st.Ended["too-many-packets"] != 1 || st.Sessions != 0 || st.Polling != 0 {
		t.Errorf("%+v", st)
	}
}

// TestHostile: clients that misbehave together do not disturb one that does not.
func TestHostile(t *testing.T) {
	w := newWorld(t, Options{Log: slog.New(slog.DiscardHandler)})
	good := w.start(t, overSocket)
	good.send("40", `42["subscribe","/a"]`)
	good.expect(t, connected, `42\["subscribed".*`)
	n := 0
	still := func(what string) {
		t.Helper()
		n++
		w.Publish("/a", n, n)
		good.expect(t, fmt.Sprintf(`42\["event",.*\{"n":%d\}.*`, n))
		_ = what
	}
	const upgrade = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	raw := func(s string) net.Conn {
		t.Helper()
		nc, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(nc, s)
		return nc
	}
	for i := range 200 {
		raw(upgrade[:i%len(upgrade)]) // half-open handshakes
	}
	still("half-open")
	for range 1000 { // that say nothing behind a whole one
		if line, err := bufio.NewReader(raw(upgrade)).ReadString('\n'); err != nil || !strings.Contains(line, "101") {
			t.Fatal(line, err)
		}
	}
	still("silent")
	for range 300 { // sessions without a poll
		e, err := w.open(overPolls, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		e.Close()
	}
	still("handshakes")
	known := w.start(t, overPolls)
	_, query, _ := strings.Cut(known.url, "?")
	slow := raw("POST /socket.io/?" + query + "&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
	for range 10 { // a byte at a time
		io.WriteString(slow, "4")
		still("slow")
	}
	slow.Close()

	// One that asks without end and never reads.
	deaf, err := w.open(overSocket, 4096, "")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	for err = deaf.send("40"); err == nil; {
		err = deaf.send(`420["subscribe","/` + strings.Repeat("t", 200) + `"]`)
	}
	still("deaf")

	// Upgrades of one session by several WebSockets, of which one succeeds.
	var wires []*engine
	for range 4 {
		x := &engine{http: outlettest.Client(0), url: known.url, ctx: known.ctx, cancel: known.cancel}
		if err := x.dial(nil); err == nil {
			wires = append(wires, x)
			x.send("2probe", "5", "40")
		}
	}
	won := 0
	for _, x := range wires {
		if p, err := x.next(); err == nil && p == "3probe" {
			if p, err = x.next(); err == nil && strings.HasPrefix(p, "40{") {
				won++
			}
		}
	}
	if won > 1 {
		t.Errorf("%d WebSockets have the session", won)
	}
	still("upgrades")
	if w.Edge.Stats().Closed[edge.ReasonQueue]+w.Edge.Stats().Closed["websocket-policy"]+w.Edge.Stats().Closed[edge.ReasonPeer] == 0 {
		t.Errorf("closed: %v", w.Edge.Stats().Closed)
	}
}

// TestPollsOverTLS: a poll that waits has goroutines of its own there.
func TestPollsOverTLS(t *testing.T) {
	w := newWorld(t, Options{Log: slog.New(slog.DiscardHandler)})
	polls := w.polls()
	srv := httptest.NewTLSServer(w.Server)
	defer srv.Close()
	do := func(method, query, body string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+"/socket.io/?EIO=4&transport=polling"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	var open struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(do("GET", "", ""), "0")), &open); err != nil {
		t.Fatal(err)
	}
	sid := "&sid=" + open.SID
	do("POST", sid, "40\x1e42[\"subscribe\",\"/a\"]")
	if p := do("GET", sid, ""); !strings.HasPrefix(p, "40{") {
		t.Fatalf("got %q", p)
	}
	for n := 1; n <= 5; n++ {
		got := make(chan string, 1)
		go func() { got <- do("GET", sid, "") }()
		polls(1)
		w.Publish("/a", n, n)
		if p := <-got; !strings.Contains(p, fmt.Sprintf(`{"n":%d}`, n)) {
			t.Fatalf("got %q, want event %d", p, n)
		}
		polls(-1)
	}
	got := make(chan string, 1)
	go func() { got <- do("GET", sid, "") }()
	polls(1)
	do("POST", sid, `42["unsubscribe"]`)
	if p := <-got; p != "6" {
		t.Errorf("got %q", p)
	}
	if p := do("GET", sid, ""); !strings.Contains(p, `"subscribed"`) {
		t.Errorf("got %q", p)
	}
}
