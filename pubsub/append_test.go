package pubsub_test

import (
	"fmt"
	"strings"
	"testing"

	"tidings"
	"tidings/journal"
	"tidings/pubsub"
)

// event is one as those publish who do it by another way.
func event(node, id, contentType, payload string) tidings.Event {
	t, err := tidings.TopicOfNode(node)
	if err != nil {
		panic(err)
	}
	return tidings.Event{Topic: t, ID: id, ContentType: contentType, Payload: []byte(payload), Publisher: "token:bot"}
}

// The rules of a node hold whichever way its events come.
func TestAppend(t *testing.T) {
	const atom, json = "application/atom+xml", "application/json"
	retract := event("full", "nothing", "", "")
	retract.Kind, retract.Payload = tidings.Retract, nil
	nothing := event("open", "a", "", "")
	nothing.Payload = nil
	bell := event("bells", "", "", "")
	bell.Payload = nil
	for _, c := range []struct {
		name   string
		events []tidings.Event
		want   string
	}{
		{"nothing", nil, ""},
		{"a topic without a node", []tidings.Event{event("/rc/big", "a", json, strings.Repeat("1", 20))}, ""},
		{"a node", []tidings.Event{event("open", "a", "text/plain", "x"), event("open", "b", "text/plain", "x")}, ""},
		{"an empty text", []tidings.Event{event("open", "a", "text/plain", "")}, ""},
		{"no payload", []tidings.Event{nothing}, "bad-request payload-required"},
		{"the service's limit", []tidings.Event{event("open", "a", json, strings.Repeat("1", 1<<20+1))}, "not-acceptable payload-too-big"},
		{"the node's limit", []tidings.Event{event("small", "a", json, "1"), event("small", "b", json, "12345678901")}, "not-acceptable payload-too-big"},
		{"within it", []tidings.Event{event("small", "a", json, "1234567890")}, ""},
		{"the namespace", []tidings.Event{event("atoms", "a", atom, "<?xml version='1.0'?>\n<!-- x --><entry xmlns='http://www.w3.org/2005/Atom'/>")}, ""},
		{"the namespace by a prefix", []tidings.Event{event("atoms", "a", "text/xml; charset=utf-8", "<a:entry xmlns:a='http://www.w3.org/2005/Atom'/>")}, ""},
		{"an entry is made of text", []tidings.Event{event("atoms", "a", "text/plain", "x")}, ""},
		{"another namespace", []tidings.Event{event("atoms", "a", "application/xml", "<entry xmlns:a='http://www.w3.org/2005/Atom'/>")}, "bad-request invalid-payload"},
		{"no XML", []tidings.Event{event("atoms", "a", "application/xml", "entry")}, "bad-request invalid-payload"},
		{"JSON among atoms", []tidings.Event{event("atoms", "a", json, "{}")}, "bad-request invalid-payload"},
		{"JSON where it is wanted", []tidings.Event{event("jsons", "a", "application/cloudevents+json", "{}")}, ""},
		{"a full node", []tidings.Event{event("full", "c", json, "1")}, "conflict node-full"},
		{"a full node, without an id", []tidings.Event{event("full", "", json, "1")}, "conflict node-full"},
		{"a new version", []tidings.Event{event("full", "a", json, "1"), event("full", "b", json, "1")}, ""},
		{"room made before", []tidings.Event{func() tidings.Event { e := retract; e.ID = "a"; return e }(), event("full", "c", json, "1")}, ""},
		{"a retraction", []tidings.Event{retract}, ""},
		{"an item where there is none", []tidings.Event{event("bells", "", json, "1")}, "bad-request item-forbidden"},
		{"an id where there is none", []tidings.Event{func() tidings.Event { e := bell; e.ID = "a"; return e }()}, "bad-request item-forbidden"},
		{"a notification", []tidings.Event{bell}, ""},
		{"moved", []tidings.Event{event("moved", "a", json, "1")}, "gone xmpp:pubsub.denmark.lit?;node=open"},
		{"several topics", []tidings.Event{event("open", "a", json, "1"), event("atoms", "a", json, "1")}, "other: pubsub: the events are of several topics"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := court(t)
			w.node("small", "max_payload_size=10")
			w.node("atoms", "type=http://www.w3.org/2005/Atom")
			w.node("jsons", "type=urn:xmpp:json:0")
			w.node("full", "max_items=2", "publish_node_full=reject")
			w.publish(hamlet, "full", "a", "b")
			w.node("bells", "persist_items=0", "deliver_payloads=0")
			before := w.j.Head()
			done, err := w.Append(t.Context(), c.events...)
			w.want("append", err, c.want)
			if err == nil && len(done) != len(c.events) {
				t.Errorf("%d results", len(done))
			}
			if err == nil && len(done) > 0 && done[0].Position.Offset != before.Offset+1 || err != nil && w.j.Head() != before {
				t.Errorf("%v: the head was %s and is %s, with %+v", err, before, w.j.Head(), done)
			}
		})
	}
}

// What makes room for an item does so for one that came by another way, and not for a repeat.
func TestAppendMakesRoom(t *testing.T) {
	w := newWorld(t)
	w.node("retract", "max_items=2", "publish_node_full=retract-oldest")
	w.node("reject", "max_items=2", "publish_node_full=reject")
	keyed := func(node, key string) tidings.Event {
		e := event(node, "", "text/plain", "x")
		e.Key = key
		return e
	}
	for _, c := range []struct {
		node      string
		keys      []string
		duplicate bool
		want      string // the error; else how many items were let go
	}{
		{"retract", []string{"k1"}, false, "0"},
		{"retract", []string{"k2"}, false, "0"},
		{"retract", []string{"k3"}, false, "1"},
		{"retract", []string{"k3"}, true, "1"},
		{"retract", []string{"k4", "k5"}, false, "3"},
		{"retract", []string{"k4", "k5"}, true, "3"},
		{"reject", []string{"r1", "r2"}, false, "0"},
		{"reject", []string{"r2"}, true, "0"},
		{"reject", []string{"r3"}, false, "conflict node-full"},
		{"reject", []string{"r1", "r3"}, false, "conflict node-full"},
	} {
		name := c.node + " " + fmt.Sprint(c.keys)
		var events []tidings.Event
		for _, k := range c.keys {
			events = append(events, keyed(c.node, k))
		}
		done, err := w.Append(t.Context(), events...)
		if err != nil {
			w.want(name, err, c.want)
			continue
		}
		for _, d := range done {
			if d.Duplicate != c.duplicate {
				t.Errorf("%s: %+v", name, done)
			}
		}
		evs, _, err := w.j.Read(t.Context(), w.j.Oldest(), []tidings.Pattern{tidings.MustPattern("/~" + c.node)}, 100)
		w.must(err)
		gone := 0
		for i := range evs {
			if evs[i].Kind == tidings.Retract {
				gone++
			}
		}
		if fmt.Sprint(gone) != c.want {
			t.Errorf("%s: %d items were let go, want %s", name, gone, c.want)
		}
	}
	if got := strings.Fields(w.ids(yorick, "retract")); len(got) != 2 {
		t.Errorf("the node has %s", got)
	}
}

// Nothing but the program itself creates a node where nobody may.
func TestCreateByNobody(t *testing.T) {
	w := openWorld(t, journal.NewMemory(journal.Options{}), pubsub.Options{Create: pubsub.ByNobody})
	w.topic("/rc", "1")
	for _, who := range []pubsub.Entity{hamlet, admin, anonymous} {
		_, err := w.Create(t.Context(), who, "n", nil)
		w.want(who.JID, err, "feature-not-implemented unsupported create-nodes")
		_, err = w.Publish(t.Context(), who, "n", []pubsub.NewItem{item("a")}, nil)
		w.want(who.JID+" publishes", err, "item-not-found")
	}
	if _, err := w.Create(t.Context(), system, "n", nil); err != nil {
		t.Error(err)
	}
	w.must(w.Configure(t.Context(), admin, "/rc", values("title=Changes"))) // it is there
	for _, f := range w.Features() {
		if strings.Contains(f, "create") || strings.Contains(f, "instant") {
			t.Errorf("it has %s", f)
		}
	}
	if a, b := len(newWorld(t).Features()), len(pubsub.Features()); a != b {
		t.Errorf("a service has %d features of %d", a, b)
	}
}

// A topic of which nothing is left to read is told from one that has events.
func TestEmptied(t *testing.T) {
	w := newWorld(t)
	w.topic("/rc", "1")
	for _, n := range []string{"purged", "deleted", "again", "kept"} {
		w.node(n)
		w.publish(hamlet, n, "a")
	}
	w.must(w.Purge(t.Context(), hamlet, "purged"))
	w.must(w.Delete(t.Context(), hamlet, "deleted", ""))
	w.must(w.Delete(t.Context(), hamlet, "again", ""))
	w.topic("/~again", "b")
	for topic, want := range map[tidings.Topic]bool{"/~purged": true, "/~deleted": true, "/~again": false, "/~kept": false, "/rc": false, "/nothing": false} {
		if got, err := w.Emptied(t.Context(), topic); err != nil || got != want {
			t.Errorf("%s: %t, %v", topic, got, err)
		}
	}
}

// What sessions have left at a crash is swept when the service comes back, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	open := func() *world {
		j, err := journal.OpenJetStream(t.Context(), journal.Options{Dir: dir, Durability: journal.Interval})
		if err != nil {
			t.Fatal(err)
		}
		return openWorld(t, j, pubsub.Options{})
	}
	w := open()
	for _, n := range []string{"n", "m"} {
		w.node(n, "notify_sub=1")
		w.subscribe(yorick, n)
		w.subscribe(anonymous, n)
		w.subscribe(anonymous, n, "deliver=0")
		_, err := w.Subscribe(t.Context(), stranger, n, stranger.JID, nil)
		w.must(err)
		_, err = w.Subscribe(t.Context(), hamlet, n, hamlet.JID, nil)
		w.must(err)
	}
	w.subscribe(anonymous, "/rc/*")
	w.close()
	w = open()
	gone := func(bare, resource string) bool {
		if resource == "" {
			t.Errorf("the bare JID %s is asked for", bare)
		}
		return bare == "f81d4fae@denmark.lit"
	}
	if n, err := w.Sweep(t.Context(), gone); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got := w.heard.take(); strings.Count(got, "f81d4fae@denmark.lit/guest at") != 5 || strings.Count(got, "\n") != 4 {
		t.Errorf("told\n%s", got)
	}
	if n, err := w.Sweep(t.Context(), gone); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	w.close()
	w = open()
	if subs, err := w.Subscriptions(anonymous, ""); err != nil || len(subs) > 0 {
		t.Errorf("left: %+v, %v", subs, err)
	}
	if st := w.Stats(); st.Subscriptions != 6 || st.Malformed != 0 {
		t.Errorf("%+v", st)
	}
}
