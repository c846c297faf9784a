package ws_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet/outlettest"
	"tidings/outlet/ws"
)

type world struct {
	*outlettest.World
	*web
}

func newWorld(t *testing.T, o ws.Options) *world {
	t.Helper()
	w := &world{World: outlettest.NewMemory(t, hub.Options{}, edge.Options{})}
	w.web = serve(w.World, o)
	t.Cleanup(w.web.Close)
	return w
}

func (w *world) connect(path string) *conn {
	w.Helper()
	c, _, err := w.dial(path, "", 0)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(c.Close)
	timer := time.AfterFunc(20*time.Second, c.Close)
	w.Cleanup(func() { timer.Stop() })
	return c
}

// expect reads a message of the type.
func (c *conn) expect(t *testing.T, typ string) message {
	t.Helper()
	m, err := c.receive()
	if err != nil || m.Type != typ {
		t.Fatalf("want a message of type %s, got %+v, %v", typ, m, err)
	}
	return m
}

// raw sends a text as it is.
func (c *conn) raw(text string) { c.c.Write(context.Background(), websocket.MessageText, []byte(text)) }

// TestRequests has each request answered, and the connection go on.
func TestRequests(t *testing.T) {
	w := newWorld(t, ws.Options{MaxPatterns: 2, MaxSubscriptions: 3})
	_, token := w.Token("/private/**")
	c := w.connect("/subscribe")
	long := strings.Repeat("x", 65)
	for _, tc := range []struct{ send, typ, about string }{
		{`{"type":"ping","id":"p"}`, "pong", ""},
		{`{"type":"ping"}`, "pong", ""},
		{`{"type":"subscribe","id":"a","topics":["/a"]}`, "subscribed", ""},
		{`{"type":"subscribe","id":"a","topics":["/b","/a"]}`, "subscribed", ""},
		{`{"type":"subscribe","id":"b","topics":["/recentchange/*"],"filter":{"wiki":"enwiki","bot":false,"namespace":[0,1]}}`, "subscribed", ""},
		{`{"type":"subscribe","id":"b","topics":["/x"],"filter":"data.n > 3"}`, "subscribed", ""},
		{`{"type":"subscribe","id":"b","topics":["/x"],"filter":["data.n > 3",{"a":"b"}]}`, "subscribed", ""},
		{`{"type":"subscribe","id":"b","topics":["/x"],"filter":null,"since":"2026-01-31T12:00:00Z"}`, "subscribed", ""},

		{``, "error", "no request"},
		{`x`, "error", "no request"},
		{`[]`, "error", "no request"},
		{`{"type":"subscribe","id":"a"`, "error", "no request"},
		{`{"type":"ping"} {}`, "error", "behind"},
		{`{}`, "error", "none of subscribe"},
		{`{"type":"Subscribe"}`, "error", "none of subscribe"},
		{`{"type":"subscribe","id":"a","topics":["/a"],"filtre":{}}`, "error", "filtre"},
		{`{"type":"subscribe","topics":["/a"]}`, "error", "needs an id"},
		{`{"type":"subscribe","id":"` + long + `","topics":["/a"]}`, "error", "64 bytes"},
		{`{"type":"subscribe","id":"a"}`, "error", "names no topic"},
		{`{"type":"subscribe","id":"a","topics":["/a","/b","/c"]}`, "error", "may name 2"},
		{`{"type":"subscribe","id":"a","topics":["a"]}`, "error", "pattern"},
		{`{"type":"subscribe","id":"a","topics":"/a"}`, "error", "no request"},
		{`{"type":"subscribe","id":"a","topics":["/a"],"filter":"1 +"}`, "error", "column 4"},
		{`{"type":"subscribe","id":"a","topics":["/a"],"filter":7}`, "error", "filter"},
		{`{"type":"subscribe","id":"a","topics":["/a"],"filter":{"a":{}}}`, "error", `"a"`},
		{`{"type":"subscribe","id":"a","topics":["/a"],"filter":{"a":null}}`, "error", `"a"`},
		{`{"type":"subscribe","id":"a","topics":["/a"],"filter":[["x"]]}`, "error", "filter"},
		{`{"type":"subscribe","id":"a","topics":["/a"],"filter":[{"a":1},{"b":1}]}`, "error", "filter"},
		{`{"type":"subscribe","id":"a","topics":["/a"],"filter":{"topic":"/a"}}`, "error", "expression"},
		{`{"type":"subscribe","id":"a","topics":["/a"],"after":"yesterday"}`, "error", "not a position"},
		{`{"type":"subscribe","id":"a","topics":["/a"],"since":"yesterday"}`, "error", "no time"},
		{`{"type":"subscribe","id":"c","topics":["/private/x"]}`, "error", "private"},
		{`{"type":"subscribe","id":"a","topics":["/private/x"]}`, "error", "private"}, // of a change
		{`{"type":"unsubscribe","id":"z"}`, "error", "no subscription"},
		{`{"type":"authenticate","token":"x"}`, "error", ""},
		{`{"type":"authenticate"}`, "error", ""},

		{`{"type":"authenticate","token":"` + token + `"}`, "authenticated", ""},
		{`{"type":"subscribe","id":"c","topics":["/private/x"]}`, "subscribed", ""},
		{`{"type":"subscribe","id":"d","topics":["/a"]}`, "error", "may not have more"},
		{`{"type":"unsubscribe","id":"b"}`, "unsubscribed", ""},
		{`{"type":"subscribe","id":"d","topics":["/a"]}`, "subscribed", ""},
		{`{"type":"unsubscribe","id":"b"}`, "error", "no subscription"},
	} {
		c.raw(tc.send)
		m, err := c.receive()
		if err != nil || m.Type != tc.typ || !strings.Contains(m.Detail, tc.about) {
			t.Errorf("%s: got %+v, %v", tc.send, m, err)
		}
		if m.Type == "error" && (m.Code == "" || m.Status < 400 || m.Detail == "") {
			t.Errorf("%s: got %+v", tc.send, m)
		}
	}
	// What is left in effect: a with its second set of topics, c and d.
	w.Publish("/b", 1, 1)
	w.Publish("/x", 2, 2)
	w.Publish("/private/x", 3, 3)
	for _, topic := range []string{"/b", "/private/x"} {
		if m := c.expect(t, "tidings.publish"); m.Topic != topic {
			t.Errorf("got an event of %s, want %s", m.Topic, topic)
		}
	}
}

// TestResume: a subscription that was ended goes on where it stood, on this connection or another, and one that is
// changed misses nothing and gets nothing twice; what was published before it asked does not come.
func TestResume(t *testing.T) {
	w := newWorld(t, ws.Options{})
	w.Publish("/a", 1, 3)
	w.Publish("/b", 1, 3)
	c := w.connect("/subscribe")
	c.send(map[string]any{"type": "subscribe", "id": "s", "topics": []string{"/a"}})
	c.expect(t, "subscribed")
	w.Publish("/a", 4, 4)
	w.Publish("/b", 4, 4)
	c.expect(t, "tidings.publish")
	c.send(map[string]any{"type": "unsubscribe", "id": "s"})
	at := c.expect(t, "unsubscribed").Position
	w.Publish("/a", 5, 6)
	for _, c := range []*conn{c, w.connect("/subscribe")} {
		c.send(map[string]any{"type": "subscribe", "id": "s", "topics": []string{"/a"}, "after": at})
		if m := c.expect(t, "subscribed"); m.Position != at || m.ID != "s" || fmt.Sprint(m.Topics) != "[/a]" {
			t.Errorf("got %+v", m)
		}
		for n := 5; n <= 6; n++ {
			if m := c.expect(t, "tidings.publish"); string(m.Data) != fmt.Sprintf(`{"n":%d}`, n) {
				t.Errorf("got %s, want %d", m.Data, n)
			}
		}
	}
	w.Publish("/b", 7, 8)
	head := w.Publish("/c", 9, 9)[0]
	if err := w.Hub.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.send(map[string]any{"type": "subscribe", "id": "s", "topics": []string{"/a", "/b"}})
	if m := c.expect(t, "subscribed"); m.Position != head {
		t.Errorf("changed at %s, want %s", m.Position, head)
	}
	w.Publish("/b", 10, 10)
	w.Publish("/a", 11, 11)
	for n := 10; n <= 11; n++ {
		if m := c.expect(t, "tidings.publish"); string(m.Data) != fmt.Sprintf(`{"n":%d}`, n) {
			t.Errorf("got %s, want %d", m.Data, n)
		}
	}
	// Back to the beginning, on the same connection.
	c.send(map[string]any{"type": "subscribe", "id": "s", "topics": []string{"/c", "/b"}, "after": tidings.Position{Epoch: at.Epoch}})
	c.expect(t, "subscribed")
	for _, n := range []int{1, 2, 3, 4, 7, 8, 9, 10} {
		if m := c.expect(t, "tidings.publish"); string(m.Data) != fmt.Sprintf(`{"n":%d}`, n) {
			t.Errorf("got %s, want %d", m.Data, n)
		}
	}
}

// TestChangeWhilePublishing changes a subscription all the time while events are published: each comes once, as all of
// its queries want it.
func TestChangeWhilePublishing(t *testing.T) {
	w := newWorld(t, ws.Options{})
	c := w.connect("/subscribe")
	c.send(map[string]any{"type": "subscribe", "id": "s", "topics": []string{"/a"}})
	c.expect(t, "subscribed")
	const events = 300
	done := make(chan struct{})
	pace := make(chan struct{}, events)
	go func() {
		defer close(done)
		for n := 1; n <= events; n++ {
			w.Publish("/a", n, n)
			if n > 5 {
				<-pace
			}
		}
	}()
	changes, asked, n := 0, 0, 0
	for n < events || changes < asked {
		m, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m.Type {
		case "tidings.publish":
			if n++; string(m.Data) != fmt.Sprintf(`{"n":%d}`, n) {
				t.Fatalf("got %s, want %d, after %d changes", m.Data, n, changes)
			}
			pace <- struct{}{}
			if n%3 == 0 && asked < changes+20 {
				asked++
				c.send(map[string]any{"type": "subscribe", "id": "s", "topics": []string{"/a", fmt.Sprintf("/x%d", n%5)}})
			}
		case "subscribed":
			changes++
		default:
			t.Fatalf("got %+v", m)
		}
	}
	<-done
	if changes == 0 {
		t.Error("nothing was changed")
	}
}

// TestAddress: the query's parameters are those of the streams over HTTP, and refusals come before the handshake.
func TestAddress(t *testing.T) {
	w := newWorld(t, ws.Options{MaxPatterns: 2, Origins: []string{"https://good.example"}})
	at := w.Publish("/a", 1, 5)
	w.Publish("/b", 6, 7)
	for _, tc := range []struct {
		path string
		want []int
	}{
		{"/topics/a?since=" + at[2].String(), []int{4, 5}},
		{"/topics/%2A?since=" + at[3].String(), []int{5, 6, 7}},
		{"/subscribe?topic=/a&topic=/b&lastEventId=" + at[3].String(), []int{5, 6, 7}},
		{"/subscribe?topic=/*&n=2&n=6&since=2020-01-01", []int{2, 6}},
		{"/subscribe?topic=/*&filter=data.n%3E5&since=2020-01-01", []int{6, 7}},
	} {
		c := w.connect(tc.path)
		if m := c.expect(t, "subscribed"); m.ID != "" || len(m.Topics) == 0 || m.Position.Epoch != at[0].Epoch {
			t.Errorf("%s: %+v", tc.path, m)
		}
		for _, n := range tc.want {
			if m := c.expect(t, "tidings.publish"); string(m.Data) != fmt.Sprintf(`{"n":%d}`, n) {
				t.Errorf("%s: got %s, want %d", tc.path, m.Data, n)
			}
		}
		// The address's subscription has no name, and is ended as such.
		c.send(map[string]any{"type": "unsubscribe"})
		c.expect(t, "unsubscribed")
	}
	for path, status := range map[string]int{
		"/topics/a%2Fb": 400, "/topics/[": 400, "/topics/": 400, "/topics/a?since=x": 400, "/topics/a?filter=(": 400, "/subscribe?topic=/a&topic=/b&topic=/c": 400,
		"/topics/private/x": 401,
	} {
		_, resp, err := w.dial(path, "", 0)
		if err == nil || resp == nil || resp.StatusCode != status && !(status == 401 && resp.StatusCode == 403) || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
	}
	for origin, status := range map[string]int{"https://good.example": 101, "https://evil.example": 403} {
		_, resp, _ := websocket.Dial(t.Context(), "ws://"+w.addr+"/subscribe", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
		if resp == nil || resp.StatusCode != status {
			t.Errorf("%s: %v", origin, resp)
		}
	}
}

// TestEarlyMessage: a message that comes together with the handshake finds the address's subscription begun.
func TestEarlyMessage(t *testing.T) {
	w := newWorld(t, ws.Options{})
	at := w.Publish("/a", 1, 1)
	message := `{"type":"unsubscribe"}`
	w.early = string(append([]byte{0x81, 0x80 | byte(len(message)), 0, 0, 0, 0}, message...))
	for range 200 {
		c := w.connect("/topics/a?since=2020-01-01")
		c.expect(t, "subscribed")
		m, err := c.receive()
		if err == nil && m.Type == "tidings.publish" { // it may have come first
			m, err = c.receive()
		}
		if err != nil || m.Type != "unsubscribed" || m.Position.Epoch != at[0].Epoch {
			t.Fatalf("got %+v, %v", m, err)
		}
		c.Close()
	}
}

// TestDeflate: readers with and without compression get the same, and each form is one feed.
func TestDeflate(t *testing.T) {
	w := newWorld(t, ws.Options{})
	var conns []*conn
	for _, mode := range []websocket.CompressionMode{websocket.CompressionDisabled, websocket.CompressionContextTakeover, websocket.CompressionNoContextTakeover} {
		w.mode = mode
		for range 3 {
			c := w.connect("/topics/a")
			c.expect(t, "subscribed")
			conns = append(conns, c)
		}
	}
	if n := w.Hub.Stats().Feeds; n != 2 {
		t.Errorf("%d feeds, want 2", n)
	}
	pad := strings.Repeat("compress me ", 200)
	before := w.Edge.Stats().Bytes
	w.Append(tidings.Event{Topic: "/a", ContentType: "text/plain", Payload: []byte(pad)})
	for _, c := range conns {
		if m := c.expect(t, "tidings.publish"); string(m.Data) != `"`+pad+`"` {
			t.Errorf("got %s", m.Data)
		}
	}
	if n := w.Edge.Stats().Bytes - before; n > uint64(4*len(pad)+6*500) {
		t.Errorf("%d bytes were written", n)
	}
}

// TestHostile: clients that misbehave are answered or closed, and others do not notice.
func TestHostile(t *testing.T) {
	w := newWorld(t, ws.Options{})
	good := w.connect("/topics/a")
	good.expect(t, "subscribed")

	binary := w.connect("/subscribe")
	binary.c.Write(t.Context(), websocket.MessageBinary, []byte("{}"))
	if _, err := binary.receive(); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("binary: %v", err)
	}
	big := w.connect("/subscribe")
	big.raw(strings.Repeat(" ", 33<<10))
	if _, err := big.receive(); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("too big: %v", err)
	}

	// One that asks and does not read: its requests are done as long as it takes the answers, and then it is cut off.
	deaf, _, err := w.dial("/subscribe", "", 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for err == nil {
		err = deaf.c.Write(ctx, websocket.MessageText, []byte(`{"type":"subscribe","id":"`+strings.Repeat("d", 60)+`","topics":["/`+strings.Repeat("t", 200)+`"],"filter":"data.n > 3"}`))
	}
	if ctx.Err() != nil {
		t.Error("a client that never reads was not cut off")
	}

	// A thousand that say nothing.
	var idle []net.Conn
	for range 1000 {
		nc, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		io.WriteString(nc, "GET /topics/a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
		idle = append(idle, nc)
	}
	one := make([]byte, 1)
	for _, nc := range idle {
		if _, err := io.ReadFull(nc, one); err != nil {
			t.Fatal(err)
		}
	}
	w.Publish("/a", 1, 100)
	for n := 1; n <= 100; n++ {
		if m := good.expect(t, "tidings.publish"); string(m.Data) != fmt.Sprintf(`{"n":%d}`, n) {
			t.Fatalf("got %s, want %d", m.Data, n)
		}
	}
}
