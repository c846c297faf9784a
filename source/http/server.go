// Package httpsource takes in events over HTTP: POST /topics/{topic} publishes, DELETE /topics/{topic}?item=ID retracts
// an item, and /tokens manages the tokens that this needs, as /users does the accounts of the XMPP server.
//
// A request to publish carries one event: JSON, XML or text, checked before it is appended, or CloudEvents in one of
// their three modes, of which a batch is appended as a whole or not at all. These headers mean something:
//
//	Authorization    Bearer TOKEN, of a token with a publish scope on the topic (RFC 6750 section 2.1)
//	Content-Type     what the body is; it has to be there
//	Item-ID          names the item in its topic; a second event with it is a new version of the item. Without it the
//	                 item has the name of its position. Not with CloudEvents, whose id it is
//	Idempotency-Key  1 to 255 bytes; a repeat with the same key by the same publisher on the same topic, within the
//	                 journal's window, is not appended again
//
// The answer comes once the events are as durable as the journal's mode says: 201 with the item's address in Location,
// the place in the journal in Position, and both in a JSON body; or 200, with the first one's position and "duplicate",
// for a repeat; or 409 for a repeat whose content is another. Errors are problem details.
package httpsource

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"tidings"
	"tidings/internal/bearer"
	"tidings/internal/cloudevents"
	"tidings/internal/media"
	"tidings/internal/problem"
	"tidings/internal/topicurl"
)

// Defaults of a Server's fields.
const (
	DefaultMaxBody     = 1 << 20
	DefaultBodyTimeout = 30 * time.Second
	DefaultMaxBatch    = 500
)

// MaxKeyBytes is the length that an Idempotency-Key may have.
const MaxKeyBytes = 255

// Policy says who asks and what they may do; package access has it.
type Policy interface {
	Authenticate(token string) (tidings.Actor, error)
	May(a tidings.Actor, action tidings.Action, t tidings.Topic) error
}

// Server publishes what is posted. Its fields are set before the first request and not changed after it.
type Server struct {
	// Append appends the events to the journal, all of them or none, and returns once they are durable.
	Append func(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error)
	// Read reads the journal; see journal.Journal. It is used to tell a repeat with the same content from one with
	// another. If it is nil, every repeat counts as the same.
	Read func(ctx context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error)
	// Policy judges the publishers.
	Policy Policy
	// MaxBody is the limit of a body in bytes; DefaultMaxBody if 0. It should not be above the journal's limit.
	MaxBody int64
	// MaxBatch is how many events a batch may have; DefaultMaxBatch if 0.
	MaxBatch int
	// Rate is how many events a publisher may publish in a second, with bursts of as many (at least one); 0 for any
	// number.
	Rate float64
	// BodyTimeout is how long a body may take to arrive; DefaultBodyTimeout if 0.
	BodyTimeout time.Duration
	// Log takes note of requests that failed through no fault of theirs; nil for slog.Default().
	Log *slog.Logger

	limits limits
	counts counts
}

// Stats are figures of a Server at one moment, all since it began.
type Stats struct {
	Published  uint64         // events appended
	Retracted  uint64         // items withdrawn
	Duplicates uint64         // repeats that were not appended again
	Refused    map[int]uint64 // requests by status
}

type counts struct {
	mu sync.Mutex
	Stats
}

// Stats returns figures for /status and /metrics.
func (s *Server) Stats() Stats {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	st := s.counts.Stats
	st.Refused = make(map[int]uint64, len(s.counts.Refused))
	for k, v := range s.counts.Refused {
		st.Refused[k] = v
	}
	return st
}

// methods are those of a topic's resource; GET is an outlet's to serve.
var methods = []string{"GET", "HEAD", "POST", "DELETE"}

// Accepted are the media types that may be published, as named in a 415.
var Accepted = []string{"application/json", "application/*+json", "application/xml", "text/xml", "application/*+xml", "text/*",
	cloudevents.ContentType, cloudevents.BatchContentType}

// ServeHTTP serves POST and DELETE of /topics/{topic}.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setBodyDeadline(w, s.timeout())
	var status int
	switch r.Method {
	case http.MethodPost:
		status = s.publish(w, r)
	case http.MethodDelete:
		status = s.retract(w, r)
	default:
		status = problem.MethodNotAllowed(w, r, methods...)
	}
	if status >= 400 {
		s.counts.mu.Lock()
		if s.counts.Refused == nil {
			s.counts.Refused = map[int]uint64{}
		}
		s.counts.Refused[status]++
		s.counts.mu.Unlock()
	}
}

func (s *Server) timeout() time.Duration {
	if s.BodyTimeout == 0 {
		return DefaultBodyTimeout
	}
	return s.BodyTimeout
}

// setBodyDeadline bounds the time that the body may take, whoever reads it: what a handler leaves, net/http reads after
// it, and waits for ever for a body that was announced and does not come. The server sets the deadline anew before the
// next request.
func setBodyDeadline(w http.ResponseWriter, d time.Duration) {
	// The errors are those of a connection that has gone, which reading tells, and of a writer that has no deadlines.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d))
}

// publish answers a POST and returns the status.
func (s *Server) publish(w http.ResponseWriter, r *http.Request) int {
	actor, topic, err := s.admit(r)
	if err != nil {
		return s.fail(w, r, err)
	}
	if detail := unsupported(r.Header); detail != "" {
		return problem.UnsupportedMediaType(w, r, detail, Accepted...)
	}
	id, key, err := names(r)
	if err != nil {
		return s.fail(w, r, err)
	}
	body, err := s.body(w, r)
	if err != nil {
		return s.fail(w, r, err)
	}
	events, err := s.decode(r.Header, body)
	if err != nil {
		return s.fail(w, r, err)
	}
	if err := s.limits.take(s.Rate, actor.String(), len(events)-1); err != nil {
		return s.fail(w, r, err)
	}
	for i := range events {
		e := &events[i]
		e.Topic, e.Publisher = topic, actor.String()
		if id != "" {
			e.ID = id
		}
		if key != "" {
			e.Key = scopedKey(actor, topic, key, i)
		}
		if err := e.Validate(); err != nil {
			return s.fail(w, r, err)
		}
	}
	return s.append(w, r, events, !isBatch(r.Header))
}

// retract answers a DELETE and returns the status.
func (s *Server) retract(w http.ResponseWriter, r *http.Request) int {
	actor, topic, err := s.admit(r)
	if err != nil {
		return s.fail(w, r, err)
	}
	items := r.URL.Query()["item"]
	if len(items) != 1 || items[0] == "" {
		return s.fail(w, r, tidings.Errorf(tidings.ErrInvalid, "DELETE retracts one item: name it in the query, as in %s", topicurl.Item(topic, "ID")))
	}
	_, key, err := names(r)
	if err != nil {
		return s.fail(w, r, err)
	}
	e := tidings.Event{Topic: topic, ID: items[0], Kind: tidings.Retract, Publisher: actor.String()}
	if key != "" {
		e.Key = scopedKey(actor, topic, key, 0)
	}
	if err := e.Validate(); err != nil {
		return s.fail(w, r, err)
	}
	return s.append(w, r, []tidings.Event{e}, true)
}

// admit says who asks and for which topic, and whether they may.
func (s *Server) admit(r *http.Request) (tidings.Actor, tidings.Topic, error) {
	topic, err := topicurl.Topic(r.URL.EscapedPath())
	if err != nil {
		return tidings.Actor{}, "", err
	}
	actor, err := bearer.Actor(r, s.Policy.Authenticate)
	if err != nil {
		return actor, topic, err
	}
	if err := s.Policy.May(actor, tidings.PublishAction, topic); err != nil {
		return actor, topic, err
	}
	return actor, topic, s.limits.take(s.Rate, actor.String(), 1)
}

// unsupported returns why a body as the header describes it is not taken, or "".
func unsupported(h http.Header) string {
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return fmt.Sprintf("the body is encoded (Content-Encoding: %s): send it as it is", shorten(enc))
	}
	ct := h.Get("Content-Type")
	switch {
	case cloudevents.IsCloudEvent(h):
		return ""
	case ct == "":
		return "the request has no Content-Type: say what the body is, such as application/json"
	case media.ClassOf(ct) == media.Other:
		return fmt.Sprintf("a body of the type %s is not taken here: want JSON, XML, text or CloudEvents", shorten(ct))
	case !media.IsUTF8(ct):
		return fmt.Sprintf("the type %s names another charset than UTF-8", shorten(ct))
	}
	return ""
}

// names returns the item's name and the idempotency key that the request gives, or "" for what it does not.
func names(r *http.Request) (id, key string, err error) {
	for _, f := range []struct {
		name string
		to   *string
	}{{"Item-ID", &id}, {"Idempotency-Key", &key}} {
		switch values := r.Header.Values(f.name); {
		case len(values) == 0:
		case len(values) > 1:
			return "", "", tidings.Errorf(tidings.ErrInvalid, "the header %s is there %d times", f.name, len(values))
		case values[0] == "":
			return "", "", tidings.Errorf(tidings.ErrInvalid, "the header %s is empty: leave it out, or give it a value", f.name)
		default:
			*f.to = values[0]
		}
	}
	switch {
	case len(key) > MaxKeyBytes:
		return "", "", tidings.Errorf(tidings.ErrInvalid, "the Idempotency-Key has %d bytes and may have %d", len(key), MaxKeyBytes)
	case id != "" && cloudevents.IsCloudEvent(r.Header):
		return "", "", tidings.Errorf(tidings.ErrInvalid, "the item of a CloudEvent is named by its id: leave the header Item-ID out")
	case r.Method == http.MethodPost && r.URL.Query().Has("item"):
		return "", "", tidings.Errorf(tidings.ErrInvalid, "POST names its item in the header Item-ID, not in the query")
	}
	return id, key, nil
}

// scopedKey returns the Key of the event for an idempotency key, which is its publisher's own and holds on one topic.
// The text is one of a fixed length, whatever was sent. A batch has a key for each of its events.
func scopedKey(a tidings.Actor, t tidings.Topic, key string, i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%s", a, t, i, key))
	return "http:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func isBatch(h http.Header) bool {
	return strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), cloudevents.BatchContentType)
}

// body reads the body, all of it, within the limits of size and time.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limit := s.MaxBody
	if limit == 0 {
		limit = DefaultMaxBody
	}
	if r.ContentLength > limit {
		// Without reading it, so the connection is of no more use.
		w.Header().Set("Connection", "close")
		return nil, fmt.Errorf("http: %w", &http.MaxBytesError{Limit: limit})
	}
	in := http.MaxBytesReader(w, r.Body, limit)
	var body []byte
	var err error
	if r.ContentLength >= 0 {
		// The journal keeps these bytes, so they are as many as are needed.
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(in, body)
	} else {
		body, err = io.ReadAll(in)
	}
	switch tooBig := (*http.MaxBytesError)(nil); {
	case err == nil:
		return body, nil
	case errors.As(err, &tooBig):
		return nil, fmt.Errorf("http: reading the body: %w", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return nil, tidings.Errorf(tidings.ErrInvalid, "the body did not arrive within %s", s.timeout())
	}
	w.Header().Set("Connection", "close")
	return nil, tidings.Errorf(tidings.ErrInvalid, "the body could not be read to its end: %w", err)
}

// decode returns the events that the body is.
func (s *Server) decode(h http.Header, body []byte) ([]tidings.Event, error) {
	ct := h.Get("Content-Type")
	if err := media.Check(ct, body); err != nil {
		return nil, err
	}
	if !cloudevents.IsCloudEvent(h) {
		return []tidings.Event{{ContentType: ct, Payload: body}}, nil
	}
	maxBatch := s.MaxBatch
	if maxBatch == 0 {
		maxBatch = DefaultMaxBatch
	}
	return cloudevents.Decode(h, body, maxBatch)
}

// shorten cuts what somebody sent to a length that fits a message.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
