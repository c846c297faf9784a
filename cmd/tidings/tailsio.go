package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"tidings"
	"tidings/client"
	"tidings/recentchange"
)

// sioWire reads RCStream: Socket.IO 0.9 over a WebSocket, the namespace /rc (see doc of package outlet/socketio/v09). The
// events resume and gap, and positions, are Tidings'; RCStream has none of them.
type sioWire struct {
	url      *url.URL // sio://HOST[:PORT]/rc?subscribe=PATTERN
	patterns []string
	token    string
	from     point

	last tidings.Position
	was  bool // connected before
}

// sioNamespace is where RCStream is.
const sioNamespace = "/rc"

// newSIO checks the address.
func newSIO(command string, u *url.URL, token string, from point) (*sioWire, error) {
	w := &sioWire{url: u, token: token, from: from, last: from.after, patterns: u.Query()["subscribe"]}
	switch path := strings.TrimSuffix(u.Path, "/"); {
	case path != "" && path != sioNamespace:
		return nil, usagef(command, "%s: the namespace is %s, not %s", describe(u), sioNamespace, path)
	case len(w.patterns) == 0:
		return nil, withHint(usagef(command, "%s: RCStream sends nothing that was not subscribed to", describe(u)), "tidings "+command+" '"+u.Scheme+"://"+u.Host+"/rc?subscribe=*'")
	case !from.since.IsZero():
		return nil, withHint(usagef(command, "RCStream knows no times to begin at"), "give --from a position, such as 5f3a9c01-1042")
	}
	return w, nil
}

// sioHandshake are the limits that the server told: the session, and how long it may be silent.
type sioHandshake struct {
	session string
	silence time.Duration
}

// handshake asks for a session (Socket.IO 0.9: GET /socket.io/1/).
func (w *sioWire) handshake(ctx context.Context) (h sioHandshake, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	u := httpURL(&url.URL{Scheme: w.url.Scheme, Host: w.url.Host, Path: "/socket.io/1/", RawQuery: "t=" + strconv.FormatInt(time.Now().UnixMilli(), 10)})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return h, err
	}
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return h, unreachable(w.url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return h, unreachable(w.url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return h, &client.StatusError{Status: resp.StatusCode, Detail: cut(printable(string(body)))}
	}
	parts := strings.Split(string(body), ":")
	if len(parts) != 4 || parts[0] == "" || !strings.Contains(parts[3], "websocket") {
		return h, tidings.Errorf(tidings.ErrInvalid, "%s is no Socket.IO 0.9 with WebSockets: its handshake is %q", w.url.Redacted(), cut(string(body)))
	}
	h = sioHandshake{parts[0], time.Minute}
	if s, err := strconv.Atoi(parts[1]); err == nil && s > 0 && s < 3600 {
		h.silence = time.Duration(s) * time.Second
	}
	h.silence += wsPingTimeout
	return h, nil
}

func (w *sioWire) connect(ctx context.Context, up func(), emit func(received, error) bool) error {
	h, err := w.handshake(ctx)
	if err != nil {
		return err
	}
	u := &url.URL{Scheme: map[string]string{"sio": "ws", "sios": "wss"}[w.url.Scheme], Host: w.url.Host, Path: "/socket.io/1/websocket/" + h.session}
	c, err := dialWS(ctx, u, w.token)
	if err != nil {
		return err
	}
	defer c.CloseNow()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(h.silence, func() { cancel(errSilent) })
	defer watch.Stop()
	s := &sioSession{w: w, emit: emit, up: up, send: func(packet string) error {
		return c.Write(ctx, websocket.MessageText, []byte(packet))
	}}
	for {
		_, data, err := c.Read(ctx)
		if err == nil {
			watch.Reset(h.silence)
			err = s.packet(data)
		}
		if err == nil || err == errStopped || tidings.KindOf(err) != 0 {
			if err != nil {
				return err
			}
			continue
		}
		return wsLost(ctx, err)
	}
}

// sioSession is one session.
type sioSession struct {
	w    *sioWire
	emit func(received, error) bool
	up   func()
	send func(packet string) error
}

// sioEvent returns a packet with an event of the namespace that asks for an acknowledgement with data.
func sioEvent(id, name string, args ...any) string {
	b, _ := json.Marshal(map[string]any{"name": name, "args": args}) // of texts only
	return "5:" + id + "+:" + sioNamespace + ":" + string(b)
}

// The ids of the packets that ask for an acknowledgement.
const (
	sioResume    = "1"
	sioSubscribe = "2"
)

// packet acts on one packet: TYPE ":" [ID ["+"]] ":" [ENDPOINT] [":" DATA].
func (s *sioSession) packet(b []byte) error {
	parts := bytes.SplitN(b, []byte(":"), 4)
	var field [4]string
	for i, p := range parts {
		field[i] = string(p)
	}
	endpoint, _, _ := strings.Cut(field[2], "?")
	switch field[0] {
	case "0":
		return tidings.Errorf(tidings.ErrUnavailable, "the server ended the session")
	case "1":
		if endpoint == "" {
			return s.send("1::" + sioNamespace)
		}
		return s.begin()
	case "2":
		return s.send("2::")
	case "5":
		return s.event(field[3])
	case "6":
		return s.ack(field[3])
	case "7":
		if strings.HasSuffix(string(b), "+0") { // the advice to come back
			return tidings.Errorf(tidings.ErrUnavailable, "the server asked to connect again")
		}
		return tidings.Errorf(tidings.ErrInvalid, "the server answered with the error %q", cut(string(b)))
	}
	return nil
}

// begin subscribes once the namespace is open.
func (s *sioSession) begin() error {
	w := s.w
	var args []any
	if !w.last.IsZero() {
		args = []any{w.last.String()}
	}
	if err := s.send(sioEvent(sioResume, "resume", args...)); err != nil {
		return err
	}
	if err := s.send(sioEvent(sioSubscribe, "subscribe", w.patterns)); err != nil {
		return err
	}
	s.up()
	if w.was && w.last.IsZero() && !s.emit(received{}, &lostError{"RCStream keeps no history"}) {
		return errStopped
	}
	w.was = true
	return nil
}

// ack takes the position at which the subscription began: 6:::ID+["POSITION"].
func (s *sioSession) ack(data string) error {
	id, args, _ := strings.Cut(data, "+")
	var at []tidings.Position
	if id == sioSubscribe && s.w.last.IsZero() && json.Unmarshal([]byte(args), &at) == nil && len(at) > 0 {
		s.w.last = at[0]
	}
	return nil
}

func (s *sioSession) event(data string) error {
	var e struct {
		Name string
		Args []json.RawMessage
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return tidings.Errorf(tidings.ErrInvalid, "the server sent an event that is none: %v", err)
	}
	text := func(i int) (t string) {
		if i < len(e.Args) {
			_ = json.Unmarshal(e.Args[i], &t) // anything else stands for nothing
		}
		return t
	}
	switch {
	case e.Name == "change" && len(e.Args) > 0:
		r := foreign(e.Args[0], s.w.url.Host)
		r.ContentType = recentchange.TypeJSON
		if p, err := tidings.ParsePosition(text(1)); err == nil {
			s.w.last, r.Position = p, p
		}
		return emitted(s.emit(r, nil))
	case (e.Name == "publish" || e.Name == "retract") && len(e.Args) > 0:
		ev, err := client.ParseEvent(e.Args[0])
		if err != nil {
			return emitted(s.emit(foreign(e.Args[0], s.w.url.Host), nil))
		}
		s.w.last = ev.Position
		return emitted(s.emit(received{Event: ev, record: oneLine(e.Args[0])}, nil))
	case e.Name == "gap" && len(e.Args) > 0:
		gap := &tidings.GapError{}
		// Whatever it says, it is a gap.
		_ = json.Unmarshal(e.Args[0], gap)
		if !gap.Oldest.IsZero() {
			s.w.last = gap.Oldest
		}
		return emitted(s.emit(received{}, gap))
	case e.Name == "error" && (text(0) == "subscribe_error" || text(0) == "resume_error"):
		return tidings.Errorf(tidings.ErrInvalid, "the server says %s: %s", text(0), text(1))
	}
	return nil // no_such_method for resume, from a server without it, and what else there may be
}
