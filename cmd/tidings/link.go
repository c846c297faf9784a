package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/url"
	"time"

	"tidings"
	"tidings/client"
	"tidings/internal/retry"
)

// received is an event as it came, in whichever protocol.
type received struct {
	client.Event        // without a Topic where the protocol does not tell it
	where        string // what a line for a person has in its place
	record       []byte // the event with its envelope as one line of JSON
}

// lostError says that a connection was away and that nobody can tell what was sent meanwhile.
type lostError struct{ why string }

func (e *lostError) Error() string { return "what was sent meanwhile is lost: " + e.why }
func (e *lostError) Unwrap() error { return tidings.ErrGap }

// wire is a protocol that pushes events over a connection. It remembers where it is, from connection to connection.
type wire interface {
	// connect makes one connection and reads it until it ends. It calls up once events come, and emit with each event
	// and each gap; when that returns false it returns errStopped. An error of kind tidings.ErrUnavailable or
	// tidings.ErrRateLimited may pass; any other ends the stream.
	connect(ctx context.Context, up func(), emit func(received, error) bool) error
}

// link is a stream over connections that are made again when they are lost.
type link struct {
	url     string
	notify  func(client.Notice)
	backoff time.Duration // before the first new attempt
	most    time.Duration // that is added to it
}

// newLink returns a link with the usual waiting times.
func newLink(u string, notify func(client.Notice)) *link {
	return &link{url: u, notify: notify, backoff: time.Second, most: client.DefaultMaxBackoff}
}

// dialTimeout bounds a connection attempt with its handshake.
const dialTimeout = 30 * time.Second

// errStopped says that the reader has enough.
var errStopped = errors.New("stopped")

// errSilent says that the other side has not answered for too long.
var errSilent = errors.New("nothing came, and no answer to a ping")

// stream yields what w receives. As with client.Stream a first connection that cannot be made is an error, and a
// *tidings.GapError or a *lostError is not the end.
func (l *link) stream(ctx context.Context, w wire) iter.Seq2[received, error] {
	return func(yield func(received, error) bool) {
		connected := false
		for failures := 0; ; failures++ {
			err := w.connect(ctx, func() {
				connected = true
				l.notify(client.Notice{URL: l.url})
			}, func(r received, err error) bool {
				if err == nil {
					failures = -1 // it counts the failures behind this event
				}
				return yield(r, err)
			})
			if err == errStopped {
				return
			}
			if ctx.Err() != nil {
				yield(received{}, context.Cause(ctx))
				return
			}
			if kind := tidings.KindOf(err); !connected || kind != tidings.ErrUnavailable && kind != tidings.ErrRateLimited {
				yield(received{}, err)
				return
			}
			wait := retry.Backoff(l.backoff, l.most, max(failures, 0))
			l.notify(client.Notice{URL: l.url, Err: err, Wait: wait})
			if err := retry.Sleep(ctx, wait); err != nil {
				yield(received{}, err)
				return
			}
		}
	}
}

// unavailable wraps the failure of a connection.
func unavailable(err error) error { return tidings.Errorf(tidings.ErrUnavailable, "%w", err) }

// unreachable wraps the failure to make a connection.
func unreachable(u *url.URL, err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err // it names the address, which stands here already
	}
	return withHint(tidings.Errorf(tidings.ErrUnavailable, "nothing answers at %s: %w", u.Redacted(), err), "check the host and the port, and that a server listens there")
}

// dial connects to the host of u, over TLS if so asked.
func dial(ctx context.Context, u *url.URL, port string, secure contextDialer) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if u.Port() != "" {
		port = u.Port()
	}
	conn, err := secure.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, unreachable(u, err)
	}
	return conn, nil
}

// contextDialer is a net.Dialer or a tls.Dialer.
type contextDialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// point is where a stream begins; the zero point is now.
type point struct {
	after tidings.Position // behind the event at the position
	since time.Time        // with what was published then or later
}

// from returns the point in the client's words.
func (p point) from() client.From {
	switch {
	case !p.after.IsZero():
		return client.After(p.after)
	case !p.since.IsZero():
		return client.Since(p.since)
	}
	return client.Live
}

// parsePoint parses the flag --from of the command.
func parsePoint(command, s string, now time.Time) (point, error) {
	if s == "" {
		return point{}, nil
	}
	if p, err := tidings.ParsePosition(s); err == nil {
		return point{after: p}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return point{since: now.Add(-d)}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return point{since: t}, nil
		}
	}
	return point{}, usageError{command, fmt.Errorf("--from %s: want a position such as 5f3a9c01-1042, a time such as 2026-01-31T12:00:00Z, or how long ago, such as 15m", s)}
}
