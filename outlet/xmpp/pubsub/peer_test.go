package pubsub_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"tidings"
	"tidings/access"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/pubsub"
	model "tidings/pubsub"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// court is the service with carriers of single addresses, without a network: everything happens on one goroutine.
type court struct {
	t     testing.TB
	j     journal.Journal
	hub   *hub.Hub
	model *model.Service
	srv   *pubsub.Server
	peers map[string]*peer
	close func()
}

// newCourt returns a court whose nodes polonius administers. options say what else there is to be said of its model.
func newCourt(t testing.TB, e *edge.Edge, options ...func(*model.Options)) *court {
	t.Helper()
	ctx := context.Background()
	c := &court{t: t, j: journal.NewMemory(outlettest.Options("")), peers: map[string]*peer{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tokens, err := c.j.Bucket(ctx, "tokens")
	must(err)
	policy, err := access.Open(ctx, tokens, access.Options{Private: []tidings.Pattern{tidings.MustPattern("/private/**")}})
	must(err)
	c.hub = hub.New(c.j, policy, hubOptions)
	policy.OnChange(c.hub.Recheck)
	nodes, err := c.j.Bucket(ctx, "nodes")
	must(err)
	o := model.Options{Store: nodes, Log: c.j, Hub: c.hub, Policy: policy, Domain: "localhost", Admins: []string{"polonius@localhost"},
		Logger: slog.New(slog.DiscardHandler)}
	for _, f := range options {
		f(&o)
	}
	c.model, err = model.Open(ctx, o)
	must(err)
	c.srv, err = pubsub.New(pubsub.Options{Model: c.model, Hub: c.hub, Edge: e, May: policy.May, Audience: policy.Audience,
		Topics: func(ctx context.Context, p tidings.Pattern) (ts []tidings.Topic, err error) {
			infos, err := c.j.Topics(ctx, p)
			for _, i := range infos {
				ts = append(ts, i.Topic)
			}
			return ts, err
		}})
	must(err)
	c.close = func() {
		for _, p := range c.peers {
			p.gone()
		}
		c.srv.Close()
		c.model.Close()
		c.hub.Close()
		policy.Close()
		c.j.Close()
	}
	return c
}

// newEdge returns an edge that ends with the test.
func newEdge(t testing.TB) *edge.Edge {
	e, err := edge.New(edge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
	})
	return e
}

// peer returns the session of a user, made when it is first asked for; that of guest is anonymous.
func (c *court) peer(user string) *peer {
	if p := c.peers[user]; p != nil {
		return p
	}
	p := &peer{court: c, jid: jid.MustParse(user + "@localhost/x")}
	if user != "guest" {
		p.account = user
	}
	c.peers[user] = p
	return p
}

// run does everything that can be done.
func (c *court) run() {
	if err := c.hub.Drain(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	for steps, again := 0, true; again; {
		again = false
		for _, p := range c.peers {
			for p.step() {
				if again = true; steps > 1_000_000 {
					c.t.Fatal("it goes on and on")
				}
				steps++
			}
		}
	}
}

// peer is the carrier of one address. It checks that all it is sent is stanzas.
type peer struct {
	*court
	jid     jid.JID
	account string
	mute    bool // nobody reads
	ops     []func()
	flows   []*attached
	used    bool
	out     []stanza.Stanza
	tasks   int
}

func (p *peer) JID() jid.JID    { return p.jid }
func (p *peer) Account() string { return p.account }
func (p *peer) Anonymous() bool { return p.account == "" }

func (p *peer) Send(b []byte) {
	if len(b) == 0 {
		p.t.Error("nothing is sent")
	}
	var split xmlstream.Scanner
	split.Feed([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"))
	split.Feed(bytes.Clone(b))
	for {
		kind, raw, err := split.Next()
		switch {
		case err != nil:
			p.t.Fatalf("what is sent is no XML: %v\n%.2000s", err, b)
		case kind == xmlstream.None:
			return
		case kind == xmlstream.Open:
			continue
		}
		var d xmlstream.Document
		el, err := d.Parse(bytes.Clone(raw), xmlstream.NewContext("jabber:client"))
		if err != nil {
			p.t.Fatalf("what is sent is not well-formed: %v\n%.2000s", err, raw)
		}
		st, err := stanza.Parse(el)
		if err != nil || st.To != p.jid || st.From.Domain() != serviceJID.Domain() {
			p.t.Fatalf("what is sent is no stanza of the service for %s: %v\n%.2000s", p.jid, err, raw)
		}
		p.out = append(p.out, st)
	}
}

func (p *peer) Task(f func(ctx context.Context) func()) bool {
	p.tasks++
	p.ops = append(p.ops, func() {
		if then := f(context.Background()); then != nil {
			then()
		}
	})
	return true
}

// attached is a flow of a peer.
type attached struct {
	p    *peer
	flow service.Flow
	src  service.Source
	gone bool
}

func (p *peer) Attach(f service.Flow) service.Handle {
	a := &attached{p: p, flow: f}
	p.ops = append(p.ops, func() {
		if !a.gone {
			p.flows = append(p.flows, a)
			a.open(f.Mark())
		}
	})
	return a
}

func (a *attached) open(m service.Mark) {
	_, src, err := a.flow.Open(m)
	if err != nil {
		a.remove()
		a.flow.Ended(err)
		return
	}
	a.src = src
}

func (a *attached) remove() {
	a.gone = true
	a.p.flows = slices.DeleteFunc(a.p.flows, func(b *attached) bool { return a == b })
	if a.src != nil {
		a.src.Close()
		a.src = nil
	}
}

func (a *attached) Detach() {
	a.p.ops = append(a.p.ops, func() {
		if !a.gone {
			a.remove()
		}
	})
}

func (a *attached) Swap(next func(at service.Mark) service.Flow) {
	a.p.ops = append(a.p.ops, func() {
		if a.gone {
			return
		}
		at := a.src.Mark()
		if f := next(at); f != nil {
			a.src.Close()
			a.flow, a.src = f, nil
			a.open(f.Mark())
		}
	})
}

// step does what waits and takes one message of each flow; it reports whether there was something to do.
func (p *peer) step() (again bool) {
	if p.mute {
		return false
	}
	again = len(p.ops) > 0
	ops := p.ops
	p.ops = nil
	for _, f := range ops {
		f()
	}
	for _, a := range slices.Clone(p.flows) {
		if a.gone || a.src == nil {
			continue
		}
		b, st := a.src.Next()
		switch st {
		case edge.Idle:
			continue
		case edge.Behind:
			a.src.Fetch(context.Background())
		case edge.Ready:
			m, rest := service.Cut(b)
			if len(a.src.Advance(len(b)-len(rest))) > 0 {
				p.t.Error("Advance at the end of a message returns a rest")
			}
			p.Send(fmt.Appendf(nil, "<message to='%s'%s</message>", p.jid, bytes.TrimSuffix(m, []byte("</message>"))))
		case edge.Ended:
			a.remove()
			a.flow.Ended(nil)
		}
		again = true
	}
	return again
}

// say gives the service a stanza of the peer; ok is false for what is none for the service.
func (p *peer) say(text string) (st stanza.Stanza, ok bool) {
	var d xmlstream.Document
	el, err := d.Parse([]byte(strings.TrimSpace(text)), xmlstream.NewContext("jabber:client"))
	if err != nil {
		return st, false
	}
	st, err = stanza.Parse(el)
	if err != nil || st.To != serviceJID && (st.To.Domain() != serviceJID.Domain() && !st.To.IsZero()) {
		return st, false // the carrier answers
	}
	st.From = p.jid
	p.used = true
	switch {
	case !st.To.IsZero():
		p.srv.Stanza(p, &st)
	case st.Kind == stanza.Presence && p.account != "":
		p.srv.Presence(p, &st)
	default:
		return st, false
	}
	said := st
	d.Parse([]byte("<gone/>"), nil) // what the call was given is valid no more
	return said, true
}

// ask says a request and returns its answer.
func (p *peer) ask(typ, format string, args ...any) *stanza.Stanza {
	p.t.Helper()
	p.out = nil
	payload := fmt.Sprintf(format, args...)
	if _, ok := p.say(fmt.Sprintf("<iq type='%s' id='ask' to='%s'>%s</iq>", typ, serviceJID, payload)); !ok {
		p.t.Fatalf("no request: %.500s", payload)
	}
	p.run()
	for i := range p.out {
		if p.out[i].Kind == stanza.IQ && p.out[i].ID == "ask" {
			return &p.out[i]
		}
	}
	p.t.Fatalf("no answer to %.500s", payload)
	return nil
}

// refused is ask for the condition of an error, "" for a result.
func (p *peer) refused(typ, format string, args ...any) string {
	p.t.Helper()
	if e := p.ask(typ, format, args...).Err(); e != nil {
		return e.Condition
	}
	return ""
}

func (p *peer) gone() {
	for _, a := range p.flows {
		a.gone = true
		if a.src != nil {
			a.src.Close()
		}
	}
	p.flows, p.ops = nil, nil
	if p.used {
		p.srv.Gone(p)
	}
	p.used = false
}
