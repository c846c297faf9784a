// Package redis takes in the changes that MediaWiki publishes to a Redis server ($wgRCFeeds with a redis:// URI).
//
// Redis passes a message on to who is subscribed at that moment and forgets it. What is published while the connection is
// down is lost, and nobody can tell how much that was: each interruption is logged and counted. A wiki whose changes
// must all come is better polled, or sends UDP on the same machine; several sources of one wiki go together, since the
// same change is one event.
package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/internal/drops"
	"tidings/internal/retry"
	"tidings/recentchange"
	"tidings/source/mediawiki/intake"
)

// DefaultPattern is the pattern of the channels that wikis publish to by convention, rc.DBNAME.
const DefaultPattern = "rc.*"

// UnknownMessage is the reason for which a message is dropped that is not one of a subscription.
const UnknownMessage = "unknown-message"

// Limits.
const (
	defaultPort  = "6379"
	queueBytes   = 64 << 20
	dialTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	pingEvery    = 15 * time.Second
	silence      = 3 * pingEvery // after which the connection is taken for dead
	firstRetry   = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second // short: what is published meanwhile is lost
)

// Config is what a Source is made of. URL and Append are required.
type Config struct {
	// URL is redis://[USER[:PASSWORD]@]HOST[:PORT] or, with TLS, rediss://. A path, which names a database, is allowed and
	// means nothing: channels belong to no database.
	URL *url.URL
	// Patterns are those of PSUBSCRIBE; default DefaultPattern.
	Patterns []string
	// Publisher is that of the events.
	Publisher string
	// Wikis tells what the dialects cannot.
	Wikis recentchange.Wikis
	// Append is called for one batch at a time, and again with the same batch if it fails with an error that may pass.
	Append intake.Append
	// Dial connects to the server; nil is by URL.
	Dial func(ctx context.Context) (net.Conn, error)
	// Log gets errors and what is dropped, at a bounded rate; default slog.Default().
	Log *slog.Logger
}

// Source reads one server.
type Source struct {
	config Config
	drops  *drops.Drops
	intake *intake.Intake
	queue  *intake.Queue

	messages, bytes, connections, interruptions atomic.Uint64

	mu        sync.Mutex
	connected bool
	err       string
	down      time.Duration // in all, after the first connection
	since     time.Time     // when the connection was lost; zero while there is one, and before the first
}

// Stats are figures since New.
type Stats struct {
	Connected     bool
	LastError     string // why the last connection was lost or not made; empty while connected
	Connections   uint64 // made
	Interruptions uint64 // connections lost: what was published before the next one is lost
	Down          time.Duration
	Messages      uint64 // received
	Bytes         uint64 // in them
	Queued        int
	Appended      uint64
	Duplicates    uint64 // events whose Key the journal had seen
	Dropped       map[string]uint64
}

// Check reports whether the URL is one that New takes; the error is of kind ErrInvalid and does not repeat it, since it
// may have a password in it.
func Check(u *url.URL) error {
	if u == nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.RawQuery != "" {
		return tidings.Errorf(tidings.ErrInvalid, "redis: the address is not of the form redis://127.0.0.1:6379")
	}
	return nil
}

// New returns a Source. Errors are those of Check.
func New(c Config) (*Source, error) {
	if err := Check(c.URL); err != nil {
		return nil, err
	}
	if len(c.Patterns) == 0 {
		c.Patterns = []string{DefaultPattern}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context) (net.Conn, error) { return dial(ctx, c.URL) }
	}
	s := &Source{config: c, drops: drops.New(c.Log, c.Publisher)}
	s.intake = &intake.Intake{Publisher: c.Publisher, Append: c.Append, Drops: s.drops, Log: c.Log}
	s.queue = s.intake.NewQueue(queueBytes)
	return s, nil
}

// dial connects to the server that the URL names.
func dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	d := &net.Dialer{Timeout: dialTimeout}
	addr := net.JoinHostPort(u.Hostname(), port)
	if u.Scheme == "rediss" {
		return (&tls.Dialer{NetDialer: d, Config: &tls.Config{ServerName: u.Hostname()}}).DialContext(ctx, "tcp", addr)
	}
	return d.DialContext(ctx, "tcp", addr)
}

// Stats returns figures of this moment.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	st := Stats{Connected: s.connected, LastError: s.err, Down: s.down}
	if !s.since.IsZero() {
		st.Down += time.Since(s.since)
	}
	s.mu.Unlock()
	st.Connections, st.Interruptions, st.Messages, st.Bytes = s.connections.Load(), s.interruptions.Load(), s.messages.Load(), s.bytes.Load()
	st.Queued, st.Appended, st.Duplicates, st.Dropped = s.queue.Len(), s.intake.Appended(), s.intake.Duplicates(), s.drops.Snapshot()
	return st
}

// Run reads until ctx ends, then stores what it has received and returns nil. It gives up on no error.
func (s *Source) Run(ctx context.Context) error {
	defer s.drops.Flush()
	finish := s.queue.Start(ctx)
	defer finish()
	for failures := 0; ; failures++ {
		before := s.connections.Load()
		err := s.connect(ctx)
		if ctx.Err() != nil {
			s.lost(nil)
			return nil
		}
		s.lost(err)
		if s.connections.Load() > before {
			failures = 0
			s.interruptions.Add(1)
		}
		wait := retry.Backoff(firstRetry, maxBackoff, failures)
		s.config.Log.Warn("the connection was lost, and what is published until the next one with it", "source", s.config.Publisher, "again in", wait, "error", err)
		if retry.Sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// lost notes that there is no connection, and why.
func (s *Source) lost(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.err = err.Error()
	}
	if s.connected {
		s.since = time.Now()
	}
	s.connected = false
}

// subscribed notes that changes come from now on.
func (s *Source) subscribed() {
	s.connections.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.since.IsZero() {
		s.down += time.Since(s.since)
	}
	s.connected, s.err, s.since = true, "", time.Time{}
	s.config.Log.Info("reading", "source", s.config.Publisher, "patterns", strings.Join(s.config.Patterns, " "))
}

// connect makes one connection and reads it to its end, which is never without an error.
func (s *Source) connect(ctx context.Context) error {
	conn, err := s.config.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	r := newReader(conn)
	conn.SetDeadline(time.Now().Add(dialTimeout))
	if err := s.authenticate(conn, r); err != nil {
		return err
	}
	if _, err := conn.Write(appendCommand(nil, append([]string{"PSUBSCRIBE"}, s.config.Patterns...)...)); err != nil {
		return err
	}
	// The server answers once for each pattern; messages of the first may come between.
	for confirmed := 0; confirmed < len(s.config.Patterns); {
		v, err := r.next()
		if err != nil {
			return err
		}
		switch {
		case v.kind == '-':
			return fmt.Errorf("subscribing: the server says %.200q", v.text)
		case v.is("psubscribe"):
			confirmed++
		default:
			s.push(v)
		}
	}
	s.subscribed()

	conn.SetWriteDeadline(time.Time{})
	done := make(chan struct{})
	var pinging sync.WaitGroup
	pinging.Go(func() { ping(conn, done) })
	defer pinging.Wait()
	defer close(done)
	for {
		conn.SetReadDeadline(time.Now().Add(silence))
		v, err := r.next()
		if err != nil {
			return err
		}
		if v.kind == '-' {
			return fmt.Errorf("the server says %.200q", v.text)
		}
		s.push(v)
	}
}

// authenticate sends what the URL says of a user.
func (s *Source) authenticate(conn net.Conn, r *reader) error {
	user := s.config.URL.User
	if user == nil {
		return nil
	}
	words := []string{"AUTH"}
	password, ok := user.Password()
	if user.Username() != "" && ok {
		words = append(words, user.Username())
	}
	if !ok {
		password = user.Username() // redis://secret@host, as older clients write it
	}
	if _, err := conn.Write(appendCommand(nil, append(words, password)...)); err != nil {
		return err
	}
	v, err := r.next()
	if err != nil {
		return err
	}
	if v.kind != '+' {
		return fmt.Errorf("the server refuses the password: %.200q", v.text)
	}
	return nil
}

// ping asks the server to say something now and then, so that a connection which is dead is found out.
func ping(conn net.Conn, done <-chan struct{}) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := conn.Write(appendCommand(nil, "PING")); err != nil {
				conn.Close() // the one who reads says why
				return
			}
		}
	}
}

// is reports whether the value is a message of that kind.
func (v *value) is(kind string) bool {
	return v.kind == '*' && len(v.list) > 0 && string(v.list[0].text) == kind
}

// push takes in what the server has sent of its own.
func (s *Source) push(v value) {
	switch {
	case v.is("pong"), v.is("psubscribe"):
		return
	case v.is("pmessage") && len(v.list) == 4:
	default:
		s.drops.Add(UnknownMessage, 1)
		return
	}
	channel, payload := string(v.list[2].text), v.list[3]
	s.messages.Add(1)
	s.bytes.Add(uint64(len(payload.text)))
	var e tidings.Event
	err := error(tidings.Errorf(tidings.ErrInvalid, "redis: %w", recentchange.UnknownDialect))
	if contentType, ok := recentchange.Detect(payload.text); ok {
		e, err = s.intake.Event(contentType, payload.text, s.config.Wikis, time.Now())
	} else if len(payload.text) == 0 {
		err = tidings.Errorf(tidings.ErrInvalid, "redis: %w", recentchange.Empty)
	}
	if err != nil {
		s.drops.Add(intake.ReasonOf(err), 1, "channel", channel, "error", err)
		return
	}
	s.queue.Put(e) // to wait would make the server close the connection, and lose as much
}
