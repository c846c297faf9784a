// Package v09 serves the first protocol of Socket.IO, that of its releases 0.7 to 0.9 (socket.io-spec, protocol version 1), and on
// it RCStream, which Wikimedia ran at stream.wikimedia.org until 2017: the namespace /rc with the events subscribe, unsubscribe and
// change. Programs written for either work unchanged but for the host.
//
// What clients of that time send is taken as the servers of that time took it (socket.io 0.9.19, gevent-socketio); what they are
// sent is, byte for byte, what gevent-socketio sent. Everything is ASCII, because clients count the length of a packet in different
// units.
//
// What RCStream lacked: a pattern may name a wiki by its id; a pattern that begins with a slash is one of topics of any kind; the
// event resume says where the client was, and from then on each change comes with its position as a second argument; the event gap
// says that something was lost. Positions come only when asked for: clients of 2015 call a function with as many arguments as the
// event has, and Python's fail on one too many. doc/rcstream.md is for users.
//
// A session on a WebSocket is a connection of the edge. One that polls has nothing but its place between polls, and one goroutine,
// parked in a read of its socket, while a poll is held. One wheel with a step of a second times all sessions.
package v09

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/drops"
	"tidings/outlet/socketio"
)

// version is the one protocol version served.
const version = "1"

// Options configure a Server; the zero value of each limit means its default.
type Options struct {
	Hub  *hub.Hub
	Edge *edge.Edge
	// Authenticate returns who sends the handshake, or an error. What a session may read is judged by it.
	Authenticate func(*http.Request) (tidings.Actor, error)
	// Origins are the web origins whose pages may connect; "*" is every one. The server's own pages always may.
	Origins []string
	// MaxPatterns bounds what one client subscribes to (10, as RCStream).
	MaxPatterns int
	// Heartbeat is the time between heartbeats on a WebSocket (25 s). Times are counted in whole seconds.
	Heartbeat time.Duration
	// HeartbeatTimeout is how long an answer to one may take (60 s). Clients are told.
	HeartbeatTimeout time.Duration
	// CloseTimeout is how long a client may be without a transport, or a polling one without a poll (60 s). Clients are told.
	CloseTimeout time.Duration
	// PollTime is how long a poll is held (20 s).
	PollTime time.Duration
	// MaxSessions bounds the sessions (100,000). MaxPending bounds those that never opened a transport (10,000): beyond it the
	// oldest of them goes.
	MaxSessions, MaxPending int
	// MaxBody bounds a message and the body of a request in bytes (64 KiB).
	MaxBody int
	// Queued returns how many events are accepted and not dispatched yet, for the status.
	Queued func() uint64
	Log    *slog.Logger
}

// Server serves Socket.IO 0.9 below /socket.io/1/. Shutdown ends it.
type Server struct {
	opt   Options
	drops *drops.Drops
	sets  sets
	wheel *socketio.Wheel[*session]
	waker waker
	idle  *edge.Group // of sockets that have subscribed to nothing

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	sessions map[socketio.ID]*session
	pending  []*session         // oldest first, some of them no longer pending
	waiting  int                // of them that still are
	leaving  bool               // who polls is told goodbye
	closed   bool               // no poll is taken any more
	polls    map[*poll]struct{} // held or lingering

	connected atomic.Int64 // sessions with a transport
	ended     socketio.Counts
}

// New returns a Server.
func New(o Options) *Server {
	socketio.Positive(&o.MaxPatterns, 10)
	socketio.Positive(&o.MaxSessions, 100_000)
	socketio.Positive(&o.MaxPending, 10_000)
	socketio.Positive(&o.MaxBody, 64<<10)
	socketio.Whole(&o.Heartbeat, 25*time.Second)
	socketio.Whole(&o.HeartbeatTimeout, time.Minute)
	socketio.Whole(&o.CloseTimeout, time.Minute)
	socketio.Whole(&o.PollTime, 20*time.Second)
	if o.Queued == nil {
		o.Queued = func() uint64 { return 0 }
	}
	s := &Server{opt: o, drops: drops.New(o.Log, "socket.io-0.9"), idle: o.Edge.NewGroup(), sessions: map[socketio.ID]*session{}, polls: map[*poll]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wheel = socketio.NewWheel[*session]()
	s.waker.bell = make(chan struct{}, 1)
	s.wg.Go(func() { s.wheel.Run(s.ctx) })
	s.wg.Go(func() { s.waker.run(s.ctx) })
	return s
}

// Goodbye begins the end for those who poll: who has everything that is dispatched is told, at its next poll or in the one held,
// that the server stops. Sockets are the edge's to end. Handshakes are refused.
func (s *Server) Goodbye() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	for p := range s.polls {
		p.wake()
	}
}

// Shutdown says goodbye, answers the polls that are held and waits for every goroutine. When ctx ends first, the rest is cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Goodbye()
	stop := context.AfterFunc(ctx, func() {
		s.cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		for p := range s.polls {
			p.nc.Close()
		}
	})
	s.mu.Lock()
	s.closed = true
	for p := range s.polls {
		p.wake()
		s.mu.Unlock()
		<-p.gone
		s.mu.Lock()
	}
	s.mu.Unlock()
	stop()
	err := ctx.Err()
	s.cancel()
	s.wg.Wait()
	s.drops.Flush()
	return err
}

// Stats are figures of a Server at one moment.
type Stats struct {
	Sessions  int               // sessions, those that have not opened a transport included
	Connected int64             // sessions with a transport
	Ended     map[string]uint64 // ended sessions by reason
	Dropped   map[string]uint64 // packets dropped by reason
}

// Stats returns the figures.
func (s *Server) Stats() Stats {
	st := Stats{Connected: s.connected.Load(), Ended: s.ended.Snapshot(), Dropped: s.drops.Snapshot()}
	s.mu.Lock()
	st.Sessions = len(s.sessions)
	s.mu.Unlock()
	return st
}

// ServeStatus answers GET /rcstream_status as RCStream did: the clients connected now, and the events that wait to be dispatched.
func (s *Server) ServeStatus(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	b := strconv.AppendInt([]byte(`{"connected_clients": `), s.connected.Load(), 10)
	b = strconv.AppendUint(append(b, `, "queue_size": `...), s.opt.Queued(), 10)
	w.Write(append(b, '}'))
}

// The transports, in the order in which clients are to try them.
const transports = "websocket,xhr-polling,jsonp-polling"

// ServeHTTP serves everything below socketio.Path that is not another protocol's:
//
//	GET|POST /socket.io/1/                      the handshake; ?jsonp=N
//	GET      /socket.io/1/websocket/SID
//	GET|POST /socket.io/1/xhr-polling/SID
//	GET|POST /socket.io/1/jsonp-polling/SID?i=N
//	GET      /socket.io/1/[TRANSPORT]/SID?disconnect
//
// The request's path is as it came, double slashes included.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !socketio.AllowOrigin(w, r, s.opt.Origins) {
		s.drops.Add("origin", 1, "origin", socketio.Cut(r.Header.Get("Origin")))
		text(w, http.StatusForbidden, "handshake bad origin")
		return
	}
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Requested-With")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST, OPTIONS")
		text(w, http.StatusMethodNotAllowed, "GET or POST")
		return
	}
	rest := strings.TrimPrefix(r.URL.Path, strings.TrimSuffix(socketio.Path, "/"))
	v, rest, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	transport, rest, _ := strings.Cut(rest, "/")
	id, _, _ := strings.Cut(rest, "/")
	switch {
	case v == "":
		text(w, http.StatusOK, "Welcome to socket.io.")
	case v != version:
		s.drops.Add("protocol-version", 1, "version", socketio.Cut(v))
		text(w, http.StatusInternalServerError, "Protocol version not supported.")
	case transport == "" && id == "":
		s.handshake(w, r)
	default:
		s.transport(w, r, transport, id)
	}
}

func text(w http.ResponseWriter, status int, s string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write([]byte(s))
}

// script answers with the call of a JSONP callback; n is a number.
func script(w http.ResponseWriter, contentType, n, s string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	w.Write(appendJSONP(nil, n, []byte(s)))
}

func appendJSONP(dst []byte, n string, s []byte) []byte {
	dst = append(append(append(dst, "io.j["...), n...), "]("...)
	return append(appendQuoted(dst, string(s)), ");"...)
}

// handshake makes a session.
func (s *Server) handshake(w http.ResponseWriter, r *http.Request) {
	answer := func(status int, body string) {
		if n := r.URL.Query().Get("jsonp"); status == http.StatusOK && isDigits(n) {
			script(w, "application/javascript", n, body)
			return
		}
		text(w, status, body)
	}
	actor, err := s.opt.Authenticate(r)
	switch kind := tidings.KindOf(err); {
	case kind == tidings.ErrUnauthenticated || kind == tidings.ErrForbidden:
		answer(http.StatusUnauthorized, "handshake unauthorized")
		return
	case err != nil:
		answer(http.StatusInternalServerError, "handshake error")
		return
	}
	ss, ok := s.newSession(actor, r.Header.Values("Authorization"))
	if !ok {
		s.drops.Add("too-many-sessions", 1)
		w.Header().Set("Retry-After", "10")
		answer(http.StatusServiceUnavailable, "too many sessions")
		return
	}
	b := append([]byte(ss.id.String()), ':')
	b = append(strconv.AppendInt(b, int64(s.opt.HeartbeatTimeout/time.Second), 10), ':')
	b = append(strconv.AppendInt(b, int64(s.opt.CloseTimeout/time.Second), 10), ':')
	answer(http.StatusOK, string(append(b, transports...)))
}

// transport serves a request of a session.
func (s *Server) transport(w http.ResponseWriter, r *http.Request, transport, id string) {
	q := r.URL.Query()
	callback := ""
	if transport == "jsonp-polling" {
		if callback = q.Get("i"); callback == "" {
			callback = "0"
		}
		if !isDigits(callback) {
			text(w, http.StatusBadRequest, "the parameter i is no number")
			return
		}
	}
	ss := s.session(id)
	if q.Has("disconnect") {
		if ss != nil {
			ss.end("disconnect-request", packetDisconnect)
		}
		text(w, http.StatusOK, "")
		return
	}
	switch transport {
	case "websocket":
		s.socket(w, r, ss)
	case "xhr-polling", "jsonp-polling":
		switch {
		case ss == nil:
			s.drops.Add("unknown-session", 1)
			if callback != "" {
				script(w, "text/javascript; charset=UTF-8", callback, packetUnknown)
				return
			}
			text(w, http.StatusOK, packetUnknown)
		case r.Method == http.MethodPost:
			s.post(w, r, ss, callback != "")
		default:
			s.poll(w, r, ss, callback)
		}
	default:
		s.drops.Add("transport", 1, "transport", socketio.Cut(transport))
		text(w, http.StatusBadRequest, "transport not supported")
	}
}

// session returns the session with the id, or nil.
func (s *Server) session(id string) *session {
	k, ok := socketio.ParseID(id)
	if !ok {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[k]
}

// newSession makes a session that has no transport yet. It reports false if there are too many.
func (s *Server) newSession(actor tidings.Actor, proof []string) (*session, bool) {
	now := s.wheel.Now()
	ss := &session{server: s, id: socketio.NewID()}
	ss.heard.Store(now)
	if actor.Kind != tidings.Anonymous {
		ss.owner = &owner{actor, proof}
	}
	var oldest *session
	s.mu.Lock()
	for len(s.pending) > 0 && (!s.pending[0].waiting || s.waiting >= s.opt.MaxPending && oldest == nil) {
		if s.pending[0].waiting {
			oldest = s.pending[0]
			s.left(oldest)
		}
		s.pending[0] = nil
		s.pending = s.pending[1:]
	}
	ok := len(s.sessions) < s.opt.MaxSessions && !s.leaving
	if ok {
		s.sessions[ss.id] = ss
		ss.waiting = true
		s.waiting++
		s.pending = append(s.pending, ss)
	}
	s.mu.Unlock()
	if oldest != nil {
		oldest.end("too-many-pending", "")
	}
	if ok {
		s.wheel.Add(ss, now+socketio.Seconds(min(s.opt.Heartbeat, s.opt.CloseTimeout)))
	}
	return ss, ok
}

// left counts a session that is pending no longer. The caller holds mu.
func (s *Server) left(ss *session) {
	if ss.waiting {
		ss.waiting = false
		s.waiting--
	}
}

// event is the data of an event packet.
type event struct {
	Name string            `json:"name"`
	Args []json.RawMessage `json:"args"`
}

var errEvent = errors.New("packet-event")

func parseEvent(data []byte) (event, error) {
	var e event
	if err := json.Unmarshal(data, &e); err != nil || e.Name == "" {
		return e, errEvent
	}
	return e, nil
}
