package pubsub_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"tidings/outlet/outlettest"
	model "tidings/pubsub"
	"tidings/xmpp/dial"
)

// A ban, a change of the whitelist, a node's deletion and the end of a subscription have ended what they forbid when the request
// is answered: of what is published from then on nothing arrives, while somebody publishes all the time. Behind the notice that
// tells of it comes no item by the subscription, and by a pattern none that was published later.
func TestRevocation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		access  string
		change  string // of the owner
		pattern bool   // it also takes what a pattern brings
	}{
		{"a ban", "open", "<affiliations node='/news/a'><affiliation jid='francisco@localhost' affiliation='outcast'/></affiliations>", true},
		{"a whitelist", "open", "<configure node='/news/a'>" + config("access_model", "whitelist") + "</configure>", true},
		{"a member less", "whitelist", "<affiliations node='/news/a'><affiliation jid='francisco@localhost' affiliation='none'/></affiliations>", true},
		{"publish-only", "open", "<affiliations node='/news/a'><affiliation jid='francisco@localhost' affiliation='publish-only'/></affiliations>", true},
		{"deleted", "open", "<delete node='/news/a'/>", false},
		{"a subscription ended", "open", "<subscriptions node='/news/a'><subscription jid='francisco@localhost' subscription='none'/></subscriptions>", false},
		{"no delivery", "open", "<configure node='/news/a'>" + config("deliver_notifications", "0") + "</configure>", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, node := range []string{"/news/a", "/news/*"} {
				if node == "/news/*" && !c.pattern {
					continue
				}
				revoke(t, c.access, c.change, node, "")
				revoke(t, c.access, c.change, node, "<options>"+config("digest", "1")+"</options>")
			}
		})
	}
}

// revoke has francisco subscribe to the node, which brings the items of /news/a, while somebody publishes them.
func revoke(t *testing.T, access, change, node, options string) {
	f := serve(newWorld(t))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	owner := f.login(ctx, "hamlet", nil)
	owner.set("<create node='/news/a'/><configure>%s</configure>", config("access_model", access))
	owner.set("<create node='sentinel'/>")
	if access == "whitelist" {
		owner.own("<affiliations node='/news/a'><affiliation jid='francisco@localhost' affiliation='member'/></affiliations>")
	}
	x := f.login(ctx, "francisco", nil)
	x.say("<presence/>")
	x.set("<subscribe node='%s' jid='francisco@localhost'/>%s", node, options)
	x.set("<subscribe node='sentinel' jid='francisco@localhost'/>")
	var begun atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			default:
				f.numbered("/news/a", int(begun.Add(1)))
			}
		}
	}()
	var limit int64 // the last item that may arrive
	changed := make(chan struct{})
	sentinel := make(chan struct{})
	last, ended, begins := 0, false, false
	for n := 0; ; {
		st, err := x.Next(ctx)
		if err != nil {
			t.Fatalf("%s: after item %d: %v", node, last, err)
		}
		e := st.Element.Child(model.NS+"#event", "event")
		if s := e.Child(model.NS+"#event", "subscription"); !s.IsZero() || !e.Child(model.NS+"#event", "delete").IsZero() {
			ended = ended || s.IsZero() || s.Attr("subscription") == "none"
			continue
		}
		of, all := numbersIn(&st)
		for _, m := range all {
			switch {
			case of == "sentinel" && m == 2:
				<-stopped
				if int64(last) > limit {
					t.Errorf("%s: item %d has arrived, which was published after the answer, with %d", node, last, limit)
				}
				return
			case of == "sentinel":
				continue
			case m <= last:
				t.Fatalf("%s: item %d behind %d", node, m, last)
			case ended && node == "/news/a":
				t.Fatalf("item %d behind the notice of the end", m)
			}
			last = m
			n++
		}
		if n < 20 || begins {
			continue
		}
		begins = true
		go func() { // while more arrives
			defer close(changed)
			owner.own("%s", change)
			limit = begun.Load()
		}()
		go func() {
			defer close(sentinel)
			<-changed
			for begun.Load() < limit+50 && ctx.Err() == nil {
				f.numbered("/~other", 1)
			}
			close(stop)
			<-stopped
			for m := 1; m <= 2; m++ {
				if f.Hub.Drain(ctx) == nil {
					x.Request(ctx, "get", serviceJID, []byte(dial.Ping))
					f.numbered("/~sentinel", m)
				}
			}
		}()
		t.Cleanup(func() { <-sentinel })
	}
}

// Two processes on one journal are one service: what an owner does through one holds in the other, and tells the clients there.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := serve(w)
	g := serve(outlettest.NewWorld(t, w.Journal, hubOptions, edgeOptions))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	owner, x := f.login(ctx, "hamlet", nil), g.login(ctx, "francisco", nil)
	x.say("<presence/>")
	// until waits for an event with the element.
	until := func(name string) {
		t.Helper()
		for {
			st, err := x.Next(ctx)
			if err != nil {
				t.Fatalf("waiting for %s: %v", name, err)
			}
			if e := st.Element.Child(model.NS+"#event", "event"); e.First().Name() == name || e.First().Child(model.NS+"#event", name).Name() == name {
				return
			}
		}
	}
	owner.set("<create node='n'/><configure>%s</configure>", config("notify_sub", "1"))
	for x.subscribe("n") != nil { // it hears of the node soon after
		if ctx.Err() != nil {
			t.Fatal("the other process has no such node")
		}
		x.ask("get", dial.Ping)
	}
	owner.set("<publish node='n'><item id='a'><a xmlns='b'/></item></publish>")
	until("item")
	owner.own("<configure node='n'>%s</configure>", config("title", "x"))
	until("configuration")
	owner.set("<retract node='n'><item id='a'/></retract>")
	until("retract")
	owner.own("<purge node='n'/>")
	until("purge")
	owner.own("<affiliations node='n'><affiliation jid='francisco@localhost' affiliation='outcast'/></affiliations>")
	until("subscription")
	if err := x.subscribe("n"); err == nil {
		t.Error("an outcast subscribes through the other process")
	}
	owner.own("<affiliations node='n'><affiliation jid='francisco@localhost' affiliation='none'/></affiliations>")
	for x.subscribe("n") != nil {
		if ctx.Err() != nil {
			t.Fatal("who is no outcast any more does not get in")
		}
		x.ask("get", dial.Ping)
	}
	if subs := owner.subscribers(t, "n"); subs != 1 {
		t.Errorf("the owner sees %d subscriptions", subs)
	}
	owner.own("<delete node='n'/>")
	until("delete")
}

// subscribe subscribes the account to a node.
func (c *client) subscribe(node string) error {
	_, err := c.Request(c.ctx, "set", serviceJID, fmt.Appendf(nil, pubsubSet, fmt.Sprintf("<subscribe node='%s' jid='%s'/>", node, c.JID().Bare())))
	return err
}

// subscribers returns how many subscriptions an owner sees.
func (c *client) subscribers(t *testing.T, node string) (n int) {
	t.Helper()
	a, err := c.Request(c.ctx, "get", serviceJID, fmt.Appendf(nil, ownerSet, "<subscriptions node='"+node+"'/>"))
	if err != nil {
		t.Fatal(err)
	}
	for range a.Payload().First().Children() {
		n++
	}
	return n
}
