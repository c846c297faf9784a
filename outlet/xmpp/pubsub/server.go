// Package pubsub serves publish-subscribe over XMPP (XEP-0060 version 1.30): it reads stanzas, asks the model in package
// tidings/pubsub, and writes what that says. Nodes are topics.
//
//   - XEP-0060 sections 5 to 8; pages by XEP-0059, SubIDs of several subscriptions by XEP-0131
//   - items come from the hub as they do in every protocol: all sessions that subscribe to the same with the same options
//     share the bytes of a notification. The rest is sent when the model tells of it
//   - XEP-0442: the journal is the archive of every node; the position of an event is its archive id (XEP-0359)
//   - XEP-0050 for pending requests; XEP-0030, XEP-0092, XEP-0199, XEP-0202: what clients ask of a service
//
// Behind a component link (XEP-0114) the same is served to the addresses of other servers. Their presence is not known, so what
// they subscribe to is pushed whether or not they are there, on from what that server has acknowledged, restarts included; to a
// bare JID until it is gone for good, to a full JID until messages to it come back. pubsub#show-values has no effect there.
//
// Beyond XEP-0060 a node's name may be a pattern with globs, such as /recentchange/*.org, where a client subscribes or asks
// for disco's items; the service's feature urn:tidings:0#patterns says so. A bare JID's notifications go to all of its
// sessions that are available with a priority that is not negative, from the moment on at which they became so. A full JID's
// go to that session, and its subscriptions end with it.
package pubsub

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/drops"
	"tidings/outlet/xmpp/requests"
	model "tidings/pubsub"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// Options configure a Server. Model, Hub, Edge, May, Audience and Topics are needed; the zero value of every other means its
// default.
type Options struct {
	Model *model.Service
	Hub   *hub.Hub
	Edge  *edge.Edge
	// May judges readers as package access does, and Audience tells them apart by what they may read.
	May      func(a tidings.Actor, action tidings.Action, t tidings.Topic) error
	Audience func(a tidings.Actor) string
	// Topics returns the topics that have events and match the pattern. It may block.
	Topics func(ctx context.Context, p tidings.Pattern) ([]tidings.Topic, error)

	// Link is set where a component link carries the service, and nil in the embedded server.
	Link *Link

	Domain  string // of the service (pubsub.localhost)
	Version string // of the program
	Log     *slog.Logger
}

// Link is what a service behind a component link (XEP-0114) has to know of it. There nobody's presence is known, and addresses
// are those of other servers: an account is who the server behind the link says it is.
type Link struct {
	// Peer returns the way to an address that need not have written.
	Peer func(addr jid.JID) service.Peer
	// AudienceOf tells readers apart by what they may read of the topics that match one of the patterns.
	AudienceOf func(a tidings.Actor, patterns []tidings.Pattern) string
	// Host is the domain of the server's own accounts, who are told of what they own; Embedded that of the embedded server's,
	// which are not reached by the link, "" if there is none.
	Host, Embedded string
}

// Limits of requests.
const (
	requestTime = 10 * time.Second // for what one asks of the journal
	maxWaiting  = 1000             // of one client
)

var errSlow = tidings.Errorf(tidings.ErrUnavailable, "that took too long: ask for less, or later")

// The reasons for which this package drops something.
const (
	DropFlow    = "flow-refused"      // a subscription that a session cannot be pushed
	DropJobs    = "too-many-requests" // a request refused because too many of its sender wait
	DropBounced = "messages-returned" // a notification that came back
	DropLeaving = "not-unsubscribed"  // a subscription that was to end with its session and is still stored
)

// Server serves PubSub. It implements service.Service.
type Server struct {
	opt    Options
	domain jid.JID
	drops  *drops.Drops
	desk   requests.Desk
	pauses *edge.Group // which nothing wakes
	stop   func()      // of listening to the model
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	requests  atomic.Uint64
	published atomic.Uint64
	notices   atomic.Uint64
	flows     atomic.Int64

	mu      sync.Mutex
	clients map[service.Peer]*client
	byBare  map[string][]*client
	leaving []subscriber // whose subscriptions are to end; see leave
	closed  bool

	// Behind a link.
	active   bool                // between Resume and Suspend
	accounts map[string]*account // by bare JID
	channels map[channelKey]*channel
	globs    map[*account]int // accounts with subscriptions to patterns, and how many of them are pushed
}

// New returns a Server, which serves until Close.
func New(o Options) (*Server, error) {
	o.Domain = cmp.Or(o.Domain, "pubsub.localhost")
	o.Version = cmp.Or(o.Version, "tidings")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	domain, err := jid.New("", o.Domain, "")
	if err != nil {
		return nil, tidings.Errorf(tidings.ErrInvalid, "pubsub: the domain %q: %w", o.Domain, err)
	}
	o.Domain = domain.Domain()
	s := &Server{opt: o, domain: domain, drops: drops.New(o.Log, "xmpp-pubsub"), pauses: o.Edge.NewGroup(),
		clients: map[service.Peer]*client{}, byBare: map[string][]*client{},
		accounts: map[string]*account{}, channels: map[channelKey]*channel{}, globs: map[*account]int{}}
	s.desk = requests.Desk{Most: maxWaiting, Time: requestTime, Slow: errSlow, Pauses: s.pauses,
		Dropped: func(p service.Peer) { s.drops.Add(DropJobs, 1, "client", p.JID()) }}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.stop = o.Model.Listen(s.hear)
	return s, nil
}

// Domain returns the address of the service.
func (s *Server) Domain() jid.JID { return s.domain }

// Close stops listening to the model and ends what the Server does by itself. Call it when the carriers have closed.
func (s *Server) Close() {
	s.stop()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	s.drops.Flush()
}

// Stats are figures of a Server at one moment.
type Stats struct {
	Clients   int               // sessions that are known; behind a link addresses that have written lately
	Accounts  int               // behind a link, bare JIDs that subscribe
	Flows     int64             // subscriptions that are pushed
	Requests  uint64            // since the start
	Published uint64            // items
	Notices   uint64            // messages that are no items
	Dropped   map[string]uint64 // by reason
}

// Stats returns the figures.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Clients: len(s.clients), Accounts: len(s.accounts), Flows: s.flows.Load(), Requests: s.requests.Load(), Published: s.published.Load(),
		Notices: s.notices.Load(), Dropped: s.drops.Snapshot()}
}

// service returns the service as subscriptions know it.
func (s *Server) service() string {
	if s.opt.Link == nil {
		return ""
	}
	return s.opt.Domain
}

// Stanza implements service.Service.
func (s *Server) Stanza(p service.Peer, st *stanza.Stanza) {
	switch st.Kind {
	case stanza.IQ:
		s.iq(p, st)
	case stanza.Message:
		s.message(p, st)
	case stanza.Presence:
		if s.opt.Link != nil {
			s.presenceAbroad(st)
		}
		if st.Type == stanza.TypeSubscribe {
			p.Send(requests.AppendUnsubscribed(nil, st))
		}
	}
}
