package pubsub

import (
	"context"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tidings"
	"tidings/access"
	"tidings/hub"
)

// Store is where nodes and subscriptions are kept: a bucket of package journal, whose comments say what each method
// promises.
type Store interface {
	Update(ctx context.Context, key string, f func(old []byte) ([]byte, error)) error
	Watch(ctx context.Context, f func(key string, value []byte)) error
}

// Log is what the model needs of the journal beside what the hub reads; package journal documents the methods.
type Log interface {
	Append(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error)
	Head() tidings.Position
	Oldest() tidings.Position
	Last(ctx context.Context, topic tidings.Topic) (tidings.Event, error)
}

// Who may create nodes.
const (
	ByAccounts = "accounts" // the accounts of the server's domain, and administrators
	ByAdmins   = "admins"   // administrators
	ByNobody   = "nobody"   // the program itself
)

// Options are what a Service is made from. Store, Log, Hub and Policy are needed; the zero value of every other means
// its default.
type Options struct {
	Store  Store
	Log    Log
	Hub    *hub.Hub
	Policy *access.Policy

	// Domain is that of the server's accounts, such as localhost: those are who may create nodes.
	Domain string
	// Domains are those of other servers whose accounts may create nodes as well.
	Domains []string
	// Create says who may create nodes: ByAccounts (the default), ByAdmins or ByNobody.
	Create string
	// Admins are bare JIDs that may do to every node what its owners may. So may the system, and the bearers of tokens
	// with an admin scope on the topic.
	Admins []string
	// Reserved are topics on which nobody but an administrator creates a node (/recentchange and all below it).
	Reserved []tidings.Pattern
	// Default is the configuration that nodes are created with; nil for DefaultConfig.
	Default *Config
	// MaxItems bounds the items that a node keeps for retrieval, whatever its configuration (10,000).
	MaxItems int
	// MaxPayload bounds a payload in bytes, whatever the node's configuration (1 MiB).
	MaxPayload int
	// MaxNodes bounds the nodes one account owns (10,000), and MaxSubscriptions the places that one bare JID subscribes
	// to (10,000).
	MaxNodes, MaxSubscriptions int
	// MaxPerNode bounds the subscriptions of one bare JID at one node (32).
	MaxPerNode int
	// MaxLease bounds how far ahead a subscription may be said to end (a year). A longer lease is made as long as that.
	MaxLease time.Duration
	// DedupeWindow is how long the journal remembers the keys of events (2 minutes).
	DedupeWindow time.Duration
	// Logger takes note of stored entries that cannot be read; nil for slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Store == nil || o.Log == nil || o.Hub == nil || o.Policy == nil {
		return o, tidings.Errorf(tidings.ErrInvalid, "pubsub: a store, a log, a hub and a policy are needed")
	}
	if o.Create == "" {
		o.Create = ByAccounts
	}
	if o.Create != ByAccounts && o.Create != ByAdmins && o.Create != ByNobody {
		return o, tidings.Errorf(tidings.ErrInvalid, "pubsub: create: %q is neither %s nor %s nor %s", o.Create, ByAccounts, ByAdmins, ByNobody)
	}
	if o.Reserved == nil {
		o.Reserved = []tidings.Pattern{tidings.MustPattern("/recentchange/**")}
	}
	if o.Default == nil {
		d := DefaultConfig()
		o.Default = &d
	}
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.MaxItems, 10_000}, {&o.MaxPayload, 1 << 20}, {&o.MaxNodes, 10_000}, {&o.MaxSubscriptions, 10_000}, {&o.MaxPerNode, 32}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if o.MaxLease <= 0 {
		o.MaxLease = 365 * 24 * time.Hour
	}
	if o.DedupeWindow <= 0 {
		o.DedupeWindow = 2 * time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o, nil
}

// Service is the PubSub service. Its methods may be called from many goroutines. Those with a context may block on the
// store, which they change, or on the journal; the others answer from memory.
type Service struct {
	opt   Options
	epoch uint32
	stop  context.CancelFunc // ends the watch and the leases' work
	ctx   context.Context    // until Close: of the leases' work, which no request waits for
	work  sync.WaitGroup

	seed    maphash.Seed
	stripes [64]sync.Mutex // by place and bare JID: changes of one subscriber's subscriptions go one after the other

	// telling is held while a change that the store reports is taken in and told.
	telling   sync.Mutex
	opened    bool
	listeners map[int]func(Notification)
	nextID    int

	mu        sync.RWMutex
	closed    bool
	nodes     map[string]*node   // by topic or pattern
	hashed    map[string]string  // the names behind keys that do not show them
	entities  map[string]*entity // by bare JID
	services  map[string]*string // domains of services, by themselves
	mark      uint32             // see index
	subs      int                // subscriptions in memory
	malformed uint64             // entries that could not be read
	leases    leases

	items itemCache
}

// Open returns the service with what is in the store, and follows the changes that every process makes to it until Close.
// From then on the policy asks it for the rules of nodes. Errors are the store's.
func Open(ctx context.Context, o Options) (*Service, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{opt: o, epoch: o.Log.Head().Epoch, seed: maphash.MakeSeed(), listeners: map[int]func(Notification){},
		nodes: map[string]*node{}, hashed: map[string]string{}, entities: map[string]*entity{}, services: map[string]*string{}}
	s.items.init()
	s.leases.init()
	// The watch outlives the call that opens the service.
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := o.Store.Watch(s.ctx, s.entry); err != nil {
		s.stop()
		return nil, tidings.Errorf(tidings.ErrUnavailable, "pubsub: reading the nodes: %w", err)
	}
	o.Policy.SetNodes(rules{s})
	s.telling.Lock()
	s.opened = true
	s.telling.Unlock()
	s.mu.Lock()
	s.schedule()
	s.mu.Unlock()
	s.work.Go(s.tidy)
	return s, nil
}

// Close ends the watch and waits for work under way. No listener is called once it has returned. The rules of nodes go
// on to hold as they were known.
func (s *Service) Close() error {
	s.stop()
	s.telling.Lock()
	clear(s.listeners)
	s.telling.Unlock()
	s.mu.Lock()
	s.closed = true
	s.leases.stop()
	s.mu.Unlock()
	s.work.Wait()
	return nil
}

// Listen asks for a call of f for everything that Notification speaks of, until stop is called. Calls come one at a time
// and in order, before the request that caused them returns; in other processes, soon after. f must not block, and must
// call no method of the Service with a context, nor Listen or stop.
func (s *Service) Listen(f func(Notification)) (stop func()) {
	s.telling.Lock()
	defer s.telling.Unlock()
	id := s.nextID
	s.nextID++
	s.listeners[id] = f
	return func() {
		s.telling.Lock()
		defer s.telling.Unlock()
		delete(s.listeners, id)
	}
}

// Stats are figures of a Service at one moment.
type Stats struct {
	Nodes         int // created or configured
	Places        int // nodes, topics and patterns in memory
	Subscriptions int
	Entities      int    // bare JIDs that subscribe or are affiliated
	Malformed     uint64 // entries of the store that were passed over or closed since opening
}

// Stats returns figures for /status and /metrics.
func (s *Service) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Stats{Places: len(s.nodes), Subscriptions: s.subs, Entities: len(s.entities), Malformed: s.malformed}
	for _, n := range s.nodes {
		if n.alive() {
			st.Nodes++
		}
	}
	return st
}

// lock takes the lock of one subscriber's subscriptions at one place.
func (s *Service) lock(name, bare string) *sync.Mutex {
	var h maphash.Hash
	h.SetSeed(s.seed)
	_, _ = h.WriteString(name)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(bare)
	m := &s.stripes[h.Sum64()%uint64(len(s.stripes))]
	m.Lock()
	return m
}

// isAdmin reports whether the entity administers the topic whoever owns its node.
func (s *Service) isAdmin(who Entity, t tidings.Topic) bool {
	if b := who.bare(); b != "" && slices.Contains(s.opt.Admins, b) {
		return true
	}
	return who.Actor.Kind != tidings.Anonymous && s.opt.Policy.May(who.Actor, tidings.AdminAction, t) == nil
}

// head returns the journal's last position.
func (s *Service) head() tidings.Position { return s.opt.Log.Head() }
