package bridge

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/xmpp/jid"
)

// flow is what a room is told of one query, in the order of the journal. A room of the configuration has one; one that a
// template has made has one for each topic.
type flow struct {
	b     *Bridge
	room  *room
	key   string
	rec   record // Position is up to where everything is acknowledged
	query hub.Query
	form  form

	sub   *hub.Subscription // nil while there is none
	retry time.Time         // when to subscribe again
	idle  atomic.Bool       // nothing is there until the waker is called
	buf   []byte            // frames that were read
	taken tidings.Position  // up to which frames have become messages
	way   []*message        // not acknowledged, or behind one that is not
	left  skipped           // not told yet
}

// message is one message of a flow.
type message struct {
	id     string
	stanza []byte
	at     tidings.Position // what is acknowledged with it
	sent   bool             // since the room was entered
	when   time.Time        // it was sent
	again  bool             // it was sent before
	acked  bool
	tries  int // how often the room has refused it
}

// skipped are events that are not said.
type skipped struct {
	count   uint64
	reasons map[string]bool
	last    tidings.Position
}

// Reasons for which an event is not said.
const (
	SkipOld     = "too-old"   // older than Options.MaxAge when its turn came
	SkipLarge   = "too-large" // longer than Options.MaxStanza
	SkipRefused = "refused"   // the room has refused it again and again
)

// reasons say them to people.
var reasons = map[string]string{SkipOld: "too old", SkipLarge: "too large for this server", SkipRefused: "refused by this room"}

// waker is that of a feed with one subscription.
type waker struct {
	b    *Bridge
	idle *atomic.Bool
}

func (w waker) Wake() {
	w.idle.Store(false)
	w.b.ring()
}

// addFlow adds a flow to a room, which is made if it is new. It goes on behind rec.Position.
func (b *Bridge) addFlow(address jid.JID, r Room, rec record, q hub.Query) (*flow, error) {
	f := &flow{b: b, rec: rec, query: q, taken: rec.Position}
	f.key = b.key(rec)
	f.form = newForm(f.key, address)
	if err := f.subscribe(); err != nil {
		return nil, fmt.Errorf("bridge %s: reading for %s: %w", b.opt.Name, address, err)
	}
	rm := b.rooms[address]
	if rm == nil {
		rm = &room{b: b, jid: address, nick: b.opt.Nick}
		b.rooms[address] = rm
		b.ordered = append(b.ordered, rm)
	}
	if !isTemplate(r.Address) {
		rm.password = r.Password
	} else if rm.password == "" {
		rm.password = r.Password
	}
	f.room = rm
	rm.flows = append(rm.flows, f)
	b.flows = append(b.flows, f)
	return f, nil
}

func (f *flow) subscribe() (err error) {
	f.idle.Store(false)
	f.sub, err = f.b.opt.Hub.Subscribe(hub.Request{After: f.taken, Query: f.query, Form: f.form,
		NewWaker: func() hub.Waker { return waker{f.b, &f.idle} }})
	return err
}

func (f *flow) close() {
	if f.sub != nil {
		f.sub.Close()
		f.sub = nil
	}
}

// fill reads frames, if there are none. It may block on the journal for a bounded piece of it.
func (f *flow) fill(ctx context.Context, now time.Time) {
	if len(f.buf) > 0 || f.idle.Load() {
		return
	}
	if f.sub == nil {
		f.reopen(now)
		return
	}
	f.idle.Store(true) // first: who wakes from here on is heard
	switch p, st := f.sub.Next(); st {
	case hub.HasBytes:
		f.idle.Store(false)
		f.buf = append(f.buf[:0], p...) // the reader's own: what is not taken is not read from the journal again and again
		f.sub.Advance(len(p))
	case hub.Lagging:
		f.idle.Store(false)
		f.sub.Fetch(ctx)
	case hub.Over:
		f.idle.Store(false)
		f.close()
	}
}

// reopen subscribes again after a right to read has changed.
func (f *flow) reopen(now time.Time) {
	if now.Before(f.retry) {
		return
	}
	f.retry = now.Add(resubscribe)
	if err := f.subscribe(); err != nil {
		f.sub = nil
		f.b.counters.failed("withdrawn")
		f.b.log.Warn("what a room is told may not be read any more", "room", f.room.jid, "topics", f.query.Patterns, "err", err,
			"hint", "make the topic public again, or take it out of [[bridge.rooms]]")
	}
}

// next returns the message whose turn it is, nil if there is none now; behind reports that there may be one when the journal
// has been read on, which is left for the flow's next turn.
func (f *flow) next(ctx context.Context, now time.Time) (m *message, behind bool) {
	under, window := f.room.underWay(), f.b.opt.Window
	if f.room.narrow > 0 {
		window = 1
	}
	if under >= window {
		return nil, false
	}
	for _, m := range f.way {
		if !m.sent && !m.acked {
			return m, false
		}
	}
	if len(f.way) >= f.b.opt.Window {
		return nil, false
	}
	f.fill(ctx, now)
	for len(f.buf) > 0 {
		fr, rest := cutFrame(f.buf)
		reason := f.unfit(&fr, now)
		if reason == "" && f.left.count > 0 {
			return f.tell(), false
		}
		f.buf, f.taken = rest, fr.at
		if reason == "" {
			return f.take(&fr), false
		}
		f.skip(reason, fr.at, "bytes", len(fr.body), "time", fr.time)
	}
	if !f.idle.Load() {
		return nil, f.sub != nil || !now.Before(f.retry)
	}
	if f.left.count > 0 {
		return f.tell(), false
	}
	return nil, false
}

// unfit returns the reason for which an event is not said, "" if it is.
func (f *flow) unfit(fr *frame, now time.Time) string {
	switch {
	case fr.gap:
	case f.b.opt.MaxAge > 0 && now.Sub(fr.time) > f.b.opt.MaxAge:
		return SkipOld
	case len(fr.body) > f.b.opt.MaxStanza:
		return SkipLarge
	}
	return ""
}

// take makes a message of a frame.
func (f *flow) take(fr *frame) *message {
	m := &message{id: fr.at.String(), stanza: bytes.Clone(fr.body), at: fr.at}
	if fr.gap {
		m.id = "gap-" + m.id
		f.b.counters.gaps.Add(1)
		f.b.log.Warn("events that a room was to be told are not kept any more", "room", f.room.jid, "oldest", fr.at)
	}
	f.way = append(f.way, m)
	return m
}

// skip leaves out an event.
func (f *flow) skip(reason string, at tidings.Position, attrs ...any) {
	f.b.drops.Add(reason, 1, append([]any{"room", f.room.jid, "position", at}, attrs...)...)
	if f.left.reasons == nil {
		f.left.reasons = map[string]bool{}
	}
	f.left.count++
	f.left.reasons[reason] = true
	f.left.last = at
}

// tell returns the message that says what was left out.
func (f *flow) tell() *message {
	why := ""
	for _, reason := range []string{SkipOld, SkipLarge, SkipRefused} {
		if f.left.reasons[reason] {
			if why != "" {
				why += ", or "
			}
			why += reasons[reason]
		}
	}
	id := "skipped-" + f.left.last.String()
	text := fmt.Sprintf("%d changes up to %s are not said here: %s.", f.left.count, f.left.last, why)
	if f.left.count == 1 {
		text = fmt.Sprintf("The change %s is not said here: it is %s.", f.left.last, why)
	}
	m := &message{id: id, stanza: notice(f.room.jid, id, text), at: f.left.last}
	f.left = skipped{}
	f.way = append(f.way, m)
	return m
}

// acknowledged takes messages that are acknowledged off the way.
func (f *flow) acknowledged() {
	moved := false
	for len(f.way) > 0 && f.way[0].acked {
		f.rec.Position, moved = f.way[0].at, true
		f.way = slices.Delete(f.way, 0, 1)
	}
	if moved {
		f.save()
	}
}

func (f *flow) save() { f.b.saver.put(f.key, f.rec, false) }

// done reports whether everything that was published has been said and acknowledged.
func (f *flow) done() bool {
	return len(f.way) == 0 && len(f.buf) == 0 && f.left.count == 0 && f.idle.Load()
}

// settle moves the position of a flow that has nothing to say to where it has looked, so that retention does not overtake
// it.
func (f *flow) settle() {
	if f.sub == nil || !f.done() {
		return
	}
	if at := f.sub.Reached(); at.Epoch == f.rec.Position.Epoch && at.Offset > f.rec.Position.Offset {
		f.rec.Position = at
		f.save()
	}
}
