package tidings_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidings"
)

func TestParsePattern(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want string // part of the detail; "" for a pattern
	}{
		{"/a", ""},
		{"/*", ""},
		{"/**", ""},
		{"/recentchange/*.wikivoyage.org", ""},
		{"/a/[abc]/[!a-z]?/[]]/[^]-a]", ""},
		{"/**/a/**/b/**/c/**", ""},
		{"/[[]", ""},
		{"/[!!]", ""},
		{"/[z-a]", ""}, // matches nothing, as in fnmatch
		{"/*a*b*", ""},

		{"", "begin with a slash"},
		{"*", "begin with a slash"},
		{"/", "empty segment"},
		{"/a//b", "empty segment"},
		{"/..", ". or .."},
		{"/a**", "whole segment"},
		{"/***", "whole segment"},
		{"/[**]", "whole segment"},
		{"/a[", "a [ has no ]"},
		{"/[]", "a [ has no ]"},
		{"/[!]", "a [ has no ]"},
		{"/[^]", "a [ has no ]"},
		{"/[a/b]", "a [ has no ]"},
		{"/a]", "a ] has no ["},
		{"/[a]]", "a ] has no ["},
		{"/**/a/**/b/**/c/**/**", "four segments **"},
		{"/a\x01*", "control character"},
		{"/*\xff", "invalid UTF-8"},
		{strings.Repeat("/*", 17), "17 segments"},
		{"/" + strings.Repeat("?", 256), "a segment has 256 bytes"},
		{strings.Repeat("/"+strings.Repeat("?", 200), 6), "bytes"},
	} {
		p, err := tidings.ParsePattern(tc.in)
		if tc.want == "" {
			if err != nil || p.String() != tc.in || p.IsZero() || "/"+strings.Join(p.Segments(), "/") != tc.in {
				t.Errorf("ParsePattern(%q) = %v, %v", tc.in, p, err)
			}
			continue
		}
		if tidings.KindOf(err) != tidings.ErrInvalid || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("ParsePattern(%.40q): error %v, want one of kind ErrInvalid with %q", tc.in, err, tc.want)
		}
		if !p.IsZero() {
			t.Errorf("ParsePattern(%.40q) returned %v beside an error", tc.in, p)
		}
	}
}

func TestPatternMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		yes, no string // topics, separated by spaces
	}{
		{"/a", "/a", "/b /a/b /aa /A"},
		{"/a/b", "/a/b", "/a /b /a/b/c /a/bc"},
		{"/*", "/a /abc /*", "/a/b"},
		{"/recentchange/*", "/recentchange/en.wikipedia.org", "/recentchange /recentchange/a/b /recentchanges/a"},
		{"/recentchange/*.wikivoyage.org", "/recentchange/de.wikivoyage.org", "/recentchange/wikivoyage.org /recentchange/de.wikivoyage.orgs"},
		{"/*a", "/a /aa /bba", "/ab /b"},
		{"/a*", "/a /ab", "/ba"},
		{"/*a*b*", "/ab /xaxbx /aabb", "/ba /a /b"},
		{"/a*a", "/aa /aba /aaaa", "/a /ab"},
		{"/*.*", "/. /a.b", "/ab"},
		{"/?", "/a /é /日", "/ab"},
		{"/??", "/ab /日本", "/a /abc"},
		{"/[abc]", "/a /c", "/d /ab"},
		{"/[a-c]x", "/ax /cx", "/dx /a /x"},
		{"/[!a-c]", "/d /é /-", "/a /b"},
		{"/[^a]", "/b /^", "/a"},
		{"/[]a]", "/a", "/b"},
		{"/[!a-]", "/b", "/a /-"},
		{"/[a-]", "/a /-", "/b"},
		{"/[-a]", "/a /-", "/b"},
		{"/[z-a]", "", "/a /m /z /-"},
		{"/[à-ü]", "/é /ü", "/a /ý"},
		{"/[日本]", "/日 /本", "/語 /日本"},
		{"/[[]", "", "/a"},
		{"/*[0-9]", "/a1 /1 /12", "/1a /a"},
		{"/**", "/a /a/b /a/b/c", ""},
		{"/a/**", "/a /a/b /a/b/c", "/b /ab"},
		{"/**/c", "/c /a/c /a/b/c /c/c", "/c/d /ac"},
		{"/a/**/c", "/a/c /a/b/c /a/b/b/c /a/c/c", "/a /c /a/b /ac"},
		{"/**/a/**", "/a /a/b /b/a /b/a/c", "/b /b/c /ab"},
		{"/**/**", "/a /a/b", ""},
		{"/**/a/**/a", "/a/a /a/b/a /b/a/b/a", "/a /a/b"},
		{"/**/a/b/**/b/c", "/a/b/b/c /x/a/b/x/b/c /a/a/b/b/c /a/b/a/b/b/c", "/a/b/c /a/b/x/c /a/b/b/c/d"},
		{"/**/*/c", "/a/c /a/b/c /c/c", "/c"},
		{"/*/**", "/a /a/b", ""},
	} {
		p, err := tidings.ParsePattern(tc.pattern)
		if err != nil {
			t.Errorf("ParsePattern(%q): %v", tc.pattern, err)
			continue
		}
		for _, s := range strings.Fields(tc.yes) {
			if !p.Match(tidings.Topic(s)) {
				t.Errorf("%s does not match %s", p, s)
			}
		}
		for _, s := range strings.Fields(tc.no) {
			if p.Match(tidings.Topic(s)) {
				t.Errorf("%s matches %s", p, s)
			}
		}
		if p.Match("") {
			t.Errorf("%s matches the empty topic", p)
		}
	}
	var zero tidings.Pattern
	if !zero.IsZero() || zero.Match("/a") || zero.Match("") {
		t.Error("the zero Pattern matches something")
	}
	if _, ok := zero.Topic(); ok {
		t.Error("the zero Pattern has a topic")
	}
	if _, ok := tidings.MustPattern("/[a]").Topic(); ok {
		t.Error("/[a] has a topic")
	}
}

func TestMustPatternPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("MustPattern accepts what ParsePattern refuses")
		}
	}()
	tidings.MustPattern("a")
}

// The reference: the definition of a pattern written down as a recursion, with no thought of its cost.

func refMatch(segs, path []string) bool {
	if len(segs) == 0 {
		return len(path) == 0
	}
	if segs[0] == "**" {
		return refMatch(segs[1:], path) || len(path) > 0 && refMatch(segs, path[1:])
	}
	return len(path) > 0 && refGlob([]rune(segs[0]), []rune(path[0])) && refMatch(segs[1:], path[1:])
}

func refGlob(g, s []rune) bool {
	if len(g) == 0 {
		return len(s) == 0
	}
	if g[0] == '*' {
		return refGlob(g[1:], s) || len(s) > 0 && refGlob(g, s[1:])
	}
	if len(s) == 0 {
		return false
	}
	switch g[0] {
	case '?':
		return refGlob(g[1:], s[1:])
	case '[':
		set := g[1:]
		not := set[0] == '!' || set[0] == '^'
		if not {
			set = set[1:]
		}
		end := 1 + slices.Index(set[1:], ']') // the first member may be a ]
		set, rest := set[:end], set[end+1:]
		in := false
		for len(set) > 0 {
			if len(set) >= 3 && set[1] == '-' {
				in = in || set[0] <= s[0] && s[0] <= set[2]
				set = set[3:]
			} else {
				in = in || set[0] == s[0]
				set = set[1:]
			}
		}
		return in != not && refGlob(rest, s[1:])
	}
	return g[0] == s[0] && refGlob(g[1:], s[1:])
}

func TestMatchAgainstReference(t *testing.T) {
	globSeg := rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "é", "*", "?", "[ab]", "[!a]", "[a-é]", "[^]b]", "[-a]", "[b-]"}), 1, 6).Draw(t, "parts")
		return strings.ReplaceAll(strings.ReplaceAll(strings.Join(parts, ""), "**", "*a"), "**", "*a")
	})
	pattern := rapid.SliceOfN(rapid.OneOf(globSeg, rapid.SampledFrom([]string{"**", "*", "a", "b"})), 1, 7)
	path := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("abé-")), 1, 6, -1), 1, 8)
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		segs := pattern.Draw(t, "pattern")
		p, err := tidings.ParsePattern("/" + strings.Join(segs, "/"))
		if err != nil {
			t.Skip(err) // five **
		}
		for range 8 {
			top := path.Draw(t, "topic")
			got, want := p.Match(tidings.Topic("/"+strings.Join(top, "/"))), refMatch(segs, top)
			if got != want {
				t.Fatalf("%s matches %q: %v, the reference says %v", p, top, got, want)
			}
			if want {
				matched++
			}
		}
	})
	if matched == 0 {
		t.Error("no generated topic matched: the property says nothing")
	}
}

// hostile are patterns and topics made to be dear: the cost of Match is bounded by the product of their lengths.
var hostile = []struct{ name, pattern, topic string }{
	{"runs of *", "/" + strings.Repeat("*a", 127), "/" + strings.Repeat("a", 254) + "b"},
	{"runs of * with classes", "/" + strings.Repeat("*[a-z]", 42), "/" + strings.Repeat("a", 254) + "1"},
	{"one long class", "/*[" + strings.Repeat("b-c", 83) + "]", "/" + strings.Repeat("a", 255)},
	{"nested **", "/**/a/**/a/**/a/**/b", strings.Repeat("/a", 16)},
	{"nested ** with runs of *", "/**" + strings.Repeat("/"+strings.Repeat("*a", 80), 2) + "/**/" + strings.Repeat("*a", 80) + "/**/" + strings.Repeat("*a", 80) + "/**/c", strings.Repeat("/"+strings.Repeat("a", 100), 10)},
	{"nested ** before a class", "/**/*a*a*a*a/**/*a*a*a*a/**/*a*a*a*a/**/*a*a*a*[!a]", strings.Repeat("/"+strings.Repeat("a", 62), 16)},
}

func TestMatchHostile(t *testing.T) {
	for _, tc := range hostile {
		p := tidings.MustPattern(tc.pattern)
		top, err := tidings.ParseTopic(tc.topic)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if p.Match(top) {
			t.Errorf("%s: matches", tc.name)
		}
		// A million steps of a few nanoseconds; a matcher that is not polynomial takes years.
		if d := time.Since(start); d > time.Second {
			t.Errorf("%s: %v", tc.name, d)
		}
	}
}

func TestPatterns(t *testing.T) {
	a, b, c := tidings.MustPattern("/a"), tidings.MustPattern("/b/**"), tidings.MustPattern("/*")
	in := []tidings.Pattern{b, a, c, a, b}
	var got []string
	for _, p := range tidings.Patterns(in...) {
		got = append(got, p.String())
	}
	if want := []string{"/*", "/a", "/b/**"}; !slices.Equal(got, want) {
		t.Errorf("Patterns = %q, want %q", got, want)
	}
	if in[0].String() != "/b/**" {
		t.Error("Patterns sorts the caller's slice")
	}
	if len(tidings.Patterns()) != 0 {
		t.Error("Patterns of nothing is not empty")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	p, top := tidings.MustPattern("/recentchange/*.wikipedia.org"), tidings.Topic("/recentchange/en.wikipedia.org")
	if n := testing.AllocsPerRun(100, func() { p.Match(top) }); n != 0 {
		t.Errorf("Match allocates %v times", n)
	}
}

func FuzzPatternMatch(f *testing.F) {
	for _, s := range [][2]string{
		{"/recentchange/*", "/recentchange/en.wikipedia.org"},
		{"/**/a/**", "/b/a/c"},
		{"/[!a-z]?*", "/1é日"},
		{"/[]a-]", "/-"},
		{"/*a*b", "/aab"},
		{"/[", "/a"},
		{"", ""},
		{"/é*", "/\xc3"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, topic string) {
		p, err := tidings.ParsePattern(pattern)
		if err != nil {
			if tidings.KindOf(err) != tidings.ErrInvalid {
				t.Fatalf("ParsePattern(%q): kind %v", pattern, tidings.KindOf(err))
			}
			return
		}
		got := p.Match(tidings.Topic(topic)) // whatever the text, no crash
		top, err := tidings.ParseTopic(topic)
		if err != nil {
			return
		}
		if lit, ok := p.Topic(); ok && got != (lit == top) {
			t.Fatalf("%q has no glob and matches %q: %v", pattern, topic, got)
		}
		if strings.Count(pattern, "*") <= 6 { // the reference is exponential
			if want := refMatch(p.Segments(), top.Segments()); got != want {
				t.Fatalf("%q matches %q: %v, the reference says %v", pattern, topic, got, want)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, bc := range []struct{ name, pattern, topic string }{
		{"literal", "/recentchange/en.wikipedia.org", "/recentchange/en.wikipedia.org"},
		{"other", "/recentchange/en.wikipedia.org", "/news/local"},
		{"segment", "/recentchange/*", "/recentchange/en.wikipedia.org"},
		{"suffix", "/recentchange/*.wikipedia.org", "/recentchange/en.wikipedia.org"},
		{"all", "/**", "/recentchange/en.wikipedia.org"},
		{"middle", "/geo/**/hourly", "/geo/de/by/muc/hourly"},
		{"class", "/sensor/[a-f][0-9]/temp", "/sensor/b7/temp"},
	} {
		b.Run(bc.name, func(b *testing.B) {
			p, top := tidings.MustPattern(bc.pattern), tidings.Topic(bc.topic)
			b.ReportAllocs()
			for b.Loop() {
				p.Match(top)
			}
		})
	}
	for _, bc := range hostile {
		b.Run("hostile/"+bc.name, func(b *testing.B) {
			p, top := tidings.MustPattern(bc.pattern), tidings.Topic(bc.topic)
			b.ReportAllocs()
			for b.Loop() {
				p.Match(top)
			}
		})
	}
}
