package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidings/edge"
	"tidings/xmpp/jid"
	"tidings/xmpp/sasl"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Options configure a Server. Edge is needed; the zero value of every other means its default.
type Options struct {
	Edge   *edge.Edge
	Domain string // of the accounts and of the streams (localhost)

	// Users knows the accounts that may log in; nil for none.
	Users sasl.Authenticator
	// Anonymous allows SASL ANONYMOUS.
	Anonymous bool
	// TLS has the certificate. Without it there is neither StartTLS nor DirectTLS, and peers on loopback only.
	TLS *tls.Config
	// Plaintext lets clients log in without TLS that are not on loopback. PLAIN still needs it.
	Plaintext bool
	// Compress offers stream compression (XEP-0138) to authenticated clients over TCP. What is compressed needs two
	// goroutines and some 100 KB a connection.
	Compress bool
	// Features may add what the services have to the features that a client sees before it binds: RosterVer, PreApproval and
	// Caps are taken. It may be nil.
	Features func() stream.Features

	// Limits are those of authenticated clients; others may send elements of maxEarly bytes.
	Limits xmlstream.Limits

	HandshakeTimeout time.Duration // from the connection to the bound resource (30 s)
	AckTimeout       time.Duration // a client that owes an acknowledgement for so long has lost its connection (60 s)
	ResumeWindow     time.Duration // a session waits so long for its resumption (5 min); negative: none does
	MaxUnacked       int           // bytes of stanzas of its own that a session keeps until they are acknowledged (128 KiB)
	MaxFlows         int           // flows of a session (5,000)
	MaxResources     int           // sessions of an account (100)
	MaxSessions      int           // sessions, those that wait included (100,000)
	MaxWaiting       int           // sessions that wait for resumption (20,000)
	MaxHandshakes    int           // connections that have no resource yet (5,000)

	Log *slog.Logger
}

// Accounts serves the domain itself and the accounts in it: stanzas to the domain, to bare JIDs and to full JIDs of the
// domain, and those without an address, come to its Stanza. Gone is called for every session that Bound was called with.
type Accounts interface {
	service.Service
	// Bound is called on the goroutine that owns the session, before its first stanza.
	Bound(x *Session)
}

// Returner is implemented by Accounts that have a use for stanzas that a session took and that its client never
// acknowledged. It is called behind Gone; without it requests are answered and messages returned to sessions here, with
// recipient-unavailable.
type Returner interface {
	Undelivered(x *Session, st *stanza.Stanza)
}

// Server is the XMPP server of one domain.
type Server struct {
	opt      Options
	domain   jid.JID
	sasl     *sasl.Server
	direct   *tls.Config // for DirectTLS
	accounts Accounts
	began    time.Time

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	workers workers
	nudged  chan struct{} // of one
	replays *edge.Group   // of sessions that have just been resumed
	gate    sync.Mutex    // held while something is begun that Close waits for
	closing atomic.Bool

	mu       sync.RWMutex
	services map[string]*served     // by domain
	sessions map[jid.JID][]*Session // by bare JID
	managed  map[*Session]struct{}  // with stream management
	ids      map[string]*Session    // those that may be resumed, by previd
	expired  expired
	sockets  map[*webSocket]struct{} // WebSockets without a session

	figures
}

// maxEarly is the length of an element that a client may send before it is authenticated, in bytes. SASL needs 5.5 KB; RFC
// 6120 section 13.12 wants 10,000 for stanzas.
const maxEarly = 10_000

// ErrTooManyFlows is what a flow ends with that is one too many.
var ErrTooManyFlows error = stanza.ResourceConstraint("too many subscriptions in one session")

// New returns a Server that serves until Close.
func New(o Options) (*Server, error) {
	if o.Edge == nil {
		return nil, errors.New("server: no edge")
	}
	o.Domain = cmp.Or(o.Domain, "localhost")
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 30*time.Second)
	o.AckTimeout = cmp.Or(o.AckTimeout, time.Minute)
	o.ResumeWindow = cmp.Or(o.ResumeWindow, 5*time.Minute)
	o.MaxUnacked = cmp.Or(o.MaxUnacked, 128<<10)
	o.MaxFlows = cmp.Or(o.MaxFlows, 5000)
	o.MaxResources = cmp.Or(o.MaxResources, 100)
	o.MaxSessions = cmp.Or(o.MaxSessions, 100_000)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, 20_000)
	o.MaxHandshakes = cmp.Or(o.MaxHandshakes, 5000)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d, err := jid.New("", o.Domain, "")
	if err != nil {
		return nil, err
	}
	s := &Server{opt: o, domain: d, began: time.Now(),
		sasl:     &sasl.Server{Domain: d.Domain(), Accounts: o.Users, AllowAnonymous: o.Anonymous},
		services: map[string]*served{}, sessions: map[jid.JID][]*Session{}, managed: map[*Session]struct{}{},
		ids: map[string]*Session{}, sockets: map[*webSocket]struct{}{}}
	s.accounts, s.nudged, s.replays = &nobody{s}, make(chan struct{}, 1), o.Edge.NewGroup()
	if o.TLS != nil {
		s.direct = o.TLS.Clone()
		s.direct.NextProtos = []string{"xmpp-client"} // XEP-0368 section 3.2
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.workers.init()
	for range workersAtOnce {
		s.running.Go(s.workers.run)
	}
	s.running.Go(s.turn)
	return s, nil
}

// Domain returns the server's domain.
func (s *Server) Domain() jid.JID { return s.domain }

// Handle has the service serve a domain, such as conference.localhost. It is called before Serve.
func (s *Server) Handle(domain string, svc service.Service) error {
	d, err := jid.New("", domain, "")
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[d.Domain()] = &served{svc}
	return nil
}

// HandleAccounts has a serve the server's own domain. It is called before Serve.
func (s *Server) HandleAccounts(a Accounts) { s.accounts = a }

// Domains returns the domains that services have, in order.
func (s *Server) Domains() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var ds []string
	for d := range s.services {
		ds = append(ds, d)
	}
	slices.Sort(ds)
	return ds
}

// Sessions returns the sessions of the bare JID, those that wait for resumption included.
func (s *Server) Sessions(bare jid.JID) []*Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.sessions[bare])
}

// Session returns the session with the full JID, or nil.
func (s *Server) Session(full jid.JID) *Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, x := range s.sessions[full.Bare()] {
		if x.jid == full {
			return x
		}
	}
	return nil
}

// EndAccount ends every session of the account, which has been removed or has another password.
func (s *Server) EndAccount(localpart string) {
	bare, err := jid.New(localpart, s.domain.Domain(), "")
	if err != nil {
		return
	}
	for _, x := range s.Sessions(bare) {
		x.Close(ReasonAccount, stream.NewError("not-authorized", "the account has been removed or has another password"))
	}
}

// Close stops listening, ends what waits for resumption and what has no resource yet, and all that the server does by itself.
// Sessions stay with the edge, whose Shutdown says goodbye to them: system-shutdown, when their flows have been written.
func (s *Server) Close() {
	s.gate.Lock()
	s.closing.Store(true)
	s.gate.Unlock()
	s.cancel()
	s.workers.close()
	s.running.Wait()
	for _, x := range s.waiting(func(*Session) bool { return true }) {
		s.count(ReasonShutdown)
		x.finish()
	}
}

// clock returns seconds since the server was made.
func (s *Server) clock() int64 { return int64(time.Since(s.began) / time.Second) }

// begin runs f in a goroutine that Close waits for, and reports whether it does.
func (s *Server) begin(f func()) bool {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.closing.Load() {
		return false
	}
	s.running.Go(f)
	return true
}

// remote returns the address without the port, for SASL, and whether it is this machine.
func remote(addr string) (c sasl.Conn, loopback bool) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		c.Addr = ap.Addr().Unmap().WithZone("")
	}
	return c, c.Addr.IsLoopback()
}
