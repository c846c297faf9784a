package pubsub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	model "tidings/pubsub"
	"tidings/xmpp/xmpptest"
)

// Who asks for digests (pubsub#digest) has what waits for them in one message with the id of the last item; others have it one by
// one. What was not acknowledged comes again, and what takes the place of digests begins behind them.
func TestLinkDigest(t *testing.T) {
	t.Parallel()
	w, h, at := newWorld(t), xmpptest.NewHost(t, secret), &places{}
	const romeo, juliet = "romeo@example.org", "juliet@other.lit"
	p := run(w, h, at, false, linked)
	p.create("/news", nil)
	p.create("/other", nil)
	p.must(h, romeo+"/phone", linked, inPubSub("<subscribe node='/*' jid='"+romeo+"'/><options>"+config("digest", "1")+"</options>"))
	p.must(h, juliet+"/balcony", linked, subscribe("/*", juliet))
	p.stop()
	h.Take(linked)

	q := run(w, h, at, false)
	q.publish("/news", "1", "2", "3")
	q.publish("/other", "4", "5")
	q.stop()
	p = run(w, h, at, false, linked)
	h.Wait(linked, "to='"+juliet+"'", "'5'")
	p.publish("/news", "6")
	p.stop()
	all := h.Take(linked)
	p.expect(all, map[string][]string{romeo: {"1", "2", "3", "4", "5", "6"}, juliet: {"1", "2", "3", "4", "6"}})
	last := func(node, id string) string {
		t.Helper()
		got, err := p.model.Last(context.Background(), model.Entity{Actor: entity(juliet).Actor, JID: juliet}, node)
		if err != nil || got.ItemID() != id {
			t.Fatalf("%+v, %v", got, err)
		}
		return got.Position.String()
	}
	var messages []string
	for _, st := range all {
		if strings.Contains(st, "to='"+romeo+"'") {
			messages = append(messages, st)
		}
	}
	if len(messages) != 3 {
		t.Fatalf("%d messages: %q", len(messages), messages)
	}
	if id := last("/other", "5"); !strings.Contains(messages[1], " id='"+id+"'>") || !strings.Contains(messages[1], "by='"+linked+"' id='"+id+"'/>") {
		t.Errorf("the digest has not the id of its last item, %s: %s", id, messages[1])
	}

	// Unacknowledged digests, and then something else in their place.
	q = run(w, h, at, false)
	var ids []string
	for n := 7; n < 87; n++ {
		ids = append(ids, fmt.Sprint(n))
	}
	q.publish("/news", ids...)
	q.stop()
	h.Deaf(true)
	p = run(w, h, at, false, linked)
	h.Wait(linked, "to='"+romeo+"'", "'86'")
	h.Wait(linked, "to='"+juliet+"'", "'86'")
	if err := p.model.SetOptions(context.Background(), entity(romeo), "/*", romeo, "", model.Values{"digest": {"0"}}); err != nil {
		t.Fatal(err)
	}
	p.publish("/news", "87", "88")
	h.Wait(linked, "to='"+romeo+"'", "'88'")
	h.Wait(linked, "to='"+juliet+"'", "'88'")
	h.Take(linked)
	h.Deaf(false)
	h.Cut(linked)
	p.publish("/news", "89")
	h.Wait(linked, "to='"+romeo+"'", "'89'")
	h.Wait(linked, "to='"+juliet+"'", "'89'")
	p.stop()
	ids = append(ids, "87", "88")
	p.expect(h.Take(linked), map[string][]string{romeo: ids, juliet: ids})
}
