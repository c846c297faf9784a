package component

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"tidings/edge"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/xmlstream"
)

// Options configure a Link. Edge, Addr, Domain and Secret are needed; the zero value of every other means its default.
type Options struct {
	Edge   *edge.Edge
	Addr   string // HOST:PORT where the server listens for components
	Domain string // the component's, which the stream is opened to
	Host   string // the server's own domain, which answers pings (Domain without its first label)
	Secret string

	TLS    *tls.Config      // nil: plain TCP
	Limits xmlstream.Limits // of what the server sends

	HandshakeTimeout time.Duration // from the dial to the accepted handshake (30 s)
	AckTimeout       time.Duration // a ping that is not answered for so long after the last progress ends the connection (60 s)
	Keep             time.Duration // the link may be down for so long before the peers that have only written are Gone (10 min)
	Idle             time.Duration // a peer without flows and tasks of which nothing was heard for so long is Gone (10 min)
	MaxPeers         int           // addresses that have written and are remembered (100,000)
	MaxBacklog       int           // bytes of what Send was given that wait for the link (4 MiB)

	Position Position // nil: the acknowledged position is not kept
	Lease    Lease    // nil: this process may dial whenever it likes
	Log      *slog.Logger
}

// Position keeps the acknowledged position of a link over restarts. Its methods may block, and are not called at once.
type Position interface {
	// Load returns what was saved last; false if nothing was.
	Load(ctx context.Context) (service.Mark, bool, error)
	Save(ctx context.Context, m service.Mark) error
}

// Lease says which of several processes may have the link.
type Lease interface {
	// Acquire blocks until this process may dial.
	Acquire(ctx context.Context) error
	// Lost returns a channel that is closed when this process must not have the link any more. It is asked after each Acquire.
	Lost() <-chan struct{}
	// Release gives the lease back, so that another process may take over at once.
	Release()
}

// Link is a component's connection to a server, and the connections that follow it.
type Link struct {
	opt Options
}

// New returns a Link that does nothing before Run.
func New(o Options) (*Link, error) { return &Link{opt: o}, nil }

// Handle has the service serve a domain, whose stanzas come over the link. Several domains may be served over one link.
func (l *Link) Handle(domain string, s service.Service) error { return nil }

// Peer returns the peer of an address that need not have written yet, for a service domain: the same value that the service is
// given with stanzas of that address.
func (l *Link) Peer(addr jid.JID, domain string) service.Peer { return nil }

// Acknowledged returns the mark up to which the server has routed everything that flows had: at first what was saved. It is
// false if nothing is known.
func (l *Link) Acknowledged() (service.Mark, bool) { return service.Mark{}, false }

// Run dials, serves and reconnects until ctx ends; then it writes what the flows have, waits for the acknowledgement, saves the
// position and closes.
func (l *Link) Run(ctx context.Context) error { return nil }

// Stats are figures of a Link at one moment.
type Stats struct {
	Connected       bool
	Since           time.Time // of the connection, or of its loss
	Reconnects      uint64
	StanzasIn       uint64
	StanzasOut      uint64
	Peers           int64
	Flows           int64
	Acknowledged    service.Mark
	WaitingForLease bool
	Dropped         map[string]uint64 // stanzas, by reason
}

// Stats returns the figures.
func (l *Link) Stats() Stats { return Stats{} }
