package v09

import (
	"slices"
	"strings"
	"testing"

	"tidings"
	"tidings/hub"
	"tidings/outlet"
	"tidings/recentchange"
)

// matches reports whether a change of the server and the wiki belongs to the query.
func matches(q hub.Query, server, wiki string) bool {
	e := &tidings.Event{Topic: tidings.Topic(prefix + server), ContentType: recentchange.TypeJSON,
		Payload: []byte(`{"type":"edit","wiki":"` + wiki + `","server_name":"` + server + `"}`)}
	in := slices.ContainsFunc(q.Patterns, func(p tidings.Pattern) bool { return p.Match(e.Topic) })
	return in && (q.Filter == nil || q.Filter.Match(item(e)))
}

// item returns an event as the hub gives it to filters.
func item(e *tidings.Event) *hub.Item {
	return hub.NewItem(e, outlet.Decoder(nil))
}

// TestQuery: patterns match as Python's fnmatch.fnmatchcase does on server_name, and wikis by their ids.
func TestQuery(t *testing.T) {
	for _, tt := range []struct {
		patterns     string // separated by blanks
		server, wiki string
		want         bool
	}{
		{"*", "en.wikipedia.org", "enwiki", true},
		{"**", "en.wikipedia.org", "enwiki", true},
		{"en.wikipedia.org", "en.wikipedia.org", "enwiki", true},
		{"en.wikipedia.org", "de.wikipedia.org", "dewiki", false},
		{"EN.wikipedia.org", "en.wikipedia.org", "enwiki", false},
		{"wikipedia.org", "en.wikipedia.org", "enwiki", false},
		{"*.wikipedia.org", "en.wikipedia.org", "enwiki", true},
		{"*.wikipedia.org", "en.m.wikipedia.org", "enwiki", true},
		{"*.wikipedia.org", "wikipedia.org", "x", false},
		{"*.*.org", "en.wikipedia.org", "enwiki", true},
		{"*.wikivoyage.org", "en.wikipedia.org", "enwiki", false},
		{"??.wikipedia.org", "en.wikipedia.org", "enwiki", true},
		{"??.wikipedia.org", "als.wikipedia.org", "alswiki", false},
		{"[de]?.wikipedia.org", "en.wikipedia.org", "enwiki", true},
		{"[!de]?.wikipedia.org", "en.wikipedia.org", "enwiki", false},
		{"[!de]?.wikipedia.org", "fr.wikipedia.org", "frwiki", true},
		{"[^de]?.wikipedia.org", "fr.wikipedia.org", "frwiki", false}, // ^ is a character of the set
		{"[^de]?.wikipedia.org", "en.wikipedia.org", "enwiki", true},
		{"[a-f]*", "en.wikipedia.org", "enwiki", true},
		{"[a-f*", "en.wikipedia.org", "enwiki", false}, // no set: a bracket, which no name has
		{"e]n*", "en.wikipedia.org", "enwiki", false},
		{"en.wiki/../pedia.org", "en.wikipedia.org", "enwiki", false},
		{"nowhere", "en.wikipedia.org", "enwiki", false},
		{"enwiki", "en.wikipedia.org", "enwiki", true},
		{"enwiki", "de.wikipedia.org", "dewiki", false},
		{"enwik*", "en.wikipedia.org", "enwiki", false}, // wikis are named exactly
		{"localhost", "localhost", "my_wiki", true},
		{"my_wiki", "localhost", "my_wiki", true},
		{"dewiki en.wikipedia.org", "en.wikipedia.org", "enwiki", true},
		{"dewiki en.wikipedia.org", "de.wikipedia.org", "dewiki", true},
		{"dewiki en.wikipedia.org", "fr.wikipedia.org", "frwiki", false},
		{"/recentchange/??.wikipedia.org", "en.wikipedia.org", "enwiki", true},
		{"/** dewiki", "en.wikipedia.org", "enwiki", true},
		{"/news/**", "en.wikipedia.org", "enwiki", false},
	} {
		ps := strings.Fields(tt.patterns)
		slices.Sort(ps)
		if got := matches(queryOf(ps, strings.Join(ps, "\n")), tt.server, tt.wiki); got != tt.want {
			t.Errorf("%q, %s (%s): got %v", tt.patterns, tt.server, tt.wiki, got)
		}
	}
}

// TestSets: the same patterns are one set for as long as anybody has it.
func TestSets(t *testing.T) {
	var ss sets
	a, b := ss.get([]string{"*", "a"}), ss.get([]string{"*", "a"})
	if a != b || ss.get(nil) != nil {
		t.Error("equal patterns are two sets, or none are one")
	}
	ss.put(a)
	if ss.get([]string{"*", "a"}) != b {
		t.Error("a set was dropped that somebody has")
	}
	ss.put(b)
	ss.put(b)
	ss.put(nil)
	if len(ss.m) != 0 {
		t.Errorf("%d sets are left", len(ss.m))
	}
}

// FuzzSet: no pattern breaks the query, and valid ones that are host names match themselves.
func FuzzSet(f *testing.F) {
	for _, s := range []string{"*", "en.wikipedia.org", "[!a-f]*.org", "[^x]", "[]a]", "[]", "enwiki", "/a/**", "a/b", "**.**", "[a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if !validPattern(p) {
			return
		}
		q := queryOf([]string{p}, p)
		for _, qp := range q.Patterns {
			if _, err := tidings.ParsePattern(qp.String()); err != nil {
				t.Fatalf("%q became %q: %v", p, qp, err)
			}
		}
		if _, err := tidings.ParseTopic(prefix + p); err == nil && !strings.Contains(p, "/") && !slices.ContainsFunc(q.Patterns, func(qp tidings.Pattern) bool { return qp.Match(tidings.Topic(prefix + p)) }) {
			t.Fatalf("%q does not match itself: %v", p, q.Patterns)
		}
	})
}
