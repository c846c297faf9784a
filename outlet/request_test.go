package outlet

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/journal"
)

func TestQuality(t *testing.T) {
	for _, tt := range []struct {
		accept, typ string
		want        float64
	}{
		{"application/json", "application/json", 1},
		{"text/html", "application/json", 0},
		{"*/*", "application/json", 1},
		{"*/*;q=0.1", "application/json", 0.1},
		{"application/*;q=0.5, */*;q=0.1", "application/json", 0.5},
		{"*/*;q=0.1, application/*;q=0.5", "application/json", 0.5}, // the most specific, wherever it stands
		{"application/json;q=0, */*", "application/json", 0},
		{"application/json;q=0.2, */*", "application/json", 0.2},
		{"Application/JSON; Q=0.3", "application/json", 0.3},
		{"application/json ; charset=utf-8 ; q=0.4", "application/json", 0.4},
		{"text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", "application/json", 0.8},
		{"application/json;q=nonsense", "application/json", 1},
		{"application/json;q=NaN", "application/json", 1},
		{"application/json;q=1e9", "application/json", 1},
		{"application/json;q=-1", "application/json", 1},
		{"application", "application/json", 0},
		{"application/jsonx", "application/json", 0},
		{",, ;q=1,", "application/json", 0},
		{"text/*", "text/event-stream", 1},
	} {
		if got := quality(tt.accept, tt.typ); got != tt.want {
			t.Errorf("quality(%q, %q) = %v, want %v", tt.accept, tt.typ, got, tt.want)
		}
	}
}

func TestNegotiate(t *testing.T) {
	offers := []Offer{{"json", "application/json"}, {"sse", "text/event-stream"}, {"ndjson", "application/x-ndjson"}}
	for _, tt := range []struct {
		query  string
		accept []string
		want   string // the name; empty for none
	}{
		{"", nil, "json"},
		{"", []string{""}, "json"},
		{"", []string{"*/*"}, "json"},
		{"", []string{"text/event-stream"}, "sse"},
		{"", []string{"text/html", "text/event-stream;q=0.5, application/x-ndjson;q=0.6"}, "ndjson"},
		{"", []string{"application/json;q=0.5, text/event-stream;q=0.5"}, "json"},
		{"", []string{"text/*, application/*;q=0.9"}, "sse"},
		{"", []string{"application/json;q=0, */*;q=0.1"}, "sse"},
		{"", []string{"text/html"}, ""},
		{"", []string{"*/*;q=0"}, ""},
		{"format=ndjson", []string{"text/event-stream"}, "ndjson"},
		{"format=sse", nil, "sse"},
		{"format=", []string{"text/event-stream"}, "sse"},
		{"format=xml", []string{"*/*"}, ""},
		{"format=SSE", nil, ""},
	} {
		r := httptest.NewRequest("GET", "/x?"+tt.query, nil)
		r.Header["Accept"] = tt.accept
		got, ok := Negotiate(r, offers)
		if got.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("?%s, Accept %q: %q, %v, want %q", tt.query, tt.accept, got.Name, ok, tt.want)
		}
		w := httptest.NewRecorder()
		chosen, ok := Choose(w, r, offers)
		status, about := 200, ""
		switch {
		case tt.want != "":
		case strings.HasPrefix(tt.query, "format="): // which is to blame, and not Accept
			status, about = 400, tt.query[:7]
		default:
			status, about = 406, "application/x-ndjson"
		}
		if chosen != got || ok != (status == 200) || w.Code != status || !strings.Contains(w.Body.String(), about) || status == 400 && !strings.Contains(w.Body.String(), "json, sse, ndjson") {
			t.Errorf("?%s, Accept %q: answered %d %s", tt.query, tt.accept, w.Code, w.Body)
		}
	}
}

var times = []struct{ in, want string }{ // want in RFC 3339 with milliseconds; empty for an error
	{"1772600767123", "2026-03-04T05:06:07.123Z"},
	{"17726", "1970-01-01T00:00:17.726Z"},
	{"-86400000", "1969-12-31T00:00:00.000Z"},
	{"2026-03-04T05:06:07Z", "2026-03-04T05:06:07.000Z"},
	{"2026-03-04T05:06:07.125Z", "2026-03-04T05:06:07.125Z"},
	{"2026-03-04T05:06:07+02:00", "2026-03-04T03:06:07.000Z"},
	{"2026-03-04T05:06:07 02:00", "2026-03-04T03:06:07.000Z"}, // the + was not encoded
	{"2026-03-04T05:06-03:30", "2026-03-04T08:36:00.000Z"},
	{"2026-03-04T05:06:07.5", "2026-03-04T05:06:07.500Z"},
	{"2026-03-04T05:06:07", "2026-03-04T05:06:07.000Z"},
	{"2026-03-04T05:06", "2026-03-04T05:06:00.000Z"},
	{"2026-03-04", "2026-03-04T00:00:00.000Z"},
	{"2026-03", "2026-03-01T00:00:00.000Z"},
	{"Wed, 04 Mar 2026 05:06:07 GMT", "2026-03-04T05:06:07.000Z"},
	{"Wed, 04 Mar 2026 05:06:07 UTC", "2026-03-04T05:06:07.000Z"},
	{"Wed, 04 Mar 2026 05:06:07 +0100", "2026-03-04T04:06:07.000Z"},
	{"Wed Mar  4 05:06:07 2026", "2026-03-04T05:06:07.000Z"},
	{"Wed, 04 Mar 2026 05:06:07 CET", ""}, // whose offset nobody says
	{"2026", ""},                          // a year, or two seconds after 1970
	{"", ""}, {"yesterday", ""}, {"2026-13-01", ""}, {"2026-02-30", ""}, {"12:00", ""}, {"1e12", ""}, {"1772600767.5", ""},
	{"99999999999999999999", ""}, {"5f3a9c01-7", ""}, {"2026-03-04T", ""}, {" ", ""},
}

func TestParseTime(t *testing.T) {
	for _, tt := range times {
		got, err := ParseTime(tt.in)
		s := ""
		if err == nil {
			s = got.UTC().Format("2006-01-02T15:04:05.000Z07:00")
		}
		if s != tt.want {
			t.Errorf("ParseTime(%q) = %s, %v, want %s", tt.in, s, err, tt.want)
		}
	}
}

// What parses is one instant: its RFC 3339 form parses as the same.
func FuzzParseTime(f *testing.F) {
	for _, tt := range times {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTime(s)
		if err != nil {
			return
		}
		if y := got.UTC().Year(); y < 0 || y > 9999 {
			return // of milliseconds, which RFC 3339 cannot write
		}
		text := got.UTC().Format(time.RFC3339Nano)
		if back, err := ParseTime(text); err != nil || !back.Equal(got) {
			t.Errorf("ParseTime(%q) = %s, which parses as %s, %v", s, text, back, err)
		}
	})
}

func TestFilter(t *testing.T) {
	for _, tt := range []struct{ query, want string }{
		{"", ""},
		{"since=1&limit=2&format=sse&topic=/a&item=1&match=/b&lastEventId=1&lastEventID=2", ""},
		{"wiki=enwiki&since=1", "wiki=enwiki"},
		{"wiki=b&bot=false&wiki=a&wiki=b", "bot=false&wiki=a&wiki=b"},
		{"length.new=9&%C3%A9=%26", "length.new=9&%C3%A9=%26"},
		{"wiki=", "wiki="},
	} {
		q, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Filter(q)
		got := ""
		if f != nil {
			got = f.String()
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.query, got, err, tt.want)
		}
	}
	q := url.Values{"a": make([]string, hub.MaxFilterValues+1)}
	for i := range q["a"] {
		q["a"][i] = strings.Repeat("x", i%3+1) + string(rune('0'+i%10)) + string(rune('a'+i/10))
	}
	for name, filters := range map[string][]string{"an expression that is none": {"x =="}, "too many": slices.Repeat([]string{"true"}, maxExpressions+1)} {
		if f, err := Filter(url.Values{"filter": filters}); tidings.KindOf(err) != tidings.ErrInvalid || f != nil {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	if f, err := Filter(url.Values{"filter": slices.Repeat([]string{"true"}, maxExpressions), "wiki": {"a"}}); err != nil || !strings.Contains(f.String(), "wiki=a") {
		t.Errorf("expressions and a field: %v, %v", f, err)
	}
	if f, err := Filter(q); tidings.KindOf(err) != tidings.ErrInvalid || f != nil {
		t.Errorf("too many values: %v, %v", f, err)
	}
}

type anyone struct{}

func (anyone) May(tidings.Actor, tidings.Action, tidings.Topic) error { return nil }
func (anyone) Audience(tidings.Actor) string                          { return "" }

func TestAfter(t *testing.T) {
	ctx := context.Background()
	j := journal.NewMemory(journal.Options{TrimInterval: -1, Retention: []journal.Retention{{Age: time.Hour}}})
	defer j.Close()
	h := hub.New(j, anyone{}, hub.Options{})
	defer h.Close()
	publish := func(n int) tidings.Position {
		r, err := j.Append(ctx, events(n)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		return r[n-1].Position
	}
	start, head := h.Head(), publish(10)
	otherwise := tidings.Position{Epoch: 1, Offset: 99}
	for _, tt := range []struct {
		query, id string
		want      tidings.Position
		kind      tidings.ErrorKind
	}{
		{"", "", otherwise, 0},
		{"since=" + head.String(), "", head, 0},
		{"since=" + start.String(), head.String(), head, 0},
		{"lastEventId=" + head.String(), "", head, 0},
		{"lastEventID=" + head.String() + "&since=1990-01-01", "", head, 0},
		{"since=1990-01-01", "", start, 0},
		{"since=2150-01-01", "", head, 0},
		{"since=9223372036854775807", "", head, 0},
		{"since=-9223372036854775808", "", start, 0},
		{"since=0badcafe-7", "", tidings.Position{Epoch: 0x0badcafe, Offset: 7}, 0},
		{"since=tomorrow", "", tidings.Position{}, tidings.ErrInvalid},
		{"", "tomorrow", tidings.Position{}, tidings.ErrInvalid},
		{"lastEventId=1990-01-01", "", tidings.Position{}, tidings.ErrInvalid},
	} {
		r := httptest.NewRequest("GET", "/x?"+tt.query, nil)
		if tt.id != "" {
			r.Header.Set("Last-Event-ID", tt.id)
		}
		got, err := After(ctx, h, r, otherwise)
		if got != tt.want || tidings.KindOf(err) != tt.kind {
			t.Errorf("?%s, Last-Event-ID %q: %v, %v, want %v", tt.query, tt.id, got, err, tt.want)
		}
	}
	// Where the beginning has been removed, a time before what is kept is a place before everything, and so a gap.
	if _, err := j.Trim(ctx, time.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	publish(1)
	got, err := After(ctx, h, httptest.NewRequest("GET", "/x?since=1990-01-01", nil), otherwise)
	if want := (tidings.Position{Epoch: head.Epoch}); err != nil || got != want {
		t.Errorf("a time before what is kept: %v, %v, want %v", got, err, want)
	}
	if _, _, err := j.Read(ctx, got, nil, 1); !errors.Is(err, tidings.ErrGap) {
		t.Errorf("reading after it: %v, want a gap", err)
	}
}

func events(n int) []tidings.Event {
	es := make([]tidings.Event, n)
	for i := range es {
		es[i].Topic = "/a"
	}
	return es
}

func TestHijackNotTaken(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "text/event-stream")
	if _, err := Hijack(nil, w, http.StatusOK, nil, nil); !errors.Is(err, ErrNotTaken) || !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("got %v", err)
	}
	if len(w.Header()) != 1 {
		t.Errorf("the header is %v", w.Header())
	}
}
