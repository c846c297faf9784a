package cloudevents

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidings"
)

const minimal = `"specversion":"1.0","id":"1","source":"/s","type":"com.example"`

func header(kv ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(kv); i += 2 {
		h.Add(kv[i], kv[i+1])
	}
	return h
}

func TestDecode(t *testing.T) {
	when := time.Date(2018, 4, 5, 17, 31, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		header http.Header
		body   string
		want   []tidings.Event
	}{
		{
			"structured, kept whole", header("Content-Type", "application/cloudevents+json; charset=UTF-8"),
			"{\n" + minimal + `,"time":"2018-04-05T18:31:00+01:00","subject":"x","ext":1,"data":{"a":1}}`,
			[]tidings.Event{{ID: "1", Time: when, ContentType: ContentType,
				Payload: []byte("{\n" + minimal + `,"time":"2018-04-05T18:31:00+01:00","subject":"x","ext":1,"data":{"a":1}}`)}},
		},
		{
			"from another server", header("Content-Type", ContentType),
			"{" + minimal + `, "position":"00000001-1", "topic":"/elsewhere", "data":"x"}`,
			[]tidings.Event{{ID: "1", ContentType: ContentType, Payload: []byte("{" + minimal + `,"data":"x"}`)}},
		},
		{
			"one of ours", header("Content-Type", ContentType),
			`{"specversion":"1.0","id":"a","source":"/topics/t","type":"tidings.publish","datacontenttype":"text/plain","data":"grüß\n"}`,
			[]tidings.Event{{ID: "a", ContentType: "text/plain", Payload: []byte("grüß\n")}},
		},
		{
			"one of ours in base64", header("Content-Type", ContentType),
			`{"specversion":"1.0","id":"a","source":"/topics/t","type":"tidings.publish","datacontenttype":"image/png","data_base64":"AP8="}`,
			[]tidings.Event{{ID: "a", ContentType: "image/png", Payload: []byte("\x00\xff")}},
		},
		{
			"one of ours without a type of data", header("Content-Type", ContentType),
			`{"specversion":"1.0","id":"a","source":"/topics/t","type":"tidings.publish","data":[1]}`,
			[]tidings.Event{{ID: "a", ContentType: "application/json", Payload: []byte("[1]")}},
		},
		{
			"retraction", header("Content-Type", ContentType),
			`{"specversion":"1.0","id":"a","source":"/topics/t","type":"tidings.retract"}`,
			[]tidings.Event{{ID: "a", Kind: tidings.Retract}},
		},
		{
			"batch", header("Content-Type", BatchContentType),
			`[{` + minimal + `}, {"specversion":"1.0","id":"a","source":"/t","type":"tidings.retract"}]`,
			[]tidings.Event{{ID: "1", ContentType: ContentType, Payload: []byte("{" + minimal + "}")}, {ID: "a", Kind: tidings.Retract}},
		},
		{"empty batch", header("Content-Type", BatchContentType), `[]`, nil},
		{
			"binary, json", header("Ce-Specversion", "1.0", "ce-id", "1", "Ce-Source", "/s", "Ce-Type", "com.example", "Ce-Comment", "Euro%20%E2%82%AC%20%F0%9F%98%80", "Content-Type", "application/json"),
			`{"a": 1}`,
			[]tidings.Event{{ID: "1", ContentType: ContentType,
				Payload: []byte(`{"comment":"Euro € 😀","id":"1","source":"/s","specversion":"1.0","type":"com.example","datacontenttype":"application/json","data":{"a":1}}`)}},
		},
		{
			"binary, quoted value, bytes", header("Ce-Specversion", "1.0", "Ce-Id", `"a\"b"`, "Ce-Source", "/s", "Ce-Type", "t", "Content-Type", "image/png"),
			"\xff",
			[]tidings.Event{{ID: `a"b`, ContentType: ContentType,
				Payload: []byte(`{"id":"a\"b","source":"/s","specversion":"1.0","type":"t","datacontenttype":"image/png","data_base64":"/w=="}`)}},
		},
		{
			"binary, no data", header("Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t"), "",
			[]tidings.Event{{ID: "1", ContentType: ContentType, Payload: []byte(`{"id":"1","source":"/s","specversion":"1.0","type":"t"}`)}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !IsCloudEvent(tt.header) {
				t.Error("not recognised")
			}
			got, err := Decode(tt.header, []byte(tt.body), 2)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	structuredHeader := header("Content-Type", ContentType)
	object := func(members string) string { return "{" + members + "}" }
	without := func(name string) string {
		var ms []string
		for _, m := range strings.Split(minimal, ",") {
			if !strings.HasPrefix(m, `"`+name) {
				ms = append(ms, m)
			}
		}
		return object(strings.Join(ms, ","))
	}
	many := minimal
	for i := range maxMembers {
		many += fmt.Sprintf(`,"a%d":1`, i)
	}
	manyHeaders := header("Ce-Specversion", "1.0")
	for i := range maxMembers {
		manyHeaders.Set(fmt.Sprint("Ce-A", i), "x")
	}
	for _, tt := range []struct {
		name   string
		header http.Header
		body   string
		kind   tidings.ErrorKind
	}{
		{"not an object", structuredHeader, `[]`, tidings.ErrInvalid},
		{"nothing", structuredHeader, ``, tidings.ErrInvalid},
		{"cut off", structuredHeader, `{` + minimal, tidings.ErrInvalid},
		{"something behind it", structuredHeader, object(minimal) + "{}", tidings.ErrInvalid},
		{"no id", structuredHeader, without("id"), tidings.ErrInvalid},
		{"no source", structuredHeader, without("source"), tidings.ErrInvalid},
		{"no type", structuredHeader, without("type"), tidings.ErrInvalid},
		{"no version", structuredHeader, without("specversion"), tidings.ErrInvalid},
		{"other version", structuredHeader, strings.Replace(object(minimal), "1.0", "0.3", 1), tidings.ErrInvalid},
		{"id not a string", structuredHeader, strings.Replace(object(minimal), `"1"`, "1", 1), tidings.ErrInvalid},
		{"id empty", structuredHeader, strings.Replace(object(minimal), `"1"`, `""`, 1), tidings.ErrInvalid},
		{"id twice", structuredHeader, object(minimal + `,"id":"2"`), tidings.ErrInvalid},
		{"attribute name in capitals", structuredHeader, object(minimal + `,"myExt":"2"`), tidings.ErrInvalid},
		{"attribute without a name", structuredHeader, object(minimal + `,"":"2"`), tidings.ErrInvalid},
		{"attribute that is an object", structuredHeader, object(minimal + `,"ext":{}`), tidings.ErrInvalid},
		{"too many attributes", structuredHeader, object(many), tidings.ErrInvalid},
		{"time", structuredHeader, object(minimal + `,"time":"yesterday"`), tidings.ErrInvalid},
		{"time a number", structuredHeader, object(minimal + `,"time":7`), tidings.ErrInvalid},
		{"two data", structuredHeader, object(minimal + `,"data":1,"data_base64":"AA=="`), tidings.ErrInvalid},
		{"not base64", structuredHeader, object(minimal + `,"data_base64":"?"`), tidings.ErrInvalid},
		{"base64 not a string", structuredHeader, object(minimal + `,"data_base64":7`), tidings.ErrInvalid},
		{"gap", structuredHeader, strings.Replace(object(minimal), "com.example", TypeGap, 1), tidings.ErrInvalid},
		{"text that is an object", structuredHeader, `{"specversion":"1.0","id":"a","source":"/t","type":"tidings.publish","datacontenttype":"text/plain","data":{}}`, tidings.ErrInvalid},
		{"charset", header("Content-Type", ContentType+"; charset=latin1"), object(minimal), tidings.ErrInvalid},
		{"other format", header("Content-Type", "application/cloudevents+xml"), `<event/>`, tidings.ErrInvalid},
		{"malformed content type", header("Content-Type", "application/cloudevents+json; ="), object(minimal), tidings.ErrInvalid},
		{"no CloudEvent", header("Content-Type", "application/json"), `{}`, tidings.ErrInvalid},
		{"batch of another thing", header("Content-Type", BatchContentType), `[1]`, tidings.ErrInvalid},
		{"batch not an array", header("Content-Type", BatchContentType), object(minimal), tidings.ErrInvalid},
		{"batch cut off", header("Content-Type", BatchContentType), "[" + object(minimal), tidings.ErrInvalid},
		{"something behind the batch", header("Content-Type", BatchContentType), "[] 1", tidings.ErrInvalid},
		{"batch with a bad one", header("Content-Type", BatchContentType), "[" + object(minimal) + ",{}]", tidings.ErrInvalid},
		{"batch too long", header("Content-Type", BatchContentType), "[" + strings.Repeat(object(minimal)+",", 2) + object(minimal) + "]", tidings.ErrTooLarge},
		{"header twice", header("Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Id", "2", "Ce-Source", "/s", "Ce-Type", "t"), "", tidings.ErrInvalid},
		{"header of data", header("Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t", "Ce-Data", "x"), "", tidings.ErrInvalid},
		{"header not percent-encoded", header("Ce-Specversion", "1.0", "Ce-Id", "%", "Ce-Source", "/s", "Ce-Type", "t"), "", tidings.ErrInvalid},
		{"header not UTF-8", header("Ce-Specversion", "1.0", "Ce-Id", "%ff", "Ce-Source", "/s", "Ce-Type", "t"), "", tidings.ErrInvalid},
		{"too many headers", manyHeaders, "", tidings.ErrInvalid},
		{"binary without an id", header("Ce-Specversion", "1.0", "Ce-Source", "/s", "Ce-Type", "t"), "", tidings.ErrInvalid},
		{"binary with bad json", header("Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t", "Content-Type", "application/json"), "{", tidings.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode(tt.header, []byte(tt.body), 2)
			if tidings.KindOf(err) != tt.kind {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// What Append writes, Decode reads.
func TestRoundTrip(t *testing.T) {
	for _, e := range []tidings.Event{
		{Topic: "/t", ID: "a", Time: at.UTC(), ContentType: "application/json", Payload: []byte(`{"a":1}`)},
		{Topic: "/t", ID: "a", Time: at.UTC(), ContentType: "text/plain", Payload: []byte("x\n\"")},
		{Topic: "/t", ID: "a", Time: at.UTC(), ContentType: "image/png", Payload: []byte("\x00\xff")},
		{Topic: "/t", ID: "a", Time: at.UTC(), Kind: tidings.Retract},
		{Topic: "/t", ID: "1", ContentType: ContentType, Payload: []byte("{" + minimal + `,"data":null}`)},
	} {
		got, err := Decode(header("Content-Type", ContentType), Append(nil, &e, e.ContentType, e.Payload), 1)
		if err != nil {
			t.Fatal(err)
		}
		e.Topic = ""
		e.Payload = []byte(strings.Replace(string(e.Payload), `,"data":null`, "", 1))
		if len(e.Payload) == 0 {
			e.Payload = nil
		}
		if d := cmp.Diff([]tidings.Event{e}, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

// Whatever is taken can be written again.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"{" + minimal + "}", "[{" + minimal + `,"data":1}]`, "{" + minimal + `,"data_base64":"AA==","time":"2018-04-05T17:31:00Z"}`, "{", "[1]",
		`{"specversion":"1.0","id":"a","source":"/t","type":"tidings.publish","datacontenttype":"text/plain","data":"x"}`} {
		f.Add(0, s, "x")
		f.Add(1, s, "text/plain")
		f.Add(2, s, "application/json")
	}
	f.Fuzz(func(t *testing.T, mode int, body, value string) {
		var h http.Header
		switch mode % 3 {
		case 0:
			h = header("Content-Type", ContentType)
		case 1:
			h = header("Content-Type", BatchContentType)
		default:
			h = header("Ce-Specversion", "1.0", "Ce-Id", value, "Ce-Source", "/s", "Ce-Type", "t", "Content-Type", value)
		}
		events, err := Decode(h, []byte(body), 3)
		if err != nil {
			if k := tidings.KindOf(err); k != tidings.ErrInvalid && k != tidings.ErrTooLarge {
				t.Errorf("error %v", err)
			}
			return
		}
		for _, e := range events {
			e.Topic = "/t"
			if line := Append(nil, &e, e.ContentType, e.Payload); !json.Valid(line) {
				t.Errorf("%q became %q", body, line)
			}
		}
	})
}
