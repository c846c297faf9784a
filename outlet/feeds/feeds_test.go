package feeds

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/bearer"
	"tidings/outlet/outlettest"
	"tidings/recentchange"
)

// site is the outlet on a World, asked without a network.
type site struct {
	*outlettest.World
	h http.Handler
}

func newSite(t *testing.T) *site {
	w := outlettest.NewMemory(t, hub.Options{Decode: func(e *tidings.Event) any {
		if rc, err := recentchange.Decode(e.ContentType, e.Payload); err == nil && recentchange.IsRecentChange(e.ContentType) {
			return rc
		}
		return nil
	}}, edge.Options{Loops: 1})
	s := &Server{Hub: w.Hub, Authenticate: func(r *http.Request) (tidings.Actor, error) { return bearer.Actor(r, w.Policy.Authenticate) }}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /topics/", s.ServeTopic)
	mux.Handle("GET /topics", s.ServeTopics(func(r *http.Request, p tidings.Pattern) ([]Topic, error) {
		infos, err := w.Journal.Topics(r.Context(), p)
		var topics []Topic
		for _, i := range infos {
			topics = append(topics, Topic{Topic: i.Topic, Events: i.Events})
		}
		return topics, err
	}, func(a tidings.Actor, t tidings.Topic) bool { return w.Policy.May(a, tidings.ReadAction, t) == nil }))
	return &site{w, mux}
}

// publish appends an event and waits until the hub has it.
func (s *site) publish(e tidings.Event) tidings.Position {
	s.Helper()
	p := s.Append(e)
	if err := s.Hub.Drain(s.Context()); err != nil {
		s.Fatal(err)
	}
	return p
}

func (s *site) text(topic, payload string) tidings.Position {
	s.Helper()
	return s.publish(tidings.Event{Topic: tidings.Topic(topic), ContentType: "text/plain", Payload: []byte(payload)})
}

// ask sends a request with pairs of header fields.
func (s *site) ask(method, target string, header ...string) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return w
}

func (s *site) get(target string, header ...string) *httptest.ResponseRecorder {
	s.Helper()
	return s.ask("GET", target, header...)
}

type list struct {
	Events []struct {
		Data     any
		Position tidings.Position
		Type     string
	}
	Position, Oldest tidings.Position
	More             bool
}

func (s *site) list(target string, header ...string) (l list, data string) {
	s.Helper()
	w := s.get(target, header...)
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil || w.Code != http.StatusOK {
		s.Fatalf("%s: %d %v\n%s", target, w.Code, err, w.Body)
	}
	if got := w.Header().Get("Content-Length"); got != fmt.Sprint(w.Body.Len()) || w.Header().Get("Content-Type") != "application/json" {
		s.Errorf("%s: %v, with %d bytes", target, w.Header(), w.Body.Len())
	}
	var ds []string
	for _, e := range l.Events {
		ds = append(ds, fmt.Sprint(e.Data))
	}
	return l, strings.Join(ds, " ")
}

// tick waits until the clock has moved on by d, and returns a time between what was before and what will be after.
func tick(d time.Duration) time.Time {
	was := time.Now()
	for !time.Now().After(was.Add(d)) {
		runtime.Gosched()
	}
	t := time.Now()
	for !time.Now().After(t.Add(d)) {
		runtime.Gosched()
	}
	return t
}

func TestList(t *testing.T) {
	s := newSite(t)
	start := s.Hub.Head()
	var at []tidings.Position
	var between time.Time
	for i := range 6 {
		if i == 3 {
			between = tick(time.Millisecond)
		}
		at = append(at, s.text("/a", fmt.Sprint(i)))
		s.text("/other", "x")
	}
	head := s.Hub.Head()
	for _, tt := range []struct {
		query    string
		data     string
		position tidings.Position
		more     bool
	}{
		{"", "0 1 2 3 4 5", head, false},
		{"limit=2", "4 5", head, false},
		{"since=" + start.String(), "0 1 2 3 4 5", head, false},
		{"since=" + start.String() + "&limit=2", "0 1", at[1], true},
		{"since=" + at[1].String() + "&limit=4", "2 3 4 5", head, false},
		{"since=" + at[1].String() + "&limit=3", "2 3 4", at[4], true},
		{"since=" + at[5].String(), "", head, false},
		{"since=" + between.UTC().Format(time.RFC3339Nano), "3 4 5", head, false},
		{"since=2200-01-01", "", head, false},
		{"since=1970-01-01", "0 1 2 3 4 5", head, false},
	} {
		l, data := s.list("/topics/a?" + tt.query)
		if data != tt.data || l.Position != tt.position || l.More != tt.more || l.Oldest != s.Hub.Oldest() {
			t.Errorf("?%s: %q, %v, more %v, oldest %v; want %q, %v, %v", tt.query, data, l.Position, l.More, l.Oldest, tt.data, tt.position, tt.more)
		}
	}
	if _, data := s.list("/topics/a?since="+start.String(), "Last-Event-ID", at[4].String()); data != "5" {
		t.Errorf("Last-Event-ID: %q", data)
	}
	if _, data := s.list("/topics/*?since=" + at[4].String()); data != "x 5 x" {
		t.Errorf("a pattern: %q", data)
	}
	if _, data := s.list("/topics/none"); data != "" {
		t.Errorf("a topic that is none: %q", data)
	}
	// Read on from where the last answer ended: everything comes once.
	var all []string
	for query := "since=" + start.String(); ; {
		l, data := s.list("/topics/a?limit=1&" + query)
		if data != "" {
			all = append(all, data)
		}
		if query = "since=" + l.Position.String(); !l.More {
			break
		}
	}
	if got := strings.Join(all, " "); got != "0 1 2 3 4 5" {
		t.Errorf("page by page: %q", got)
	}
}

func TestListForms(t *testing.T) {
	s := newSite(t)
	when := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	var ps []any
	for _, e := range []tidings.Event{
		{ContentType: "application/json", Payload: []byte(`{"a": 1}`), ID: "x"},
		{ContentType: "application/atom+xml", Payload: []byte("<entry/>")},
		{ContentType: "image/png", Payload: []byte{0x89, 'P'}},
		{Kind: tidings.Retract, ID: "x"},
	} {
		e.Topic, e.Time = "/a/ü", when
		ps = append(ps, s.publish(e).String())
	}
	w := s.get("/topics/a/%C3%BC")
	want := fmt.Sprintf(`{"events":[
{"specversion":"1.0","id":"x","source":"/topics/a/%%C3%%BC","type":"tidings.publish","time":"2026-03-04T05:06:07Z","datacontenttype":"application/json","data":{"a":1},"position":"%[1]s","topic":"/a/ü"},
{"specversion":"1.0","id":"%[2]s","source":"/topics/a/%%C3%%BC","type":"tidings.publish","time":"2026-03-04T05:06:07Z","datacontenttype":"application/atom+xml","data":"<entry/>","position":"%[2]s","topic":"/a/ü"},
{"specversion":"1.0","id":"%[3]s","source":"/topics/a/%%C3%%BC","type":"tidings.publish","time":"2026-03-04T05:06:07Z","datacontenttype":"image/png","data_base64":"iVA=","position":"%[3]s","topic":"/a/ü"},
{"specversion":"1.0","id":"x","source":"/topics/a/%%C3%%BC","type":"tidings.retract","time":"2026-03-04T05:06:07Z","position":"%[4]s","topic":"/a/ü"}
],"position":"%[4]s","oldest":"%[5]s","more":false}
`, append(ps, s.Hub.Oldest().String())...)
	if d := cmp.Diff(want, w.Body.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	p := s.publish(tidings.Event{Topic: "/recentchange/en.wikipedia.org", ContentType: recentchange.TypeJSON, Time: when,
		Payload: []byte(`{"type":"edit","title":"Tea","user":"Ann","bot":false,"wiki":"enwiki","server_name":"en.wikipedia.org"}`)})
	body := s.get("/topics/recentchange/*").Body.String()
	if !strings.Contains(body, `"datacontenttype":"application/json","data":{"$schema":"/mediawiki/recentchange/`) || !strings.Contains(body, fmt.Sprintf(`"offset":%d}`, p.Offset)) {
		t.Errorf("a recent change: %s", body)
	}
	if got := s.get("/topics/recentchange/*?wiki=dewiki").Body.String(); !strings.HasPrefix(got, "{\"events\":[\n]") {
		t.Errorf("filtered: %s", got)
	}
}

func TestConditional(t *testing.T) {
	s := newSite(t)
	future := time.Now().Add(time.Hour)
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	s.publish(tidings.Event{Topic: "/a", Time: future, Payload: []byte("1")})
	s.publish(tidings.Event{Topic: "/a", Time: old, Payload: []byte("2"), ID: "two"})
	for _, target := range []string{"/topics/a", "/topics/a?item=two", "/topics/a?since=" + s.Hub.Oldest().String()} {
		w := s.get(target)
		tag := w.Header().Get("ETag")
		if lm, err := http.ParseTime(w.Header().Get("Last-Modified")); err != nil || lm.After(time.Now()) {
			t.Errorf("%s: Last-Modified %v, %v", target, lm, err)
		}
		if w.Header().Get("Cache-Control") != "no-cache" || !strings.Contains(w.Header().Get("Vary"), "Authorization") {
			t.Errorf("%s: %v", target, w.Header())
		}
		now, later := time.Now().UTC().Add(time.Second).Format(http.TimeFormat), time.Now().Add(2*time.Hour).UTC().Format(http.TimeFormat)
		for _, tt := range []struct {
			header []string
			code   int
		}{
			{nil, 200},
			{[]string{"If-None-Match", tag}, 304},
			{[]string{"If-None-Match", "W/" + strings.TrimPrefix(tag, "W/")}, 304},
			{[]string{"If-None-Match", strings.TrimPrefix(tag, "W/")}, 304},
			{[]string{"If-None-Match", `"x", W/"y",` + tag + ` , "z"`}, 304},
			{[]string{"If-None-Match", `"x"`, "If-None-Match", tag}, 304},
			{[]string{"If-None-Match", "*"}, 304},
			{[]string{"If-None-Match", `"x"`}, 200},
			{[]string{"If-None-Match", strings.Trim(tag, `W/"`)}, 200},
			{[]string{"If-None-Match", `"x"`, "If-Modified-Since", now}, 200}, // the tag is asked alone
			{[]string{"If-Modified-Since", old.Format(http.TimeFormat)}, 200},
			{[]string{"If-Modified-Since", later}, 200}, // a date to come is none
			{[]string{"If-Modified-Since", "yesterday"}, 200},
		} {
			for _, method := range []string{"GET", "HEAD"} {
				w := s.ask(method, target, tt.header...)
				if w.Code != tt.code || w.Header().Get("ETag") != tag {
					t.Errorf("%s %s with %q: %d, %v", method, target, tt.header, w.Code, w.Header())
				}
				if empty := w.Body.Len() == 0; empty != (method == "HEAD" || tt.code == 304) {
					t.Errorf("%s %s with %q: a body of %d bytes", method, target, tt.header, w.Body.Len())
				}
			}
		}
	}
}

// TestIfModifiedSince: a date is compared with when events came, not with when they happened, so that one which came
// late is not hidden by it.
func TestIfModifiedSince(t *testing.T) {
	s := newSite(t)
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	s.publish(tidings.Event{Topic: "/a", Time: old.Add(time.Hour), Payload: []byte("1")})
	for time.Now().Nanosecond() > 900e6 { // so that the second that is asked for is over soon
		runtime.Gosched()
	}
	date := time.Now().Truncate(time.Second).Add(time.Second)
	for time.Now().Before(date) {
		runtime.Gosched()
	}
	since := date.UTC().Format(http.TimeFormat)
	if w := s.get("/topics/a", "If-Modified-Since", since); w.Code != 304 {
		t.Errorf("nothing has come since: %d", w.Code)
	}
	if w := s.get("/topics/none", "If-Modified-Since", since); w.Code != 200 || w.Header().Get("Last-Modified") != "" {
		t.Errorf("an empty list: %d %v", w.Code, w.Header())
	}
	s.text("/other", "x")
	if w := s.get("/topics/a", "If-Modified-Since", since); w.Code != 304 {
		t.Errorf("something else has come since: %d", w.Code)
	}
	s.publish(tidings.Event{Topic: "/a", Time: old, Payload: []byte("2")})
	if w := s.get("/topics/a", "If-Modified-Since", since); w.Code != 200 {
		t.Errorf("an older event has come since: %d", w.Code)
	}
}

func TestTagTellsListsApart(t *testing.T) {
	s := newSite(t)
	start := s.Hub.Head()
	seen := map[string]string{}
	note := func(what, target string) {
		t.Helper()
		tag := s.get(target).Header().Get("ETag")
		if was, ok := seen[tag]; ok {
			t.Errorf("%s and %s have the tag %s", was, what, tag)
		}
		seen[tag] = what
	}
	note("empty", "/topics/a")
	s.text("/a", "1")
	note("one", "/topics/a")
	s.text("/a", "2")
	note("two", "/topics/a")
	note("the second", "/topics/a?limit=1")
	note("the first, and more", "/topics/a?limit=1&since="+start.String())
	before := s.get("/topics/a").Header().Get("ETag")
	s.text("/other", "x")
	if got := s.get("/topics/a").Header().Get("ETag"); got != before {
		t.Errorf("the tag changed to %s without a new event", got)
	}
}

type problemJSON struct {
	Type, Detail  string
	Status        int
	Asked, Oldest tidings.Position
}

func (s *site) refused(code int, target string, header ...string) (p problemJSON) {
	s.Helper()
	w := s.get(target, header...)
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != code || p.Status != code || w.Header().Get("Content-Type") != "application/problem+json" {
		s.Errorf("%s: %d %v %v\n%s", target, w.Code, err, w.Header(), w.Body)
	}
	if w.Header().Get("ETag") != "" {
		s.Errorf("%s: an error with a tag", target)
	}
	return p
}

func TestGone(t *testing.T) {
	s := newSite(t)
	first := s.text("/brief/a", "1")
	last := s.text("/brief/a", "2")
	s.Trim()
	s.text("/brief/a", "3")
	for _, after := range []tidings.Position{first, {Epoch: first.Epoch, Offset: 0}} {
		p := s.refused(http.StatusGone, "/topics/brief/a?since="+after.String())
		if p.Oldest != last || p.Asked != after {
			t.Errorf("since %v: %+v, want oldest %v", after, p, last)
		}
		if _, data := s.list("/topics/brief/a?since=" + p.Oldest.String()); data != "3" {
			t.Errorf("since %v: %q", p.Oldest, data)
		}
	}
	for _, after := range []string{"0badcafe-1", "00000000-0", fmt.Sprintf("%08x-999", first.Epoch)} {
		if p := s.refused(http.StatusGone, "/topics/brief/a?since="+after); p.Oldest.Epoch != first.Epoch {
			t.Errorf("since %s: %+v", after, p)
		}
	}
	s.refused(http.StatusGone, "/topics/brief/a?since=2001-01-01")
	s.refused(http.StatusGone, "/topics/brief/a", "Last-Event-ID", first.String())
	if _, data := s.list("/topics/brief/a"); data != "3" {
		t.Errorf("the latest: %q", data)
	}
}

func TestItem(t *testing.T) {
	s := newSite(t)
	const html = "<script>alert(1)</script>"
	when := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	v1 := s.publish(tidings.Event{Topic: "/a", ID: "x y&z", ContentType: "text/html", Payload: []byte("old"), Time: when})
	v2 := s.publish(tidings.Event{Topic: "/a", ID: "x y&z", ContentType: "text/html", Payload: []byte(html), Time: when})
	unnamed := s.publish(tidings.Event{Topic: "/a", Payload: []byte("plain")})
	s.publish(tidings.Event{Topic: "/b", ID: "elsewhere"})
	gone := s.publish(tidings.Event{Topic: "/a", Payload: []byte("gone")})
	s.publish(tidings.Event{Topic: "/a", ID: gone.String(), Kind: tidings.Retract})
	s.publish(tidings.Event{Topic: "/a", ID: "back", Payload: []byte("1")})
	s.publish(tidings.Event{Topic: "/a", ID: "back", Kind: tidings.Retract})
	s.publish(tidings.Event{Topic: "/a", ID: "back", Payload: []byte("again")})

	w := s.get("/topics/a?item=x+y%26z")
	h := w.Header()
	if w.Code != 200 || w.Body.String() != html || h.Get("Content-Type") != "text/html" || h.Get("Position") != v2.String() ||
		h.Get("ETag") != `"`+v2.String()+`"` || h.Get("Last-Modified") != "Wed, 04 Mar 2026 05:06:07 GMT" ||
		h.Get("Content-Security-Policy") != "sandbox" || h.Get("Content-Length") != fmt.Sprint(len(html)) {
		t.Errorf("the newest version: %d %v %s", w.Code, h, w.Body)
	}
	if w := s.get("/topics/a?item=" + unnamed.String()); w.Code != 200 || w.Body.String() != "plain" || w.Header().Get("Content-Type") != "application/octet-stream" {
		t.Errorf("by position: %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := s.get("/topics/a?item=back"); w.Code != 200 || w.Body.String() != "again" {
		t.Errorf("published again: %d %s", w.Code, w.Body)
	}
	if w := s.ask("HEAD", "/topics/a?item=back"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != "5" {
		t.Errorf("HEAD: %d %v %s", w.Code, w.Header(), w.Body)
	}
	for _, id := range []string{gone.String(), "elsewhere", "", "nobody", v1.String(), "0badcafe-1", fmt.Sprintf("%08x-99", v1.Epoch), "%FF"} {
		s.refused(http.StatusNotFound, "/topics/a?item="+id)
	}
	s.refused(http.StatusBadRequest, "/topics/a*?item=back")
	s.publish(tidings.Event{Topic: "/private/a", ID: "s", Payload: []byte("secret")})
	s.refused(http.StatusUnauthorized, "/topics/private/a?item=s")
	_, token := s.Token("/private/*")
	if w := s.get("/topics/private/a?item=s", "Authorization", "Bearer "+token); w.Body.String() != "secret" {
		t.Errorf("with a token: %d %s", w.Code, w.Body)
	}
}

func TestRefused(t *testing.T) {
	s := newSite(t)
	for _, target := range []string{"/topics/a?limit=0", "/topics/a?limit=1001", "/topics/a?limit=-1", "/topics/a?limit=x", "/topics/a?limit=1e2",
		"/topics/a?since=yesterday", "/topics/a?since=17", "/topics/a%2Fb", "/topics/%5Ba", "/topics/a%00", "/topics/a?filter=%3D", "/topics?match=a", "/topics?match=/%5B"} {
		if p := s.refused(http.StatusBadRequest, target); p.Type != "/problems/invalid" || p.Detail == "" {
			t.Errorf("%s: %+v", target, p)
		}
	}
	s.refused(http.StatusBadRequest, "/topics/a", "Last-Event-ID", "17")
	s.refused(http.StatusUnauthorized, "/topics/private/a")
	s.refused(http.StatusUnauthorized, "/topics/a", "Authorization", "Bearer nonsense")
	s.refused(http.StatusUnauthorized, "/topics", "Authorization", "Bearer nonsense")
	_, token := s.Token("/private/b")
	s.refused(http.StatusForbidden, "/topics/private/a", "Authorization", "Bearer "+token)
}

func TestTopics(t *testing.T) {
	s := newSite(t)
	for _, topic := range []string{"/b", "/a/ü", "/a/x", "/a/x", "/private/x"} {
		s.text(topic, "1")
	}
	_, token := s.Token("/private/**")
	const a = `{"topic":"/a/x","events":2,"url":"/topics/a/x"},{"topic":"/a/ü","events":1,"url":"/topics/a/%C3%BC"}`
	const b = `{"topic":"/b","events":1,"url":"/topics/b"}`
	const private = `{"topic":"/private/x","events":1,"url":"/topics/private/x"}`
	for _, tt := range []struct{ query, token, want string }{
		{"", "", a + "," + b},
		{"", token, a + "," + b + "," + private},
		{"match=/a/*", "", a},
		{"match=/*", "", b},
		{"match=/private/x", "", ""},
		{"match=/private/x", token, private},
		{"match=/none", "", ""},
	} {
		var header []string
		if tt.token != "" {
			header = []string{"Authorization", "Bearer " + tt.token}
		}
		w := s.get("/topics?"+tt.query, header...)
		if want := `{"topics":[` + tt.want + "]}\n"; w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("?%s: %d %v\n%swant\n%s", tt.query, w.Code, w.Header(), w.Body, want)
		}
	}
}

// TestAccessInPatterns: a pattern gives what the reader may read of it.
func TestAccessInPatterns(t *testing.T) {
	s := newSite(t)
	start := s.Hub.Head()
	s.text("/private/a", "secret")
	s.text("/public", "open")
	id, token := s.Token("/private/a")
	for _, target := range []string{"/topics/**", "/topics/**?since=" + start.String()} {
		if _, data := s.list(target); data != "open" {
			t.Errorf("%s: %q", target, data)
		}
		if _, data := s.list(target, "Authorization", "Bearer "+token); data != "secret open" {
			t.Errorf("%s with a token: %q", target, data)
		}
	}
	s.Revoke(id)
	s.refused(http.StatusUnauthorized, "/topics/**", "Authorization", "Bearer "+token)
}
