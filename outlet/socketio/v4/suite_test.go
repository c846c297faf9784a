package v4

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	wsclient "github.com/coder/websocket"

	"tidings"
	"tidings/internal/bearer"
	"tidings/outlet/outlettest"
)

// mode is how the clients of a test are carried.
type mode int

const (
	overSocket mode = iota
	overPolls
	upgraded // polls first
)

// web is the outlet on a listener.
type web struct {
	*Server
	addr string
	mode mode
	stop func()
}

func serve(w *outlettest.World, o Options) *web {
	w.Helper()
	o.Hub, o.Edge, o.Token = w.Hub, w.Edge, w.Policy.Authenticate
	if o.Origins == nil {
		o.Origins = []string{"*"}
	}
	o.Authenticate = func(r *http.Request) (tidings.Actor, error) { return bearer.Actor(r, w.Policy.Authenticate) }
	s := New(o)
	addr, stop := w.Listen(s)
	x := &web{Server: s, addr: addr, stop: stop}
	w.Cleanup(func() {
		x.stop()
		s.Shutdown()
	})
	return x
}

// Close stops listening. The stream of a client that polls is made of requests, which go on until the edge has ended.
func (s *web) Close() {
	if s.mode != overPolls {
		s.stop()
	}
}

// engine is a client's side of an Engine.IO session.
type engine struct {
	http   *http.Client
	url    string // of the session, without the scheme and the transport
	ctx    context.Context
	cancel func()

	ws    *wsclient.Conn // nil while it polls
	queue []string
	ended bool
}

// open makes a session and reads its first packet.
func (s *web) open(m mode, rcvbuf int, token string) (*engine, error) {
	ctx, cancel := context.WithCancel(context.Background())
	e := &engine{http: outlettest.Client(rcvbuf), url: s.addr + "/socket.io/?EIO=4", ctx: ctx, cancel: cancel}
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	if m == overSocket {
		if err := e.dial(h); err != nil {
			cancel()
			return nil, err
		}
	}
	first, err := e.next()
	if err != nil {
		e.Close()
		return nil, err
	}
	var open struct {
		SID                       string
		Upgrades                  []string
		PingInterval, PingTimeout int
		MaxPayload                int
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(first, "0")), &open); err != nil || len(open.SID) != 20 || open.PingInterval == 0 || open.PingTimeout == 0 || open.MaxPayload == 0 || (len(open.Upgrades) == 1) != (m != overSocket) {
		e.Close()
		return nil, fmt.Errorf("the session begins with %q, %v", first, err)
	}
	e.url += "&sid=" + open.SID
	return e, nil
}

func (e *engine) dial(h http.Header) error {
	c, resp, err := wsclient.Dial(e.ctx, "ws://"+e.url+"&transport=websocket", &wsclient.DialOptions{HTTPClient: e.http, HTTPHeader: h})
	if err != nil {
		if resp != nil && resp.StatusCode == http.StatusForbidden {
			err = tidings.Errorf(tidings.ErrForbidden, "%w", err)
		}
		return err
	}
	c.SetReadLimit(1 << 20)
	e.ws = c
	return nil
}

// upgrade goes from polls to a WebSocket as the reference client does: the probe, then the end of the poll that is held.
// Packets that come by it are kept.
func (e *engine) upgrade() error {
	polled := make(chan error, 1)
	go func() {
		b, err := e.do(http.MethodGet, "")
		for p := range strings.SplitSeq(b, "\x1e") {
			if err == nil && p != "6" {
				e.queue = append(e.queue, p)
			}
		}
		polled <- err
	}()
	c, _, err := wsclient.Dial(e.ctx, "ws://"+e.url+"&transport=websocket", &wsclient.DialOptions{HTTPClient: e.http})
	if err != nil {
		return err
	}
	c.SetReadLimit(1 << 20)
	if err := c.Write(e.ctx, wsclient.MessageText, []byte("2probe")); err != nil {
		return err
	}
	if _, b, err := c.Read(e.ctx); err != nil || string(b) != "3probe" {
		return fmt.Errorf("the probe is answered with %q, %v", b, err)
	}
	if err := <-polled; err != nil {
		return err
	}
	e.ws = c
	return e.send("5")
}

func (e *engine) do(method, body string) (string, error) {
	req, err := http.NewRequestWithContext(e.ctx, method, "http://"+e.url+"&transport=polling", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

// send sends packets of Engine.IO.
func (e *engine) send(packets ...string) error {
	if e.ws == nil {
		b, err := e.do(http.MethodPost, strings.Join(packets, "\x1e"))
		if err == nil && b != "ok" {
			err = fmt.Errorf("a post is answered with %q", b)
		}
		return err
	}
	for _, p := range packets {
		if err := e.ws.Write(e.ctx, wsclient.MessageText, []byte(p)); err != nil {
			return err
		}
	}
	return nil
}

// next returns the next packet but for pings, which it answers, and noops; io.EOF when the session is closed in order.
func (e *engine) next() (string, error) {
	for {
		if len(e.queue) == 0 {
			switch {
			case e.ended:
				return "", io.EOF
			case e.ws != nil:
				typ, b, err := e.ws.Read(e.ctx)
				if code := wsclient.CloseStatus(err); code == wsclient.StatusGoingAway {
					e.ended = true
					return "1", nil // as a client that polls is told
				} else if code >= 0 {
					return "", io.EOF
				}
				if err != nil {
					return "", err
				}
				if typ != wsclient.MessageText {
					return "", fmt.Errorf("a binary message")
				}
				e.queue = append(e.queue, string(b))
			default:
				b, err := e.do(http.MethodGet, "")
				if err != nil {
					return "", err
				}
				e.queue = strings.Split(b, "\x1e")
			}
		}
		p := e.queue[0]
		e.queue = e.queue[1:]
		switch p {
		case "6":
			continue
		case "2":
			if err := e.send("3"); err != nil {
				return "", err
			}
			continue
		case "1":
			e.ended = true
		}
		return p, nil
	}
}

func (e *engine) Close() {
	e.cancel()
	if e.ws != nil {
		e.ws.CloseNow()
	}
	e.http.CloseIdleConnections()
}

// Open subscribes in the namespace /.
func (s *web) Open(r outlettest.Request) (outlettest.Conn, error) {
	e, err := s.open(s.mode, r.ReceiveBuffer, "")
	if err != nil {
		return nil, err
	}
	c := &reader{engine: e}
	fail := func(err error) (outlettest.Conn, error) {
		e.Close()
		return nil, err
	}
	connect := "40"
	if r.Token != "" {
		connect = `40{"token":"` + r.Token + `"}`
	}
	if err := e.send(connect); err != nil {
		return fail(err)
	}
	if p, err := e.next(); err != nil || !strings.HasPrefix(p, `40{"`) {
		return fail(tidings.Errorf(tidings.ErrUnauthenticated, "connecting is answered with %q, %v", p, err))
	}
	if s.mode == upgraded {
		if err := e.upgrade(); err != nil {
			return fail(err)
		}
	}
	want := map[string]any{"topics": r.Topics}
	if !r.After.IsZero() {
		want["after"] = r.After
	}
	b, _ := json.Marshal(want)
	if err := e.send(`420["subscribe",` + string(b) + `]`); err != nil {
		return fail(err)
	}
	for {
		p, err := e.next()
		switch {
		case err != nil:
			return fail(err)
		case strings.HasPrefix(p, `430[{"topics"`):
			return c, nil
		case strings.HasPrefix(p, `430[{"error"`):
			return fail(tidings.Errorf(tidings.ErrForbidden, "%s", p))
		case !strings.HasPrefix(p, `42["subscribed"`):
			c.early = append(c.early, p)
		}
	}
}

// reader reads events as the suite wants them.
type reader struct {
	*engine
	early []string // packets that came before the acknowledgement
}

func (c *reader) Next() (outlettest.Event, error) {
	for {
		p := ""
		if len(c.early) > 0 {
			p, c.early = c.early[0], c.early[1:]
		} else {
			var err error
			if p, err = c.next(); err != nil {
				return outlettest.Event{}, err
			}
		}
		switch p {
		case "1":
			return outlettest.Event{Kind: outlettest.Goodbye}, nil
		case "41":
			if c.ws == nil { // and the end of the session behind it
				if p, err := c.next(); p != "1" {
					return outlettest.Event{}, fmt.Errorf("behind the end of the namespace: %q, %v", p, err)
				}
			}
			continue
		}
		name, args, ok := parseEvent([]byte(strings.TrimPrefix(p, "42")))
		if !ok {
			return outlettest.Event{}, fmt.Errorf("the packet %q means nothing", p)
		}
		switch name {
		case "error":
			return outlettest.Event{Kind: outlettest.Denied}, nil
		case "gap":
			var g gap
			if err := json.Unmarshal(args[0], &g); err != nil || g.Asked.IsZero() {
				return outlettest.Event{}, fmt.Errorf("a gap with the data %s: %v", args[0], err)
			}
			return outlettest.Event{Kind: outlettest.Gap, Position: g.Oldest}, nil
		case "event":
			var ce struct {
				Position tidings.Position
				Data     json.RawMessage
			}
			var offset string
			if err := errors.Join(json.Unmarshal(args[0], &ce), json.Unmarshal(args[1], &offset)); err != nil || !strings.HasPrefix(offset, ce.Position.String()+"?topic=") {
				return outlettest.Event{}, fmt.Errorf("an event with the offset %s: %v", args[1], err)
			}
			return outlettest.Event{Kind: outlettest.Message, Position: ce.Position, Payload: ce.Data}, nil
		}
		return outlettest.Event{}, fmt.Errorf("the event %q means nothing", p)
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]mode{"socket": overSocket, "polls": overPolls, "upgraded": upgraded} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outlettest.Run(t, outlettest.Outlet{Polls: m == overPolls, Serve: func(w *outlettest.World) outlettest.Server {
				s := serve(w, Options{})
				s.mode = m
				return s
			}})
		})
	}
}
