package sse

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/internal/problem"
	"tidings/outlet"
)

// StreamsPath is the path below which the streams are.
const StreamsPath = "/v2/stream/"

// streams are the names of the streams and the pattern each stands for.
var streams = map[string]string{
	"recentchange": "/recentchange/*", // EventStreams' alias
	outlet.Stream:  "/recentchange/*",
}

// ServeStream answers GET /v2/stream/{names}, names being separated by commas.
func (s *Server) ServeStream(w http.ResponseWriter, r *http.Request) {
	var patterns, unknown []string
	for name := range strings.SplitSeq(strings.TrimPrefix(r.URL.Path, StreamsPath), ",") {
		if p, ok := streams[name]; !ok {
			unknown = append(unknown, name)
		} else if !slices.Contains(patterns, p) {
			patterns = append(patterns, p)
		}
	}
	if len(unknown) > 0 {
		streamError(w, r, http.StatusBadRequest, "not_found", "Stream Not Found", "Invalid streams: "+strings.Join(unknown, ","))
		return
	}
	epoch := s.Hub.Head().Epoch
	typ, proto := TypeSSE, eventStream
	sseForm := streamForm{epoch, s.Retry}
	var form hub.Form = sseForm
	accept := r.Header.Get("Accept")
	if strings.HasPrefix(accept, "application/json") || strings.HasPrefix(accept, TypeNDJSON) {
		typ, proto, form = "application/json", jsonLines, streamLines{}
	}
	if accept != "" {
		typ += "; charset=utf-8" // as EventStreams: not where the client says nothing of what it takes
	}
	req, err := s.request(r, patterns, form)
	if err == nil {
		req.After, err = s.streamStart(r)
	}
	if err == nil {
		start := []byte("\n")
		if form == sseForm {
			start = s.head(sseForm.appendID(nil, req.After.Offset))
		}
		w.Header().Set("Content-Type", typ)
		if err = s.stream(w, r, req, start, proto); err == nil {
			return
		}
		w.Header().Del("Content-Type")
	}
	var bad *assignmentError
	switch {
	case asAssignment(err, &bad):
		kafkaError(w, bad)
	case isTimestampError(err):
		streamError(w, r, http.StatusBadRequest, "invalid_timestamp", "Invalid Timestamp", err.Error())
	case tidings.KindOf(err) == tidings.ErrInvalid:
		streamError(w, r, http.StatusBadRequest, "bad_request", "Bad Request", err.Error())
	default:
		problem.Write(w, r, err)
	}
}

// streamStart returns where the reader goes on: Last-Event-ID, else since, else now.
func (s *Server) streamStart(r *http.Request) (tidings.Position, error) {
	head := s.Hub.Head()
	if id := outlet.LastEventID(r); id != "" {
		if p, err := tidings.ParsePosition(id); err == nil {
			return p, nil // of a stream at /topics or /subscribe
		}
		return s.assigned(r, id)
	}
	since := r.URL.Query().Get("since")
	if since == "" {
		return head, nil
	}
	t, err := outlet.ParseTime(since)
	if err != nil {
		return head, &timestampError{tidings.Errorf(tidings.ErrInvalid, "since=%q is not a timestamp: want milliseconds since 1970 or an ISO 8601 date", since)}
	}
	if t.After(time.Now()) {
		return head, nil
	}
	return outlet.AtTime(r.Context(), s.Hub, t)
}

// timestampError is an error about the parameter since.
type timestampError struct{ error }

func (e *timestampError) Unwrap() error { return e.error }

func isTimestampError(err error) bool {
	_, ok := err.(*timestampError)
	return ok
}

// assignment is a member of the array that a Last-Event-ID is.
type assignment struct {
	Topic     string `json:"topic"`
	Partition *int   `json:"partition"`
	Offset    *int64 `json:"offset"`    // of the next event wanted, or one of the words below
	Timestamp *int64 `json:"timestamp"` // in milliseconds; Offset wins over it
}

// The offsets that are words (librdkafka).
const (
	offsetEnd       = -1 // from now on
	offsetBeginning = -2 // everything there is
)

// maxAssignments bounds the array; a client names two, one for each datacentre.
const maxAssignments = 64

// assigned returns the earliest position that the array names. Topics whose prefix is not this journal's epoch are
// another server's: their timestamps are taken, their offsets mean nothing here and are a gap.
func (s *Server) assigned(r *http.Request, id string) (tidings.Position, error) {
	invalid := func(why string) error {
		return &assignmentError{http.StatusBadRequest, "InvalidAssignmentError", "invalid Last-Event-ID: " + why}
	}
	var members []json.RawMessage
	if err := json.Unmarshal([]byte(id), &members); err != nil {
		return tidings.Position{}, invalid("it is not a JSON array: " + err.Error())
	}
	if len(members) == 0 || len(members) > maxAssignments {
		return tidings.Position{}, invalid(fmt.Sprintf("it has %d members, want 1 to %d", len(members), maxAssignments))
	}
	head := s.Hub.Head()
	after := head
	for _, m := range members {
		var a assignment
		if json.Unmarshal(m, &a.Topic) != nil || a.Topic == "" {
			if err := json.Unmarshal(m, &a); err != nil || a.Topic == "" || a.Partition == nil || a.Offset == nil && a.Timestamp == nil {
				return tidings.Position{}, invalid("a member is neither a topic nor an object with topic, partition, and offset or timestamp")
			}
		}
		prefix, stream, _ := strings.Cut(a.Topic, ".")
		if stream != outlet.Stream && a.Topic != outlet.Stream {
			return tidings.Position{}, &assignmentError{http.StatusNotFound, "TopicNotAvailableError", "topic not available: " + a.Topic}
		}
		p := head
		switch {
		case a.Offset != nil && *a.Offset < offsetBeginning:
			return p, invalid(fmt.Sprintf("the offset %d is none", *a.Offset))
		case a.Offset != nil && *a.Offset == offsetBeginning:
			p = s.Hub.Oldest()
		case a.Offset != nil && *a.Offset == offsetEnd:
		case a.Offset != nil:
			p = tidings.Position{Offset: uint64(max(*a.Offset-1, 0))}
			if epoch, err := strconv.ParseUint(prefix, 16, 32); err == nil && len(prefix) == 8 {
				p.Epoch = uint32(epoch)
			}
			if p.Epoch != head.Epoch {
				return p, nil // read after it, it is a gap
			}
		case a.Timestamp != nil:
			var err error
			if p, err = outlet.AtTime(r.Context(), s.Hub, time.UnixMilli(*a.Timestamp)); err != nil {
				return p, err
			}
		}
		if p.Offset < after.Offset || len(members) == 1 {
			after = p
		}
	}
	return after, nil
}

// assignmentError is an error in KafkaSSE's words.
type assignmentError struct {
	status  int
	name    string
	message string
}

func (e *assignmentError) Error() string { return e.message }

func asAssignment(err error, target **assignmentError) bool {
	e, ok := err.(*assignmentError)
	*target = e
	return ok
}

// kafkaError answers as KafkaSSE does: the error as JSON and a newline.
func kafkaError(w http.ResponseWriter, e *assignmentError) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(e.status)
	json.NewEncoder(w).Encode(map[string]string{"message": e.message, "name": e.name, "origin": "KafkaSSE"})
}

// streamError answers as EventStreams' own routes do.
func streamError(w http.ResponseWriter, r *http.Request, status int, typ, title, detail string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(struct {
		Status int    `json:"status"`
		Type   string `json:"type"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Method string `json:"method"`
		URI    string `json:"uri"`
	}{status, typ, title, detail, strings.ToLower(r.Method), r.URL.RequestURI()})
}
