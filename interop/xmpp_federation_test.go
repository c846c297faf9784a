//go:build interop && linux

package interop_test

import (
	"context"
	"testing"
	"time"

	"tidings/interop/xmpppeer"
)

// TestXMPPServersElsewhere: servers of others reach each other, so that what federation shows of Tidings is no matter of
// how they are set up.
func TestXMPPServersElsewhere(t *testing.T) {
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
