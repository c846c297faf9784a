package room_test

import (
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tidings"
	"tidings/outlet/xmpp/room"
	"tidings/recentchange"
	"tidings/xmpp/jid"
)

// Every topic and every pattern that has a room has one of its own, which names it and nothing else.
func TestAddresses(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, options(w))
	for _, tt := range []struct{ pattern, want string }{
		{"/recentchange/w1.example.org", "w1"},
		{"/recentchange/en.wikipedia.org", "en.wikipedia.org"},
		{"/recentchange/farm.example.org", "farm.example.org"},
		{"/recentchange/mixed", `\2frecentchange\2fmixed`}, // the configuration has another of that name
		{"/recentchange/EN.wikipedia.org", `\2frecentchange\2f%45%4e.wikipedia.org`},
		{"/recentchange/a b", `\2frecentchange\2fa\20b`},
		{"/recentchange/x/y", `\2frecentchange\2fx\2fy`},
		{"/recentchange/*.wikivoyage.org", `\2frecentchange\2f*.wikivoyage.org`},
		{"/news/[a-z]?", `\2fnews\2f[a-z]?`},
		{"/100% sure/\\2f ", `\2f100%25\20sure\2f\5c2f%20`},
		{"/ﬀ", `\2f%ef%ac%80`}, // which a localpart would not give back
		{"/" + strings.Repeat("A", 255) + "/" + strings.Repeat("B", 255), ""},
	} {
		j, ok := s.Address(tidings.MustPattern(tt.pattern))
		if j.Local() != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %s, %v, want %q", tt.pattern, j, ok, tt.want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		path := rapid.StringMatching(`(/[ -~äÖß中%A-Za-z]{1,12}){1,4}`).Draw(rt, "path")
		p, err := tidings.ParsePattern(path)
		if err != nil {
			rt.Skip(err)
		}
		j, ok := s.Address(p)
		if !ok {
			rt.Fatalf("%q has no room", path)
		}
		if again, err := jid.Parse(j.String()); err != nil || again != j {
			rt.Fatalf("%q: the address %s is %s, %v", path, j, again, err)
		}
		if got, err := s.PatternsOf(j.Local()); err != nil || len(got) != 1 || got[0].String() != path {
			rt.Fatalf("%q has the room %s, which is of %v, %v", path, j, got, err)
		}
	})
}

// A configuration that cannot be is refused.
func TestNew(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		why    string
		change func(o *room.Options)
	}{
		{"the domain", func(o *room.Options) { o.Domain = "a b" }},
		{"no nick", func(o *room.Options) { o.Bot = "\x01" }},
		{"no name", func(o *room.Options) {
			o.Rooms = map[string]room.Room{"A B": {Patterns: []tidings.Pattern{tidings.MustPattern("/a")}}}
		}},
		{"no name", func(o *room.Options) {
			o.Rooms = map[string]room.Room{"News": {Patterns: []tidings.Pattern{tidings.MustPattern("/a")}}}
		}},
		{"no topic", func(o *room.Options) { o.Rooms = map[string]room.Room{"a": {}} }},
		{"twice", func(o *room.Options) {
			o.Wikis = recentchange.Wikis{"a": {ServerName: "a.example.org"}}
			o.Rooms = map[string]room.Room{"a": {Patterns: []tidings.Pattern{tidings.MustPattern("/a")}}}
		}},
		{"twice", func(o *room.Options) {
			o.Wikis = recentchange.Wikis{"a": {ServerName: "a.example.org"}, "A": {ServerName: "b.example.org"}}
		}},
		{"cannot be the name", func(o *room.Options) { o.Wikis = recentchange.Wikis{" ": {ServerName: "a.example.org"}} }},
	} {
		o := options(w)
		tt.change(&o)
		if _, err := room.New(o); tidings.KindOf(err) != tidings.ErrInvalid || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("want an error about %q, got %v", tt.why, err)
		}
	}
	s := newServer(t, room.Options{Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, Audience: w.Policy.Audience,
		Topics: func(context.Context, tidings.Pattern) ([]tidings.Topic, error) { return nil, nil }})
	if s.Domain().String() != "conference.localhost" {
		t.Error(s.Domain())
	}
}
