// Package feeds answers readers that poll: what a topic has as a document, with the validators of RFC 9110 section 8.8
// so that asking again costs next to nothing while nothing has changed.
package feeds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/internal/cloudevents"
	"tidings/internal/problem"
	"tidings/internal/topicurl"
	"tidings/outlet"
)

// Server answers polling readers. Its fields are set before the first request.
type Server struct {
	Hub *hub.Hub
	// Authenticate returns who sends the request, or an error.
	Authenticate func(*http.Request) (tidings.Actor, error)
}

// Offer is the JSON list.
var Offer = outlet.Offer{Name: "json", Type: "application/json"}

// Limits of the events in one document.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// ServeTopic answers GET /topics/{topic} with a JSON list of CloudEvents: the latest, or with since= those after a
// position or a time, oldest first. The topic may be a pattern. The member position is where the next request goes on
// from; a position that is no longer kept is a problem of status 410 which names the oldest.
//
// With ?item=ID it answers with that one item as it was published.
func (s *Server) ServeTopic(w http.ResponseWriter, r *http.Request) {
	if err := s.serveTopic(w, r); err != nil {
		problem.Write(w, r, err)
	}
}

func (s *Server) serveTopic(w http.ResponseWriter, r *http.Request) error {
	actor, err := s.Authenticate(r)
	if err != nil {
		return err
	}
	path, err := topicurl.Path(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	params := r.URL.Query()
	if params.Has("item") {
		topic, err := tidings.ParseTopic(path)
		if err != nil {
			return err
		}
		return s.serveItem(w, r, actor, topic, params.Get("item"))
	}
	p, err := tidings.ParsePattern(path)
	if err != nil {
		return err
	}
	q := hub.Query{Patterns: []tidings.Pattern{p}}
	if q.Filter, err = outlet.Filter(params); err != nil {
		return err
	}
	limit := DefaultLimit
	if l := params.Get("limit"); l != "" {
		if limit, err = strconv.Atoi(l); err != nil || limit < 1 || limit > MaxLimit {
			return tidings.Errorf(tidings.ErrInvalid, "limit=%q is not a number from 1 to %d", l, MaxLimit)
		}
	}
	var items []*hub.Item
	var next tidings.Position
	var more bool
	if after, err := outlet.After(r.Context(), s.Hub, r, tidings.Position{}); err != nil {
		return err
	} else if after.IsZero() {
		items, next, err = s.Hub.Latest(r.Context(), q, actor, limit)
		if err != nil {
			return err
		}
	} else if items, next, more, err = s.Hub.Read(r.Context(), q, actor, after, limit); err != nil {
		return err
	}
	s.write(w, r, items, next, more)
	return nil
}

// write answers with the list, or with 304 where the reader has it already.
func (s *Server) write(w http.ResponseWriter, r *http.Request, items []*hub.Item, next tidings.Position, more bool) {
	oldest := s.Hub.Oldest()
	// The list is told apart by its first and last event; how far the log has gone beside it does not matter.
	tag := fnv.New64a()
	fmt.Fprint(tag, len(items), more)
	var modified time.Time
	for i, it := range items {
		if i == 0 || i == len(items)-1 {
			fmt.Fprint(tag, it.Position)
		}
		if it.Time.After(modified) {
			modified = it.Time
		}
	}
	if len(items) == 0 {
		fmt.Fprint(tag, next.Epoch)
	}
	h := w.Header()
	h.Set("ETag", fmt.Sprintf(`W/"%x"`, tag.Sum64()))
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept")
	if !modified.IsZero() {
		h.Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
	}
	if notModified(r, h.Get("ETag"), modified) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	var b bytes.Buffer
	b.WriteString(`{"events":[`)
	var line []byte
	for i, it := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		typ, data := outlet.Payload(nil, it)
		line = cloudevents.Append(line[:0], it.Event, typ, data)
		b.WriteByte('\n')
		b.Write(line)
	}
	fmt.Fprintf(&b, "\n],\"position\":%q,\"oldest\":%q,\"more\":%t}\n", next, oldest, more)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	if r.Method != http.MethodHead {
		w.Write(b.Bytes())
	}
}

func (s *Server) serveItem(w http.ResponseWriter, r *http.Request, actor tidings.Actor, topic tidings.Topic, id string) error {
	it, err := s.Hub.Item(r.Context(), topic, actor, id)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", `"`+it.Position.String()+`"`)
	h.Set("Position", it.Position.String())
	h.Set("Last-Modified", it.Time.UTC().Format(http.TimeFormat))
	h.Set("Cache-Control", "no-cache")
	// What a stranger published must not act as a page of this server.
	h.Set("Content-Security-Policy", "sandbox")
	if notModified(r, h.Get("ETag"), it.Time) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", it.ContentType)
	h.Set("Content-Length", strconv.Itoa(len(it.Payload)))
	if r.Method != http.MethodHead {
		w.Write(it.Payload)
	}
	return nil
}

// notModified evaluates If-None-Match and, without it, If-Modified-Since (RFC 9110 section 13.2.2).
func notModified(r *http.Request, tag string, modified time.Time) bool {
	if inm := r.Header.Values("If-None-Match"); len(inm) > 0 {
		for t := range strings.SplitSeq(strings.Join(inm, ","), ",") {
			if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
		return false
	}
	t, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	return err == nil && !modified.IsZero() && !modified.Truncate(time.Second).After(t)
}

// Topic describes a topic in the list of topics.
type Topic struct {
	Topic  tidings.Topic `json:"topic"`
	Events uint64        `json:"events"` // number kept
	URL    string        `json:"url"`
}

// ServeTopics answers GET /topics, with ?match=PATTERN if not all are wanted: the topics the actor may read.
func (s *Server) ServeTopics(list func(*http.Request, tidings.Pattern) ([]Topic, error), may func(tidings.Actor, tidings.Topic) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		actor, err := s.Authenticate(r)
		if err != nil {
			problem.Write(w, r, err)
			return
		}
		match := "/**"
		if m := r.URL.Query().Get("match"); m != "" {
			match = m
		}
		p, err := tidings.ParsePattern(match)
		if err != nil {
			problem.Write(w, r, err)
			return
		}
		all, err := list(r, p)
		if err != nil {
			problem.Write(w, r, err)
			return
		}
		topics := make([]Topic, 0, len(all))
		for _, t := range all {
			if may(actor, t.Topic) {
				t.URL = topicurl.Of(t.Topic)
				topics = append(topics, t)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-cache")
		json.NewEncoder(w).Encode(map[string]any{"topics": topics})
	}
}
