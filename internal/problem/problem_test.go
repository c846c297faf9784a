package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidings"
)

func TestTableIsTotal(t *testing.T) {
	names := map[string]bool{}
	for _, k := range append(tidings.ErrorKinds(), 0) {
		row, ok := table[k]
		if !ok {
			t.Errorf("kind %d (%s) has no row", k, k)
			continue
		}
		if row.status < 400 || row.title == "" || row.about == "" || row.name == "" {
			t.Errorf("kind %d: incomplete row %+v", k, row)
		}
		if names[row.name] {
			t.Errorf("two kinds have the type %s", row.name)
		}
		names[row.name] = true
		if k != 0 && row.status == http.StatusInternalServerError {
			t.Errorf("kind %s is an internal error", k)
		}
	}
	if len(table) != len(tidings.ErrorKinds())+1 {
		t.Errorf("the table has %d rows for %d kinds", len(table), len(tidings.ErrorKinds()))
	}
	if got := Status(200); got != 500 {
		t.Errorf("status of an unknown kind = %d", got)
	}
}

func TestWrite(t *testing.T) {
	gap := &tidings.GapError{Asked: tidings.Position{Epoch: 1, Offset: 2}, Oldest: tidings.Position{Epoch: 1, Offset: 9}}
	for _, tt := range []struct {
		name   string
		err    error
		auth   string
		status int
		header map[string]string
		body   map[string]any
	}{
		{
			name: "detail without what was wrapped around it", status: 400,
			err:  fmt.Errorf("hub: secret path: %w", tidings.Errorf(tidings.ErrInvalid, "no topic")),
			body: map[string]any{"type": "/problems/invalid", "title": "Invalid request", "status": 400.0, "detail": "no topic"},
		},
		{
			name: "bare kind", status: 404, err: tidings.ErrNotFound,
			body: map[string]any{"type": "/problems/not-found", "title": "Not found", "status": 404.0},
		},
		{
			name: "no kind does not leak", status: 500, err: errors.New("open /secret: permission denied"),
			body: map[string]any{"type": "/problems/internal", "title": "Internal error", "status": 500.0},
		},
		{
			name: "gap", status: 410, err: fmt.Errorf("sse: %w", gap),
			body: map[string]any{"type": "/problems/gap", "title": "Gap in history", "status": 410.0, "detail": gap.Error(),
				"asked": "00000001-2", "oldest": "00000001-9"},
		},
		{
			name: "anonymous", status: 401, err: tidings.Errorf(tidings.ErrUnauthenticated, "a token is needed"),
			header: map[string]string{"WWW-Authenticate": `Bearer realm="tidings"`},
			body:   map[string]any{"type": "/problems/unauthenticated", "title": "Not authenticated", "status": 401.0, "detail": "a token is needed"},
		},
		{
			name: "wrong token", status: 401, err: tidings.ErrUnauthenticated, auth: "Bearer x",
			header: map[string]string{"WWW-Authenticate": `Bearer realm="tidings", error="invalid_token"`},
			body:   map[string]any{"type": "/problems/unauthenticated", "title": "Not authenticated", "status": 401.0},
		},
		{
			name: "other scope", status: 403, err: tidings.ErrForbidden, auth: "Bearer x",
			header: map[string]string{"WWW-Authenticate": `Bearer realm="tidings", error="insufficient_scope"`},
			body:   map[string]any{"type": "/problems/forbidden", "title": "Forbidden", "status": 403.0},
		},
		{
			name: "forbidden address", status: 403, err: tidings.ErrForbidden,
			header: map[string]string{"WWW-Authenticate": ""},
			body:   map[string]any{"type": "/problems/forbidden", "title": "Forbidden", "status": 403.0},
		},
		{
			name: "retry rounded up", status: 429, err: RetryAfter(tidings.ErrRateLimited, 2100*time.Millisecond),
			header: map[string]string{"Retry-After": "3"},
			body:   map[string]any{"type": "/problems/rate-limited", "title": "Too many requests", "status": 429.0},
		},
		{
			name: "retry at least one second", status: 429, err: fmt.Errorf("x: %w", RetryAfter(tidings.ErrRateLimited, 0)),
			header: map[string]string{"Retry-After": "1"},
			body:   map[string]any{"type": "/problems/rate-limited", "title": "Too many requests", "status": 429.0},
		},
		{
			name: "unavailable", status: 503, err: tidings.ErrUnavailable,
			header: map[string]string{"Retry-After": "5"},
			body:   map[string]any{"type": "/problems/unavailable", "title": "Unavailable", "status": 503.0},
		},
		{
			name: "body too large", status: 413, err: fmt.Errorf("reading: %w", &http.MaxBytesError{Limit: 1024}),
			body: map[string]any{"type": "/problems/too-large", "title": "Content too large", "status": 413.0,
				"detail": "the body may have 1024 bytes", "limit": 1024.0},
		},
		{
			name: "detail with markup and broken UTF-8", status: 409, err: tidings.Errorf(tidings.ErrConflict, "<a> \xff"),
			body: map[string]any{"type": "/problems/conflict", "title": "Conflict", "status": 409.0, "detail": "<a> \ufffd"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/x", nil)
			if tt.auth != "" {
				r.Header.Set("Authorization", tt.auth)
			}
			w := httptest.NewRecorder()
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Length", "7")
			if got := Write(w, r, tt.err); got != tt.status || w.Code != tt.status {
				t.Errorf("status = %d (returned %d), want %d", w.Code, got, tt.status)
			}
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.body, got); d != "" {
				t.Errorf("body (-want +got):\n%s", d)
			}
			want := map[string]string{"Content-Type": ContentType, "Cache-Control": "no-store", "ETag": "", "Content-Length": ""}
			for k, v := range tt.header {
				want[k] = v
			}
			for k, v := range want {
				if got := w.Header().Get(k); got != v {
					t.Errorf("%s: %q, want %q", k, got, v)
				}
			}
		})
	}
}

func TestOfHTTPAlone(t *testing.T) {
	r := httptest.NewRequest("PATCH", "/x", nil)
	for _, tt := range []struct {
		name          string
		write         func(w http.ResponseWriter) int
		status        int
		header, value string
		detail        string
		member        string
	}{
		{"method", func(w http.ResponseWriter) int { return MethodNotAllowed(w, r, "GET", "HEAD", "POST") }, 405,
			"Allow", "GET, HEAD, POST", "PATCH is not allowed here: want GET, HEAD or POST", "allowed"},
		{"accept", func(w http.ResponseWriter) int { return NotAcceptable(w, r, "text/event-stream") }, 406,
			"Vary", "Accept", "none of the types in Accept is to be had here: ask for text/event-stream", "offered"},
		{"media", func(w http.ResponseWriter) int {
			return UnsupportedMediaType(w, r, "image/png is not taken", "application/json", "text/*")
		}, 415, "Accept", "application/json, text/*", "image/png is not taken", "accepted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if got := tt.write(w); got != tt.status || w.Code != tt.status {
				t.Errorf("status = %d (returned %d), want %d", w.Code, got, tt.status)
			}
			if got := w.Header().Get(tt.header); got != tt.value {
				t.Errorf("%s: %q, want %q", tt.header, got, tt.value)
			}
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got["detail"] != tt.detail {
				t.Errorf("detail = %q, want %q", got["detail"], tt.detail)
			}
			if l, _ := got[tt.member].([]any); len(l) == 0 {
				t.Errorf("no member %s in %v", tt.member, got)
			}
		})
	}
}

// Every type that is sent can be looked up where it points.
func TestHandler(t *testing.T) {
	h := Handler()
	get := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	for _, row := range table {
		if w := get("GET", Base+row.name); w.Code != 200 || !strings.HasPrefix(w.Body.String(), row.title) {
			t.Errorf("%s: %d %q", row.name, w.Code, w.Body)
		}
	}
	for _, name := range []string{"method", "not-acceptable", "media-type"} {
		if w := get("HEAD", Base+name); w.Code != 200 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if w := get("GET", Base+"nonsense"); w.Code != 404 {
		t.Errorf("unknown type: %d", w.Code)
	}
	if w := get("POST", Base+"gap"); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}
