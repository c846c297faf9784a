package server

import (
	"context"
	"errors"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/sasl"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
)

// How long a connection that has to give way is waited for, before it is closed without a word. One whose session is resumed
// elsewhere is most likely dead.
const (
	patienceBind   = 2 * time.Second
	patienceResume = 300 * time.Millisecond
)

// bind makes a session with the resource, which may be empty, for who has authenticated. A session that has the resource is
// ended and waited for, so that services have seen it go when they see the new one (RFC 6120 section 7.7.2.2). It may block.
// Errors are of type *stanza.Error.
func (s *Server) bind(ctx context.Context, who sasl.Identity, bare jid.JID, resource string) (*Session, error) {
	if resource == "" {
		resource = stream.NewID()
	}
	full, err := bare.WithResource(resource)
	if err != nil || full.IsBare() {
		return nil, stanza.BadRequest("not a resource")
	}
	x := &Session{srv: s, jid: full, account: who.Account, anonymous: who.Anonymous()}
	for {
		old, err := s.register(x)
		if err != nil {
			return nil, err
		}
		if old == nil {
			return x, nil
		}
		old.Close(ReasonConflict, stream.NewError("conflict", "another connection has bound the resource"))
		if err := old.gone(ctx, patienceBind, ReasonConflict, func() bool { return old.over }); err != nil {
			return nil, stanza.Conflict("the resource is in use")
		}
	}
}

// register enters the session, or returns the one that is in its place.
func (s *Server) register(x *Session) (old *Session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return nil, stanza.NewError("resource-constraint", "the server stops")
	}
	bare := x.jid.Bare()
	all := s.sessions[bare]
	for _, y := range all {
		if y.jid == x.jid {
			return y, nil
		}
	}
	if len(all) >= s.opt.MaxResources || s.bound.Load() >= int64(s.opt.MaxSessions) {
		return nil, stanza.ResourceConstraint("too many sessions")
	}
	s.sessions[bare] = append(all, x)
	s.bound.Add(1)
	return nil, nil
}

// unbind removes the session.
func (s *Server) unbind(x *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bare := x.jid.Bare()
	all := s.sessions[bare]
	for i, y := range all {
		if y == x {
			all = append(append([]*Session(nil), all[:i]...), all[i+1:]...)
			s.bound.Add(-1)
			break
		}
	}
	if len(all) == 0 {
		delete(s.sessions, bare)
	} else {
		s.sessions[bare] = all
	}
	if x.sm != nil {
		delete(s.managed, x)
		if x.sm.id != "" {
			delete(s.ids, x.sm.id)
			s.expired.add(x.sm.id, past{x.account, x.sm.in})
		}
	}
}

// manage enters a session that has stream management now.
func (s *Server) manage(x *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.managed[x] = struct{}{}
	if x.sm.id != "" {
		s.ids[x.sm.id] = x
	}
}

// mayWait reports whether one more session may wait for resumption, and counts it.
func (s *Server) mayWait() bool {
	if s.closing.Load() {
		return false
	}
	if s.waits.Add(1) > int64(s.opt.MaxWaiting) {
		s.waits.Add(-1)
		return false
	}
	return true
}

var errNotFound = errors.New("server: no session to resume")

// claim returns the session with the previd for a new connection of who owns it; it is opening from then on. A connection that
// it has still is closed first. Where there is no such session any more, h is how many stanzas it had handled, if that is
// known. It may block.
func (s *Server) claim(ctx context.Context, who sasl.Identity, previd string) (x *Session, h uint32, known bool, err error) {
	s.mu.RLock()
	x = s.ids[previd]
	old, was := s.expired.get(previd)
	s.mu.RUnlock()
	if x == nil {
		known = was && old.account == who.Account
		return nil, old.in, known, errNotFound
	}
	if x.account != who.Account || x.anonymous != who.Anonymous() {
		return nil, 0, false, errNotFound
	}
	x.mu.Lock()
	l := x.carrier
	x.mu.Unlock()
	if l != nil {
		l.conn.Close(ReasonResumed, l.goodbye(stream.NewError("conflict", "the session is resumed by another connection")))
	}
	over := false
	err = x.gone(ctx, patienceResume, ReasonResumed, func() bool {
		over = x.state == ended || x.leaving != nil
		if !over && x.state == waiting {
			x.state = opening
			return true
		}
		return over
	})
	if err != nil {
		return nil, 0, false, err
	}
	if over {
		s.mu.RLock()
		old, was = s.expired.get(previd)
		s.mu.RUnlock()
		return nil, old.in, was, errNotFound
	}
	s.waits.Add(-1)
	return x, 0, false, nil
}

// gone waits until what it asks for, with mu held, is so; now and then it closes the session's connection without a word.
func (x *Session) gone(ctx context.Context, patience time.Duration, reason string, so func() bool) error {
	impatient := time.NewTicker(patience)
	defer impatient.Stop()
	for {
		x.mu.Lock()
		if so() {
			x.mu.Unlock()
			return nil
		}
		changed := x.await()
		x.mu.Unlock()
		select {
		case <-changed:
		case <-impatient.C:
			x.mu.Lock()
			l := x.carrier
			x.mu.Unlock()
			if l != nil {
				l.conn.Abort(reason)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiting takes the sessions that wait for resumption and that the function is true for, with their mu held: they are ended,
// and the caller calls finish.
func (s *Server) waiting(f func(x *Session) bool) []*Session {
	s.mu.RLock()
	all := make([]*Session, 0, len(s.managed))
	for x := range s.managed {
		all = append(all, x)
	}
	s.mu.RUnlock()
	due := all[:0]
	for _, x := range all {
		x.mu.Lock()
		if x.state == waiting && f(x) {
			x.state = ended
			s.waits.Add(-1)
			due = append(due, x)
		}
		x.mu.Unlock()
	}
	return due
}

// Seconds between two looks at sessions.
const (
	tick       = time.Second
	checkEvery = 5 // ticks between two looks at what is not acknowledged
)

// turn is one wheel for all sessions: it ends those that have waited too long, and has the others ask for acknowledgements.
func (s *Server) turn() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
			s.tick(n%checkEvery == 0)
		case <-s.nudged:
			s.tick(false)
		}
	}
}

// nudge has the wheel turn now: a session that waits is to end.
func (s *Server) nudge() {
	select {
	case s.nudged <- struct{}{}:
	default:
	}
}

func (s *Server) tick(check bool) {
	now := s.clock()
	for _, x := range s.waiting(func(x *Session) bool { return now >= x.expires }) {
		reason := ReasonExpired
		if x.leaving != nil {
			reason = x.leaving.reason
		}
		s.count(reason)
		x.finish()
	}
	s.mu.RLock()
	var late []*webSocket
	for w := range s.sockets {
		if now >= w.deadline {
			late = append(late, w)
		}
	}
	var owing []*Session
	if check {
		for x := range s.managed {
			if x.unsure.Load() {
				owing = append(owing, x)
			}
		}
	}
	s.mu.RUnlock()
	for _, w := range late {
		w.timeout()
	}
	for _, x := range owing {
		x.mu.Lock()
		l := x.carrier
		x.mu.Unlock()
		if l != nil {
			l.do(func() { x.check(l) })
		}
	}
}

// past is what is remembered of a session that has ended.
type past struct {
	account string
	in      uint32
}

// expired remembers the last sessions that could have been resumed, by previd, so that a client that comes too late learns
// which of its stanzas were handled (XEP-0198 section 5).
type expired struct {
	m     map[string]past
	order []string
	next  int
}

// maxExpired is how many there are of them.
const maxExpired = 4096

func (e *expired) add(id string, p past) {
	if e.m == nil {
		e.m = map[string]past{}
	}
	if len(e.order) < maxExpired {
		e.order = append(e.order, id)
	} else {
		delete(e.m, e.order[e.next])
		e.order[e.next] = id
		e.next = (e.next + 1) % maxExpired
	}
	e.m[id] = p
}

func (e *expired) get(id string) (past, bool) {
	p, ok := e.m[id]
	return p, ok
}
