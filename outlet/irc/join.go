package irc

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tidings"
	"tidings/hub"
	wire "tidings/irc"
	"tidings/outlet"
)

// wish is a channel that a client wants to join.
type wish struct {
	name  string // as the client wrote it
	key   string
	to    target
	after tidings.Position // zero: from now on
	err   error
}

// join is JOIN #a,#b [key,key]. It waits for the journal if a channel is not known to exist, or for a time in a key.
func (x *session) join(m *wire.Message) {
	if m.Param(0) == "0" { // leave all (RFC 2812 section 3.2.1)
		for len(x.chans) > 0 {
			x.leave(x.chans[len(x.chans)-1], "")
		}
		return
	}
	keys := strings.Split(m.Param(1), ",")
	var wishes []*wish
	wait := false
	for i, name := range strings.Split(m.Param(0), ",") {
		if name == "" || x.on(name) != nil {
			continue
		}
		w := &wish{name: name}
		if i < len(keys) && strings.Contains(keys[i], "=") { // any other key is a password, of which there are none
			w.key = keys[i]
		}
		var sure bool
		w.to, sure, w.err = x.srv.lookup(x.actor, name)
		wait = wait || w.err == nil && (!sure || strings.Contains(w.key, "since="))
		wishes = append(wishes, w)
	}
	if !wait {
		x.joinAll(wishes)
		return
	}
	if !x.spend(len(wishes), x.srv.clock.Load()) {
		return
	}
	x.later(func(ctx context.Context) func() {
		x.srv.resolve(ctx, x.actor, wishes)
		return func() { x.joinAll(wishes) }
	})
}

func (x *session) joinAll(wishes []*wish) {
	for _, w := range wishes {
		if w.err == nil {
			w.err = x.enter(w)
		}
		if w.err != nil {
			x.refuse(w.name, w.err)
		}
		if x.leaving {
			return
		}
	}
}

// enter makes the client a member and sends it what a channel begins with. What is published from then on reaches it.
func (x *session) enter(w *wish) error {
	if x.on(w.to.name) != nil {
		return nil // two names of one channel
	}
	if len(x.chans) >= maxChannels {
		return tidings.Errorf(tidings.ErrRateLimited, "You have joined too many channels")
	}
	q, text, err := x.query(w.to, w.key)
	if err != nil {
		return err
	}
	if w.after.IsZero() {
		w.after = x.srv.opt.Hub.Head()
	}
	sub, err := outlet.Subscribe(x.srv.opt.Hub, x.srv.opt.Edge, hub.Request{After: w.after, Query: q, Actor: x.actor, Form: x.form(w.to.name)})
	if err != nil {
		return err
	}
	mem := &membership{ch: x.srv.enter(w.to), sub: sub, filter: q.Filter, text: text}
	x.chans = append(x.chans, mem)
	x.echo("JOIN", mem.ch.name)
	x.sayTopic(mem.ch.target)
	x.sayNames(mem.ch.name, true)
	if text != "" {
		x.notice("On " + mem.ch.name + " you get what passes " + text)
	}
	x.flush()
	mem.att = outlet.Attach(x.conn.Load(), sub)
	return nil
}

func (x *session) form(channel string) form {
	return form{srv: x.srv, channel: channel, withID: x.caps.Has(capTags), times: x.caps.Has(capTime)}
}

// query returns what a client reads on a channel, and its filter as text.
func (x *session) query(t target, key string) (hub.Query, string, error) {
	q := hub.Query{Patterns: t.patterns}
	values, err := parseFilter(key)
	if err != nil {
		return q, "", err
	}
	values.Del("since")
	if q.Filter, err = outlet.Filter(values); err != nil || q.Filter == nil {
		return q, "", err
	}
	text, err := url.QueryUnescape(values.Encode())
	return q, text, err
}

// byField is a filter as a query string has it; anything else is an expression, in which no single = can stand.
var byField = regexp.MustCompile(`^[\w.$-]+=([^=]|$)`)

// parseFilter reads field=value&field=value, or an expression.
func parseFilter(s string) (url.Values, error) {
	s = strings.TrimSpace(s)
	if s == "" || s == "*" {
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

// setFilter gives a channel that the client is on another filter, from the next line on, and says so; without one it
// says what the filter is.
func (x *session) setFilter(name, want string, say func(string)) {
	mem := x.on(name)
	if mem == nil {
		x.text(wire.ErrNotOnChannel, x.nick, name, "You're not on that channel")
		return
	}
	if strings.TrimSpace(want) == "" {
		if mem.text == "" {
			say("On " + mem.ch.name + " you get everything")
		} else {
			say("On " + mem.ch.name + " you get what passes " + mem.text)
		}
		return
	}
	q, text, err := x.query(mem.ch.target, want)
	if err != nil {
		say("The filter stays as it was: " + oneLine(err))
		return
	}
	x.flush()
	x.swap(mem, q.Filter, func(err error) {
		switch {
		case err != nil:
			say("The filter stays as it was: " + oneLine(err))
		case text == "":
			mem.text = ""
			say("On " + mem.ch.name + " you get everything from now on")
		default:
			mem.text = text
			say("On " + mem.ch.name + " you get from now on what passes " + text)
		}
		x.flush()
	})
}

// swap gives a membership another subscription in the place of the one it has, in the form the client has negotiated.
// told, if it is not nil, is called when that has been done, or has failed.
func (x *session) swap(mem *membership, filter hub.Filter, told func(error)) {
	h := x.srv.opt.Hub
	outlet.Swap(mem.att, func() *hub.Subscription {
		// A subscription that is at its end has been given everything up to the head, which its own position, that of
		// the last event it had, does not say.
		head, after := h.Head(), mem.sub.Position()
		_, st := mem.sub.Next()
		switch st {
		case hub.AtHead:
			after = head
		case hub.Over:
			return nil
		}
		sub, err := outlet.Subscribe(h, x.srv.opt.Edge, hub.Request{After: after, Query: hub.Query{Patterns: mem.ch.patterns, Filter: filter},
			Actor: x.actor, Form: x.form(mem.ch.name)})
		if err == nil {
			mem.sub, mem.filter = sub, filter
		}
		if told != nil {
			told(err)
		}
		return sub
	})
}

// part is PART #a,#b [reason].
func (x *session) part(m *wire.Message) {
	for name := range strings.SplitSeq(m.Param(0), ",") {
		mem := x.on(name)
		if mem == nil {
			x.text(wire.ErrNotOnChannel, x.nick, name, "You're not on that channel")
			continue
		}
		x.leave(mem, m.Param(1))
	}
}

func (x *session) leave(mem *membership, why string) {
	mem.att.Detach()
	x.chans = slices.DeleteFunc(x.chans, func(m *membership) bool { return m == mem })
	x.srv.leave(mem.ch)
	if why != "" {
		x.echo("PART", mem.ch.name, why)
	} else {
		x.echo("PART", mem.ch.name)
	}
}

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
	x.later(func(ctx context.Context) func() {
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
	x.later(func(ctx context.Context) func() {
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
