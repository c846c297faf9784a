package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tidings"
	"tidings/internal/retry"
	"tidings/internal/sse"
)

// Message is one message of a stream of Server-Sent Events.
type Message struct {
	ID   string // of this message, or of the last one before it that had one
	Type string // the field event, "message" if there was none
	Data []byte // the lines of the field data, joined by newlines
}

// From says where a stream begins. The zero value is Live.
type From struct {
	id   string
	time time.Time
}

// Live begins with what is published from now on.
var Live From

// After begins behind the event at the position.
func After(p tidings.Position) From { return From{id: p.String()} }

// AfterID begins behind the message with the id, which is whatever the stream says: at /v2/stream it is a JSON array.
func AfterID(id string) From { return From{id: id} }

// Since begins with what was published at t or later.
func Since(t time.Time) From { return From{time: t} }

// errStopped says that the loop over the stream was left.
var errStopped = errors.New("stopped")

// errSilent says that nothing came for too long.
var errSilent = errors.New("nothing came for three keepalives")

// Stream reads any stream of Server-Sent Events: ref is the address of a stream on the client's server, such as
// /v2/stream/recentchange or /topics/news/**, or the URL of another one.
//
// It reconnects, after the time the server asks for and a random part, when the connection ends, when nothing comes for
// three keepalives, and when the server says that it is busy (429, 5xx); it then goes on behind the last message it has
// yielded. A stream that began Live and has seen no message is resumed from the second in which it was connected, by the
// server's clock, so that nothing is lost and something of that second may come that is older.
//
// A *tidings.GapError says that messages were lost; the stream goes on. Any other error is the last thing that is
// yielded: ctx's own, a *StatusError, a first connection that could not be made, a message that is too large.
func (c *Client) Stream(ctx context.Context, ref string, from From) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if c.xmpp != nil {
			yield(Message{}, errNeedsHTTP)
			return
		}
		u, err := url.Parse(ref)
		if err != nil {
			yield(Message{}, tidings.Errorf(tidings.ErrInvalid, "client: %w", err))
			return
		}
		if !u.IsAbs() {
			u = c.at(u.EscapedPath(), u.Query())
		}
		s := &stream{c: c, url: u, from: from, lastID: from.id, retry: c.retry, yield: yield}
		if err := s.run(ctx); err != errStopped {
			yield(Message{}, err)
		}
	}
}

// stream is one stream over its connections.
type stream struct {
	c     *Client
	url   *url.URL
	from  From
	yield func(Message, error) bool

	lastID    string
	retry     time.Duration // the server's wish
	began     time.Time     // of a live stream, by the server's clock; zero before the first connection
	connected bool          // at least once
	failures  int           // in a row
}

// run connects again and again, and returns the error that ends the stream.
func (s *stream) run(ctx context.Context) error {
	for ; ; s.failures++ {
		err := s.connect(ctx)
		if err == errStopped {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		base := s.retry
		var status *StatusError
		switch {
		case errors.As(err, &status):
			if status.gap != nil && s.lastID != status.gap.Oldest.String() {
				s.lastID = status.gap.Oldest.String()
				if !s.yield(Message{}, status.gap) {
					return errStopped
				}
			} else if !status.passing() {
				status.gap = nil // told already, or nothing to go on from: this ends the stream
				return err
			}
			base = max(base, status.RetryAfter)
		case tidings.KindOf(err) != tidings.ErrUnavailable:
			return err
		case !s.connected:
			return err
		}
		wait := retry.Backoff(base, s.c.maxBackoff, s.failures)
		s.c.notify(Notice{URL: s.url.String(), Err: err, Wait: wait})
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// request returns the request that goes on from where the stream is.
func (s *stream) request(ctx context.Context) (*http.Request, error) {
	u := *s.url
	q := u.Query()
	since := s.from.time
	if since.IsZero() {
		since = s.began
	}
	switch {
	case s.lastID != "":
		q.Del("since") // the id is exact
	case !since.IsZero() && !q.Has("since"):
		q.Set("since", strconv.FormatInt(since.UnixMilli(), 10))
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, tidings.Errorf(tidings.ErrInvalid, "client: %w", err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Cache-Control", "no-store")
	if s.lastID != "" {
		req.Header.Set("Last-Event-ID", s.lastID)
	}
	s.c.authorize(req)
	return req, nil
}

// connect makes one connection and yields its messages until it ends. It returns errStopped, a *StatusError, an error of
// kind ErrUnavailable for a connection that was lost, or one of another kind that ends the stream.
func (s *stream) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lost := func(err error) error {
		if context.Cause(ctx) == errSilent {
			err = errSilent
		}
		return tidings.Errorf(tidings.ErrUnavailable, "client: %w", err)
	}
	silence := 3 * s.c.keepalive
	watch := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watch.Stop()

	req, err := s.request(ctx)
	if err != nil {
		return err
	}
	asked := time.Now()
	resp, err := s.c.http.Do(req)
	if err != nil {
		return lost(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused(resp)
	}
	if typ, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); typ != "text/event-stream" {
		return tidings.Errorf(tidings.ErrInvalid, "client: %s is not a stream: its type is %q and not text/event-stream", s.url.Redacted(), resp.Header.Get("Content-Type"))
	}
	s.connected = true
	if s.began.IsZero() {
		if s.began, err = http.ParseTime(resp.Header.Get("Date")); err != nil {
			s.began = asked
		}
	}
	s.c.notify(Notice{URL: s.url.String()})

	d := sse.NewDecoder(&sse.Watched{Reader: resp.Body, Timer: watch, Most: silence}, s.c.maxMessage, s.lastID)
	reason := io.ErrUnexpectedEOF
	for {
		next, err := d.Next()
		m := Message(next)
		if d.Retry >= 0 {
			s.retry = d.Retry
		}
		s.lastID = d.LastID
		if err == io.EOF {
			return lost(reason)
		}
		if tidings.KindOf(err) == tidings.ErrTooLarge {
			return fmt.Errorf("client: %w", err)
		}
		if err != nil {
			return lost(err)
		}
		s.failures = 0
		switch m.Type {
		case "gap":
			gap := &tidings.GapError{}
			// Whatever it says, it is a gap.
			_ = json.Unmarshal(m.Data, gap)
			if !s.yield(m, gap) {
				return errStopped
			}
		case "error": // why the server ends the stream: the next attempt shows whether for good
			var why struct{ Message string }
			if json.Unmarshal(m.Data, &why) == nil && why.Message != "" {
				reason = errors.New(why.Message)
			}
		default:
			if !s.yield(m, nil) {
				return errStopped
			}
		}
	}
}
