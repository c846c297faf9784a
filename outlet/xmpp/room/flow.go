package room

import (
	"maps"
	"slices"
	"sync/atomic"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	"tidings/xmpp/muc"
	"tidings/xmpp/service"
)

// flow is what an occupant is pushed: the room's events behind a position that pass the filter.
type flow struct {
	srv      *Server
	occ      *occupant
	actor    tidings.Actor
	begin    service.Mark
	audience string // of the occupant when it entered

	handle service.Handle // of a public one; set before Server.public has it
}

func (o *occupant) newFlow(after tidings.Position) *flow {
	s := o.visitor.srv
	return &flow{srv: s, occ: o, actor: o.actor, begin: wire.MarkOf(after), audience: s.opt.Audience(o.actor)}
}

// flowKey tells flows apart that may have different bytes.
type flowKey struct{ form, query, audience, actor string }

// Key implements service.Flow. A link reads once for all flows of a key, with the rights of one of them: those are who reads as
// everybody does, or an account with rights of its own, so that nobody is shown out because of another's.
func (f *flow) Key() any {
	k := flowKey{form: f.occ.room.form.key, query: f.occ.query.String(), audience: f.audience}
	if f.srv.opt.Link && f.audience != "" {
		k.actor = f.actor.String()
	}
	return k
}

func (f *flow) Mark() service.Mark { return f.begin }

func (f *flow) Open(after service.Mark) (*edge.Group, service.Source, error) {
	s := f.srv
	r := hub.Request{Query: f.occ.query, Actor: f.actor, Form: f.occ.room.form}
	if f.public() {
		r.Actor = tidings.Actor{}
	} else if s.opt.Audience(f.actor) != f.audience { // withdrawn while nobody read: a room of several topics would fall silent
		return nil, nil, errWithdrawn
	}
	g, src, err := wire.Open(s.opt.Hub, s.opt.Edge, r, after, f.occ.room.form.isGap)
	if err != nil {
		return nil, nil, err
	}
	l := &live{Source: src, srv: s, group: g}
	s.mu.Lock()
	s.lives[l] = struct{}{}
	s.mu.Unlock()
	return g, l, nil
}

var errWithdrawn = tidings.Errorf(tidings.ErrForbidden, "the permission to read this has been withdrawn")

// public reports whether the flow is read as everybody does, whoever the occupant is.
func (f *flow) public() bool { return f.srv.opt.Link && f.audience == "" }

// attach begins to push the occupant's flow.
func (o *occupant) attach() {
	f := o.flow
	o.handle = o.visitor.peer.Attach(f)
	if !f.public() {
		return
	}
	s := f.srv
	s.mu.Lock()
	f.handle = o.handle
	s.public[f] = struct{}{}
	s.mu.Unlock()
	s.recheck(f)
}

// unfollow forgets a flow that has ended.
func (s *Server) unfollow(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.public, f)
}

// Recheck shows those out who are read to as everybody is and may read something else by now. When it returns, nothing more of
// a room is written to them. It is for a change of rights, and does not block.
func (s *Server) Recheck() {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.public))
	s.mu.Unlock()
	for _, f := range all {
		s.recheck(f)
	}
}

func (s *Server) recheck(f *flow) {
	if s.opt.Audience(f.actor) == f.audience {
		return
	}
	s.mu.Lock()
	_, there := s.public[f]
	delete(s.public, f)
	s.mu.Unlock()
	if !there {
		return
	}
	f.handle.Detach()
	// On the goroutine that owns the peer.
	f.occ.visitor.peer.Attach(s.desk.Pause(func() { f.Ended(errWithdrawn) }))
}

// live is a source that ends, once it has given out what there is, when the server stops.
type live struct {
	service.Source
	srv     *Server
	group   *edge.Group
	idle    atomic.Bool // it had nothing to give out when it was last asked
	awaited bool        // by Stop; guarded by Server.mu
}

func (l *live) Next() ([]byte, edge.Status) {
	p, st := l.Source.Next()
	if l.srv.stopping.Load() {
		if st == edge.Idle {
			return nil, edge.Ended
		}
		l.release(false) // it has still to catch up, which may take it long
	}
	if idle := st == edge.Idle; idle != l.idle.Load() {
		l.idle.Store(idle)
	}
	return p, st
}

func (l *live) Close() {
	l.Source.Close()
	l.release(true)
}

// release says that Stop need not wait for the source any more, which is closed or not.
func (l *live) release(closed bool) {
	s := l.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if closed {
		delete(s.lives, l)
	}
	if !l.awaited {
		return
	}
	l.awaited = false
	if s.awaited--; s.awaited == 0 {
		close(s.out)
	}
}

// Ended shows the occupant out: because the server stops, because a right was withdrawn, or because the carrier has no place
// for the flow.
func (f *flow) Ended(err error) {
	o := f.occ
	if o.gone || o.flow != f {
		return // it has left, or has another flow
	}
	o.handle = nil
	code, reason := muc.StatusAffiliationLost, errWithdrawn.Error()
	switch {
	case err == nil && f.srv.stopping.Load():
		code, reason = muc.StatusShutdown, "The server is stopping, come back soon"
	case err != nil && tidings.KindOf(err) == 0:
		code, reason = muc.StatusTechnicalProblems, wire.Error(err).Text
		f.srv.drops.Add(DropFlow, 1, "room", o.room.jid, "visitor", o.visitor.peer.JID(), "err", err)
	default:
		if err != nil {
			reason = err.Error()
		}
		f.srv.drops.Add(DropRevoked, 1, "room", o.room.jid, "visitor", o.visitor.peer.JID())
	}
	o.visitor.showOut(o, code, reason)
}
