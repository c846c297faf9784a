package topicurl

import (
	"net/url"
	"testing"

	"tidings"
)

func TestOf(t *testing.T) {
	for topic, want := range map[tidings.Topic]string{
		"/recentchange/en.wikipedia.org": "/topics/recentchange/en.wikipedia.org",
		"/a b/c%d":                       "/topics/a%20b/c%25d",
		"/ü":                             "/topics/%C3%BC",
		"/~princely_musings":             "/topics/~princely_musings",
		"/q#&=+;,'\"":                    "/topics/q%23&=+%3B%2C%27%22",
	} {
		if got := Of(topic); got != want {
			t.Errorf("Of(%q) = %q, want %q", topic, got, want)
		}
		u, err := url.Parse(Of(topic))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Topic(u.EscapedPath()); err != nil || got != topic {
			t.Errorf("Topic(Of(%q)) = %q, %v", topic, got, err)
		}
	}
}

func TestItem(t *testing.T) {
	const id = "a&b=c d/é%"
	u, err := url.Parse(Item("/n ews", id))
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Query().Get("item"); got != id {
		t.Errorf("item = %q, want %q", got, id)
	}
	if got, err := Topic(u.EscapedPath()); err != nil || got != "/n ews" {
		t.Errorf("topic = %q, %v", got, err)
	}
}

func TestTopicRefuses(t *testing.T) {
	for path, kind := range map[string]tidings.ErrorKind{
		"/topics":           tidings.ErrInvalid,
		"/topics/":          tidings.ErrInvalid,
		"/topics/a/":        tidings.ErrInvalid,
		"/topics//a":        tidings.ErrInvalid,
		"/topics/a%2Fb":     tidings.ErrInvalid,
		"/topics/a%2fb":     tidings.ErrInvalid,
		"/topics/a%zz":      tidings.ErrInvalid,
		"/topics/%2E%2E/b":  tidings.ErrInvalid,
		"/topics/a%00":      tidings.ErrInvalid,
		"/topics/%FF":       tidings.ErrInvalid,
		"/topics/a*":        tidings.ErrInvalid,
		"/topicsandmore/a":  tidings.ErrNotFound,
		"/elsewhere/topics": tidings.ErrNotFound,
	} {
		if got, err := Topic(path); tidings.KindOf(err) != kind {
			t.Errorf("Topic(%q) = %q, %v; want kind %v", path, got, err, kind)
		}
	}
}

func TestPathOfPattern(t *testing.T) {
	for path, want := range map[string]string{
		"/topics/recentchange/*":       "/recentchange/*",
		"/topics/a/%3F%5Bx%5D/**":      "/a/?[x]/**",
		"/topics/a/%2A.wikivoyage.org": "/a/*.wikivoyage.org",
	} {
		if got, err := Path(path); err != nil || got != want {
			t.Errorf("Path(%q) = %q, %v; want %q", path, got, err, want)
		}
	}
}

// A path that is taken comes back from its topic as the same topic, and no path panics.
func FuzzTopic(f *testing.F) {
	for _, s := range []string{"/topics/a", "/topics/a%20b/%C3%BC", "/topics/%", "/topics/a%2Fb", "/topics//", "/topics/~x%25y", "/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		topic, err := Topic(s)
		if err != nil {
			if k := tidings.KindOf(err); k != tidings.ErrInvalid && k != tidings.ErrNotFound {
				t.Errorf("error of kind %v: %v", k, err)
			}
			return
		}
		u, err := url.Parse(Of(topic))
		if err != nil {
			t.Fatalf("Of(%q) does not parse: %v", topic, err)
		}
		if back, err := Topic(u.EscapedPath()); err != nil || back != topic {
			t.Errorf("%q came back as %q, %v", topic, back, err)
		}
	})
}
