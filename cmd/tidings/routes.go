package main

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"tidings"
	"tidings/config"
	"tidings/internal/problem"
	"tidings/internal/topicurl"
	"tidings/outlet"
	"tidings/outlet/feeds"
	"tidings/outlet/socketio"
	"tidings/outlet/sse"
	sourcehttp "tidings/source/http"
	"tidings/web"
)

// routes is the HTTP surface; design and README have the table.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	tokens := &sourcehttp.TokenServer{Tokens: s.policy, Log: s.log}
	mux.Handle("GET "+sse.StreamsPath, s.public(s.stream.ServeStream))
	sockets := s.openWS()
	mux.Handle("GET /subscribe", s.public(upgradable(sockets.ServeSubscribe, s.stream.ServeSubscribe)))
	mux.Handle("GET /topics", s.public(s.lists.ServeTopics(s.topics, func(a tidings.Actor, t tidings.Topic) bool {
		return s.policy.May(a, tidings.ReadAction, t) == nil
	})))
	for _, pattern := range []string{"GET /tokens", "POST /tokens", "GET /tokens/{id}", "DELETE /tokens/{id}"} {
		mux.Handle(pattern, tokens)
	}
	accounts := &sourcehttp.UserServer{Users: users{s.accounts}, Policy: s.policy, Log: s.log}
	mux.Handle("/users", accounts)
	mux.Handle("/users/{name}", accounts)
	mux.Handle("GET /problems/", problem.Handler())
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !s.ready.Load() {
			plain(w, http.StatusServiceUnavailable, "not ready")
			return
		}
		if err := s.refusing.Load(); err != nil {
			plain(w, http.StatusServiceUnavailable, "the journal takes no events: "+(*err).Error())
			return
		}
		plain(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", s.metrics())
	mux.HandleFunc("GET /rcstream_status", s.rc.ServeStatus)
	mux.HandleFunc("GET /robots.txt", func(w http.ResponseWriter, r *http.Request) { plain(w, http.StatusOK, "User-agent: *\nDisallow: /") })
	s.routesXMPP(mux)
	mux.HandleFunc("GET /{$}", s.front)
	mux.HandleFunc("GET "+web.StatePath, s.web.ServeState)
	mux.HandleFunc("GET "+web.AssetsPath, s.web.ServeAsset)
	topic := s.public(upgradable(sockets.ServeTopic, s.topic))
	rest := s.public(func(w http.ResponseWriter, r *http.Request) { notFound(mux, w, r) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Body != http.NoBody {
			// net/http reads what a handler leaves of a body before it answers; a body that never comes must not hold it.
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		if strings.HasPrefix(r.URL.Path, "/topics/") { // not by mux, which redirects a bad path instead of saying what is bad
			topic.ServeHTTP(w, r)
			return
		}
		if strings.HasPrefix(r.URL.Path, socketio.Path) { // nor this: the clients of 2012 send double slashes
			if isSocketIO4(r) {
				s.sio.ServeHTTP(w, r)
			} else {
				s.rc.ServeHTTP(w, r)
			}
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			rest.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// bodyTimeout bounds the wait for a body nobody asked for; publishing has a bound of its own.
const bodyTimeout = 10 * time.Second

// frontOffers are the forms of the front page, the text first: what curl gets.
var frontOffers = []outlet.Offer{{Name: "text", Type: "text/plain"}, pageOffer}

// pageOffer is the live page.
var pageOffer = outlet.Offer{Name: "html", Type: "text/html"}

// front answers a browser with the live page and everybody else with what there is.
func (s *server) front(w http.ResponseWriter, r *http.Request) {
	if o, _ := outlet.Negotiate(r, frontOffers); o == pageOffer {
		s.web.ServePage(w, r)
		return
	}
	w.Header().Add("Vary", "Accept")
	plain(w, http.StatusOK, frontText)
}

const frontText = `Tidings pushes changes to everyone who asked.

  /topics                      what there is
  /topics/{topic}              a topic: SSE, NDJSON or a JSON list, by Accept or ?format=; WebSocket
  /subscribe?topic=PATTERN     several topics in one stream; WebSocket
  /v2/stream/recentchange      recent changes as EventStreams has them
  /socket.io/1/  /rcstream_status   recent changes as RCStream had them (Socket.IO 0.9, namespace /rc)
  /socket.io/?EIO=4            topics, and recent changes in the namespace /rc (Socket.IO 4)
  /status /metrics /healthz /readyz
`

// topicMethods are those of /topics/{topic}.
var topicMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete}

// options answers with the methods of a resource (RFC 9110 section 9.3.7).
func options(w http.ResponseWriter, methods []string) {
	w.Header().Set("Allow", strings.Join(append(slices.Clone(methods), http.MethodOptions), ", "))
	w.WriteHeader(http.StatusNoContent)
}

// notFound answers what no route takes: another method is not allowed, another path is not there.
func notFound(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range topicMethods {
		o := r.Clone(r.Context())
		o.Method = m
		if _, pattern := mux.Handler(o); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 && r.Method == http.MethodOptions {
		options(w, allowed)
		return
	}
	if len(allowed) > 0 {
		problem.MethodNotAllowed(w, r, allowed...)
		return
	}
	problem.Write(w, r, tidings.Errorf(tidings.ErrNotFound, "there is nothing at %s: GET / lists what there is", r.URL.Path))
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(strings.TrimSuffix(text, "\n") + "\n"))
}

// topicOffers are the forms of a topic for a reader, the JSON list first: what a browser or curl asks for by default.
// A browser that is led to a topic gets the page about it.
var topicOffers = append(append([]outlet.Offer{feeds.Offer}, sse.Offers...), pageOffer)

// topic serves /topics/{topic}: reading in the form asked for, publishing to source/http.
func (s *server) topic(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		options(w, topicMethods)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.publish.ServeHTTP(w, r)
		return
	}
	if r.URL.Query().Has("item") {
		s.lists.ServeTopic(w, r)
		return
	}
	o, ok := outlet.Choose(w, r, topicOffers)
	if !ok {
		return
	}
	switch o {
	case feeds.Offer:
		s.lists.ServeTopic(w, r)
		return
	case pageOffer:
		s.topicPage(w, r)
		return
	}
	s.stream.ServeTopic(w, r, o.Name == "ndjson")
}

// topicPage leads to the live page of the topic.
func (s *server) topicPage(w http.ResponseWriter, r *http.Request) {
	topic, err := topicurl.Path(r.URL.EscapedPath())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	w.Header().Add("Vary", "Accept")
	http.Redirect(w, r, web.PageOf(topic, r.URL.Query()), http.StatusSeeOther)
}

// openPage wires the live page.
func (s *server) openPage() (err error) {
	serves := map[string]string{"websocket": "", "rcstream": "", "socketio": ""}
	if s.ircListener != nil {
		serves["irc"] = s.ircListener.Addr().String()
	}
	if s.xmpp != nil {
		serves["xmpp"] = s.cfg.RoomsDomain()
	} else if rooms := s.domainsServed(config.ServesRooms); len(rooms) > 0 {
		serves["xmpp"] = rooms[0]
	}
	s.web, err = web.New(web.Options{
		Hub: s.hub, Authenticate: s.authenticate, MaxPatterns: s.cfg.Limits.Patterns, Log: s.log,
		May: func(a tidings.Actor, t tidings.Topic) error { return s.policy.May(a, tidings.ReadAction, t) },
		Topics: func(ctx context.Context) ([]web.Topic, error) {
			infos, err := s.listed(ctx, tidings.MustPattern("/**"))
			topics := make([]web.Topic, len(infos))
			for i, t := range infos {
				topics[i] = web.Topic(t)
			}
			return topics, err
		},
		Serves: serves,
	})
	return err
}

func (s *server) topics(r *http.Request, p tidings.Pattern) ([]feeds.Topic, error) {
	infos, err := s.listed(r.Context(), p)
	if err != nil {
		return nil, err
	}
	topics := make([]feeds.Topic, len(infos))
	for i, t := range infos {
		topics[i] = feeds.Topic{Topic: t.Topic, Events: t.Events}
	}
	return topics, nil
}

// public lets pages of the configured origins use a resource (Fetch, section 3.2). A page sends no credentials by
// itself: who may do what is in the token it sends.
func (s *server) public(h http.HandlerFunc) http.Handler {
	origins := s.cfg.HTTP.CORSOrigins
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		switch {
		case slices.Contains(origins, "*"):
			w.Header().Set("Access-Control-Allow-Origin", "*")
		case origin != "" && slices.Contains(origins, origin):
			w.Header().Set("Access-Control-Allow-Origin", origin)
			w.Header().Add("Vary", "Origin")
		default:
			h(w, r)
			return
		}
		w.Header().Set("Access-Control-Expose-Headers", "Location, Position, ETag, Retry-After")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE")
			w.Header().Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Idempotency-Key, Item-ID, If-None-Match, Last-Event-ID, X-Requested-With")
			w.Header().Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h(w, r)
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(v)
}
