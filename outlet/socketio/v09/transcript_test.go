package v09

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	wsclient "github.com/coder/websocket"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/transcript"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/recentchange"
)

// TestTranscripts runs testdata/*.txt. A connection in them is a client that says one of these in a line:
//
//	GET PATH               an HTTP request, whose answer is one line: the status, the content type without its charset, the body,
//	POST PATH BODY         with [] in the place of U+FFFD
//	WEBSOCKET PATH         a WebSocket: from then on a line is a packet, in both directions; <close> is the server's close frame
//
// Beside the directives of package transcript and of outlettest.Script there are
//
//	! change TITLE HOST WIKI     a recent change
//	! publish TOPIC PAYLOAD      JSON
//	! sessions N                 waits until the server has so many sessions with a transport
//	! polls N                    waits until so many polls are held
//	! dropped REASON N           so many packets were dropped for the reason
//	! ended REASON N             waits until so many sessions have ended for the reason
//
// The first two set {{position}}.
func TestTranscripts(t *testing.T) {
	transcript.Files(t, "testdata/*.txt", func(t *testing.T) *transcript.Runner {
		t.Parallel()
		o := Options{}
		if strings.HasSuffix(t.Name(), "timeouts") {
			o = Options{Heartbeat: time.Second, HeartbeatTimeout: 2 * time.Second, CloseTimeout: 2 * time.Second, PollTime: time.Second}
		}
		f := newFixture(t, o)
		maps.Copy(f.script.Do, map[string]func(map[string]string, string) error{
			"change": f.change, "publish": f.publish, "sessions": f.sessions, "polls": f.polls, "dropped": f.dropped, "ended": f.endedFor,
		})
		return &transcript.Runner{Dial: f.dial, Vars: f.script.Vars, Do: f.script.Do}
	})
}

type fixture struct {
	*web
	script *outlettest.Script
}

func newFixture(t *testing.T, o Options) *fixture {
	t.Helper()
	w := outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(nil)}, edge.Options{})
	return &fixture{serve(w, o), outlettest.NewScript(w, nil)}
}

func (f *fixture) change(vars map[string]string, args string) error {
	a := strings.Fields(args)
	return f.script.Event(vars, changeOf(a[0], a[1], a[2]))
}

func changeOf(title, host, wiki string) tidings.Event {
	return tidings.Event{Topic: tidings.Topic(prefix + host), ContentType: recentchange.TypeJSON,
		Payload: fmt.Appendf(nil, `{"id":7,"type":"edit","namespace":0,"title":"%s","comment":"\u00e9 \u003Cb\u003E","timestamp":1772600767,`+
			`"user":"Ann","bot":false,"minor":false,"length":{"old":null,"new":9},"revision":{"old":1,"new":2},`+
			`"server_url":"https://%s","server_name":"%s","server_script_path":"/w","wiki":"%s"}`, title, host, host, wiki)}
}

func (f *fixture) publish(vars map[string]string, args string) error {
	topic, payload, _ := strings.Cut(args, " ")
	return f.script.Event(vars, tidings.Event{Topic: tidings.Topic(topic), ContentType: "application/json", Payload: []byte(payload)})
}

// await waits for a figure of the server's, which changes when another goroutine has done its part.
func await(what string, want string, have func() string) error {
	limit := time.After(transcript.Patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for have() != want {
		select {
		case <-tick.C:
		case <-limit:
			return fmt.Errorf("%s: %s, want %s", what, have(), want)
		}
	}
	return nil
}

func (f *fixture) sessions(_ map[string]string, n string) error {
	return await("sessions", n, func() string { return fmt.Sprint(f.Stats().Connected) })
}

func (f *fixture) polls(_ map[string]string, n string) error {
	return await("polls", n, func() string {
		f.mu.Lock()
		defer f.mu.Unlock()
		return fmt.Sprint(len(f.Server.polls))
	})
}

func (f *fixture) endedFor(_ map[string]string, args string) error {
	reason, n, _ := strings.Cut(args, " ")
	return await(reason, n, func() string { return fmt.Sprint(f.Stats().Ended[reason]) })
}

func (f *fixture) dropped(_ map[string]string, args string) error {
	reason, n, _ := strings.Cut(args, " ")
	if got := fmt.Sprint(f.Stats().Dropped[reason]); got != n {
		return fmt.Errorf("%s dropped for %s, want %s: %v", got, reason, n, f.Stats().Dropped)
	}
	return nil
}

// dial returns the end of a pipe at whose other end a client does what it is told.
func (f *fixture) dial() (net.Conn, error) {
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	f.w.Cleanup(cancel)
	lines := make(chan string)
	go func() { // ends with the pipe
		defer cancel()
		defer close(lines)
		r := bufio.NewScanner(far)
		r.Buffer(nil, 1<<20)
		for r.Scan() {
			select {
			case lines <- r.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer far.Close()
		client := outlettest.Client(0)
		defer client.CloseIdleConnections()
		for line := range lines {
			verb, rest, _ := strings.Cut(line, " ")
			if verb == "WEBSOCKET" {
				f.webSocket(ctx, far, lines, rest)
				return
			}
			path, body, _ := strings.Cut(rest, " ")
			fmt.Fprintf(far, "%s\r\n", f.request(ctx, client, verb, path, body))
		}
	}()
	return near, nil
}

func (f *fixture) request(ctx context.Context, client *http.Client, method, path, body string) string {
	body = strings.ReplaceAll(body, "[]", "\uFFFD")
	req, err := http.NewRequestWithContext(ctx, method, "http://"+f.addr+path, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	if strings.HasPrefix(body, "d=") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	typ, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return fmt.Sprintf("%d %s %s", resp.StatusCode, typ, strings.TrimSuffix(strings.ReplaceAll(string(b), "\uFFFD", "[]"), "\n"))
}

func (f *fixture) webSocket(ctx context.Context, far net.Conn, lines <-chan string, path string) {
	c, resp, err := wsclient.Dial(ctx, "ws://"+f.addr+path, nil)
	if err != nil {
		status := 0
		if resp != nil {
			status = resp.StatusCode
		}
		fmt.Fprintf(far, "%d\r\n", status)
		return
	}
	defer c.CloseNow()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				if wsclient.CloseStatus(err) >= 0 {
					fmt.Fprint(far, "<close>\r\n")
				}
				return
			}
			fmt.Fprintf(far, "%s\r\n", b)
		}
	}()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return
			}
			if err := c.Write(ctx, wsclient.MessageText, []byte(line)); err != nil && !errors.Is(err, net.ErrClosed) {
				return
			}
		case <-done:
			return
		}
	}
}
