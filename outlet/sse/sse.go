// Package sse pushes events over HTTP responses that do not end: Server-Sent Events (WHATWG HTML, section 9.2) and
// newline-delimited JSON. It serves topics, subscriptions to several patterns, and recent changes exactly as Wikimedia's
// EventStreams does (KafkaSSE 0.2, stream.wikimedia.org/v2/stream).
//
// Beyond EventStreams it writes keepalive comments and a reconnection time, filters by field, resumes to the event, and
// says when events were lost.
package sse

import (
	"errors"
	"net/http"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/problem"
	"tidings/internal/topicurl"
	"tidings/outlet"
)

// Server serves streams. Its fields are set before the first request.
type Server struct {
	Hub  *hub.Hub
	Edge *edge.Edge
	// Authenticate returns who sends the request, or an error.
	Authenticate func(*http.Request) (tidings.Actor, error)
	// Retry is the reconnection time readers are told; each gets between this and twice this.
	Retry time.Duration
	// MaxPatterns bounds the patterns of one subscription.
	MaxPatterns int
}

// The protocols of the edge connections.
var (
	// The keepalive is a comment without the blank line that would end a message: some clients take that for an empty one.
	eventStream = &edge.Protocol{Name: "sse", Keepalive: []byte(":\n")}
	jsonLines   = &edge.Protocol{Name: "ndjson", Keepalive: []byte("\n")}
)

// The media types of the streams.
const (
	TypeSSE    = "text/event-stream"
	TypeNDJSON = "application/x-ndjson"
)

// Offers are the forms of a stream, the first one preferred.
var Offers = []outlet.Offer{{Name: "sse", Type: TypeSSE}, {Name: "ndjson", Type: TypeNDJSON}}

// ServeTopic answers GET /topics/{topic} with a stream of what is published there; the topic may be a pattern.
func (s *Server) ServeTopic(w http.ResponseWriter, r *http.Request, ndjson bool) {
	p, err := topicurl.Path(r.URL.EscapedPath())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	s.serve(w, r, []string{p}, ndjson, payloadForm{s.Retry})
}

// ServeSubscribe answers GET /subscribe?topic=PATTERN&topic=…: several patterns in one stream of CloudEvents.
func (s *Server) ServeSubscribe(w http.ResponseWriter, r *http.Request) {
	o, ok := outlet.Choose(w, r, Offers)
	if !ok {
		return
	}
	topics := r.URL.Query()["topic"]
	if len(topics) == 0 {
		problem.Write(w, r, tidings.Errorf(tidings.ErrInvalid, "the query names no topic: want /subscribe?topic=/recentchange/* for example"))
		return
	}
	s.serve(w, r, topics, o.Name == "ndjson", envelopeForm{payloadForm{s.Retry}})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, topics []string, ndjson bool, form hub.Form) {
	typ, proto := TypeSSE+"; charset=utf-8", eventStream
	if ndjson {
		typ, proto, form = TypeNDJSON, jsonLines, ndjsonForm{}
	}
	req, err := s.request(r, topics, form)
	if err == nil {
		req.After, err = outlet.After(r.Context(), s.Hub, r, s.Hub.Head())
	}
	if err == nil {
		var start []byte
		if !ndjson {
			start = s.head(req.After.AppendText(nil))
		}
		w.Header().Set("Content-Type", typ)
		err = s.stream(w, r, req, start, proto)
	}
	if err != nil {
		w.Header().Del("Content-Type")
		problem.Write(w, r, err)
	}
}

// head returns the beginning of an event stream: the comment with which EventStreams begins, and a message without data,
// which is no event to a client but gives it a reconnection time and an id. So one that loses the connection before the
// first event resumes exactly, too.
func (s *Server) head(id []byte) []byte {
	b := append([]byte(":ok\n\nid: "), id...)
	return appendRetry(append(b, '\n'), s.Retry)
}

// request returns a subscription's request but for its start.
func (s *Server) request(r *http.Request, topics []string, form hub.Form) (hub.Request, error) {
	req := hub.Request{Form: form}
	if len(topics) > s.MaxPatterns {
		return req, tidings.Errorf(tidings.ErrInvalid, "the subscription names %d topics and may name %d", len(topics), s.MaxPatterns)
	}
	for _, t := range topics {
		p, err := tidings.ParsePattern(t)
		if err != nil {
			return req, err
		}
		req.Query.Patterns = append(req.Query.Patterns, p)
	}
	req.Query.Patterns = tidings.Patterns(req.Query.Patterns...)
	var err error
	if req.Query.Filter, err = outlet.Filter(r.URL.Query()); err != nil {
		return req, err
	}
	req.Actor, err = s.Authenticate(r)
	return req, err
}

// stream answers with the head, hands the connection to the edge and returns. An error is returned only while the
// response can still be another one.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, req hub.Request, start []byte, proto *edge.Protocol) error {
	sub, err := outlet.Subscribe(s.Hub, s.Edge, req)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // nginx passes it on at once
	if r.Method == http.MethodHead {
		sub.Close()
		w.WriteHeader(http.StatusOK)
		return nil
	}
	c, err := outlet.Hijack(s.Edge, w, http.StatusOK, start, proto)
	if err != nil {
		sub.Close()
		if errors.Is(err, outlet.ErrNotTaken) {
			return err
		}
		return nil // the peer is gone, or the server stops: nobody is there to be told
	}
	outlet.Attach(c, sub)
	return nil
}
