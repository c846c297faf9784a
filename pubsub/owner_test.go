package pubsub_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tidings"
	"tidings/pubsub"
)

func TestSection8Create(t *testing.T) {
	w := court(t)
	for _, c := range []struct {
		name string
		who  pubsub.Entity
		node string
		conf []string
		want string
	}{
		{"8.1.2", yorick, "poor", nil, ""},
		{"8.1.2 path", yorick, "/denmark/poor", nil, ""},
		{"8.1.2 access model", yorick, "poorer", []string{"access_model=authorize"}, ""},
		{"8.1.3 configured", yorick, "poorest", []string{"title=Alas", "max_items=10", "notify_delete=0", "node_type=leaf", "purge_offline=0"}, ""},
		{"8.1.1 administrator", admin, "/recentchange/denmark.lit", nil, ""},
		{"8.1.1 administrator, private", admin, "/private/throne", nil, ""},
		{"8.1.1 where another was", yorick, "moved", nil, ""},
		{"8.1.1 not registered", stranger, "x", nil, "registration-required"},
		{"8.1.1 anonymous", anonymous, "x", nil, "registration-required"},
		{"8.1.1 reserved", yorick, "/recentchange/x", nil, "forbidden"},
		{"8.1.1 reserved itself", yorick, "/recentchange", nil, "forbidden"},
		{"8.1.1 private", yorick, "/private/x", nil, "forbidden"},
		{"8.1.1 exists", yorick, "open", nil, "conflict"},
		{"8.1.1 the topic has events", yorick, "/rc", nil, "conflict"},
		{"8.1.1 pattern", yorick, "/x/*", nil, "not-acceptable"},
		{"8.1.1 too long", yorick, strings.Repeat("x", 1024), nil, "not-acceptable"},
		{"8.1.2 presence", yorick, "x", []string{"access_model=presence"}, "not-acceptable unsupported-access-model"},
		{"8.1.2 roster", yorick, "x", []string{"access_model=roster"}, "not-acceptable unsupported-access-model"},
		{"8.1.3 collection", yorick, "x", []string{"node_type=collection"}, "feature-not-implemented unsupported collections"},
		{"8.1.3 unknown field", yorick, "x", []string{"fly=1"}, "not-acceptable"},
		{"8.1.3 bad value", yorick, "x", []string{"notify_sub=maybe"}, "not-acceptable"},
		{"8.1.3 bad number", yorick, "x", []string{"max_items=-1"}, "not-acceptable"},
		{"8.1.3 too much", yorick, "x", []string{"max_items=10001"}, "not-acceptable"},
		{"8.1.3 unknown word", yorick, "x", []string{"publish_model=everybody"}, "not-acceptable"},
		{"8.1.3 presence", yorick, "x", []string{"presence_based_delivery=1"}, "not-acceptable"},
	} {
		w.heard.take()
		name, err := w.Create(t.Context(), c.who, c.node, values(c.conf...))
		w.want(c.name, err, c.want)
		if err != nil {
			if name != "" || w.heard.take() != "" {
				t.Errorf("%s: something was created", c.name)
			}
			continue
		}
		w.wantHeard(c.name, "created "+c.node)
		if name != c.node {
			t.Errorf("%s: the name is %q", c.name, name)
		}
		got, err := w.Config(t.Context(), c.who, c.node)
		w.must(err)
		for _, conf := range c.conf {
			field, value, _ := strings.Cut(conf, "=")
			if fieldOf(got.Fields(), field) != value {
				t.Errorf("%s: %s is %q", c.name, field, fieldOf(got.Fields(), field))
			}
		}
	}
	a, err := w.Create(t.Context(), yorick, "", nil)
	w.must(err)
	b, err := w.Create(t.Context(), yorick, "", nil)
	w.must(err)
	if a == b || len(a) < 10 {
		t.Errorf("8.1.1: instant nodes %q and %q", a, b)
	}
	few := openWorld(t, w.j, pubsub.Options{MaxNodes: 1})
	_, err = few.Create(t.Context(), yorick, "one more", nil)
	few.want("8.1.1 too many", err, "conflict max-nodes-exceeded")
	closed := openWorld(t, w.j, pubsub.Options{Create: pubsub.ByAdmins})
	_, err = closed.Create(t.Context(), yorick, "one more", nil)
	closed.want("8.1.1 not by accounts", err, "forbidden")
	if _, err := closed.Create(t.Context(), system, "one more", nil); err != nil {
		t.Error("8.1.1 the system:", err)
	}
}

func TestSection8Configure(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	w.subscribe(yorick, "open")
	w.heard.take()
	for _, c := range []struct {
		name string
		who  pubsub.Entity
		node string
		conf []string
		want string
	}{
		{"8.2.3.2 not an owner", bernardo, "open", nil, "forbidden"},
		{"8.2.3.2 anonymous", anonymous, "open", nil, "forbidden"},
		{"8.2.3.2 topic", hamlet, "/rc", nil, "forbidden"},
		{"8.2.3.3 no node", hamlet, "", nil, "bad-request nodeid-required"},
		{"8.2.3.5 no such node", hamlet, "nothing", nil, "item-not-found"},
		{"8.2.5.3 not acceptable", hamlet, "open", []string{"access_model=presence"}, "not-acceptable unsupported-access-model"},
		{"8.2.5.3 half", hamlet, "open", []string{"title=half", "type=a", "type=b"}, "not-acceptable"},
		{"8.2.5.2 nothing new", hamlet, "open", []string{"access_model=open"}, ""},
	} {
		if c.conf == nil || c.want == "forbidden" {
			_, err := w.Config(ctx, c.who, c.node)
			w.want(c.name+", retrieving", err, c.want)
		}
		w.want(c.name, w.Configure(ctx, c.who, c.node, values(c.conf...)), c.want)
	}
	w.wantHeard("nothing has changed")
	got, err := w.Config(ctx, hamlet, "open")
	w.must(err)
	if got.Title != "" {
		t.Error("8.2.5.3: a form that was refused has changed something")
	}
	w.must(w.Configure(ctx, hamlet, "open", values("title=Princely Musings", "description=A\nB", "contact=hamlet@denmark.lit", "contact=horatio@denmark.lit", "language=en", "itemreply=owner")))
	w.wantHeard("8.2.5", "configured open open to [yorick@denmark.lit]")
	if got, err = w.Config(ctx, hamlet, "open"); err != nil || got.Title != "Princely Musings" || fmt.Sprint(got.Contact) != "[hamlet@denmark.lit horatio@denmark.lit]" || w.Lookup("/~open") != got {
		t.Errorf("8.2.5: %+v, %v", got, err)
	}
	// An administrator gives a topic rules of its own, and what was there stays.
	w.subscribe(horatio, "/rc")
	w.heard.take()
	w.must(w.Configure(ctx, admin, "/rc", values("title=Changes")))
	w.wantHeard("8.2.5 a topic", "created /rc")
	if got := w.ids(yorick, "/rc"); got != "1 2" {
		t.Errorf("8.2.5: a topic that was configured has %q", got)
	}
	if subs, err := w.NodeSubscriptions(ctx, admin, "/rc"); err != nil || len(subs) != 1 {
		t.Errorf("8.2.5: its subscriptions are %v, %v", subs, err)
	}
	if c := w.Default(); c.AccessModel != pubsub.AccessOpen || fieldOf(c.Fields(), "max_items") != "max" {
		t.Errorf("8.3: %+v", c)
	}
}

func TestSection8Delete(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	w.subscribe(yorick, "open")
	w.publish(hamlet, "open", "a")
	w.heard.take()
	for _, c := range []struct {
		name     string
		who      pubsub.Entity
		node     string
		redirect string
		want     string
	}{
		{"8.4.3.1 not an owner", bernardo, "open", "", "forbidden"},
		{"8.4.3.1 topic", hamlet, "/rc", "", "forbidden"},
		{"8.4.3.2 no such node", hamlet, "nothing", "", "item-not-found"},
		{"8.4.3 no node", hamlet, "", "", "bad-request nodeid-required"},
		{"8.4.1 no URI", hamlet, "open", "xmpp:\x00", "not-acceptable"},
		{"8.4.2", hamlet, "open", "xmpp:hamlet@denmark.lit?;node=blog", ""},
		{"8.4.3.2 gone", hamlet, "open", "", "gone xmpp:hamlet@denmark.lit?;node=blog"},
		{"8.4.2 administrator, topic", admin, "/rc", "", ""},
		{"8.4.3.2 topic gone", admin, "/rc", "", "item-not-found"},
	} {
		w.want(c.name, w.Delete(ctx, c.who, c.node, c.redirect), c.want)
	}
	w.wantHeard("8.4.2", "deleted open to [yorick@denmark.lit] xmpp:hamlet@denmark.lit?;node=blog")
	if subs, _ := w.Subscriptions(yorick, ""); len(subs) != 0 {
		t.Errorf("subscriptions to a node that is gone: %v", subs)
	}
	// What was published is read by nobody any more, and the name is free.
	w.node("open")
	if got := w.ids(hamlet, "open"); got != "" {
		t.Errorf("the new node has %q", got)
	}
	items, _, err := w.hub.Latest(ctx, query("/**"), tidings.Actor{}, 10)
	if err != nil || len(items) != 0 {
		t.Errorf("by another way there are %s, %v", itemIDs(items), err)
	}
	w.topic("/rc", "3")
	if got := w.ids(yorick, "/rc"); got != "3" {
		t.Errorf("a topic that was deleted and goes on has %q", got)
	}
	// A node that never had an event leaves nothing behind.
	places := w.Stats().Places
	w.node("brief")
	w.must(w.Delete(ctx, hamlet, "brief", ""))
	if got := w.Stats().Places; got != places {
		t.Errorf("%d places, %d before", got, places)
	}
}

func TestSection8Purge(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	w.subscribe(yorick, "open")
	w.publish(hamlet, "open", "a", "b")
	w.heard.take()
	for _, c := range []struct {
		name string
		who  pubsub.Entity
		node string
		want string
	}{
		{"8.5.3.2 not an owner", bernardo, "open", "forbidden"},
		{"8.5.3.3 items not kept", hamlet, "silent", "feature-not-implemented unsupported persistent-items"},
		{"8.5.3.4 no such node", hamlet, "nothing", "item-not-found"},
		{"8.5.3 no node", hamlet, "", "bad-request nodeid-required"},
		{"8.5.2", hamlet, "open", ""},
	} {
		w.want(c.name, w.Purge(ctx, c.who, c.node), c.want)
	}
	w.wantHeard("8.5.2", "purged open to [yorick@denmark.lit]")
	if got := w.ids(yorick, "open"); got != "" {
		t.Errorf("8.5.2: the node has %q", got)
	}
	w.publish(hamlet, "open", "b")
	if got := w.ids(yorick, "open"); got != "b" {
		t.Errorf("8.5.2: and then %q", got)
	}
}

func TestSection8Requests(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	w.subscribe(yorick, "asking")
	w.wantHeard("8.6", "yorick@denmark.lit asks [hamlet@denmark.lit] for asking")
	for _, c := range []struct {
		name string
		who  pubsub.Entity
		want string
	}{
		{"8.7.2 an owner", hamlet, "[asking]"},
		{"8.7.2 an administrator", admin, "[asking]"},
		{"8.7.3.3 a publisher", bernardo, "forbidden"},
		{"8.7.3.3 anonymous", anonymous, "forbidden"},
	} {
		nodes, err := w.PendingNodes(c.who)
		if err == nil && fmt.Sprint(nodes) == c.want {
			continue
		}
		w.want(c.name, err, c.want)
	}
	pending, err := w.Pending(ctx, hamlet, "asking")
	if err != nil || len(pending) != 1 || pending[0].JID != "yorick@denmark.lit" || pending[0].State != pubsub.Pending {
		t.Errorf("8.7.3: %v, %v", pending, err)
	}
	if _, _, ok := w.Deliverable(&pending[0]); ok {
		t.Error("8.6: a pending subscription is delivered to")
	}
	_, err = w.Pending(ctx, bernardo, "asking")
	w.want("8.7.4 not an owner", err, "forbidden")
	_, err = w.Pending(ctx, hamlet, "nothing")
	w.want("8.7.4 no such node", err, "item-not-found")
	w.want("8.6 not an owner", w.Approve(ctx, bernardo, "asking", "yorick@denmark.lit", "", true), "forbidden")
	w.want("8.6 nobody asks", w.Approve(ctx, hamlet, "asking", "horatio@denmark.lit", "", true), "unexpected-request not-subscribed")
	w.want("8.6 another SubID", w.Approve(ctx, hamlet, "asking", "yorick@denmark.lit", "zz", true), "unexpected-request not-subscribed")
	w.must(w.Approve(ctx, hamlet, "asking", "yorick@denmark.lit", pending[0].SubID, true))
	w.wantHeard("8.6 approved", "yorick@denmark.lit at asking: subscribed, was pending")
	w.publish(hamlet, "asking", "a")
	if got := w.ids(yorick, "asking"); got != "a" {
		t.Errorf("8.6: who was approved reads %q", got)
	}
	w.want("8.6 again", w.Approve(ctx, hamlet, "asking", "yorick@denmark.lit", "", true), "unexpected-request not-subscribed")
	ghost := user("ghost@denmark.lit/tower")
	w.subscribe(ghost, "asking")
	w.heard.take()
	w.must(w.Approve(ctx, hamlet, "asking", "ghost@denmark.lit", "", false))
	w.wantHeard("8.6 denied", "ghost@denmark.lit at asking: none, was pending")
	// Who is let in otherwise waits no more.
	w.subscribe(ghost, "asking")
	w.heard.take()
	w.affiliate("asking", "ghost@denmark.lit=member")
	w.wantHeard("8.6 a member", "ghost@denmark.lit at asking is member", "ghost@denmark.lit at asking: subscribed, was pending")
}

func TestSection8Subscriptions(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	w.subscribe(yorick, "asking")
	w.subscribe(horatio, "asking")
	subs, err := w.NodeSubscriptions(ctx, hamlet, "asking")
	if err != nil || len(subs) != 2 || subs[0].JID != "horatio@denmark.lit" || subs[0].State != pubsub.Subscribed || subs[1].State != pubsub.Pending {
		t.Errorf("8.8.1: %v, %v", subs, err)
	}
	if got := w.Subscribers("/~asking"); len(got) != 1 {
		t.Errorf("those to deliver to are %v", got)
	}
	for _, c := range []struct {
		name string
		who  pubsub.Entity
		node string
		want string
	}{
		{"8.8.1.3 not an owner", bernardo, "asking", "forbidden"},
		{"8.8.1.3 no such node", hamlet, "nothing", "item-not-found"},
		{"8.8.1.3 no node", hamlet, "", "bad-request nodeid-required"},
		{"8.8.1.3 pattern", hamlet, "/rc/*", "forbidden"},
	} {
		_, err := w.NodeSubscriptions(ctx, c.who, c.node)
		w.want(c.name, err, c.want)
		w.want(c.name+", modifying", w.SetSubscriptions(ctx, c.who, c.node, nil), c.want)
	}
	if _, err := w.NodeSubscriptions(ctx, admin, "/rc/*"); err != nil {
		t.Error("8.8.1 pattern:", err)
	}
	w.heard.take()
	w.must(w.SetSubscriptions(ctx, hamlet, "asking", []pubsub.Subscription{
		{JID: "yorick@denmark.lit", State: pubsub.Subscribed}, {JID: "horatio@denmark.lit", State: pubsub.NotThere}, {JID: "ghost@denmark.lit", State: pubsub.Subscribed}}))
	w.wantHeard("8.8.2", "yorick@denmark.lit at asking: subscribed, was pending", "horatio@denmark.lit at asking: none, was subscribed", "ghost@denmark.lit at asking: subscribed, was none")
	w.want("8.8.2 no state", w.SetSubscriptions(ctx, hamlet, "asking", []pubsub.Subscription{{JID: "x@y", State: "perhaps"}}), "not-acceptable")
	w.want("8.8.2 no JID", w.SetSubscriptions(ctx, hamlet, "asking", []pubsub.Subscription{{State: pubsub.Subscribed}}), "bad-request jid-required")
	err = w.SetSubscriptions(ctx, hamlet, "asking", []pubsub.Subscription{
		{JID: "polonius@denmark.lit", State: pubsub.Subscribed}, {JID: "yorick@denmark.lit", State: pubsub.Pending}, {JID: "ghost@denmark.lit", State: pubsub.NotThere}})
	var rejected *pubsub.RejectedError
	if !errors.As(err, &rejected) || len(rejected.Subscriptions) != 2 || rejected.Subscriptions[0].State != pubsub.NotThere || rejected.Subscriptions[1].State != pubsub.Subscribed {
		t.Errorf("8.8.2.4: %v %+v", err, rejected)
	}
	w.want("8.8.2.4", err, "not-acceptable")
	w.wantHeard("8.8.2.4", "ghost@denmark.lit at asking: none, was subscribed")
}

func TestSection8Affiliations(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	affs, err := w.NodeAffiliations(ctx, hamlet, "open")
	if err != nil || fmt.Sprint(affs) != "[{open bernardo@denmark.lit publisher} {open francisco@denmark.lit publish-only} {open hamlet@denmark.lit owner} {open horatio@denmark.lit member} {open polonius@denmark.lit outcast}]" {
		t.Errorf("8.9.1: %v, %v", affs, err)
	}
	for _, c := range []struct {
		name    string
		who     pubsub.Entity
		node    string
		changes []string
		want    string
	}{
		{"8.9.1.3 not an owner", bernardo, "open", nil, "forbidden"},
		{"8.9.1.3 topic", hamlet, "/rc", nil, "forbidden"},
		{"8.9.1.3 no such node", hamlet, "nothing", nil, "item-not-found"},
		{"8.9.1.3 no node", hamlet, "", nil, "bad-request nodeid-required"},
		{"8.9.2.3 no affiliation", hamlet, "open", []string{"x@y=friend", "yorick@denmark.lit=member"}, "not-acceptable"},
		{"8.9.2.4 twice", hamlet, "open", []string{"x@y=member", "x@y/z=none"}, "bad-request"},
		{"8.9.2.3 no JID", hamlet, "open", []string{"=member"}, "bad-request jid-required"},
		{"8.9.2.4 the last owner", hamlet, "open", []string{"hamlet@denmark.lit=none", "yorick@denmark.lit=publisher"}, "not-acceptable"},
		{"8.9.2.4 the last owner, as another", hamlet, "open", []string{"hamlet@denmark.lit=publisher"}, "not-acceptable"},
	} {
		if c.changes == nil {
			_, err := w.NodeAffiliations(ctx, c.who, c.node)
			w.want(c.name, err, c.want)
		}
		w.want(c.name+", modifying", w.SetAffiliations(ctx, c.who, c.node, affiliations(c.changes...)), c.want)
	}
	w.wantHeard("8.9.2.4", "yorick@denmark.lit at open is member", "yorick@denmark.lit at open is publisher")
	err = w.SetAffiliations(ctx, hamlet, "open", affiliations("hamlet@denmark.lit=none"))
	var rejected *pubsub.RejectedError
	if !errors.As(err, &rejected) || fmt.Sprint(rejected.Affiliations) != "[{open hamlet@denmark.lit owner}]" {
		t.Errorf("8.9.2.4: %v", err)
	}
	// A node is handed over in one request.
	w.affiliate("open", "hamlet@denmark.lit=none", "horatio@denmark.lit=owner", "yorick@denmark.lit=none")
	w.wantHeard("8.9.2", "hamlet@denmark.lit at open is none", "yorick@denmark.lit at open is none", "horatio@denmark.lit at open is owner")
	w.want("8.9.2 who was an owner", w.Purge(ctx, hamlet, "open"), "forbidden")
	w.want("8.9.2 who is one", w.Purge(ctx, horatio, "open"), "")
	if affs, err := w.NodeAffiliations(ctx, admin, "/rc"); err != nil || affs != nil {
		t.Errorf("8.9.1 a topic: %v, %v", affs, err)
	}
}

func TestFeatures(t *testing.T) {
	have := strings.Join(pubsub.Features(), "\n") + "\n"
	for _, f := range []string{"", "#subscribe", "#publish", "#rsm", "#leased-subscription", "#publish-node-full", "#multi-subscribe", "#meta-data", "#retrieve-default-sub"} {
		if !strings.Contains(have, pubsub.NS+f+"\n") {
			t.Errorf("%q is not advertised", f)
		}
	}
	for _, f := range []string{"access-presence", "access-roster", "collections", "presence-subscribe", "auto-subscribe", "filtered-notifications"} {
		if strings.Contains(have, f) {
			t.Errorf("%q is advertised and does not work", f)
		}
	}
}

// A node has so many affiliations; what is more comes back, and what is there can be changed.
func TestManyAffiliations(t *testing.T) {
	w := newWorld(t)
	w.node("n")
	const most = 10_000
	var changes []string
	for i := range most { // the owner is one more
		changes = append(changes, fmt.Sprintf("a%d@x=member", i))
	}
	err := w.SetAffiliations(t.Context(), hamlet, "n", affiliations(changes...))
	var rejected *pubsub.RejectedError
	if !errors.As(err, &rejected) || len(rejected.Affiliations) != 1 || rejected.Affiliations[0].Affiliation != pubsub.None {
		t.Errorf("got %v", err)
	}
	w.want("one more", w.SetAffiliations(t.Context(), hamlet, "n", affiliations("b@x=member")), "not-acceptable")
	w.must(w.SetAffiliations(t.Context(), hamlet, "n", affiliations("a0@x=outcast", "a1@x=none")))
	w.must(w.SetAffiliations(t.Context(), hamlet, "n", affiliations("b@x=member")))
	if all, err := w.NodeAffiliations(t.Context(), hamlet, "n"); err != nil || len(all) != most {
		t.Errorf("%d affiliations, %v", len(all), err)
	}
}
