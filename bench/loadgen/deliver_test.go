//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A fakeServer pushes what is posted to /pub/N to those who get /sub/N. Its faults are functions of the number of a
// publish or of a delivery, counted from 0.
type fakeServer struct {
	mu         sync.Mutex
	subs       map[string][]chan string
	deliveries int
	publishes  int

	copies func(delivery int) int // how often a delivery is made; nil: once
	refuse func(publish int) bool
	hangUp func(delivery int) bool // after it
}

func (f *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if topic, ok := strings.CutPrefix(r.URL.Path, "/pub/"); ok && r.Method == http.MethodPost {
		f.publish(w, r, topic)
		return
	}
	ch := make(chan string, 10_000)
	f.mu.Lock()
	f.subs[strings.TrimPrefix(r.URL.Path, "/sub/")] = append(f.subs[strings.TrimPrefix(r.URL.Path, "/sub/")], ch)
	f.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, ":ok\n\n")
	for {
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case s := <-ch:
			if s == "" {
				panic(http.ErrAbortHandler) // closes the connection
			}
			fmt.Fprintf(w, "data: %s\n\n", s)
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fakeServer) publish(w http.ResponseWriter, r *http.Request, topic string) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Authorization") != "Bearer T" {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publishes++
	if f.refuse != nil && f.refuse(f.publishes-1) {
		http.Error(w, "no", http.StatusServiceUnavailable)
		return
	}
	for _, ch := range f.subs[topic] {
		n := 1
		if f.copies != nil {
			n = f.copies(f.deliveries)
		}
		for range n {
			ch <- string(body)
		}
		if f.hangUp != nil && f.hangUp(f.deliveries) {
			ch <- ""
		}
		f.deliveries++
	}
	w.WriteHeader(http.StatusCreated)
}

// parseTest parses flags without printing anything.
func parseTest(args []string) (*options, error) { return parseOptions(args, io.Discard) }

func start(t *testing.T, f *fakeServer, flags ...string) *options {
	t.Helper()
	f.subs = map[string][]chan string{}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	o, err := parseTest(append([]string{"-addr", srv.Listener.Addr().String(), "-path", "/sub/{n}", "-otherpath", "/sub/other",
		"-await", ":ok\n\n", "-pubto", srv.URL + "/pub/{n}", "-pubheader", "Authorization: Bearer T", "-settle", "0",
		"-patience", "300ms", "-pid", fmt.Sprint(os.Getpid())}, flags...))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestDeliver(t *testing.T) {
	tests := []struct {
		name  string
		flags string
	}{
		{"one in flight", "-conns 20 -events 30 -window 1"},
		{"32 in flight", "-conns 20 -events 100 -window 32"},
		{"several topics and bystanders", "-conns 20 -topics 5 -bystanders 3 -events 50 -window 4"},
		{"fewer subscribers than topics", "-conns 3 -topics 5 -events 50 -window 4"},
		{"a reader that never reads", "-conns 5 -stalled 2 -events 50 -window 4"},
		{"open loop", "-conns 5 -events 50 -rate 2000 -pubconns 4 -samplepss"},
		{"acknowledgements only", "-conns 0 -events 50 -window 8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := start(t, &fakeServer{}, strings.Fields(tt.flags)...)
			r, err := deliver(o)
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			for e := range o.events {
				want += o.conns / o.topics
				if e%o.topics < o.conns%o.topics {
					want++
				}
			}
			if !r.Complete() || r.Expected != int64(want) || r.Events != o.events {
				t.Errorf("want %d deliveries of %d events, complete; got %+v", want, o.events, r)
			}
			if r.Seconds <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 || r.AckPerS <= 0 || r.PSS <= 0 {
				t.Errorf("implausible figures: %+v", r)
			}
			if o.samplePSS && r.PSSPeak <= 0 {
				t.Errorf("no peak: %+v", r)
			}
		})
	}
}

func TestFaultsAreFound(t *testing.T) {
	once := func(at int) func(int) bool { return func(i int) bool { return i == at } }
	tests := []struct {
		name              string
		server            *fakeServer
		missing, repeated int64
		pubErrors, closed int
	}{
		{"a delivery is lost", &fakeServer{copies: func(i int) int {
			if i == 33 {
				return 0
			}
			return 1
		}}, 1, 0, 0, 0},
		{"a delivery is repeated", &fakeServer{copies: func(i int) int {
			if i == 33 {
				return 2
			}
			return 1
		}}, 0, 1, 0, 0},
		{"one lost and one repeated", &fakeServer{copies: func(i int) int {
			switch i {
			case 33:
				return 0
			case 37:
				return 2
			}
			return 1
		}}, 1, 1, 0, 0},
		{"a publish is refused", &fakeServer{refuse: once(3)}, 10, 0, 1, 0},
		{"a connection is closed", &fakeServer{hangUp: once(199)}, 0, 0, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// The last events are still on their way to the others when the last connection closes: wait for the stall.
			r, err := deliver(start(t, tt.server, "-conns", "10", "-events", "40", "-window", "8"))
			if err != nil {
				t.Fatal(err)
			}
			if r.Complete() {
				t.Errorf("the run counts as complete: %+v", r)
			}
			if tt.closed > 0 { // what the closed one has missed depends on how far the run was
				if r.Closed != tt.closed {
					t.Errorf("%d closed connections, want %d", r.Closed, tt.closed)
				}
				return
			}
			if got := r.Expected - r.Delivered; got != tt.missing || r.Repeated != tt.repeated || r.PubErrors != int64(tt.pubErrors) {
				t.Errorf("missing %d, repeated %d, refused %d; want %d, %d, %d", got, r.Repeated, r.PubErrors, tt.missing, tt.repeated, tt.pubErrors)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	f := &fakeServer{}
	r, err := memory(start(t, f, "-memory", "5,12"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.subs["0"]); n != 12 || r.Subscribers != 12 || r.PSS <= 0 {
		t.Errorf("%d subscribers at the server; result %+v", n, r)
	}
}

func TestSSERefused(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/html" {
			w.Header().Set("Content-Type", "text/html")
			return
		}
		http.Error(w, "no such topic", http.StatusNotFound)
	}))
	defer srv.Close()
	for path, want := range map[string]string{"/html": "no event stream", "/other": "404"} {
		o, err := parseTest([]string{"-addr", srv.Listener.Addr().String(), "-path", path, "-pubto", srv.URL, "-settle", "0"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := deliver(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", path, err, want)
		}
	}
}

func TestUDP(t *testing.T) {
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	const events, size = 40, 1024
	o, err := parseTest([]string{"-pub", "udp", "-pubto", pc.LocalAddr().String(), "-conns", "0", "-topics", "3", "-events",
		fmt.Sprint(events), "-size", fmt.Sprint(size), "-rate", "5000", "-settle", "0", "-rcid", "1000"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := deliver(o)
	if err != nil || !r.Complete() || r.Events != events || r.UDPDrops != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	buf, seen := make([]byte, 1<<16), map[string]bool{}
	for range events {
		n, err := pc.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n < size-16 || n > size+16 {
			t.Errorf("a datagram has %d bytes, want about %d", n, size)
		}
		var change struct {
			ID         int64
			Type, Wiki string
			ServerName string `json:"server_name"`
			Comment    string
		}
		if err := json.Unmarshal(buf[:n], &change); err != nil {
			t.Fatalf("%v in %s", err, buf[:n])
		}
		if change.Type != "edit" || change.Wiki == "" || change.ServerName == "" || len(scanAll([]byte(change.Comment))) != 1 {
			t.Errorf("not a marked edit: %+v", change)
		}
		seen[fmt.Sprint(change.Wiki, change.ID)] = true
	}
	if len(seen) != events {
		t.Errorf("%d different changes of %d", len(seen), events)
	}
	if _, err := parseTest([]string{"-pub", "udp", "-pubto", pc.LocalAddr().String(), "-size", "20"}); err == nil {
		t.Error("a size below that of a mark is accepted")
	}
}

func TestUDPDrops(t *testing.T) {
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if err := pc.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	o, err := parseTest([]string{"-pub", "udp", "-pubto", pc.LocalAddr().String(), "-conns", "0", "-events", "100",
		"-size", "1024", "-settle", "0", "-window", "8"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := deliver(o)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody reads: what the small buffer cannot hold is dropped, and the rest can still be read.
	var held int64
	raw, err := pc.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	if err := raw.Control(func(fd uintptr) {
		for {
			if _, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT); err != nil {
				return
			}
			held++
		}
	}); err != nil {
		t.Fatal(err)
	}
	if r.UDPDrops == 0 || r.UDPDrops+held != 100 {
		t.Errorf("%d dropped and %d held, of 100", r.UDPDrops, held)
	}
}

func TestRawfan(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler (cc)")
	}
	program := filepath.Join(t.TempDir(), "rawfan")
	if out, err := exec.Command(cc, "-O2", "-Wall", "-Werror", "-o", program, "../rawfan/rawfan.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var sub, pub int
	if _, err := fmt.Sscanf(line, "ready sub=%d pub=%d", &sub, &pub); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	// Twice: the second run finds no one of the first still subscribed.
	for range 2 {
		o, err := parseTest([]string{"-proto", "raw", "-addr", fmt.Sprintf("127.0.0.1:%d", sub), "-pub", "raw", "-pubto",
			fmt.Sprintf("127.0.0.1:%d", pub), "-conns", "50", "-events", "200", "-window", "32", "-settle", "0"})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := deliver(o); err != nil || !r.Complete() {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestOptions(t *testing.T) {
	tests := []struct {
		name, args string
		ok         bool
	}{
		{"minimal", "-pubto x", true},
		{"memory", "-memory 10,20 -pid 1", true},
		{"nowhere to publish", "", false},
		{"address without port", "-addr 127.0.0.1 -pubto x", false},
		{"address of version 6", "-addr [::1]:80 -pubto x", false},
		{"one size of memory", "-memory 10 -pid 1", false},
		{"falling sizes", "-memory 20,10 -pid 1", false},
		{"memory of nobody", "-memory 10,20", false},
		{"bystanders without a path", "-bystanders 1 -pubto x", false},
		{"no events", "-events 0 -pubto x", false},
		{"no topics", "-topics 0 -pubto x", false},
		{"bad pid", "-pid one -pubto x", false},
		{"an argument", "-pubto x y", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := parseTest(strings.Fields(tt.args)); (err == nil) != tt.ok {
				t.Errorf("error %v, want none: %v", err, tt.ok)
			}
		})
	}
	o, err := parseTest([]string{"-pubto", "x", "-window", "32"})
	if err != nil || o.pubConns != 32 {
		t.Errorf("a window of 32 over HTTP has %d connections, %v", o.pubConns, err)
	}
	for _, bad := range []*options{{proto: "gopher"}, {proto: "sse", path: "x"}} {
		if _, err := newProtocol(bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if _, err := newPublisher(&options{pub: "pigeon"}); err == nil {
		t.Error("an unknown way to publish is accepted")
	}
}

func TestSourceAddresses(t *testing.T) {
	seen := map[[4]byte]bool{}
	for i := range 1000 {
		a := sourceAddr(i, 600)
		if a[0] != 127 || a == [4]byte{127, 0, 0, 1} || a[3] == 0 || a[3] == 255 {
			t.Fatalf("subscriber %d would connect from %v", i, a)
		}
		seen[a] = true
	}
	if len(seen) != 600 {
		t.Errorf("%d addresses, want 600", len(seen))
	}
}

// Scheduling in the open loop is exact: no event is sent before it is due.
func TestSleepUntil(t *testing.T) {
	l := &loop{giveUp: make(chan struct{})}
	at := time.Now().Add(3 * time.Millisecond)
	if !l.sleepUntil(at) || time.Now().Before(at) {
		t.Error("it returned too early")
	}
	close(l.giveUp)
	if l.sleepUntil(time.Now().Add(time.Hour)) {
		t.Error("it does not heed the end of the run")
	}
}
