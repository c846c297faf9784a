package component

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidings/edge"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Options configure a Link. Edge, Addr, Domain and Secret are needed; the zero value of every other means its default.
type Options struct {
	Edge   *edge.Edge
	Addr   string // HOST:PORT where the server listens for components
	Domain string // the component's, which the stream is opened to
	Host   string // the server's own domain, which answers pings (Domain without its first label)
	Secret string

	// Senders are domains of more connections to Addr, with the same secret, which share what is sent: all for one account goes
	// over one of them. At most MaxSenders. The server has to take stanzas from the component's domains over each, and to route
	// those domains to the component's own connection only.
	Senders []string

	// Multicast sends a message that is for many addresses once, with a list of them as XEP-0033 has it, for the server to distribute:
	// if Host has the feature urn:tidings:multicast, which it is asked for first. It says that the copies stay in order with all else
	// that comes over the connection, and are routed when a ping behind them is answered. It is not for links with Senders.
	Multicast bool

	TLS    *tls.Config      // nil: plain TCP
	Limits xmlstream.Limits // of what the server sends

	HandshakeTimeout time.Duration // from the dial to the accepted handshake (30 s)
	AckTimeout       time.Duration // without progress: of a write, or from there to the answer to a ping (60 s)
	Keep             time.Duration // the link may be down for so long before the peers that have only written are gone (10 min)
	Idle             time.Duration // a peer without flows and tasks, of which nothing was heard for so long, is gone (10 min)
	MaxPeers         int           // addresses that have written and are remembered (100,000)
	MaxBacklog       int           // bytes of what Send was given that may wait for the link (4 MiB)

	Position Position // nil: the acknowledged position is not kept
	Lease    Lease    // nil: this process may dial whenever it likes
	Log      *slog.Logger
}

// Position keeps the acknowledged position of a link over restarts. Its methods may block; one is called at a time.
type Position interface {
	// Load returns what was saved last; false if nothing was. It is called by New, and when this process takes over from
	// another one: when it has acquired the lease, or after a conflict.
	Load(ctx context.Context) (service.Mark, bool, error)
	Save(ctx context.Context, m service.Mark) error
}

// Lease says which of several processes may have the link.
type Lease interface {
	// Acquire blocks until this process may dial.
	Acquire(ctx context.Context) error
	// Lost returns a channel that is closed when this process must not have the link any more: then the connection is closed
	// at once. It is asked for after each Acquire.
	Lost() <-chan struct{}
	// Release gives the lease back, so that another process may take over at once. It is not called after Lost.
	Release()
}

// MaxSenders bounds Options.Senders.
const MaxSenders = 15

// Link is a component's connection to a server, and those that follow it.
type Link struct {
	opt    Options
	domain jid.JID
	host   jid.JID
	times  times

	ctx     context.Context // of tasks and fetches
	cancel  context.CancelFunc
	running sync.WaitGroup
	began   atomic.Bool
	workers workers
	fetches fetches
	saver   saver

	// Of the link's owner: the goroutine of the connection, and Run's while there is none.
	wire       *wire // nil while there is none
	out        []chunk
	pieces     pieces // of the wire's lines; empty but while pump is called
	all        []*attached
	strands    []*strand
	families   map[any]*family
	ready      []*strand
	dirty      []*strand                                       // something was given out that no ping is behind
	pasts      map[*attached][]*segment                        // what they had before, and is not acknowledged
	swaps      map[*attached][]func(service.Mark) service.Flow // that wait for the end of a round
	fetching   map[*strand]struct{}
	unanswered uint16 // lanes in which the last ping has not been answered
	owed       bool   // as dirty, of what flows have left that are not there any more
	pinged     uint64 // number of the last ping
	acked      uint64 // number of the last one that was answered
	pingID     string
	senders    []jid.JID
	multicast  multicast
	pingAt     time.Time
	heard      time.Time
	measured   time.Time
	cost       time.Duration // of measuring
	swept      time.Time
	pumping    bool // pump has been asked for
	stopping   bool
	settled    chan struct{} // closed when stopping and all is acknowledged

	moved atomic.Bool // the acknowledged position may have

	mu        sync.Mutex // guards what follows; nothing is called while it is held
	services  map[string]*served
	peers     int
	carrier   *wire // wire, for other goroutines
	inbox     []op
	waiting   int  // bytes in the inbox and in out
	choked    bool // by waiting: nothing is read
	scheduled bool // drain has been asked for
	ended     bool // Run has returned
	ack       service.Mark
	known     bool // ack is
	bell      chan struct{}

	figures
}

// times are what is not for users to set.
type times struct {
	retry, retryMost, conflictMost time.Duration
	tick                           time.Duration
	stop                           time.Duration // to bring flows to the head and to have that acknowledged
	close                          time.Duration // for the last bytes to be taken
	save                           time.Duration
	load                           time.Duration
	piece                          int // bytes
	round                          int // bytes
}

var usual = times{
	retry: 500 * time.Millisecond, retryMost: 30 * time.Second, conflictMost: 5 * time.Second,
	tick: 100 * time.Millisecond, stop: 10 * time.Second, close: 2 * time.Second, save: 100 * time.Millisecond, load: 10 * time.Second, piece: pieceSize, round: roundSize,
}

// served is a domain with its service, which is nil until Handle, and its peers by their addresses.
type served struct {
	domain  string
	service service.Service
	peers   map[jid.JID]*peer // guarded by Link.mu
}

// New returns a Link that does nothing before Run. It loads the position.
func New(o Options) (*Link, error) {
	if o.Edge == nil {
		return nil, errors.New("component: no edge")
	}
	if _, _, err := net.SplitHostPort(o.Addr); err != nil {
		return nil, fmt.Errorf("component: the address of the server: %w", err)
	}
	d, err := jid.New("", o.Domain, "")
	if err != nil {
		return nil, fmt.Errorf("component: the domain: %w", err)
	}
	if o.Host == "" {
		if _, o.Host, _ = strings.Cut(d.Domain(), "."); o.Host == "" {
			o.Host = d.Domain()
		}
	}
	h, err := jid.New("", o.Host, "")
	if err != nil {
		return nil, fmt.Errorf("component: the domain of the server: %w", err)
	}
	if len(o.Senders) > MaxSenders {
		return nil, fmt.Errorf("component: %d senders: at most %d", len(o.Senders), MaxSenders)
	}
	var senders []jid.JID
	for _, name := range o.Senders {
		s, err := jid.New("", name, "")
		switch {
		case err != nil:
			return nil, fmt.Errorf("component: the domain of a sender: %w", err)
		case s == d || slices.Contains(senders, s):
			return nil, fmt.Errorf("component: the sender %s has no domain of its own", s)
		}
		senders = append(senders, s)
	}
	if o.Multicast && len(o.Senders) > 0 {
		return nil, errors.New("component: multicast over several connections")
	}
	many, err := newMulticast(h)
	if err != nil {
		return nil, fmt.Errorf("component: the domain of the server: %w", err)
	}
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, 30*time.Second)
	o.AckTimeout = cmp.Or(o.AckTimeout, time.Minute)
	o.Keep = cmp.Or(o.Keep, 10*time.Minute)
	o.Idle = cmp.Or(o.Idle, 10*time.Minute)
	o.MaxPeers = cmp.Or(o.MaxPeers, 100_000)
	o.MaxBacklog = cmp.Or(o.MaxBacklog, 4<<20)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("domain", d.Domain())
	l := &Link{opt: o, domain: d, host: h, senders: senders, multicast: many, pieces: make(pieces, 1+len(senders)), times: usual, services: map[string]*served{}, families: map[any]*family{},
		pasts: map[*attached][]*segment{}, swaps: map[*attached][]func(service.Mark) service.Flow{}, fetching: map[*strand]struct{}{}, settled: make(chan struct{}), bell: make(chan struct{}, 1)}
	l.pingID = stream.NewID()
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.workers.init()
	l.fetches.init()
	l.saver.init()
	ctx, cancel := context.WithTimeout(l.ctx, l.times.load)
	defer cancel()
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Handle has the service serve a domain, whose stanzas come over the link. Several domains may be served over one link, where
// the server routes them there and takes stanzas from them.
func (l *Link) Handle(domain string, s service.Service) error {
	d, err := jid.New("", domain, "")
	if err != nil {
		return fmt.Errorf("component: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.servedLocked(d.Domain())
	if v.service != nil {
		return fmt.Errorf("component: two services for %s", d.Domain())
	}
	v.service = s
	return nil
}

func (l *Link) servedLocked(domain string) *served {
	v := l.services[domain]
	if v == nil {
		v = &served{domain: domain, peers: map[jid.JID]*peer{}}
		l.services[domain] = v
	}
	return v
}

// Peer returns the peer of an address that need not have written yet, for a service domain: the same value that the service is
// given with stanzas of that address. Such a peer stays while the link is down. Gone is called for it as for others: a caller
// that attaches nothing to it within Options.Idle has to ask for it again.
func (l *Link) Peer(addr jid.JID, domain string) service.Peer {
	if d, err := jid.New("", domain, ""); err == nil {
		domain = d.Domain()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.servedLocked(domain)
	p := v.peers[addr]
	if p == nil {
		p = l.newPeerLocked(v, addr)
	}
	p.lasting = true
	p.touch()
	return p
}

// Acknowledged returns the mark up to which the server has routed all that flows had: at first what was saved. It is false if
// nothing is known.
func (l *Link) Acknowledged() (service.Mark, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ack, l.known
}
