package irc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/irc"
	"tidings/outlet/outlettest"
)

// patience bounds every wait; passing it is a failure.
const patience = 20 * time.Second

// feed is a server on a listener.
type feed struct {
	*irc.Server
	w     *outlettest.World
	addr  string
	close func()
}

func (f *feed) Close() { f.close() }

// serve serves the world; change may be nil.
func serve(w *outlettest.World, change func(*irc.Options)) *feed {
	w.Helper()
	o := irc.Options{Hub: w.Hub, Edge: w.Edge, Authenticate: w.Policy.Authenticate, May: w.Policy.May, ServerName: "irc.example.org", Network: "Test",
		Motd: "hello", Version: "tidings-test",
		Topics: w.Topics}
	if change != nil {
		change(&o)
	}
	s, err := irc.New(o)
	if err != nil {
		w.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	return start(w, s, ln)
}

func start(w *outlettest.World, s *irc.Server, ln net.Listener) *feed {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(ln); err != nil {
			w.Error("serving:", err)
		}
	}()
	f := &feed{Server: s, w: w, addr: ln.Addr().String(), close: sync.OnceFunc(func() {
		s.Close()
		<-done
	})}
	w.Cleanup(f.close)
	return f
}

func newFeed(t *testing.T, change func(*irc.Options)) *feed {
	t.Helper()
	return serve(outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(nil)}, edge.Options{}), change)
}

// TestServeAfterClose: a Serve that comes too late closes its listener and returns.
func TestServeAfterClose(t *testing.T) {
	f := newFeed(t, nil)
	f.close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Serve(ln); err != nil {
		t.Error(err)
	}
	if nc, err := ln.Accept(); err == nil {
		nc.Close()
		t.Error("the listener is open")
	}
}

func (f *feed) dial(rcvbuf int) (net.Conn, error) {
	return outlettest.Dialer(rcvbuf).Dial("tcp", f.addr)
}

// client is a connection that reads lines.
type client struct {
	net.Conn
	r *bufio.Reader
}

// client connects and registers, after the lines given, such as a CAP REQ.
func (f *feed) client(rcvbuf int, before ...string) (*client, error) {
	nc, err := f.dial(rcvbuf)
	if err != nil {
		return nil, err
	}
	c := &client{nc, bufio.NewReader(nc)}
	c.send(append(before, "NICK tester", "USER tester 0 * :Tester", "CAP END")...)
	if _, err := c.until(" 376 "); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func (f *feed) mustClient(before ...string) *client {
	f.w.Helper()
	c, err := f.client(0, before...)
	if err != nil {
		f.w.Fatal(err)
	}
	f.w.Cleanup(func() { c.Close() })
	return c
}

func (c *client) send(lines ...string) error {
	_, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n")
	return err
}

// line reads one line.
func (c *client) line() (string, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	s, err := c.r.ReadString('\n')
	if err != nil {
		if err == io.EOF && s != "" {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	s, ok := strings.CutSuffix(s, "\r\n")
	if !ok {
		return "", fmt.Errorf("the line %q has no CR", s)
	}
	return s, nil
}

// until reads lines until one that has the text in it, and returns that.
func (c *client) until(text string) (string, error) {
	for {
		s, err := c.line()
		if err != nil {
			return "", fmt.Errorf("waiting for %q: %w", text, err)
		}
		if strings.Contains(s, text) {
			return s, nil
		}
		if strings.HasPrefix(s, "ERROR ") {
			return "", fmt.Errorf("waiting for %q: %s", text, s)
		}
	}
}

// suite is a feed as package outlettest wants it: what it subscribes to are channels made for it.
type suite struct {
	*feed
	mu sync.Mutex
	n  int
}

func (s *suite) Open(r outlettest.Request) (outlettest.Conn, error) {
	channel := "#" + r.Topics[0]
	if len(r.Topics) > 1 || strings.ContainsAny(r.Topics[0], "*?[") {
		s.mu.Lock()
		s.n++
		channel = fmt.Sprintf("#suite%d", s.n)
		s.mu.Unlock()
		var ps []tidings.Pattern
		for _, t := range r.Topics {
			ps = append(ps, tidings.MustPattern(t))
		}
		if err := s.Define(channel, ps); err != nil {
			return nil, err
		}
	}
	var pass []string
	if r.Token != "" {
		pass = []string{"PASS " + r.Token}
	}
	c, err := s.client(r.ReceiveBuffer, append(pass, "CAP REQ message-tags")...)
	if err != nil {
		if strings.Contains(err.Error(), "Bad token") {
			err = tidings.Errorf(tidings.ErrUnauthenticated, "%w", err)
		}
		return nil, err
	}
	join := "JOIN " + channel
	if !r.After.IsZero() {
		join += " since=" + r.After.String()
	}
	c.send(join)
	for {
		l, err := c.line()
		if err != nil {
			return nil, err
		}
		if strings.Contains(l, " 366 ") {
			return &member{c}, nil
		}
		if strings.Contains(l, " 473 ") {
			c.Close()
			return nil, tidings.Errorf(tidings.ErrForbidden, "%s", l)
		}
		if strings.Contains(l, " 403 ") {
			c.Close()
			return nil, errors.New(l)
		}
	}
}

// member is a client on one channel.
type member struct{ c *client }

func (m *member) Close() { m.c.Close() }

var (
	said   = regexp.MustCompile(`^@msgid=(\S+) (:rc-pmtpa!rc-pmtpa@irc\.example\.org PRIVMSG #\S+ :(\{"n":\d+)([,}].*))$`)
	gapped = regexp.MustCompile(`^@msgid=(\S+) :irc\.example\.org NOTICE #\S+ :Events after \S+ are not all kept any more\. Going on from (\S+), `)
)

// Next returns the payload of a line that was cut as what the suite looks at: its number.
func (m *member) Next() (outlettest.Event, error) {
	for {
		l, err := m.c.line()
		if err != nil {
			return outlettest.Event{}, err
		}
		if f := said.FindStringSubmatch(l); f != nil {
			if n := len(f[2]) + 2; n > 512 || n < 512 && !strings.HasSuffix(l, "}") {
				return outlettest.Event{}, fmt.Errorf("a line of %d bytes: %q", n, l)
			}
			p, err := tidings.ParsePosition(f[1])
			return outlettest.Event{Kind: outlettest.Message, Position: p, Payload: []byte(f[3] + "}")}, err
		}
		if f := gapped.FindStringSubmatch(l); f != nil && f[1] == f[2] {
			p, err := tidings.ParsePosition(f[1])
			return outlettest.Event{Kind: outlettest.Gap, Position: p}, err
		}
		switch {
		case strings.HasPrefix(l, "PING "):
		case l == "ERROR :Closing Link: (Server is stopping, come back soon)":
			return outlettest.Event{Kind: outlettest.Goodbye}, nil
		case strings.HasPrefix(l, "ERROR :Closing Link: (#") && strings.Contains(l, "withdrawn"):
			return outlettest.Event{Kind: outlettest.Denied}, nil
		default:
			return outlettest.Event{}, fmt.Errorf("a line that means nothing: %q", l)
		}
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	outlettest.Run(t, outlettest.Outlet{Serve: func(w *outlettest.World) outlettest.Server {
		return &suite{feed: serve(w, func(o *irc.Options) {
			// The suite opens topics before it publishes on them.
			o.Topics = func(_ context.Context, p tidings.Pattern) ([]tidings.Topic, error) {
				t, _ := p.Topic()
				return []tidings.Topic{t}, nil
			}
		})}
	}})
}

// The table of errors has every kind.
func TestKindsAreComplete(t *testing.T) {
	for _, k := range tidings.ErrorKinds() {
		if irc.Numeric(k) == "" {
			t.Errorf("%v has no numeric", k)
		}
	}
}
