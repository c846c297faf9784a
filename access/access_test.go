package access

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidings"
)

var (
	kinds   = []tidings.ActorKind{tidings.Anonymous, tidings.User, tidings.Token, tidings.Source, tidings.System}
	actions = []tidings.Action{tidings.ReadAction, tidings.PublishAction, tidings.AdminAction}
)

func TestTableIsTotal(t *testing.T) {
	for _, k := range kinds {
		for _, a := range actions {
			if _, ok := table[k][a]; !ok {
				t.Errorf("the table does not say whether %s may %s", k, a)
			}
		}
	}
	if len(table) != len(kinds) {
		t.Errorf("the table has %d kinds, the test knows %d", len(table), len(kinds))
	}
	if next := tidings.ActorKind(len(kinds)); next.String() != "unknown" {
		t.Errorf("there is a kind of actor that the table does not know: %s", next)
	}
}

func TestMay(t *testing.T) {
	p := open(t, newMemStore(), Options{Private: patterns("/private/**"), AdminToken: strings.Repeat("a", 32)})
	mk := func(scopes ...string) tidings.Actor { return actor(t, p, create(t, p, 0, scopes...)) }
	admin, err := p.Authenticate(strings.Repeat("a", 32))
	if err != nil {
		t.Fatal(err)
	}
	const ok = tidings.ErrorKind(0)
	const noAuth, forbid = tidings.ErrUnauthenticated, tidings.ErrForbidden
	type want struct{ readPub, readPriv, pubNews, pubOther, adminServer tidings.ErrorKind }
	for _, tt := range []struct {
		name  string
		actor tidings.Actor
		want  want
	}{
		{"anonymous", tidings.Actor{}, want{ok, noAuth, noAuth, noAuth, noAuth}},
		{"user", tidings.Actor{Kind: tidings.User, Name: "u"}, want{ok, forbid, forbid, forbid, forbid}},
		{"source", tidings.Actor{Kind: tidings.Source, Name: "udp"}, want{ok, ok, ok, ok, forbid}},
		{"system", tidings.Actor{Kind: tidings.System}, want{ok, ok, ok, ok, ok}},
		{"unknown kind", tidings.Actor{Kind: 200}, want{forbid, forbid, forbid, forbid, forbid}},
		{"publisher", mk("publish:/news/**"), want{ok, forbid, ok, forbid, forbid}},
		{"reader", mk("read:/private/**"), want{ok, ok, forbid, forbid, forbid}},
		{"reader of a part", mk("read:/private/b"), want{ok, forbid, forbid, forbid, forbid}},
		{"both", mk("read:/private/*", "publish:/news/a"), want{ok, ok, ok, forbid, forbid}},
		{"admin of a part", mk("admin:/news/**"), want{ok, forbid, ok, forbid, forbid}},
		{"admin by scope", mk("admin:/**"), want{ok, ok, ok, ok, ok}},
		{"admin token", admin, want{ok, ok, ok, ok, ok}},
		{"token that never was", tidings.Actor{Kind: tidings.Token, Name: "aaaaaaaaaa",
			Scopes: []tidings.Scope{{Action: tidings.AdminAction, Pattern: tidings.MustPattern("/**")}}},
			want{noAuth, noAuth, noAuth, noAuth, noAuth}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, q := range []struct {
				action tidings.Action
				topic  tidings.Topic
				want   tidings.ErrorKind
			}{
				{tidings.ReadAction, "/news/a", tt.want.readPub},
				{tidings.ReadAction, "/private/a", tt.want.readPriv},
				{tidings.PublishAction, "/news/a", tt.want.pubNews},
				{tidings.PublishAction, "/other", tt.want.pubOther},
				{tidings.AdminAction, "", tt.want.adminServer},
			} {
				err := p.May(tt.actor, q.action, q.topic)
				if tidings.KindOf(err) != q.want {
					t.Errorf("%s %q: %v, want kind %d", q.action, q.topic, err, q.want)
				}
				// A refusal says what would have been enough.
				if q.want == forbid && !strings.Contains(err.Error(), string(q.action)+":") {
					t.Errorf("%s %q: %q does not name the scope", q.action, q.topic, err)
				}
			}
		})
	}
}

func TestMayOfUnknownAction(t *testing.T) {
	p := open(t, newMemStore(), Options{})
	for _, k := range kinds {
		if err := p.May(tidings.Actor{Kind: k}, "fly", "/a"); tidings.KindOf(err) != tidings.ErrForbidden {
			t.Errorf("%s: %v", k, err)
		}
	}
}

// Two actors with equal audiences may read the same topics.
func TestAudience(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var private []tidings.Pattern
		pool := []string{"/**", "/p/**", "/p/*", "/p/a", "/q/**", "/*/a", "/q"}
		for _, s := range rapid.SliceOfN(rapid.SampledFrom(pool), 0, 3).Draw(rt, "private") {
			private = append(private, tidings.MustPattern(s))
		}
		store := newMemStore()
		p := open(rt, store, Options{Private: private})
		actors := []tidings.Actor{{}, {Kind: tidings.User}, {Kind: tidings.Source}, {Kind: tidings.System}, {Kind: tidings.Token, Name: "gone"}}
		for i := range rapid.IntRange(1, 4).Draw(rt, "tokens") {
			var scopes []string
			for _, s := range rapid.SliceOfN(rapid.SampledFrom(pool), 1, 3).Draw(rt, fmt.Sprint("scopes", i)) {
				scopes = append(scopes, rapid.SampledFrom([]string{"read", "publish", "admin"}).Draw(rt, "action")+":"+s)
			}
			tok := create(rt, p, 0, scopes...)
			a := actor(rt, p, tok)
			actors = append(actors, a)
			if rapid.IntRange(0, 4).Draw(rt, "revoke") == 0 {
				if err := p.Revoke(rt.Context(), a.Name); err != nil {
					rt.Fatal(err)
				}
			}
		}
		byAudience := map[string]string{}
		for _, a := range actors {
			reads := ""
			for _, topic := range []tidings.Topic{"/p", "/p/a", "/p/b", "/p/a/b", "/q", "/q/a", "/r", "/r/a"} {
				if p.May(a, tidings.ReadAction, topic) == nil {
					reads += string(topic) + " "
				}
			}
			aud := p.Audience(a)
			if had, ok := byAudience[aud]; ok && had != reads {
				rt.Fatalf("audience %q: %s may read %q, another of it %q (private %v)", aud, a, reads, had, private)
			}
			byAudience[aud] = reads
		}
	})
}

func TestAudienceIsShared(t *testing.T) {
	p := open(t, newMemStore(), Options{Private: patterns("/p/**")})
	same := func(want bool, a, b tidings.Actor) {
		t.Helper()
		if (p.Audience(a) == p.Audience(b)) != want {
			t.Errorf("%s: %q, %s: %q", a, p.Audience(a), b, p.Audience(b))
		}
	}
	mk := func(scopes ...string) tidings.Actor { return actor(t, p, create(t, p, 0, scopes...)) }
	same(true, tidings.Actor{}, tidings.Actor{Kind: tidings.User, Name: "u"})
	same(true, tidings.Actor{}, mk("publish:/p/**"))
	same(true, mk("read:/p/a", "read:/p/b"), mk("read:/p/b", "read:/p/a", "publish:/x"))
	same(true, mk("admin:/**"), tidings.Actor{Kind: tidings.System})
	same(false, tidings.Actor{}, mk("read:/p/a"))
	same(false, mk("read:/p/b"), mk("read:/p/a"))
	gone := mk("read:/p/a")
	if err := p.Revoke(t.Context(), gone.Name); err != nil {
		t.Fatal(err)
	}
	same(false, gone, tidings.Actor{})
	if open := open(t, newMemStore(), Options{}); open.Audience(tidings.Actor{Kind: tidings.System}) != "" {
		t.Error("without private topics, the system has an audience of its own")
	}
}

func TestParseScope(t *testing.T) {
	for _, s := range []string{"read:/a", "publish:/news/**", "admin:/**", "read:/a:b/*"} {
		sc, err := ParseScope(s)
		if err != nil || sc.String() != s {
			t.Errorf("ParseScope(%q) = %q, %v", s, sc, err)
		}
	}
	for _, s := range []string{"", "read", "read:", ":/a", "write:/a", "Read:/a", " read:/a", "read: /a", "read:a", "publish:/a/", "read:/" + strings.Repeat("x", 300)} {
		if sc, err := ParseScope(s); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("ParseScope(%q) = %v, %v", s, sc, err)
		}
	}
	got, err := ParseScopes([]string{"read:/b", "publish:/a", "read:/b"})
	if err != nil || len(got) != 2 || got[0].String() != "publish:/a" {
		t.Errorf("ParseScopes = %v, %v", got, err)
	}
}

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"read:/a", "publish:/news/**", "admin:/**", "read:/[a-z]?/*", "read:", ":", "fly:/a", "read:/\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sc, err := ParseScope(s)
		if err != nil {
			if tidings.KindOf(err) != tidings.ErrInvalid {
				t.Errorf("error of kind %v", tidings.KindOf(err))
			}
			return
		}
		if sc.String() != s {
			t.Errorf("%q came back as %q", s, sc)
		}
	})
}

// A string that is not the token of somebody authenticates nobody.
func FuzzAuthenticate(f *testing.F) {
	store := newMemStore()
	admin := TokenPrefix + adminID + "_" + random(secretChars)
	p := open(f, store, Options{AdminToken: admin})
	good := create(f, p, 0, "read:/a")
	id, _ := idOf(good)
	for _, s := range []string{"", "tid_", "tid_" + id, "tid_" + id + "_", good[:len(good)-1], good + "a", admin[:len(admin)-1],
		"tid_" + id + "_" + strings.Repeat("a", secretChars), strings.ToUpper(good), "tid__" + strings.Repeat("a", secretChars), "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == good || s == admin {
			return
		}
		if a, err := p.Authenticate(s); tidings.KindOf(err) != tidings.ErrUnauthenticated || a.Kind != tidings.Anonymous {
			t.Errorf("%q is %v, %v", s, a, err)
		}
	})
}

func BenchmarkMay(b *testing.B) {
	p := open(b, newMemStore(), Options{Private: patterns("/private/**")})
	for _, bb := range []struct {
		name  string
		actor tidings.Actor
		topic tidings.Topic
	}{
		{"anonymous", tidings.Actor{}, "/recentchange/en.wikipedia.org"},
		{"token", actor(b, p, create(b, p, time.Hour, "read:/private/**")), "/private/en.wikipedia.org"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := p.May(bb.actor, tidings.ReadAction, bb.topic); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
