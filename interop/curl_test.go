//go:build interop && linux

package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// curl runs curl and returns the status, the headers and the body of the answer.
func curl(t *testing.T, args ...string) (int, http.Header, []byte) {
	t.Helper()
	bin := command(t, "curl")
	head := filepath.Join(t.TempDir(), "head")
	var stderr bytes.Buffer
	cmd := exec.Command(bin, append([]string{"-sS", "--max-time", "20", "-D", head, "-w", `%{stderr}%{http_code}`}, args...)...)
	cmd.Stderr = &stderr
	body, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl %q: %v: %s", args, err, stderr.String())
	}
	status, err := strconv.Atoi(stderr.String())
	if err != nil {
		t.Fatalf("curl %q: %s", args, stderr.String())
	}
	headers := http.Header{}
	b, err := os.ReadFile(head)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\r\n") {
		if strings.HasPrefix(line, "HTTP/") { // 100 Continue comes with a head of its own
			headers = http.Header{}
		} else if name, value, ok := strings.Cut(line, ": "); ok {
			headers.Add(name, value)
		}
	}
	return status, headers, body
}

// TestPublishErrors: what a publisher does wrong is answered with the right status and a problem detail (RFC 9457) that
// says what to do about it.
func TestPublishErrors(t *testing.T) {
	command(t, "curl")
	s := newServer(t, "")
	mine := "Authorization: Bearer " + s.token("publish:/news/**")
	large := filepath.Join(t.TempDir(), "large.json")
	if err := os.WriteFile(large, []byte(`"`+strings.Repeat("x", 32<<20)+`"`), 0o644); err != nil {
		t.Fatal(err)
	}
	const isJSON = "Content-Type: application/json"
	for _, tc := range []struct {
		name   string
		path   string
		args   []string
		status int
		detail string // a word that the detail has to hold
	}{
		{"no token", "/topics/news", []string{"-H", isJSON, "-d", `{}`}, 401, "token"},
		{"a token nobody made", "/topics/news", []string{"-H", isJSON, "-H", "Authorization: Bearer not-a-token", "-d", `{}`}, 401, "token"},
		{"another scheme", "/topics/news", []string{"-H", isJSON, "-u", "user:pass", "-d", `{}`}, 401, "Bearer"},
		{"a token for another topic", "/topics/olds", []string{"-H", isJSON, "-H", mine, "-d", `{}`}, 403, "/olds"},
		{"a token for a topic with the same beginning", "/topics/newsletter", []string{"-H", isJSON, "-H", mine, "-d", `{}`}, 403, "/newsletter"},
		{"a body too large", "/topics/news", []string{"-H", isJSON, "-H", mine, "--data-binary", "@" + large}, 413, "bytes"},
		{"a body too large of unknown length", "/topics/news", []string{"-H", isJSON, "-H", mine, "-H", "Transfer-Encoding: chunked", "--data-binary", "@" + large}, 413, "bytes"},
		{"a topic with an empty segment", "/topics/news//today", []string{"-H", isJSON, "-H", mine, "-d", `{}`}, 400, "segment"},
		{"a topic that is a pattern", "/topics/news/*", []string{"-g", "-H", isJSON, "-H", mine, "-d", `{}`}, 400, "pattern"},
		{"a topic with a control character", "/topics/news/a%00b", []string{"-H", isJSON, "-H", mine, "-d", `{}`}, 400, "control"},
		{"a topic that is no UTF-8", "/topics/news/%ff", []string{"-H", isJSON, "-H", mine, "-d", `{}`}, 400, "UTF-8"},
		{"a segment too long", "/topics/news/" + strings.Repeat("x", 256), []string{"-H", isJSON, "-H", mine, "-d", `{}`}, 400, "255"},
		{"JSON that is none", "/topics/news", []string{"-H", isJSON, "-H", mine, "-d", `{"a":`}, 400, "JSON"},
		{"XML that is none", "/topics/news", []string{"-H", "Content-Type: application/xml", "-H", mine, "-d", `<a><b></a>`}, 400, "XML"},
		{"a key too long", "/topics/news", []string{"-H", isJSON, "-H", mine, "-H", "Idempotency-Key: " + strings.Repeat("k", 256), "-d", `{}`}, 400, "255"},
		{"a type nobody handles", "/topics/news", []string{"-H", "Content-Type: image/png", "-H", mine, "-d", `x`}, 415, "image/png"},
		{"no way to know the type", "/topics/news", []string{"-H", "Content-Type;", "-H", mine, "-d", `x`}, 415, "Content-Type"},
		{"a method nobody handles", "/topics/news", []string{"-X", "PATCH", "-H", isJSON, "-H", mine, "-d", `{}`}, 405, "PATCH"},
		{"a path nobody serves", "/nothing/here", nil, 404, "/nothing/here"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, headers, body := curl(t, append(tc.args, s.url+tc.path)...)
			if status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
			if ct := headers.Get("Content-Type"); ct != "application/problem+json" {
				t.Errorf("Content-Type %q", ct)
			}
			var problem struct {
				Type, Title, Detail string
				Status              int
			}
			if err := json.Unmarshal(body, &problem); err != nil {
				t.Fatalf("%v: %.300s", err, body)
			}
			if problem.Type == "" || problem.Title == "" || problem.Status != tc.status || !strings.Contains(problem.Detail, tc.detail) {
				t.Errorf("the detail does not speak of %q: %s", tc.detail, body)
			}
			if tc.status == 401 && !strings.HasPrefix(headers.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate %q", headers.Get("WWW-Authenticate"))
			}
		})
	}
}

// TestPublishAndRead: an event published with curl is acknowledged with its place, is there under that place, and is
// stored once however often its key is repeated.
func TestPublishAndRead(t *testing.T) {
	command(t, "curl")
	s := newServer(t, "")
	token := "Authorization: Bearer " + s.token("publish:/news/**")
	post := []string{"-H", token, "-H", "Content-Type: application/json", "-H", "Idempotency-Key: one", "-d", `{"headline":"Första snön ❄"}`, s.url + "/topics/news/v%C3%A4der"}
	status, created, body := curl(t, post...)
	var first struct {
		Position, ID, Topic string
		Duplicate           bool
	}
	if err := json.Unmarshal(body, &first); err != nil || status != 201 || first.Topic != "/news/väder" || first.Duplicate {
		t.Fatalf("%d: %s (%v)", status, body, err)
	}
	if first.Position == "" || created.Get("Position") != first.Position || created.Get("Location") == "" {
		t.Errorf("headers %v, body %s", created, body)
	}
	status, headers, body := curl(t, post...)
	second := first
	if err := json.Unmarshal(body, &second); err != nil || status != 200 || !second.Duplicate || second.Position != first.Position || headers.Get("Position") != first.Position {
		t.Errorf("the repeat: %d %v: %s", status, headers, body)
	}

	status, headers, body = curl(t, s.url+"/topics/news/v%C3%A4der?format=json")
	var list struct {
		Events []struct {
			Position, Source, Type string
			Data                   struct{ Headline string }
		}
		Position string
		More     bool
	}
	if err := json.Unmarshal(body, &list); err != nil || status != 200 || len(list.Events) != 1 ||
		list.Events[0].Position != first.Position || list.Events[0].Data.Headline != "Första snön ❄" || list.More {
		t.Errorf("the list: %d: %s (%v)", status, body, err)
	}
	// What Location names is there.
	location := created.Get("Location")
	if !strings.HasPrefix(location, "http") {
		location = s.url + location
	}
	if status, _, body := curl(t, location); status != 200 || !strings.Contains(string(body), "Första snön ❄") {
		t.Errorf("%s: %d: %s", location, status, body)
	}
	if tag := headers.Get("Etag"); tag == "" {
		t.Error("the list has no ETag")
	} else if status, _, body := curl(t, "-H", "If-None-Match: "+tag, s.url+"/topics/news/v%C3%A4der?format=json"); status != 304 || len(body) > 0 {
		t.Errorf("with If-None-Match: %d: %s", status, body)
	}
}

// TestCurlReadsStream: curl -N shows the head of an event stream at once and each event as it comes.
func TestCurlReadsStream(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s := newServer(t, "")
	lines := run(t, exec.Command(command(t, "curl"), "-sSNi", s.url+"/v2/stream/recentchange"))
	next := func() string {
		t.Helper()
		select {
		case l := <-lines:
			return strings.TrimSuffix(l, "\r")
		case <-ctx.Done():
			t.Fatal("curl shows nothing more")
			return ""
		}
	}
	if l := next(); l != "HTTP/1.1 200 OK" {
		t.Fatalf("status line %q", l)
	}
	headers := http.Header{}
	for l := next(); l != ""; l = next() {
		name, value, _ := strings.Cut(l, ": ")
		headers.Add(name, value)
	}
	for name, want := range map[string]string{
		"Content-Type":                "text/event-stream; charset=utf-8",
		"Cache-Control":               "no-cache",
		"Access-Control-Allow-Origin": "*",
	} {
		if got := headers.Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if l := next(); l != ":ok" {
		t.Fatalf("the stream begins with %q", l)
	}
	// Then a message without data, which is no event: where the stream begins, and when to come back.
	for _, want := range []string{"", `id: [{"topic":"`, "retry: ", ""} {
		if l := next(); !strings.HasPrefix(l, want) || want == "" && l != "" {
			t.Fatalf("the stream goes on with %q, want %q", l, want)
		}
	}
	newChanges(t, s).send(t, 1)
	if l := next(); l != "event: message" {
		t.Fatalf("the first event begins with %q", l)
	}
	var id []struct {
		Topic             string
		Partition, Offset int
	}
	if l := next(); !strings.HasPrefix(l, "id: ") || json.Unmarshal([]byte(l[4:]), &id) != nil || len(id) != 1 {
		t.Fatalf("its id is %q", l)
	}
	var change struct {
		Schema string `json:"$schema"`
		Meta   struct {
			Topic, Stream, ID, DT, Domain, URI string
			Partition, Offset                  int
		}
		Title string
	}
	if l := next(); !strings.HasPrefix(l, "data: ") || json.Unmarshal([]byte(l[6:]), &change) != nil || change.Title != "Bed 1" {
		t.Fatalf("its data is %q", l)
	}
	m := change.Meta
	if change.Schema != "/mediawiki/recentchange/1.0.0" || m.Stream != "mediawiki.recentchange" || m.Domain != "garden.example.org" ||
		m.ID == "" || m.DT == "" || m.URI == "" || m.Topic != id[0].Topic || m.Partition != 0 || id[0].Offset != m.Offset+1 {
		t.Errorf("id %+v, $schema %q, meta %+v", id, change.Schema, m)
	}
	if l := next(); l != "" {
		t.Errorf("the event goes on with %q", l)
	}
}

// TestGapIsTold: who asks for a place that this journal does not hold is told so, in the stream and in the list.
func TestGapIsTold(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s := newServer(t, "")
	c := newChanges(t, s)
	live, err := connect(ctx, s.url+"/v2/stream/recentchange", "")
	if err != nil {
		t.Fatal(err)
	}
	defer live.close()
	c.send(t, 1)
	if _, err := live.next(); err != nil {
		t.Fatal(err)
	}
	expectGap(t, ctx, s, "00000001", 7)
}

// TestGapAfterRetention: who asks for what retention has removed is told so in the same ways.
func TestGapAfterRetention(t *testing.T) {
	command(t, "curl")
	t.Parallel() // it waits for the journal's next look
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	s := newServer(t, "[[retention]]\nbytes = \"100KiB\"\n")
	c := newChanges(t, s)
	live, err := connect(ctx, s.url+"/v2/stream/recentchange", "")
	if err != nil {
		t.Fatal(err)
	}
	defer live.close()
	var first []struct {
		Topic  string
		Offset int
	}
	c.send(t, 500)
	for n := 0; n < c.sent; {
		e, err := live.next()
		if err != nil {
			t.Fatal(err)
		}
		if n, err = number(e.Data); err != nil {
			t.Fatal(err)
		}
		if first == nil && json.Unmarshal([]byte(e.ID), &first) != nil {
			t.Fatalf("the id is %q", e.ID)
		}
	}
	epoch, _, _ := strings.Cut(first[0].Topic, ".")
	// The journal looks for what to remove once a minute.
	for look := time.NewTicker(500 * time.Millisecond); ; {
		status, _, _ := curl(t, s.url+fmt.Sprintf("/topics/recentchange/garden.example.org?format=json&since=%s-%d", epoch, first[0].Offset-1))
		if status == http.StatusGone {
			break
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatal("nothing was removed")
		}
	}
	expectGap(t, ctx, s, epoch, first[0].Offset-1)
}

// expectGap asks for what comes after the position, in each form, and has to be told that it is not there.
func expectGap(t *testing.T, ctx context.Context, s *server, epoch string, offset int) {
	t.Helper()
	position := fmt.Sprintf("%s-%d", epoch, offset)
	for path, asked := range map[string]string{
		"/v2/stream/recentchange":                            fmt.Sprintf(`[{"topic":"%s.mediawiki.recentchange","partition":0,"offset":%d}]`, epoch, offset+1),
		"/subscribe?topic=/recentchange/*":                   position,
		"/topics/recentchange/garden.example.org?format=sse": position,
	} {
		st, err := connect(ctx, s.url+path, asked)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		e, err := st.next()
		var gap struct{ Asked, Oldest string }
		if err != nil || e.Type != "gap" || json.Unmarshal([]byte(e.Data), &gap) != nil || gap.Asked != position || gap.Oldest == "" {
			t.Errorf("%s: first comes %+v, %v", path, e, err)
		} else if e, err := st.next(); err != nil || e.Type != "message" {
			t.Errorf("%s: after the gap comes %+v, %v", path, e, err)
		}
		st.close()
	}
	status, headers, body := curl(t, s.url+"/topics/recentchange/garden.example.org?format=json&since="+position)
	var problem struct{ Oldest, Detail string }
	if err := json.Unmarshal(body, &problem); err != nil || status != 410 || headers.Get("Content-Type") != "application/problem+json" || problem.Oldest == "" || problem.Detail == "" {
		t.Errorf("the list: %d %v: %s", status, headers, body)
	}
}
