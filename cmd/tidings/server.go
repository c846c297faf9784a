package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/access"
	"tidings/config"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/bearer"
	"tidings/internal/drops"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/feeds"
	"tidings/outlet/irc"
	"tidings/outlet/socketio/v09"
	"tidings/outlet/socketio/v4"
	"tidings/outlet/sse"
	"tidings/pubsub"
	"tidings/source/demo"
	sourcehttp "tidings/source/http"
	"tidings/source/mediawiki"
	"tidings/web"
	"tidings/xmpp/account"
)

// server is every part of the program, wired. It is built from the log outwards and shut down with the data: sources,
// journal, hub, outlets, listeners.
type server struct {
	cfg   config.Config
	log   *slog.Logger
	drops *drops.Drops // connections refused
	begun time.Time

	journal  journal.Journal
	policy   *access.Policy
	accounts *account.Accounts
	hub      *hub.Hub
	edge     *edge.Edge
	stream   *sse.Server
	lists    *feeds.Server
	web      *web.Server
	rc       *v09.Server
	sio      *v4.Server
	publish  *sourcehttp.Server
	udp      *mediawiki.UDP
	remote   remote
	keys     *keys // nil without remote sources

	listener    *edge.Listener
	http        *http.Server
	httpConns   httpConns
	irc         *irc.Server
	ircListener *edge.Listener
	xmpp        *xmppParts // nil without XMPP
	nodes       *pubsub.Service
	components  *components // nil without any
	bridges     []*serverBridge

	stopSources context.CancelFunc
	sources     sync.WaitGroup
	serving     sync.WaitGroup
	failed      chan error // of a part that cannot go on
	ready       atomic.Bool
	refusing    atomic.Pointer[error] // why the journal takes no events, if it does not
}

// Deadlines of the steps of a shutdown: together less than the 10 s after which container runtimes kill.
const (
	requestTimeout = 3 * time.Second
	drainTimeout   = 2 * time.Second
	goodbyeTimeout = 3 * time.Second
)

// open builds the server and starts it. After an error everything that was opened is closed again.
func open(ctx context.Context, cfg config.Config, log *slog.Logger) (_ *server, err error) {
	s := &server{cfg: cfg, log: log, begun: time.Now(), failed: make(chan error, 4), drops: drops.New(log, "http")}
	var undo []func()
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				undo[i]()
			}
		}
	}()
	j, err := journal.OpenJetStream(ctx, journalOptions(cfg, log))
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, withHint(err, "name a directory that this user may write to, with --data DIR or data in the configuration")
	}
	if err != nil {
		return nil, err
	}
	s.journal = j
	undo = append(undo, func() { j.Close() })
	if err := s.openPolicy(ctx); err != nil {
		return nil, err
	}
	undo = append(undo, func() { s.policy.Close() })
	if s.accounts, err = openAccounts(ctx, j, cfg, log); err != nil {
		return nil, err
	}
	undo = append(undo, func() { s.accounts.Close() })

	s.hub = hub.New(j, s.policy, hub.Options{
		Decode:   outlet.Decoder(cfg.Wikis),
		FeedTail: int(cfg.Limits.FeedTail), Tails: int(cfg.Limits.FeedTails), Log: log,
	})
	undo = append(undo, s.hub.Close)
	s.policy.OnChange(s.hub.Recheck)
	if s.nodes, err = s.openNodes(ctx); err != nil {
		return nil, err
	}
	undo = append(undo, func() { s.nodes.Close() })
	s.edge, err = edge.New(edge.Options{Keepalive: time.Duration(cfg.HTTP.Keepalive), WriteTimeout: time.Duration(cfg.HTTP.WriteTimeout)})
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() { s.edge.Shutdown(canceled()) })

	s.stream = &sse.Server{Hub: s.hub, Edge: s.edge, Authenticate: s.authenticate, Retry: time.Duration(cfg.HTTP.Retry), MaxPatterns: cfg.Limits.Patterns}
	s.lists = &feeds.Server{Hub: s.hub, Authenticate: s.authenticate}
	s.publish = &sourcehttp.Server{Append: s.appendPosted, Read: j.Read, Policy: s.policy, MaxBody: int64(cfg.HTTP.MaxBody), Rate: cfg.HTTP.PublishRate, Log: log}
	s.rc = v09.New(v09.Options{Hub: s.hub, Edge: s.edge, Authenticate: s.authenticate, Origins: cfg.HTTP.CORSOrigins, MaxPatterns: cfg.Limits.RCStream,
		Queued: func() uint64 { return j.Head().Offset - s.hub.Head().Offset }, Log: log})
	undo = append(undo, func() { s.rc.Shutdown(canceled()) })
	s.sio = v4.New(v4.Options{Hub: s.hub, Edge: s.edge, Authenticate: s.authenticate, Token: s.policy.Authenticate, Origins: cfg.HTTP.CORSOrigins,
		MaxPatterns: cfg.Limits.Patterns, Log: log})
	undo = append(undo, s.sio.Shutdown)

	sources, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopSources = stop
	undo = append(undo, func() { stop(); s.sources.Wait() })
	if hasRemote(&cfg) {
		if s.keys, err = openKeys(ctx, j, time.Duration(cfg.DedupeWindow)); err != nil {
			return nil, err
		}
	}
	if err := s.listenUDP(sources); err != nil {
		return nil, err
	}
	if err := s.listenIRC(); err != nil {
		return nil, err
	}
	undo = append(undo, s.closeIRC)
	if err := s.listenXMPP(ctx); err != nil {
		return nil, err
	}
	undo = append(undo, func() {
		if s.xmpp != nil {
			s.xmpp.close()
		}
	})
	if err := s.openComponents(ctx); err != nil {
		return nil, err
	}
	undo = append(undo, func() {
		if s.components != nil {
			s.components.close()
		}
	})
	undo = append(undo, func() { s.stopBridges(canceled())() })
	if err := s.openBridges(ctx); err != nil {
		return nil, err
	}
	if err := s.openPage(); err != nil {
		return nil, err
	}
	undo = append(undo, s.web.Close)
	if err := s.listenHTTP(); err != nil {
		return nil, err
	}
	if err := s.openSources(sources); err != nil {
		return nil, err
	}
	s.sources.Go(func() { s.sweepNodes(sources) })
	if cfg.Demo.Enabled {
		s.sources.Go(func() { s.fail("the demo source", demo.Run(sources, cfg.Demo.Rate, s.append)) })
	}
	s.ready.Store(true)
	return s, nil
}

// canceled returns a context that has ended, for shutting down at once.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func retention(cfg config.Config) []journal.Retention {
	var rs []journal.Retention
	for _, r := range cfg.Retention {
		rs = append(rs, journal.Retention{Prefix: tidings.Topic(r.Prefix), Age: time.Duration(r.Age), Bytes: int64(r.Bytes)})
	}
	return rs
}

func (s *server) openPolicy(ctx context.Context) error {
	admin, err := access.AdminToken(s.cfg.Data)
	if err != nil {
		return err
	}
	bucket, err := s.journal.Bucket(ctx, "tokens")
	if err != nil {
		return err
	}
	private, err := s.cfg.PrivatePatterns()
	if err != nil {
		return err
	}
	s.policy, err = access.Open(ctx, bucket, access.Options{Private: private, AdminToken: admin, Log: s.log})
	return err
}

func (s *server) authenticate(r *http.Request) (tidings.Actor, error) {
	return bearer.Actor(r, s.policy.Authenticate)
}

func (s *server) listenUDP(ctx context.Context) (err error) {
	if s.cfg.UDP.Addr == config.Off {
		return nil
	}
	allow, err := s.cfg.AllowPrefixes()
	if err != nil {
		return err
	}
	s.udp, err = mediawiki.Listen(mediawiki.Config{
		Addr: s.cfg.UDP.Addr, Allow: allow, ReceiveBuffer: int(s.cfg.UDP.ReceiveBuffer), Wikis: s.cfg.Wikis,
		Append: s.append, Log: s.log,
	})
	if err != nil {
		return withHint(err, "another program has the port: stop it, or name another one with --udp ADDR (--udp off for none)")
	}
	s.sources.Go(func() { s.fail("the UDP source", s.udp.Run(ctx)) })
	return nil
}

func (s *server) listenHTTP() error {
	if s.cfg.HTTP.Addr == config.Off {
		return nil
	}
	ln, err := net.Listen("tcp", s.cfg.HTTP.Addr)
	if err != nil {
		return withHint(fmt.Errorf("listening for HTTP: %w", err), "another program has the port: stop it, or name another one with --http ADDR (--http off for none)")
	}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	s.listener = edge.LimitListener(ln, s.cfg.HTTP.MaxConnectionsPerAddress, loopback, func(a netip.Addr) {
		s.drops.Add("connections-per-address", 1, "address", a)
	})
	s.http = &http.Server{
		Handler:           s.httpConns.handler(s.routes()),
		ConnContext:       s.httpConns.connContext,
		ConnState:         s.httpConns.state,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Duration(s.cfg.HTTP.IdleTimeout),
		MaxHeaderBytes:    int(s.cfg.HTTP.MaxHeader),
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// Streams leave net/http, which HTTP/2 does not allow.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	s.serving.Go(func() {
		var err error
		if s.cfg.HTTP.TLSCert != "" {
			err = s.http.ServeTLS(s.listener, s.cfg.HTTP.TLSCert, s.cfg.HTTP.TLSKey)
		} else {
			err = s.http.Serve(s.listener)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.fail("the HTTP listener", err)
		}
	})
	return nil
}

// fail reports a part that ended with an error, which ends the server.
func (s *server) fail(what string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	select {
	case s.failed <- fmt.Errorf("%s: %w", what, err):
	default:
	}
}

// readyLine is what serve prints when every listener is up.
func (s *server) readyLine() string {
	var b strings.Builder
	b.WriteString("ready")
	if s.listener != nil {
		fmt.Fprintf(&b, " http=%s", s.listener.Addr())
	}
	if s.udp != nil {
		fmt.Fprintf(&b, " udp=%s", s.udp.Addr())
	}
	if s.ircListener != nil {
		fmt.Fprintf(&b, " irc=%s", s.ircListener.Addr())
	}
	if x := s.xmpp; x != nil && x.starttls != nil {
		fmt.Fprintf(&b, " xmpp=%s", x.starttls.Addr())
	}
	if x := s.xmpp; x != nil && x.direct != nil {
		fmt.Fprintf(&b, " xmpps=%s", x.direct.Addr())
	}
	if domains := s.domainsServed(""); len(domains) > 0 {
		fmt.Fprintf(&b, " components=%s", strings.Join(domains, ","))
	}
	store := "data=" + s.cfg.Data
	if s.cfg.NATSURL != "" {
		store = "nats=" + s.cfg.NATSURL
	}
	fmt.Fprintf(&b, " %s durability=%s", store, s.journal.Stats().Durability)
	return b.String()
}

// close shuts down with the data, each step with a deadline.
func (s *server) close() error {
	s.ready.Store(false)
	var errs []error
	// Nothing new comes in: requests under way finish, streams stay.
	s.stopSources()
	s.closeIRC()
	if s.xmpp != nil {
		s.xmpp.stopListening()
	}
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		if err := s.http.Shutdown(ctx); err != nil {
			s.http.Close()
			s.log.Warn("requests were cut off by the shutdown", "err", err)
		}
		cancel()
	}
	s.serving.Wait()
	s.sources.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	if err := s.hub.Drain(ctx); err != nil {
		s.log.Warn("events were not dispatched before the shutdown; readers get them when they come back", "err", err)
	}
	cancel()
	ctx, cancel = context.WithTimeout(context.Background(), goodbyeTimeout)
	bridges := s.stopBridges(ctx)
	components := s.stopComponents(ctx)
	s.drainXMPP(ctx)
	if err := s.rc.Shutdown(ctx); err != nil {
		s.log.Warn("polls were cut off by the shutdown", "err", err)
	}
	components(edgeTime)
	if err := s.edge.Shutdown(ctx); err != nil {
		s.log.Warn("slow readers were cut off by the shutdown; they go on when they come back", "err", err)
	}
	bridges()
	components(0)
	cancel()
	s.sio.Shutdown()
	if s.xmpp != nil {
		s.xmpp.im.Close()
	}
	s.nodes.Close()
	s.web.Close()
	s.hub.Close()
	errs = append(errs, s.accounts.Close(), s.policy.Close(), s.journal.Close())
	s.drops.Flush()
	return errors.Join(errs...)
}
