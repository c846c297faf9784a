package access

import (
	"slices"
	"strings"
	"testing"

	"tidings"
)

// fakeNodes are nodes whose rights are written down, by topic and actor's name; "*" is everybody.
type fakeNodes struct {
	rights map[tidings.Topic]map[string]Rights
	floor  map[tidings.Topic]uint64
}

func (f *fakeNodes) Rights(a tidings.Actor, t tidings.Topic) (Rights, bool) {
	m, ok := f.rights[t]
	if r, named := m[a.Name]; named && a.Kind == tidings.User {
		return r, ok
	}
	return m["*"], ok
}

func (f *fakeNodes) Audience(a tidings.Actor, patterns []tidings.Pattern) string {
	var lines []string
	for t := range f.rights {
		if len(patterns) > 0 && !slices.ContainsFunc(patterns, func(p tidings.Pattern) bool { return p.Match(t) }) {
			continue
		}
		own, _ := f.Rights(a, t)
		all, _ := f.Rights(tidings.Actor{}, t)
		if own&MayRead != all&MayRead {
			lines = append(lines, string(t))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func (f *fakeNodes) Floor(t tidings.Topic) uint64 { return f.floor[t] }

func TestNodes(t *testing.T) {
	p := open(t, newMemStore(), Options{Private: patterns("/private/**")})
	member := MayRead | Named
	p.SetNodes(&fakeNodes{floor: map[tidings.Topic]uint64{"/open": 7}, rights: map[tidings.Topic]map[string]Rights{
		"/open":         {"*": MayRead, "banned": 0, "ann": member | MayPublish},
		"/closed":       {"ann": member, "poster": MayPublish},
		"/wall":         {"*": MayRead, "bob": MayRead | MayPublish},
		"/private/open": {"*": MayRead, "ann": member},
	}})
	user := func(name string) tidings.Actor { return tidings.Actor{Kind: tidings.User, Name: name} }
	token := func(scopes ...string) tidings.Actor { return actor(t, p, create(t, p, 0, scopes...)) }
	const ok, noAuth, forbid = tidings.ErrorKind(0), tidings.ErrUnauthenticated, tidings.ErrForbidden
	for _, c := range []struct {
		name   string
		actor  tidings.Actor
		action tidings.Action
		topic  tidings.Topic
		want   tidings.ErrorKind
	}{
		{"anonymous", tidings.Actor{}, tidings.ReadAction, "/open", ok},
		{"anonymous", tidings.Actor{}, tidings.ReadAction, "/closed", noAuth},
		{"anonymous", tidings.Actor{}, tidings.ReadAction, "/none", ok},
		{"anonymous", tidings.Actor{}, tidings.ReadAction, "/private/open", noAuth},
		{"anonymous", tidings.Actor{}, tidings.PublishAction, "/open", noAuth},
		{"banned", user("banned"), tidings.ReadAction, "/open", forbid},
		{"banned", user("banned"), tidings.ReadAction, "/none", ok},
		{"nobody", user("bob"), tidings.ReadAction, "/closed", forbid},
		{"nobody", user("bob"), tidings.ReadAction, "/private/open", forbid},
		{"nobody", user("bob"), tidings.PublishAction, "/open", forbid},
		{"nobody", user("bob"), tidings.PublishAction, "/wall", ok},
		{"nobody", user("bob"), tidings.PublishAction, "/none", forbid},
		{"nobody", user("bob"), tidings.AdminAction, "/open", forbid},
		{"member", user("ann"), tidings.ReadAction, "/closed", ok},
		{"member", user("ann"), tidings.PublishAction, "/closed", forbid},
		{"member", user("ann"), tidings.ReadAction, "/private/open", ok},
		{"publisher", user("ann"), tidings.PublishAction, "/open", ok},
		{"publish-only", user("poster"), tidings.ReadAction, "/closed", forbid},
		{"publish-only", user("poster"), tidings.PublishAction, "/closed", ok},
		{"reader", token("read:/closed"), tidings.ReadAction, "/closed", ok},
		{"writer", token("publish:/**"), tidings.ReadAction, "/closed", forbid},
		{"writer", token("publish:/**"), tidings.ReadAction, "/open", ok},
		{"writer", token("publish:/**"), tidings.PublishAction, "/closed", ok},
		{"system", tidings.Actor{Kind: tidings.System}, tidings.ReadAction, "/closed", ok},
		{"source", tidings.Actor{Kind: tidings.Source}, tidings.PublishAction, "/closed", ok},
	} {
		if err := p.May(c.actor, c.action, c.topic); tidings.KindOf(err) != c.want {
			t.Errorf("%s, %s %s: %v, want kind %d", c.name, c.action, c.topic, err, c.want)
		}
	}
	for _, c := range []struct {
		name     string
		actor    tidings.Actor
		patterns []tidings.Pattern
		want     string
	}{
		{"anonymous", tidings.Actor{}, nil, ""},
		{"nobody", user("bob"), nil, ""},
		{"banned", user("banned"), nil, "/open"},
		{"banned elsewhere", user("banned"), patterns("/c*"), ""},
		{"member", user("ann"), patterns("/c*"), "/closed"},
		{"writer", token("publish:/**"), nil, ""},
		{"reader", token("read:/closed"), nil, "/closed\n"},
		{"system", tidings.Actor{Kind: tidings.System}, nil, everything},
	} {
		if got := p.AudienceOf(c.actor, c.patterns); got != c.want {
			t.Errorf("the audience of %s is %q, want %q", c.name, got, c.want)
		}
	}
	if p.Floor("/open") != 7 || p.Floor("/none") != 0 {
		t.Errorf("floors %d and %d", p.Floor("/open"), p.Floor("/none"))
	}
}

func TestNodesChanged(t *testing.T) {
	p := open(t, newMemStore(), Options{})
	var told []string
	stop := p.OnChange(func() {
		var s []string
		for _, topic := range p.Withdrawn() {
			s = append(s, string(topic))
		}
		told = append(told, strings.Join(s, " "))
	})
	p.NodesChanged()
	p.NodesChanged("/a", "/b")
	if p.Withdrawn() != nil {
		t.Error("outside of a callback there are topics withdrawn")
	}
	stop()
	p.NodesChanged("/c")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p.NodesChanged("/d")
	if got := strings.Join(told, ", "); got != ", /a /b" {
		t.Errorf("told %q", got)
	}
}
