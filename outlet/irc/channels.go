package irc

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"tidings"
	wire "tidings/irc"
	"tidings/outlet"
)

// enter returns the channel, which it makes if nobody is on it.
func (s *Server) enter(t target) *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(t.name)
	c := s.channels[k]
	if c == nil {
		c = &channel{target: t}
		s.channels[k] = c
	}
	c.readers++
	return c
}

func (s *Server) leave(c *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.readers--; c.readers == 0 {
		delete(s.channels, key(c.name))
	}
}

// lookup finds a channel without waiting: sure is set if it exists, because somebody is on it or by configuration. If it
// is not, resolve has to be asked. The error says that no channel has that name, or that the reader may not read it.
func (s *Server) lookup(a tidings.Actor, name string) (t target, sure bool, err error) {
	s.mu.Lock()
	if c := s.channels[key(name)]; c != nil {
		t, sure = c.target, true
	}
	s.mu.Unlock()
	if sure {
		return t, true, s.may(a, t)
	}
	ts, sure := s.names.candidates(name)
	if len(ts) == 0 {
		return t, false, noSuchChannel()
	}
	if sure {
		return ts[0], true, s.may(a, ts[0])
	}
	return t, false, nil
}

func noSuchChannel() error { return tidings.Errorf(tidings.ErrNotFound, "No such channel") }

// may judges whether the reader may read the topic of a channel. Of a channel that is a pattern everybody reads what they
// may.
func (s *Server) may(a tidings.Actor, t target) error {
	if t.topic == "" {
		return nil
	}
	return s.opt.May(a, tidings.ReadAction, t.topic)
}

// manyLookups is from how many on all wikis are asked for at once.
const manyLookups = 16

// resolve fills in what the journal knows of the wishes.
func (s *Server) resolve(ctx context.Context, a tidings.Actor, wishes []*wish) {
	exists := func(t tidings.Topic) (bool, error) {
		ts, err := s.opt.Topics(ctx, tidings.PatternOf(t))
		return len(ts) > 0, err
	}
	if len(wishes) >= manyLookups {
		wikis, err := s.opt.Topics(ctx, tidings.MustPattern(wikiTopics+"*"))
		one := exists
		exists = func(t tidings.Topic) (bool, error) {
			if strings.HasPrefix(string(t), wikiTopics) && strings.Count(string(t), "/") == 2 {
				return slices.Contains(wikis, t), err
			}
			return one(t)
		}
	}
	for _, w := range wishes {
		if w.err == nil && len(w.to.patterns) == 0 {
			w.to, w.err = s.find(a, w.name, exists)
		}
		if w.err == nil {
			w.after, w.err = s.since(ctx, w.key)
		}
	}
}

// find returns the first thing that the channel may stand for, exists, and may be read.
func (s *Server) find(a tidings.Actor, name string, exists func(tidings.Topic) (bool, error)) (target, error) {
	ts, _ := s.names.candidates(name)
	denied := noSuchChannel()
	for _, t := range ts {
		// First, so that nobody learns what there is behind a private name.
		if err := s.may(a, t); err != nil {
			denied = err
			continue
		}
		switch ok, err := exists(t.topic); {
		case err != nil:
			return target{}, err
		case ok:
			return t, nil
		}
	}
	return target{}, denied
}

// since returns the position that a key names; zero if it names none.
func (s *Server) since(ctx context.Context, key string) (p tidings.Position, err error) {
	v, err := parseFilter(key)
	if err != nil || v.Get("since") == "" {
		return p, err
	}
	if p, err = tidings.ParsePosition(v.Get("since")); err == nil {
		return p, nil
	}
	t, err := outlet.ParseTime(v.Get("since"))
	if err != nil {
		return p, tidings.Errorf(tidings.ErrInvalid, "since=%s is neither a msgid such as 5f3a9c01-1042 nor a time such as 2026-01-31T12:00:00Z", v.Get("since"))
	}
	return outlet.AtTime(ctx, s.opt.Hub, t)
}

// withChannel calls f with what a channel stands for, after asking the journal where that is not known.
func (x *session) withChannel(name string, f func(target, error)) {
	t, sure, err := x.srv.lookup(x.actor, name)
	if sure || err != nil {
		f(t, err)
		return
	}
	w := &wish{name: name}
	x.later(&x.srv.lookups, func(ctx context.Context) func() {
		x.srv.resolve(ctx, x.actor, []*wish{w})
		return func() { f(w.to, w.err) }
	})
}

// topicText is the topic of a channel.
func (s *Server) topicText(t target) string {
	if t.topic != "" {
		return "Changes of " + string(t.topic) + " - for help: /msg " + s.opt.Bot + " help"
	}
	var texts []string
	for _, p := range t.patterns {
		texts = append(texts, p.String())
	}
	return "Changes of " + strings.Join(texts, " ") + " - for help: /msg " + s.opt.Bot + " help"
}

func (x *session) sayTopic(t target) {
	o := &x.srv.opt
	x.text(wire.RplTopic, x.nick, t.name, x.srv.topicText(t))
	x.send(wire.RplTopicWhoTime, x.nick, t.name, o.Bot, strconv.FormatInt(x.srv.created.Unix(), 10))
}

func (x *session) sayNames(channel string, member bool) {
	names := "@" + x.srv.opt.Bot
	if member {
		names = x.nick + " " + names
	}
	x.text(wire.RplNamReply, x.nick, "=", channel, names)
	x.text(wire.RplEndOfNames, x.nick, channel, "End of NAMES list")
}

func (x *session) topic(m *wire.Message) {
	name := m.Param(0)
	x.withChannel(name, func(t target, err error) {
		switch {
		case err != nil:
			x.refuse(name, err)
		case len(m.Params) > 1:
			x.text(wire.ErrChanOpNeeded, x.nick, t.name, "You're not channel operator")
		default:
			x.sayTopic(t)
		}
	})
}

// names is NAMES #a,#b. Of a channel that does not exist it says the end only (RFC 2812 section 3.2.5).
func (x *session) names(m *wire.Message) {
	if m.Param(0) == "" {
		x.text(wire.RplEndOfNames, x.nick, "*", "End of NAMES list")
		return
	}
	for name := range strings.SplitSeq(m.Param(0), ",") {
		if mem := x.on(name); mem != nil {
			x.sayNames(mem.ch.name, true)
			continue
		}
		if t, sure, err := x.srv.lookup(x.actor, name); sure && err == nil {
			x.sayNames(t.name, false)
			continue
		}
		x.text(wire.RplEndOfNames, x.nick, name, "End of NAMES list")
	}
}

// list is LIST [#a,#b]: the channels that exist and that the client may read.
func (x *session) list(m *wire.Message) {
	if !x.spend(historyCost, x.srv.clock.Load()) {
		return
	}
	x.later(&x.srv.reads, func(ctx context.Context) func() {
		ts, more, err := x.srv.all(ctx, x.actor, m.Param(0))
		return func() {
			x.text(wire.RplListStart, x.nick, "Channel", "Users Name")
			if err != nil {
				x.text(wire.RplTryAgain, x.nick, "LIST", oneLine(err))
			}
			for _, t := range ts {
				x.text(wire.RplList, x.nick, t.name, strconv.Itoa(x.srv.readers(t.name)+1), x.srv.topicText(t))
			}
			if more {
				x.notice("There are more channels than LIST shows: ask for one by its name, such as LIST #/news/local")
			}
			x.text(wire.RplListEnd, x.nick, "End of LIST")
			b := x.out
			x.out = nil
			x.bulk(b)
		}
	})
}

func (s *Server) readers(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channels[key(name)]; c != nil {
		return c.readers
	}
	return 0
}

// all returns the channels, those named or all of them, by name; more says that there are too many.
func (s *Server) all(ctx context.Context, a tidings.Actor, only string) (ts []target, more bool, err error) {
	if strings.HasPrefix(only, "#") {
		var wishes []*wish
		for name := range strings.SplitSeq(only, ",") {
			w := &wish{name: name}
			if t, sure, err := s.lookup(a, name); sure || err != nil {
				w.to, w.err = t, err
			}
			wishes = append(wishes, w)
		}
		s.resolve(ctx, a, wishes)
		for _, w := range wishes {
			if w.err == nil {
				ts = append(ts, w.to)
			}
		}
		return ts, false, nil
	}
	byName := map[string]target{}
	for _, t := range s.names.configured {
		if s.may(a, t) == nil {
			byName[key(t.name)] = t
		}
	}
	topics, err := s.opt.Topics(ctx, tidings.MustPattern("/**"))
	for _, t := range topics {
		tg := targetOf(s.names.channelOf(t), t)
		if _, ok := byName[key(tg.name)]; ok || !wire.ValidChannel(tg.name) || s.may(a, tg) != nil {
			continue
		}
		if len(byName) == maxList {
			more = true
			break
		}
		byName[key(tg.name)] = tg
	}
	for _, t := range byName {
		ts = append(ts, t)
	}
	slices.SortFunc(ts, func(a, b target) int { return strings.Compare(a.name, b.name) })
	return ts, more, err
}
