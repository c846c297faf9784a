package v09

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	wsclient "github.com/coder/websocket"

	"tidings"
	"tidings/internal/transcript"
	"tidings/outlet/outlettest"
	"tidings/outlet/socketio"
	"tidings/websocket"
)

// raw sends text on a connection of its own.
func (f *fixture) raw(t *testing.T, text string) *net.TCPConn {
	t.Helper()
	nc, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(transcript.Patience))
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
	return nc.(*net.TCPConn)
}

// poller returns a session that polls and has subscribed to everything.
func (f *fixture) poller(t *testing.T) *pollWire {
	t.Helper()
	f.polling = true
	x, err := f.connect(0, "")
	if err != nil {
		t.Fatal(err)
	}
	p := x.(*pollWire)
	t.Cleanup(p.close)
	if err := p.send(`5:1+:/rc:{"name":"subscribe","args":["*"]}`); err != nil {
		t.Fatal(err)
	}
	if pkt, err := p.next(); !strings.HasPrefix(pkt, "6::/rc:1+") {
		t.Fatalf("got %q, %v", pkt, err)
	}
	return p
}

func (f *fixture) happens(t *testing.T, title string) {
	t.Helper()
	if err := f.script.Event(map[string]string{}, changeOf(title, "en.wikipedia.org", "enwiki")); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) get(path string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, f.addr)
}

// TestAnswerThatNobodyReads: a client that gives up a poll while the answer is on its way gets it with the next one, and a client
// that resets every connection does not get the same for ever.
func TestAnswerThatNobodyReads(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	p := f.poller(t)
	path := strings.TrimPrefix(p.url, "http://"+f.addr)
	f.must(t, f.polls(nil, "0"))
	reset := func() {
		t.Helper()
		nc := f.raw(t, f.get(path))
		var b [1]byte
		if _, err := nc.Read(b[:]); err != nil { // the answer is here, and unread
			t.Fatal(err)
		}
		nc.SetLinger(0)
		nc.Close()
		f.must(t, f.polls(nil, "0"))
	}
	expect := func(title string) {
		t.Helper()
		if pkt, err := p.next(); err != nil || !strings.Contains(pkt, `"title":"`+title+`"`) {
			t.Fatalf("want %s, got %q, %v", title, pkt, err)
		}
	}
	f.happens(t, "One")
	reset()
	f.must(t, p.send(`5:2+:/rc:{"name":"unsubscribe","args":["x"]}`)) // what waits meanwhile comes behind it
	f.happens(t, "Two")
	var got []string
	for range 3 {
		pkt, err := p.next()
		f.must(t, err)
		got = append(got, pkt)
	}
	if !strings.HasPrefix(got[0], "6::/rc:2+") || !strings.Contains(got[1], "One") || !strings.Contains(got[2], "Two") {
		t.Fatalf("got %q", got)
	}
	f.happens(t, "Three")
	for range 1 + maxRepeats {
		reset()
	}
	f.happens(t, "Four")
	expect("Four")
}

// TestAbortedPollsLoseNothing aborts polls at random moments, as Python's client does with its timeout, while changes happen.
func TestAbortedPollsLoseNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	p := f.poller(t)
	path := strings.TrimPrefix(p.url, "http://"+f.addr)
	const changes = 150
	aborted, repeated := 0, 0
	// poll returns what an answer says, or nothing where it did not come within the time.
	poll := func(patience time.Duration) []string {
		nc := f.raw(t, f.get(path))
		defer nc.Close()
		nc.SetReadDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(bufio.NewReaderSize(nc, 16), nil)
		if err != nil {
			aborted++
			return nil
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			aborted++
			return nil
		}
		pkts, err := split(string(body))
		f.must(t, err)
		return pkts
	}
	published := make(chan error, 1)
	go func() {
		pace := time.NewTicker(1700 * time.Microsecond) // in no step with the polls
		defer pace.Stop()
		for n := 1; n <= changes; n++ {
			<-pace.C
			if err := f.script.Event(map[string]string{}, changeOf(fmt.Sprintf("N%d.", n), "en.wikipedia.org", "enwiki")); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	for seen, i := 0, 0; seen < changes; i++ {
		pkts := poll(time.Duration(i%9) * 200 * time.Microsecond)
		if pkts == nil {
			pkts = poll(transcript.Patience)
		}
		if pkts == nil {
			t.Fatalf("nothing comes behind change %d", seen)
		}
		for _, pkt := range pkts {
			var n int
			if at := strings.Index(pkt, `"title":"N`); at >= 0 {
				fmt.Sscanf(pkt[at:], `"title":"N%d.`, &n)
			}
			switch {
			case n == seen+1:
				seen = n
			case pkt == packetNoop:
			case 0 < n && n <= seen:
				repeated++
			default:
				t.Fatalf("behind change %d comes %q", seen, pkt)
			}
		}
	}
	f.must(t, <-published)
	if aborted == 0 {
		t.Error("no poll was aborted, so that the test shows nothing")
	}
	t.Logf("%d polls aborted, %d changes repeated", aborted, repeated)
}

// TestFallback: a client that hears nothing on its WebSocket goes on polling with the same session.
func TestFallback(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	x, err := f.connect(0, "")
	f.must(t, err)
	defer x.close()
	var id socketio.ID
	f.mu.Lock()
	for id = range f.Server.sessions {
	}
	f.mu.Unlock()
	url := "http://" + f.addr + "/socket.io/1/xhr-polling/" + id.String()
	p := &pollWire{client: outlettest.Client(0), url: url, ctx: t.Context(), cancel: func() {}}
	if pkt, err := p.next(); pkt != packetConnect {
		t.Fatalf("got %q, %v", pkt, err)
	}
	if pkt, err := x.next(); err != io.EOF {
		t.Fatalf("the WebSocket goes on: %q, %v", pkt, err)
	}
	f.must(t, p.send(`5::/rc:{"name":"subscribe","args":["*"]}`))
	f.happens(t, "One")
	if pkt, err := p.next(); !strings.Contains(pkt, "One") {
		t.Fatalf("got %q, %v", pkt, err)
	}
	if n := f.Stats().Connected; n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
	// Back again it cannot go.
	f.polling = false
	nc := f.raw(t, strings.Replace(f.get(strings.Replace(strings.TrimPrefix(url, "http://"+f.addr), "xhr-polling", "websocket", 1)), "\r\n\r\n",
		"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 1))
	b, err := io.ReadAll(nc)
	f.must(t, err)
	if !strings.Contains(string(b), packetUnknown) {
		t.Errorf("got %q", b)
	}
}

// TestCORS: pages of other origins are answered with their own name, because the clients of 2012 send credentials.
func TestCORS(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	p := f.poller(t)
	for _, tt := range []struct{ method, url, body string }{
		{http.MethodGet, "http://" + f.addr + "/socket.io/1/", ""},
		{http.MethodPost, p.url, "2::"},
		{http.MethodGet, p.url, ""},
		{http.MethodOptions, p.url, ""},
	} {
		req, err := http.NewRequest(tt.method, tt.url, strings.NewReader(tt.body))
		f.must(t, err)
		req.Header.Set("Origin", "https://example.org")
		if tt.method == http.MethodGet {
			f.happens(t, "One")
		}
		resp, err := p.client.Do(req)
		f.must(t, err)
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		h := resp.Header
		if h.Get("Access-Control-Allow-Origin") != "https://example.org" || h.Get("Access-Control-Allow-Credentials") != "true" || h.Get("Vary") != "Origin" {
			t.Errorf("%s %s: %v", tt.method, tt.url, h)
		}
	}
}

// TestStatus: the figures are those of this moment.
func TestStatus(t *testing.T) {
	t.Parallel()
	queued := uint64(3)
	f := newFixture(t, Options{Queued: func() uint64 { return queued }})
	status := func(want string) {
		t.Helper()
		resp, err := http.Get("http://" + f.addr + "/rcstream_status")
		f.must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		f.must(t, err)
		if string(b) != want || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s, %s", b, resp.Header)
		}
	}
	status(`{"connected_clients": 0, "queue_size": 3}`)
	x, err := f.connect(0, "")
	f.must(t, err)
	f.poller(t)
	_, err = f.handshake(outlettest.Client(0), "") // is no client yet
	f.must(t, err)
	status(`{"connected_clients": 2, "queue_size": 3}`)
	x.close()
	f.must(t, f.sessions(nil, "1"))
	queued = 0
	status(`{"connected_clients": 1, "queue_size": 0}`)
}

// TestTLS: both transports work over TLS, where the edge gives a connection goroutines and a poll is read through it.
func TestTLS(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	srv := httptest.NewTLSServer(f.Server)
	defer srv.Close()
	client := srv.Client()
	shake := func() string {
		resp, err := client.Get(srv.URL + "/socket.io/1/")
		f.must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		f.must(t, err)
		id, _, _ := strings.Cut(string(b), ":")
		return id
	}
	p := &pollWire{client: client, url: srv.URL + "/socket.io/1/xhr-polling/" + shake(), ctx: t.Context()}
	ws, _, err := wsclient.Dial(t.Context(), "wss"+strings.TrimPrefix(srv.URL, "https")+"/socket.io/1/websocket/"+shake(), &wsclient.DialOptions{HTTPClient: client})
	f.must(t, err)
	for _, x := range []wire{p, &socketWire{ws, client}} {
		if pkt, err := x.next(); pkt != packetConnect {
			t.Fatalf("got %q, %v", pkt, err)
		}
		f.must(t, x.send(`5:1+:/rc:{"name":"subscribe","args":["*"]}`))
		if pkt, err := x.next(); !strings.HasPrefix(pkt, "6::/rc:1+") {
			t.Fatalf("got %q, %v", pkt, err)
		}
	}
	for n := range 5 {
		title := fmt.Sprintf("N%d.", n)
		f.happens(t, title)
		for _, x := range []wire{p, &socketWire{ws, client}} {
			if pkt, err := x.next(); !strings.Contains(pkt, title) {
				t.Fatalf("got %q, %v", pkt, err)
			}
		}
	}
	ws.CloseNow()
	f.must(t, f.sessions(nil, "1")) // the one that polls, until its time is over
}

// TestNothingIsLeft: when the clients have gone, so have their subscriptions.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	for i := range 20 {
		f.polling = i%2 == 0
		x, err := f.connect(0, "")
		f.must(t, err)
		f.must(t, x.send(fmt.Sprintf(`5::/rc:{"name":"subscribe","args":["*.%d.org","enwiki"]}`, i%3)))
		f.must(t, x.send(`5:1+:/rc:{"name":"unsubscribe","args":["enwiki"]}`))
		for pkt := ""; !strings.HasPrefix(pkt, "6::/rc:1+"); {
			pkt, err = x.next()
			f.must(t, err)
		}
		f.must(t, x.send("0::"))
		x.close()
	}
	f.must(t, f.sessions(nil, "0"))
	f.must(t, await("subscriptions", "0", func() string { return fmt.Sprint(f.w.Hub.Stats().Subscriptions) }))
	f.must(t, await("sets", "0", func() string {
		f.Server.sets.mu.Lock()
		defer f.Server.sets.mu.Unlock()
		return fmt.Sprint(len(f.Server.sets.m))
	}))
	if st := f.Stats(); st.Sessions != 0 || st.Ended["disconnect"] != 20 {
		t.Errorf("%+v", st)
	}
}

// TestBounds: handshakes that nothing follows, sessions, packets, messages and bodies have their limits, and who keeps to them
// notices nothing.
func TestBounds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{MaxSessions: 12, MaxPending: 5, MaxBody: 1000})
	good := f.poller(t)
	shake := func() string { // without a connection for each
		r := httptest.NewRequest(http.MethodGet, "http://"+f.addr+"/socket.io/1/", nil)
		w := httptest.NewRecorder()
		f.Server.ServeHTTP(w, r)
		return fmt.Sprint(w.Code)
	}
	for range 1000 {
		if code := shake(); code != "200" {
			t.Fatal(code)
		}
	}
	if st := f.Stats(); st.Sessions != 6 || st.Ended["too-many-pending"] != 995 {
		t.Errorf("after 1000 handshakes: %+v", st)
	}
	f.polling = false
	for range 6 {
		x, err := f.connect(0, "")
		f.must(t, err)
		defer x.close()
	}
	if st := f.Stats(); st.Connected != 7 || st.Sessions > 12 {
		t.Errorf("%+v", st)
	}
	var full error
	for full == nil {
		var x wire
		if x, full = f.connect(0, ""); full == nil {
			defer x.close()
		}
	}
	if !strings.Contains(full.Error(), "503") || f.Stats().Sessions != 12 {
		t.Errorf("refused with %v, %+v", full, f.Stats())
	}

	if _, err := good.do(http.MethodPost, "3:::"+strings.Repeat("x", 1000)); err == nil || !strings.Contains(err.Error(), "413") {
		t.Errorf("a big body: %v", err)
	}
	f.happens(t, "One")
	if pkt, err := good.next(); !strings.Contains(pkt, "One") {
		t.Errorf("got %q, %v", pkt, err)
	}
	if b, err := good.do(http.MethodPost, strings.Repeat("\uFFFD1\uFFFD2", maxPackets+1)); err != nil {
		t.Errorf("many packets: %q, %v", b, err)
	}
	f.must(t, f.endedFor(nil, dropRate+" 1"))
}

// TestHostile: what a WebSocket must not send closes it, or is dropped, and nobody else notices.
func TestHostile(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	watch, err := f.connect(0, "")
	f.must(t, err)
	defer watch.close()
	f.must(t, watch.send(`5:1+:/rc:{"name":"subscribe","args":["*"]}`))
	if pkt, err := watch.next(); err != nil {
		t.Fatal(pkt, err)
	}
	frame := func(op byte, p string) string {
		var b []byte
		switch {
		case len(p) < 126:
			b = []byte{0x80 | op, 0x80 | byte(len(p))}
		case len(p) < 1<<16:
			b = binary.BigEndian.AppendUint16([]byte{0x80 | op, 0x80 | 126}, uint16(len(p)))
		default:
			b = binary.BigEndian.AppendUint64([]byte{0x80 | op, 0x80 | 127}, uint64(len(p)))
		}
		return string(b) + "\x00\x00\x00\x00" + p
	}
	bye := func(code int, reason string) string { return string(websocket.AppendClose(nil, code, reason)) }
	const first = "\x81\x031::"
	for _, tt := range []struct{ name, in, want string }{ // want: what the server says behind its connect packet, up to its end
		{"binary", frame(2, "1::"), bye(websocket.UnsupportedData, "packets are text")},
		{"not UTF-8", frame(1, "\xff"), bye(websocket.InvalidPayload, "a text is not UTF-8")},
		{"unmasked", "\x81\x031::", bye(websocket.ProtocolError, "a client's frames have to be masked")},
		{"too big", frame(1, strings.Repeat("x", 64<<10+1)), bye(websocket.MessageTooBig, "the message is too big")},
		{"deep", frame(1, "5::/rc:"+strings.Repeat("[", 60000)) + frame(1, "0"), bye(websocket.NormalClosure, "")},
		{"deep arguments", frame(1, `5::/rc:{"name":"subscribe","args":`+strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+"}") + frame(1, "0"), bye(websocket.NormalClosure, "")},
		{"flood", strings.Repeat(frame(1, "2::"), 3*maxPackets), "\x81\x030::" + bye(websocket.NormalClosure, "")},
		{"garbage", frame(1, "") + frame(1, "\x00") + frame(1, ":::") + frame(1, "\uFFFD3\uFFFD2::") + frame(1, "0::"), bye(websocket.NormalClosure, "")},
	} {
		id, err := f.handshake(outlettest.Client(0), "")
		f.must(t, err)
		nc := f.raw(t, strings.Replace(f.get("/socket.io/1/websocket/"+id), "\r\n\r\n",
			"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 1)+tt.in)
		b, err := io.ReadAll(nc)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		_, got, _ := strings.Cut(string(b), "\r\n\r\n")
		// What is no message may close the connection before the session has it.
		if strings.TrimPrefix(got, first) != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, first+tt.want)
		}
	}
	f.happens(t, "Still")
	if pkt, err := watch.next(); !strings.Contains(pkt, "Still") {
		t.Errorf("got %q, %v", pkt, err)
	}
	f.must(t, f.sessions(nil, "1"))
}

// TestTokens: without a valid token there is no session.
func TestTokens(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	if _, err := f.handshake(outlettest.Client(0), "tid_aaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"); tidings.KindOf(err) != tidings.ErrUnauthenticated {
		t.Errorf("an invalid token: %v", err)
	}
	if st := f.Stats(); st.Sessions != 0 {
		t.Errorf("%+v", st)
	}
}

// TestShutdown: a poll that is held is answered when the server stops, and nothing is left of it.
func TestShutdown(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{})
	p := f.poller(t)
	got := make(chan string, 1)
	f.must(t, f.polls(nil, "0"))
	go func() {
		pkt, err := p.next()
		got <- fmt.Sprint(pkt, err)
	}()
	f.must(t, f.polls(nil, "1"))
	f.stop()
	ctx, cancel := context.WithTimeout(t.Context(), transcript.Patience)
	defer cancel()
	f.must(t, f.Server.Shutdown(ctx))
	if s := <-got; s != packetGoodbye+"<nil>" {
		t.Errorf("got %s", s)
	}
	if st := f.Stats(); st.Sessions != 0 || st.Connected != 0 {
		t.Errorf("%+v", st)
	}
}
