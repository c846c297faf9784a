// Package web is the page at the root of the server: what is flowing now, the topics with their rates, and how to read
// them in every protocol there is.
//
// The page is complete as HTML, so that it says something without JavaScript; the module assets/page.js then follows the
// stream of GET /subscribe from the position that the HTML ends at, so that nothing is missed between the two. The query
// of the page is the query of that stream: /?topic=PATTERN&filter=EXPRESSION&field=value.
//
// What strangers wrote is text wherever it stands: html/template escapes it here, the module sets text nodes only, and
// the Content-Security-Policy (CSP Level 3, Trusted Types) forbids inline scripts, inline styles and HTML made from
// strings.
package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/internal/problem"
)

// The paths of what the page needs beside itself. StatePath answers with the figures of the moment as JSON, by the same
// query as the page.
const (
	StatePath  = "/live"
	AssetsPath = "/assets/"
)

// Limits of what one page shows.
const (
	pageEvents  = 40              // events in the HTML
	pageTopics  = 40              // topics in the list
	latestTime  = 2 * time.Second // for finding the events: a filter may let few pass
	stateAge    = time.Second     // how long the figures of one query are kept
	stateKept   = 256             // queries whose figures are kept
	topicsEvery = 10 * time.Second
)

// Options are what the page shows and how it gets it.
type Options struct {
	Hub *hub.Hub
	// Authenticate returns who sends the request, or an error.
	Authenticate func(*http.Request) (tidings.Actor, error)
	// May returns nil if the actor may read the topic.
	May func(tidings.Actor, tidings.Topic) error
	// Topics returns all topics that have events.
	Topics func(context.Context) ([]Topic, error)
	// MaxPatterns bounds the patterns of one page, as it does those of its stream.
	MaxPatterns int
	// Serves has the protocols beside HTTP that the server speaks, by the names that ways in connect.go need, with the
	// address of a listener of their own or an empty text.
	Serves map[string]string
	Log    *slog.Logger
}

// Topic is a topic that has events, and how many are kept.
type Topic struct {
	Topic  tidings.Topic
	Events uint64
}

// Server serves the page, its assets and its figures.
type Server struct {
	opt   Options
	rates *rates

	mu     sync.Mutex
	states map[string]keptState

	topicsMu sync.Mutex
	topics   []Topic
	topicsAt time.Time     // when the list was got
	topicsIn time.Duration // how long that took
}

type keptState struct {
	until time.Time
	body  []byte
}

// New returns a Server that counts what flows from now on, until Close.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r, err := countRates(o.Hub)
	if err != nil {
		return nil, fmt.Errorf("web: counting what flows: %w", err)
	}
	return &Server{opt: o, rates: r, states: map[string]keptState{}}, nil
}

// Close ends the counting.
func (s *Server) Close() { s.rates.Close() }

// ServePage answers GET / with the page.
func (s *Server) ServePage(w http.ResponseWriter, r *http.Request) {
	actor, err := s.opt.Authenticate(r)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	in := r.URL.Query()
	v, redirect := readView(in, s.opt.MaxPatterns)
	if redirect {
		// What the form sent becomes the address that the stream has too, and that can be handed on.
		http.Redirect(w, r, v.page(), http.StatusSeeOther)
		return
	}
	p, status := s.page(r, v, actor)
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "page.html", p); err != nil {
		s.opt.Log.Error("the page could not be made", "err", err)
		problem.Write(w, r, fmt.Errorf("web: executing the template: %w", err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Add("Vary", "Accept, Authorization")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(b.Bytes())
	}
}

// contentSecurityPolicy lets the page use its own assets and nothing else.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// page gathers what the page shows, and the status to answer with.
func (s *Server) page(r *http.Request, v view, actor tidings.Actor) (*page, int) {
	p := &page{view: v, Stream: v.stream(), State: v.state(), Head: s.opt.Hub.Head(), At: time.Now().UTC()}
	status := http.StatusOK
	if v.Complaint == nil {
		ctx, cancel := context.WithTimeout(r.Context(), latestTime)
		items, head, err := s.opt.Hub.Latest(ctx, v.query(), actor, pageEvents)
		cancel()
		switch {
		case err == nil:
			p.Head = head
			for i := len(items) - 1; i >= 0; i-- {
				p.Rows = append(p.Rows, rowOf(items[i], v))
			}
		case errors.Is(err, context.DeadlineExceeded):
			p.Searched = true
		default:
			p.Complaint = complain("topic", err)
			status = problem.Status(tidings.KindOf(err))
		}
	} else {
		status = http.StatusBadRequest
	}
	st, err := s.state(r.Context(), v, actor)
	if err != nil {
		// The rest of the page stands without them, and the list of events has said what there is to say.
		s.opt.Log.Warn("the topics could not be listed for the page", "err", err)
	}
	p.Figures = st
	p.Ways = waysFor(v, baseURL(r), s.opt.Serves)
	p.Examples = v.examples()
	return p, status
}

// ServeState answers GET /live with the figures of the topics that the query names.
func (s *Server) ServeState(w http.ResponseWriter, r *http.Request) {
	actor, err := s.opt.Authenticate(r)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	v, _ := readView(r.URL.Query(), s.opt.MaxPatterns)
	if c := v.Complaint; c != nil {
		problem.Write(w, r, c.err)
		return
	}
	body, err := s.stateBody(r.Context(), v, actor)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// stateBody returns the figures as JSON. Those that anybody may see are made once a second for each set of patterns,
// however many pages ask, and less often where making them takes long.
func (s *Server) stateBody(ctx context.Context, v view, actor tidings.Actor) ([]byte, error) {
	key := v.patternsText()
	public := actor.Kind == tidings.Anonymous
	if public {
		s.mu.Lock()
		k := s.states[key]
		s.mu.Unlock()
		if time.Now().Before(k.until) {
			return k.body, nil
		}
	}
	began := time.Now()
	st, err := s.state(ctx, v, actor)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("web: encoding the figures: %w", err)
	}
	if public {
		s.mu.Lock()
		if len(s.states) >= stateKept {
			clear(s.states)
		}
		s.states[key] = keptState{time.Now().Add(max(stateAge, 20*time.Since(began))), body}
		s.mu.Unlock()
	}
	return body, nil
}

// state returns the figures of the topics that match and that the actor may read. With an error, which is one of the
// list of topics, it has those that flowed lately.
func (s *Server) state(ctx context.Context, v view, actor tidings.Actor) (figures, error) {
	f := s.rates.figures(func(t tidings.Topic) bool { return v.matches(t) && s.opt.May(actor, t) == nil })
	f.Head = s.opt.Hub.Head()
	all, err := s.allTopics(ctx)
	f.addKept(all, func(t tidings.Topic) bool { return v.matches(t) && s.opt.May(actor, t) == nil })
	return f, err
}

// allTopics returns the list of topics, at most some seconds old: making it takes time where there are very many, and
// then it is made the less often.
func (s *Server) allTopics(ctx context.Context) ([]Topic, error) {
	s.topicsMu.Lock()
	defer s.topicsMu.Unlock()
	if s.topicsAt.IsZero() || time.Since(s.topicsAt) > max(topicsEvery, 20*s.topicsIn) {
		began := time.Now()
		all, err := s.opt.Topics(ctx)
		if err != nil {
			return s.topics, err
		}
		s.topics, s.topicsAt, s.topicsIn = all, time.Now(), time.Since(began)
	}
	return s.topics, nil
}

// baseURL returns the address of the server as the reader's browser knows it.
func baseURL(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: r.Host}).String()
}
