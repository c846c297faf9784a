package pubsub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"tidings"
	"tidings/access"
	"tidings/hub"
	"tidings/journal"
	"tidings/pubsub"
)

// world is a service over a journal in memory, with the hub and the policy that it needs.
type world struct {
	testing.TB
	*pubsub.Service
	j      journal.Journal
	hub    *hub.Hub
	policy *access.Policy
	heard  *heard
}

// heard is what a listener was told.
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) add(n pubsub.Notification) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, text(n))
}

// take returns what was told since the last call.
func (h *heard) take() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := strings.Join(h.all, "\n")
	h.all = nil
	return out
}

// text is a notification in one line.
func text(n pubsub.Notification) string {
	var subs []string
	for _, s := range n.Subscriptions {
		subs = append(subs, s.JID)
	}
	switch n.Event {
	case pubsub.NodeCreated:
		return "created " + n.Node
	case pubsub.NodeConfigured:
		return fmt.Sprintf("configured %s %s to %v", n.Node, n.Config.AccessModel, subs)
	case pubsub.NodePurged:
		return fmt.Sprintf("purged %s to %v", n.Node, subs)
	case pubsub.NodeDeleted:
		return strings.TrimSpace(fmt.Sprintf("deleted %s to %v %s", n.Node, subs, n.Redirect))
	case pubsub.SubscriptionChanged:
		return fmt.Sprintf("%s at %s: %s, was %s", n.Subscription.JID, n.Node, n.Subscription.State, n.Was)
	case pubsub.SubscriptionRequested:
		return fmt.Sprintf("%s asks %v for %s", n.Subscription.JID, n.Owners, n.Node)
	case pubsub.AffiliationChanged:
		return fmt.Sprintf("%s at %s is %s", n.Affiliated.JID, n.Node, n.Affiliated.Affiliation)
	}
	return fmt.Sprintf("event %d", n.Event)
}

func newWorld(t testing.TB) *world {
	return openWorld(t, journal.NewMemory(journal.Options{}), pubsub.Options{})
}

// openWorld opens a service over the journal, as a process does.
func openWorld(t testing.TB, j journal.Journal, o pubsub.Options) *world {
	t.Helper()
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	tokens, err := j.Bucket(ctx, "tokens")
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := j.Bucket(ctx, "nodes")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := access.Open(ctx, tokens, access.Options{Private: []tidings.Pattern{tidings.MustPattern("/private/**")}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, j: j, policy: policy, heard: &heard{}}
	w.hub = hub.New(j, policy, hub.Options{})
	policy.OnChange(w.hub.Recheck)
	o.Store, o.Log, o.Hub, o.Policy, o.Logger = nodes, j, w.hub, policy, log
	if o.Domain == "" {
		o.Domain = "denmark.lit"
	}
	o.Admins = append(o.Admins, "admin@denmark.lit")
	if w.Service, err = pubsub.Open(ctx, o); err != nil {
		t.Fatal(err)
	}
	w.Listen(w.heard.add)
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	w.Service.Close()
	w.hub.Close()
	w.policy.Close()
	w.j.Close()
}

// The people of XEP-0060's examples.
var (
	hamlet    = user("hamlet@denmark.lit/elsinore")
	bernardo  = user("bernardo@denmark.lit/watch")
	francisco = user("francisco@denmark.lit/barracks")
	horatio   = user("horatio@denmark.lit/wittenberg")
	polonius  = user("polonius@denmark.lit/curtain")
	stranger  = user("fortinbras@norway.lit/field")
	admin     = user("admin@denmark.lit/throne")
	anonymous = pubsub.Entity{JID: "f81d4fae@denmark.lit/guest"}
	system    = pubsub.Entity{Actor: tidings.Actor{Kind: tidings.System}}
)

func user(jid string) pubsub.Entity {
	bare, _, _ := strings.Cut(jid, "/")
	return pubsub.Entity{Actor: tidings.Actor{Kind: tidings.User, Name: bare}, JID: jid}
}

func bare(e pubsub.Entity) string {
	b, _, _ := strings.Cut(e.JID, "/")
	return b
}

func (w *world) ctx() context.Context {
	if t, ok := w.TB.(*testing.T); ok {
		return t.Context()
	}
	return context.Background()
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// node creates a node owned by hamlet; conf are fields and values, such as access_model=whitelist.
func (w *world) node(name string, conf ...string) {
	w.Helper()
	_, err := w.Create(w.ctx(), hamlet, name, values(conf...))
	w.must(err)
}

func values(conf ...string) pubsub.Values {
	if len(conf) == 0 {
		return nil
	}
	v := pubsub.Values{}
	for _, c := range conf {
		name, value, _ := strings.Cut(c, "=")
		v["pubsub#"+name] = append(v["pubsub#"+name], value)
	}
	return v
}

func (w *world) subscribe(who pubsub.Entity, node string, options ...string) pubsub.Subscription {
	w.Helper()
	jid := bare(who)
	if who.Actor.Kind == tidings.Anonymous {
		jid = who.JID
	}
	s, err := w.Subscribe(w.ctx(), who, node, jid, values(options...))
	w.must(err)
	return s
}

func (w *world) affiliate(node string, changes ...string) {
	w.Helper()
	w.must(w.SetAffiliations(w.ctx(), hamlet, node, affiliations(changes...)))
}

// affiliations are written jid=affiliation.
func affiliations(changes ...string) (out []pubsub.Affiliated) {
	for _, c := range changes {
		jid, is, _ := strings.Cut(c, "=")
		out = append(out, pubsub.Affiliated{JID: jid, Affiliation: pubsub.Affiliation(is)})
	}
	return out
}

// item is an item as the examples have them.
func item(id string) pubsub.NewItem {
	return pubsub.NewItem{ID: id, ContentType: "application/atom+xml", Payload: []byte("<entry xmlns='http://www.w3.org/2005/Atom'/>"), Namespace: "http://www.w3.org/2005/Atom"}
}

func (w *world) publish(who pubsub.Entity, node string, ids ...string) {
	w.Helper()
	for _, id := range ids {
		_, err := w.Publish(w.ctx(), who, node, []pubsub.NewItem{item(id)}, nil)
		w.must(err)
	}
}

// topic appends events to a topic as a source does.
func (w *world) topic(topic string, ids ...string) {
	w.Helper()
	for _, id := range ids {
		_, err := w.j.Append(w.ctx(), tidings.Event{Topic: tidings.Topic(topic), ID: id, ContentType: "application/json", Payload: []byte("{}")})
		w.must(err)
	}
}

// ids returns the IDs of a node's items, as the owner or the system sees them.
func (w *world) ids(who pubsub.Entity, node string) string {
	w.Helper()
	got, err := w.Items(w.ctx(), who, pubsub.ItemsRequest{Node: node})
	w.must(err)
	return itemIDs(got.Items)
}

func itemIDs(items []*hub.Item) string {
	var ids []string
	for _, it := range items {
		ids = append(ids, it.ItemID())
	}
	return strings.Join(ids, " ")
}

// condition is an error in the words of the XEP: stanza condition, condition and feature.
func condition(err error) string {
	var e *pubsub.Error
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &e):
		return "other: " + err.Error()
	}
	out := string(e.Stanza)
	if e.Condition != "" {
		out += " " + string(e.Condition)
	}
	if e.Feature != "" {
		out += " " + e.Feature
	}
	if e.URI != "" {
		out += " " + e.URI
	}
	if e.Text == "" {
		return out + " without a text"
	}
	return out
}

func (w *world) want(what string, err error, want string) {
	w.Helper()
	if got := condition(err); got != want {
		w.Errorf("%s: got %q, want %q (%v)", what, got, want, err)
	}
}

func (w *world) wantHeard(what string, want ...string) {
	w.Helper()
	if got := w.heard.take(); got != strings.Join(want, "\n") {
		w.Errorf("%s: told\n%s\nwant\n%s", what, got, strings.Join(want, "\n"))
	}
}

func query(patterns ...string) (q hub.Query) {
	for _, p := range patterns {
		q.Patterns = append(q.Patterns, tidings.MustPattern(p))
	}
	return q
}
