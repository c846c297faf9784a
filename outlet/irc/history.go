package irc

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/hub"
	wire "tidings/irc"
	"tidings/outlet"
)

// past is one CHATHISTORY command that has been read.
type past struct {
	sub      string   // LATEST, BEFORE, AFTER, AROUND, BETWEEN or TARGETS
	asked             // without patterns until the channel has been found
	from, to selector // to of BETWEEN and TARGETS only
	limit    int
	batch    string // its reference; empty for none
}

// asked is what a client reads on a channel.
type asked struct {
	channel string
	query   hub.Query
}

func askedOf(mem *membership) asked {
	return asked{mem.ch.name, hub.Query{Patterns: mem.ch.patterns, Filter: mem.filter}}
}

// selector names a place in the history of a channel: a message, a time, or, for LATEST, nothing.
type selector struct {
	position tidings.Position
	time     time.Time
	none     bool
}

// failure is an error in the words of standard-replies.
type failure struct {
	code    string
	context []string
	text    string
}

func (f *failure) Error() string { return f.text }

// chathistory is CHATHISTORY (draft/chathistory): a piece of the journal as a batch. It needs no capability: without
// batch the messages come as they are, and without message-tags they are asked for by time.
func (x *session) chathistory(m *wire.Message) {
	p, err := x.readPast(m)
	if err != nil {
		x.fail(m.Param(0), err)
		return
	}
	if !x.spend(historyCost, x.srv.clock.Load()) {
		return
	}
	if x.caps.Has(capBatch) {
		x.batches++
		p.batch = "h" + strconv.Itoa(x.batches)
	}
	if p.sub == "TARGETS" {
		var asked []asked
		for _, mem := range x.chans[:min(len(x.chans), maxTargetsAsked)] {
			asked = append(asked, askedOf(mem))
		}
		x.later(&x.srv.reads, func(ctx context.Context) func() {
			b := x.targets(ctx, p, asked)
			return func() { x.bulk(b) }
		})
		return
	}
	name := m.Param(1)
	if mem := x.on(name); mem != nil {
		p.asked = askedOf(mem)
	}
	x.later(&x.srv.reads, func(ctx context.Context) func() {
		b, err := x.recall(ctx, name, p)
		return func() {
			if err != nil {
				x.fail(p.sub, err)
			}
			x.bulk(b)
		}
	})
}

// readPast reads the parameters.
func (x *session) readPast(m *wire.Message) (*past, error) {
	p := &past{sub: strings.ToUpper(m.Param(0))}
	selectors, ok := map[string]int{"LATEST": 1, "BEFORE": 1, "AFTER": 1, "AROUND": 1, "BETWEEN": 2, "TARGETS": 2}[p.sub]
	want := selectors + 3
	if p.sub == "TARGETS" {
		want--
	}
	switch {
	case p.sub == "":
		return nil, &failure{"NEED_MORE_PARAMS", nil, "Missing parameters"}
	case !ok:
		return nil, &failure{"UNKNOWN_COMMAND", []string{p.sub}, "Unknown subcommand"}
	case len(m.Params) < want:
		return nil, &failure{"NEED_MORE_PARAMS", []string{p.sub}, "Missing parameters"}
	}
	rest := m.Params[want-selectors-1:]
	var err error
	if p.from, err = readSelector(p.sub, rest[0]); err != nil {
		return nil, err
	}
	if selectors == 2 {
		if p.to, err = readSelector(p.sub, rest[1]); err != nil {
			return nil, err
		}
	}
	if p.limit, err = strconv.Atoi(rest[selectors]); err != nil || p.limit < 1 {
		return nil, &failure{"INVALID_PARAMS", []string{p.sub, rest[selectors]}, "The limit is no number of messages"}
	}
	p.limit = min(p.limit, maxHistory)
	return p, nil
}

func readSelector(sub, s string) (sel selector, err error) {
	kind, value, _ := strings.Cut(s, "=")
	switch {
	case s == "*" && sub == "LATEST":
		return selector{none: true}, nil
	case kind == "msgid" && sub != "TARGETS":
		sel.position, err = tidings.ParsePosition(value)
	case kind == "timestamp":
		sel.time, err = outlet.ParseTime(value)
	case kind == "msgid":
		return sel, &failure{"INVALID_MSGREFTYPE", []string{sub, s}, "Want a timestamp=, as server-time has it"}
	default:
		return sel, &failure{"INVALID_PARAMS", []string{sub, s}, "Want msgid= or timestamp="}
	}
	if err != nil {
		return sel, &failure{"INVALID_PARAMS", []string{sub, s}, oneLine(err)}
	}
	return sel, nil
}

// fail tells an error as standard-replies do.
func (x *session) fail(sub string, err error) {
	f := &failure{}
	if !errors.As(err, &f) {
		f = &failure{"MESSAGE_ERROR", []string{sub}, oneLine(err)}
		if errors.Is(err, context.DeadlineExceeded) {
			err = tidings.Errorf(tidings.ErrUnavailable, "the history took longer than %s to read: ask for less of it", readTime)
			f.text = oneLine(err)
		}
		switch tidings.KindOf(err) {
		case tidings.ErrNotFound, tidings.ErrUnauthenticated, tidings.ErrForbidden:
			f.code = "INVALID_TARGET"
		case 0:
			x.srv.opt.Log.Error("reading the history of an IRC channel", "err", err)
			f.text = "an internal error"
		}
	}
	x.text("FAIL", append(append([]string{"CHATHISTORY", f.code}, f.context...), f.text)...)
}

// recall returns the answer. It runs beside the connection, whose other commands wait.
func (x *session) recall(ctx context.Context, name string, p *past) ([]byte, error) {
	if len(p.query.Patterns) == 0 {
		w := &wish{name: name}
		var sure bool
		if w.to, sure, w.err = x.srv.lookup(x.actor, name); !sure {
			x.srv.resolve(ctx, x.actor, []*wish{w})
		}
		if w.err != nil {
			f := &failure{"INVALID_TARGET", []string{p.sub, name}, oneLine(w.err)}
			return nil, f
		}
		p.asked = asked{w.to.name, hub.Query{Patterns: w.to.patterns}}
	}
	r := &reader{x: x, q: p.query, form: x.form(p.channel), limit: p.limit, batch: p.batch}
	if err := r.read(ctx, p); err != nil {
		return nil, err
	}
	var b []byte
	say := func(command string, params ...string) {
		m := wire.Message{Source: x.srv.opt.ServerName, Command: command, Params: params}
		b = m.Append(b)
	}
	if g := r.gap; g != nil {
		if x.caps.Has(capReplies) {
			say("WARN", "CHATHISTORY", "GAP", p.sub, p.channel, g.Oldest.String(), gapText(g))
		} else {
			say("NOTICE", p.channel, gapText(g))
		}
	}
	if r.batch != "" {
		say("BATCH", "+"+r.batch, "chathistory", p.channel)
	}
	for _, l := range r.lines {
		b = append(b, l...)
	}
	if r.batch != "" {
		say("BATCH", "-"+r.batch)
	}
	return b, nil
}

// reader collects lines of the journal, at most limit.
type reader struct {
	x     *session
	q     hub.Query
	form  form
	batch string
	limit int
	lines [][]byte
	gap   *tidings.GapError
}

func (r *reader) read(ctx context.Context, p *past) error {
	h := r.x.srv.opt.Hub
	if p.from.none {
		return r.backward(ctx, behind(h.Head()), tidings.Position{})
	}
	from, err := r.place(ctx, p.from)
	if err != nil {
		return err
	}
	switch p.sub {
	case "LATEST":
		if err := r.missed(ctx, from); err != nil {
			return err
		}
		return r.backward(ctx, behind(h.Head()), from)
	case "BEFORE":
		return r.backward(ctx, r.before(p.from, from), tidings.Position{})
	case "AFTER":
		return r.forward(ctx, from, tidings.Position{})
	case "AROUND":
		half := &reader{x: r.x, q: r.q, form: r.form, batch: r.batch, limit: r.limit / 2}
		at := r.before(p.from, from)
		if err := half.backward(ctx, at, tidings.Position{}); err != nil {
			return err
		}
		r.limit -= len(half.lines)
		at.Offset = max(at.Offset, 1) - 1
		err := r.forward(ctx, at, tidings.Position{})
		r.lines = append(half.lines, r.lines...)
		return err
	}
	to, err := r.place(ctx, p.to)
	if err != nil {
		return err
	}
	for _, end := range []*tidings.Position{&from, &to} { // of another epoch: a gap
		if end.Epoch == h.Head().Epoch {
			continue
		}
		if err := r.missed(ctx, *end); err != nil {
			return err
		}
		*end = h.Oldest()
	}
	if from.Offset <= to.Offset { // it reads from its first end
		return r.forward(ctx, from, r.before(p.to, to))
	}
	if err := r.missed(ctx, to); err != nil {
		return err
	}
	return r.backward(ctx, r.before(p.from, from), to)
}

// place returns the position of a selector: behind it come the messages after the selector. A time stands for all that
// was stored at it or later, so that what is asked for by time may repeat something and never leaves anything out.
func (r *reader) place(ctx context.Context, s selector) (tidings.Position, error) {
	if s.time.IsZero() {
		return s.position, nil
	}
	return outlet.AtTime(ctx, r.x.srv.opt.Hub, s.time)
}

// before returns the position of the first message that is not before the selector, whose place is p.
func (r *reader) before(s selector, p tidings.Position) tidings.Position {
	if s.time.IsZero() {
		return p
	}
	return behind(p)
}

func behind(p tidings.Position) tidings.Position {
	p.Offset++
	return p
}

// missed notes the gap if what follows the position is not all kept.
func (r *reader) missed(ctx context.Context, p tidings.Position) error {
	_, _, _, err := r.x.srv.opt.Hub.Read(ctx, r.q, r.x.actor, p, 1)
	if errors.As(err, &r.gap) {
		return nil
	}
	return err
}

// forward collects what comes after the position, up to the one given if it is not zero, that one excluded.
func (r *reader) forward(ctx context.Context, after, until tidings.Position) error {
	h := r.x.srv.opt.Hub
	for len(r.lines) < r.limit {
		if err := ctx.Err(); err != nil {
			return err
		}
		items, next, more, err := h.Read(ctx, r.q, r.x.actor, after, r.limit)
		if g := (*tidings.GapError)(nil); errors.As(err, &g) && g.Oldest != after {
			if r.gap == nil {
				r.gap = g
			}
			after = g.Oldest
			continue
		}
		if err != nil {
			return err
		}
		for _, it := range items {
			if !until.IsZero() && it.Position.Offset >= until.Offset || len(r.lines) == r.limit {
				return nil
			}
			r.add(it)
		}
		if after = next; !more {
			return nil
		}
	}
	return nil
}

// backward collects what comes before the position, the last first, down to what follows after; a position of another
// epoch there is one before everything.
func (r *reader) backward(ctx context.Context, before, after tidings.Position) error {
	h := r.x.srv.opt.Hub
	for len(r.lines) < r.limit {
		if err := ctx.Err(); err != nil {
			return err
		}
		items, err := h.Before(ctx, r.q, r.x.actor, before, r.limit)
		if err != nil {
			return err
		}
		for i := len(items) - 1; i >= 0 && len(r.lines) < r.limit; i-- {
			if after.Epoch == items[i].Position.Epoch && items[i].Position.Offset <= after.Offset {
				slices.Reverse(r.lines)
				return nil
			}
			r.add(items[i])
		}
		if len(items) < r.limit {
			break
		}
		before = items[0].Position
	}
	slices.Reverse(r.lines)
	return nil
}

// add takes an event, unless there is nothing to say of it.
func (r *reader) add(it *hub.Item) {
	if b := r.form.append(nil, it, r.batch); len(b) > 0 {
		r.lines = append(r.lines, b)
	}
}

// targets answers CHATHISTORY TARGETS: those of the client's channels whose latest message is between the times.
func (x *session) targets(ctx context.Context, p *past, channels []asked) []byte {
	from, to := p.from.time, p.to.time
	if to.Before(from) {
		from, to = to, from
	}
	type latest struct {
		channel string
		at      time.Time
	}
	var found []latest
	for _, c := range channels {
		items, _, err := x.srv.opt.Hub.Latest(ctx, c.query, x.actor, 1)
		if err == nil && len(items) == 1 && items[0].Time.After(from) && items[0].Time.Before(to) {
			found = append(found, latest{c.channel, items[0].Time})
		}
	}
	slices.SortFunc(found, func(a, b latest) int { return a.at.Compare(b.at) })
	var b []byte
	say := func(command string, params ...string) {
		m := wire.Message{Source: x.srv.opt.ServerName, Command: command, Params: params}
		if p.batch != "" && command != "BATCH" {
			m.Tags = []wire.Tag{{Key: "batch", Value: p.batch}}
		}
		b = m.Append(b)
	}
	if p.batch != "" {
		say("BATCH", "+"+p.batch, "draft/chathistory-targets")
	}
	for _, f := range found[:min(len(found), p.limit)] {
		say("CHATHISTORY", "TARGETS", f.channel, f.at.UTC().Format(timeLayout))
	}
	if p.batch != "" {
		say("BATCH", "-"+p.batch)
	}
	return b
}

// maxTargetsAsked bounds the channels that one CHATHISTORY TARGETS looks at.
const maxTargetsAsked = 100
