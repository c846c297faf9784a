package httpsource

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidings"
	"tidings/internal/problem"
)

// log is a journal in memory, as far as a Server needs one.
type log struct {
	mu     sync.Mutex
	events []tidings.Event
	keys   map[string]tidings.Position
	oldest uint64 // offset before the oldest event kept
	fail   error
}

const epoch = 0x5f3a9c01

func (l *log) Append(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return nil, l.fail
	}
	var done []tidings.Appended
	for _, e := range events {
		if p, ok := l.keys[e.Key]; ok && e.Key != "" {
			done = append(done, tidings.Appended{Position: p, Duplicate: true})
			continue
		}
		e.Position = tidings.Position{Epoch: epoch, Offset: uint64(len(l.events) + 1)}
		l.events = append(l.events, e)
		if l.keys == nil {
			l.keys = map[string]tidings.Position{}
		}
		l.keys[e.Key] = e.Position
		done = append(done, tidings.Appended{Position: e.Position})
	}
	return done, nil
}

func (l *log) Read(_ context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if after.Offset < l.oldest {
		return nil, after, &tidings.GapError{Asked: after, Oldest: tidings.Position{Epoch: epoch, Offset: l.oldest}}
	}
	for _, e := range l.events[after.Offset:] {
		if patterns[0].Match(e.Topic) && max == 1 {
			return []tidings.Event{e}, e.Position, nil
		}
	}
	return nil, after, nil
}

// policy lets the token "news" publish below /news and "other" below /news and /other.
type policy struct{}

func (policy) Authenticate(token string) (tidings.Actor, error) {
	if token != "news" && token != "other" {
		return tidings.Actor{}, tidings.Errorf(tidings.ErrUnauthenticated, "no such token")
	}
	return tidings.Actor{Kind: tidings.Token, Name: token}, nil
}

func (policy) May(a tidings.Actor, action tidings.Action, t tidings.Topic) error {
	switch {
	case a.Kind == tidings.Anonymous:
		return tidings.Errorf(tidings.ErrUnauthenticated, "a token is needed")
	case action != tidings.PublishAction:
		return tidings.Errorf(tidings.ErrForbidden, "asked for %s", action)
	case strings.HasPrefix(string(t), "/news/") || a.Name == "other":
		return nil
	}
	return tidings.Errorf(tidings.ErrForbidden, "another scope is needed")
}

func newServer() (*Server, *log) {
	l := &log{}
	return &Server{Append: l.Append, Read: l.Read, Policy: policy{}, MaxBody: 2000, MaxBatch: 3, Log: slog.New(slog.DiscardHandler)}, l
}

// do sends a request with the headers given in pairs and the token "news", unless they have another.
func do(h http.Handler, method, url, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer news")
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "-" {
			r.Header.Del(headers[i])
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPublish(t *testing.T) {
	const js = "application/json"
	for _, tt := range []struct {
		name    string
		url     string
		headers []string
		body    string
		want    tidings.Event
		loc     string
	}{
		{"json", "/topics/news/a", []string{"Content-Type", js}, `{"a": 1}`,
			tidings.Event{Topic: "/news/a", ContentType: js}, "/topics/news/a?item=5f3a9c01-1"},
		{"xml with an id", "/topics/news/a", []string{"Content-Type", "application/atom+xml;type=entry", "Item-ID", "tag:example,2026:x y&z"}, `<entry xmlns="http://www.w3.org/2005/Atom"/>`,
			tidings.Event{Topic: "/news/a", ContentType: "application/atom+xml;type=entry", ID: "tag:example,2026:x y&z"}, "/topics/news/a?item=tag%3Aexample%2C2026%3Ax+y%26z"},
		{"text, encoded topic", "/topics/news/caf%C3%A9%20au%20lait", []string{"Content-Type", "text/plain; charset=utf-8"}, "grüß",
			tidings.Event{Topic: "/news/café au lait", ContentType: "text/plain; charset=utf-8"}, "/topics/news/caf%C3%A9%20au%20lait?item=5f3a9c01-1"},
		{"no text", "/topics/news/a", []string{"Content-Type", "text/plain"}, "",
			tidings.Event{Topic: "/news/a", ContentType: "text/plain"}, "/topics/news/a?item=5f3a9c01-1"},
		{"identity", "/topics/news/a", []string{"Content-Type", js, "Content-Encoding", "identity"}, "1",
			tidings.Event{Topic: "/news/a", ContentType: js}, "/topics/news/a?item=5f3a9c01-1"},
		{"CloudEvent", "/topics/news/a", []string{"Content-Type", "application/cloudevents+json"}, `{"specversion":"1.0","id":"x","source":"/s","type":"t"}`,
			tidings.Event{Topic: "/news/a", ContentType: "application/cloudevents+json", ID: "x"}, "/topics/news/a?item=x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l := newServer()
			w := do(s, "POST", tt.url, tt.body, tt.headers...)
			if w.Code != http.StatusCreated {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			tt.want.Position = tidings.Position{Epoch: epoch, Offset: 1}
			tt.want.Payload = []byte(tt.body)
			tt.want.Publisher = "token:news"
			if d := cmp.Diff([]tidings.Event{tt.want}, l.events); d != "" {
				t.Errorf("events (-want +got):\n%s", d)
			}
			if got := w.Header().Get("Position"); got != "5f3a9c01-1" {
				t.Errorf("Position: %q", got)
			}
			if got := w.Header().Get("Location"); got != tt.loc {
				t.Errorf("Location: %q, want %q", got, tt.loc)
			}
			var rec map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &rec); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"position": "5f3a9c01-1", "id": tt.want.ItemID(), "topic": string(tt.want.Topic)}
			if d := cmp.Diff(want, rec); d != "" {
				t.Errorf("body (-want +got):\n%s", d)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	js := []string{"Content-Type", "application/json"}
	with := func(more ...string) []string { return append(append([]string{}, js...), more...) }
	for _, tt := range []struct {
		name, method, url string
		headers           []string
		body              string
		status            int
		detail            string // a part of it
	}{
		{"nobody", "POST", "/topics/news/a", with("Authorization", "-"), "{}", 401, "token"},
		{"wrong token", "POST", "/topics/news/a", with("Authorization", "Bearer x"), "{}", 401, "no such"},
		{"other scheme", "POST", "/topics/news/a", with("Authorization", "Basic bmV3czo="), "{}", 401, "Bearer TOKEN"},
		{"other topic", "POST", "/topics/other", js, "{}", 403, "scope"},
		{"no topic", "POST", "/topics/", js, "{}", 400, "names no topic"},
		{"pattern", "POST", "/topics/news/*", js, "{}", 400, "patterns"},
		{"encoded slash", "POST", "/topics/news%2Fa", js, "{}", 400, "%2F"},
		{"not below topics", "POST", "/else", js, "{}", 404, "/topics/"},
		{"no type", "POST", "/topics/news/a", nil, "{}", 415, "no Content-Type"},
		{"a form", "POST", "/topics/news/a", []string{"Content-Type", "application/x-www-form-urlencoded"}, "{}", 415, "want JSON"},
		{"an image", "POST", "/topics/news/a", []string{"Content-Type", "image/png"}, "x", 415, "image/png"},
		{"charset", "POST", "/topics/news/a", []string{"Content-Type", "text/plain; charset=koi8-r"}, "x", 415, "UTF-8"},
		{"compressed", "POST", "/topics/news/a", with("Content-Encoding", "gzip"), "x", 415, "gzip"},
		{"not json", "POST", "/topics/news/a", js, "{", 400, "not JSON"},
		{"nothing", "POST", "/topics/news/a", js, "", 400, "empty"},
		{"not xml", "POST", "/topics/news/a", []string{"Content-Type", "text/xml"}, "<a>", 400, "</a>"},
		{"document type", "POST", "/topics/news/a", []string{"Content-Type", "text/xml"}, "<!DOCTYPE a><a/>", 400, "DOCTYPE"},
		{"not text", "POST", "/topics/news/a", []string{"Content-Type", "text/plain"}, "\xff", 400, "UTF-8"},
		{"too large", "POST", "/topics/news/a", js, `"` + strings.Repeat("x", 2000) + `"`, 413, "2000 bytes"},
		{"id too long", "POST", "/topics/news/a", with("Item-ID", strings.Repeat("x", 1024)), "{}", 400, "id has 1024"},
		{"id with a control character", "POST", "/topics/news/a", with("Item-ID", "a\x01"), "{}", 400, "control"},
		{"empty id", "POST", "/topics/news/a", with("Item-ID", ""), "{}", 400, "empty"},
		{"id in the query", "POST", "/topics/news/a?item=x", js, "{}", 400, "Item-ID"},
		{"empty key", "POST", "/topics/news/a", with("Idempotency-Key", ""), "{}", 400, "empty"},
		{"key too long", "POST", "/topics/news/a", with("Idempotency-Key", strings.Repeat("x", 256)), "{}", 400, "255"},
		{"content type too long", "POST", "/topics/news/a", []string{"Content-Type", "application/json; x=" + strings.Repeat("y", 255)}, "{}", 400, "content type"},
		{"bad CloudEvent", "POST", "/topics/news/a", []string{"Content-Type", "application/cloudevents+json"}, "{}", 400, "specversion"},
		{"CloudEvent with an Item-ID", "POST", "/topics/news/a", []string{"Content-Type", "application/cloudevents+json", "Item-ID", "x"}, "{}", 400, "Item-ID"},
		{"deep CloudEvent", "POST", "/topics/news/a", []string{"Content-Type", "application/cloudevents+json"}, `{"data":` + strings.Repeat("[", 300), 400, "nested"},
		{"batch too long", "POST", "/topics/news/a", []string{"Content-Type", "application/cloudevents-batch+json"},
			"[" + strings.Repeat(`{"specversion":"1.0","id":"x","source":"/s","type":"t"},`, 3) + `{}]`, 413, "3 events"},
		{"retract nothing", "DELETE", "/topics/news/a", nil, "", 400, "?item=ID"},
		{"retract an empty name", "DELETE", "/topics/news/a?item=", nil, "", 400, "?item=ID"},
		{"retract two", "DELETE", "/topics/news/a?item=x&item=y", nil, "", 400, "?item=ID"},
		{"retract elsewhere", "DELETE", "/topics/other?item=x", nil, "", 403, "scope"},
		{"retract a long name", "DELETE", "/topics/news/a?item=" + strings.Repeat("x", 1024), nil, "", 400, "id has 1024"},
		{"method", "PUT", "/topics/news/a", js, "{}", 405, "POST"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, l := newServer()
			w := do(s, tt.method, tt.url, tt.body, tt.headers...)
			var p struct {
				Type, Detail string
				Status       int
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("%d %s: %v", w.Code, w.Body, err)
			}
			if w.Code != tt.status || p.Status != tt.status || !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("%d %s, want %d and %q", w.Code, w.Body, tt.status, tt.detail)
			}
			if ct := w.Header().Get("Content-Type"); ct != problem.ContentType {
				t.Errorf("Content-Type: %s", ct)
			}
			if len(l.events) != 0 {
				t.Errorf("appended %v", l.events)
			}
			if n := s.Stats().Refused[tt.status]; n != 1 {
				t.Errorf("%d refusals counted", n)
			}
			if tt.status == 415 && w.Header().Get("Accept") == "" {
				t.Error("415 does not say what is accepted")
			}
			if tt.status == 401 && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
			if tt.status == 405 && w.Header().Get("Allow") != "GET, HEAD, POST, DELETE" {
				t.Errorf("Allow: %s", w.Header().Get("Allow"))
			}
		})
	}
}

func TestIdempotencyKey(t *testing.T) {
	s, l := newServer()
	post := func(url, body string, headers ...string) *httptest.ResponseRecorder {
		return do(s, "POST", url, body, append([]string{"Content-Type", "application/json", "Idempotency-Key", "k"}, headers...)...)
	}
	steps := []struct {
		name     string
		do       func() *httptest.ResponseRecorder
		status   int
		position string
	}{
		{"first", func() *httptest.ResponseRecorder { return post("/topics/news/a", "1") }, 201, "5f3a9c01-1"},
		{"repeat", func() *httptest.ResponseRecorder { return post("/topics/news/a", "1") }, 200, "5f3a9c01-1"},
		{"other body", func() *httptest.ResponseRecorder { return post("/topics/news/a", "2") }, 409, ""},
		{"other type", func() *httptest.ResponseRecorder { return post("/topics/news/a", "1", "Content-Type", "text/plain") }, 409, ""},
		{"other item", func() *httptest.ResponseRecorder { return post("/topics/news/a", "1", "Item-ID", "x") }, 409, ""},
		{"other kind", func() *httptest.ResponseRecorder {
			return do(s, "DELETE", "/topics/news/a?item=x", "", "Idempotency-Key", "k")
		}, 409, ""},
		{"other topic", func() *httptest.ResponseRecorder { return post("/topics/news/b", "1") }, 201, "5f3a9c01-2"},
		{"other publisher", func() *httptest.ResponseRecorder { return post("/topics/news/a", "1", "Authorization", "Bearer other") }, 201, "5f3a9c01-3"},
		{"other key", func() *httptest.ResponseRecorder { return post("/topics/news/a", "1", "Idempotency-Key", "K") }, 201, "5f3a9c01-4"},
		{"the first is not kept any more", func() *httptest.ResponseRecorder { l.oldest = 4; return post("/topics/news/a", "2") }, 200, "5f3a9c01-1"},
		{"nothing to read with", func() *httptest.ResponseRecorder { l.oldest = 0; s.Read = nil; return post("/topics/news/a", "2") }, 200, "5f3a9c01-1"},
	}
	for _, st := range steps {
		w := st.do()
		if w.Code != st.status || w.Header().Get("Position") != st.position {
			t.Errorf("%s: %d at %q: %s; want %d at %q", st.name, w.Code, w.Header().Get("Position"), w.Body, st.status, st.position)
		}
		if dup := strings.Contains(w.Body.String(), `"duplicate":true`); dup != (st.status == 200) {
			t.Errorf("%s: %s", st.name, w.Body)
		}
	}
	want := Stats{Published: 4, Duplicates: 7, Refused: map[int]uint64{409: 4}}
	if d := cmp.Diff(want, s.Stats()); d != "" {
		t.Errorf("stats (-want +got):\n%s", d)
	}
	for _, e := range l.events {
		if len(e.Key) > tidings.MaxKeyBytes || strings.Contains(e.Key, "k\x00") {
			t.Errorf("key %q", e.Key)
		}
	}
}

func TestRetract(t *testing.T) {
	s, l := newServer()
	w := do(s, "DELETE", "/topics/news/a?item=x%20y%26z", "")
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"position":"5f3a9c01-1","id":"x y&z","topic":"/news/a"}` || w.Header().Get("Position") != "5f3a9c01-1" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	want := []tidings.Event{{Position: tidings.Position{Epoch: epoch, Offset: 1}, Topic: "/news/a", ID: "x y&z", Kind: tidings.Retract, Publisher: "token:news"}}
	if d := cmp.Diff(want, l.events); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	if st := s.Stats(); st.Retracted != 1 || st.Published != 0 {
		t.Errorf("%+v", st)
	}
}

func TestBatch(t *testing.T) {
	s, l := newServer()
	event := func(id, data string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/s","type":"tidings.publish","datacontenttype":"text/plain","data":%q}`, id, data)
	}
	post := func(events ...string) (int, []receipt) {
		w := do(s, "POST", "/topics/news/a", "["+strings.Join(events, ",")+"]", "Content-Type", "application/cloudevents-batch+json", "Idempotency-Key", "k")
		var got struct{ Events []receipt }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		return w.Code, got.Events
	}
	at := func(n uint64) tidings.Position { return tidings.Position{Epoch: epoch, Offset: n} }
	check := func(what string, status int, got []receipt, wantStatus int, want []receipt) {
		t.Helper()
		if d := cmp.Diff(want, got); d != "" || status != wantStatus {
			t.Errorf("%s: status %d, want %d; (-want +got):\n%s", what, status, wantStatus, d)
		}
	}
	one := receipt{Position: at(1), ID: "a", Topic: "/news/a"}
	two := receipt{Position: at(2), ID: "b", Topic: "/news/a"}
	three := receipt{Position: at(3), ID: "c", Topic: "/news/a"}
	status, got := post(event("a", "1"), event("b", "2"))
	check("first", status, got, 201, []receipt{one, two})
	one.Duplicate, two.Duplicate = true, true
	status, got = post(event("a", "1"), event("b", "2"))
	check("repeat", status, got, 200, []receipt{one, two})
	if status, _ = post(event("a", "1"), event("b", "another")); status != 409 {
		t.Errorf("another content: %d", status)
	}
	two.Conflict = true
	status, got = post(event("a", "1"), event("b", "another"), event("c", "3"))
	check("one more, one changed", status, got, 201, []receipt{one, two, three})
	status, got = post()
	check("empty", status, got, 200, []receipt{})
	if string(l.events[1].Payload) != "2" || l.events[1].ContentType != "text/plain" || len(l.events) != 3 {
		t.Errorf("events %v", l.events)
	}
}

func TestJournalFails(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		logged bool
	}{
		{tidings.Errorf(tidings.ErrUnavailable, "the journal is closed"), 503, true},
		{errors.New("secret path"), 500, true},
		{tidings.Errorf(tidings.ErrTooLarge, "the payload has too many bytes"), 413, false},
	} {
		s, l := newServer()
		var logged bytes.Buffer
		s.Log = slog.New(slog.NewTextHandler(&logged, nil))
		l.fail = tt.err
		w := do(s, "POST", "/topics/news/a", "{}", "Content-Type", "application/json")
		if w.Code != tt.status || strings.Contains(w.Body.String(), "secret") || w.Header().Get("Position") != "" {
			t.Errorf("%v: %d %s", tt.err, w.Code, w.Body)
		}
		if strings.Contains(logged.String(), tt.err.Error()) != tt.logged {
			t.Errorf("%v: logged %q", tt.err, &logged)
		}
	}
}

func TestRate(t *testing.T) {
	s, _ := newServer()
	s.Rate = 2
	post := func(token string) *httptest.ResponseRecorder {
		return do(s, "POST", "/topics/news/a", "1", "Content-Type", "application/json", "Authorization", "Bearer "+token)
	}
	for i := range 2 {
		if w := post("news"); w.Code != 201 {
			t.Fatalf("event %d: %d %s", i, w.Code, w.Body)
		}
	}
	if w := post("news"); w.Code != 429 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if w := post("other"); w.Code != 201 {
		t.Errorf("another publisher: %d", w.Code)
	}
	// A batch counts by its events.
	s, _ = newServer()
	s.Rate = 2
	event := `{"specversion":"1.0","id":"a","source":"/s","type":"t"}`
	if w := do(s, "POST", "/topics/news/a", "["+event+","+event+"]", "Content-Type", "application/cloudevents-batch+json"); w.Code != 201 {
		t.Errorf("batch: %d %s", w.Code, w.Body)
	}
	if w := post("news"); w.Code != 429 {
		t.Errorf("after a batch: %d", w.Code)
	}
}

// Limiters that nobody uses any more are dropped.
func TestRateIsBounded(t *testing.T) {
	var l limits
	for i := range 10 * sweepAt {
		if err := l.take(1e6, fmt.Sprint(i), 0); err != nil {
			t.Fatal(err)
		}
		if err := l.take(1e9, fmt.Sprint(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.by) > sweepAt {
		t.Errorf("%d limiters", len(l.by))
	}
}

// TestOverTheWire checks what only a connection shows: lengths, chunks, expectations and time.
func TestOverTheWire(t *testing.T) {
	s, l := newServer()
	s.BodyTimeout = 50 * time.Millisecond
	srv := httptest.NewServer(s)
	defer srv.Close()
	send := func(raw string) *http.Response {
		t.Helper()
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, strings.ReplaceAll(raw, "\n", "\r\n")); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	const head = "POST /topics/news/a HTTP/1.1\nHost: x\nAuthorization: Bearer news\nContent-Type: application/json\n"
	for _, tt := range []struct {
		name, raw string
		status    int
		close     bool
	}{
		{"a length too large, body never sent", head + "Content-Length: 2001\nExpect: 100-continue\n\n", 413, true},
		{"chunks too large", head + "Transfer-Encoding: chunked\n\n7e0\n" + strings.Repeat(" ", 2016) + "\n0\n\n", 413, true},
		{"chunks", head + "Transfer-Encoding: chunked\n\n1\n7\n0\n\n", 201, false},
		{"a body that does not come", head + "Content-Length: 5\n\n{", 400, true},
		{"nobody, body never sent", strings.Replace(head, "news\n", "x\n", 1) + "Content-Length: 5\nExpect: 100-continue\n\n", 401, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := send(tt.raw)
			if res.StatusCode != tt.status || res.Close != tt.close {
				t.Errorf("%s, close %v", res.Status, res.Close)
			}
		})
	}
	if len(l.events) != 1 || string(l.events[0].Payload) != "7" {
		t.Errorf("events %v", l.events)
	}
}

func FuzzPublish(f *testing.F) {
	for _, ct := range []string{"application/json", "text/xml", "text/plain", "application/cloudevents+json", "application/cloudevents-batch+json", "x"} {
		for _, body := range []string{"{}", "<a/>", "x", `{"specversion":"1.0","id":"a","source":"/s","type":"t"}`, `[{"specversion":"1.0","id":"a","source":"/s","type":"t","data":1}]`, "\xff"} {
			f.Add("news/a", ct, "id", "key", body)
		}
	}
	f.Add("news/%2e%2E", "text/plain", "", "", "")
	f.Fuzz(func(t *testing.T, path, contentType, id, key, body string) {
		s, l := newServer()
		r := httptest.NewRequest("POST", "/topics/news/a", strings.NewReader(body))
		r.URL.RawPath, r.URL.Path = "/topics/"+path, "/topics/"+path
		r.Header = http.Header{"Authorization": {"Bearer news"}, "Content-Type": {contentType}, "Item-Id": {id}, "Idempotency-Key": {key}}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if (w.Code < 300) != (w.Code == 200 || len(l.events) > 0) {
			t.Errorf("%d with %d events", w.Code, len(l.events))
		}
		for _, e := range l.events {
			if err := e.Validate(); err != nil {
				t.Errorf("appended %v: %v", e, err)
			}
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	s, _ := newServer()
	s.Append = func(_ context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
		return []tidings.Appended{{Position: tidings.Position{Epoch: epoch, Offset: 1}}}, nil
	}
	body := `{"a":[` + strings.TrimSuffix(strings.Repeat(`{"b":"c","d":1},`, 30), ",") + `]}`
	b.ReportAllocs()
	for b.Loop() {
		if w := do(s, "POST", "/topics/news/a", body, "Content-Type", "application/json"); w.Code != 201 {
			b.Fatal(w.Code)
		}
	}
}
