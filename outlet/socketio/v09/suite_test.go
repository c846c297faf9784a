package v09

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	wsclient "github.com/coder/websocket"

	"tidings"
	"tidings/internal/bearer"
	"tidings/outlet/outlettest"
)

// web is the outlet on a listener.
type web struct {
	*Server
	w       *outlettest.World
	addr    string
	polling bool
	stop    func()
}

func serve(w *outlettest.World, o Options) *web {
	w.Helper()
	o.Hub, o.Edge, o.Origins, o.Log = w.Hub, w.Edge, []string{"*"}, slog.New(slog.DiscardHandler)
	o.Authenticate = func(r *http.Request) (tidings.Actor, error) { return bearer.Actor(r, w.Policy.Authenticate) }
	s := New(o)
	addr, stop := w.Listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/rcstream_status" {
			s.ServeStatus(w, r)
			return
		}
		s.ServeHTTP(w, r)
	}))
	x := &web{Server: s, w: w, addr: addr, stop: stop}
	w.Cleanup(func() {
		x.stop()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			w.Error(err)
		}
	})
	return x
}

// Close stops listening. The stream of a client that polls is made of requests, so that there it goes on until it has been told
// goodbye.
func (s *web) Close() {
	if !s.polling {
		s.stop()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.w.Hub.Drain(ctx)
	s.Goodbye()
}

// wire carries packets.
type wire interface {
	send(pkt string) error
	next() (string, error) // io.EOF at the end
	close()
}

func (s *web) handshake(c *http.Client, token string) (id string, err error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.addr+"/socket.io/1/?t=1", nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return "", tidings.Errorf(tidings.ErrUnauthenticated, "%s", body)
	}
	parts := strings.Split(string(body), ":")
	if resp.StatusCode != http.StatusOK || len(parts) != 4 {
		return "", fmt.Errorf("the handshake is answered with %s, %q", resp.Status, body)
	}
	return parts[0], nil
}

// connect makes a session on the transport and reads its connect packet.
func (s *web) connect(rcvbuf int, token string) (wire, error) {
	c := outlettest.Client(rcvbuf)
	id, err := s.handshake(c, token)
	if err != nil {
		return nil, err
	}
	var x wire
	if s.polling {
		ctx, cancel := context.WithCancel(context.Background())
		x = &pollWire{client: c, url: "http://" + s.addr + "/socket.io/1/xhr-polling/" + id, ctx: ctx, cancel: cancel}
	} else {
		ws, _, err := wsclient.Dial(context.Background(), "ws://"+s.addr+"/socket.io/1/websocket/"+id, &wsclient.DialOptions{HTTPClient: c})
		if err != nil {
			return nil, err
		}
		ws.SetReadLimit(1 << 20)
		x = &socketWire{ws, c}
	}
	if pkt, err := x.next(); pkt != "1::" {
		x.close()
		return nil, fmt.Errorf("the server begins with %q, %v", pkt, err)
	}
	return x, nil
}

type socketWire struct {
	c    *wsclient.Conn
	http *http.Client
}

func (s *socketWire) send(pkt string) error {
	return s.c.Write(context.Background(), wsclient.MessageText, []byte(pkt))
}

func (s *socketWire) next() (string, error) {
	typ, b, err := s.c.Read(context.Background())
	if err != nil {
		if code := wsclient.CloseStatus(err); code >= 0 {
			return "", io.EOF
		}
		return "", err
	}
	if typ != wsclient.MessageText {
		return "", fmt.Errorf("a binary message")
	}
	return string(b), nil
}

func (s *socketWire) close() { s.c.CloseNow() }

type pollWire struct {
	client *http.Client
	url    string
	ctx    context.Context
	cancel func()
	queue  []string
	ended  bool
}

func (p *pollWire) do(method, body string) (string, error) {
	req, err := http.NewRequestWithContext(p.ctx, method, p.url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := p.client.Do(req)
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

func (p *pollWire) send(pkt string) error {
	b, err := p.do(http.MethodPost, pkt)
	if err == nil && b != "1" {
		err = fmt.Errorf("a post is answered with %q", b)
	}
	return err
}

func (p *pollWire) next() (string, error) {
	for len(p.queue) == 0 {
		if p.ended {
			return "", io.EOF
		}
		b, err := p.do(http.MethodGet, "")
		if err != nil {
			return "", err
		}
		if p.queue, err = split(b); err != nil {
			return "", err
		}
		if p.queue[0] == packetNoop {
			p.queue = p.queue[1:]
		}
	}
	pkt := p.queue[0]
	p.queue = p.queue[1:]
	return pkt, nil
}

func (p *pollWire) close() {
	p.cancel()
	p.client.CloseIdleConnections()
}

// split takes a body apart as a client of Python does, and holds every byte of it to be ASCII but for the frames.
func split(body string) (pkts []string, err error) {
	if !strings.HasPrefix(body, "\uFFFD") {
		pkts = []string{body}
	} else {
		parts := strings.Split(body, "\uFFFD")[1:]
		for ; len(parts) >= 2; parts = parts[2:] {
			if fmt.Sprint(len(parts[1])) != parts[0] {
				return nil, fmt.Errorf("the length %s of %q is wrong", parts[0], parts[1])
			}
			pkts = append(pkts, parts[1])
		}
		if len(parts) != 0 || len(pkts) == 1 {
			return nil, fmt.Errorf("the body %q is not framed as it should be", body)
		}
	}
	for _, p := range pkts {
		if strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, fmt.Errorf("%q is not ASCII", p)
		}
	}
	return pkts, nil
}

// Open subscribes to topics, in the namespace as any client.
func (s *web) Open(r outlettest.Request) (outlettest.Conn, error) {
	x, err := s.connect(r.ReceiveBuffer, r.Token)
	if err != nil {
		return nil, err
	}
	c := &reader{wire: x}
	args, _ := json.Marshal(r.Topics)
	packets := []string{"1::/rc"}
	if !r.After.IsZero() {
		packets = append(packets, `5::/rc:{"name":"resume","args":["`+r.After.String()+`"]}`)
	}
	for _, p := range append(packets, `5:1+:/rc:{"name":"subscribe","args":[`+string(args)+`]}`) {
		if err := x.send(p); err != nil {
			x.close()
			return nil, err
		}
	}
	for {
		p, err := x.next()
		switch {
		case err != nil:
		case p == "1::/rc":
			continue
		case strings.HasPrefix(p, "6::/rc:1+"):
			return c, nil
		case strings.HasPrefix(p, "5::/rc:") && strings.HasSuffix(p, `"name":"error"}`):
			err = tidings.Errorf(tidings.ErrForbidden, "%s", p)
		default:
			c.early = append(c.early, p)
			continue
		}
		x.close()
		return nil, err
	}
}

// reader reads events as the suite wants them.
type reader struct {
	wire
	early []string // packets that came before the acknowledgement
}

func (c *reader) Close() { c.close() }

func (c *reader) Next() (outlettest.Event, error) {
	for {
		pkt := ""
		if len(c.early) > 0 {
			pkt, c.early = c.early[0], c.early[1:]
		} else {
			var err error
			if pkt, err = c.next(); err != nil {
				return outlettest.Event{}, err
			}
		}
		switch pkt {
		case packetHeartbeat:
			if err := c.send(packetHeartbeat); err != nil {
				return outlettest.Event{}, err
			}
			continue
		case packetDisconnect:
			c.over()
			continue
		case packetGoodbye:
			c.over()
			return outlettest.Event{Kind: outlettest.Goodbye}, nil
		}
		data, ok := strings.CutPrefix(pkt, "5::/rc:")
		if !ok {
			return outlettest.Event{}, fmt.Errorf("the packet %q means nothing", pkt)
		}
		var e event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return outlettest.Event{}, err
		}
		switch e.Name {
		case eventError:
			return outlettest.Event{Kind: outlettest.Denied}, nil
		case eventGap:
			var gap struct{ Asked, Oldest tidings.Position }
			if err := json.Unmarshal(e.Args[0], &gap); err != nil || gap.Asked.IsZero() {
				return outlettest.Event{}, fmt.Errorf("a gap with the data %s: %v", e.Args[0], err)
			}
			return outlettest.Event{Kind: outlettest.Gap, Position: gap.Oldest}, nil
		case eventPublish:
			var ce struct {
				Position tidings.Position
				Data     json.RawMessage
			}
			if err := json.Unmarshal(e.Args[0], &ce); err != nil {
				return outlettest.Event{}, err
			}
			return outlettest.Event{Kind: outlettest.Message, Position: ce.Position, Payload: ce.Data}, nil
		}
		return outlettest.Event{}, fmt.Errorf("the event %q means nothing", pkt)
	}
}

// over notes that a session has ended: one that polls is not closed by anything else.
func (c *reader) over() {
	if p, ok := c.wire.(*pollWire); ok {
		p.ended = true
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	outlettest.Run(t, outlettest.Outlet{Serve: func(w *outlettest.World) outlettest.Server { return serve(w, Options{}) }})
}

func TestSuiteOfPolls(t *testing.T) {
	t.Parallel()
	outlettest.Run(t, outlettest.Outlet{Polls: true, Serve: func(w *outlettest.World) outlettest.Server {
		s := serve(w, Options{})
		s.polling = true
		return s
	}})
}
