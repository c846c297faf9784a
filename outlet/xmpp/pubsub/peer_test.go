package pubsub_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"tidings"
	"tidings/access"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/pubsub"
	model "tidings/pubsub"
	"tidings/xmpp/service/servicetest"
	"tidings/xmpp/stanza"
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
			p.Gone()
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
	p := c.peers[user]
	if p == nil {
		p = &peer{servicetest.New(c.t, c.srv, serviceJID.Domain(), user+"@localhost/x", user == "guest"), c}
		p.Broadcast = c.srv.Presence
		c.peers[user] = p
	}
	return p
}

// run does everything that can be done.
func (c *court) run() {
	if err := c.hub.Drain(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	var all []*servicetest.Peer
	for _, p := range c.peers {
		all = append(all, p.Peer)
	}
	servicetest.Run(all...)
}

// peer is the carrier of one address.
type peer struct {
	*servicetest.Peer
	court *court
}

// ask says a request and returns its answer.
func (p *peer) ask(typ, format string, args ...any) *stanza.Stanza {
	p.court.t.Helper()
	p.Out = nil
	payload := fmt.Sprintf(format, args...)
	p.Say(fmt.Sprintf("<iq type='%s' id='ask' to='%s'>%s</iq>", typ, serviceJID, payload))
	p.court.run()
	for i := range p.Out {
		if p.Out[i].Kind == stanza.IQ && p.Out[i].ID == "ask" {
			return &p.Out[i]
		}
	}
	p.court.t.Fatalf("no answer to %.500s", payload)
	return nil
}

// refused is ask for the condition of an error, "" for a result.
func (p *peer) refused(typ, format string, args ...any) string {
	p.court.t.Helper()
	if e := p.ask(typ, format, args...).Err(); e != nil {
		return e.Condition
	}
	return ""
}
