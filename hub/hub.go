// Package hub joins readers to the log. A [Subscription] is a cursor, a [Query] and an actor; it pulls. History and live
// events are one path: what a subscription cannot have from the shared tail of its [Feed] it reads from the log at its
// own pace, with the same encoder, until it has caught up.
//
// The hub wakes readers, it does not carry events to them. Subscriptions that ask the same question in the same wire
// form share a feed, in which every event is encoded once. An event is matched once for each distinct pattern, and only
// the feeds it belongs to are touched.
package hub

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidings"
)

// Log is what the hub reads; package journal has the implementations and documents the methods.
type Log interface {
	Read(ctx context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error)
	// ReadKept is Read without its GapError for what retention has removed.
	ReadKept(ctx context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error)
	Head() tidings.Position
	Oldest() tidings.Position
	At(ctx context.Context, t time.Time) (tidings.Position, error)
	Notify(ch chan<- struct{}) (stop func())
}

// Access judges readers; package access implements it and documents the methods.
type Access interface {
	May(a tidings.Actor, action tidings.Action, t tidings.Topic) error
	// Audience returns a text that is equal for actors who may read the same topics.
	Audience(a tidings.Actor) string
}

// The methods that an Access may have besides; package access documents them.
type (
	// audiences tells actors apart by what they may read of some topics only.
	audiences interface {
		AudienceOf(a tidings.Actor, patterns []tidings.Pattern) string
	}
	// floors knows topics whose events up to an offset are no longer to be read by anybody.
	floors interface{ Floor(t tidings.Topic) uint64 }
	// withdrawals names, while Recheck is called, the topics whose past events some may not read any more.
	withdrawals interface{ Withdrawn() []tidings.Topic }
)

// Waker is told that a feed has new bytes. Wake must not block.
type Waker interface{ Wake() }

// Options configure a Hub; the zero value of each means its default.
type Options struct {
	// Decode returns what an event's payload means, once for each event and reader of history; nil for "just bytes".
	// If the value has a method Field(name string) (string, bool), filters ask it; else they look into JSON payloads.
	Decode func(*tidings.Event) any
	// FeedTail bounds the encoded bytes one feed keeps for readers that lag (4 MiB).
	FeedTail int
	// Tails bounds the encoded bytes of all feeds together (64 MiB); beyond it the busiest keep 256 KiB each.
	Tails int
	// TailAge is how long a feed keeps bytes that nobody may need any more (10 s).
	TailAge time.Duration
	Log     *slog.Logger
}

// Hub dispatches the events of one log to feeds.
type Hub struct {
	log    Log
	access Access
	floors floors // nil if access has none
	opt    Options
	epoch  uint32
	pos    atomic.Uint64 // offset of the last event dispatched
	tails  atomic.Int64  // encoded bytes in all feeds

	mu    sync.Mutex // held while a batch is dispatched; guards what follows
	index index
	feeds map[feedKey]*Feed
	moved chan struct{} // closed and replaced when pos has moved

	subs       atomic.Int64
	dispatched atomic.Uint64
	encoded    atomic.Uint64
	behind     atomic.Uint64
	gaps       atomic.Uint64

	cancel context.CancelFunc
	done   chan struct{}
}

// New returns a Hub that dispatches what is appended from now on, until Close.
func New(log Log, access Access, o Options) *Hub {
	if o.FeedTail <= 0 {
		o.FeedTail = 4 << 20
	}
	if o.Tails <= 0 {
		o.Tails = 64 << 20
	}
	if o.TailAge <= 0 {
		o.TailAge = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Hub{log: log, access: access, opt: o, feeds: map[feedKey]*Feed{}, moved: make(chan struct{}), done: make(chan struct{})}
	h.floors, _ = access.(floors)
	bell := make(chan struct{}, 1)
	stop := log.Notify(bell)
	head := log.Head()
	h.epoch = head.Epoch
	h.pos.Store(head.Offset)
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() {
		defer close(h.done)
		defer stop()
		h.run(ctx, bell)
	}()
	return h
}

// Close ends the dispatching. Readers keep what has been dispatched.
func (h *Hub) Close() {
	h.cancel()
	<-h.done
}

// Head returns the position up to which events have been dispatched: what "from now on" means.
func (h *Hub) Head() tidings.Position {
	return tidings.Position{Epoch: h.epoch, Offset: h.pos.Load()}
}

// Oldest returns the position to read after in order to get every event that is kept.
func (h *Hub) Oldest() tidings.Position { return h.log.Oldest() }

// At returns the position to read after in order to get the events appended at or after t.
func (h *Hub) At(ctx context.Context, t time.Time) (tidings.Position, error) {
	p, err := h.log.At(ctx, t)
	if err == nil && p.Epoch == h.epoch && p.Offset > h.pos.Load() {
		p = h.Head()
	}
	return p, err
}

// Drain waits until everything that the log has now has been dispatched, or until ctx ends.
func (h *Hub) Drain(ctx context.Context) error {
	return h.waitFor(ctx, h.log.Head().Offset)
}

// waitFor waits until the hub has dispatched the event at offset.
func (h *Hub) waitFor(ctx context.Context, offset uint64) error {
	for {
		h.mu.Lock()
		moved := h.moved
		h.mu.Unlock()
		if h.pos.Load() >= offset {
			return nil
		}
		select {
		case <-moved:
		case <-h.done:
			return tidings.Errorf(tidings.ErrUnavailable, "the server is stopping")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const (
	dispatchBatch = 512
	retryPause    = time.Second // between attempts to read a log that does not answer
)

func (h *Hub) run(ctx context.Context, bell <-chan struct{}) {
	sweep := time.NewTicker(h.opt.TailAge / 2)
	defer sweep.Stop()
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-sweep.C:
			h.sweep(now)
			continue
		case <-bell:
		case <-retry:
		}
		retry = nil
		if err := h.dispatchNew(ctx); err != nil && ctx.Err() == nil {
			h.opt.Log.Error("reading the log to dispatch it", "err", err)
			retry = time.After(retryPause)
		}
	}
}

// dispatchNew dispatches everything up to the log's head.
func (h *Hub) dispatchNew(ctx context.Context) error {
	for {
		evs, next, err := h.log.Read(ctx, h.Head(), nil, dispatchBatch)
		if gap, ok := asGap(err); ok && gap.Oldest.Epoch == h.epoch && gap.Oldest.Offset > h.pos.Load() {
			// Retention overtook the dispatching, which needs a log smaller than a moment's traffic. Every feed's
			// readers go on from the log and are told there.
			h.gaps.Add(1)
			h.opt.Log.Error("events were removed before they were dispatched", "asked", gap.Asked, "oldest", gap.Oldest)
			h.mu.Lock()
			h.advance(gap.Oldest.Offset)
			for _, f := range h.feeds {
				f.restart(gap.Oldest.Offset)
			}
			h.mu.Unlock()
			continue
		}
		if err != nil {
			return err
		}
		if next == h.Head() {
			return nil
		}
		h.dispatch(evs, next)
	}
}

func (h *Hub) advance(offset uint64) {
	h.pos.Store(offset)
	close(h.moved)
	h.moved = make(chan struct{})
}

// dispatch encodes a batch into the feeds that match and wakes them.
func (h *Hub) dispatch(evs []tidings.Event, next tidings.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var touched []*Feed
	for i := range evs {
		it := Item{Event: &evs[i], decode: h.opt.Decode}
		if h.hidden(it.Event) {
			continue
		}
		h.index.match(string(it.Topic), func(f *Feed) {
			if f.seen == it.Position.Offset {
				return // by another pattern of its query
			}
			f.seen = it.Position.Offset
			if f.query.filtered(&it) || !f.mayRead(it.Topic) {
				return
			}
			if f.scratch = f.form.Append(f.scratch[:0], &it); len(f.scratch) == 0 {
				return
			}
			h.encoded.Add(1)
			f.append(f.scratch, it.Position.Offset)
			if !f.touched {
				f.touched = true
				touched = append(touched, f)
			}
		})
	}
	h.advance(next.Offset)
	h.dispatched.Add(uint64(len(evs))) // behind it: who has seen the count subscribes behind them
	for _, f := range touched {
		f.touched = false
		if cap(f.scratch) > 64<<10 {
			f.scratch = nil
		}
		f.waker.Wake()
	}
}

// sweep lets go of tails that have not been needed for a while.
func (h *Hub) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.feeds {
		f.trimAge(now.Add(-h.opt.TailAge))
		f.scratch = nil
	}
}

// Request is what a subscription asks for.
type Request struct {
	After tidings.Position // the last position the reader has; Head for "from now on"
	Query Query
	Actor tidings.Actor
	Form  Form
	// NewWaker makes the waker of a new feed; a feed that is there already has one.
	NewWaker func() Waker
}

type feedKey struct{ query, form, audience string }

// Subscribe returns a subscription. Whether After is still kept shows when it is read: the reader is told of a gap in
// its protocol. Errors: those of access for a query that names a topic the actor may not read.
func (h *Hub) Subscribe(r Request) (*Subscription, error) {
	s := &Subscription{pos: r.After, actor: &publicActor}
	if r.Actor.Kind != tidings.Anonymous {
		s.actor = &r.Actor
	}
	key := feedKey{query: r.Query.String(), form: r.Form.Key()}
	h.mu.Lock()
	defer h.mu.Unlock()
	// Access is asked under the lock: a right that is withdrawn from here on finds the subscription in its feed.
	if err := h.mayRead(r.Query, r.Actor); err != nil {
		return nil, err
	}
	key.audience = h.audience(r.Query, r.Actor)
	f := h.feeds[key]
	if f == nil {
		f = &Feed{hub: h, key: key, query: r.Query, literal: r.Query.literal(), form: r.Form, actor: r.Actor, waker: r.NewWaker(), start: h.pos.Load()}
		if h.audience(r.Query, publicActor) == key.audience {
			f.actor = publicActor // whose audience stays the same
		}
		for _, p := range r.Query.Patterns {
			h.index.add(p, f)
		}
		h.feeds[key] = f
	}
	f.refs++
	s.feed = f
	if s.actor == &publicActor {
		s.era = f.era.Load()
	} else {
		if f.named == nil {
			f.named = map[*Subscription]struct{}{}
		}
		f.named[s] = struct{}{}
	}
	h.subs.Add(1)
	if !f.attach(s) {
		s.catchUp = &catchUp{}
	}
	return s, nil
}

var publicActor tidings.Actor

func (h *Hub) unsubscribe(s *Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := s.feed
	delete(f.named, s)
	h.subs.Add(-1)
	if f.refs--; f.refs > 0 {
		return
	}
	for _, p := range f.query.Patterns {
		h.index.remove(p, f)
	}
	delete(h.feeds, f.key)
	f.release()
}

// Recheck ends every subscription whose actor may not read what it could when it subscribed, and of those to patterns with
// globs also the ones whose actor may read more by now. When it returns, none of them gives out another byte. Package
// access calls it in the same call that changes a right.
func (h *Hub) Recheck() {
	h.mu.Lock()
	defer h.mu.Unlock()
	var withdrawn []tidings.Topic
	if w, ok := h.access.(withdrawals); ok {
		withdrawn = w.Withdrawn()
	}
	for _, f := range h.feeds {
		wake := false
		if f.refs > len(f.named) && h.mayRead(f.query, publicActor) != nil {
			f.era.Add(1)
			wake = true
		}
		for s := range f.named {
			if err := f.changed(s); err != nil {
				s.end(err, h.pos.Load())
				wake = true
			}
		}
		if slices.ContainsFunc(withdrawn, f.query.matches) {
			// What the tail has of the topic is judged again on the way from the log.
			f.restart(h.pos.Load())
		} else if wake {
			f.waker.Wake()
		}
	}
}

var (
	errWithdrawn = tidings.Errorf(tidings.ErrForbidden, "the permission to read this has been withdrawn")
	errChanged   = tidings.Errorf(tidings.ErrUnavailable, "which of these topics may be read has changed: subscribe again")
)

// changed returns why the subscription, which has a named actor, cannot stay in the feed.
func (f *Feed) changed(s *Subscription) error {
	h := f.hub
	if h.mayRead(f.query, *s.actor) != nil {
		return errWithdrawn
	}
	switch {
	case h.audience(f.query, *s.actor) == f.key.audience:
		return nil
	case s.actor.Kind == tidings.User:
		return errChanged // perhaps by a right that was added
	}
	return errWithdrawn
}

// audience returns a text that is equal for actors who may read the same of what the query asks for. Who may read the
// topics of a query without globs may read all of it, so those are one audience.
func (h *Hub) audience(q Query, a tidings.Actor) string {
	if q.literal() {
		return ""
	}
	if of, ok := h.access.(audiences); ok {
		return of.AudienceOf(a, q.Patterns)
	}
	return h.access.Audience(a)
}

// hidden reports whether the event is no longer to be read by anybody.
func (h *Hub) hidden(e *tidings.Event) bool {
	return h.floors != nil && e.Position.Offset <= h.floors.Floor(e.Topic)
}

// readable reports whether the actor may read the event.
func (h *Hub) readable(a tidings.Actor, e *tidings.Event) bool {
	return !h.hidden(e) && h.access.May(a, tidings.ReadAction, e.Topic) == nil
}

// Stats are figures of a Hub at one moment.
type Stats struct {
	Feeds         int
	Subscriptions int64
	TailBytes     int64
	Dispatched    uint64 // events
	Encoded       uint64 // times an event was encoded into a feed
	Behind        uint64 // times a reader left a feed's tail behind and went on from the log
	Gaps          uint64 // gaps readers were told of
}

// Stats returns the figures.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	feeds := len(h.feeds)
	h.mu.Unlock()
	return Stats{Feeds: feeds, Subscriptions: h.subs.Load(), TailBytes: h.tails.Load(), Dispatched: h.dispatched.Load(),
		Encoded: h.encoded.Load(), Behind: h.behind.Load(), Gaps: h.gaps.Load()}
}

// Query is what a subscription asks for: the events whose topic matches one of the patterns and whose fields pass the
// filter.
type Query struct {
	Patterns []tidings.Pattern // as tidings.Patterns returns them
	Filter   Filter            // nil for none
}

// String returns the canonical text, equal for queries that ask the same.
func (q Query) String() string {
	var b strings.Builder
	for _, p := range q.Patterns {
		b.WriteString(p.String())
		b.WriteByte('\n')
	}
	if q.Filter != nil {
		b.WriteString(q.Filter.String())
	}
	return b.String()
}

// literal reports whether the query has no globs.
func (q Query) literal() bool {
	for _, p := range q.Patterns {
		if _, ok := p.Topic(); !ok {
			return false
		}
	}
	return true
}

func (q Query) matches(t tidings.Topic) bool {
	return slices.ContainsFunc(q.Patterns, func(p tidings.Pattern) bool { return p.Match(t) })
}

func (q Query) filtered(it *Item) bool { return q.Filter != nil && !q.Filter.Match(it) }

// Form is a wire form: how events look in one protocol. Its methods are called from several goroutines.
type Form interface {
	// Key names the form; forms with equal keys produce equal bytes.
	Key() string
	// Append appends the encoding of the event to dst, or nothing where the form has none for it.
	Append(dst []byte, it *Item) []byte
	// AppendGap appends what tells the reader that events were lost and that it goes on from the oldest.
	AppendGap(dst []byte, g *tidings.GapError) []byte
	// AppendEnd appends what tells the reader why the server ends its subscription.
	AppendEnd(dst []byte, err error) []byte
	// AppendGoodbye appends what tells the reader that the server stops.
	AppendGoodbye(dst []byte) []byte
}
