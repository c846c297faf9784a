//go:build interop && linux

package interop_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidings/interop/xmpppeer"
)

// asker is slixmpp, which asks what it is told to.
type asker struct{ *speaker }

func newAsker(ctx context.Context, t *testing.T, host xmppHost, user, password string) *asker {
	t.Helper()
	a := &asker{newSpeaker(t, host, "ask", user, password, "")}
	a.until(ctx, "online")
	return a
}

// ask asks and returns the condition of the error, if the answer is one.
func (a *asker) ask(ctx context.Context, typ, to, format string, arguments ...any) string {
	a.t.Helper()
	a.say("%s %s %s", typ, to, fmt.Sprintf(format, arguments...))
	return a.until(ctx, "answer").Condition
}

// TestXMPPComponentAccess: behind a server too, a ban, a change of the whitelist and the deletion of a node end the subscriptions
// that they forbid before the request is answered.
func TestXMPPComponentAccess(t *testing.T) {
	t.Parallel()
	eachPeer(t, 4*time.Minute, func(ctx context.Context, t *testing.T, name string) {
		h := behind(ctx, t, name, xmpppeer.Options{})
		owner := newAsker(ctx, t, h.xmppHost, xmpppeer.Owner+"@"+hostDomain+"/desk", xmppPassword)
		publish := must(t, h.tidings.publishOver(ctx))
		// A node to which the reader's account is subscribed: an item in it comes behind what was to come before.
		const barrier = "/garden/barrier"
		publish(barrier, 1)
		anna := newAsker(ctx, t, h.xmppHost, "anna@"+hostDomain+"/desk", xmppPassword)
		if c := anna.ask(ctx, "set", nodesDomain, `<pubsub xmlns="http://jabber.org/protocol/pubsub"><subscribe node="%s" jid="anna@%s"/></pubsub>`, barrier, hostDomain); c != "" {
			t.Fatal(c)
		}
		do := func(format string, arguments ...any) {
			t.Helper()
			if c := owner.ask(ctx, "set", nodesDomain, format, arguments...); c != "" {
				t.Fatalf("%s: "+format, append([]any{c}, arguments...)...)
			}
		}
		const (
			pubsub    = `<pubsub xmlns="http://jabber.org/protocol/pubsub">`
			ofOwner   = `<pubsub xmlns="http://jabber.org/protocol/pubsub#owner">`
			configure = `<x xmlns="jabber:x:data" type="submit"><field var="FORM_TYPE" type="hidden"><value>http://jabber.org/protocol/pubsub#node_config</value></field>` +
				`<field var="pubsub#access_model"><value>%s</value></field></x>`
		)
		affiliate := func(node, affiliation string) {
			t.Helper()
			do(ofOwner+`<affiliations node="%s"><affiliation jid="anna@%s" affiliation="%s"/></affiliations></pubsub>`, node, hostDomain, affiliation)
		}
		for i, tt := range []struct {
			name, model string
			before, end func(node string)
			told        string // what the reader is told
		}{
			{"outcast", "open", nil, func(node string) { affiliate(node, "outcast") }, "subscription"},
			{"taken off the whitelist", "whitelist", func(node string) { affiliate(node, "member") }, func(node string) { affiliate(node, "none") }, "subscription"},
			{"a whitelist that it is not on", "open", nil, func(node string) {
				do(ofOwner+`<configure node="%s">`+configure+`</configure></pubsub>`, node, "whitelist")
			}, "subscription"},
			{"deleted", "open", nil, func(node string) { do(ofOwner+`<delete node="%s"/></pubsub>`, node) }, "deleted"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				node := "/garden/" + strings.ReplaceAll(tt.name, " ", "-")
				do(pubsub+`<create node="%s"/><configure>`+configure+`</configure></pubsub>`, node, tt.model)
				if tt.before != nil {
					tt.before(node)
				}
				publish(node, 1)
				r := followNode(ctx, t, h.xmppHost, "anna@"+hostDomain+"/reader", xmppPassword, nodesDomain+"/"+node, 3)
				publish(node, 2)
				r.untilSeen(ctx, 2)
				tt.end(node)
				publish(node, 3)
				publish(barrier, i+2)
				told := false
				for {
					e, err := r.next(ctx)
					if err != nil {
						t.Fatal(err)
					}
					if e.Event == "item" && e.Node == barrier {
						break
					}
					switch {
					case e.Event == tt.told && e.Node == node && (e.Event != "subscription" || e.Condition == "none"):
						told = true
					case e.Event == "configuration" && !told:
					default:
						t.Errorf("it says %+v", e)
					}
				}
				if !told {
					t.Error("nobody has told it")
				}
			})
		}
	})
}
