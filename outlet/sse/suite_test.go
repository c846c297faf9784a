package sse_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/bearer"
	"tidings/outlet/outlettest"
	"tidings/outlet/sse"
)

// web is the outlet on a listener.
type web struct {
	addr   string
	close  func()
	ndjson bool
}

func (s *web) Close() { s.close() }

// serve routes as the program does, as far as streams are concerned.
func serve(w *outlettest.World, more func(mux *http.ServeMux)) *web {
	w.Helper()
	out := &sse.Server{Hub: w.Hub, Edge: w.Edge, Retry: 2 * time.Second, MaxPatterns: 20,
		Authenticate: func(r *http.Request) (tidings.Actor, error) { return bearer.Actor(r, w.Policy.Authenticate) }}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+sse.StreamsPath, out.ServeStream)
	mux.HandleFunc("GET /subscribe", out.ServeSubscribe)
	mux.HandleFunc("GET /topics/", func(w http.ResponseWriter, r *http.Request) {
		out.ServeTopic(w, r, r.URL.Query().Get("format") == "ndjson")
	})
	if more != nil {
		more(mux)
	}
	addr, stop := w.Listen(mux)
	return &web{addr: addr, close: stop}
}

func (s *web) dial(rcvbuf int) (net.Conn, error) {
	return outlettest.Dialer(rcvbuf).Dial("tcp", s.addr)
}

// Open reads one topic at its own address and several at /subscribe.
func (s *web) Open(r outlettest.Request) (outlettest.Conn, error) {
	q := url.Values{}
	path := "/subscribe"
	if len(r.Topics) == 1 && !strings.ContainsAny(r.Topics[0], "?[") {
		path = "/topics" + r.Topics[0]
	} else {
		q["topic"] = r.Topics
	}
	accept := sse.TypeSSE
	if s.ndjson {
		accept = sse.TypeNDJSON
		q.Set("format", "ndjson")
	}
	if !r.After.IsZero() && s.ndjson {
		q.Set("since", r.After.String())
	}
	nc, err := s.dial(r.ReceiveBuffer)
	if err != nil {
		return nil, err
	}
	var req strings.Builder
	fmt.Fprintf(&req, "GET %s?%s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n", path, q.Encode(), s.addr, accept)
	if r.Token != "" {
		fmt.Fprintf(&req, "Authorization: Bearer %s\r\n", r.Token)
	}
	if !r.After.IsZero() && !s.ndjson {
		fmt.Fprintf(&req, "Last-Event-ID: %s\r\n", r.After)
	}
	if _, err := io.WriteString(nc, req.String()+"\r\n"); err != nil {
		nc.Close()
		return nil, err
	}
	c := &stream{nc: nc, envelope: path == "/subscribe"}
	c.body = bufio.NewReader(nc)
	resp, err := http.ReadResponse(c.body, nil)
	if err != nil {
		nc.Close()
		return nil, err
	}
	c.body = bufio.NewReader(resp.Body)
	if resp.StatusCode != http.StatusOK {
		nc.Close()
		kind := tidings.ErrInvalid
		switch resp.StatusCode {
		case http.StatusUnauthorized:
			kind = tidings.ErrUnauthenticated
		case http.StatusForbidden:
			kind = tidings.ErrForbidden
		}
		return nil, tidings.Errorf(kind, "status %d", resp.StatusCode)
	}
	if s.ndjson {
		return &lines{c}, nil
	}
	if e, err := c.fields(); err != nil || len(e) != 0 {
		nc.Close()
		return nil, fmt.Errorf("the stream begins with %v, %v; want a comment", e, err)
	}
	if e, err := c.fields(); err != nil || len(e) != 2 || e["retry"] == "" || e["id"] == "" {
		nc.Close()
		return nil, fmt.Errorf("the stream goes on with %v, %v; want an id and a retry", e, err)
	}
	return c, nil
}

// stream reads Server-Sent Events.
type stream struct {
	nc       net.Conn
	body     *bufio.Reader
	envelope bool
}

func (c *stream) Close() { c.nc.Close() }

// fields reads up to a blank line.
func (c *stream) fields() (map[string]string, error) {
	m := map[string]string{}
	for {
		line, err := c.body.ReadString('\n')
		if err != nil {
			if err == io.EOF && line != "" {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if line == "\n" {
			return m, nil
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if name != "" {
			m[name] += strings.TrimPrefix(value, " ")
		}
	}
}

func (c *stream) Next() (outlettest.Event, error) {
	for {
		m, err := c.fields()
		if err != nil {
			return outlettest.Event{}, err
		}
		switch {
		case len(m) == 0:
			continue // a keepalive
		case len(m) == 1 && m["retry"] != "":
			return outlettest.Event{Kind: outlettest.Goodbye}, nil
		case m["event"] == "error":
			return outlettest.Event{Kind: outlettest.Denied}, nil
		}
		p, err := tidings.ParsePosition(m["id"])
		if err != nil {
			return outlettest.Event{}, err
		}
		switch m["event"] {
		case "gap":
			var gap struct{ Asked, Oldest tidings.Position }
			if err := json.Unmarshal([]byte(m["data"]), &gap); err != nil || gap.Oldest != p || gap.Asked.IsZero() {
				return outlettest.Event{}, fmt.Errorf("a gap with the id %s and the data %s: %v", p, m["data"], err)
			}
			return outlettest.Event{Kind: outlettest.Gap, Position: p}, nil
		case "message":
			data := []byte(m["data"])
			if c.envelope {
				return cloudEvent(data)
			}
			return outlettest.Event{Kind: outlettest.Message, Position: p, Payload: data}, nil
		}
		return outlettest.Event{}, fmt.Errorf("an event that means nothing: %v", m)
	}
}

func cloudEvent(b []byte) (outlettest.Event, error) {
	var ce struct {
		Type     string
		Position tidings.Position
		Data     json.RawMessage
	}
	if err := json.Unmarshal(b, &ce); err != nil {
		return outlettest.Event{}, err
	}
	kind := map[string]outlettest.Kind{"tidings.publish": outlettest.Message, "tidings.gap": outlettest.Gap}[ce.Type]
	return outlettest.Event{Kind: kind, Position: ce.Position, Payload: ce.Data}, nil
}

// lines reads newline-delimited JSON.
type lines struct{ *stream }

func (c *lines) Next() (outlettest.Event, error) {
	for {
		line, err := c.body.ReadBytes('\n')
		if err != nil {
			if err == io.EOF && len(line) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return outlettest.Event{}, err
		}
		if len(line) > 1 {
			return cloudEvent(line)
		}
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	outlettest.Run(t, outlettest.Outlet{Serve: func(w *outlettest.World) outlettest.Server { return serve(w, nil) }})
}

func TestSuiteOfLines(t *testing.T) {
	t.Parallel()
	outlettest.Run(t, outlettest.Outlet{Mute: true, Serve: func(w *outlettest.World) outlettest.Server {
		s := serve(w, nil)
		s.ndjson = true
		return s
	}})
}
