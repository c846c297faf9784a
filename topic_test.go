package tidings_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"tidings"
)

func TestParseTopic(t *testing.T) {
	seg255 := strings.Repeat("s", tidings.MaxSegmentBytes)
	for _, tc := range []struct {
		in   string
		want string // part of the detail; "" for a topic
	}{
		{"/a", ""},
		{"/recentchange/en.wikipedia.org", ""},
		{"/~princely_musings", ""},
		{"/a b/ü/日本語/🎉", ""},
		{"/...", ""},
		{"/.a/..b", ""},
		{"/%2F", ""},
		{`/a\b`, ""},
		{"/" + seg255, ""},
		{strings.Repeat("/"+seg255, 3) + "/" + seg255[:254], ""}, // 1,023 bytes
		{strings.Repeat("/a", 16), ""},

		{"", "begin with a slash"},
		{"a", "begin with a slash"},
		{"a/b", "begin with a slash"},
		{"/", "empty segment"},
		{"//", "empty segment"},
		{"/a//b", "empty segment"},
		{"/a/", "empty segment"},
		{"/.", ". or .."},
		{"/a/../b", ". or .."},
		{"/a*", "belongs to patterns"},
		{"/a?", "belongs to patterns"},
		{"/[a", "belongs to patterns"},
		{"/a]", "belongs to patterns"},
		{"/**", "belongs to patterns"},
		{"/a\x00", "control character"},
		{"/a\n", "control character"},
		{"/a\x7f", "control character"},
		{"/a\u0085", "control character"},
		{"/a\xff", "invalid UTF-8"},
		{"/a\xc3", "invalid UTF-8"},
		{"/\xed\xa0\x80", "invalid UTF-8"}, // a surrogate
		{"/" + seg255 + "s", "a segment has 256 bytes"},
		{strings.Repeat("/"+seg255, 4), "1024 bytes"},
		{strings.Repeat("/a", 17), "17 segments"},
		{"/" + strings.Repeat("é", 5000), "bytes"},
	} {
		got, err := tidings.ParseTopic(tc.in)
		if tc.want == "" {
			if err != nil || string(got) != tc.in {
				t.Errorf("ParseTopic(%q) = %q, %v", tc.in, got, err)
			}
			continue
		}
		if !errors.Is(err, tidings.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("ParseTopic(%.40q): error %v, want one of kind ErrInvalid with %q", tc.in, err, tc.want)
			continue
		}
		if got != "" {
			t.Errorf("ParseTopic(%.40q) returned %q beside an error", tc.in, got)
		}
		if len(err.Error()) > 300 || !utf8.ValidString(err.Error()) {
			t.Errorf("ParseTopic(%.40q): a detail of %d bytes: %.100q", tc.in, len(err.Error()), err.Error())
		}
	}
	if _, err := tidings.ParseTopic("/\ufffd"); err != nil {
		t.Errorf("U+FFFD itself is valid UTF-8: %v", err)
	}
}

func TestTopicOfNode(t *testing.T) {
	for _, tc := range []struct{ node, topic string }{
		{"/recentchange/en.wikipedia.org", "/recentchange/en.wikipedia.org"},
		{"princely_musings", "/~princely_musings"},
		{"http://jabber.org/protocol/tune", "/~http%3A%2F%2Fjabber.org%2Fprotocol%2Ftune"},
		{"urn:xmpp:microblog:0", "/~urn%3Axmpp%3Amicroblog%3A0"},
		{"/a//b", "/~%2Fa%2F%2Fb"},
		{"/a/", "/~%2Fa%2F"},
		{".", "/~."},
		{"~", "/~~"},
		{"a*", "/~a%2A"},
		{"/a*", "/~%2Fa%2A"},
		{"ü", "/~%C3%BC"},
		{"100%", "/~100%25"},
		{"a\tb", "/~a%09b"},

		// Paths below /~ that are the encoding of another node are encoded once more, the others stand for themselves.
		{"/~", "/~"},
		{"/~princely_musings", "/~%2F~princely_musings"},
		{"/~a/b", "/~a/b"},
		{"/~%61", "/~%61"},       // not how a is written
		{"/~%2Fa", "/~%2Fa"},     // /a stands for itself
		{"/~%2", "/~%2"},         // cut off
		{"/~%C3", "/~%C3"},       // not UTF-8
		{"/~%zz", "/~%zz"},       // no hexadecimal digits
		{"/~%2f%2F", "/~%2f%2F"}, // lower case is not how it is written
	} {
		got, err := tidings.TopicOfNode(tc.node)
		if err != nil || string(got) != tc.topic {
			t.Errorf("TopicOfNode(%q) = %q, %v; want %q", tc.node, got, err, tc.topic)
		}
		if back := tidings.Topic(tc.topic).Node(); back != tc.node {
			t.Errorf("Topic(%q).Node() = %q, want %q", tc.topic, back, tc.node)
		}
	}
	for _, node := range []string{"", "\xff", strings.Repeat("a", 255), strings.Repeat("/", 85), strings.Repeat("x", 1<<20)} {
		if got, err := tidings.TopicOfNode(node); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("TopicOfNode(%.20q…) = %q, %v; want ErrInvalid", node, got, err)
		}
	}
	if _, err := tidings.TopicOfNode(strings.Repeat("a", 254)); err != nil {
		t.Errorf("a node of 254 plain bytes fits: %v", err)
	}
}

// segment generates the text of one segment of a topic, with the characters that look like something else.
func segment() *rapid.Generator[string] {
	return rapid.StringOfN(rapid.RuneFrom([]rune("ab.~%-2F é日🎉!^\\")), 1, 12, 60).
		Filter(func(s string) bool { return s != "." && s != ".." })
}

func topic() *rapid.Generator[tidings.Topic] {
	return rapid.Custom(func(t *rapid.T) tidings.Topic {
		return tidings.Topic("/" + strings.Join(rapid.SliceOfN(segment(), 1, tidings.MaxSegments).Draw(t, "segments"), "/"))
	})
}

func TestTopicProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := topic().Draw(t, "topic")
		got, err := tidings.ParseTopic(string(want))
		if err != nil || got != want {
			t.Fatalf("ParseTopic(%q) = %q, %v", want, got, err)
		}
		if joined := "/" + strings.Join(got.Segments(), "/"); joined != string(want) {
			t.Fatalf("segments of %q join to %q", want, joined)
		}
		node := got.Node()
		if back, err := tidings.TopicOfNode(node); err != nil || back != want {
			t.Fatalf("%q has node %q, which has topic %q, %v", want, node, back, err)
		}
		p := tidings.PatternOf(got)
		if lit, ok := p.Topic(); !ok || lit != want || !p.Match(want) {
			t.Fatalf("PatternOf(%q) is for %q, %v and matches: %v", want, lit, ok, p.Match(want))
		}
	})
}

func TestNodeProperties(t *testing.T) {
	name := rapid.OneOf(rapid.String(), rapid.StringMatching(`/~(%(2F|25|7E|[0-9A-Fa-f]{1,2})|[a-z~/.%])*`), rapid.Map(topic(), func(t tidings.Topic) string { return string(t) }))
	rapid.Check(t, func(t *rapid.T) {
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		ta, errA := tidings.TopicOfNode(a)
		tb, errB := tidings.TopicOfNode(b)
		if errA == nil && ta.Node() != a {
			t.Fatalf("node %q has topic %q, which has node %q", a, ta, ta.Node())
		}
		if errA == nil && errB == nil && a != b && ta == tb {
			t.Fatalf("nodes %q and %q share topic %q", a, b, ta)
		}
	})
}

func FuzzParseTopic(f *testing.F) {
	for _, s := range []string{"/a", "/recentchange/en.wikipedia.org", "", "/", "//", "/a/", "/./..", "/a*[?]", "/\xff\x00", "/~%2F~a%25", strings.Repeat("/a", 17)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := tidings.ParseTopic(s)
		if err != nil {
			if tidings.KindOf(err) != tidings.ErrInvalid {
				t.Fatalf("ParseTopic(%q): kind %v", s, tidings.KindOf(err))
			}
			return
		}
		if string(got) != s || len(s) > tidings.MaxTopicBytes || !utf8.ValidString(s) || strings.ContainsAny(s, "*?[]\x00\n") {
			t.Fatalf("ParseTopic(%q) = %q", s, got)
		}
		segs := got.Segments()
		if len(segs) > tidings.MaxSegments || slices.Contains(segs, "") || slices.Contains(segs, "..") {
			t.Fatalf("segments %q", segs)
		}
		if back, err := tidings.TopicOfNode(got.Node()); err != nil || back != got {
			t.Fatalf("%q has node %q, which has topic %q, %v", got, got.Node(), back, err)
		}
	})
}

func FuzzTopicOfNode(f *testing.F) {
	for _, s := range []string{"princely_musings", "http://jabber.org/protocol/tune", "/~a", "/~%2F~a", "/~%61", "/a/b", "", "\xff", "%", "/~", "a\x00b", "ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, node string) {
		topic, err := tidings.TopicOfNode(node)
		if err != nil {
			if tidings.KindOf(err) != tidings.ErrInvalid {
				t.Fatalf("TopicOfNode(%q): kind %v", node, tidings.KindOf(err))
			}
			return
		}
		if _, err := tidings.ParseTopic(string(topic)); err != nil {
			t.Fatalf("TopicOfNode(%q) = %q, which is no topic: %v", node, topic, err)
		}
		if topic.Node() != node {
			t.Fatalf("node %q has topic %q, which has node %q", node, topic, topic.Node())
		}
	})
}
