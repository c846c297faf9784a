package recentchange

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tidings"
)

func object(t *testing.T, b []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return m
}

// names returns the names of the top level in order.
func names(t *testing.T, b []byte) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	var all []string
	depth, key := 0, false
	for {
		tok, err := d.Token()
		if err != nil {
			return all
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			depth++
			key = depth == 1
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			key = depth == 1
			continue
		}
		if depth == 1 {
			if key {
				all = append(all, tok.(string))
			}
			key = !key
		}
	}
}

// TestRealEvents decodes what stream.wikimedia.org has served and writes it again: all but meta and $schema stays, in
// its order, and of meta what names the event.
func TestRealEvents(t *testing.T) {
	n := 0
	events(t, func(line []byte) {
		n++
		ct, ok := Detect(line)
		if !ok || ct != TypeEventStreams {
			t.Fatalf("detected as %q: %s", ct, line)
		}
		rc, err := Decode(ct, line)
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		got := rc.AppendEventStreams(nil, Meta{Topic: "0000002a.mediawiki.recentchange", Offset: 7})
		in, out := object(t, line), object(t, got)
		inMeta, outMeta := in["meta"].(map[string]any), out["meta"].(map[string]any)
		for _, k := range []string{"uri", "request_id", "id", "domain"} {
			if inMeta[k] != outMeta[k] {
				t.Errorf("meta.%s: got %v, want %v", k, outMeta[k], inMeta[k])
			}
		}
		if outMeta["topic"] != "0000002a.mediawiki.recentchange" || outMeta["offset"] != json.Number("7") || outMeta["partition"] != json.Number("0") {
			t.Errorf("meta has another position: %v", outMeta)
		}
		a, err := time.Parse(time.RFC3339Nano, inMeta["dt"].(string))
		b, err2 := time.Parse(time.RFC3339Nano, outMeta["dt"].(string))
		if err != nil || err2 != nil || !a.Equal(b) {
			t.Errorf("meta.dt: got %v, want %v", outMeta["dt"], inMeta["dt"])
		}
		for _, m := range []map[string]any{in, out} {
			delete(m, "meta")
			delete(m, "$schema")
		}
		if !reflect.DeepEqual(in, out) {
			t.Errorf("got %s\nwant %s", got, line)
		}
		rest := func(names []string) (r []string) {
			for _, n := range names {
				if n != "meta" && n != "$schema" {
					r = append(r, n)
				}
			}
			return r
		}
		if g, w := rest(names(t, got)), rest(names(t, line)); !reflect.DeepEqual(g, w) {
			t.Errorf("order\n got %v\nwant %v", g, w)
		}
		if bytes.ContainsAny(got, "\r\n") {
			t.Errorf("it has more than one line: %q", got)
		}
		// The address that we would make is the one Wikimedia has made, but for three titles that a collection has spoilt.
		rc.Meta, rc.TitleURL = nil, Opt[string]{}
		if uri := string(rc.appendURI(nil)); uri != inMeta["uri"] && !strings.Contains(rc.Title.Value(), "u0") {
			t.Errorf("uri\n got %s\nwant %s", uri, inMeta["uri"])
		}
	})
	if n < 3000 {
		t.Errorf("there were only %d events", n)
	}
}

// TestSSECapture does the same with the bytes of the server: every data field of the capture comes out as it went in.
func TestSSECapture(t *testing.T) {
	file, err := os.Open(filepath.Join(shared(), "data", "sse-capture-2021", "recentchange.sse.gz"))
	if err != nil {
		t.Skip("the shared capture of an EventStreams connection is absent")
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(all) {
		data, ok := bytes.CutPrefix(bytes.TrimRight(line, "\n"), []byte("data: "))
		if !ok || len(line) > 0 && line[len(line)-1] != '\n' {
			continue
		}
		n++
		rc, err := Decode(TypeEventStreams, data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		got := rc.AppendEventStreams(nil, Meta{Topic: rc.Meta.Topic, Offset: rc.Meta.Offset})
		if !reflect.DeepEqual(object(t, got), object(t, data)) {
			t.Errorf(" got %s\nwant %s", got, data)
		}
	}
	if n < 1900 {
		t.Errorf("there were only %d events", n)
	}
}

// TestEventOfCore encodes the capture: what is null is gone, what is not is there.
func TestEventOfCore(t *testing.T) {
	for i, d := range datagrams(t, filepath.Join("testdata", "capture", "json.datagrams")) {
		rc, err := Decode(TypeJSON, d)
		if err != nil {
			t.Fatal(err)
		}
		m := Meta{Topic: "5f3a9c01.mediawiki.recentchange", Offset: uint64(1000 + i), RequestID: "r"}
		got := rc.AppendEventStreams(nil, m)
		out, want := object(t, got), phpWithoutNulls(object(t, d)).(map[string]any)
		meta := out["meta"].(map[string]any)
		delete(out, "meta")
		if out["$schema"] != Schema {
			t.Errorf("$schema is %v", out["$schema"])
		}
		delete(out, "$schema")
		if !reflect.DeepEqual(out, want) {
			t.Errorf("got %s\nwant %s", got, d)
		}
		for _, k := range []string{"uri", "request_id", "id", "dt", "domain", "stream", "topic", "partition", "offset"} {
			if meta[k] == nil {
				t.Errorf("meta has no %s: %s", k, got)
			}
		}
		if again := rc.AppendEventStreams(nil, m); !bytes.Equal(got, again) {
			t.Errorf("the second time\n got %s\nwant %s", again, got)
		}
		if meta["domain"] != rc.ServerName.Value() || !strings.HasPrefix(meta["uri"].(string), rc.ServerURL.Value()+"/wiki/") {
			t.Errorf("meta %v", meta)
		}
		for _, dialect := range []string{"domain", "uri"} {
			if v, ok := rc.Field("meta." + dialect); !ok || v != meta[dialect] {
				t.Errorf("the field meta.%s is %q", dialect, v)
			}
		}
		back, err := Decode(TypeEventStreams, got)
		if err != nil {
			t.Fatal(err)
		}
		if back.Key() != rc.Key() {
			t.Errorf("the key %q has become %q", rc.Key(), back.Key())
		}
	}
}

func phpWithoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		n := len(v)
		for k, e := range v {
			if e == nil {
				delete(v, k)
			} else {
				v[k] = phpWithoutNulls(e)
			}
		}
		if n > 0 && len(v) == 0 {
			return []any{}
		}
	case []any:
		for i, e := range v {
			v[i] = phpWithoutNulls(e)
		}
	}
	return v
}

func TestMeta(t *testing.T) {
	rc := &RecentChange{Type: Edit, Title: Some(`A "b" c?`), ServerURL: Some("https://x.example"), ServerName: Some("x.example"),
		Wiki: Some("x"), ID: Some[int64](5), Timestamp: Some[int64](1_600_000_000)}
	got := string(rc.AppendEventStreams(nil, Meta{}))
	want := `{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"uri":"https://x.example/wiki/A_%22b%22_c%3F",` +
		`"id":"` + string(rc.appendUUID(nil, Meta{})) + `","dt":"2020-09-13T12:26:40Z","domain":"x.example","stream":"mediawiki.recentchange"},` +
		`"id":5,"type":"edit","title":"A \"b\" c?","timestamp":1600000000,"server_url":"https://x.example","server_name":"x.example","wiki":"x"}`
	if got != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
	given := Meta{URI: "u\n", RequestID: "r", ID: "i", Domain: "d", Stream: "s", Topic: "t", Offset: 9, Time: time.Unix(1, 5e6)}
	got = string(rc.AppendEventStreams([]byte("x"), given))
	want = `x{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"uri":"u\n","request_id":"r","id":"i","dt":"1970-01-01T00:00:01.005Z",` +
		`"domain":"d","stream":"s","topic":"t","partition":0,"offset":9},"id":5,`
	if !strings.HasPrefix(got, want) {
		t.Errorf(" got %s\nwant %s", got, want)
	}
	// Without rcid the position names the event; the same one, the same way.
	rc.ID = Null[int64]()
	a, b, c := rc.appendUUID(nil, Meta{Topic: "t", Offset: 1}), rc.appendUUID(nil, Meta{Topic: "t", Offset: 2}), rc.appendUUID(nil, Meta{Topic: "t", Offset: 1})
	if bytes.Equal(a, b) || !bytes.Equal(a, c) || a[14] != '5' || len(a) != 36 {
		t.Errorf("UUIDs %s %s %s", a, b, c)
	}
}

func TestArticlePath(t *testing.T) {
	for _, test := range []struct{ path, want string }{
		{"", "http://w.example/wiki/a_%C3%A4"},
		{"/index.php/$1", "http://w.example/index.php/a_%C3%A4"},
		{"/w/index.php?title=$1&x=1", "http://w.example/w/index.php?title=a_%C3%A4&x=1"},
	} {
		rc := &RecentChange{Type: Edit, Title: Some("a ä"), Wiki: Some("w")}
		Wikis{"w": {ServerURL: "http://w.example", ArticlePath: test.path}}.Fill(rc, time.Unix(1, 0))
		if got := string(rc.appendURI(nil)); got != test.want {
			t.Errorf("%q: got %s, want %s", test.path, got, test.want)
		}
	}
}

func TestTopicAndKey(t *testing.T) {
	for _, test := range []struct {
		rc         RecentChange
		topic, key string
	}{
		{RecentChange{Wiki: Some("enwiki"), ServerName: Some("en.wikipedia.org"), ID: Some[int64](7)}, "/recentchange/en.wikipedia.org", "rc/enwiki/7"},
		{RecentChange{Wiki: Some("enwiki"), ID: Some[int64](0)}, "/recentchange/enwiki", ""},
		{RecentChange{Wiki: Some("w"), ServerName: Some("[::1]")}, "/recentchange/w", ""},
		{RecentChange{Wiki: Some("a/b"), ServerName: Some("..")}, "", ""},
		{RecentChange{}, "", ""},
		{RecentChange{Wiki: Some("w"), ID: Null[int64](), LogID: Some[int64](3), Timestamp: Some[int64](9), User: Some("U")}, "/recentchange/w", "log/w/3/9/d00c09b0"},
		{RecentChange{Wiki: Some("w"), LogID: Some[int64](0), Timestamp: Some[int64](9)}, "/recentchange/w", ""},
	} {
		got, err := test.rc.Topic()
		if string(got) != test.topic || (err == nil) != (test.topic != "") {
			t.Errorf("%+v: topic %q, %v", test.rc, got, err)
		}
		if err != nil && (!errors.Is(err, tidings.ErrInvalid) || ReasonOf(err) != UnknownWiki) {
			t.Errorf("error %v", err)
		}
		if key := test.rc.Key(); key != test.key {
			t.Errorf("%+v: key %q, want %q", test.rc, key, test.key)
		}
	}
}
