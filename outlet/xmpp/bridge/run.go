package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tidings/hub"
	"tidings/internal/retry"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/sasl"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
)

// run keeps a session with the server until dialing ends, or ctx does.
func (b *Bridge) run(ctx, dialing context.Context) {
	for failures := 0; dialing.Err() == nil; failures++ {
		cfg := b.opt.Dial
		cfg.Resume = b.resume
		conn, err := dial.Dial(dialing, cfg)
		if err == nil {
			b.counters.connections.Add(1)
			b.conn = conn
			failures = 0
			err = b.session(ctx)
			b.conn = nil
			b.counters.connected.Store(false)
			if err == nil {
				return // stopped
			}
			b.resume = conn.Drop()
		}
		if dialing.Err() != nil {
			return
		}
		b.disconnected(err)
		b.publish()
		pause := retry.Backoff(firstRedial, lastRedial, failures)
		if e, refused := errors.AsType[*sasl.Error](err); refused && e.Condition != sasl.TemporaryAuthFailure {
			pause = authRedial
		}
		b.log.Warn("the bridge has no session", "server", cfg.JID.Domain(), "err", err, "retry", pause.Round(time.Second), "hint", sessionHint(err))
		if retry.Sleep(dialing, pause) != nil {
			return
		}
	}
}

// sessionHint returns what may help against the failure of a session.
func sessionHint(err error) string {
	if _, ok := errors.AsType[*sasl.Error](err); ok {
		return "look at jid and password in [[bridge]]"
	}
	if e, ok := errors.AsType[*stream.Error](err); ok {
		return streamHints[e.Condition]
	}
	switch {
	case errors.Is(err, dial.ErrTLSRequired):
		return "set direct_tls, or unsafe_plaintext if nobody on the way can read along, in [[bridge]]"
	case errors.Is(err, dial.ErrNoMechanism):
		return "the server wants a login that needs TLS, or one that is not known here"
	}
	return "look at jid and addr in [[bridge]], and whether the server runs"
}

// said is what a stanza says that is for the bridge.
type said struct {
	kind    stanza.Kind
	typ, id string
	from    jid.JID
	err     *stanza.Error
	user    user
	body    bool
	delayed bool
}

// session speaks until the connection ends, which is an error, or until everything is said after Stop, and the bridge has
// logged out.
func (b *Bridge) session(ctx context.Context) error {
	reading, stop := context.WithCancel(context.WithoutCancel(ctx)) // the goodbye is heard as well
	heard, ended := make(chan said, 256), make(chan error, 1)
	conn := b.conn
	go func() { ended <- listen(reading, conn, heard) }()
	over := false
	// What was heard counts, also when the connection is lost: the server takes it for handled when the session is resumed.
	finish := func() {
		stop()
		for !over {
			select {
			case s := <-heard:
				_ = b.hear(time.Now(), &s) // nothing more can be sent
			case <-ended:
				over = true
			}
		}
		for len(heard) > 0 {
			s := <-heard
			_ = b.hear(time.Now(), &s) // as above
		}
	}
	defer finish()
	// A server that reads nothing must not hold up the end.
	finished := make(chan struct{})
	defer close(finished)
	defer context.AfterFunc(ctx, func() {
		select {
		case <-time.After(goodbye):
			conn.Drop()
		case <-finished:
		}
	})()
	now := time.Now()
	b.begin(now, conn.Resumed())
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	rate := time.NewTimer(0)
	defer rate.Stop()
	for stopping := b.stopping; ; {
		wait, again, err := b.pump(ctx)
		if err != nil {
			return err
		}
		if b.flushing && b.flushed() {
			b.leave()
			finish()
			return conn.Close()
		}
		if b.changed {
			b.publish()
		}
		if wait > 0 {
			rate.Reset(wait)
		} else if again {
			rate.Reset(0)
		}
		select {
		case s := <-heard:
			err = b.hear(time.Now(), &s)
		case err := <-ended:
			over = true
			return err // finish hears the rest
		case <-b.bell:
		case now := <-tick.C:
			err = b.tick(now)
		case <-rate.C:
		case <-stopping:
			stopping, b.flushing = nil, true
		case <-ctx.Done():
			b.leave()
			finish()
			return conn.Close()
		}
		if err != nil {
			return err
		}
	}
}

// listen reads the connection until it ends, or ctx does. What it has read it hands over.
func listen(ctx context.Context, c *dial.Conn, heard chan<- said) error {
	for {
		st, err := c.Next(ctx)
		if err != nil {
			return err
		}
		heard <- parse(&st)
	}
}

// begin takes up the rooms in a new session, or in one that was resumed.
func (b *Bridge) begin(now time.Time, resumed bool) {
	b.counters.connected.Store(true)
	b.tokens, b.counted = max(1, b.opt.Rate), now
	b.log.Info("the bridge has a session", "jid", b.conn.JID(), "resumed", resumed)
	if resumed {
		b.counters.resumed.Add(1)
	}
	for _, r := range b.ordered {
		if resumed {
			r.heard, r.since, r.pinged = now, now, time.Time{} // what was sent is sent again by the connection
			for _, f := range r.flows {
				for _, m := range f.way {
					m.when = now
				}
			}
			continue
		}
		r.reset()
		r.state, r.nick = out, b.opt.Nick
		if r.failures == 0 {
			r.retry = now
		}
	}
}

// hear acts on a stanza.
func (b *Bridge) hear(now time.Time, s *said) error {
	r := b.rooms[s.from.Bare()]
	if r == nil {
		return nil
	}
	switch s.kind {
	case stanza.Presence:
		return r.presence(now, s)
	case stanza.Message:
		r.message(now, s)
	case stanza.IQ:
		return r.answered(now, s)
	}
	return nil
}

// tick looks at what takes too long.
func (b *Bridge) tick(now time.Time) error {
	b.changed = true
	for _, r := range b.ordered {
		if err := r.tick(now); err != nil {
			return err
		}
	}
	if now.Sub(b.settled) >= settleEvery {
		b.settled = now
		b.settle()
	}
	return nil
}

// settle stores where flows are that have nothing to say, and templates.
func (b *Bridge) settle() {
	for _, f := range b.flows {
		f.settle()
	}
	for _, t := range b.templates {
		if t.sub != nil && t.idle.Load() {
			b.saver.put(t.key, record{Room: t.Address, Position: t.sub.Reached()}, true)
		}
	}
}

// pump enters rooms and says what may be said now. wait is how long the rate makes it wait; again reports that it has only
// stopped so that others have their turn.
func (b *Bridge) pump(ctx context.Context) (wait time.Duration, again bool, err error) {
	now := time.Now()
	b.tokens = min(b.tokens+now.Sub(b.counted).Seconds()*b.opt.Rate, max(1, b.opt.Rate))
	b.counted = now
	for _, t := range b.templates {
		more, err := b.look(ctx, t, now)
		if err != nil {
			return 0, false, err
		}
		again = again || more
	}
	for _, r := range b.ordered {
		if b.flushing || r.state != out || now.Before(r.retry) {
			continue
		}
		if b.tokens < 1 {
			return b.until(), false, nil
		}
		b.tokens--
		if err := r.enter(now); err != nil {
			return 0, false, err
		}
	}
	for idle := 0; idle < len(b.flows); idle++ {
		b.turn = (b.turn + 1) % len(b.flows)
		f := b.flows[b.turn]
		if !f.room.speaks(now) || ctx.Err() != nil {
			continue
		}
		m, behind := f.next(ctx, now)
		again = again || behind
		if m == nil {
			continue
		}
		if b.underWay > 0 && b.underWay+len(m.stanza) > maxUnderWay {
			return 0, false, nil // until something is acknowledged
		}
		if b.tokens < 1 {
			b.turn = (b.turn + len(b.flows) - 1) % len(b.flows) // it is its turn still
			return b.until(), false, nil
		}
		b.tokens--
		idle = -1
		if err := b.say(now, m); err != nil {
			f.room.unsend(m) // a resumed session may have it or not: twice is better, as those behind it are still to come
			return 0, false, err
		}
	}
	return 0, again, nil
}

// until returns how long it is until the rate allows a stanza.
func (b *Bridge) until() time.Duration {
	return time.Duration((1-b.tokens)/b.opt.Rate*float64(time.Second)) + time.Millisecond
}

func (b *Bridge) say(now time.Time, m *message) error {
	b.counters.sent.Add(1)
	if m.again {
		b.counters.repeated.Add(1)
	}
	m.sent, m.again, m.when = true, true, now
	b.underWay += len(m.stanza)
	return b.conn.Send(m.stanza)
}

// look finds rooms for a template; more reports that it has not looked at everything.
func (b *Bridge) look(ctx context.Context, t *template, now time.Time) (more bool, err error) {
	if t.sub == nil {
		if now.Before(t.retry) {
			return false, nil
		}
		t.retry = now.Add(resubscribe)
		if err := b.subscribeTemplate(t); err != nil {
			t.sub = nil
			b.counters.failed("withdrawn")
			b.log.Warn("the topics of a template may not be read any more", "rooms", t.Address, "err", err)
			return false, nil
		}
	}
	if t.idle.Load() {
		return false, nil
	}
	t.idle.Store(true) // first: who wakes from here on is heard
	switch p, st := t.sub.Next(); st {
	case hub.AtHead:
		return false, nil
	case hub.Lagging:
		t.sub.Fetch(ctx)
	case hub.Over:
		t.close()
		return false, nil
	case hub.HasBytes:
		for rest := p; len(rest) > 0; {
			var fr frame
			fr, rest = cutFrame(rest)
			b.find(t, &fr)
		}
		t.sub.Advance(len(p))
		b.saver.put(t.key, record{Room: t.Address, Position: t.sub.Position()}, true)
	}
	t.idle.Store(false)
	return true, nil
}

// DropNoRoom is the reason for which an event is dropped that a template has no room for.
const DropNoRoom = "no-room"

// find adds the room that an event is for.
func (b *Bridge) find(t *template, fr *frame) {
	var f found
	if err := json.Unmarshal(fr.body, &f); err != nil || f == (found{}) {
		b.drops.Add(DropNoRoom, 1, "rooms", t.Address, "position", fr.at)
		return
	}
	after := fr.at
	after.Offset--
	if err := b.discovered(t, record{Topic: f.Topic, Wiki: f.Wiki, Position: after}); err != nil {
		b.drops.Add(DropNoRoom, 1, "rooms", t.Address, "position", fr.at, "topic", f.Topic, "wiki", f.Wiki, "err", err)
	}
}

// flushed reports whether every room that the bridge is in, or about to be, has been told everything.
func (b *Bridge) flushed() bool {
	for _, t := range b.templates {
		if t.sub != nil && !t.idle.Load() {
			return false
		}
	}
	for _, f := range b.flows {
		if r := f.room; (r.state == in && r.failures == 0 || r.state == joining || r.state == configuring) && !f.done() {
			return false
		}
	}
	return true
}

// leave leaves the rooms.
func (b *Bridge) leave() {
	for _, r := range b.ordered {
		if r.leave() != nil {
			return // the connection has ended
		}
	}
}
