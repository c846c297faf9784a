package room

import (
	"context"
	"strconv"

	"tidings"
	"tidings/hub"
	wire "tidings/outlet/xmpp"
	"tidings/outlet/xmpp/requests"
	"tidings/xmpp/dataform"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/muc"
	"tidings/xmpp/rsm"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

const nsSID = "urn:xmpp:sid:0" // XEP-0359

// request is an IQ that is answered, without what is valid during the call only.
type request struct {
	srv  *Server
	peer service.Peer
	st   stanza.Stanza

	begun bool // it has had its turn in the queue, and goes on in it
}

func (r *request) result(payload []byte) { r.peer.Send(r.st.AppendResult(nil, payload)) }
func (r *request) fail(err error)        { r.peer.Send(r.st.AppendError(nil, wire.Error(err))) }

var errUnserved = stanza.ServiceUnavailable()

// iq answers an IQ sent to the service.
func (s *Server) iq(p service.Peer, st *stanza.Stanza) {
	if !st.Request() {
		return
	}
	r := &request{srv: s, peer: p, st: *st}
	r.st.Element = xmlstream.Element{}
	payload, get := st.Payload(), st.Type == stanza.TypeGet
	switch {
	case st.To.Local() == "" && !st.To.IsBare():
		r.fail(errUnserved)
	case st.To.Local() == "":
		s.serviceIQ(r, payload, get)
	case st.To.IsBare():
		s.roomIQ(r, payload, get)
	default:
		s.occupantIQ(r, payload, get)
	}
}

func (s *Server) serviceIQ(r *request, payload xmlstream.Element, get bool) {
	switch node := payload.Attr("node"); {
	case !get:
		r.fail(errUnserved)
	case payload.Is(disco.NSInfo, "query") || payload.Is(disco.NSItems, "query"):
		if node != "" {
			r.fail(stanza.ItemNotFound("the service has no such node"))
			return
		}
		if payload.Space() == disco.NSInfo {
			r.result((&disco.Info{
				Identities: []disco.Identity{{Category: "conference", Type: "text", Name: "Rooms of what is published"}},
				Features:   []string{disco.NSInfo, disco.NSItems, muc.NS, rsm.NS, requests.NSPing, requests.NSVersion, requests.NSTime},
			}).Append(nil))
			return
		}
		s.listRooms(r, payload)
	default:
		s.about(r, payload)
	}
}

// about answers what the service and the bot are asked alike.
func (s *Server) about(r *request, payload xmlstream.Element) {
	if answer, ok := requests.About(payload, s.opt.Version); ok {
		r.result(answer)
	} else {
		r.fail(errUnserved)
	}
}

// listRooms answers disco#items with the rooms, by pages (XEP-0059).
func (s *Server) listRooms(r *request, payload xmlstream.Element) {
	page, err := rsm.Parse(rsm.Find(payload))
	if err != nil {
		r.fail(err)
		return
	}
	actor := requests.ActorOf(r.peer, s.opt.Link)
	var rooms []target
	s.later(r, func(ctx context.Context) (err error) {
		rooms, err = s.list(ctx, actor)
		return err
	}, func(done func()) {
		names := make([]string, len(rooms))
		for i, t := range rooms {
			names[i] = t.local
		}
		from, to, err := slice(names, page, maxList)
		if err != nil {
			r.fail(err)
			done()
			return
		}
		items := make([]disco.Item, 0, to-from)
		for _, t := range rooms[from:to] {
			j, err := jid.New(t.local, s.opt.Domain, "")
			if err != nil {
				continue // names judges them; none is left out
			}
			items = append(items, disco.Item{JID: j, Name: t.title})
		}
		res := rsm.Result{Index: from, Count: len(rooms)}
		if from < to {
			res.First, res.Last = names[from], names[to-1]
		}
		v := s.welcome(r.peer)
		s.desk.Send(v, r.st.AppendResult(nil, disco.AppendItems(nil, "", items, res.Append)))
		s.desk.Taken(v, done)
	})
}

// slice returns the bounds of a page of a list of sorted names, which are their own ids.
func slice(names []string, page rsm.Request, most int) (from, to int, err error) {
	find := func(name string) (int, error) {
		for i, n := range names {
			if n == name {
				return i, nil
			}
		}
		return 0, stanza.ItemNotFound("the list has no " + name)
	}
	n := most
	if page.Max >= 0 {
		n = min(n, page.Max)
	}
	to = len(names)
	if page.After != "" {
		if from, err = find(page.After); err != nil {
			return 0, 0, err
		}
		from++
	}
	if page.Index >= 0 {
		from = min(page.Index, len(names))
	}
	if page.Backward {
		if page.Before != "" {
			if to, err = find(page.Before); err != nil {
				return 0, 0, err
			}
		}
		from = max(from, to-n)
	}
	return from, max(from, min(to, from+n)), nil
}

// later puts a request that waits for the journal into the queue of its peer.
func (s *Server) later(r *request, prepare func(ctx context.Context) error, finish func(done func())) {
	j := requests.Job{Prepare: prepare, Finish: finish, Refuse: r.fail}
	if v := s.welcome(r.peer); r.begun {
		s.desk.First(v, j)
	} else {
		s.desk.Add(v, j)
	}
}

// asked is what a request says of a room: what its peer reads there.
type asked struct {
	room  *room
	actor tidings.Actor
	query hub.Query
}

// withRoom calls f with the room that a request is sent to, after asking the journal where it is not known to exist.
func (s *Server) withRoom(r *request, f func(*asked)) {
	a := &asked{actor: requests.ActorOf(r.peer, s.opt.Link)}
	if o := s.visitor(r.peer).in(r.st.To.Local()); o != nil {
		a.room, a.actor, a.query = o.room, o.actor, o.query
		f(a)
		return
	}
	t, sure, err := s.lookup(a.actor, r.st.To.Local())
	if err != nil {
		r.fail(err)
		return
	}
	ask := func(t target) {
		a.room, a.query = s.roomOf(t), hub.Query{Patterns: t.patterns, Filter: t.filter}
		f(a)
	}
	if sure {
		ask(t)
		return
	}
	s.later(r, func(ctx context.Context) (err error) {
		t, err = s.find(ctx, a.actor, r.st.To.Local())
		return err
	}, func(done func()) {
		r.begun = true
		ask(t)
		done()
	})
}

func (s *Server) roomIQ(r *request, payload xmlstream.Element, get bool) {
	node := payload.Attr("node")
	switch {
	case payload.Space() == muc.NSOwner || payload.Space() == muc.NSAdmin:
		s.withRoom(r, func(*asked) { r.fail(stanza.Forbidden("rooms are configured by the server's administrator")) })
	case get && payload.Is(disco.NSInfo, "query"):
		s.withRoom(r, func(a *asked) { s.roomInfo(r, a, node) })
	case get && payload.Is(disco.NSItems, "query"):
		s.withRoom(r, func(a *asked) {
			if node != "" {
				r.fail(stanza.ItemNotFound("the room has no such node"))
				return
			}
			r.result(disco.AppendItems(nil, "", []disco.Item{{JID: a.room.bot}}, nil))
		})
	case get && payload.Is(requests.NSPing, "ping"):
		s.withRoom(r, func(*asked) { r.result(nil) })
	case get && payload.Is(mam.NS, "query"):
		s.withRoom(r, func(*asked) { r.result(mam.AppendFields(nil)) })
	case get && payload.Is(mam.NS, "metadata"):
		s.withRoom(r, func(a *asked) { s.metadata(r, a) })
	case !get && payload.Is(mam.NS, "query"):
		q, err := mam.ParseQuery(payload)
		if err == nil && q.Node != "" {
			err = stanza.ItemNotFound("the room has no such node")
		}
		if err != nil {
			r.fail(err)
			return
		}
		s.withRoom(r, func(a *asked) { s.archive(r, a, q) })
	default:
		r.fail(errUnserved)
	}
}

// roomInfo answers disco#info of a room (XEP-0045 section 6.4).
func (s *Server) roomInfo(r *request, a *asked, node string) {
	switch node {
	case "":
	case muc.NickNode: // nobody has registered a nickname
		r.result(disco.AppendInfoQuery(nil, node))
		return
	default:
		r.fail(stanza.ItemNotFound("the room has no such node"))
		return
	}
	open, access := "muc_public", "muc_unsecured"
	if s.may(tidings.Actor{}, a.room.target) != nil {
		open, access = "muc_hidden", "muc_passwordprotected"
	}
	form := dataform.New(dataform.TypeResult, muc.NSRoomInfo).
		Add("muc#roomconfig_roomname", dataform.TextSingle, a.room.title).
		Add("muc#roominfo_description", dataform.TextSingle, a.room.title).
		Add("muc#roominfo_subject", dataform.TextSingle, a.room.title).
		Add("muc#roominfo_subjectmod", dataform.Boolean, "0").
		Add("muc#roominfo_lang", dataform.TextSingle, "en").
		Add("muc#roominfo_occupants", dataform.TextSingle, strconv.Itoa(s.occupantsOf(a.room.local))).
		Add("muc#maxhistoryfetch", dataform.TextSingle, strconv.Itoa(maxHistory))
	r.result((&disco.Info{
		Identities: []disco.Identity{{Category: "conference", Type: "text", Name: a.room.title}},
		Features: []string{disco.NSInfo, disco.NSItems, muc.NS, muc.NSStableID, muc.NSSelfPing, open, "muc_persistent", "muc_open",
			"muc_moderated", "muc_semianonymous", access, mam.NS, mam.NSExtended, nsSID, requests.NSPing},
		Forms: []*dataform.Form{form},
	}).Append(nil))
}

// occupantIQ answers what is asked of somebody in a room: of the bot, or of oneself.
func (s *Server) occupantIQ(r *request, payload xmlstream.Element, get bool) {
	o := s.visitor(r.peer).in(r.st.To.Local())
	switch {
	case o == nil: // as XEP-0410 section 3.3 has it
		r.fail(stanza.NotAcceptable("you are not in this room").WithType(stanza.Cancel))
	case r.st.To != o.self && r.st.To != o.room.bot:
		r.fail(stanza.ItemNotFound("nobody of that nickname is here"))
	case r.st.To == o.self && get && payload.Is(requests.NSPing, "ping"):
		r.result(nil)
	case r.st.To == o.room.bot && get && payload.Is(disco.NSInfo, "query"):
		r.result((&disco.Info{
			Node:       payload.Attr("node"),
			Identities: []disco.Identity{{Category: "client", Type: "bot", Name: s.opt.Bot}},
			Features:   []string{disco.NSInfo, requests.NSPing, requests.NSVersion, requests.NSTime},
		}).Append(nil))
	case r.st.To == o.room.bot && get:
		s.about(r, payload)
	default:
		r.fail(errUnserved)
	}
}
