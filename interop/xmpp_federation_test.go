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
		t.Run(names[0]+" to "+names[1], func(t *testing.T) {
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

// TestXMPPFederation: a user of one Prosody subscribes to a node of Tidings behind another one and gets each item in order, server
// to server, also when either server, or Tidings, is started again.
func TestXMPPFederation(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	dns, err := xmpppeer.NewNames()
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	h := behind(ctx, t, "prosody", xmpppeer.Options{Names: dns})
	east := peer(t, "prosody", xmpppeer.Options{Domain: "east.example", Names: dns, Accounts: map[string]string{"anna": xmppPassword}})
	again := &componentHost{Server: east}
	publish := h.tidings.publishOver(ctx)
	throughStops(ctx, t, publish, xmppHost{east.C2S, east.WebSocket}, "east.example", hostDomain, []func(){
		func() { h.tidings.kill(); h.tidings.start() },
		func() { again.restart(ctx, t, again.Halt) },
		func() { h.restart(ctx, t, h.Halt) },
	})
	for i, c := range xmppClients {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.name, c.missing())
			node := fmt.Sprintf("/garden/%d", i)
			for n := 1; n <= 5; n++ {
				must(t, publish)(node, n)
			}
			got := goRound(ctx, t, c, xmppHost{east.C2S, east.WebSocket}, "anna@east.example/reader", xmppPassword, nodesDomain+"/"+node, func(n int) { must(t, publish)(node, n) })
			if got.publishes || got.creates || got.pages != 3 {
				t.Errorf("the round of a user of another server went %+v", got)
			}
		})
	}
}
