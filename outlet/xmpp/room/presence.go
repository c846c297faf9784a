package room

import (
	"slices"

	"tidings"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	"tidings/outlet/xmpp/requests"
	"tidings/xmpp/jid"
	"tidings/xmpp/muc"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// visitor is a peer that is in rooms or waits for something. Its fields belong to the goroutine that owns the peer.
type visitor struct {
	srv       *Server
	peer      service.Peer
	occupants []*occupant
	requests.Queue
}

// Peer, Begin and End implement requests.Client.
func (v *visitor) Peer() service.Peer { return v.peer }
func (v *visitor) Begin()             {}
func (v *visitor) End()               { v.settle() }

// occupant is a visitor in one room.
type occupant struct {
	visitor *visitor
	room    *room
	self    jid.JID // the address in the room
	actor   tidings.Actor
	query   hub.Query
	flow    *flow
	handle  service.Handle // nil when the flow has ended by itself
	gone    bool
}

// visitor returns what is known of the peer, nil if it is in no room.
func (s *Server) visitor(p service.Peer) *visitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.visitors[p]
}

// welcome is visitor for a peer that enters a room.
func (s *Server) welcome(p service.Peer) *visitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.visitors[p]
	if v == nil {
		v = &visitor{srv: s, peer: p}
		s.visitors[p] = v
	}
	return v
}

// settle forgets a visitor who is nowhere and waits for nothing.
func (v *visitor) settle() {
	if len(v.occupants) > 0 || v.Waiting() || v.Closed() {
		return
	}
	v.srv.mu.Lock()
	delete(v.srv.visitors, v.peer)
	v.srv.mu.Unlock()
}

// in returns the occupant that the visitor is in a room, nil if it is not there. A nil visitor is nowhere.
func (v *visitor) in(local string) *occupant {
	if v == nil {
		return nil
	}
	for _, o := range v.occupants {
		if o.room.local == local {
			return o
		}
	}
	return nil
}

// entrance is a presence that was sent to a room, without what is valid during the call only.
type entrance struct {
	st     stanza.Stanza // without its element
	join   muc.Join
	muc    bool   // it has the element of a join
	filter string // what is asked for beside
	shown  []byte // show and status
}

// presence handles a presence sent to the service.
func (s *Server) presence(p service.Peer, st *stanza.Stanza) {
	v := s.visitor(p)
	local := st.To.Local()
	switch st.Type {
	case stanza.TypeAvailable, stanza.TypeUnavailable, stanza.TypeError:
	case stanza.TypeSubscribe:
		p.Send(requests.AppendUnsubscribed(nil, st))
		return
	default:
		return
	}
	if local == "" {
		return // the service is told what it did not ask for
	}
	e := newEntrance(st)
	if v != nil && v.Waiting() { // in the order in which they came
		s.desk.Add(v, requests.Job{
			Finish: func(done func()) { s.handle(p, v, e, done) },
			Refuse: func(err error) { s.refuse(p, e, err) },
		})
		return
	}
	s.handle(p, v, e, func() {})
}

func newEntrance(st *stanza.Stanza) *entrance {
	e := &entrance{st: *st}
	e.join, e.muc = muc.ParseJoin(st)
	x := st.Element.Child(muc.NS, "x")
	if f := x.Child(wire.NS, "filter"); !f.IsZero() {
		e.filter = f.Text()
	}
	for _, name := range [...]string{"show", "status"} {
		if c := st.Child(name); !c.IsZero() && len(c.Raw()) <= maxShown {
			e.shown = c.AppendXML(e.shown, "jabber:client")
		}
	}
	e.st.Element = stanza.Stanza{}.Element
	return e
}

// maxShown bounds what is sent back of a visitor's show and status, in bytes each.
const maxShown = 1024

// handle does what a presence asks for, and calls done when it is done. v is nil for a peer that is nowhere.
func (s *Server) handle(p service.Peer, v *visitor, e *entrance, done func()) {
	o := v.in(e.st.To.Local())
	switch {
	case e.st.Type == stanza.TypeError: // what the room sent did not arrive
		if o != nil {
			v.bounced(o)
		}
	case e.st.Type == stanza.TypeUnavailable:
		if o != nil {
			v.leave(o, e.shown)
		}
	case e.st.To.IsBare():
		s.refuse(p, e, stanza.JIDMalformed("a room is entered under a nickname, as in "+e.st.To.String()+"/nickname"))
	case o == nil || e.muc && e.st.To.Resource() == o.self.Resource():
		s.enterRoom(p, e)
	case e.st.To.Resource() != o.self.Resource() && e.st.To.Resource() != s.opt.Bot:
		v.rename(o, e)
	default:
		p.Send(o.presence(nil, e, muc.StatusSelf))
	}
	done()
}

// refuse answers a presence with an error, which has the element of a join: clients know a refused one by it.
func (s *Server) refuse(p service.Peer, e *entrance, err error) {
	b := stanza.AppendStart(nil, stanza.Presence, stanza.TypeError, e.st.ID, e.st.To, e.st.From)
	b = append(b, "<x xmlns='"+muc.NS+"'/>"...)
	p.Send(stanza.AppendEnd(wire.Error(err).Append(b), stanza.Presence))
}

// visitorItem is what everybody is but the bot.
var (
	visitorItem = muc.Item{Affiliation: muc.None, Role: muc.Visitor}
	goneItem    = muc.Item{Affiliation: muc.None, Role: muc.None}
	botItem     = muc.Item{Affiliation: muc.Owner, Role: muc.Moderator}
)

// presence appends the occupant's own presence. e may be nil.
func (o *occupant) presence(dst []byte, e *entrance, codes ...int) []byte {
	id := ""
	if e != nil {
		id = e.st.ID
	}
	dst = stanza.AppendStart(dst, stanza.Presence, "", id, o.self, o.visitor.peer.JID())
	if e != nil {
		dst = append(dst, e.shown...)
	}
	return stanza.AppendEnd(muc.AppendUser(dst, &visitorItem, codes...), stanza.Presence)
}

// unavailable appends the presence with which the occupant leaves.
func (o *occupant) unavailable(dst []byte, shown []byte, item *muc.Item, codes ...int) []byte {
	dst = stanza.AppendStart(dst, stanza.Presence, stanza.TypeUnavailable, "", o.self, o.visitor.peer.JID())
	dst = append(dst, shown...)
	return stanza.AppendEnd(muc.AppendUser(dst, item, codes...), stanza.Presence)
}

// rename gives an occupant another nick (XEP-0045 section 7.6). Nobody else sees it, so there is no conflict.
func (v *visitor) rename(o *occupant, e *entrance) {
	item := visitorItem
	item.Nick = e.st.To.Resource()
	b := o.unavailable(nil, nil, &item, muc.StatusNickChange, muc.StatusSelf)
	o.self = e.st.To
	v.peer.Send(o.presence(b, e, muc.StatusSelf))
}

// leave takes an occupant out of its room, as it asked.
func (v *visitor) leave(o *occupant, shown []byte) {
	v.forget(o)
	v.peer.Send(o.unavailable(nil, shown, &goneItem, muc.StatusSelf))
	v.settle()
}

// showOut takes an occupant out of its room and says why.
func (v *visitor) showOut(o *occupant, code int, reason string) {
	item := goneItem
	item.Reason = reason
	v.forget(o)
	v.peer.Send(o.unavailable(nil, nil, &item, muc.StatusSelf, code))
	v.settle()
}

// bounced takes an occupant out of its room whose address takes no messages any more.
func (v *visitor) bounced(o *occupant) {
	v.srv.drops.Add(DropBounced, 1, "room", o.room.jid, "visitor", v.peer.JID())
	v.showOut(o, muc.StatusTechnicalProblems, "Messages to you came back")
}

// forget takes an occupant out of its room without a word.
func (v *visitor) forget(o *occupant) {
	if o.gone {
		return
	}
	o.gone = true
	if o.handle != nil {
		o.handle.Detach()
	}
	v.srv.unfollow(o.flow)
	v.occupants = slices.DeleteFunc(v.occupants, func(other *occupant) bool { return other == o })
	v.srv.leave(o.room)
	v.srv.inside.Add(-1)
}
