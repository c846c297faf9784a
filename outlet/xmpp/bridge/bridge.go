// Package bridge speaks into multi-user chat rooms of somebody else's server (XEP-0045), logged in there as an ordinary client:
// for those who have a wiki and an account, and no server of their own. It is what the bridge of the XMLRC extension was,
// with a memory.
//
// # What is said
//
// A change is the message that Tidings' own rooms have: a body for people, and <rc> or another element for programs, see
// [wire.AppendContent]. Its id is the event's Position.
//
// # What is known to have been said
//
// A room reflects each message to the one who sent it (XEP-0045 section 7.4). That is the acknowledgement. The position up to
// which everything is acknowledged is stored for each room, and after a reconnection or a restart the room goes on behind it:
// nothing is lost, and what was under way is said again with the same id. At most [Options.Window] messages of a room are
// under way.
//
// Messages are said in the order of the journal. A room that refuses one message, and takes one that was under way behind it, is
// told the first one later; from then on it gets one at a time, until it has taken some.
//
// # Goroutines
//
// A bridge has three: one reads the connection, one does everything else, and one stores positions. The second one waits for
// the first, for feeds of the hub, for the next second and for the rate.
package bridge

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/internal/drops"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
)

// Defaults of Options.
const (
	DefaultRate      = 10.0 // a second: servers slow down clients that say more
	DefaultWindow    = 16
	DefaultMaxStanza = 256 << 10 // bytes: what the usual servers take
	DefaultResource  = "tidings"
)

// Times.
const (
	joinTimeout = time.Minute     // for a room to answer a join
	ackTimeout  = time.Minute     // for a message to be reflected, before the room is asked whether we are in it
	pingTimeout = 2 * time.Minute // for it to answer that
	quiet       = 5 * time.Minute // after which a silent room is asked (XEP-0410)
	resubscribe = time.Minute     // after a subscription was ended because of a right
	settleEvery = 5 * time.Minute // between two times at which the positions of quiet rooms are stored

	firstRetry  = 5 * time.Second // of a room
	lastRetry   = 5 * time.Minute
	firstRedial = time.Second
	lastRedial  = time.Minute
	authRedial  = 5 * time.Minute // after a login that was refused: servers lock out those who try often

	goodbye = 2 * time.Second // for leaving the rooms when Stop has no more time
)

// Limits.
const (
	maxUnderWay = 64 << 10 // bytes of messages under way, all rooms together, unless it is one message
	maxTries    = 5        // refusals of one message before it is skipped
	maxNicks    = 3        // other nicks that are tried, because somebody has ours
)

// Store keeps positions. A bucket of the journal is one.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	Watch(ctx context.Context, f func(key string, value []byte)) error
}

// Room is one room, or a room for each wiki.
type Room struct {
	// Address is that of a room, or a template: {wiki} in its localpart stands for the id of a change's wiki, {host} for
	// the last segment of its topic.
	Address string
	// Patterns are the topics; for a template without any, /recentchange/*.
	Patterns []tidings.Pattern
	Filter   hub.Filter // nil for none
	Password string     // of the room
}

// Options configure a Bridge. Hub, Store, Name, Dial and Rooms are needed.
type Options struct {
	Hub   *hub.Hub
	Store Store
	// Name is that under which positions are stored, at most 128 bytes.
	Name string
	// Dial says where to log in and as whom. Without a resource it is DefaultResource, so that a server ends a session that the
	// process has left behind when it comes again.
	Dial dial.Config
	Nick string // in the rooms; empty for the localpart of the account
	// Rooms have different addresses.
	Rooms []Room

	Rate      float64       // stanzas a second
	Window    int           // messages of one room that are under way
	MaxAge    time.Duration // a change that is older when its turn comes is skipped; 0 for no bound
	MaxStanza int           // a message that is longer, in bytes, is skipped
	Log       *slog.Logger
}

// Bridge is a bridge that runs.
type Bridge struct {
	opt   Options
	log   *slog.Logger
	drops *drops.Drops
	saver *saver

	bell     chan struct{} // of one: a feed has something
	stopping chan struct{}
	stopOnce sync.Once
	stopDial context.CancelFunc // ends attempts to log in; a session goes on until everything is said
	cancel   context.CancelFunc // ends everything
	done     chan struct{}

	// These belong to the goroutine that runs the bridge.
	conn      *dial.Conn
	resume    *dial.Session
	rooms     map[jid.JID]*room
	ordered   []*room // in the order in which they came
	flows     []*flow
	turn      int // the flow whose turn it is
	templates []*template
	tokens    float64
	counted   time.Time // when tokens was
	underWay  int       // bytes
	settled   time.Time // when the positions of quiet rooms were stored
	flushing  bool
	changed   bool // a room's state; see publish

	counters counters
	now      atomic.Pointer[moment]
}

// Open returns a bridge that runs until Stop. Rooms that are new begin with what is published from now on; the others go on
// where they were, and so do those of templates. ctx bounds the reading of what is stored. Errors: of the options, of kind
// tidings.ErrInvalid; of the store; and those of access for a topic that is not public.
func Open(ctx context.Context, o Options) (*Bridge, error) {
	if o.Hub == nil || o.Store == nil || o.Name == "" || len(o.Name) > 128 || len(o.Rooms) == 0 {
		return nil, tidings.Errorf(tidings.ErrInvalid, "bridge: it needs a hub, a store, a name of at most 128 bytes and a room")
	}
	if o.Dial.JID.Local() == "" && o.Nick == "" {
		return nil, tidings.Errorf(tidings.ErrInvalid, "bridge %s: it needs an account or a nick", o.Name)
	}
	o.Rate = cmp.Or(o.Rate, DefaultRate)
	o.Window = cmp.Or(o.Window, DefaultWindow)
	o.MaxStanza = cmp.Or(o.MaxStanza, DefaultMaxStanza)
	o.Nick = cmp.Or(o.Nick, o.Dial.JID.Local())
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Dial.JID.Resource() == "" {
		var err error
		if o.Dial.JID, err = o.Dial.JID.WithResource(DefaultResource); err != nil {
			return nil, err
		}
	}
	o.Dial.Manage = true
	// A server that slows us down answers late.
	o.Dial.Keepalive, o.Dial.PingTimeout = cmp.Or(o.Dial.Keepalive, 2*time.Minute), cmp.Or(o.Dial.PingTimeout, 2*time.Minute)
	b := &Bridge{
		opt: o, log: o.Log.With("bridge", o.Name), bell: make(chan struct{}, 1), stopping: make(chan struct{}), done: make(chan struct{}),
		rooms: map[jid.JID]*room{}, tokens: max(1, o.Rate),
	}
	b.drops = drops.New(b.log, "xmpp-bridge")
	b.saver = newSaver(o.Store, b.log)
	b.counters.errors = map[string]uint64{}
	err := b.load(ctx)
	if err != nil {
		b.saver.close()
		b.closeFlows()
		return nil, err
	}
	b.publish()
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	dialing, stop := context.WithCancel(run)
	b.cancel, b.stopDial = cancel, stop
	go func() {
		defer close(b.done)
		defer cancel()
		b.run(run, dialing)
		b.settle()
		b.closeFlows()
		b.saver.close()
		b.drops.Flush()
		b.publish()
	}()
	return b, nil
}

// load makes the flows of the configuration, and those of templates that are stored.
func (b *Bridge) load(ctx context.Context) error {
	stored, err := b.stored(ctx)
	if err != nil {
		return err
	}
	head := b.opt.Hub.Head()
	for key, r := range stored {
		// After a backup was put back, or where another process is a moment ahead: it is no gap, and nothing is said all over.
		if r.Position.Epoch == head.Epoch && r.Position.Offset > head.Offset {
			b.log.Warn("what is stored of a room is beyond the end of the journal: it goes on from there", "room", r.Room, "stored", r.Position, "end", head)
			r.Position = head
			stored[key] = r
		}
	}
	position := func(key string) (tidings.Position, bool) {
		r, ok := stored[key]
		if !ok {
			return head, true
		}
		return r.Position, false
	}
	for _, r := range b.opt.Rooms {
		if isTemplate(r.Address) {
			t, err := newTemplate(r)
			if err != nil {
				return err
			}
			key := b.key(record{Room: r.Address})
			after, fresh := position(key)
			if err := b.watch(t, key, after); err != nil {
				return err
			}
			if fresh {
				b.saver.put(key, record{Room: r.Address, Position: after}, true)
			}
			for _, rec := range stored {
				if rec.Template == r.Address {
					if err := b.discovered(t, rec); err != nil {
						return err
					}
				}
			}
			continue
		}
		address, err := jid.Parse(r.Address)
		if err != nil || address.Local() == "" || !address.IsBare() {
			return tidings.Errorf(tidings.ErrInvalid, "bridge %s: %q is no address of a room: want one such as changes@conference.example.org", b.opt.Name, r.Address)
		}
		if len(r.Patterns) == 0 {
			return tidings.Errorf(tidings.ErrInvalid, "bridge %s: the room %s has no topics", b.opt.Name, r.Address)
		}
		rec := record{Room: address.String()}
		after, fresh := position(b.key(rec))
		rec.Position = after
		f, err := b.addFlow(address, r, rec, hub.Query{Patterns: tidings.Patterns(r.Patterns...), Filter: r.Filter})
		if err != nil {
			return err
		}
		if fresh {
			f.save()
		}
	}
	// Before anything is published that they would have to say: a process that is killed now comes back to it.
	return b.saver.flush(ctx)
}

// Stop says what there is to say, until everything is acknowledged or ctx ends, leaves the rooms and logs out. Rooms that the
// bridge is not in, and servers that it is not connected to, are not waited for: they go on with the next start.
func (b *Bridge) Stop(ctx context.Context) error {
	b.stopOnce.Do(func() {
		b.stopDial()
		close(b.stopping)
	})
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
	}
	b.cancel()
	<-b.done
	return context.Cause(ctx)
}

// ring makes the bridge look at its flows.
func (b *Bridge) ring() {
	select {
	case b.bell <- struct{}{}:
	default:
	}
}

func (b *Bridge) closeFlows() {
	for _, f := range b.flows {
		f.close()
	}
	for _, t := range b.templates {
		t.close()
	}
}
