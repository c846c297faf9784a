package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/client"
)

// script is a server that answers the n-th request with the n-th handler, and refuses to go on behind the last.
type script struct {
	t     *testing.T
	mu    sync.Mutex
	steps []http.HandlerFunc
	n     int
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := s.n
	s.n++
	s.mu.Unlock()
	if n >= len(s.steps) {
		s.t.Errorf("request %d: %s %s was not expected", n+1, r.Method, r.URL)
		http.Error(w, "", http.StatusTeapot)
		return
	}
	s.steps[n](w, r)
}

// start serves the script and returns a client that does not wait long.
func start(t *testing.T, opts []client.Option, steps ...http.HandlerFunc) *client.Client {
	t.Helper()
	s := &script{t: t, steps: steps}
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		srv.Close()
		if s.n != len(steps) {
			t.Errorf("the client made %d requests, want %d", s.n, len(steps))
		}
	})
	c, err := client.New(srv.URL, append([]client.Option{client.WithBackoff(time.Millisecond, time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// says answers with a stream of the texts and ends it; a last text "hang" keeps it open until the client leaves.
func says(texts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for _, s := range texts {
			if s == "hang" {
				<-r.Context().Done()
				return
			}
			io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
	}
}

// resumes checks where the request wants to go on before it answers.
func resumes(t *testing.T, id string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Last-Event-ID"); got != id {
			t.Errorf("Last-Event-ID %q, want %q", got, id)
		}
		if got := r.URL.Query().Get("since"); id != "" && got != "" {
			t.Errorf("since=%s beside a Last-Event-ID", got)
		}
		next(w, r)
	}
}

func answers(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// pos is the n-th position of the test's journal.
func pos(n uint64) tidings.Position { return tidings.Position{Epoch: 0x5f3a9c01, Offset: n} }

// event is the n-th event as /subscribe sends it.
func event(n uint64) string {
	return fmt.Sprintf("id: %s\nevent: message\ndata: "+`{"specversion":"1.0","id":"i%d","source":"/topics/a","topic":"/a","type":"tidings.publish","time":"2026-01-31T12:00:00Z","datacontenttype":"application/json","data":{"n":%d},"position":"%s"}`+"\n\n", pos(n), n, n, pos(n))
}

var all = []tidings.Pattern{tidings.MustPattern("/**")}

// read takes events until there are want, and returns what it saw: offsets of events and texts of errors.
func read(ctx context.Context, c *client.Client, from client.From, want int) (saw []string) {
	for e, err := range c.Events(ctx, all, from) {
		if err != nil {
			saw = append(saw, err.Error())
		} else {
			saw = append(saw, strconv.FormatUint(e.Position.Offset, 10))
		}
		if len(saw) == want {
			break
		}
	}
	return saw
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("saw %q, want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] && !(len(want[i]) > 3 && strings.Contains(got[i], want[i])) {
			t.Errorf("saw %q, want %q", got, want)
		}
	}
}

func TestServerDiesInAnEvent(t *testing.T) {
	half := event(2)[:60]
	c := start(t, nil,
		resumes(t, "", says(":ok\n\n", event(1), half)),
		resumes(t, pos(1).String(), func(w http.ResponseWriter, r *http.Request) { // and without an answer
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		}),
		resumes(t, pos(1).String(), says(":ok\n\n", event(2), event(3), "id: 4", "hang")))
	equal(t, read(t.Context(), c, client.Live, 3), "1", "2", "3")
}

func TestGapIsToldAndTheStreamGoesOn(t *testing.T) {
	gap := "event: gap\nid: " + pos(9).String() + "\n" + `data: {"asked":"` + pos(1).String() + `","oldest":"` + pos(9).String() + `"}` + "\n\n"
	c := start(t, nil,
		says(":ok\n\n", event(1)),
		resumes(t, pos(1).String(), says(":ok\n\n", gap)),
		resumes(t, pos(9).String(), says(":ok\n\n", event(10), "event: gap\ndata: what?\n\n", event(20), "hang")))
	var gaps []tidings.GapError
	var offsets []uint64
	for e, err := range c.Events(t.Context(), all, client.Live) {
		var g *tidings.GapError
		if errors.As(err, &g) {
			if !errors.Is(err, tidings.ErrGap) {
				t.Error("a gap is not of kind ErrGap")
			}
			gaps = append(gaps, *g)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if offsets = append(offsets, e.Position.Offset); len(offsets) == 3 {
			break
		}
	}
	if len(gaps) != 2 || gaps[0] != (tidings.GapError{Asked: pos(1), Oldest: pos(9)}) || gaps[1] != (tidings.GapError{}) {
		t.Errorf("gaps %v", gaps)
	}
	if fmt.Sprint(offsets) != "[1 10 20]" {
		t.Errorf("events %v", offsets)
	}
}

func TestGoneIsAGap(t *testing.T) {
	gone := `{"type":"about:blank","title":"Gone","status":410,"detail":"the events are gone","asked":"` + pos(1).String() + `","oldest":"` + pos(9).String() + `"}`
	c := start(t, nil,
		resumes(t, pos(1).String(), answers(410, nil, gone)),
		resumes(t, pos(9).String(), says(event(10), "hang")))
	equal(t, read(t.Context(), c, client.After(pos(1)), 2), "go on from "+pos(9).String(), "10")

	// A server that keeps saying so is not asked for ever.
	c = start(t, nil, answers(410, nil, gone), answers(410, nil, gone))
	equal(t, read(t.Context(), c, client.After(pos(1)), 9), "go on from "+pos(9).String(), "410 Gone")
}

func TestLiveIsResumedByTheServersClock(t *testing.T) {
	began := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	c := start(t, nil,
		func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("since") {
				t.Errorf("the first request of a live stream: %s", r.URL)
			}
			w.Header().Set("Date", began.Format(http.TimeFormat))
			says(":ok\n\n")(w, r)
		},
		func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("since"); got != strconv.FormatInt(began.UnixMilli(), 10) {
				t.Errorf("since=%s, want the server's time of the first connection", got)
			}
			says("id: "+pos(3).String()+"\n\n")(w, r)
		},
		resumes(t, pos(3).String(), says(event(4), "hang")))
	equal(t, read(t.Context(), c, client.Live, 1), "4")
}

func TestSinceIsRepeatedUntilAnIDIsKnown(t *testing.T) {
	when := time.UnixMilli(1769860800123)
	since := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("since"); got != "1769860800123" {
				t.Errorf("since=%s", got)
			}
			next(w, r)
		}
	}
	c := start(t, nil, since(says(":ok\n\n")), since(says(event(1))), resumes(t, pos(1).String(), says(event(2), "hang")))
	equal(t, read(t.Context(), c, client.Since(when), 2), "1", "2")
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		status int
		kind   tidings.ErrorKind
	}{
		{204, tidings.ErrUnavailable},
		{400, tidings.ErrInvalid},
		{401, tidings.ErrUnauthenticated},
		{403, tidings.ErrForbidden},
		{404, tidings.ErrNotFound},
		{406, tidings.ErrInvalid},
		{410, tidings.ErrGap}, // one that does not say where to go on
	} {
		body := `{"type":"about:blank","title":"No","status":` + strconv.Itoa(tc.status) + `,"detail":"the reason"}`
		if tc.status == 204 {
			body = ""
		}
		c := start(t, nil, answers(tc.status, nil, body))
		n := 0
		for _, err := range c.Events(t.Context(), all, client.Live) {
			n++
			var status *client.StatusError
			if g := (*tidings.GapError)(nil); errors.As(err, &g) {
				t.Errorf("%d: %v looks like a gap after which the stream goes on", tc.status, err)
			}
			if !errors.Is(err, tc.kind) || !errors.As(err, &status) || status.Status != tc.status || tc.status != 204 && status.Detail != "the reason" {
				t.Errorf("%d: %v of kind %v", tc.status, err, tidings.KindOf(err))
			}
		}
		if n != 1 {
			t.Errorf("%d: %d errors", tc.status, n)
		}
	}
}

func TestBusyServerIsAskedAgain(t *testing.T) {
	var notices []client.Notice
	c := start(t, []client.Option{client.WithNotify(func(n client.Notice) { notices = append(notices, n) })},
		answers(503, nil, `{"title":"Unavailable","detail":"the journal is closed"}`),
		answers(429, nil, "slow down"),
		answers(500, nil, ""),
		answers(502, nil, ""),
		says(event(1)),
		answers(504, nil, ""),
		resumes(t, pos(1).String(), answers(401, nil, `{"detail":"the token was revoked"}`)))
	equal(t, read(t.Context(), c, client.Live, 9), "1", "the token was revoked")
	if len(notices) != 7 || notices[4].Err != nil {
		t.Fatalf("notices: %v", notices)
	}
	for i, kind := range []tidings.ErrorKind{tidings.ErrUnavailable, tidings.ErrRateLimited, tidings.ErrUnavailable, tidings.ErrUnavailable} {
		if tidings.KindOf(notices[i].Err) != kind || notices[i].Wait <= 0 {
			t.Errorf("notice %d: %v", i, notices[i])
		}
	}
	if !strings.Contains(notices[0].Err.Error(), "the journal is closed") {
		t.Errorf("notice %v", notices[0])
	}
}

func TestServerSaysWhyItEndsTheStream(t *testing.T) {
	var why error
	c := start(t, []client.Option{client.WithNotify(func(n client.Notice) {
		if n.Err != nil {
			why = n.Err
		}
	})},
		says(event(1), "event: error\ndata: {\"message\":\"the token was revoked\"}\n\n"),
		answers(403, nil, ""))
	equal(t, read(t.Context(), c, client.Live, 9), "1", "403 Forbidden")
	if why == nil || !strings.Contains(why.Error(), "the token was revoked") {
		t.Errorf("the reconnection's reason: %v", why)
	}
}

func TestNotAStream(t *testing.T) {
	c := start(t, nil, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") })
	equal(t, read(t.Context(), c, client.Live, 9), "is not a stream")
}

func TestTooLargeMessage(t *testing.T) {
	c := start(t, []client.Option{client.WithMaxMessage(1000)}, says(event(1), "data: "+strings.Repeat("x", 5000)+"\n\n"))
	equal(t, read(t.Context(), c, client.Live, 9), "1", "more than 1000 bytes")
}

func TestMalformedEnvelope(t *testing.T) {
	c := start(t, nil, says(event(1), "data: {}\n\n", event(2)))
	equal(t, read(t.Context(), c, client.Live, 9), "1", "CloudEvents version")
}

func TestFirstConnectionMustSucceed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c, err := client.New("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, read(t.Context(), c, client.Live, 9), "connection refused")
}

func TestLeavingTheLoopClosesTheConnection(t *testing.T) {
	closed := make(chan struct{})
	c := start(t, nil, func(w http.ResponseWriter, r *http.Request) {
		says(event(1), "hang")(w, r)
		close(closed)
	})
	equal(t, read(t.Context(), c, client.Live, 1), "1")
	<-closed
}

func TestContextEndsTheStream(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	c := start(t, nil, says(event(1), "hang"))
	why := errors.New("enough")
	n := 0
	for _, err := range c.Events(ctx, all, client.Live) {
		if n++; n == 1 {
			cancel(why)
		} else if err != why {
			t.Errorf("the stream ends with %v, want the context's cause", err)
		}
	}
	if n != 2 {
		t.Errorf("%d turns", n)
	}
}

func TestTokenGoesToItsServerOnly(t *testing.T) {
	var other string
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		other = r.Header.Get("Authorization")
		says("data: x\n\n", "hang")(w, r)
	}))
	t.Cleanup(foreign.Close)
	c := start(t, []client.Option{client.WithToken("secret")}, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("Authorization: %q", got)
		}
		if r.URL.Path != "/v2/stream/recentchange" || r.URL.RawQuery != "wiki=enwiki" || r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("%s, %v", r.URL, r.Header)
		}
		says("data: x\n\n", "hang")(w, r)
	})
	for _, ref := range []string{"/v2/stream/recentchange?wiki=enwiki", foreign.URL + "/x"} {
		for m, err := range c.Stream(t.Context(), ref, client.Live) {
			if err != nil || string(m.Data) != "x" || m.Type != "message" {
				t.Errorf("%s: %v, %v", ref, m, err)
			}
			break
		}
	}
	if other != "" {
		t.Errorf("the token went to another server: %q", other)
	}
}

func TestSubscribePath(t *testing.T) {
	got, err := client.SubscribePath([]tidings.Pattern{tidings.MustPattern("/a/[b-c]?/**"), tidings.MustPattern("/é")},
		client.Filter{Field: "wiki", Value: "enwiki"}, client.Filter{Field: "wiki", Value: "a&b"})
	if want := "/subscribe?topic=%2Fa%2F%5Bb-c%5D%3F%2F%2A%2A&topic=%2F%C3%A9&wiki=enwiki&wiki=a%26b"; got != want || err != nil {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	for _, tc := range []struct {
		patterns []tidings.Pattern
		filters  []client.Filter
	}{
		{nil, nil},
		{[]tidings.Pattern{{}}, nil},
		{all, []client.Filter{{Field: "since", Value: "1"}}},
		{all, []client.Filter{{}}},
	} {
		if got, err := client.SubscribePath(tc.patterns, tc.filters...); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("%v: %s, %v", tc, got, err)
		}
	}
	c := start(t, nil)
	for _, err := range c.Events(t.Context(), nil, client.Live) {
		if tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("Events without a pattern: %v", err)
		}
	}
}
