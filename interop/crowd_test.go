//go:build interop && linux

package interop_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// listener is what hostile clients connect to.
type listener struct {
	name string
	irc  bool
	// upgrade is a request that makes a WebSocket of the connection; "" where nothing is said before the protocol's own.
	upgrade string
	// first is how the server begins then; "" where it waits.
	first string
	// use is what a client says that is there to stay, and how the server ends its answer.
	use, used string
	// silence is how a client ends that says nothing, and trickle one that says a byte a second, in words of reason; "" for one
	// that may stay.
	silence, trickle string
	// slow is what is said a byte a second, and answer what the server says to it if trickle is empty.
	slow, answer string
	// seeds are what is made rubbish of.
	seeds []string
}

const upgradeTo = " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

// wsText returns a text message as a client sends it, with a mask of zeros.
func wsText(s string) string {
	if len(s) < 126 {
		return string([]byte{0x81, 0x80 | byte(len(s)), 0, 0, 0, 0}) + s
	}
	return string([]byte{0x81, 0x80 | 126, byte(len(s) >> 8), byte(len(s)), 0, 0, 0, 0}) + s
}

// endless begins a message that never ends.
var endless = string([]byte{0x81, 0x80 | 126, 0xff, 0xff, 0, 0, 0, 0}) + strings.Repeat("x", 1000)

var listeners = []listener{
	{
		name: "http", silence: "no-request", trickle: "no-request-head", slow: "GET /topics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1000),
		use: "GET /subscribe?topic=/none HTTP/1.1\r\nHost: x\r\n\r\n", used: ":ok\n\n",
		seeds: []string{"GET /subscribe?topic=/recentchange/*&filter=a==1 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 00000001-1\r\n\r\n",
			"POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"a\":1234}", "GET /v2/stream/recentchange?wiki=x HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"},
	},
	{
		name: "websocket", upgrade: "GET /subscribe?topic=/none" + upgradeTo, first: `"type":"subscribed"`, slow: wsText(`{"type":"ping"}`), answer: `"type":"pong"`,
		seeds: []string{wsText(`{"type":"subscribe","id":"a","topics":["/a"],"filter":{"a":[1]}}`), wsText(`{"type":"unsubscribe","id":"a"}`), "\x89\x80\x00\x00\x00\x00", "\x88\x82\x00\x00\x00\x00\x03\xe8", endless[:200]},
	},
	{
		name: "socket.io 0.9", upgrade: "GET /socket.io/1/websocket/SID" + upgradeTo, first: "1::", silence: "heartbeat-timeout", trickle: "heartbeat-timeout", slow: endless,
		use: wsText("1::/rc") + wsText(`5:1+:/rc:{"name":"subscribe","args":["none"]}`), used: "6::/rc:1+",
		seeds: []string{wsText(`5:1+:/rc:{"name":"subscribe","args":["*"]}`), wsText("2::"), wsText("1::/rc"), wsText("6:::1+[]"), endless[:200]},
	},
	{
		name: "socket.io 4", upgrade: "GET /socket.io/?EIO=4&transport=websocket" + upgradeTo, first: "0{", silence: "never-connected", trickle: "never-connected", slow: endless,
		use: wsText("40") + wsText(`420["subscribe","/none"]`), used: "430[",
		seeds: []string{wsText("40"), wsText(`420["subscribe",{"topics":["/a"],"filter":"a == 1"}]`), wsText("3"), wsText(`451-["x",{"_placeholder":true,"num":0}]`), wsText("41/rc,"), endless[:200]},
	},
	{
		name: "irc", irc: true, silence: "irc-register-timeout", trickle: "irc-register-timeout", slow: "NICK slow\r\nUSER " + strings.Repeat("x", 1000),
		use: "NICK half\r\nUSER half 0 * :Half\r\nJOIN #garden.example\r\n", used: " 366 ",
		seeds: []string{"CAP LS 302\r\nNICK a\r\nUSER a 0 * :a\r\n", "JOIN #garden.example\r\nCHATHISTORY LATEST #garden.example * 10\r\n", "LIST\r\nWHO #garden.example\r\nNAMES\r\nPING x\r\n", "PRIVMSG #a :b\r\n"},
	},
}

// dial connects and says what comes before the protocol's own words.
func (l *listener) dial(s *server) (net.Conn, error) {
	addr := s.http
	if l.irc {
		addr = s.irc
	}
	nc, err := net.Dial("tcp", addr)
	if err != nil || l.upgrade == "" {
		return nc, err
	}
	request := l.upgrade
	if strings.Contains(request, "SID") {
		resp, err := visitor.Get(s.url + "/socket.io/1/")
		if err != nil {
			return nc, err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nc, err
		}
		id, _, _ := strings.Cut(string(body), ":")
		request = strings.Replace(request, "SID", id, 1)
	}
	if _, err := io.WriteString(nc, request); err != nil {
		return nc, err
	}
	return nc, await(nc, l.first)
}

// await reads until the text.
func await(nc net.Conn, text string) error {
	nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	defer nc.SetReadDeadline(time.Time{})
	var got []byte
	b := make([]byte, 512)
	for !strings.Contains(string(got), text) {
		n, err := nc.Read(b)
		if got = append(got, b[:n]...); err != nil {
			return fmt.Errorf("waiting for %q: %q, %w", text, got, err)
		}
	}
	return nil
}

// ended reads until the server has closed the connection.
func ended(nc net.Conn, patience time.Duration) error {
	nc.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, nc)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil // or reset, by which it is closed as well
}

// vanish drops a connection without a word to the other side, as a machine does that loses its power. It needs the right to
// administer the network.
func vanish(nc net.Conn) error {
	const tcpRepair = 19
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var repairErr error
	err = raw.Control(func(fd uintptr) { repairErr = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpRepair, 1) })
	if err = errors.Join(err, repairErr); err != nil {
		return err
	}
	return nc.Close()
}

// TestCrowds: on each listener packets that are rubbish, connections whose other side is not there any more, clients that say a
// byte a second, and 10,000 connections that say nothing end with a reason that is counted, while readers of every protocol get
// every change once, in order, without losing their connection.
func TestCrowds(t *testing.T) {
	const crowd, some = 10_000, 100
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < crowd+20*some {
		t.Skipf("%d descriptors are too few for %d connections: %v", limit.Max, crowd, err)
	}
	s := newServer(t, "")
	readers := map[string]*reader{}
	for _, address := range []string{s.url + "/v2/stream/recentchange", "ws://" + s.http + "/subscribe?topic=/recentchange/*", "sio4://" + s.http + "/?topic=/recentchange/*",
		"sio://" + s.http + "/rc?subscribe=*", "irc://" + s.irc + "/garden.example"} {
		readers[address] = read(t, address)
	}
	s.settles(t, 30*time.Second, "the readers", func(st statusReport) bool {
		return st.Edge.Connections == len(readers) && st.IRC.Clients == 1 && st.SocketIO.Sessions == 1 && st.RCStream.Sessions == 1
	})
	feed := newChanges(t, s)
	stop := make(chan struct{})
	var feeding sync.WaitGroup
	halt := sync.OnceFunc(func() {
		close(stop)
		feeding.Wait()
	})
	t.Cleanup(halt)
	witness, repeats := slices.Collect(maps.Values(readers))[0], 0
	feeding.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for waited := 0; ; waited++ {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			var err error
			switch {
			case witness.seen.Load() >= int64(feed.sent):
				feed.sent++
				err, waited = feed.again(), 0
			case waited%20 == 19:
				// While thousands of connections are made at once, the kernel's queue of the loopback drops datagrams. A change
				// comes once, however often it is told.
				err = feed.again()
				repeats++
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	well := func(when string) {
		t.Helper()
		for address, r := range readers {
			select {
			case err := <-r.failed:
				t.Fatalf("%s, %s: %v, %s", when, address, err, &r.stderr)
			default:
			}
		}
	}
	begun := s.status(t)

	// Whatever is slow to show goes on beside the crowds.
	var slow sync.WaitGroup
	var mu sync.Mutex
	expected := map[string]int{}
	expect := func(reason string, n int) {
		mu.Lock()
		defer mu.Unlock()
		expected[reason] += n
	}
	halfOpen := 0
	for _, l := range listeners {
		for i := range some {
			nc, err := l.dial(s)
			if err != nil {
				t.Fatalf("%s: %v", l.name, err)
			}
			if _, err := io.WriteString(nc, l.use); err != nil {
				t.Fatal(err)
			}
			if err := await(nc, l.used); l.use != "" && err != nil {
				t.Fatalf("%s: %v", l.name, err)
			}
			if err := vanish(nc); err != nil {
				nc.Close()
				if i == 0 {
					t.Logf("%s: half-open connections cannot be made here: %v", l.name, err)
				}
				continue
			}
			halfOpen++
		}
		for range some {
			nc, err := l.dial(s)
			if err != nil {
				t.Fatalf("%s: %v", l.name, err)
			}
			slow.Go(func() {
				defer nc.Close()
				tick := time.NewTicker(time.Second)
				defer tick.Stop()
				var got strings.Builder
				for i := range len(l.slow) {
					if _, err := io.WriteString(nc, l.slow[i:i+1]); err != nil {
						return
					}
					nc.SetReadDeadline(time.Now().Add(time.Millisecond))
					if _, err := io.Copy(&got, nc); !errors.Is(err, os.ErrDeadlineExceeded) {
						return // the server has closed it
					}
					<-tick.C
				}
				switch {
				case l.trickle != "":
					t.Errorf("%s: a byte a second for %d seconds", l.name, len(l.slow))
				case !strings.Contains(got.String(), l.answer):
					if err := await(nc, l.answer); err != nil {
						t.Errorf("%s, a byte a second: %q, %v", l.name, &got, err)
					}
				}
			})
			expect(l.trickle, 1)
		}
		well("a byte a second, " + l.name)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, l := range listeners {
		for range 3 * some {
			nc, err := l.dial(s)
			if err != nil {
				t.Fatalf("%s: %v", l.name, err)
			}
			said := rubbish(random, l.seeds)
			io.WriteString(nc, said) // it may be closed in the middle of it
			nc.(*net.TCPConn).CloseWrite()
			if err := ended(nc, 30*time.Second); err != nil {
				t.Errorf("%s: %q: %v", l.name, said, err)
			}
			nc.Close()
		}
		well("rubbish, " + l.name)
	}

	for _, l := range listeners {
		before := s.status(t)
		conns := make([]net.Conn, crowd)
		var dialing sync.WaitGroup
		for w := range 8 {
			dialing.Go(func() {
				for i := w; i < crowd; i += 8 {
					var err error
					if conns[i], err = l.dial(s); err != nil {
						t.Errorf("%s, connection %d: %v", l.name, i, err)
						return
					}
				}
			})
		}
		connecting := time.Now()
		dialing.Wait()
		if t.Failed() {
			t.FailNow()
		}
		took := time.Since(connecting)
		if l.silence == "" { // it may stay, and then goes by itself
			s.settles(t, 30*time.Second, l.name, func(st statusReport) bool { return st.Edge.Connections >= before.Edge.Connections-halfOpen+crowd-some })
			expect("peer-closed", crowd)
		} else {
			for i, nc := range conns {
				if err := ended(nc, 3*time.Minute); err != nil {
					t.Fatalf("%s, connection %d: %v", l.name, i, err)
				}
			}
			expect(l.silence, crowd)
		}
		for _, nc := range conns {
			nc.Close()
		}
		well("silence, " + l.name)
		t.Logf("%s: %d connections in %.1f s that said nothing, all closed after %.0f s", l.name, crowd, took.Seconds(), time.Since(connecting).Seconds())
	}
	slow.Wait()

	// Nobody is left but the readers, and each end has been counted.
	expect("peer-closed", 0)
	after := s.settles(t, 2*time.Minute, "the end", func(st statusReport) bool {
		return st.Edge.Connections == len(readers) && st.IRC.Clients == 1 && st.SocketIO.Sessions == 1 && st.RCStream.Sessions == 1
	})
	was, is := begun.reasons(), after.reasons()
	for reason, n := range expected {
		if got := is[reason] - was[reason]; reason != "" && got < n {
			t.Errorf("%s was counted %d times and should be %d", reason, got, n)
		}
	}
	closed := 0
	for reason, n := range after.Edge.Closed {
		closed += n - begun.Edge.Closed[reason]
	}
	if want := 4*(crowd+4*some) + halfOpen; closed < want { // of four listeners every connection is the edge's
		t.Errorf("%d connections were counted and should be %d: %v", closed, want, after.Edge.Closed)
	}
	halt()
	late := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for address, r := range readers {
		for r.seen.Load() < int64(feed.sent) {
			select {
			case err := <-r.failed:
				t.Fatalf("%s: %v, %s", address, err, &r.stderr)
			case <-late:
				t.Fatalf("%s: %d changes of %d", address, r.seen.Load(), feed.sent)
			case <-tick.C:
			}
		}
		well("at the end")
	}
	t.Logf("%d changes, %d of them told again, each read once over 5 protocols, beside %d half-open connections; counted: %v", feed.sent, repeats, halfOpen, is)
	for address, r := range readers {
		r.cmd.Process.Signal(syscall.SIGINT)
		<-r.failed
		r.cmd.Wait()
		if r.stderr.Len() > 0 {
			t.Errorf("%s: %s", address, &r.stderr)
		}
	}
}
