package journal

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"tidings"
)

var testSubjects = subjectsOf("tidings")

func TestSubjects(t *testing.T) {
	for topic, want := range map[tidings.Topic]string{
		"/a":                             "tidings.t.a._",
		"/recentchange/en.wikipedia.org": "tidings.t.recentchange.en%2Ewikipedia%2Eorg._",
		"/100% > x/_":                    "tidings.t.100%25%20%3E%20x._._",
		"/日本":                            "tidings.t.日本._",
	} {
		if got := testSubjects.topic(topic); got != want {
			t.Errorf("topic(%s) = %s, want %s", topic, got, want)
		}
		if back, ok := testSubjects.topicOf(want); !ok || back != topic {
			t.Errorf("topicOf(%s) = %s, %t, want %s", want, back, ok, topic)
		}
	}
	for _, bad := range []string{"", "tidings.m.a", "other.t.a._", "tidings.t.a", "tidings.t._", "tidings.t.a%2._", "tidings.t.a%2g._", "tidings.t.a..b._"} {
		if got, ok := testSubjects.topicOf(bad); ok {
			t.Errorf("topicOf(%q) = %s", bad, got)
		}
	}
	for pattern, want := range map[string]string{
		"/a":           "tidings.t.a._",
		"/a/**":        "tidings.t.a.>",
		"/**":          "tidings.t.>",
		"/a/*/c":       "tidings.t.a.*.c._",
		"/a/*.b.org":   "tidings.t.a.*._",
		"/**/a":        "tidings.t.>",
		"/a/**/b/[cd]": "tidings.t.a.>",
		"/a.b/?":       "tidings.t.a%2Eb.*._",
	} {
		if got := testSubjects.filter(tidings.MustPattern(pattern)); got != want {
			t.Errorf("filter(%s) = %s, want %s", pattern, got, want)
		}
	}
	if got := testSubjects.mark(""); got != "tidings.m.%" {
		t.Errorf("mark of nobody: %s", got)
	}
}

// FuzzWire stores an event in a message, the message on the wire, and reads it back.
func FuzzWire(f *testing.F) {
	f.Add("/a", "", "", "", "", "", []byte(nil), int64(0), false)
	f.Add("/en.wikipedia.org/a b", " id ", "enwiki:1", "application/json", "source:x", "100%", []byte("{}"), int64(1), true)
	f.Add("/%2E/>", "%20", "%", "text/plain; charset=\"ü\"", "* >", " ", []byte("\r\n\r\n"), int64(1<<60), false)
	f.Fuzz(func(t *testing.T, topic, id, key, ct, pub, mark string, payload []byte, ns int64, retract bool) {
		e := tidings.Event{Topic: tidings.Topic(topic), ID: id, Key: key, ContentType: ct, Publisher: pub, Mark: mark, Payload: payload,
			Time: time.Unix(0, ns).UTC()}
		if retract {
			e.Kind = tidings.Retract
		}
		if e.Validate() != nil {
			return
		}
		e.Position = tidings.Position{Epoch: 1, Offset: 2}
		m := testSubjects.encode(&e)
		if strings.ContainsAny(m.Subject, " \t\r\n*>") || strings.Contains(m.Subject, "..") {
			t.Fatalf("subject %q", m.Subject)
		}
		var wire strings.Builder
		wire.WriteString("NATS/1.0\r\n")
		for k, vs := range m.Header {
			for _, v := range vs {
				wire.WriteString(k + ": " + v + "\r\n")
			}
		}
		wire.WriteString("\r\n")
		h, err := nats.DecodeHeadersMsg([]byte(wire.String()))
		if err != nil {
			t.Fatalf("headers %q: %v", wire.String(), err)
		}
		got, err := testSubjects.decode(m.Subject, h, m.Data, e.Position)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(e, got); d != "" {
			t.Errorf("(-stored +read):\n%s", d)
		}
		// The narrowest filters for the topic select its subject.
		if testSubjects.filter(tidings.PatternOf(e.Topic)) != m.Subject {
			t.Errorf("the filter for the topic is not its subject, %s", m.Subject)
		}
	})
}

func TestDecodeMalformed(t *testing.T) {
	good := nats.Header{hdrTime: {"2026-01-02T03:04:05Z"}}
	for name, tt := range map[string]struct {
		subject string
		h       nats.Header
	}{
		"subject": {"tidings.t.a", good},
		"time":    {"tidings.t.a._", nats.Header{hdrTime: {"yesterday"}}},
		"no time": {"tidings.t.a._", nil},
		"kind":    {"tidings.t.a._", nats.Header{hdrTime: good[hdrTime], hdrKind: {"explode"}}},
		"escape":  {"tidings.t.a._", nats.Header{hdrTime: good[hdrTime], hdrID: {"%zz"}}},
	} {
		if _, err := testSubjects.decode(tt.subject, tt.h, nil, tidings.Position{}); err == nil {
			t.Errorf("malformed %s: no error", name)
		}
	}
}

func TestLost(t *testing.T) {
	l := (&lost{}).with(&lost{topics: map[tidings.Topic]uint64{"/a/x": 5, "/a/y": 9, "/b": 7}, cut: 3, head: 12})
	for _, tt := range []struct {
		after   uint64
		pattern string
		want    uint64
	}{
		{0, "", 9}, {8, "", 9}, {9, "", 0}, {0, "/a/x", 5}, {5, "/a/x", 0}, {0, "/a/*", 9}, {6, "/a/*", 9}, {6, "/a/x", 0},
		{0, "/c", 0}, {6, "/b", 7}, {7, "/b", 0}, {8, "/b/**", 0}, {6, "/b/**", 7},
	} {
		var ps []tidings.Pattern
		if tt.pattern != "" {
			ps = append(ps, tidings.MustPattern(tt.pattern))
		}
		if got := l.floor(tt.after, ps); got != tt.want {
			t.Errorf("floor(%d, %s) = %d, want %d", tt.after, tt.pattern, got, tt.want)
		}
	}
	back, err := parseLost(l.encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, back, cmp.AllowUnexported(lost{})); d != "" {
		t.Errorf("(-stored +read):\n%s", d)
	}
	l.shrink(64 + 2*len("/a/x") + 2*22)
	if l.rest != 5 || len(l.topics) != 2 {
		t.Errorf("shrunk: rest %d, topics %v, want /a/x in the rest", l.rest, l.topics)
	}
	l = l.with(&lost{})
	if l.floor(4, []tidings.Pattern{tidings.MustPattern("/a/x")}) != 5 || l.floor(4, []tidings.Pattern{tidings.MustPattern("/other")}) != 5 {
		t.Error("what is in the rest is not a gap any more")
	}
}

// TestLostIsBounded has more topics lose events than the table can name.
func TestLostIsBounded(t *testing.T) {
	more := map[tidings.Topic]uint64{}
	for i := range uint64(20000) {
		more[tidings.Topic("/t/"+strings.Repeat("x", 20)+string(rune('a'+i%26))+time.Unix(int64(i), 0).UTC().Format("150405"))] = i + 1
	}
	l := (&lost{}).with(&lost{topics: more})
	if n := len(l.encode()); n > maxLostBytes {
		t.Errorf("the table has %d bytes", n)
	}
	for topic, seq := range more {
		if l.floor(seq-1, []tidings.Pattern{tidings.PatternOf(topic)}) == 0 {
			t.Fatalf("the loss of %s at %d is silent", topic, seq)
		}
	}
}

func FuzzParseLost(f *testing.F) {
	f.Add([]byte("cut 1\nrest 2\nhead 3\n4 /a\n5 /b c/d\n"))
	f.Add([]byte("cut 18446744073709551615\n"))
	f.Add([]byte("7 /a\n6 /a\n"))
	f.Add([]byte("x\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLost(b)
		if err != nil {
			return
		}
		back, err := parseLost(l.encode())
		if err != nil {
			t.Fatalf("%q: %v", l.encode(), err)
		}
		if d := cmp.Diff(l, back, cmp.AllowUnexported(lost{})); d != "" {
			t.Errorf("(-stored +read):\n%s", d)
		}
	})
}

func TestParseAck(t *testing.T) {
	for data, want := range map[string]ack{
		`{"stream":"tidings", "seq":17}`:                  {seq: 17},
		`{"stream":"tidings", "seq":3,"duplicate": true}`: {seq: 3, dup: true},
		`{"stream":"duplicate","seq":4}`:                  {seq: 4},
	} {
		if got := parseAck(&nats.Msg{Data: []byte(data)}); got != want {
			t.Errorf("%s: got %+v, want %+v", data, got, want)
		}
	}
	for _, m := range []*nats.Msg{
		{Data: []byte(`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"tidings","seq":0}`)},
		{Data: []byte(`{}`)}, {Data: []byte(`x`)}, {}, {Header: nats.Header{"Status": {"503"}}},
	} {
		if got := parseAck(m); got.err == nil || got.seq != 0 {
			t.Errorf("%s: got %+v, want an error", m.Data, got)
		}
	}
}

func TestMatchSubject(t *testing.T) {
	for _, tt := range []struct {
		filter, subject string
		want            bool
	}{
		{"a.b", "a.b", true}, {"a.b", "a", false}, {"a", "a.b", false}, {"a.>", "a.b.c", true}, {"a.>", "b.c", false}, {">", "a", true},
		{"a.*.c", "a.b.c", true}, {"a.*.c", "a.b.d", false}, {"a.*", "a.b.c", false}, {"a.*.>", "a.b.c.d", true}, {"*", "a", true},
	} {
		if got := matchSubject(tt.filter, tt.subject); got != tt.want {
			t.Errorf("%s on %s: %t", tt.filter, tt.subject, got)
		}
	}
}
