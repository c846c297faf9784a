package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"tidings"
)

func envelope(n int, data string) string {
	p := tidings.Position{Epoch: 0x5f3a9c01, Offset: uint64(n)}
	return fmt.Sprintf("id: %s\nevent: message\ndata: {\"specversion\":\"1.0\",\"id\":\"i%d\",\"source\":\"/topics/a\",\"topic\":\"/a\",\"type\":\"tidings.publish\",\"time\":\"2026-01-31T12:00:00Z\",\"datacontenttype\":\"text/plain\",\"data\":\"%s\",\"position\":\"%s\"}\n\n", p, n, data, p)
}

const gapMessage = "event: gap\nid: 5f3a9c01-9\ndata: {\"asked\":\"5f3a9c01-1\",\"oldest\":\"5f3a9c01-9\"}\n\n"

// streams answers each path with its texts, one for each connection; behind the last one the stream hangs.
type streams struct {
	t     *testing.T
	mu    sync.Mutex
	texts map[string][]string
	seen  []string // requests: path, query and Last-Event-ID
}

func (s *streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, strings.TrimSpace(r.URL.String()+" "+r.Header.Get("Last-Event-ID")))
	text, last := "", false
	if rest := s.texts[r.URL.Path]; len(rest) > 0 {
		text, last = rest[0], len(rest) == 1
		s.texts[r.URL.Path] = rest[1:]
	} else {
		s.t.Errorf("unexpected request: %s", r.URL)
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, ":ok\n\nretry: 1\n\n"+text)
	w.(http.Flusher).Flush()
	if last {
		<-r.Context().Done()
	}
}

// runTail runs tidings tail against the streams and returns what it printed.
func runTail(t *testing.T, ctx context.Context, texts map[string][]string, args string) (stdout, stderr string, seen []string) {
	t.Helper()
	s := &streams{t: t, texts: texts}
	srv := httptest.NewServer(s)
	defer srv.Close()
	t.Setenv("TIDINGS_SERVER", srv.URL)
	var out, errs bytes.Buffer
	if err := run(ctx, append([]string{"tail"}, strings.Fields(strings.ReplaceAll(args, "SERVER", srv.URL))...), nil, &out, &errs); err != nil {
		t.Errorf("tail %s: %v", args, err)
	}
	host := strings.TrimPrefix(srv.URL, "http://")
	return out.String(), strings.ReplaceAll(errs.String(), host, "HOST"), s.seen
}

func TestTailReconnectsAndTellsGaps(t *testing.T) {
	texts := func() map[string][]string {
		return map[string][]string{"/subscribe": {envelope(1, "one"), gapMessage + envelope(10, "ten"), "no more"}}
	}
	out, errs, seen := runTail(t, t.Context(), texts(), "--limit 2 --format raw /a/** /b --filter x=1")
	if out != "one\nten\n" {
		t.Errorf("stdout: %q", out)
	}
	for _, want := range []string{"tidings: HOST: unexpected EOF; trying again in ", "tidings: HOST: connected again\n", "tidings: gap: the events after 5f3a9c01-1 are not all kept any more; going on from 5f3a9c01-9\n"} {
		if !strings.Contains(errs, want) {
			t.Errorf("stderr lacks %q: %q", want, errs)
		}
	}
	if len(seen) != 2 || seen[0] != "/subscribe?topic=%2Fa%2F%2A%2A&topic=%2Fb&x=1" || seen[1] != seen[0]+" 5f3a9c01-1" {
		t.Errorf("requests: %q", seen)
	}

	out, _, seen = runTail(t, t.Context(), texts(), "--limit 2 --format json --from 5f3a9c01-0")
	lines := strings.Split(out, "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], `"data":"one"`) || !strings.Contains(lines[1], `"type":"tidings.gap"`) || !strings.Contains(lines[1], `"oldest":"5f3a9c01-9"`) || !strings.Contains(lines[2], `"data":"ten"`) {
		t.Errorf("stdout: %q", out)
	}
	if len(seen) != 2 || seen[0] != "/subscribe?topic=%2F%2A%2A 5f3a9c01-0" {
		t.Errorf("requests: %q", seen)
	}

	out, _, _ = runTail(t, t.Context(), texts(), "--limit 2")
	if !strings.Contains(out, " /a one\n") || !strings.HasSuffix(out, " /a ten\n") || strings.Contains(out, "\x1b") {
		t.Errorf("stdout: %q", out)
	}
}

func TestTailURL(t *testing.T) {
	change := strings.ReplaceAll(string(change(`"type":"edit","title":"A","user":"B","comment":"c","length":{"old":1,"new":3},"revision":{"old":1,"new":2}`)), "\n", "")
	stream := "event: message\nid: [{\"topic\":\"5f3a9c01.mediawiki.recentchange\",\"partition\":0,\"offset\":2}]\ndata: " + change + "\n\n"
	texts := func() map[string][]string {
		return map[string][]string{"/v2/stream/recentchange": {stream}, "/subscribe": {envelope(1, "x")}}
	}
	out, _, seen := runTail(t, t.Context(), texts(), "--limit 1 SERVER/v2/stream/recentchange?wiki=enwiki")
	if !strings.HasSuffix(out, " en.wikipedia.org [[A]] B (+2) c\n") {
		t.Errorf("stdout: %q", out)
	}
	if len(seen) != 1 || seen[0] != "/v2/stream/recentchange?wiki=enwiki" {
		t.Errorf("requests: %q", seen)
	}
	out, _, _ = runTail(t, t.Context(), texts(), "--limit 1 --format json SERVER/v2/stream/recentchange")
	if out != change+"\n" {
		t.Errorf("stdout: %q", out)
	}
	// Several streams at once: each gives one.
	out, _, seen = runTail(t, t.Context(), texts(), "--limit 2 --format raw SERVER/v2/stream/recentchange /a")
	if len(seen) != 2 || !strings.Contains(out, "x\n") || !strings.Contains(out, change+"\n") {
		t.Errorf("requests %q, stdout: %q", seen, out)
	}
}

// printed is an output that tells when something was written.
type printed struct {
	bytes.Buffer
	f func()
}

func (p *printed) Write(b []byte) (int, error) {
	defer p.f()
	return p.Buffer.Write(b)
}

func TestTailIsInterrupted(t *testing.T) {
	srv := httptest.NewServer(&streams{t: t, texts: map[string][]string{"/subscribe": {envelope(1, "x")}}})
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errs bytes.Buffer
	out := &printed{f: cancel}
	err := run(ctx, []string{"tail", "--server", srv.URL}, nil, out, &errs)
	if err != nil || errs.Len() > 0 || !strings.HasSuffix(out.String(), " /a x\n") {
		t.Errorf("%v, stdout %q, stderr %q", err, out, &errs)
	}
}

func TestTailIntoABrokenPipe(t *testing.T) {
	srv := httptest.NewServer(&streams{t: t, texts: map[string][]string{"/subscribe": {envelope(1, "x")}}})
	defer srv.Close()
	var errs bytes.Buffer
	if err := run(t.Context(), []string{"tail", "--server", srv.URL}, nil, brokenPipe{}, &errs); err != nil || errs.Len() > 0 {
		t.Errorf("%v, stderr %q", err, &errs)
	}
}

func TestTailEndsWhereTheServerRefuses(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"detail":"a token is needed"}`)
	}))
	defer srv.Close()
	var errs bytes.Buffer
	code := exitCode(run(t.Context(), []string{"tail", "--server", srv.URL, "/private/**"}, nil, io.Discard, &errs), &errs)
	want := "tidings: the server answered 401 Unauthorized: a token is needed\nhint: pass --token TOKEN or set TIDINGS_TOKEN\n"
	if code != 1 || errs.String() != want {
		t.Errorf("exit code %d, stderr %q", code, &errs)
	}
}
