//go:build interop && linux

package interop_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tidings/interop/xmpppeer"
)

// TestXMPPServersElsewhere: servers of others reach each other, so that what federation shows of Tidings is no matter of
// how they are set up.
func TestXMPPServersElsewhere(t *testing.T) {
	t.Parallel()
	need(t, "slixmpp", debianPython("slixmpp")())
	for _, names := range [][2]string{{"prosody", "prosody"}, {"ejabberd", "prosody"}, {"prosody", "ejabberd"}} {
		t.Run(names[1]+" to "+names[0], func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			dns, err := xmpppeer.NewNames()
			if err != nil {
				t.Fatal(err)
			}
			defer dns.Close()
			west := peer(t, names[0], xmpppeer.Options{Domain: "west.example", Names: dns, Accounts: map[string]string{xmpppeer.Owner: xmppPassword}})
			east := peer(t, names[1], xmpppeer.Options{Domain: "east.example", Names: dns, Accounts: map[string]string{"anna": xmppPassword}})
			const target = "pubsub.west.example/garden"
			feed := newSpeaker(t, xmppHost{c2s: west.C2S}, "feed", xmpppeer.Owner+"@west.example/feed", xmppPassword, target)
			feed.until(ctx, "created", "online")
			c := xmppClients[0]
			publish := func(n int) {
				feed.say("item-%d %s", n, gardenEntry(n))
				feed.until(ctx, "published")
			}
			for n := 1; n <= 5; n++ {
				publish(n)
			}
			if got := goRound(ctx, t, c, xmppHost{east.C2S, east.WebSocket}, "anna@east.example/reader", xmppPassword, target, publish); got.publishes || got.creates {
				t.Errorf("a stranger may %+v", got)
			}
		})
	}
}

// federated starts a server with Tidings as its components, and another one with accounts, anna and bert at east.example, that
// reaches it.
func federated(ctx context.Context, t *testing.T, with manner, from string) (h, east *componentHost) {
	t.Helper()
	dns, err := xmpppeer.NewNames()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	h = with.behind(ctx, t, xmpppeer.Options{Names: dns})
	s := peer(t, from, xmpppeer.Options{Domain: eastDomain, Names: dns, Accounts: map[string]string{"anna": xmppPassword, "bert": xmppPassword}})
	return h, &componentHost{Server: s, xmppHost: xmppHost{s.C2S, s.WebSocket}}
}

const eastDomain = "east.example"

// abroad has a client of another server go through the round.
func abroad(ctx context.Context, t *testing.T, c *xmppClient, h, east *componentHost, node string) {
	t.Helper()
	publish := must(t, h.tidings.publishOver(ctx))
	for n := 1; n <= 5; n++ {
		publish(node, n)
	}
	got := goRound(ctx, t, c, east.xmppHost, "anna@"+eastDomain+"/reader", xmppPassword, nodesDomain+"/"+node, func(n int) { publish(node, n) })
	if got.publishes || got.creates || got.pages != 3 {
		t.Errorf("the round of a user of another server went %+v", got)
	}
}

// TestXMPPFederation: users of one Prosody subscribe to a node of Tidings behind another one and get each item in order, server
// to server, also when either server, or Tidings, is started again.
func TestXMPPFederation(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	h, east := federated(ctx, t, multicasting, "prosody")
	throughStops(ctx, t, h.tidings.publishOver(ctx), east.xmppHost, []string{"anna@" + eastDomain + "/reader", "bert@" + eastDomain + "/reader"}, hostDomain,
		amid(func() { h.tidings.kill(); h.tidings.start() }),
		amid(func() { east.restart(ctx, t, east.Halt) }),
		// What this server has taken, and not yet passed on, goes with it, and the reader's session at the other one does not learn of
		// it: so nothing is under way when it ends.
		stop{settled: true, do: func(meanwhile func()) {
			if err := h.Halt(); err != nil {
				t.Error(err)
			}
			meanwhile()
			if err := h.Start(ctx); err != nil {
				t.Fatal(err)
			}
		}},
	)
	for i, c := range xmppClients {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.name, c.missing())
			abroad(ctx, t, c, h, east, fmt.Sprintf("/garden/%d", i))
		})
	}
}

// TestXMPPFederationMixed: the same between a Prosody and an ejabberd, without stops.
func TestXMPPFederationMixed(t *testing.T) {
	t.Parallel()
	for _, names := range [][2]string{{"ejabberd", "prosody"}, {"prosody", "ejabberd"}} {
		t.Run(names[1]+" to "+names[0], func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			h, east := federated(ctx, t, manner{peer: names[0]}, names[1])
			abroad(ctx, t, xmppClients[0], h, east, "/garden/mixed")
		})
	}
}
