// Package room serves the rooms of an XMPP service (XEP-0045 version 1.35), read-only: each wiki is a room, every other topic
// is one too, and whoever joins gets what is published. It is what the XMLRC extension's bridge did, with the same messages:
// a body for people and the un-namespaced element rc for programs.
//
//   - XEP-0045: joining with history, nicks, leaving, the room's and the service's disco; visitors have no voice, do not
//     see each other and are told of nothing but their own presence, so that a join costs the joiner only
//   - XEP-0313: the journal is the archive of every room, XEP-0359: the position of an event is its archive id
//   - XEP-0410: self-ping; XEP-0030, XEP-0059, XEP-0092, XEP-0199, XEP-0202: what clients ask of a service
//
// Beyond XEP-0045, a visitor may ask for less: by <filter xmlns='urn:tidings:0'/> in the join's <x/>, or by its password,
// each of them of the form bot=false&namespace=0&since=5f3a9c01-1042 or an expression of package hub/expression. since is a
// position or a time to go on from. The password of a private room is a token.
package room

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
	"tidings/recentchange"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// Options configure a Server. Hub, Edge, May, Audience and Topics are needed; the zero value of every other means its
// default.
type Options struct {
	Hub  *hub.Hub
	Edge *edge.Edge
	// Authenticate returns whose the token is that a client gives as the password of a private room; nil: nobody's.
	Authenticate func(token string) (tidings.Actor, error)
	// May judges readers as package access does, and Audience tells them apart by what they may read.
	May      func(a tidings.Actor, action tidings.Action, t tidings.Topic) error
	Audience func(a tidings.Actor) string
	// Topics returns the topics that have events and match the pattern. It may block.
	Topics func(ctx context.Context, p tidings.Pattern) ([]tidings.Topic, error)
	// WikiOf returns the id of the wiki that the last event of a topic is about, "" if it is about none. It may block. Where
	// it is nil only wikis of the configuration have a room named by their id.
	WikiOf func(ctx context.Context, t tidings.Topic) (string, error)

	// Link is set where a component link (XEP-0114) carries the rooms: visitors are of other servers, each an account that is who
	// the server behind the link says it is. Recheck has to be called then.
	Link bool

	Wikis recentchange.Wikis
	Rooms map[string]Room // rooms by localpart, beside those that topics have by themselves

	Domain  string // of the rooms (conference.localhost)
	Bot     string // the nick that says the changes (rc)
	Version string // of the program

	Log *slog.Logger
}

// DefaultBot is the nick of the one who speaks in a room.
const DefaultBot = "rc"

// Limits of one visitor.
const (
	maxRooms   = 2000
	maxList    = 200          // rooms in one answer to disco#items
	maxWaiting = 2 * maxRooms // requests: it may enter all its rooms at once
)

// readTime bounds what one request reads of the journal.
const readTime = 5 * time.Second

var errSlow = tidings.Errorf(tidings.ErrUnavailable, "looking that up took too long: ask for less, or later")

// The reasons for which this package drops something.
const (
	DropRevoked = "right-withdrawn"   // a visitor was shown out of a room
	DropFlow    = "flow-refused"      // a visitor was shown out because the session takes no more flows
	DropBounced = "messages-returned" // a visitor to whom messages could not be delivered
	DropJobs    = "too-many-requests" // a request refused because too many of its sender wait
)

// Server serves the rooms. It implements service.Service.
type Server struct {
	opt      Options
	names    *names
	domain   jid.JID
	drops    *drops.Drops
	stopping atomic.Bool

	desk requests.Desk

	inside atomic.Int64 // occupants of all rooms
	joins  atomic.Uint64
	pages  atomic.Uint64 // of archives

	mu       sync.Mutex
	visitors map[service.Peer]*visitor
	rooms    map[string]*room // that somebody is in, by localpart
	lives    map[*live]struct{}
	public   map[*flow]struct{} // behind a link, those that are read as everybody does
	awaited  int                // of them, by Stop
	out      chan struct{}      // closed when they are gone

	learning sync.Mutex               // held while topics are asked for their wikis
	learnt   map[tidings.Topic]string // ids of wikis; guarded by mu
	byWiki   map[string]tidings.Topic // the inverse; guarded by mu
}

// New returns a Server.
func New(o Options) (*Server, error) {
	o.Domain = cmp.Or(o.Domain, "conference.localhost")
	o.Bot = cmp.Or(o.Bot, DefaultBot)
	o.Version = cmp.Or(o.Version, "tidings")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Authenticate == nil {
		o.Authenticate = func(string) (tidings.Actor, error) {
			return tidings.Actor{}, tidings.Errorf(tidings.ErrUnauthenticated, "this server takes no tokens")
		}
	}
	domain, err := jid.New("", o.Domain, "")
	if err != nil {
		return nil, tidings.Errorf(tidings.ErrInvalid, "rooms: the domain %q: %w", o.Domain, err)
	}
	o.Domain = domain.Domain()
	if j, err := domain.WithResource(o.Bot); err != nil || j.Resource() != o.Bot {
		return nil, tidings.Errorf(tidings.ErrInvalid, "rooms: %q is no nick for the bot", o.Bot)
	}
	n, err := newNames(o.Domain, o.Wikis, o.Rooms)
	if err != nil {
		return nil, err
	}
	s := &Server{opt: o, names: n, domain: domain, drops: drops.New(o.Log, "xmpp-rooms"), visitors: map[service.Peer]*visitor{},
		rooms: map[string]*room{}, lives: map[*live]struct{}{}, public: map[*flow]struct{}{}, learnt: map[tidings.Topic]string{}, byWiki: map[string]tidings.Topic{}}
	s.desk = requests.Desk{Most: maxWaiting, Time: readTime, Slow: errSlow, Pauses: o.Edge.NewGroup(),
		Dropped: func(p service.Peer) { s.drops.Add(DropJobs, 1, "visitor", p.JID()) }}
	return s, nil
}

// Domain returns the address of the service.
func (s *Server) Domain() jid.JID { return s.domain }

// Address returns the address of the room for what a pattern matches, of one topic as it is listed; ok is false if it has
// none, because its name would be too long.
func (s *Server) Address(p tidings.Pattern) (j jid.JID, ok bool) {
	local := ""
	if t, one := p.Topic(); one {
		local = s.localOf(t)
	} else {
		local = s.names.escape(p.String())
	}
	j, err := jid.New(local, s.opt.Domain, "")
	return j, err == nil && local != ""
}

// Stop shows visitors out, each once it has had what the hub has dispatched, and returns when those who have had it are out
// or ctx ends. Call it when the hub has been drained, and before the carriers close; who is slow to read may be told by the
// end of its stream only.
func (s *Server) Stop(ctx context.Context) error {
	defer s.drops.Flush()
	s.mu.Lock()
	if s.stopping.Swap(true) {
		s.mu.Unlock()
		return nil
	}
	s.out = make(chan struct{})
	groups := map[*edge.Group]struct{}{}
	for l := range s.lives {
		groups[l.group] = struct{}{}
		if l.idle.Load() {
			l.awaited = true
			s.awaited++
		}
	}
	if s.awaited == 0 {
		close(s.out)
	}
	s.mu.Unlock()
	for g := range groups {
		g.Wake()
	}
	select {
	case <-s.out:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats are figures of a Server at one moment.
type Stats struct {
	Visitors  int               // addresses that are in a room
	Rooms     int               // that somebody is in
	Occupants int64             // of all rooms
	Joins     uint64            // since the start
	Pages     uint64            // of archives given out
	Dropped   map[string]uint64 // by reason
}

// Stats returns the figures.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Visitors: len(s.visitors), Rooms: len(s.rooms), Occupants: s.inside.Load(), Joins: s.joins.Load(), Pages: s.pages.Load(),
		Dropped: s.drops.Snapshot()}
}

// Stanza implements service.Service.
func (s *Server) Stanza(p service.Peer, st *stanza.Stanza) {
	switch st.Kind {
	case stanza.Presence:
		s.presence(p, st)
	case stanza.Message:
		s.message(p, st)
	case stanza.IQ:
		s.iq(p, st)
	}
}

// Gone implements service.Service.
func (s *Server) Gone(p service.Peer) {
	v := s.visitor(p)
	if v == nil {
		return
	}
	s.desk.Close(v)
	for len(v.occupants) > 0 {
		v.forget(v.occupants[len(v.occupants)-1])
	}
	s.mu.Lock()
	delete(s.visitors, p)
	s.mu.Unlock()
}
