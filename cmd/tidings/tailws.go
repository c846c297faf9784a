package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"tidings"
	"tidings/client"
)

// wsWire reads a WebSocket: Tidings' own (package outlet/ws), or any whose messages are the events.
type wsWire struct {
	url   *url.URL
	token string // empty for another server than the one it is for
	from  point

	last tidings.Position // behind which to go on; zero where the server tells none
	was  bool             // connected before
}

// Times of a WebSocket that is silent: the first until it is asked whether it is there, the second for the answer.
const (
	wsPingEvery   = 30 * time.Second
	wsPingTimeout = 15 * time.Second
)

// dialWS opens a WebSocket; a refusal is a *client.StatusError.
func dialWS(ctx context.Context, u *url.URL, token string) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	c, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPHeader: h})
	switch {
	case err != nil && resp != nil && resp.StatusCode == http.StatusOK:
		return nil, withHint(tidings.Errorf(tidings.ErrInvalid, "%s is no WebSocket", u.Redacted()), "tidings tail "+httpURL(u).Redacted())
	case err != nil && resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		var p struct{ Title, Detail string }
		_ = json.NewDecoder(resp.Body).Decode(&p) // what there is of it
		if p.Detail == "" {
			p.Detail = p.Title
		}
		return nil, &client.StatusError{Status: resp.StatusCode, Detail: p.Detail}
	case err != nil:
		return nil, unreachable(u, err)
	}
	c.SetReadLimit(client.DefaultMaxMessage)
	return c, nil
}

// httpURL returns the address in the scheme of HTTP.
func httpURL(u *url.URL) *url.URL {
	h := *u
	h.Scheme = map[string]string{"ws": "http", "wss": "https", "sio": "http", "sios": "https", "sio4": "http", "sio4s": "https"}[u.Scheme]
	return &h
}

// keepAsking pings the connection and ends ctx by cancel when there is no answer.
func keepAsking(ctx context.Context, c *websocket.Conn, cancel context.CancelCauseFunc) {
	t := time.NewTicker(wsPingEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		asked, done := context.WithTimeout(ctx, wsPingTimeout)
		err := c.Ping(asked)
		done()
		if err != nil {
			cancel(errSilent)
			return
		}
	}
}

// wsLost returns why a connection ended.
func wsLost(ctx context.Context, err error) error {
	if context.Cause(ctx) == errSilent {
		err = errSilent
	}
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return tidings.Errorf(tidings.ErrTooLarge, "a message has more than %d bytes", client.DefaultMaxMessage)
	}
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		if e.Reason == "" {
			e.Reason = "no reason given"
		}
		return tidings.Errorf(tidings.ErrUnavailable, "the server closed the connection: %d, %s", int(e.Code), e.Reason)
	}
	return unavailable(err)
}

func (w *wsWire) connect(ctx context.Context, up func(), emit func(received, error) bool) error {
	u := *w.url
	q := u.Query()
	switch {
	case !w.last.IsZero():
		q.Set("since", w.last.String())
	case w.was: // nothing to go on from
	case !w.from.after.IsZero():
		q.Set("since", w.from.after.String())
	case !w.from.since.IsZero():
		q.Set("since", strconv.FormatInt(w.from.since.UnixMilli(), 10))
	}
	u.RawQuery = q.Encode()
	c, err := dialWS(ctx, &u, w.token)
	if err != nil {
		return err
	}
	defer c.CloseNow()
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		keepAsking(ctx, c, cancel)
	}()
	defer func() { cancel(nil); <-done }()
	up()
	if w.was && w.last.IsZero() && !emit(received{}, &lostError{"the server tells no positions to go on from"}) {
		return errStopped
	}
	w.was = true
	var refused error
	for {
		_, data, err := c.Read(ctx)
		if err != nil && refused != nil {
			return refused
		}
		if err != nil {
			return wsLost(ctx, err)
		}
		if err := w.message(data, emit); err == errStopped {
			return err
		} else if err != nil {
			refused = err // the connection may go on; what ends it has this reason
		}
	}
}

// wsKinds are the codes of Tidings' error messages.
var wsKinds = map[string]tidings.ErrorKind{
	"invalid": tidings.ErrInvalid, "unauthenticated": tidings.ErrUnauthenticated, "forbidden": tidings.ErrForbidden,
	"not-found": tidings.ErrNotFound, "conflict": tidings.ErrConflict, "too-large": tidings.ErrTooLarge,
	"rate-limited": tidings.ErrRateLimited, "gap": tidings.ErrGap, "unavailable": tidings.ErrUnavailable,
}

// message takes one message. Its error is one that the server reports.
func (w *wsWire) message(data []byte, emit func(received, error) bool) error {
	var m struct {
		SpecVersion             string
		Type, Code, Detail      string
		Asked, Oldest, Position tidings.Position
	}
	err := json.Unmarshal(data, &m)
	if err != nil {
		m.Type = ""
	}
	if m.SpecVersion != "" {
		if e, err := client.ParseEvent(data); err == nil {
			w.last = e.Position
			return emitted(emit(received{Event: e, record: oneLine(data)}, nil))
		}
		m.Type = "" // another server's event
	}
	switch {
	case m.Type == "gap" && !m.Oldest.IsZero():
		w.last = m.Oldest
		return emitted(emit(received{}, &tidings.GapError{Asked: m.Asked, Oldest: m.Oldest}))
	case m.Type == "subscribed" && !m.Position.IsZero():
		w.last = m.Position
		return nil
	case m.Type == "error" && m.Code != "":
		kind, ok := wsKinds[m.Code]
		if !ok {
			kind = tidings.ErrUnavailable
		}
		return tidings.Errorf(kind, "the server says %s: %s", m.Code, m.Detail)
	}
	return emitted(emit(foreign(data, w.url.Host), nil))
}

// emitted returns errStopped if the reader has enough.
func emitted(more bool) error {
	if more {
		return nil
	}
	return errStopped
}

// foreign returns an event that came without an envelope.
func foreign(data []byte, where string) received {
	return received{Event: client.Event{ContentType: "application/json", Payload: data}, where: where, record: oneLine(data)}
}

// describe names the address for a person: without a password, and with the query, which says what is read.
func describe(u *url.URL) string { return fmt.Sprint(u.Redacted()) }
