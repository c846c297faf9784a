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
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/drops"
	"tidings/outlet/socketio"
)

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
	wheel *socketio.Wheel[*session]
	group *edge.Group // of cursors that wait for no feed

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	sessions map[socketio.ID]*session // of clients that poll

	waits chan<- int   // for tests: 1 when a poll waits in the edge, -1 when its connection is closed
	count atomic.Int64 // sessions
	ended socketio.Counts
}

// New returns a Server.
func New(o Options) *Server {
	socketio.Positive(&o.MaxPatterns, 100)
	socketio.Positive(&o.MaxPayload, 64<<10)
	socketio.Positive(&o.MaxPolling, 20_000)
	socketio.Whole(&o.PingInterval, 25*time.Second)
	socketio.Whole(&o.PingTimeout, 20*time.Second)
	socketio.Whole(&o.ConnectTimeout, 45*time.Second)
	s := &Server{opt: o, drops: drops.New(o.Log, "socket.io-4"), group: o.Edge.NewGroup(), sessions: map[socketio.ID]*session{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wheel = socketio.NewWheel[*session]()
	s.wg.Go(func() { s.wheel.Run(s.ctx) })
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
	st := Stats{Sessions: s.count.Load(), Ended: s.ended.Snapshot(), Dropped: s.drops.Snapshot()}
	s.mu.Lock()
	st.Polling = len(s.sessions)
	s.mu.Unlock()
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
	if !socketio.AllowOrigin(w, r, s.opt.Origins) {
		s.drops.Add("origin", 1, "origin", socketio.Cut(r.Header.Get("Origin")))
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
		s.drops.Add("protocol-version", 1, "version", socketio.Cut(q.Get("EIO")))
		s.fail(w, errVersion, "Unsupported protocol version")
		return
	case transport != "polling" && transport != "websocket":
		s.drops.Add("transport", 1, "transport", socketio.Cut(transport))
		s.fail(w, errTransport, "Transport unknown")
		return
	case r.Method != http.MethodGet && (r.Method != http.MethodPost || id == "" || transport != "polling"):
		s.fail(w, errMethod, "Bad handshake method")
		return
	}
	var ss *session
	if id != "" {
		if k, ok := socketio.ParseID(id); ok {
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
	ss := &session{server: s, id: socketio.NewID(), begun: s.wheel.Now()}
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
	s.wheel.Add(ss, ss.begun+socketio.Seconds(min(s.opt.PingInterval, s.opt.ConnectTimeout)))
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
	s.ended.Add(reason)
}
