// Package v4 serves Socket.IO as clients of its releases 3 and 4 speak it: Engine.IO protocol 4 and Socket.IO protocol 5.
//
// The transports are websocket and polling, with the upgrade from the one to the other; sessions are kept alive by the
// server's pings. There are two namespaces:
//
//   - / takes the events subscribe and unsubscribe, with topics and patterns as texts or lists, or with an object
//     {topics, filter, after, since}, and sends event, whose argument is a CloudEvent;
//   - /rc takes the same with wikis as RCStream named them, and sends change, whose argument is a recent change as
//     EventStreams has it.
//
// Both send gap where something was lost, error where something failed and no acknowledgement was asked for, and subscribed
// after each change of the subscription. What a client subscribes to is one set of topics with one filter for each
// namespace: subscribe adds topics and replaces the filter, where the subscription stands.
//
// The last argument of each event is its offset, a position and the query string of the subscription. A client brings the
// last one back when it connects again (connection state recovery), and it is all that there is to know: no state is kept,
// so that the client is recovered by another process as well, after a restart or behind a balancer.
//
// Binary data has no meaning here: an event with attachments is refused, and they are skipped. doc/socketio.md is for
// users.
//
// A session on a WebSocket, and a poll that waits, is a connection of the edge; one wheel with a step of a second times all
// sessions.
package v4

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/drops"
)

// Path is the path of the resource.
const Path = "/socket.io/"

// Options configure a Server; the zero value of each limit means its default.
type Options struct {
	Hub  *hub.Hub
	Edge *edge.Edge
	// Authenticate returns who sends the handshake, or an error.
	Authenticate func(*http.Request) (tidings.Actor, error)
	// Token returns whose a token is: that of {auth: {token}}, which pages send.
	Token func(token string) (tidings.Actor, error)
	// Origins are the web origins whose pages may connect; "*" is every one. The server's own pages always may.
	Origins []string
	// MaxPatterns bounds the topics of one subscription (100).
	MaxPatterns int
	// PingInterval is the time between pings (25 s), PingTimeout how long an answer may take (20 s). Times are counted in
	// whole seconds.
	PingInterval, PingTimeout time.Duration
	// ConnectTimeout is how long a client may be without a namespace (45 s).
	ConnectTimeout time.Duration
	// MaxPayload bounds a packet, and the body of a request, in bytes (64 KiB).
	MaxPayload int
	// MaxPolling bounds the sessions of clients that poll (20,000).
	MaxPolling int
	Log        *slog.Logger
}

// Server serves Socket.IO. Shutdown ends it.
type Server struct {
	opt   Options
	drops *drops.Drops
	wheel wheel
	group *edge.Group // of cursors that wait for no feed

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	sessions map[sid]*session // of clients that poll

	waits chan<- int   // for tests: 1 when a poll waits in the edge, -1 when its connection is closed
	count atomic.Int64 // sessions
	ended sync.Map     // reason -> *atomic.Uint64
}

// New returns a Server.
func New(o Options) *Server {
	positive := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	positive(&o.MaxPatterns, 100)
	positive(&o.MaxPayload, 64<<10)
	positive(&o.MaxPolling, 20_000)
	whole := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
		*v = min(max(v.Truncate(time.Second), time.Second), (wheelSlots-2)*time.Second)
	}
	whole(&o.PingInterval, 25*time.Second)
	whole(&o.PingTimeout, 20*time.Second)
	whole(&o.ConnectTimeout, 45*time.Second)
	s := &Server{opt: o, drops: drops.New(o.Log, "socket.io-4"), group: o.Edge.NewGroup(), sessions: map[sid]*session{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wheel.start = time.Now()
	s.wg.Go(s.turnWheel)
	return s
}

// Shutdown ends the timing of sessions and waits for it. Connections are the edge's to end.
func (s *Server) Shutdown() {
	s.cancel()
	s.wg.Wait()
	s.drops.Flush()
}

// Stats are figures of a Server at one moment.
type Stats struct {
	Sessions int64             // open sessions
	Polling  int               // those whose clients poll
	Ended    map[string]uint64 // ended sessions by reason
	Dropped  map[string]uint64 // what was dropped by reason
}

// Stats returns the figures.
func (s *Server) Stats() Stats {
	st := Stats{Sessions: s.count.Load(), Ended: map[string]uint64{}, Dropped: s.drops.Snapshot()}
	s.mu.Lock()
	st.Polling = len(s.sessions)
	s.mu.Unlock()
	s.ended.Range(func(k, v any) bool {
		st.Ended[k.(string)] = v.(*atomic.Uint64).Load()
		return true
	})
	return st
}

// The errors of Engine.IO, by their codes.
const (
	errTransport   = 0
	errUnknown     = 1
	errMethod      = 2
	errRequest     = 3
	errForbidden   = 4
	errVersion     = 5
	errUnavailable = -1 // none of Engine.IO's
)

// fail answers with an error as the reference server does.
func (s *Server) fail(w http.ResponseWriter, code int, text string) {
	status := http.StatusBadRequest
	switch code {
	case errForbidden:
		status = http.StatusForbidden
	case errUnavailable:
		status, code = http.StatusServiceUnavailable, errRequest
		w.Header().Set("Retry-After", "10")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"code": code, "message": text})
}

// ServeHTTP serves /socket.io/?EIO=4&transport=polling|websocket[&sid=SID].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.allowOrigin(w, r) {
		s.drops.Add("origin", 1, "origin", cut([]byte(r.Header.Get("Origin"))))
		s.fail(w, errForbidden, "pages of this origin may not connect")
		return
	}
	q := r.URL.Query()
	id, transport := q.Get("sid"), q.Get("transport")
	switch {
	case r.Method == http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Requested-With")
		w.Header().Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	case q.Get("EIO") != "4":
		s.drops.Add("protocol-version", 1, "version", cut([]byte(q.Get("EIO"))))
		s.fail(w, errVersion, "Unsupported protocol version")
		return
	case transport != "polling" && transport != "websocket":
		s.drops.Add("transport", 1, "transport", cut([]byte(transport)))
		s.fail(w, errTransport, "Transport unknown")
		return
	case r.Method != http.MethodGet && (r.Method != http.MethodPost || id == "" || transport != "polling"):
		s.fail(w, errMethod, "Bad handshake method")
		return
	}
	var ss *session
	if id != "" {
		if k, ok := parseSID(id); ok {
			s.mu.Lock()
			ss = s.sessions[k]
			s.mu.Unlock()
		}
		if ss == nil {
			s.drops.Add("session-unknown", 1)
			s.fail(w, errUnknown, "Session ID unknown")
			return
		}
	}
	switch {
	case transport == "websocket":
		s.serveSocket(w, r, ss)
	case ss == nil:
		s.handshake(w, r)
	case r.Method == http.MethodPost:
		s.post(w, r, ss)
	default:
		s.poll(w, r, ss)
	}
}

// allowOrigin sets the headers of a request from a page and reports whether the page may connect. The origin is named,
// because a page that sends credentials may not be answered with * (Fetch, section 3.2.5).
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if !slices.Contains(s.opt.Origins, "*") && !slices.Contains(s.opt.Origins, origin) {
		u, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(u.Host, r.Host) || u.Host == "" {
			return false
		}
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Add("Vary", "Origin")
	return true
}

// handshake opens a session that polls.
func (s *Server) handshake(w http.ResponseWriter, r *http.Request) {
	actor, err := s.opt.Authenticate(r)
	if err != nil {
		s.fail(w, errForbidden, err.Error())
		return
	}
	ss, err := s.newSession(actor, true)
	if err != nil {
		s.fail(w, errUnavailable, err.Error())
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Write(s.openPacket(ss, []string{"websocket"}))
}

// openPacket tells a client of its session.
func (s *Server) openPacket(ss *session, upgrades []string) []byte {
	if upgrades == nil {
		upgrades = []string{}
	}
	return append([]byte{engineOpen}, encode(struct {
		SID          string   `json:"sid"`
		Upgrades     []string `json:"upgrades"`
		PingInterval int64    `json:"pingInterval"`
		PingTimeout  int64    `json:"pingTimeout"`
		MaxPayload   int      `json:"maxPayload"`
	}{ss.id.String(), upgrades, s.opt.PingInterval.Milliseconds(), s.opt.PingTimeout.Milliseconds(), s.opt.MaxPayload})...)
}

// newSession opens a session. Only those of clients that poll are found by their id.
func (s *Server) newSession(actor tidings.Actor, polling bool) (*session, error) {
	ss := &session{server: s, id: newSID(), begun: s.wheel.now()}
	if actor.Kind != tidings.Anonymous {
		ss.actor = &actor
	}
	if polling {
		ss.polls = newPolls()
		s.mu.Lock()
		full := len(s.sessions) >= s.opt.MaxPolling
		if !full {
			s.sessions[ss.id] = ss
		}
		s.mu.Unlock()
		if full {
			s.drops.Add("too-many-sessions", 1)
			return nil, tidings.Errorf(tidings.ErrUnavailable, "there are too many sessions: come back later")
		}
	}
	s.count.Add(1)
	s.wheel.add(ss, ss.begun+seconds(min(s.opt.PingInterval, s.opt.ConnectTimeout)))
	return ss, nil
}

// moved forgets the id of a session whose client does not poll any more.
func (s *Server) moved(ss *session) {
	s.mu.Lock()
	delete(s.sessions, ss.id)
	s.mu.Unlock()
}

// gone counts a session that has ended.
func (s *Server) gone(ss *session, reason string) {
	s.moved(ss)
	s.count.Add(-1)
	v, ok := s.ended.Load(reason)
	if !ok {
		v, _ = s.ended.LoadOrStore(reason, new(atomic.Uint64))
	}
	v.(*atomic.Uint64).Add(1)
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// cut bounds what a log line shows of a client's text.
func cut(b []byte) string {
	return string(bytes.ToValidUTF8(b[:min(len(b), 64)], []byte("?")))
}
