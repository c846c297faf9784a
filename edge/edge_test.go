package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a shared sequence of messages, each a line, of which the readers keep the last keep bytes.
type lines struct {
	mu    sync.Mutex
	all   []byte
	start int // what is before it has to be fetched
	g     *Group
}

func (l *lines) append(s string, start int) {
	l.mu.Lock()
	l.all = append(l.all, s...)
	l.start = start
	l.mu.Unlock()
	l.g.Wake()
}

type lineCursor struct {
	l       *lines
	off     int
	fetched bool // what is before start may be read once
	next    int
	fetches int
	ended   bool
	closed  chan struct{}
}

func (l *lines) cursor(off int) *lineCursor {
	return &lineCursor{l: l, off: off, closed: make(chan struct{})}
}

func (c *lineCursor) Next() ([]byte, Status) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	switch {
	case c.ended:
		return []byte("ended\n"), Ended
	case c.off >= len(c.l.all):
		return nil, Idle
	case c.off < c.l.start && !c.fetched:
		return nil, Behind
	}
	c.next = min(len(c.l.all), c.off+16384)
	c.next = c.off + bytes.LastIndexByte(c.l.all[c.off:c.next], '\n') + 1
	return c.l.all[c.off:c.next:c.next], Ready
}

func (c *lineCursor) Advance(n int) []byte {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.fetched = false
	if n == c.next-c.off || n == 0 || c.l.all[c.off+n-1] == '\n' {
		c.off += n
		return nil
	}
	end := bytes.IndexByte(c.l.all[c.off+n:], '\n') + 1
	rest := bytes.Clone(c.l.all[c.off+n : c.off+n+end])
	c.off += n + end
	return rest
}

func (c *lineCursor) Fetch(context.Context) { c.fetched = true; c.fetches++ }
func (c *lineCursor) Goodbye() []byte       { return []byte("goodbye\n") }
func (c *lineCursor) Close()                { close(c.closed) }

// server accepts connections of one kind and gives each to a function.
type server struct {
	t    *testing.T
	e    *Edge
	ln   net.Listener
	tls  *tls.Config
	conf *tls.Config
}

var proto = &Protocol{Name: "lines", Keepalive: []byte(".\n")}

func kinds(t *testing.T, o Options, f func(t *testing.T, s *server)) {
	for _, kind := range []string{"plain", "tls", "tls with goroutines"} {
		t.Run(kind, func(t *testing.T) {
			e, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := &server{t: t, e: e, ln: ln}
			if kind != "plain" {
				s.tls, s.conf = certificate(t)
			}
			if kind == "tls" {
				s.ln = LimitListener(ln, 0, nil, nil)
			}
			t.Cleanup(func() {
				ln.Close()
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				e.Shutdown(ctx)
				if n := e.Stats().Conns; n != 0 {
					t.Errorf("%d connections are open after the shutdown", n)
				}
			})
			f(t, s)
		})
	}
}

func certificate(t *testing.T) (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool}
}

// dial returns both ends of a new connection, the server's given to the edge.
func (s *server) dial(p *Protocol, rcvbuf int) (net.Conn, *Conn) {
	s.t.Helper()
	type res struct {
		c   *Conn
		err error
	}
	got := make(chan res, 1)
	go func() {
		nc, err := s.ln.Accept()
		if err != nil {
			got <- res{nil, err}
			return
		}
		if s.tls != nil {
			tc := tls.Server(nc, s.tls)
			if err := tc.Handshake(); err != nil {
				got <- res{nil, err}
				return
			}
			nc = tc
		}
		c, err := s.e.Add(nc, nil, p)
		got <- res{c, err}
	}()
	nc, err := net.Dial("tcp", s.ln.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	if rcvbuf > 0 {
		nc.(*net.TCPConn).SetReadBuffer(rcvbuf)
	}
	if s.conf != nil {
		s.conf.ServerName = "127.0.0.1"
		tc := tls.Client(nc, s.conf)
		if err := tc.Handshake(); err != nil {
			s.t.Fatal(err)
		}
		nc = tc
	}
	r := <-got
	if r.err != nil {
		s.t.Fatal(r.err)
	}
	s.t.Cleanup(func() { nc.Close() })
	return nc, r.c
}

func TestFanOut(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		const readers, events = 50, 400
		l := &lines{g: s.e.NewGroup()}
		var want strings.Builder
		for i := range events {
			fmt.Fprintf(&want, "%d %s\n", i, strings.Repeat("x", i*7%1500))
		}
		var wg sync.WaitGroup
		for i := range readers {
			rcvbuf := 0
			if i%5 == 0 {
				rcvbuf = 16384 // its socket fills up, so that writes are cut
			}
			nc, c := s.dial(proto, rcvbuf)
			c.Attach(l.g, l.cursor(0))
			wg.Go(func() {
				b := make([]byte, want.Len())
				if _, err := io.ReadFull(nc, b); err != nil || string(b) != want.String() {
					t.Errorf("reader %d: %v, equal %v", i, err, string(b) == want.String())
				}
			})
		}
		for line := range strings.SplitAfterSeq(want.String(), "\n") {
			// Now and then the tail is dropped, so that those who lag have to fetch.
			start := l.start
			if mrand.IntN(20) == 0 {
				start = len(l.all)
			}
			l.append(line, start)
		}
		wg.Wait()
	})
}

func TestKeepalive(t *testing.T) {
	kinds(t, Options{Keepalive: time.Second}, func(t *testing.T, s *server) {
		nc, _ := s.dial(proto, 0)
		r := bufio.NewReader(nc)
		for range 2 {
			if line, err := r.ReadString('\n'); line != ".\n" {
				t.Fatalf("got %q, %v", line, err)
			}
		}
	})
}

func TestNeverReading(t *testing.T) {
	kinds(t, Options{Keepalive: time.Second, WriteTimeout: 5 * time.Second}, func(t *testing.T, s *server) {
		l := &lines{g: s.e.NewGroup()}
		_, stuck := s.dial(proto, 4096)
		sc := l.cursor(0)
		stuck.Attach(l.g, sc)
		nc, c := s.dial(proto, 0)
		c.Attach(l.g, l.cursor(0))
		line := strings.Repeat("y", 8191) + "\n"
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := io.CopyN(io.Discard, nc, 2000*8192); err != nil {
				t.Error(err)
			}
		})
		for range 2000 {
			l.append(line, 0)
		}
		wg.Wait()
		<-sc.closed
		if n := s.e.Stats().Closed[ReasonWriteTimeout]; n != 1 {
			t.Errorf("%d connections closed for %s, want 1: %v", n, ReasonWriteTimeout, s.e.Stats().Closed)
		}
	})
}

func TestPeerCloses(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		l := &lines{g: s.e.NewGroup()}
		nc, c := s.dial(proto, 0)
		cur := l.cursor(0)
		c.Attach(l.g, cur)
		nc.Close()
		<-cur.closed
		l.append("to nobody\n", 0)
		late := l.cursor(0)
		c.Attach(l.g, late) // to a connection that is gone: released at once
		<-late.closed
	})
}

func TestInputAndWrite(t *testing.T) {
	echo := &Protocol{Name: "echo", Input: func(c *Conn, p []byte) error {
		if bytes.Equal(p, []byte("bad\n")) {
			return errors.New("bad-input")
		}
		c.Write(p)
		return nil
	}}
	kinds(t, Options{}, func(t *testing.T, s *server) {
		nc, _ := s.dial(echo, 0)
		r := bufio.NewReader(nc)
		for _, line := range []string{"one\n", "two\n"} {
			io.WriteString(nc, line)
			if got, err := r.ReadString('\n'); got != line {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		io.WriteString(nc, "bad\n")
		if _, err := r.ReadByte(); err == nil {
			t.Error("still open after bad input")
		}
		if s.e.Stats().Closed["bad-input"] != 1 {
			t.Errorf("closed: %v", s.e.Stats().Closed)
		}
	})
}

func TestPut(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		line := []byte(strings.Repeat("z", 9999) + "\n") // used again and again, as its owner may
		nc, _ := s.dial(&Protocol{Name: "put", Input: func(c *Conn, p []byte) error {
			for range p {
				c.Put(line, 1<<20)
				line[0]++
			}
			return nil
		}}, 4096)
		io.WriteString(nc, "0123456789")
		r := bufio.NewReaderSize(nc, 16<<10)
		for i := range 10 {
			got, err := r.ReadString('\n')
			if err != nil || len(got) != len(line) || got[0] != 'z'+byte(i) || got[1] != 'z' {
				t.Fatalf("line %d is of %d bytes and begins with %q: %v", i, len(got), got[:min(len(got), 2)], err)
			}
		}
	})
}

// A cursor that was idle for a reason of its own, which no Wake of the group ends.
func TestAttachmentWake(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		l := &lines{g: s.e.NewGroup()}
		nc, c := s.dial(proto, 0)
		a := c.Attach(l.g, l.cursor(0))
		l.mu.Lock()
		l.all = append(l.all, "quiet\n"...)
		l.mu.Unlock()
		a.Wake()
		if got, err := bufio.NewReader(nc).ReadString('\n'); got != "quiet\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

// Abort closes at once, also behind a write that waits for a peer that does not read.
func TestAbort(t *testing.T) {
	kinds(t, Options{WriteTimeout: time.Hour}, func(t *testing.T, s *server) {
		l := &lines{g: s.e.NewGroup()}
		_, c := s.dial(proto, 4096)
		cur := l.cursor(0)
		c.Attach(l.g, cur)
		for range 1000 {
			l.append(strings.Repeat("y", 16000)+"\n", 0)
		}
		c.Abort("enough")
		<-cur.closed
		st := s.e.Stats().Closed
		if st["enough"]+st[ReasonWriteTimeout] != 1 {
			t.Errorf("closed: %v", st)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	kinds(t, Options{MaxQueue: 1 << 16, WriteTimeout: time.Second, Keepalive: time.Second}, func(t *testing.T, s *server) {
		_, c := s.dial(proto, 4096)
		cur := (&lines{g: s.e.NewGroup()}).cursor(0)
		c.Attach(cur.l.g, cur)
		for range 200 {
			c.Write(make([]byte, 1<<16))
		}
		<-cur.closed
		st := s.e.Stats().Closed
		if st[ReasonQueue]+st[ReasonWriteTimeout] != 1 {
			t.Errorf("closed: %v", st)
		}
	})
}

func TestEnded(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		l := &lines{g: s.e.NewGroup()}
		nc, c := s.dial(proto, 0)
		cur := l.cursor(0)
		cur.ended = true
		c.Attach(l.g, cur)
		if b, err := io.ReadAll(nc); err != nil || string(b) != "ended\n" {
			t.Errorf("got %q, %v", b, err)
		}
		<-cur.closed
	})
}

func TestShutdown(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		l := &lines{g: s.e.NewGroup()}
		nc, c := s.dial(proto, 0)
		c.Attach(l.g, l.cursor(0))
		l.append("one\n", 0)
		l.append("two\n", len("one\ntwo\n")) // has to be fetched where it has not been seen
		read := make(chan string)
		go func() {
			b, _ := io.ReadAll(nc)
			read <- string(b)
		}()
		if err := s.e.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if got := <-read; got != "one\ntwo\ngoodbye\n" {
			t.Errorf("got %q", got)
		}
		if _, err := s.e.Add(nc, nil, proto); !errors.Is(err, ErrEnded) {
			t.Errorf("Add after Shutdown: %v", err)
		}
	})
}

func TestShutdownDoesNotWaitForever(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		l := &lines{g: s.e.NewGroup()}
		_, c := s.dial(proto, 4096)
		cur := l.cursor(0)
		c.Attach(l.g, cur)
		for range 2000 {
			l.append(strings.Repeat("z", 8191)+"\n", 0)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if err := s.e.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		<-cur.closed
	})
}

func TestDetach(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		a, b := &lines{g: s.e.NewGroup()}, &lines{g: s.e.NewGroup()}
		nc, c := s.dial(proto, 0)
		r := bufio.NewReader(nc)
		ca := a.cursor(0)
		at := c.Attach(a.g, ca)
		c.Attach(b.g, b.cursor(0))
		a.append("a1\n", 0)
		if line, _ := r.ReadString('\n'); line != "a1\n" {
			t.Fatal(line)
		}
		at.Detach()
		<-ca.closed
		a.append("a2\n", 0)
		b.append("b1\n", 0)
		if line, _ := r.ReadString('\n'); line != "b1\n" {
			t.Fatal(line)
		}
	})
}

// TestSwap changes what a connection reads while it is written, slowly in part, and nothing is lost or told twice.
func TestSwap(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		l := [2]*lines{{g: s.e.NewGroup()}, {g: s.e.NewGroup()}} // the same lines, in two groups
		nc, c := s.dial(proto, 16384)
		const events = 2000
		var want strings.Builder
		for i := range events {
			fmt.Fprintf(&want, "%d %s\n", i, strings.Repeat("w", i%900))
		}
		cur := l[0].cursor(0)
		a := c.Attach(l[0].g, cur)
		done := make(chan string)
		go func() {
			b := make([]byte, want.Len())
			io.ReadFull(nc, b)
			done <- string(b)
		}()
		which := 0
		for line := range strings.SplitAfterSeq(want.String(), "\n") {
			for _, x := range l {
				start := x.start
				if mrand.IntN(10) == 0 {
					start = len(x.all)
				}
				x.append(line, start)
			}
			if mrand.IntN(10) == 0 {
				which = 1 - which
				to := l[which]
				a.Swap(func() (*Group, Cursor) {
					old := cur
					cur = to.cursor(old.off)
					return to.g, cur
				})
			}
		}
		if got := <-done; got != want.String() {
			t.Error("what was read differs from what was written")
		}
	})
}

// TestAttachToClosed: what is done with a cursor that came too late is done to nothing.
func TestAttachToClosed(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		l := &lines{g: s.e.NewGroup()}
		nc, c := s.dial(&Protocol{Name: "lines"}, 0)
		nc.Close()
		first := l.cursor(0)
		c.Attach(l.g, first)
		<-first.closed
		cur := l.cursor(0)
		a := c.Attach(l.g, cur)
		<-cur.closed
		a.Swap(func() (*Group, Cursor) {
			t.Error("a closed cursor has been replaced")
			return nil, nil
		})
		a.Detach()
		done := make(chan struct{})
		c.Do(func() { close(done) })
		<-done
	})
}

// TestClosedAndGoodbye: the protocol hears once that a connection is closed, after its cursors, and says goodbye for
// those that have none.
func TestClosedAndGoodbye(t *testing.T) {
	closed := make(chan *Conn, 10)
	p := &Protocol{Name: "polite", Goodbye: []byte("so long\n"), Closed: func(c *Conn) {
		if len(c.atts) > 0 {
			t.Error("told of the end before the cursors were closed")
		}
		closed <- c
	}}
	kinds(t, Options{}, func(t *testing.T, s *server) {
		nc, c := s.dial(p, 0)
		cur := (&lines{g: s.e.NewGroup()}).cursor(0)
		c.Attach(cur.l.g, cur)
		nc.Close()
		if got := <-closed; got != c {
			t.Errorf("told of %p, want %p", got, c)
		}
		nc, c = s.dial(p, 0)
		if err := s.e.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(nc); string(got) != "so long\n" {
			t.Errorf("got %q, %v", got, err)
		}
		if got := <-closed; got != c || len(closed) > 0 {
			t.Errorf("told of %p and %d more, want %p", got, len(closed), c)
		}
	})
}

// TestDo: what is asked from another goroutine happens on the connection's own, in turn with its input.
func TestDo(t *testing.T) {
	n := 0 // of the goroutine that owns the connection; the race detector watches
	p := &Protocol{Name: "asked", Input: func(c *Conn, p []byte) error {
		n++
		go c.Do(func() {
			n++
			c.Write(fmt.Appendf(nil, "%d\n", n))
		})
		return nil
	}}
	kinds(t, Options{}, func(t *testing.T, s *server) {
		n = 0
		nc, _ := s.dial(p, 0)
		r := bufio.NewReader(nc)
		for i := 1; i <= 3; i++ {
			fmt.Fprintln(nc, "go on")
			if got, err := r.ReadString('\n'); got != fmt.Sprintln(2*i) {
				t.Fatalf("got %q, %v, want %d", got, err, 2*i)
			}
		}
		nc.Close()
	})
}

// TestInputOrder: what came with the handshake is used before what comes behind it, however soon that does.
func TestInputOrder(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		if s.tls != nil {
			return // what matters is below TLS
		}
		for range 50 {
			got := make(chan []byte, 10)
			p := &Protocol{Name: "order", Input: func(_ *Conn, p []byte) error {
				got <- bytes.Clone(p)
				return nil
			}}
			nc, err := net.Dial("tcp", s.ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			accepted, err := s.ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(nc, "second")
			if _, err := s.e.Add(accepted, []byte("first "), p); err != nil {
				t.Fatal(err)
			}
			all := <-got
			for len(all) < len("first second") {
				all = append(all, <-got...)
			}
			if string(all) != "first second" {
				t.Fatalf("got %q", all)
			}
		}
	})
}
