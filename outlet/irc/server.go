// Package irc serves changes over IRC, read-only: the feed that wiki tools were written for. Each wiki is a channel with
// the name and the coloured lines that MediaWiki gives it; every other topic is a channel too.
//
//   - RFC 1459, RFC 2812: what clients need to register, join and read; a client sees itself and the bot that speaks
//   - IRCv3 message-tags, server-time, batch, standard-replies, for those who ask; msgid is the text of the Position
//   - IRCv3 chathistory (draft): the journal
//
// Beyond IRC, the key of a JOIN may hold a filter and where to begin: JOIN #en.wikipedia bot=false&since=5f3a9c01-1042.
package irc

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/drops"
	wire "tidings/irc"
	"tidings/recentchange"
)

// Options configure a Server. Hub, Edge, May and Topics are needed; the zero value of every other means its default.
type Options struct {
	Hub  *hub.Hub
	Edge *edge.Edge
	// Authenticate returns whose the token is that a client gives with PASS; nil: nobody's.
	Authenticate func(token string) (tidings.Actor, error)
	// May judges readers as package access does.
	May func(a tidings.Actor, action tidings.Action, t tidings.Topic) error
	// Topics returns the topics that have events and match the pattern. It may block.
	Topics func(ctx context.Context, p tidings.Pattern) ([]tidings.Topic, error)

	Wikis    recentchange.Wikis
	Channels map[string][]tidings.Pattern // channels beside those that topics have by themselves

	ServerName string // such as localhost
	Network    string // such as Tidings
	Bot        string // the nick that says the changes (rc-pmtpa)
	Motd       string // lines; empty for a short help
	Version    string // of the program

	PingEvery       time.Duration // a client silent for so long is asked whether it is there (45 s)
	PingTimeout     time.Duration // one silent for so long is closed (180 s)
	RegisterTimeout time.Duration // one not registered after so long is closed, and so is a TLS handshake (30 s)

	Log *slog.Logger
}

// DefaultBot is the nick of the feed on irc.wikimedia.org, which programs look for.
const DefaultBot = "rc-pmtpa"

// Limits of one connection.
const (
	maxChannels = 2000
	maxPending  = 64 << 10 // bytes of commands that wait for one that takes long: 2000 JOINs
	maxHistory  = 200      // messages in the answer to one CHATHISTORY
	maxList     = 10_000   // channels in the answer to one LIST
	burst       = 5000     // lines at once: a client joins its channels one by one
	perSecond   = 50       // lines a second after those
	historyCost = 25       // lines that a command counts which reads the journal
)

const (
	slots     = 4           // parts of the wheel, each looked at once in so many ticks
	tickEvery = time.Second // between two ticks
	atOnce    = 2           // commands of each queue
	readTime  = 5 * time.Second
)

// The reasons for which this package closes a connection or drops something; the edge counts the former.
const (
	ReasonQuit      = "irc-quit"
	ReasonFlood     = "irc-flood"
	ReasonPing      = "irc-ping-timeout"
	ReasonRegister  = "irc-register-timeout"
	ReasonPassword  = "irc-bad-token"
	DropHandshake   = "tls-handshake"
	DropEnded       = "server-stops"
	DropLine        = "line-too-long"
	DropMalformed   = "malformed-line"
	DropUnspeakable = "no-irc-line"
)

// Server is the IRC server.
type Server struct {
	opt     Options
	names   *names
	drops   *drops.Drops
	created time.Time
	edge    edge.Protocol // what the connections' have in common

	clock atomic.Int64 // seconds since created, as the wheel counts them

	mu       sync.Mutex
	channels map[string]*channel // that somebody is on, by folded name
	wheel    [slots][]*session
	next     int // slot of the next session
	clients  int

	lookups queue // of names, which take no time
	reads   queue // of the journal
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// New returns a Server that serves what Serve accepts, until Close.
func New(o Options) (*Server, error) {
	o.ServerName = cmp.Or(o.ServerName, "localhost")
	o.Network = cmp.Or(o.Network, "Tidings")
	o.Bot = cmp.Or(o.Bot, DefaultBot)
	o.Version = cmp.Or(o.Version, "tidings")
	o.PingEvery = cmp.Or(o.PingEvery, 45*time.Second)
	o.PingTimeout = cmp.Or(o.PingTimeout, 180*time.Second)
	o.RegisterTimeout = cmp.Or(o.RegisterTimeout, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Authenticate == nil {
		o.Authenticate = func(string) (tidings.Actor, error) {
			return tidings.Actor{}, tidings.Errorf(tidings.ErrUnauthenticated, "this server takes no tokens")
		}
	}
	if !wire.ValidNick(o.Bot) {
		return nil, tidings.Errorf(tidings.ErrInvalid, "irc: %q is no nick for the bot", o.Bot)
	}
	n, err := newNames(o.Wikis, o.Channels)
	if err != nil {
		return nil, err
	}
	s := &Server{opt: o, names: n, drops: drops.New(o.Log, "irc"), created: time.Now(), channels: map[string]*channel{}}
	s.edge = edge.Protocol{Name: "irc", Goodbye: s.closingLink(goodbye)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, q := range []*queue{&s.lookups, &s.reads} {
		q.init()
		for range atOnce {
			s.running.Go(func() { q.run(s.ctx) })
		}
	}
	return s, nil
}

// Serve accepts connections until Close, or until the listener fails. A tls.Listener's handshakes are awaited here.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	closed := s.ctx.Err() != nil
	if !closed {
		s.running.Add(1)
	}
	s.mu.Unlock()
	if closed {
		return ln.Close()
	}
	defer s.running.Done()
	s.running.Go(s.turnWheel)
	return edge.Accept(s.ctx, ln, func(nc net.Conn) {
		tc, ok := nc.(*tls.Conn)
		if !ok {
			s.add(nc)
			return
		}
		s.running.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, s.opt.RegisterTimeout)
			defer cancel()
			if err := tc.HandshakeContext(ctx); err != nil {
				tc.Close()
				s.drops.Add(DropHandshake, 1, "address", nc.RemoteAddr(), "err", err)
				return
			}
			s.add(nc)
		})
	})
}

// add hands a connection to the edge.
func (s *Server) add(nc net.Conn) {
	x := &session{srv: s, proto: s.edge, host: hostOf(nc.RemoteAddr()), tokens: burst}
	x.proto.Input = x.input
	x.proto.Closed = x.gone
	x.begun = s.clock.Load()
	x.heard.Store(x.begun)
	s.count(1) // before it can be served
	c, err := s.opt.Edge.Add(nc, nil, &x.proto)
	if err != nil {
		s.count(-1)
		s.drops.Add(DropEnded, 1, "err", err)
		nc.Close()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x.conn.Store(c)
	if x.closed { // before we got here
		s.clients--
		return
	}
	x.slot = s.next
	s.next = (s.next + 1) % slots
	x.index = len(s.wheel[x.slot])
	s.wheel[x.slot] = append(s.wheel[x.slot], x)
	x.listed = true
}

func (s *Server) count(n int) {
	s.mu.Lock()
	s.clients += n
	s.mu.Unlock()
}

// remove takes a session out of the wheel.
func (s *Server) remove(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.closed = true
	if !x.listed {
		return
	}
	w := s.wheel[x.slot]
	last := len(w) - 1
	w[x.index] = w[last]
	w[x.index].index = x.index
	w[last] = nil
	s.wheel[x.slot] = w[:last]
	s.clients--
}

// turnWheel looks at each client every few seconds: whether it has registered, and whether it is still there.
func (s *Server) turnWheel() {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-t.C:
			s.tick(int64(now.Sub(s.created) / time.Second))
		}
	}
}

// tick is one step of the wheel; now is in seconds since the server was made.
func (s *Server) tick(now int64) {
	s.clock.Store(now)
	s.mu.Lock()
	due := append([]*session(nil), s.wheel[now%slots]...)
	s.mu.Unlock()
	for _, x := range due {
		x.check(now)
	}
}

// Close stops listening and ends what the server does by itself. Clients stay with the edge, whose Shutdown says goodbye
// to them.
func (s *Server) Close() {
	s.mu.Lock() // a Serve that begins now ends at once, and one that has begun is waited for
	s.cancel()
	s.mu.Unlock()
	s.lookups.close()
	s.reads.close()
	s.running.Wait()
	s.drops.Flush()
}

// Stats are figures of a Server at one moment.
type Stats struct {
	Clients  int
	Channels int               // that somebody is on
	Dropped  map[string]uint64 // by reason
}

// Stats returns the figures.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Clients: s.clients, Channels: len(s.channels), Dropped: s.drops.Snapshot()}
}

// queue holds commands that wait for the journal, first come, first served.
type queue struct {
	mu     sync.Mutex
	bell   *sync.Cond
	jobs   []func(context.Context)
	closed bool
}

func (q *queue) init() { q.bell = sync.NewCond(&q.mu) }

func (q *queue) push(f func(context.Context)) {
	q.mu.Lock()
	q.jobs = append(q.jobs, f)
	q.mu.Unlock()
	q.bell.Signal()
}

// run does the jobs until close.
func (q *queue) run(ctx context.Context) {
	for {
		q.mu.Lock()
		for len(q.jobs) == 0 && !q.closed {
			q.bell.Wait()
		}
		if q.closed {
			q.mu.Unlock()
			return
		}
		f := q.jobs[0]
		q.jobs[0] = nil
		q.jobs = q.jobs[1:]
		q.mu.Unlock()
		f(ctx)
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.bell.Broadcast()
}
