package pubsub_test

import (
	"context"
	"slices"
	"testing"

	"tidings"
	"tidings/journal"
	"tidings/pubsub"
)

// through is an entity that asks a service of its own.
func through(e pubsub.Entity, service string) pubsub.Entity {
	e.Service = service
	return e
}

// Subscriptions through one service are none of another's, and are still known to be when the store is read again.
func TestServicesKeepApart(t *testing.T) {
	ctx := context.Background()
	j := journal.NewMemory(journal.Options{})
	w := openWorld(t, j, pubsub.Options{Domains: []string{"norway.lit"}})
	if _, err := w.Create(ctx, hamlet, "/news", nil); err != nil {
		t.Fatal(err)
	}
	one, two := through(stranger, "pubsub.one.lit"), through(stranger, "pubsub.two.lit")
	byOne, err := w.Subscribe(ctx, one, "/news", bare(one), nil)
	if err != nil || byOne.Service != "pubsub.one.lit" {
		t.Fatalf("%+v, %v", byOne, err)
	}
	byTwo, err := w.Subscribe(ctx, two, "/news", two.JID, pubsub.Values{"include_body": {"1"}})
	if err != nil || byTwo.Service != "pubsub.two.lit" {
		t.Fatalf("%+v, %v", byTwo, err)
	}
	again, err := w.Subscribe(ctx, one, "/news", bare(one), nil)
	if err != nil || again.SubID != byOne.SubID {
		t.Errorf("subscribed again: %+v, %v", again, err)
	}
	own, err := w.Subscribe(ctx, stranger, "/news", bare(stranger), nil)
	if err != nil || own.Service != "" || own.SubID == byOne.SubID {
		t.Errorf("of the server's own: %+v, %v", own, err)
	}
	check := func(w *world) {
		t.Helper()
		for _, tt := range []struct {
			who  pubsub.Entity
			want pubsub.Subscription
		}{{one, byOne}, {two, byTwo}, {stranger, own}} {
			subs, err := w.Subscriptions(tt.who, "")
			if err != nil || len(subs) != 1 || subs[0].SubID != tt.want.SubID || subs[0].Service != tt.who.Service || subs[0].JID != tt.want.JID ||
				subs[0].Options.IncludeBody != tt.want.Options.IncludeBody || subs[0].Since != tt.want.Since {
				t.Errorf("through %q: %+v, %v", tt.who.Service, subs, err)
			}
			var bares []string
			w.Through(tt.who.Service, func(b string) { bares = append(bares, b) })
			if !slices.Equal(bares, []string{bare(stranger)}) {
				t.Errorf("through %q: %v", tt.who.Service, bares)
			}
		}
		w.Through("pubsub.three.lit", func(b string) { t.Errorf("%s subscribes through a service that there is not", b) })
	}
	check(w)
	if subs, err := w.NodeSubscriptions(ctx, hamlet, "/news"); err != nil || len(subs) != 3 {
		t.Errorf("the owner is told of %+v, %v", subs, err)
	}
	check(openWorld(t, j, pubsub.Options{}))

	if err := w.Unsubscribe(ctx, two, "/news", bare(two), ""); pubsub.ConditionOf(err) != pubsub.NotSubscribed {
		t.Errorf("unsubscribed through another service: %v", err)
	}
	if err := w.Unsubscribe(ctx, one, "/news", bare(one), byTwo.SubID); pubsub.ConditionOf(err) != pubsub.InvalidSubID && pubsub.ConditionOf(err) != pubsub.NotSubscribed {
		t.Errorf("unsubscribed by the SubID of another service: %v", err)
	}
	if err := w.Unsubscribe(ctx, one, "/news", bare(one), ""); err != nil {
		t.Error(err)
	}
	w.Through("pubsub.one.lit", func(b string) { t.Errorf("%s subscribes still", b) })
}

// An owner who subscribes somebody does so through the service that is asked, and accounts of the server through its own.
func TestSubscribedByOwner(t *testing.T) {
	ctx := context.Background()
	w := openWorld(t, journal.NewMemory(journal.Options{}), pubsub.Options{Domains: []string{"norway.lit"}})
	owner := through(stranger, "pubsub.one.lit")
	if _, err := w.Create(ctx, owner, "/news", nil); err != nil {
		t.Fatal("an account of a server that may create nodes:", err)
	}
	if _, err := w.Create(ctx, through(user("x@poland.lit/camp"), "pubsub.one.lit"), "/other", nil); tidings.KindOf(err) != tidings.ErrUnauthenticated {
		t.Errorf("an account of another server: %v", err)
	}
	if err := w.SetSubscriptions(ctx, owner, "/news", []pubsub.Subscription{
		{JID: "captain@norway.lit", State: pubsub.Subscribed}, {JID: bare(hamlet), State: pubsub.Subscribed},
	}); err != nil {
		t.Fatal(err)
	}
	subs, err := w.NodeSubscriptions(ctx, owner, "/news")
	if err != nil || len(subs) != 2 || subs[0].Service != "pubsub.one.lit" || subs[1].JID != bare(hamlet) || subs[1].Service != "" {
		t.Errorf("%+v, %v", subs, err)
	}
}

// What was asked for and approved later begins with the approval.
func TestApprovedSince(t *testing.T) {
	ctx := context.Background()
	for name, approve := range map[string]func(w *world) error{
		"one": func(w *world) error { return w.Approve(ctx, hamlet, "/news", bare(stranger), "", true) },
		"states": func(w *world) error {
			return w.SetSubscriptions(ctx, hamlet, "/news", []pubsub.Subscription{{JID: bare(stranger), State: pubsub.Subscribed}})
		},
		"opened": func(w *world) error {
			return w.Configure(ctx, hamlet, "/news", pubsub.Values{"access_model": {"open"}})
		},
		"member": func(w *world) error {
			return w.SetAffiliations(ctx, hamlet, "/news", affiliations(bare(stranger)+"=member"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if _, err := w.Create(ctx, hamlet, "/news", pubsub.Values{"access_model": {"authorize"}}); err != nil {
				t.Fatal(err)
			}
			asked, err := w.Subscribe(ctx, stranger, "/news", bare(stranger), nil)
			if err != nil || asked.State != pubsub.Pending {
				t.Fatalf("%+v, %v", asked, err)
			}
			if _, err := w.Publish(ctx, hamlet, "/news", []pubsub.NewItem{{ContentType: "text/plain", Payload: []byte("before")}}, nil); err != nil {
				t.Fatal(err)
			}
			var told []tidings.Position
			w.Listen(func(n pubsub.Notification) {
				if n.Event == pubsub.SubscriptionChanged && n.Was == pubsub.Pending {
					told = append(told, n.Subscription.Since)
				}
			})
			if err := approve(w); err != nil {
				t.Fatal(err)
			}
			if len(told) != 1 || told[0] != w.j.Head() {
				t.Errorf("it is told to begin at %v; the head is %v", told, w.j.Head())
			}
			subs, err := w.Subscriptions(stranger, "/news")
			if err != nil || len(subs) != 1 || subs[0].State != pubsub.Subscribed || subs[0].Since != w.j.Head() {
				t.Errorf("%+v, %v; the head is %v", subs, err, w.j.Head())
			}
		})
	}
}
