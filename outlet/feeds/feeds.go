// Package feeds answers readers that poll: what a topic has as a document, with the validators of RFC 9110 section 8.8
// so that asking again costs next to nothing while nothing has changed.
package feeds

import (
	"bytes"
	"cmp"
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
	if params.Get("since") == "" && outlet.LastEventID(r) == "" {
		items, next, err = s.Hub.Latest(r.Context(), q, actor, limit)
	} else {
		var after tidings.Position
		if after, err = outlet.After(r.Context(), s.Hub, r, after); err == nil {
			items, next, more, err = s.Hub.Read(r.Context(), q, actor, after, limit)
		}
	}
	if err != nil {
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
	for i, it := range items {
		if i == 0 || i == len(items)-1 {
			fmt.Fprint(tag, it.Position)
		}
	}
	if len(items) == 0 {
		fmt.Fprint(tag, next.Epoch)
	}
	h := w.Header()
	h.Set("ETag", fmt.Sprintf(`W/"%x"`, tag.Sum64()))
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept, Authorization")
	if s.unmodified(w, r, items...) {
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
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Authorization")
	// What a stranger published must not act as a page of this server.
	h.Set("Content-Security-Policy", "sandbox")
	if s.unmodified(w, r, it) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", cmp.Or(it.ContentType, "application/octet-stream"))
	h.Set("Content-Length", strconv.Itoa(len(it.Payload)))
	if r.Method != http.MethodHead {
		w.Write(it.Payload)
	}
	return nil
}

// unmodified sets Last-Modified and evaluates If-None-Match against the entity tag that is set and, where there is none
// of them, If-Modified-Since (RFC 9110 section 13.2.2).
//
// Events carry the time their publishers gave, which says nothing about when this server got them: one that happened
// earlier may come later. So Last-Modified is the time of the newest for people to see, and a date that comes back is
// compared with what the log has got since.
func (s *Server) unmodified(w http.ResponseWriter, r *http.Request, items ...*hub.Item) bool {
	now := time.Now().UTC()
	var newest time.Time
	var last tidings.Position
	for _, it := range items {
		if it.Time.After(newest) {
			newest = it.Time
		}
		last = it.Position // they are in order
	}
	h := w.Header()
	if len(items) > 0 {
		if newest.After(now) {
			newest = now // section 8.8.2.1
		}
		// Rounded up, so that what came within the second is not newer than it, once the second is over.
		if up := newest.Add(time.Second - 1).Truncate(time.Second); !up.After(now) {
			newest = up
		}
		h.Set("Last-Modified", newest.UTC().Format(http.TimeFormat))
	}
	if inm := r.Header.Values("If-None-Match"); len(inm) > 0 {
		tag := strings.TrimPrefix(h.Get("ETag"), "W/")
		for t := range strings.SplitSeq(strings.Join(inm, ","), ",") {
			if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	if err != nil || len(items) == 0 || since.After(now) { // a date in the future is ignored (section 13.1.3)
		return false
	}
	got, err := s.Hub.At(r.Context(), since)
	return err == nil && last.Offset <= got.Offset
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
