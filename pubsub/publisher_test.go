package pubsub_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidings"
	"tidings/journal"
	"tidings/pubsub"
)

func TestSection7Publish(t *testing.T) {
	big := item("big")
	big.Payload = make([]byte, 2<<20)
	other := item("x")
	other.Namespace = "jabber:client"
	for _, c := range []struct {
		name  string
		who   pubsub.Entity
		node  string
		items []pubsub.NewItem
		conf  []string
		want  string // the error, or what is in the node after it
	}{
		{"7.1.2 owner", hamlet, "open", []pubsub.NewItem{item("a")}, nil, "=a"},
		{"7.1.2 publisher", bernardo, "closed", []pubsub.NewItem{item("a")}, nil, "=a"},
		{"7.1.2 publish-only", francisco, "open", []pubsub.NewItem{item("a")}, nil, "=a"},
		{"7.1.2 several", hamlet, "open", []pubsub.NewItem{item("a"), item("b")}, nil, "=a b"},
		{"7.1.2 administrator", admin, "closed", []pubsub.NewItem{item("a")}, nil, "=a"},
		{"7.1.2 system", system, "/rc", []pubsub.NewItem{item("a")}, nil, "=1 2 a"},
		{"7.1.3.1 nobody", yorick, "open", []pubsub.NewItem{item("a")}, nil, "forbidden"},
		{"7.1.3.1 member", horatio, "open", []pubsub.NewItem{item("a")}, nil, "forbidden"},
		{"7.1.3.1 blocked", polonius, "open", []pubsub.NewItem{item("a")}, nil, "forbidden"},
		{"7.1.3.1 anonymous", anonymous, "open", []pubsub.NewItem{item("a")}, nil, "forbidden"},
		{"7.1.3.1 a topic without a node", hamlet, "/rc", []pubsub.NewItem{item("a")}, nil, "forbidden"},
		{"7.1.3.3 no such node", stranger, "nothing", []pubsub.NewItem{item("a")}, nil, "item-not-found"},
		{"7.1.3.3 no such node, anonymous", anonymous, "nothing", []pubsub.NewItem{item("a")}, nil, "item-not-found"},
		{"7.1.3.3 moved", hamlet, "moved", []pubsub.NewItem{item("a")}, nil, "gone xmpp:pubsub.denmark.lit?;node=open"},
		{"7.1.3.3 reserved", hamlet, "/recentchange/denmark.lit", []pubsub.NewItem{item("a")}, nil, "item-not-found"},
		{"7.1.3.2 pattern", hamlet, "/open/*", []pubsub.NewItem{item("a")}, nil, "feature-not-implemented unsupported publish"},
		{"7.1.3 no node", hamlet, "", []pubsub.NewItem{item("a")}, nil, "bad-request nodeid-required"},
		{"7.1.3.5 payload too big", hamlet, "open", []pubsub.NewItem{item("a"), big}, nil, "not-acceptable payload-too-big"},
		{"7.1.3.6 another namespace", hamlet, "atoms", []pubsub.NewItem{other}, nil, "bad-request invalid-payload"},
		{"7.1.3.6 the namespace", hamlet, "atoms", []pubsub.NewItem{item("a")}, nil, "=a"},
		{"7.1.3.5 the node's limit", hamlet, "small", []pubsub.NewItem{item("a")}, nil, "not-acceptable payload-too-big"},
		{"7.1.3.7 no item", hamlet, "open", nil, nil, "bad-request item-required"},
		{"7.1.3.7 no payload", hamlet, "open", []pubsub.NewItem{{ID: "a"}}, nil, "bad-request payload-required"},
		{"7.1.3.7 an item where there is none", hamlet, "bells", []pubsub.NewItem{item("a")}, nil, "bad-request item-forbidden"},
		{"7.1.3.7 a notification", hamlet, "bells", nil, nil, "="},
		{"7.1.3.7 a payload not needed", hamlet, "names", []pubsub.NewItem{{ID: "a"}}, nil, "=a"},
		{"7.1.3 an ID that is none", hamlet, "open", []pubsub.NewItem{item("a\x00")}, nil, "bad-request"},
		{"7.1.4 created", hamlet, "new", []pubsub.NewItem{item("a")}, nil, "=a"},
		{"7.1.5 created with options", hamlet, "new", []pubsub.NewItem{item("a")}, []string{"access_model=whitelist"}, "=a"},
		{"7.1.5 bad options", hamlet, "new", []pubsub.NewItem{item("a")}, []string{"access_model=presence"}, "not-acceptable unsupported-access-model"},
		{"7.1.5 met", hamlet, "closed", []pubsub.NewItem{item("a")}, []string{"access_model=whitelist", "persist_items=true", "max_items=max"}, "=a"},
		{"7.1.5 met by another word", hamlet, "closed", []pubsub.NewItem{item("a")}, []string{"max_items=10000"}, "=a"},
		{"7.1.5 not met", hamlet, "closed", []pubsub.NewItem{item("a")}, []string{"access_model=open"}, "conflict precondition-not-met"},
		{"7.1.5 unknown", hamlet, "closed", []pubsub.NewItem{item("a")}, []string{"fly=1"}, "conflict precondition-not-met"},
		{"7.1.3.1 subscribers", yorick, "talk", []pubsub.NewItem{item("a")}, nil, "=a"},
		{"7.1.3.1 no subscriber", horatio, "talk", []pubsub.NewItem{item("a")}, nil, "forbidden"},
		{"7.1.3.1 anyone", yorick, "wall", []pubsub.NewItem{item("a")}, nil, "=a"},
		{"7.1.3.1 anyone, foreign", stranger, "wall", []pubsub.NewItem{item("a")}, nil, "=a"},
		{"7.1.3.1 anyone, but the anonymous", anonymous, "wall", []pubsub.NewItem{item("a")}, nil, "forbidden"},
		{"7.1.3.1 anyone, but outcasts", polonius, "wall", []pubsub.NewItem{item("a")}, nil, "forbidden"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := court(t)
			w.node("atoms", "type=http://www.w3.org/2005/Atom")
			w.node("small", "max_payload_size=10")
			w.node("bells", "persist_items=0", "deliver_payloads=0")
			w.node("names", "deliver_payloads=0")
			w.node("talk", "publish_model=subscribers")
			w.node("wall", "publish_model=open")
			w.affiliate("wall", "polonius@denmark.lit=outcast")
			w.subscribe(yorick, "talk")
			before := w.j.Head()
			got, err := w.Publish(t.Context(), c.who, c.node, c.items, values(c.conf...))
			if want, ok := strings.CutPrefix(c.want, "="); ok {
				w.want("publish", err, "")
				if c.node == "bells" {
					if w.j.Head() == before {
						t.Error("no notification")
					}
				} else if ids := w.ids(system, c.node); ids != want {
					t.Errorf("the node has %q, want %q", ids, want)
				}
				if len(got) != max(len(c.items), 1) || got[0].Position.IsZero() || len(c.items) > 0 && got[0].ID != c.items[0].ID {
					t.Errorf("published %+v", got)
				}
				return
			}
			w.want("publish", err, c.want)
			if w.j.Head() != before {
				t.Error("something was published")
			}
		})
	}
}

func TestSection7Names(t *testing.T) {
	w := newWorld(t)
	w.node("open")
	got, err := w.Publish(t.Context(), hamlet, "open", []pubsub.NewItem{item(""), item("")}, nil)
	w.must(err)
	if got[0].ID != got[0].Position.String() || got[0].ID == got[1].ID || w.ids(yorick, "open") != got[0].ID+" "+got[1].ID {
		t.Errorf("7.1.3.7: items without an ID are %+v, and the node has %s", got, w.ids(yorick, "open"))
	}
	// An item that has no ID of its own can be retracted by the one it was given.
	w.must(w.Retract(t.Context(), hamlet, "open", false, got[0].ID))
	if w.ids(yorick, "open") != got[1].ID {
		t.Errorf("the node has %s", w.ids(yorick, "open"))
	}
	e, err := w.j.Last(t.Context(), "/~open")
	if err != nil || e.Kind != tidings.Retract || e.Publisher != "user:hamlet@denmark.lit" {
		t.Errorf("the last event is %+v, %v", e, err)
	}
}

func TestSection7NodeFull(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.node("reject", "max_items=2", "publish_node_full=reject")
	w.node("retract", "max_items=2", "publish_node_full=retract-oldest")
	w.node("discard", "max_items=2")
	for _, node := range []string{"reject", "retract", "discard"} {
		w.publish(hamlet, node, "a", "b", "a")
	}
	_, err := w.Publish(ctx, hamlet, "reject", []pubsub.NewItem{item("c")}, nil)
	w.want("7.1.3.4 full", err, "conflict node-full")
	for _, node := range []string{"reject", "retract", "discard"} {
		_, err := w.Publish(ctx, hamlet, node, []pubsub.NewItem{item("a"), item("b"), item("c")}, nil)
		w.want("more than fit at once", err, "not-allowed max-items-exceeded")
	}
	_, err = w.Publish(ctx, hamlet, "tiny", []pubsub.NewItem{item("a"), item("b")}, values("max_items=1"))
	w.want("more than fit into a node that is created", err, "not-allowed max-items-exceeded")
	_, err = w.Config(ctx, hamlet, "tiny")
	w.want("which is not created", err, "item-not-found")
	w.publish(hamlet, "reject", "b")
	w.publish(hamlet, "retract", "c")
	w.publish(hamlet, "discard", "c", "d")
	for node, want := range map[string]string{"reject": "a b", "retract": "a c", "discard": "c d"} {
		if got := w.ids(yorick, node); got != want {
			t.Errorf("%s has %q, want %q", node, got, want)
		}
	}
	evs, _, err := w.j.Read(ctx, w.j.Oldest(), []tidings.Pattern{tidings.MustPattern("/~retract")}, 10)
	w.must(err)
	if len(evs) != 5 || evs[3].Kind != tidings.Retract || evs[3].ID != "b" || evs[4].ID != "c" {
		t.Errorf("retracted: %+v", evs)
	}
	w.must(w.Retract(ctx, hamlet, "reject", false, "a"))
	w.publish(hamlet, "reject", "c")
	// More or fewer of them.
	w.must(w.Configure(ctx, hamlet, "discard", values("max_items=1")))
	if got := w.ids(yorick, "discard"); got != "d" {
		t.Errorf("with fewer items: %q", got)
	}
	w.must(w.Configure(ctx, hamlet, "discard", values("max_items=max")))
	if got := w.ids(yorick, "discard"); got != "b a c d" {
		t.Errorf("with more items: %q", got)
	}
}

// What has been pushed out does not come back: who reads the log from its end has the same items as who has followed it.
func TestItemsPushedOut(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		j := journal.NewMemory(journal.Options{})
		w := openWorld(t, j, pubsub.Options{})
		defer w.close()
		most := rapid.IntRange(1, 4).Draw(r, "max_items")
		w.node("n", fmt.Sprint("max_items=", most))
		var want []string
		for _, op := range rapid.SliceOfN(rapid.IntRange(0, 13), 1, 60).Draw(r, "operations") {
			id := string(rune('a' + op%7))
			there := slices.Contains(want, id)
			switch {
			case op < 7 || !there:
				w.publish(hamlet, "n", id)
				want = append(slices.DeleteFunc(want, func(x string) bool { return x == id }), id)
				want = want[max(0, len(want)-most):]
			default:
				w.must(w.Retract(t.Context(), hamlet, "n", false, id))
				want = slices.DeleteFunc(want, func(x string) bool { return x == id })
			}
			if rapid.IntRange(0, 3).Draw(r, "asked") == 0 {
				if got := w.ids(yorick, "n"); got != strings.Join(want, " ") {
					r.Fatalf("the node has %q, want %q", got, want)
				}
			}
		}
		other := openWorld(t, j, pubsub.Options{})
		defer other.close()
		for _, w := range []*world{w, other} {
			if got := w.ids(yorick, "n"); got != strings.Join(want, " ") {
				r.Fatalf("the node has %q, want %q", got, want)
			}
		}
	})
}

func TestSection7ItemExpire(t *testing.T) {
	w := newWorld(t)
	w.node("news", "item_expire=60")
	_, err := w.j.Append(t.Context(), tidings.Event{Topic: "/~news", ID: "old", Time: time.Now().Add(-time.Hour)}, tidings.Event{Topic: "/~news", ID: "new", Time: time.Now()})
	w.must(err)
	if got := w.ids(yorick, "news"); got != "new" {
		t.Errorf("items %q", got)
	}
	w.want("retracting what has expired", w.Retract(t.Context(), hamlet, "news", false, "old"), "item-not-found")
	w.must(w.Configure(t.Context(), hamlet, "news", values("item_expire=max")))
	if got := w.ids(yorick, "news"); got != "old new" {
		t.Errorf("items that do not expire: %q", got)
	}
}

func TestSection7Retract(t *testing.T) {
	w := court(t)
	w.publish(hamlet, "open", "a", "b", "c")
	w.publish(bernardo, "open", "d", "e")
	w.publish(francisco, "open", "f")
	for _, c := range []struct {
		name string
		who  pubsub.Entity
		node string
		ids  []string
		want string
	}{
		{"7.2.3.1 nobody", yorick, "open", []string{"a"}, "forbidden"},
		{"7.2.3.1 member", horatio, "open", []string{"a"}, "forbidden"},
		{"7.2.3.1 another publisher's", bernardo, "open", []string{"d", "a"}, "forbidden"},
		{"7.2.3.1 anonymous", anonymous, "open", []string{"a"}, "forbidden"},
		{"7.2.3.1 topic", hamlet, "/rc", []string{"1"}, "forbidden"},
		{"7.2.3.2 no such node", hamlet, "nothing", []string{"a"}, "item-not-found"},
		{"7.2.3.2 no such item", hamlet, "open", []string{"a", "nothing"}, "item-not-found"},
		{"7.2.3.3 no node", hamlet, "", []string{"a"}, "bad-request nodeid-required"},
		{"7.2.3.4 no item", hamlet, "open", nil, "bad-request item-required"},
		{"7.2.3.4 no ID", hamlet, "open", []string{""}, "bad-request item-required"},
		{"7.2.3.5 items not kept", hamlet, "silent", []string{"a"}, "feature-not-implemented unsupported persistent-items"},
		{"7.2.2 owner", hamlet, "open", []string{"a", "d"}, ""},
		{"7.2.2 own", bernardo, "open", []string{"e"}, ""},
		{"7.2.2 own, publish-only", francisco, "open", []string{"f"}, ""},
		{"7.2.2 administrator", admin, "/rc", []string{"1"}, ""},
		{"7.2.3.2 gone", hamlet, "open", []string{"a"}, "item-not-found"},
	} {
		w.want(c.name, w.Retract(t.Context(), c.who, c.node, false, c.ids...), c.want)
	}
	if got := w.ids(yorick, "open") + ", " + w.ids(yorick, "/rc"); got != "b c, 2" {
		t.Errorf("what is left: %q", got)
	}
}
