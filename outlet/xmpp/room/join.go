package room

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/xmpp/requests"
	"tidings/xmpp/muc"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// wish is a join, and what it comes to.
type wish struct {
	e     *entrance
	room  *room
	actor tidings.Actor
	query hub.Query
	after tidings.Position // where the flow begins
	past  []stored
}

// enterRoom lets a peer in. It waits for the journal unless the room is known to exist and nothing of it is asked for.
func (s *Server) enterRoom(p service.Peer, e *entrance) {
	w := &wish{e: e, actor: requests.ActorOf(p, s.opt.Link)}
	v := s.welcome(p)
	seat := func(done func()) { s.seat(v, w, done) }
	if e.join.History.None() && e.filter == "" && e.join.Password == "" {
		if t, sure, err := s.lookup(w.actor, e.st.To.Local()); sure && err == nil {
			w.room, w.query = s.roomOf(t), hub.Query{Patterns: t.patterns, Filter: t.filter}
			w.after = s.opt.Hub.Head()
			s.desk.First(v, requests.Job{Finish: seat})
			return
		}
	}
	s.desk.First(v, requests.Job{
		Prepare: func(ctx context.Context) error { return s.prepare(ctx, w) },
		Finish:  seat,
		Refuse:  func(err error) { s.refuse(p, e, err) },
	})
}

// prepare finds out everything that the journal, a token or a filter has to be asked for.
func (s *Server) prepare(ctx context.Context, w *wish) error {
	local := w.e.st.To.Local()
	t, err := s.find(ctx, w.actor, local)
	if err != nil {
		if w.e.join.Password == "" || tidings.KindOf(err) != tidings.ErrUnauthenticated && tidings.KindOf(err) != tidings.ErrForbidden {
			return err
		}
		// The password of a private room is a token.
		if w.actor, err = s.opt.Authenticate(w.e.join.Password); err != nil {
			return err
		}
		if t, err = s.find(ctx, w.actor, local); err != nil {
			return err
		}
	} else if t.topic == "" && w.e.join.Password != "" {
		// A room of several topics, of which a token may open more. What is no token is a filter, or nothing.
		if a, err := s.opt.Authenticate(w.e.join.Password); err == nil {
			w.actor = a
		}
	}
	text := w.e.filter
	if text == "" && strings.Contains(w.e.join.Password, "=") {
		text = w.e.join.Password
	}
	values, err := parseFilter(text)
	if err != nil {
		return err
	}
	since := values.Get("since")
	values.Del("since")
	filter, err := outlet.Filter(values)
	if err != nil {
		return err
	}
	w.query = hub.Query{Patterns: t.patterns, Filter: hub.All(t.filter, filter)}
	w.room = s.roomOf(t)
	if since != "" {
		w.after, err = s.since(ctx, since)
	} else {
		w.past, w.after, err = s.history(ctx, w, filter == nil)
	}
	return err
}

// seat makes the visitor an occupant and sends it what a room begins with (XEP-0045 section 7.2.2).
func (s *Server) seat(v *visitor, w *wish, done func()) {
	o := v.in(w.e.st.To.Local())
	if o == nil {
		if len(v.occupants) >= maxRooms {
			s.refuse(v.peer, w.e, tidings.Errorf(tidings.ErrRateLimited, "you are in %d rooms already, which is as many as may be", maxRooms))
			done()
			return
		}
		o = &occupant{visitor: v, room: s.enter(w.room)}
		v.occupants = append(v.occupants, o)
		s.inside.Add(1)
	} else if o.handle != nil { // it has lost sight of where it is, and enters anew
		o.handle.Detach()
		o.handle = nil
		s.unfollow(o.flow)
	}
	s.joins.Add(1)
	o.self, o.actor, o.query = w.e.st.To, w.actor, w.query
	o.flow = o.newFlow(w.after)
	codes := []int{muc.StatusSelf}
	if o.self.Resource() == s.opt.Bot {
		o.self, _ = o.self.WithResource(s.opt.Bot + "_") // as good a nick as the bot's
		codes = append(codes, muc.StatusNick)
	}
	to := v.peer.JID()
	b := stanza.AppendStart(nil, stanza.Presence, "", "", o.room.bot, to)
	b = stanza.AppendEnd(muc.AppendUser(b, &botItem), stanza.Presence)
	b = o.presence(b, w.e, codes...)
	b = appendTo(b, to, bounded(w.past, w.e.join.History))
	s.desk.Send(v, muc.AppendSubject(b, o.room.bot, to, "", s.subject(o)))
	o.attach()
	s.desk.Taken(v, done)
}

// subject is what a room is about.
func (s *Server) subject(o *occupant) string {
	if o.query.Filter == nil || o.room.filter != nil {
		return o.room.title
	}
	return o.room.title + " that pass " + oneLine(o.query.Filter.String())
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// byField is a filter as a query string has it; anything else is an expression, in which no single = can stand.
var byField = regexp.MustCompile(`^[\w.$-]+=([^=]|$)`)

// parseFilter reads field=value&field=value, or an expression.
func parseFilter(s string) (url.Values, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return url.Values{}, nil
	}
	if !byField.MatchString(s) {
		return url.Values{"filter": {s}}, nil
	}
	v, err := url.ParseQuery(s)
	if err != nil {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter %q is not of the form field=value&field=value: %w", s, err)
	}
	return v, nil
}

// since returns the position that a filter's since names.
func (s *Server) since(ctx context.Context, text string) (tidings.Position, error) {
	if p, err := tidings.ParsePosition(text); err == nil {
		return p, nil
	}
	t, err := outlet.ParseTime(text)
	if err != nil {
		return tidings.Position{}, tidings.Errorf(tidings.ErrInvalid, "since=%s is neither a position such as 5f3a9c01-1042 nor a time such as 2026-01-31T12:00:00Z", text)
	}
	return outlet.AtTime(ctx, s.opt.Hub, t)
}

// Bounds of the history that a join brings.
const (
	defaultHistory = 20
	maxHistory     = 100
	maxPastBytes   = 32 << 10
)

// history returns what the join is to begin with, the oldest first, and the position up to which that is complete. whole is
// set if the room is read without a filter of the visitor's own.
func (s *Server) history(ctx context.Context, w *wish, whole bool) ([]stored, tidings.Position, error) {
	h := w.e.join.History
	if h.None() {
		return nil, s.opt.Hub.Head(), nil
	}
	from := h.From(time.Now())
	n := defaultHistory
	if !from.IsZero() {
		n = maxHistory
	}
	if h.MaxStanzas >= 0 {
		n = min(h.MaxStanzas, maxHistory)
	}
	var messages []stored
	var upTo tidings.Position
	var err error
	if whole && n <= defaultHistory {
		messages, upTo, err = s.latest(ctx, w)
		messages = messages[max(0, len(messages)-n):]
	} else {
		var items []*hub.Item
		items, upTo, err = s.opt.Hub.Latest(ctx, w.query, w.actor, n)
		messages = w.room.store(items)
	}
	if err != nil {
		return nil, upTo, err
	}
	if !from.IsZero() {
		after, err := outlet.AtTime(ctx, s.opt.Hub, from)
		if err != nil {
			return nil, upTo, err
		}
		for len(messages) > 0 && messages[0].at.Offset <= after.Offset {
			messages = messages[1:]
		}
	}
	return messages, upTo, nil
}

// readOn is how far behind the head what is known of a room's end may be for it to be read on from there.
const readOn = 1024

// latest returns the last events of a room. What it has found is kept, so that many who join at once cost one reading.
func (s *Server) latest(ctx context.Context, w *wish) ([]stored, tidings.Position, error) {
	h, p := s.opt.Hub, &w.room.past
	audience := s.opt.Audience(w.actor)
	p.mu.Lock()
	defer p.mu.Unlock()
	head := h.Head()
	if p.upTo.Epoch != head.Epoch || p.audience != audience || p.upTo.Offset > head.Offset || head.Offset-p.upTo.Offset > readOn {
		items, upTo, err := h.Latest(ctx, w.query, w.actor, defaultHistory)
		if err != nil {
			return nil, upTo, err
		}
		p.messages, p.upTo, p.audience = w.room.store(items), upTo, audience
	}
	for p.upTo.Offset < head.Offset {
		items, next, _, err := h.Read(ctx, w.query, w.actor, p.upTo, defaultHistory)
		if err != nil {
			p.upTo = tidings.Position{} // to be read anew
			return nil, head, err
		}
		all := slices.Concat(p.messages, w.room.store(items))
		p.messages, p.upTo = slices.Clone(all[max(0, len(all)-defaultHistory):]), next
	}
	return p.messages, p.upTo, nil
}

// bounded returns the last of the messages that the join's bounds leave.
func bounded(messages []stored, h muc.History) []stored {
	bound := maxPastBytes
	if h.MaxChars >= 0 {
		bound = min(bound, h.MaxChars)
	}
	const head = len("<message to=''")
	size := 0
	for i := len(messages) - 1; i >= 0; i-- {
		if size += head + len(messages[i].message); size > bound {
			return messages[i+1:]
		}
	}
	return messages
}
