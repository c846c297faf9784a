package cloudevents

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"tidings"
)

var (
	at  = time.Date(2026, 3, 4, 5, 6, 7, 120_000_000, time.FixedZone("", 3600))
	pos = tidings.Position{Epoch: 0x5f3a9c01, Offset: 1042}
)

func TestAppend(t *testing.T) {
	for _, tt := range []struct {
		name        string
		event       tidings.Event
		contentType string
		data        string
		want        string
	}{
		{
			"json", tidings.Event{Topic: "/news", ID: "a", Time: at}, "application/json", "{\n \"x\": 1.50,\r\n\t\"y\": \"\\u00fc \\/\"\n}\n",
			`{"specversion":"1.0","id":"a","source":"/topics/news","type":"tidings.publish","time":"2026-03-04T04:06:07.12Z",` +
				`"datacontenttype":"application/json","data":{"x":1.50,"y":"\u00fc \/"},"position":"5f3a9c01-1042","topic":"/news"}`,
		},
		{
			"no id, no time, suffix", tidings.Event{Topic: "/a b/ü"}, "application/geo+json; charset=utf-8", "[]",
			`{"specversion":"1.0","id":"5f3a9c01-1042","source":"/topics/a%20b/%C3%BC","type":"tidings.publish",` +
				`"datacontenttype":"application/geo+json; charset=utf-8","data":[],"position":"5f3a9c01-1042","topic":"/a b/ü"}`,
		},
		{
			"duplicate names stay", tidings.Event{Topic: "/t"}, "application/json", `{"a":1, "a":2}`,
			`{"specversion":"1.0","id":"5f3a9c01-1042","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"application/json","data":{"a":1,"a":2},"position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"json that is none", tidings.Event{Topic: "/t"}, "application/json", "{\n",
			`{"specversion":"1.0","id":"5f3a9c01-1042","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"application/json","data_base64":"ewo=","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"json not UTF-8", tidings.Event{Topic: "/t"}, "application/json", "\"\xff\"",
			`{"specversion":"1.0","id":"5f3a9c01-1042","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"application/json","data_base64":"Iv8i","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"text", tidings.Event{Topic: "/t", ID: `"\`}, "text/plain", "a \"b\"\\\r\n\tü\x01\x7f\u2028",
			`{"specversion":"1.0","id":"\"\\","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"text/plain","data":"a \"b\"\\\r\n\tü\u0001` + "\x7f\u2028" + `","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"no text", tidings.Event{Topic: "/t"}, "text/plain", "",
			`{"specversion":"1.0","id":"5f3a9c01-1042","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"text/plain","data":"","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"xml", tidings.Event{Topic: "/t"}, "application/atom+xml", "<a b='1'>\n</a>",
			`{"specversion":"1.0","id":"5f3a9c01-1042","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"application/atom+xml","data":"<a b='1'>\n</a>","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"text in another charset", tidings.Event{Topic: "/t"}, "text/plain; charset=iso-8859-1", "a",
			`{"specversion":"1.0","id":"5f3a9c01-1042","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"text/plain; charset=iso-8859-1","data_base64":"YQ==","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"xml in UTF-16", tidings.Event{Topic: "/t"}, "text/xml", "<\x00a\x00/\x00>\x00",
			`{"specversion":"1.0","id":"5f3a9c01-1042","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"text/xml","data_base64":"PABhAC8APgA=","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"bytes of no type", tidings.Event{Topic: "/t"}, "", "\x00\xff",
			`{"specversion":"1.0","id":"5f3a9c01-1042","source":"/topics/t","type":"tidings.publish",` +
				`"data_base64":"AP8=","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"broken UTF-8 in the id", tidings.Event{Topic: "/t", ID: "a\xffb"}, "text/plain", "x",
			`{"specversion":"1.0","id":"a` + "\ufffd" + `b","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"text/plain","data":"x","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"retraction", tidings.Event{Topic: "/t", ID: "a", Kind: tidings.Retract}, "", "",
			`{"specversion":"1.0","id":"a","source":"/topics/t","type":"tidings.retract","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"retraction with data", tidings.Event{Topic: "/t", ID: "a", Kind: tidings.Retract}, "application/cloudevents+json", "{}",
			`{"specversion":"1.0","id":"a","source":"/topics/t","type":"tidings.retract","datacontenttype":"application/cloudevents+json","data":{},"position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"year that RFC 3339 cannot write", tidings.Event{Topic: "/t", ID: "a", Kind: tidings.Retract, Time: time.Unix(1<<40, 0)}, "", "",
			`{"specversion":"1.0","id":"a","source":"/topics/t","type":"tidings.retract","position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"a CloudEvent", tidings.Event{Topic: "/t", ID: "a"}, "application/cloudevents+json; charset=utf-8",
			`{"specversion":"1.0", "type":"com.example", "source":"/s", "id":"a", "position":"forged", "n":7, "subject":null, "data":[1, 2]}`,
			`{"specversion":"1.0","type":"com.example","source":"/s","id":"a","n":7,"data":[1,2],"position":"5f3a9c01-1042","topic":"/t"}`,
		},
		{
			"a CloudEvent that is none", tidings.Event{Topic: "/t", ID: "a"}, "application/cloudevents+json", `{"specversion":"0.3"}`,
			`{"specversion":"1.0","id":"a","source":"/topics/t","type":"tidings.publish",` +
				`"datacontenttype":"application/cloudevents+json","data":{"specversion":"0.3"},"position":"5f3a9c01-1042","topic":"/t"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.event.Position = pos
			got := string(Append([]byte("before "), &tt.event, tt.contentType, []byte(tt.data)))
			if d := cmp.Diff("before "+tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if !json.Valid([]byte(tt.want)) {
				t.Error("not JSON")
			}
		})
	}
}

func TestAppendGap(t *testing.T) {
	got := string(AppendGap(nil, &tidings.GapError{Asked: tidings.Position{Epoch: 1, Offset: 2}, Oldest: tidings.Position{Epoch: 3, Offset: 4}}))
	want := `{"specversion":"1.0","id":"gap-00000001-2","source":"/topics","type":"tidings.gap","datacontenttype":"application/json",` +
		`"data":{"asked":"00000001-2","oldest":"00000003-4"},"position":"00000003-4"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whatever the payload, the result is one line of JSON that gives the payload back.
func FuzzAppend(f *testing.F) {
	for _, ct := range []string{"application/json", "text/plain", "application/xml", "image/png", "application/cloudevents+json", "text/plain; charset=latin1", ""} {
		for _, data := range []string{"", "{}", "{\"a\": [1,\n2]}", "<a>\n</a>", "\xff\x00", "12345678\"1234567\\12345\n", "ü\u2028", `{"specversion":"1.0","id":"a","source":"b","type":"c"}`} {
			f.Add(ct, "id", []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, contentType, id string, data []byte) {
		e := &tidings.Event{Position: pos, Topic: "/t", ID: id, Time: at}
		line := Append(nil, e, contentType, data)
		if bytes.ContainsAny(line, "\n\r") {
			t.Errorf("%q has a line break", line)
		}
		var got struct {
			Type     string
			Data     json.RawMessage
			Base64   *string `json:"data_base64"`
			Position string
			Topic    string
		}
		if err := json.Unmarshal(line, &got); err != nil || !utf8.Valid(line) {
			t.Fatalf("%q: %v", line, err)
		}
		if got.Position != pos.String() || got.Topic != "/t" || got.Type == "" {
			t.Errorf("%q", line)
		}
		var text string
		switch {
		case got.Type != TypePublish: // a CloudEvent, whose data are its own
		case got.Base64 != nil:
			if b, err := base64.StdEncoding.DecodeString(*got.Base64); err != nil || !bytes.Equal(b, data) {
				t.Errorf("%q came back as %q, %v", data, b, err)
			}
		case strings.Contains(contentType, "json"):
			var want bytes.Buffer
			if err := json.Compact(&want, data); err != nil || !bytes.Equal(want.Bytes(), got.Data) {
				t.Errorf("%q came back as %q, %v", data, got.Data, err)
			}
		default:
			if err := json.Unmarshal(got.Data, &text); err != nil || text != string(data) {
				t.Errorf("%q came back as %q, %v", data, text, err)
			}
		}
	})
}
