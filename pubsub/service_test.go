package pubsub_test

import "testing"

func TestLife(t *testing.T) {
	w := newWorld(t)
	w.node("princely_musings")
	w.wantHeard("create", "created princely_musings")
	w.subscribe(bernardo, "princely_musings")
	w.wantHeard("subscribe", "bernardo@denmark.lit at princely_musings: subscribed, was none")
	w.publish(hamlet, "princely_musings", "a", "b", "a")
	if got := w.ids(bernardo, "princely_musings"); got != "b a" {
		t.Errorf("items %q", got)
	}
	w.must(w.Retract(w.ctx(), hamlet, "princely_musings", false, "b"))
	if got := w.ids(bernardo, "princely_musings"); got != "a" {
		t.Errorf("items %q", got)
	}
	w.must(w.Purge(w.ctx(), hamlet, "princely_musings"))
	w.wantHeard("purge", "purged princely_musings to [bernardo@denmark.lit]")
	if got := w.ids(bernardo, "princely_musings"); got != "" {
		t.Errorf("items %q", got)
	}
	w.must(w.Delete(w.ctx(), hamlet, "princely_musings", ""))
	w.wantHeard("delete", "deleted princely_musings to [bernardo@denmark.lit]")
	w.node("princely_musings")
	if subs, err := w.Subscriptions(bernardo, ""); err != nil || len(subs) > 0 {
		t.Errorf("subscriptions of an earlier node: %v, %v", subs, err)
	}
}
