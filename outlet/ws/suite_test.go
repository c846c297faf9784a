package ws_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"tidings"
	"tidings/internal/bearer"
	"tidings/outlet/outlettest"
	"tidings/outlet/ws"
)

// web is the outlet on a listener.
type web struct {
	addr    string
	close   func()
	mode    websocket.CompressionMode
	message bool   // subscriptions are asked for by messages and not by the address
	early   string // a frame that comes with the handshake
}

// eager is a connection whose first write takes a frame with it.
type eager struct {
	net.Conn
	frame string
}

func (c *eager) Write(p []byte) (int, error) {
	n := len(p)
	p, c.frame = append(p[:n:n], c.frame...), ""
	m, err := c.Conn.Write(p)
	return min(m, n), err
}

func (s *web) Close() { s.close() }

func serve(w *outlettest.World, o ws.Options) *web {
	w.Helper()
	o.Hub, o.Edge, o.Token = w.Hub, w.Edge, w.Policy.Authenticate
	o.Authenticate = func(r *http.Request) (tidings.Actor, error) { return bearer.Actor(r, w.Policy.Authenticate) }
	out := ws.New(o)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /subscribe", out.ServeSubscribe)
	mux.HandleFunc("GET /topics/", out.ServeTopic)
	addr, stop := w.Listen(mux)
	return &web{addr: addr, mode: websocket.CompressionDisabled, close: stop}
}

// dial opens a connection to an address.
func (s *web) dial(path, token string, rcvbuf int) (*conn, *http.Response, error) {
	d := outlettest.Dialer(rcvbuf)
	early := s.early
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := d.DialContext(ctx, network, addr)
		if err == nil && early != "" {
			nc = &eager{nc, early}
		}
		return nc, err
	}
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	c, resp, err := websocket.Dial(context.Background(), "ws://"+s.addr+path, &websocket.DialOptions{
		HTTPHeader: h, CompressionMode: s.mode,
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}},
	})
	if err != nil {
		return nil, resp, err
	}
	c.SetReadLimit(1 << 20)
	return &conn{c}, resp, nil
}

// Open reads one topic at its own address and several at /subscribe.
func (s *web) Open(r outlettest.Request) (outlettest.Conn, error) {
	q := url.Values{}
	path := "/subscribe"
	switch {
	case s.message:
	case len(r.Topics) == 1 && !strings.ContainsAny(r.Topics[0], "?["):
		path = "/topics" + r.Topics[0]
	default:
		q["topic"] = r.Topics
	}
	if !r.After.IsZero() && !s.message {
		q.Set("since", r.After.String())
	}
	token := r.Token
	if s.message {
		token = ""
	}
	c, resp, err := s.dial(path+"?"+q.Encode(), token, r.ReceiveBuffer)
	if err != nil {
		kind := tidings.ErrInvalid
		if resp != nil && resp.StatusCode == http.StatusUnauthorized {
			kind = tidings.ErrUnauthenticated
		} else if resp != nil && resp.StatusCode == http.StatusForbidden {
			kind = tidings.ErrForbidden
		}
		return nil, tidings.Errorf(kind, "%w", err)
	}
	if s.message {
		if r.Token != "" {
			c.send(map[string]any{"type": "authenticate", "token": r.Token})
			if m, err := c.receive(); err != nil || m.Type != "authenticated" {
				c.Close()
				return nil, tidings.Errorf(tidings.ErrUnauthenticated, "answered %+v, %v", m, err)
			}
		}
		m := map[string]any{"type": "subscribe", "id": "x", "topics": r.Topics}
		if !r.After.IsZero() {
			m["after"] = r.After
		}
		c.send(m)
	}
	m, err := c.receive()
	if err != nil || m.Type != "subscribed" {
		c.Close()
		kind := tidings.ErrInvalid
		if m.Status == http.StatusForbidden || m.Status == http.StatusUnauthorized {
			kind = tidings.ErrForbidden
		}
		return nil, tidings.Errorf(kind, "begins with %+v, %v", m, err)
	}
	return c, nil
}

// conn reads messages.
type conn struct{ c *websocket.Conn }

// message is any of the server's.
type message struct {
	SpecVersion, Type, Topic, ID, Code, Request, Detail, Actor string
	Topics                                                     []string
	Status                                                     int
	Position, Asked, Oldest                                    tidings.Position
	Data                                                       json.RawMessage
}

func (c *conn) Close() { c.c.CloseNow() }

func (c *conn) send(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	c.c.Write(context.Background(), websocket.MessageText, b)
}

func (c *conn) receive() (m message, err error) {
	typ, b, err := c.c.Read(context.Background())
	if err != nil {
		return m, err
	}
	if typ != websocket.MessageText {
		return m, fmt.Errorf("a binary message")
	}
	return m, json.Unmarshal(b, &m)
}

func (c *conn) Next() (outlettest.Event, error) {
	m, err := c.receive()
	switch {
	case websocket.CloseStatus(err) == websocket.StatusGoingAway:
		return outlettest.Event{Kind: outlettest.Goodbye}, nil
	case err != nil && (websocket.CloseStatus(err) == websocket.StatusPolicyViolation || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "already")):
		return outlettest.Event{}, io.EOF
	case err != nil:
		return outlettest.Event{}, err
	}
	switch {
	case m.SpecVersion == "1.0" && m.Type == "tidings.publish":
		return outlettest.Event{Kind: outlettest.Message, Position: m.Position, Payload: m.Data}, nil
	case m.Type == "gap" && m.Position == m.Oldest && !m.Asked.IsZero():
		return outlettest.Event{Kind: outlettest.Gap, Position: m.Position}, nil
	case m.Type == "error" && m.Code == "forbidden":
		return outlettest.Event{Kind: outlettest.Denied}, nil
	}
	return outlettest.Event{}, fmt.Errorf("a message that means nothing: %+v", m)
}

func TestSuite(t *testing.T) {
	t.Parallel()
	outlettest.Run(t, outlettest.Outlet{Serve: func(w *outlettest.World) outlettest.Server { return serve(w, ws.Options{}) }})
}

func TestSuiteOfMessages(t *testing.T) {
	t.Parallel()
	outlettest.Run(t, outlettest.Outlet{Serve: func(w *outlettest.World) outlettest.Server {
		s := serve(w, ws.Options{})
		s.message = true
		return s
	}})
}
