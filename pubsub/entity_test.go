package pubsub_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidings/pubsub"
)

// court is a world with nodes of every kind: open, asking (authorize), closed (whitelist), quiet (takes no subscriptions),
// silent (keeps no items), moved, and the topic /rc, which merely has events. On each node horatio is a member, bernardo a
// publisher, francisco publish-only and polonius an outcast.
func court(t *testing.T) *world {
	w := newWorld(t)
	for node, conf := range map[string][]string{
		"open": nil, "asking": {"access_model=authorize"}, "closed": {"access_model=whitelist"},
		"quiet": {"subscribe=0"}, "silent": {"persist_items=0"}, "moved": nil,
	} {
		w.node(node, conf...)
		w.affiliate(node, "horatio@denmark.lit=member", "bernardo@denmark.lit=publisher", "francisco@denmark.lit=publish-only", "polonius@denmark.lit=outcast")
	}
	w.must(w.Delete(w.ctx(), hamlet, "moved", "xmpp:pubsub.denmark.lit?;node=open"))
	w.topic("/rc", "1", "2")
	w.topic("/private/rc", "1")
	w.heard.take()
	return w
}

var yorick = user("yorick@denmark.lit/grave") // nobody anywhere

func TestSection5Discovery(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	nodes := fmt.Sprint(w.Nodes(yorick))
	if nodes != "[/~asking /~closed /~open /~quiet /~silent]" {
		t.Errorf("5.2: nodes %s", nodes)
	}
	if got := w.Nodes(polonius); len(got) != 0 {
		t.Errorf("5.2: an outcast discovers %v", got)
	}
	w.subscribe(yorick, "asking")
	w.subscribe(horatio, "asking")
	i, err := w.Info(ctx, yorick, "asking")
	w.must(err)
	if i.Node != "asking" || i.Topic != "/~asking" || !i.Stored || i.Creator != "hamlet@denmark.lit" || i.Created.IsZero() ||
		fmt.Sprint(i.Owners, i.Publishers, i.Subscribers) != "[hamlet@denmark.lit] [bernardo@denmark.lit francisco@denmark.lit] 1" ||
		i.Config.AccessModel != pubsub.AccessAuthorize {
		t.Errorf("5.4: %+v", i)
	}
	i, err = w.Info(ctx, anonymous, "/rc")
	if err != nil || i.Stored || i.Topic != "/rc" || i.Config.AccessModel != pubsub.AccessOpen {
		t.Errorf("5.3: a topic with events: %+v, %v", i, err)
	}
	for _, c := range []struct {
		who        pubsub.Entity
		node, want string
	}{
		{yorick, "", "bad-request nodeid-required"},
		{yorick, "nothing", "item-not-found"},
		{yorick, "/rc/*", "not-allowed"},
		{yorick, "/private/rc", "forbidden"},
		{yorick, "moved", "gone xmpp:pubsub.denmark.lit?;node=open"},
		{polonius, "open", "forbidden"},
		{hamlet, strings.Repeat("x", 300), "item-not-found"},
	} {
		_, err := w.Info(ctx, c.who, c.node)
		w.want("5.3: "+c.node, err, c.want)
	}
	if topic, pattern, err := pubsub.ParseNode("/rc/*"); err != nil || topic != "" || pattern.String() != "/rc/*" {
		t.Errorf("a pattern is %q, %q, %v", topic, pattern, err)
	}
	if topic, _, err := pubsub.ParseNode("a*"); err != nil || topic != "/~a%2A" {
		t.Errorf("a name with a star that is no path is %q, %v", topic, err)
	}
	_, _, err = pubsub.ParseNode("/a[")
	w.want("a pattern that is none", err, "item-not-found")
}

func TestSection5Retrieve(t *testing.T) {
	w := court(t)
	w.subscribe(yorick, "open")
	w.subscribe(yorick, "asking")
	w.subscribe(yorick, "/rc/*")
	if _, err := w.Subscribe(t.Context(), yorick, "open", yorick.JID, nil); err != nil {
		t.Fatal(err)
	}
	list := func(who pubsub.Entity, node string) string {
		t.Helper()
		subs, err := w.Subscriptions(who, node)
		w.must(err)
		var out []string
		for _, s := range subs {
			out = append(out, s.Node+" "+s.JID+" "+string(s.State))
		}
		return strings.Join(out, "\n")
	}
	// 5.6: a bare JID is told of its resources' subscriptions too.
	if got, want := list(yorick, ""), "/rc/* yorick@denmark.lit subscribed\nasking yorick@denmark.lit pending\nopen yorick@denmark.lit subscribed\nopen yorick@denmark.lit/grave subscribed"; got != want {
		t.Errorf("5.6: subscriptions\n%s\nwant\n%s", got, want)
	}
	if got, want := list(yorick, "open"), "open yorick@denmark.lit subscribed\nopen yorick@denmark.lit/grave subscribed"; got != want {
		t.Errorf("5.6: subscriptions to a node\n%s\nwant\n%s", got, want)
	}
	if got := list(horatio, ""); got != "" {
		t.Errorf("5.6: no subscriptions: %s", got)
	}
	affs, err := w.Affiliations(bernardo, "")
	w.must(err)
	if fmt.Sprint(affs) != "[{asking bernardo@denmark.lit publisher} {closed bernardo@denmark.lit publisher} {open bernardo@denmark.lit publisher} {quiet bernardo@denmark.lit publisher} {silent bernardo@denmark.lit publisher}]" {
		t.Errorf("5.7: %v", affs)
	}
	if affs, err = w.Affiliations(polonius, "open"); err != nil || fmt.Sprint(affs) != "[{open polonius@denmark.lit outcast}]" {
		t.Errorf("5.7: at a node: %v, %v", affs, err)
	}
	if affs, err = w.Affiliations(anonymous, ""); err != nil || affs != nil {
		t.Errorf("5.7: of nobody: %v, %v", affs, err)
	}
}

func TestSection6Subscribe(t *testing.T) {
	for _, c := range []struct {
		name string
		who  pubsub.Entity
		node string
		jid  string // "" for the bare one
		conf []string
		want string // the state, or the error
	}{
		{"6.1.1", yorick, "open", "", nil, "subscribed"},
		{"6.1.1 full JID", yorick, "open", yorick.JID, nil, "subscribed"},
		{"6.1.1 topic", yorick, "/rc", "", nil, "subscribed"},
		{"6.1.1 pattern", yorick, "/rc/**", "", nil, "subscribed"},
		{"6.1.1 anonymous", anonymous, "open", anonymous.JID, nil, "subscribed"},
		{"6.1.1 anonymous, pattern", anonymous, "/rc/*", anonymous.JID, nil, "subscribed"},
		{"6.1.1 foreign", stranger, "open", "", nil, "subscribed"},
		{"6.1.1 member", horatio, "closed", "", nil, "subscribed"},
		{"6.1.1 owner", hamlet, "closed", "", nil, "subscribed"},
		{"6.1.1 publisher", bernardo, "asking", "", nil, "subscribed"},
		{"6.1.4 approval", yorick, "asking", "", nil, "pending"},
		{"6.3.7 configure", yorick, "open", "", []string{"deliver=0", "include_body=1"}, "subscribed"},
		{"6.1.3.1 JIDs do not match", yorick, "open", "horatio@denmark.lit", nil, "bad-request invalid-jid"},
		{"6.1.3.1 anonymous, bare", anonymous, "open", "f81d4fae@denmark.lit", nil, "bad-request invalid-jid"},
		{"6.1.3.1 no JID", yorick, "open", "-", nil, "bad-request jid-required"},
		{"6.1.3.1 control character", yorick, "open", "yorick@denmark.lit/\x01", nil, "bad-request invalid-jid"},
		{"6.1.3.4 not on the whitelist", yorick, "closed", "", nil, "not-allowed closed-node"},
		{"6.1.3.4 anonymous", anonymous, "closed", anonymous.JID, nil, "not-allowed closed-node"},
		{"6.1.3.6 anonymous cannot be approved", anonymous, "asking", anonymous.JID, nil, "forbidden"},
		{"6.1.3.8 blocked", polonius, "open", "", nil, "forbidden"},
		{"6.1.3.8 publish-only", francisco, "open", "", nil, "forbidden"},
		{"6.1.3.8 private topic", yorick, "/private/rc", "", nil, "forbidden"},
		{"6.1.3.10 not supported", yorick, "quiet", "", nil, "feature-not-implemented unsupported subscribe"},
		{"6.1.3.11 moved", yorick, "moved", "", nil, "gone xmpp:pubsub.denmark.lit?;node=open"},
		{"6.1.3.12 no such node", yorick, "nothing", "", nil, "item-not-found"},
		{"6.1.3 no node", yorick, "", "", nil, "bad-request nodeid-required"},
		{"6.3.7 invalid option", yorick, "open", "", []string{"fly=1"}, "bad-request invalid-options"},
		{"6.3.7 digest", yorick, "open", "", []string{"digest=1"}, "subscribed"},
		{"12.18 lease in the past", yorick, "open", "", []string{"expire=2006-02-28T23:59Z"}, "bad-request invalid-options"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := court(t)
			jid := c.jid
			switch jid {
			case "":
				jid = bare(c.who)
			case "-":
				jid = ""
			}
			s, err := w.Subscribe(t.Context(), c.who, c.node, jid, values(c.conf...))
			got := string(s.State)
			if err != nil {
				got = condition(err)
			}
			if got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			mine, e := w.Subscriptions(c.who, "")
			w.must(e)
			if err != nil {
				if len(mine) != 0 || w.heard.take() != "" {
					t.Errorf("a subscription that was refused is there: %v", mine)
				}
				return
			}
			if len(mine) != 1 || mine[0].SubID != s.SubID || mine[0].JID != jid || mine[0].Node != c.node {
				t.Errorf("the subscription is %+v, and listed are %+v", s, mine)
			}
			if told := w.heard.take(); !strings.Contains(told, jid) {
				t.Errorf("told %q", told)
			}
		})
	}
}

func TestSection6SubscribeAgain(t *testing.T) {
	w := court(t)
	first := w.subscribe(yorick, "open")
	if again := w.subscribe(yorick, "open"); again.SubID != first.SubID {
		t.Errorf("6.1.6: the same subscription has another SubID: %q, %q", first.SubID, again.SubID)
	}
	other := w.subscribe(yorick, "open", "deliver=0")
	if other.SubID == first.SubID {
		t.Error("6.1.6: another subscription has the same SubID")
	}
	w.subscribe(yorick, "asking")
	_, err := w.Subscribe(t.Context(), yorick, "asking", bare(yorick), nil)
	w.want("6.1.3.7", err, "not-authorized pending-subscription")

	few := openWorld(t, w.j, pubsub.Options{MaxPerNode: 3, MaxSubscriptions: 2})
	few.subscribe(yorick, "open", "include_body=1")
	_, err = few.Subscribe(t.Context(), yorick, "open", bare(yorick), values("subscription_type=nodes"))
	few.want("6.1.3.9 at one node", err, "policy-violation too-many-subscriptions")
	_, err = few.Subscribe(t.Context(), yorick, "/rc", bare(yorick), nil)
	few.want("6.1.3.9 nodes", err, "policy-violation too-many-subscriptions")
}

func TestSection6Unsubscribe(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	w.subscribe(yorick, "open")
	w.heard.take()
	w.must(w.Unsubscribe(ctx, yorick, "open", bare(yorick), ""))
	w.wantHeard("6.2.2", "yorick@denmark.lit at open: none, was subscribed")
	s := w.subscribe(yorick, "open")
	other := w.subscribe(yorick, "open", "deliver=0")
	w.subscribe(yorick, "/rc/*")
	w.subscribe(yorick, "asking")
	for _, c := range []struct {
		name             string
		who              pubsub.Entity
		node, jid, subID string
		want             string
	}{
		{"6.2.3.1 no SubID", yorick, "open", bare(yorick), "", "bad-request subid-required"},
		{"6.2.3.2 no such subscriber", horatio, "open", bare(horatio), "", "unexpected-request not-subscribed"},
		{"6.2.3.2 another resource", yorick, "open", yorick.JID, "", "unexpected-request not-subscribed"},
		{"6.2.3.2 pattern", yorick, "/rc/?", bare(yorick), "", "unexpected-request not-subscribed"},
		{"6.2.3.3 insufficient privileges", horatio, "open", bare(yorick), s.SubID, "forbidden"},
		{"6.2.3.4 no such node", yorick, "nothing", bare(yorick), "", "item-not-found"},
		{"6.2.3.5 bad SubID", yorick, "open", bare(yorick), "zz", "not-acceptable invalid-subid"},
		{"6.2.3 no node", yorick, "", bare(yorick), "", "bad-request nodeid-required"},
		{"6.2.3 no JID", yorick, "open", "", "", "bad-request jid-required"},
		{"6.2.2 one of two", yorick, "open", bare(yorick), s.SubID, ""},
		{"6.2.2 the last", yorick, "open", bare(yorick), "", ""},
		{"6.2.2 pattern", yorick, "/rc/*", bare(yorick), "", ""},
		{"6.2.2 pending", yorick, "asking", bare(yorick), "", ""},
		{"6.2.3.2 gone", yorick, "open", bare(yorick), other.SubID, "unexpected-request not-subscribed"},
	} {
		w.want(c.name, w.Unsubscribe(ctx, c.who, c.node, c.jid, c.subID), c.want)
	}
	if st := w.Stats(); st.Subscriptions != 0 {
		t.Errorf("%d subscriptions are left", st.Subscriptions)
	}
}

func TestSection6Options(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	s := w.subscribe(yorick, "open")
	got, err := w.Options(ctx, yorick, "open", bare(yorick), "")
	w.must(err)
	if got.SubID != s.SubID || fieldOf(got.Options.Fields(), "deliver") != "1" || fieldOf(got.Options.Fields(), "subscription_type") != "items" {
		t.Errorf("6.3.2: %+v", got.Options)
	}
	w.heard.take()
	w.must(w.SetOptions(ctx, yorick, "open", bare(yorick), s.SubID, values("deliver=0", "show-values=chat", "show-values=away", "include_body=true")))
	w.wantHeard("6.3.5", "yorick@denmark.lit at open: subscribed, was subscribed")
	if got, _ = w.Options(ctx, yorick, "open", bare(yorick), ""); got.Options.Deliver || !got.Options.IncludeBody || fmt.Sprint(got.Options.ShowValues) != "[away chat]" {
		t.Errorf("6.3.5: %+v", got.Options)
	}
	if _, _, ok := w.Deliverable(&got); ok {
		t.Error("a paused subscription is delivered to")
	}
	w.subscribe(yorick, "open")
	for _, c := range []struct {
		name             string
		who              pubsub.Entity
		node, jid, subID string
		conf             []string
		want             string
	}{
		{"6.3.4.1 insufficient privileges", horatio, "open", bare(yorick), "", nil, "forbidden"},
		{"6.3.4.2 no such subscriber", horatio, "open", bare(horatio), "", nil, "unexpected-request not-subscribed"},
		{"6.3.4.3 JID required", yorick, "open", "", "", nil, "bad-request jid-required"},
		{"6.3.4.4 SubID required", yorick, "open", bare(yorick), "", nil, "bad-request subid-required"},
		{"6.3.4.5 invalid SubID", yorick, "open", bare(yorick), "zz", nil, "not-acceptable invalid-subid"},
		{"6.3.4.7 no such node", yorick, "nothing", bare(yorick), "", nil, "item-not-found"},
		{"6.3.6.2 invalid", yorick, "open", bare(yorick), s.SubID, []string{"subscription_type=all"}, "bad-request invalid-options"},
		{"6.3.6.2 presence", yorick, "open", bare(yorick), s.SubID, []string{"expire=presence"}, "bad-request invalid-options"},
		{"6.3.6.2 two values", yorick, "open", bare(yorick), s.SubID, []string{"deliver=1", "deliver=0"}, "bad-request invalid-options"},
		{"6.3.6.2 show-values", yorick, "open", bare(yorick), s.SubID, []string{"show-values=asleep"}, "bad-request invalid-options"},
		{"6.3.6.2 a lease that is over", yorick, "open", bare(yorick), s.SubID, []string{"expire=1999-01-01T00:00:00Z"}, "bad-request invalid-options"},
		{"6.3.5 success", yorick, "open", bare(yorick), s.SubID, []string{"deliver=1", "include_body=0", "digest=0"}, ""},
	} {
		w.want(c.name, w.SetOptions(ctx, c.who, c.node, c.jid, c.subID, values(c.conf...)), c.want)
		if c.conf == nil {
			_, err := w.Options(ctx, c.who, c.node, c.jid, c.subID)
			w.want(c.name+", retrieving", err, c.want)
		}
	}
	o, err := w.DefaultOptions(ctx, "")
	if err != nil || !o.Deliver {
		t.Errorf("6.4: %+v, %v", o, err)
	}
	if _, err = w.DefaultOptions(ctx, "open"); err != nil {
		t.Errorf("6.4 of a node: %v", err)
	}
	_, err = w.DefaultOptions(ctx, "nothing")
	w.want("6.4.3 no such node", err, "item-not-found")
}

func fieldOf(fields []pubsub.Field, name string) string {
	i := slices.IndexFunc(fields, func(f pubsub.Field) bool { return f.Var == "pubsub#"+name })
	if i < 0 {
		return "no such field"
	}
	return strings.Join(fields[i].Values, ",")
}

func TestSection6Items(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	for _, node := range []string{"open", "asking", "closed", "quiet"} {
		w.publish(hamlet, node, "a", "b", "c", "d", "b")
	}
	pending := user("reynaldo@denmark.lit/paris")
	w.subscribe(pending, "asking")
	s := w.subscribe(yorick, "open")
	double := user("gertrude@denmark.lit/closet")
	elsewhere := pubsub.Entity{Actor: double.Actor, JID: "gertrude@denmark.lit/throne"}
	for _, option := range []string{"include_body=0", "include_body=1"} {
		_, err := w.Subscribe(ctx, double, "open", double.JID, values(option))
		w.must(err)
	}
	for _, c := range []struct {
		name string
		who  pubsub.Entity
		req  pubsub.ItemsRequest
		want string // the IDs, or the error behind !
	}{
		{"6.5.2 all", yorick, pubsub.ItemsRequest{Node: "open"}, "a c d b"},
		{"6.5.2 anonymous", anonymous, pubsub.ItemsRequest{Node: "open"}, "a c d b"},
		{"6.5.2 token", pubsub.Entity{Actor: system.Actor}, pubsub.ItemsRequest{Node: "closed"}, "a c d b"},
		{"6.5.2 SubID", yorick, pubsub.ItemsRequest{Node: "open", SubID: s.SubID}, "a c d b"},
		{"6.5.2 member", horatio, pubsub.ItemsRequest{Node: "closed"}, "a c d b"},
		{"6.5.2 member, authorize", horatio, pubsub.ItemsRequest{Node: "asking"}, "a c d b"},
		{"6.5.2 administrator", admin, pubsub.ItemsRequest{Node: "closed"}, "a c d b"},
		{"6.5.2 topic", yorick, pubsub.ItemsRequest{Node: "/rc"}, "1 2"},
		{"6.5.7 some", yorick, pubsub.ItemsRequest{Node: "open", Max: 2}, "d b"},
		{"6.5.7 more than there are", yorick, pubsub.ItemsRequest{Node: "open", Max: 20}, "a c d b"},
		{"6.5.8 particular", yorick, pubsub.ItemsRequest{Node: "open", IDs: []string{"d", "nothing", "a"}}, "d a"},
		{"6.5.8 none of them", yorick, pubsub.ItemsRequest{Node: "open", IDs: []string{"nothing"}}, ""},
		{"6.5.9.1 SubID required", double, pubsub.ItemsRequest{Node: "open"}, "!bad-request subid-required"},
		{"6.5.9.1 of another address", elsewhere, pubsub.ItemsRequest{Node: "open"}, "a c d b"},
		{"6.5.9.2 invalid SubID", yorick, pubsub.ItemsRequest{Node: "open", SubID: "zz"}, "!not-acceptable invalid-subid"},
		{"6.5.9.3 not subscribed", yorick, pubsub.ItemsRequest{Node: "asking"}, "!not-authorized not-subscribed"},
		{"6.5.9.3 pending", pending, pubsub.ItemsRequest{Node: "asking"}, "!not-authorized not-subscribed"},
		{"6.5.9.4 items not kept", yorick, pubsub.ItemsRequest{Node: "silent"}, "!feature-not-implemented unsupported persistent-items"},
		{"6.5.9.8 not on the whitelist", yorick, pubsub.ItemsRequest{Node: "closed"}, "!not-allowed closed-node"},
		{"6.5.9.8 anonymous", anonymous, pubsub.ItemsRequest{Node: "closed"}, "!not-allowed closed-node"},
		{"6.5.9.10 blocked", polonius, pubsub.ItemsRequest{Node: "open"}, "!forbidden"},
		{"6.5.9.10 publish-only", francisco, pubsub.ItemsRequest{Node: "closed"}, "!forbidden"},
		{"6.5.9.10 private topic", yorick, pubsub.ItemsRequest{Node: "/private/rc"}, "!forbidden"},
		{"6.5.9 no node", yorick, pubsub.ItemsRequest{}, "!bad-request nodeid-required"},
		{"6.5.9.11 no such node", yorick, pubsub.ItemsRequest{Node: "nothing"}, "!item-not-found"},
		{"6.5.9.11 moved", yorick, pubsub.ItemsRequest{Node: "moved"}, "!gone xmpp:pubsub.denmark.lit?;node=open"},
		{"6.5.9.5 pattern", yorick, pubsub.ItemsRequest{Node: "/rc*"}, "!feature-not-implemented unsupported retrieve-items"},
	} {
		got, err := w.Items(ctx, c.who, c.req)
		text := itemIDs(got.Items)
		if err != nil {
			text = "!" + condition(err)
		}
		if text != c.want {
			t.Errorf("%s: got %q, want %q", c.name, text, c.want)
		}
	}
	last, err := w.Last(ctx, yorick, "open")
	if err != nil || last.ItemID() != "b" || last.Publisher != "user:hamlet@denmark.lit" {
		t.Errorf("6.1.7: the last item is %v, %v", last, err)
	}
	w.node("empty")
	_, err = w.Last(ctx, yorick, "empty")
	w.want("6.1.7 none", err, "item-not-found")
	if _, err = w.Last(ctx, yorick, "closed"); condition(err) != "not-allowed closed-node" {
		t.Errorf("6.1.7 closed: %v", err)
	}
}

// Pages of items, XEP-0059 by way of section 6.5.4.
func TestSection6Pages(t *testing.T) {
	w := newWorld(t)
	w.node("many")
	for i := range 25 {
		w.publish(hamlet, "many", fmt.Sprint(i))
	}
	w.must(w.Retract(t.Context(), hamlet, "many", false, "7", "24"))
	w.publish(hamlet, "many", "3") // becomes the newest
	for _, c := range []struct {
		name string
		page pubsub.Page
		want string // IDs, count, index, complete
	}{
		{"first", pubsub.Page{Max: 3}, "0 1 2, 23 at 0 false"},
		{"after", pubsub.Page{Max: 4, After: "5"}, "6 8 9 10, 23 at 5 false"},
		{"after the last", pubsub.Page{Max: 4, After: "3"}, ", 23 at 23 true"},
		{"the end", pubsub.Page{Max: 4, After: "21"}, "22 23 3, 23 at 20 true"},
		{"last", pubsub.Page{Max: 3, Last: true}, "22 23 3, 23 at 20 false"},
		{"before", pubsub.Page{Max: 3, Before: "22"}, "19 20 21, 23 at 17 false"},
		{"before the first", pubsub.Page{Max: 3, Before: "0"}, ", 23 at 0 true"},
		{"before, the beginning", pubsub.Page{Max: 3, Before: "2"}, "0 1, 23 at 0 true"},
		{"between", pubsub.Page{Max: 9, After: "5", Before: "10"}, "6 8 9, 23 at 5 true"},
		{"index", pubsub.Page{Max: 2, Index: 21}, "23 3, 23 at 21 true"},
		{"count", pubsub.Page{Count: true}, ", 23 at 0 false"},
		{"all", pubsub.Page{}, "0 1 2 4 5 6 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 3, 23 at 0 true"},
		{"unknown", pubsub.Page{After: "7"}, "!item-not-found"},
		{"unknown before", pubsub.Page{Before: "x"}, "!item-not-found"},
		{"index out of range", pubsub.Page{Index: 24}, "!item-not-found"},
	} {
		got, err := w.Items(t.Context(), yorick, pubsub.ItemsRequest{Node: "many", Page: &c.page})
		text := fmt.Sprintf("%s, %d at %d %v", itemIDs(got.Items), got.Count, got.Index, got.Complete)
		if err != nil {
			text = "!" + condition(err)
		}
		if text != c.want {
			t.Errorf("%s: got %q, want %q", c.name, text, c.want)
		}
	}
}
