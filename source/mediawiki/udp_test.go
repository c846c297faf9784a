package mediawiki

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/recentchange"
)

// datagrams returns the datagrams of a capture: each has its length before it, four bytes, big-endian.
func datagrams(t testing.TB, dialect string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "recentchange", "testdata", "capture", dialect+".datagrams"))
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for len(b) >= 4 {
		n := binary.BigEndian.Uint32(b)
		all = append(all, b[4:4+n])
		b = b[4+n:]
	}
	if len(all) == 0 {
		t.Fatalf("the capture of %s is empty", dialect)
	}
	return all
}

// sink is a journal that knows Append: it passes each event on.
type sink struct {
	events chan tidings.Event
	mu     sync.Mutex
	keys   map[string]bool
	offset uint64
}

func newSink() *sink {
	return &sink{events: make(chan tidings.Event, 100_000), keys: map[string]bool{}}
}

func (s *sink) Append(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	results := make([]tidings.Appended, len(events))
	for i, e := range events {
		if e.Key != "" && s.keys[e.Key] {
			results[i].Duplicate = true
			continue
		}
		s.keys[e.Key] = e.Key != ""
		s.offset++
		results[i].Position = tidings.Position{Epoch: 1, Offset: s.offset}
		s.events <- e
	}
	return results, nil
}

// next waits for the next event.
func (s *sink) next(t testing.TB) tidings.Event {
	t.Helper()
	select {
	case e := <-s.events:
		return e
	case <-time.After(30 * time.Second):
		t.Fatal("no event has come")
		panic("unreachable")
	}
}

// start runs a source until the test ends or stop is called, which waits for Run.
func start(t testing.TB, c Config) (u *UDP, stop func()) {
	t.Helper()
	u = listen(t, c)
	return u, run(t, u)
}

func listen(t testing.TB, c Config) *UDP {
	t.Helper()
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	u, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.conn.Close() })
	return u
}

func run(t testing.TB, u *UDP) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func dial(t testing.TB, u *UDP, from string) *net.UDPConn {
	t.Helper()
	d := net.Dialer{}
	if from != "" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("udp", u.Addr().String())
	if err != nil {
		t.Skipf("cannot send from %s: %v", from, err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

func send(t testing.TB, c *net.UDPConn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

const good = `{"id":1,"type":"edit","title":"A","timestamp":1700000000,"server_name":"x.example","wiki":"x"}`

func TestDialects(t *testing.T) {
	for _, d := range []struct{ name, ct string }{
		{"json", recentchange.TypeJSON}, {"xml", recentchange.TypeXML}, {"rc", recentchange.TypeRC}, {"irc", recentchange.TypeIRC},
	} {
		t.Run(d.name, func(t *testing.T) {
			s := newSink()
			wikis := recentchange.Wikis{"gardenwiki": {ServerURL: "http://garden.example.org", ScriptPath: "/w", IRCChannel: "#garden.example"}}
			u, stop := start(t, Config{Append: s.Append, Wikis: wikis})
			c := dial(t, u, "")
			all := datagrams(t, d.name)
			before := time.Now()
			for i, b := range all {
				send(t, c, b)
				e := s.next(t)
				if !bytes.Equal(e.Payload, b) || e.ContentType != d.ct || e.Publisher != Publisher || e.Kind != tidings.Publish {
					t.Fatalf("%d: got %+v", i, e)
				}
				if e.Topic != "/recentchange/garden.example.org" {
					t.Fatalf("%d: topic %s", i, e.Topic)
				}
				rc, err := recentchange.Decode(d.ct, b)
				if err != nil {
					t.Fatal(err)
				}
				wikis.Fill(rc, e.Time)
				if e.Key != rc.Key() || !e.Time.Equal(rc.Time()) {
					t.Fatalf("%d: key %q, time %v", i, e.Key, e.Time)
				}
				if d.ct == recentchange.TypeIRC && e.Time.Before(before.Truncate(time.Second)) {
					t.Fatalf("%d: received at %v", i, e.Time)
				}
			}
			stop()
			if got := u.Stats(); got.Received != uint64(len(all)) || got.Appended != got.Received || len(got.Dropped) != 0 || got.Queued != 0 {
				t.Errorf("stats %+v", got)
			}
		})
	}
}

func TestDropped(t *testing.T) {
	long := `{"id":2,"type":"edit","comment":"` + strings.Repeat("x", 70000)
	for _, test := range []struct {
		name, datagram string
		want           map[string]uint64
	}{
		{"nothing", "", map[string]uint64{"empty": 1}},
		{"blanks", " \n", map[string]uint64{"empty": 1}},
		{"cut by the transport", long[:65507], map[string]uint64{"truncated": 1}},
		{"malformed", `{"type":}`, map[string]uint64{"malformed": 1}},
		{"no type", `{"id":1}`, map[string]uint64{"missing-field": 1}},
		{"no dialect", `hello`, map[string]uint64{"unknown-dialect": 1}},
		{"no wiki", `{"type":"edit"}`, map[string]uint64{"unknown-wiki": 1}},
		{"deep", `{"type":"log","log_params":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}`, map[string]uint64{"too-deep": 1}},
		{"no topic", `{"type":"edit","wiki":"` + strings.Repeat("x", 300) + `"}`, map[string]uint64{"unknown-wiki": 1}},
		{"no key", `{"type":"edit","id":3,"server_name":"x","wiki":"\u0007"}`, map[string]uint64{"invalid-event": 1}},
		{"an IRC log line of no wiki", "\x0314[[\x0307Special:Log/block\x0314]]\x034 block\x0310 \x0302\x03 \x035*\x03 \x0303U\x03 \x035*\x03  \x0310c\x03\n", map[string]uint64{"unknown-wiki": 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSink()
			u, stop := start(t, Config{Append: s.Append})
			c := dial(t, u, "")
			send(t, c, []byte(test.datagram))
			send(t, c, []byte(good))
			if e := s.next(t); string(e.Payload) != good {
				t.Fatalf("got %+v", e)
			}
			stop()
			if got := u.Stats(); !maps.Equal(got.Dropped, test.want) || got.Received != 2 || got.Appended != 1 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestSenders(t *testing.T) {
	s := newSink()
	u, stop := start(t, Config{Append: s.Append, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	bad, ok := dial(t, u, "127.0.0.2"), dial(t, u, "127.0.0.1")
	send(t, bad, []byte(strings.Replace(good, ":1,", ":9,", 1)))
	send(t, ok, []byte(good))
	if e := s.next(t); e.Key != "rc/x/1" {
		t.Errorf("got %+v", e)
	}
	stop()
	if got := u.Stats().Dropped; !maps.Equal(got, map[string]uint64{SenderNotAllowed: 1}) {
		t.Errorf("dropped %v", got)
	}
}

func TestIPv6(t *testing.T) {
	c, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		t.Skip("there is no IPv6 loopback")
	}
	c.Close()
	s := newSink()
	u, _ := start(t, Config{Addr: "[::1]:0", Append: s.Append})
	send(t, dial(t, u, ""), []byte(good))
	if e := s.next(t); e.Key != "rc/x/1" {
		t.Errorf("got %+v", e)
	}
}

// TestLines sends several IRC lines in one datagram, as a feed with a prefix does for a text of several lines.
func TestLines(t *testing.T) {
	s := newSink()
	u, _ := start(t, Config{Append: s.Append})
	lines := datagrams(t, "irc")
	var three []byte
	var edits [][]byte
	for _, l := range lines {
		if rc, err := recentchange.Decode(recentchange.TypeIRC, l); err == nil && rc.Type != recentchange.Log && len(edits) < 3 {
			edits = append(edits, append(bytes.TrimSuffix(l, []byte("\n")), '\n'))
			three = append(three, edits[len(edits)-1]...)
		}
	}
	send(t, dial(t, u, ""), three)
	for _, want := range edits {
		if e := s.next(t); !bytes.Equal(e.Payload, want) {
			t.Errorf("got %q, want %q", e.Payload, want)
		}
	}
}

func TestDuplicates(t *testing.T) {
	s := newSink()
	u, stop := start(t, Config{Append: s.Append})
	c := dial(t, u, "")
	for range 3 {
		send(t, c, []byte(good))
	}
	send(t, c, []byte(strings.Replace(good, ":1,", ":2,", 1)))
	s.next(t)
	if e := s.next(t); e.Key != "rc/x/2" {
		t.Errorf("got %+v", e)
	}
	stop()
	if got := u.Stats(); got.Appended != 2 || got.Duplicates != 2 {
		t.Errorf("stats %+v", got)
	}
}

// TestShutdown stops a source that has not read anything yet: what the kernel holds is appended all the same.
func TestShutdown(t *testing.T) {
	s := newSink()
	u := listen(t, Config{Append: s.Append})
	c := dial(t, u, "")
	all := datagrams(t, "json")
	for _, b := range all {
		send(t, c, b)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := u.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := u.Stats(); got.Appended+got.Duplicates != uint64(len(all)) || got.KernelDrops != 0 {
		t.Errorf("stats %+v", got)
	}
	if len(s.events) != len(all) {
		t.Errorf("%d events", len(s.events))
	}
}

// TestKernelDrops fills a small buffer that nobody reads: what did not fit is counted, and everything else appended.
func TestKernelDrops(t *testing.T) {
	s := newSink()
	u := listen(t, Config{Append: s.Append, ReceiveBuffer: 8 << 10})
	if _, ok := readKernelDrops(u.conn); !ok {
		t.Skip("this system does not count what the kernel drops")
	}
	c := dial(t, u, "")
	const n = 1000
	for i := range n {
		send(t, c, []byte(strings.Replace(good, ":1,", ":"+string(rune('1'+i%9))+strings.Repeat("0", 2)+",", 1)))
	}
	if got := u.Stats().KernelDrops; got == 0 || got >= n {
		t.Errorf("%d drops before anything is read", got)
	}
	stop := run(t, u)
	s.next(t)
	// The next datagram carries the kernel's counter.
	send(t, c, []byte(strings.Replace(good, ":1,", ":123456,", 1)))
	for s.next(t).Key != "rc/x/123456" {
	}
	stop()
	got := u.Stats()
	if got.KernelDrops == 0 || got.Received+got.KernelDrops != n+1 || got.Appended+got.Duplicates != got.Received {
		t.Errorf("stats %+v", got)
	}
	if got.Dropped[KernelBuffer] != got.KernelDrops {
		t.Errorf("dropped %v", got.Dropped)
	}
}

func TestListenErrors(t *testing.T) {
	u := listen(t, Config{Append: newSink().Append})
	for _, addr := range []string{u.Addr().String(), "nonsense", "127.0.0.1:99999"} {
		if _, err := Listen(Config{Addr: addr}); err == nil || !strings.HasPrefix(err.Error(), "mediawiki: ") {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
