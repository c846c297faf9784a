package dial_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"tidings/xmpp/dial"
	"tidings/xmpp/server"
	"tidings/xmpp/stanza"
)

// cut is a connection that breaks after so many bytes in either direction, in the middle of whatever comes then.
type cut struct {
	net.Conn
	left atomic.Int64
}

var errCut = errors.New("the line is cut")

func (c *cut) spend(n int) int { return int(min(max(c.left.Add(int64(-n))+int64(n), 0), int64(n))) }

func (c *cut) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		if may := c.spend(n); may < n {
			c.Conn.Close()
			return may, errCut
		}
	}
	return n, err
}

func (c *cut) Write(p []byte) (int, error) {
	if may := c.spend(len(p)); may < len(p) {
		n, _ := c.Conn.Write(p[:may])
		c.Conn.Close()
		return n, errCut
	}
	return c.Conn.Write(p)
}

// A session whose connection is cut again and again, anywhere, has every stanza once and in order, both ways.
func TestResume(t *testing.T) {
	w := start(t, func(o *server.Options) { o.MaxUnacked = 1 << 20 })
	ctx := deadline(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cfg := dial.Config{JID: localhost, Address: w.addrs[server.NoTLS], Manage: true}
	cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
		c := &cut{Conn: nc}
		c.left.Store(1 << 62)
		return c, err
	}
	c, err := dial.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send([]byte("<presence to='echo.localhost'/>")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request(ctx, stanza.TypeGet, echoJID, []byte("<x xmlns='urn:x'/>")); err != nil {
		t.Fatal(err)
	}
	self, peer := c.JID(), w.echo.peer(t)
	cfg.Resume = c.Drop()
	cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
		c := &cut{Conn: nc}
		c.left.Store(100 + random.Int64N(6000))
		return c, err
	}

	const n = 300
	go func() {
		for i := range n {
			peer.Send(stanza.AppendEnd(fmt.Appendf(stanza.AppendStart(nil, stanza.Message, stanza.TypeChat, "", echoJID, self), "<body>%d</body>", i), stanza.Message))
		}
	}()
	pushed, echoed, sent, dials := 0, 0, 0, 0
	for pushed < n || echoed < 3*n {
		c, err := dial.Dial(ctx, cfg)
		if dials++; err != nil {
			if ctx.Err() != nil {
				t.Fatalf("after %d dials: %v", dials, err)
			}
			continue // cut before it began
		}
		if !c.Resumed() || c.JID() != self {
			t.Fatalf("a new session: %s", c.JID())
		}
		for err == nil && (pushed < n || echoed < 3*n) {
			if sent < n && sent <= echoed/3 {
				// One that is not sent now is sent when the session is resumed.
				err = c.Send(fmt.Appendf(nil, "<message to='echo.localhost'><body>%d</body></message>", sent))
				sent++
				continue
			}
			var st stanza.Stanza
			if st, err = c.Next(ctx); err != nil {
				break
			}
			text := st.Child("body").Text()
			if st.Type == stanza.TypeChat {
				if text != fmt.Sprint(pushed) {
					t.Fatalf("pushed %s, want %d", text, pushed)
				}
				pushed++
			} else {
				if text != fmt.Sprint(echoed/3) {
					t.Fatalf("echo %s, want %d", text, echoed/3)
				}
				echoed++
			}
		}
		cfg.Resume = c.Drop()
		if cfg.Resume == nil {
			t.Fatalf("the session is gone: %v", err)
		}
	}
	if st := w.srv.Stats(); st.Resumed < 5 {
		t.Errorf("resumed %d times only", st.Resumed)
	}
	t.Logf("%d dials", dials)
}

// A session that the server has not kept is a new one.
func TestResumeLost(t *testing.T) {
	w := start(t, func(o *server.Options) { o.ResumeWindow = -1 })
	c := connect(t, w, server.NoTLS, func(cfg *dial.Config) { cfg.Manage = true })
	if s := c.Drop(); s != nil {
		t.Error("the server allowed no resumption")
	}

	w = start(t, func(o *server.Options) { o.ResumeWindow = time.Nanosecond })
	c = connect(t, w, server.NoTLS, func(cfg *dial.Config) { cfg.Manage = true })
	s := c.Drop()
	if s == nil || s.JID() != c.JID() {
		t.Fatalf("%v", s)
	}
	for ctx := deadline(t); w.srv.Stats().Closed[server.ReasonExpired] == 0; { // the server's wheel turns
		if ctx.Err() != nil {
			t.Fatal("the session does not end")
		}
		if err := w.ping(t); err != nil {
			t.Fatal(err)
		}
	}
	again := connect(t, w, server.NoTLS, func(cfg *dial.Config) { cfg.Manage, cfg.Resume = true, s })
	if again.Resumed() || again.JID() == c.JID() {
		t.Errorf("resumed as %s", again.JID())
	}
	if again.Drop() == nil {
		t.Error("the new session cannot be resumed")
	}
}

// ping makes a round trip on a connection of its own.
func (w *world) ping(t *testing.T) error {
	nc, err := net.Dial("tcp", w.addrs[server.NoTLS])
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, "<nothing/>"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, nc)
	return err
}
