package pubsub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"tidings"
	"tidings/hub"
	"tidings/journal"
	"tidings/pubsub"
)

// ids is a form that writes an item's ID.
type ids struct{}

func (ids) Key() string                                      { return "ids" }
func (ids) Append(dst []byte, it *hub.Item) []byte           { return fmt.Appendf(dst, "%s ", it.ItemID()) }
func (ids) AppendGap(dst []byte, _ *tidings.GapError) []byte { return append(dst, "gap "...) }
func (ids) AppendEnd(dst []byte, err error) []byte           { return append(dst, "end "...) }
func (ids) AppendGoodbye(dst []byte) []byte                  { return dst }

type deaf struct{}

func (deaf) Wake() {}

// reader reads the hub as an outlet does, whichever its protocol.
func (w *world) reader(who pubsub.Entity, after tidings.Position, patterns ...string) (*hub.Subscription, error) {
	s, err := w.hub.Subscribe(hub.Request{After: after, Query: query(patterns...), Actor: who.Actor, Form: ids{}, NewWaker: func() hub.Waker { return deaf{} }})
	if err == nil {
		w.Cleanup(s.Close)
	}
	return s, err
}

// read returns what the subscription has.
func (w *world) read(s *hub.Subscription) string {
	w.must(w.hub.Drain(w.ctx()))
	var b strings.Builder
	for {
		p, st := s.Next()
		switch st {
		case hub.AtHead:
			return strings.TrimSpace(b.String())
		case hub.Lagging:
			s.Fetch(context.Background())
		case hub.Over:
			b.Write(p)
			return strings.TrimSpace(b.String())
		case hub.HasBytes:
			b.Write(p)
			s.Advance(len(p))
		}
	}
}

// Whatever takes a right away ends the readers that it forbids, in every protocol, before it returns.
func TestReadersEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		conf   string
		change func(w *world)
		want   map[string]string // what each of the readers has after the change and one more item
	}{
		{"a ban", "open", func(w *world) { w.affiliate("n", "yorick@denmark.lit=outcast") },
			map[string]string{"anonymous": "a b", "yorick": "end", "horatio": "a b", "all": "a b", "yorick all": "end", "horatio all": "a b"}},
		{"whitelist", "open", func(w *world) { w.must(w.Configure(w.ctx(), hamlet, "n", values("access_model=whitelist"))) },
			map[string]string{"anonymous": "end", "yorick": "end", "horatio": "a b", "all": "", "yorick all": "", "horatio all": "end"}},
		{"a member less", "whitelist", func(w *world) { w.affiliate("n", "horatio@denmark.lit=none") },
			map[string]string{"horatio": "end", "all": "", "yorick all": "", "horatio all": "end"}},
		{"a member more", "whitelist", func(w *world) { w.affiliate("n", "yorick@denmark.lit=member") },
			map[string]string{"horatio": "a b", "all": "", "yorick all": "end", "horatio all": "a b"}},
		{"a publisher more", "open", func(w *world) { w.affiliate("n", "yorick@denmark.lit=publisher") },
			map[string]string{"anonymous": "a b", "yorick": "a b", "horatio": "a b", "all": "a b", "yorick all": "a b", "horatio all": "a b"}},
		{"a subscription withdrawn", "authorize", func(w *world) {
			w.must(w.SetSubscriptions(w.ctx(), hamlet, "n", []pubsub.Subscription{{JID: "yorick@denmark.lit", State: pubsub.NotThere}}))
		}, map[string]string{"yorick": "end", "horatio": "a b", "all": "", "yorick all": "end", "horatio all": "a b"}},
		{"open", "whitelist", func(w *world) { w.must(w.Configure(w.ctx(), hamlet, "n", values("access_model=open"))) },
			map[string]string{"horatio": "a b", "all": "b", "yorick all": "b", "horatio all": "end"}},
		{"purged", "open", func(w *world) { w.must(w.Purge(w.ctx(), hamlet, "n")) },
			map[string]string{"anonymous": "b", "yorick": "b", "horatio": "b", "all": "b", "yorick all": "b", "horatio all": "b"}},
		{"a title", "whitelist", func(w *world) { w.must(w.Configure(w.ctx(), hamlet, "n", values("title=x"))) },
			map[string]string{"horatio": "a b", "all": "", "yorick all": "", "horatio all": "a b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.node("n", "access_model="+c.conf)
			w.affiliate("n", "horatio@denmark.lit=member")
			if c.conf == "authorize" {
				w.subscribe(yorick, "n")
				w.must(w.Approve(t.Context(), hamlet, "n", "yorick@denmark.lit", "", true))
			}
			who := map[string]pubsub.Entity{"anonymous": anonymous, "yorick": yorick, "horatio": horatio, "all": anonymous, "yorick all": yorick, "horatio all": horatio}
			readers := map[string]*hub.Subscription{}
			for name, who := range who {
				pattern := "/~n"
				if strings.HasSuffix(name, "all") {
					pattern = "/**"
				}
				s, err := w.reader(who, w.hub.Head(), pattern)
				if _, want := c.want[name]; (err == nil) != want {
					t.Fatalf("%s subscribes: %v", name, err)
				}
				if err == nil {
					readers[name] = s
				}
			}
			w.publish(hamlet, "n", "a") // which they have not read before the change
			w.must(w.hub.Drain(t.Context()))
			c.change(w)
			w.publish(hamlet, "n", "b")
			for name, s := range readers {
				got := w.read(s)
				if got != c.want[name] {
					t.Errorf("%s has %q, want %q", name, got, c.want[name])
				}
			}
		})
	}
}

// What was public and is not any more, or was purged, is in no tail either.
func TestTailsAreJudgedAgain(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"whitelist": func(w *world) { w.must(w.Configure(w.ctx(), hamlet, "n", values("access_model=whitelist"))) },
		"purged":    func(w *world) { w.must(w.Purge(w.ctx(), hamlet, "n")) },
		"deleted":   func(w *world) { w.must(w.Delete(w.ctx(), hamlet, "n", "")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			start := w.hub.Head()
			w.node("n")
			s, err := w.reader(anonymous, start, "/**")
			w.must(err)
			w.publish(hamlet, "n", "a")
			w.topic("/rc", "1")
			w.must(w.hub.Drain(t.Context()))
			change(w)
			if got := w.read(s); got != "1" {
				t.Errorf("who was there has %q", got)
			}
			s, err = w.reader(anonymous, start, "/**")
			w.must(err)
			if got := w.read(s); got != "1" {
				t.Errorf("who comes has %q", got)
			}
		})
	}
}

// A pattern brings what its subscriber may read, and a deliverable query is what the hub takes.
func TestDeliverable(t *testing.T) {
	w := court(t)
	member, pattern := w.subscribe(horatio, "closed"), w.subscribe(horatio, "/**")
	other := w.subscribe(yorick, "/**")
	nodes := w.subscribe(horatio, "open", "subscription_type=nodes")
	w.publish(hamlet, "closed", "a")
	w.publish(hamlet, "open", "b")
	for _, c := range []struct {
		name string
		who  pubsub.Entity
		sub  pubsub.Subscription
		want string
	}{{"member", horatio, member, "a"}, {"pattern of a member", horatio, pattern, "a b"}, {"pattern of another", yorick, other, "b"}} {
		q, after, ok := w.Deliverable(&c.sub)
		if !ok {
			t.Fatalf("%s is not deliverable", c.name)
		}
		s, err := w.hub.Subscribe(hub.Request{After: after, Query: q, Actor: c.who.Actor, Form: ids{}, NewWaker: func() hub.Waker { return deaf{} }})
		w.must(err)
		if got := w.read(s); got != c.want {
			t.Errorf("%s has %q, want %q", c.name, got, c.want)
		}
		s.Close()
	}
	if _, _, ok := w.Deliverable(&nodes); ok {
		t.Error("a subscription of the type nodes brings items")
	}
	w.must(w.Configure(t.Context(), hamlet, "closed", values("deliver_notifications=0")))
	if _, _, ok := w.Deliverable(&member); ok {
		t.Error("a node that delivers no notifications does")
	}
}

// Tokens publish on their topics as ever, and read a node that is not open by a scope only.
func TestTokens(t *testing.T) {
	w := court(t)
	ctx := t.Context()
	token := func(scopes ...string) pubsub.Entity {
		_, secret, err := w.policy.Create(ctx, "t", scopes, 0)
		w.must(err)
		a, err := w.policy.Authenticate(secret)
		w.must(err)
		return pubsub.Entity{Actor: a, JID: "bot@denmark.lit/x"}
	}
	writer, reader, boss := token("publish:/**"), token("read:/~closed"), token("admin:/**")
	w.publish(writer, "/fresh", "a") // makes no node, and needs none
	if w.Lookup("/fresh") != nil || w.ids(yorick, "/fresh") != "a" {
		t.Errorf("a token's topic has %q", w.ids(yorick, "/fresh"))
	}
	w.publish(writer, "closed", "a")
	_, err := w.Items(ctx, writer, pubsub.ItemsRequest{Node: "closed"})
	w.want("reading by a scope to publish", err, "not-allowed closed-node")
	if got := w.ids(reader, "closed"); got != "a" {
		t.Errorf("by a scope to read there is %q", got)
	}
	w.want("managing by a scope to publish", w.Purge(ctx, writer, "closed"), "forbidden")
	w.must(w.Purge(ctx, boss, "closed"))
	if _, err := w.Create(ctx, boss, "/by/token", nil); err != nil {
		t.Error(err)
	}
	if affs, err := w.NodeAffiliations(ctx, boss, "/by/token"); err != nil || len(affs) != 0 {
		t.Errorf("a token's node is owned by %v, %v", affs, err)
	}
}

// Two processes on one journal see each other's changes, and so does one that comes later.
func TestTwoProcesses(t *testing.T) {
	j := journal.NewMemory(journal.Options{})
	a, b := openWorld(t, j, pubsub.Options{}), openWorld(t, j, pubsub.Options{})
	a.node("n", "access_model=authorize", "title=One")
	reader, err := b.reader(hamlet, b.hub.Head(), "/~n")
	b.must(err)
	b.subscribe(yorick, "n", "include_body=1")
	a.subscribe(yorick, "/rc/*")
	a.must(a.Approve(t.Context(), hamlet, "n", "yorick@denmark.lit", "", true))
	a.affiliate("n", "horatio@denmark.lit=owner", "polonius@denmark.lit=outcast")
	a.publish(hamlet, "n", "x")
	for name, w := range map[string]*world{"the other": b, "the same": a, "a later one": openWorld(t, j, pubsub.Options{})} {
		subs, err := w.Subscriptions(yorick, "")
		w.must(err)
		if len(subs) != 2 || subs[1].State != pubsub.Subscribed || !subs[1].Options.IncludeBody || subs[0].Node != "/rc/*" || subs[1].Since.Epoch != j.Head().Epoch {
			t.Errorf("%s: subscriptions %+v", name, subs)
		}
		affs, err := w.NodeAffiliations(t.Context(), horatio, "n")
		if err != nil || len(affs) != 3 {
			t.Errorf("%s: affiliations %v, %v", name, affs, err)
		}
		if c := w.Lookup("/~n"); c == nil || c.Title != "One" || c.AccessModel != pubsub.AccessAuthorize {
			t.Errorf("%s: config %+v", name, c)
		}
		if got := w.ids(yorick, "n"); got != "x" {
			t.Errorf("%s: items %q", name, got)
		}
	}
	if got, want := b.heard.take(), a.heard.take(); got != want || !strings.Contains(got, "yorick@denmark.lit at n: subscribed, was pending") {
		t.Errorf("one is told\n%s\nand the other\n%s", want, got)
	}
	if got := b.read(reader); got != "x" {
		t.Errorf("a reader at the other has %q", got)
	}
	a.affiliate("n", "hamlet@denmark.lit=outcast")
	if got := b.read(reader); got != "end" {
		t.Errorf("who was banned at one reads %q at the other", got)
	}
}

func TestReopened(t *testing.T) {
	dir := t.TempDir()
	open := func() *world {
		j, err := journal.OpenJetStream(context.Background(), journal.Options{Dir: dir, Durability: journal.Interval})
		if err != nil {
			t.Fatal(err)
		}
		return openWorld(t, j, pubsub.Options{})
	}
	long := "/" + strings.Repeat("l", 250) + "/" + strings.Repeat("m", 250)
	w := open()
	for _, n := range []string{"n", long, "gone", "http://jabber.org/protocol/tune"} {
		w.node(n, "access_model=whitelist", "max_items=2")
		w.affiliate(n, "horatio@denmark.lit=member")
		w.subscribe(horatio, n, "deliver=0")
		w.publish(hamlet, n, "a", "b", "c")
	}
	w.subscribe(yorick, long+"*")
	w.must(w.Delete(t.Context(), hamlet, "gone", ""))
	w.close()
	w = open()
	if got := fmt.Sprint(w.Nodes(hamlet)); got != fmt.Sprintf("[%s /~http%%3A%%2F%%2Fjabber.org%%2Fprotocol%%2Ftune /~n]", long) {
		t.Errorf("nodes %s", got)
	}
	for _, n := range []string{"n", long, "http://jabber.org/protocol/tune"} {
		if got := w.ids(horatio, n); got != "b c" {
			t.Errorf("%.20s has %q", n, got)
		}
		subs, err := w.Subscriptions(horatio, n)
		if err != nil || len(subs) != 1 || subs[0].Options.Deliver || subs[0].Node != n {
			t.Errorf("%.20s: %+v, %v", n, subs, err)
		}
	}
	if subs, err := w.Subscriptions(yorick, ""); err != nil || len(subs) != 1 || subs[0].Node != long+"*" {
		t.Errorf("a pattern: %+v, %v", subs, err)
	}
	w.node("gone")
	if got := w.ids(hamlet, "gone"); got != "" {
		t.Errorf("a node in another's place has %q", got)
	}
	w.must(w.Unsubscribe(t.Context(), horatio, long, bare(horatio), ""))
	w.must(w.Delete(t.Context(), hamlet, long, ""))
	w.close()
	w = open()
	if st := w.Stats(); st.Nodes != 3 || st.Subscriptions != 3 || st.Malformed != 0 {
		t.Errorf("%+v", st)
	}
}
