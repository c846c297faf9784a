package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidings"
	"tidings/access"
	"tidings/hub"
	"tidings/journal"
)

func TestKeys(t *testing.T) {
	long := "/" + strings.Repeat("x", 255) + "/" + strings.Repeat("y", 255)
	seen := map[string]string{}
	for _, name := range []string{"/a", "/a/b", "/a*", long, long + "z"} {
		for _, k := range []string{nodeKey(name), shardKey(name, 0), shardKey(name, 1), shardKey(name, 10)} {
			if had, ok := seen[k]; ok || len(k) > maxKey {
				t.Errorf("%.20s and %.20s share a key, or it is too long: %s", name, had, k)
			}
			seen[k] = name
		}
	}
	for _, c := range []struct {
		key    string
		isNode bool
		shard  int
		ok     bool
	}{{"n:/a", true, 0, true}, {"s0:/a", false, 0, true}, {"s12:/a:b", false, 12, true}, {"s:/a", false, 0, false},
		{"s-1:/a", false, 0, false}, {"s99999999:/a", false, 0, false}, {"x:/a", false, 0, false}, {"", false, 0, false}} {
		isNode, shard, ok := parseKey(c.key)
		if ok != c.ok || ok && (isNode != c.isNode || shard != c.shard) {
			t.Errorf("%q: %v %d %v", c.key, isNode, shard, ok)
		}
	}
}

// A small node is one entry; a big one is spread evenly enough that no update rewrites much.
func TestShards(t *testing.T) {
	for _, n := range []int{10, 1000, 10_000} {
		sizes := map[int]int{}
		for i := range n {
			sizes[shardFor(fmt.Sprintf("user%d@example.org", i), i)]++
		}
		most := 0
		for _, s := range sizes {
			most = max(most, s)
		}
		if n == 10 && len(sizes) != 1 || n == 10_000 && (len(sizes) < 100 || most > 300) {
			t.Errorf("%d subscriptions are in %d shards, of %d at most", n, len(sizes), most)
		}
	}
}

func TestShardRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-zA-Z0-9 @./éß-]{1,20}`)
		h := shardHead{life: rapid.Uint64().Draw(t, "life"), name: "/" + word.Draw(t, "name")}
		var recs []record
		for range rapid.IntRange(1, 5).Draw(t, "n") {
			o := builtinOptions
			o.Deliver, o.IncludeBody = rapid.Bool().Draw(t, "deliver"), rapid.Bool().Draw(t, "body")
			o.Digest = rapid.Bool().Draw(t, "digest")
			o.Type = rapid.SampledFrom([]string{"items", "nodes"}).Draw(t, "type")
			recs = append(recs, record{jid: []byte(word.Draw(t, "jid")), id: rapid.Uint64().Draw(t, "id"),
				state: rapid.SampledFrom([]State{Subscribed, Pending}).Draw(t, "state"), since: rapid.Uint64().Draw(t, "since"),
				expires: rapid.Int64Min(0).Draw(t, "expires"), options: []byte(o.text()), service: []byte(rapid.SampledFrom([]string{"", "pubsub.example.org"}).Draw(t, "service"))})
			if back := parseOptions(o.text()); !reflect.DeepEqual(back, o) {
				t.Fatalf("options %+v come back as %+v", o, back)
			}
		}
		h2, back, err := decodeRecords(encodeShard(h, recs))
		if err != nil || h2 != h || len(back) != len(recs) {
			t.Fatalf("%+v, %v", h2, err)
		}
		for i := range recs {
			if string(back[i].jid) != string(recs[i].jid) || string(back[i].options) != string(recs[i].options) || back[i].id != recs[i].id ||
				back[i].state != recs[i].state || back[i].since != recs[i].since || back[i].expires != recs[i].expires || string(back[i].service) != string(recs[i].service) {
				t.Fatalf("%+v comes back as %+v", recs[i], back[i])
			}
		}
	})
}

func TestNodeRoundTrip(t *testing.T) {
	c := builtin
	if err := c.Set(Values{"pubsub#title": {"x"}, "access_model": {"authorize"}, "max_items": {"7"}, "contact": {"a@b", "c@d"}, "notify_config": {"0"}}); err != nil {
		t.Fatal(err)
	}
	for _, st := range []*stored{
		{config: &builtin},
		{life: 1 << 63, created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), creator: "a@b", config: &c, floor: 9,
			affiliations: []affiliation{{"a@b", Owner}, {"c@d", Outcast}, {"e@f", PublishOnly}}},
		{config: &builtin, deleted: true, floor: 3, redirect: "xmpp:x"},
	} {
		b, err := st.encode("/a")
		if err != nil {
			t.Fatal(err)
		}
		name, back, err := decodeNode(b)
		if err != nil || name != "/a" || !reflect.DeepEqual(back, st) {
			t.Errorf("%s comes back as %+v, %v", b, back, err)
		}
	}
}

// Every field of the configuration that can be set survives, and a field that is shown can be set to what it shows.
func TestConfigFields(t *testing.T) {
	c := builtin
	for _, f := range c.Fields() {
		if f.Label == "" || !strings.HasPrefix(f.Var, "pubsub#") || slices.Contains(f.Options, "") {
			t.Errorf("%+v", f)
		}
		d := c
		if err := d.Set(Values{f.Var: f.Values}); err != nil || !d.equal(&c) {
			t.Errorf("%s set to what it shows: %v", f.Var, err)
		}
	}
	o := builtinOptions
	for _, f := range o.Fields() {
		d := o
		if err := d.Set(Values{f.Var: f.Values}); err != nil || !reflect.DeepEqual(d, o) {
			t.Errorf("%s set to what it shows: %v %+v", f.Var, err, d)
		}
	}
	if len(c.differences()) != 0 {
		t.Errorf("the built-in configuration differs from itself in %v", c.differences())
	}
}

func FuzzDecodeShard(f *testing.F) {
	for _, s := range []string{"1 0 /a", "1 zz /a b\na@b\t1\ts\t0", "1 1 /a\na@b/c d\t1\tp\t0\t77\tpaused show=away,dnd", "", "2 1 /a", "1 1 /a\n\t1\ts\t0", "1 1 /a\na\t1\tx\t0", "1 1 /a\na\t-\ts\t0\t\t\t"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, recs, err := decodeRecords(b)
		if err != nil || len(recs) == 0 {
			return
		}
		for _, r := range recs {
			_ = parseOptions(string(r.options))
		}
		h2, again, err := decodeRecords(encodeShard(h, recs))
		if err != nil || h2 != h || len(again) != len(recs) {
			t.Fatalf("%q does not survive: %v", b, err)
		}
	})
}

func FuzzDecodeNode(f *testing.F) {
	for _, s := range []string{`{"node":"/a"}`, `{"node":"/a","life":7,"config":{"access_model":["whitelist"]},"affiliations":{"owner":["a@b"]}}`,
		`{"node":"/a","config":{"access_model":["presence"]}}`, `{"node":"/a","affiliations":{"friend":["a"]}}`,
		`{"node":"/a","affiliations":{"owner":["a"],"member":["a"]}}`, `{"node":"a"}`, `{`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		name, st, err := decodeNode(b)
		if err != nil {
			return
		}
		again, err := st.encode(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, back, err := decodeNode(again); err != nil || !back.config.equal(st.config) || !slices.Equal(back.affiliations, st.affiliations) {
			t.Fatalf("%q comes back as %q, %v", b, again, err)
		}
	})
}

// Entries that cannot be read open nothing, and leave the rest alone.
func TestMalformedEntries(t *testing.T) {
	ctx := t.Context()
	j := journal.NewMemory(journal.Options{})
	defer j.Close()
	b, err := j.Bucket(ctx, "nodes")
	if err != nil {
		t.Fatal(err)
	}
	put := func(key, value string) {
		if err := b.Put(ctx, key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	put("n:/broken", "{")
	put("n:/other", `{"node":"/another"}`)
	put("n:/future", `{"node":"/future","config":{"access_model":["roster"]},"affiliations":{"owner":["a@b"]}}`)
	put("n:/later", `{"node":"/later","config":{"colour":["red"],"access_model":["whitelist"]},"affiliations":{"owner":["a@b"]}}`)
	put("s0:/a", "1 0 /b\nx@y\t1\ts\t0")
	put("s0:/b", "garbage")
	put("s0:/c", "1 0 /c\nx@y\t1\ts\t0\nx@z\t2\tq\t0")
	put("s0:/d", "1 0 /d\nx@y\t1\ts\t0")
	put("strange", "x")
	tokens, err := j.Bucket(ctx, "tokens")
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	policy, err := access.Open(ctx, tokens, access.Options{Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer policy.Close()
	h := hub.New(j, policy, hub.Options{})
	defer h.Close()
	s, err := Open(context.WithoutCancel(ctx), Options{Store: b, Log: j, Hub: h, Policy: policy, Domain: "b", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := tidings.Actor{Kind: tidings.User, Name: "a@b"}
	for _, topic := range []tidings.Topic{"/broken", "/other", "/future"} {
		if policy.May(tidings.Actor{}, tidings.ReadAction, topic) == nil || policy.May(a, tidings.ReadAction, topic) == nil {
			t.Errorf("%s is open", topic)
		}
	}
	if policy.May(tidings.Actor{}, tidings.ReadAction, "/later") == nil || policy.May(a, tidings.ReadAction, "/later") != nil {
		t.Error("/later is not as it says")
	}
	st := s.Stats()
	if st.Malformed != 7 || st.Subscriptions != 1 || st.Entities != 2 {
		t.Errorf("%+v", st)
	}
	// An administrator gets it out of the way, and nobody else does.
	if err := s.Delete(ctx, Entity{Actor: a, JID: "a@b"}, "/broken", ""); ConditionOf(err) != "" || tidings.KindOf(err) != tidings.ErrForbidden {
		t.Errorf("a@b deletes it: %v", err)
	}
	if err := s.Delete(ctx, Entity{Actor: tidings.Actor{Kind: tidings.System}}, "/broken", ""); err != nil {
		t.Errorf("the system deletes it: %v", err)
	}
	if err := policy.May(tidings.Actor{}, tidings.ReadAction, "/broken"); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// Every stanza condition has a kind, so that an outlet that knows kinds only says something right.
func TestErrorKinds(t *testing.T) {
	for s, kind := range kinds {
		err := errorf(s, "", "x")
		if tidings.KindOf(err) != kind || kind == 0 {
			t.Errorf("%s is of kind %v", s, tidings.KindOf(err))
		}
	}
	for _, s := range []Stanza{BadRequest, ConflictError, FeatureNotImplemented, Forbidden, Gone, ItemNotFound, NotAcceptable, NotAllowed,
		NotAuthorized, PolicyViolation, RegistrationRequired, UnexpectedRequest} {
		if _, ok := kinds[s]; !ok {
			t.Errorf("%s has no kind", s)
		}
	}
}
