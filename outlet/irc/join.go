package irc

import (
	"context"
	"net/url"
	"regexp"
	"slices"
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
	x.later(&x.srv.lookups, func(ctx context.Context) func() {
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
