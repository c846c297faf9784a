package httpsource

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/access"
	"tidings/internal/problem"
)

// A policy is what the token API and the publisher need, without an adapter.
var _ Tokens = (*access.Policy)(nil)

// store is a bucket in memory.
type store struct {
	entries map[string][]byte
	tell    func(string, []byte)
	fail    error
}

func (s *store) Put(_ context.Context, key string, value []byte) error {
	if s.fail != nil {
		return s.fail
	}
	s.entries[key] = value
	s.tell(key, value)
	return nil
}

func (s *store) Delete(_ context.Context, key string) error {
	delete(s.entries, key)
	s.tell(key, nil)
	return nil
}

func (s *store) Watch(_ context.Context, f func(string, []byte)) error {
	s.tell = f
	return nil
}

func TestTokens(t *testing.T) {
	admin := "Bearer " + strings.Repeat("a", 32)
	st := &store{entries: map[string][]byte{}}
	p, err := access.Open(t.Context(), st, access.Options{AdminToken: admin[len("Bearer "):], Private: []tidings.Pattern{tidings.MustPattern("/p")}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var logged bytes.Buffer
	h := &TokenServer{Tokens: p, Log: slog.New(slog.NewTextHandler(&logged, nil))}
	call := func(method, url, body, auth string, into any) *httptest.ResponseRecorder {
		t.Helper()
		headers := []string{"Authorization", auth}
		w := do(h, method, url, body, headers...)
		if into != nil {
			if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
				t.Fatalf("%s %s: %d %s", method, url, w.Code, w.Body)
			}
		}
		return w
	}
	var made tokenJSON
	w := call("POST", "/tokens", `{"name":"n","scopes":["read:/p","publish:/news/**"],"ttl":"1h"}`, admin, &made)
	if w.Code != 201 || w.Header().Get("Location") != "/tokens/"+made.ID || w.Header().Get("Cache-Control") != "no-store" ||
		made.Expires.Sub(made.Created) != time.Hour || strings.Join(made.Scopes, " ") != "publish:/news/** read:/p" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	actor, err := p.Authenticate(made.Token)
	if err != nil || p.May(actor, tidings.PublishAction, "/news/x") != nil {
		t.Errorf("the token does not work: %v", err)
	}
	var list struct{ Tokens []tokenJSON }
	if w := call("GET", "/tokens", "", admin, &list); w.Code != 200 || len(list.Tokens) != 1 || list.Tokens[0].ID != made.ID || strings.Contains(w.Body.String(), made.Token) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var one tokenJSON
	if w := call("GET", "/tokens/"+made.ID, "", admin, &one); w.Code != 200 || one.Name != "n" || one.Token != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	// A token that publishes is not one that administers.
	if w := call("GET", "/tokens", "", "Bearer "+made.Token, nil); w.Code != 403 {
		t.Errorf("with a publisher's token: %d", w.Code)
	}
	revoked := false
	defer p.OnChange(func() { revoked = true })()
	if w := call("DELETE", "/tokens/"+made.ID, "", admin, nil); w.Code != 204 || !revoked || w.Body.Len() != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, err := p.Authenticate(made.Token); err == nil {
		t.Error("the token still works")
	}
	if strings.Contains(logged.String(), made.Token) || strings.Count(logged.String(), made.ID) != 2 {
		t.Errorf("logged %s", &logged)
	}

	for _, tt := range []struct {
		name, method, url, body, auth string
		status                        int
	}{
		{"nobody", "GET", "/tokens", "", "-", 401},
		{"wrong token", "POST", "/tokens", "{}", "Bearer x", 401},
		{"no body", "POST", "/tokens", "", admin, 400},
		{"no name", "POST", "/tokens", `{"scopes":["read:/a"]}`, admin, 400},
		{"no scopes", "POST", "/tokens", `{"name":"x"}`, admin, 400},
		{"bad scope", "POST", "/tokens", `{"name":"x","scopes":["/a"]}`, admin, 400},
		{"unknown member", "POST", "/tokens", `{"name":"x","scopes":["read:/a"],"scope":"y"}`, admin, 400},
		{"something behind", "POST", "/tokens", `{"name":"x","scopes":["read:/a"]}{}`, admin, 400},
		{"bad ttl", "POST", "/tokens", `{"name":"x","scopes":["read:/a"],"ttl":"soon"}`, admin, 400},
		{"negative ttl", "POST", "/tokens", `{"name":"x","scopes":["read:/a"],"ttl":"-1h"}`, admin, 400},
		{"too large", "POST", "/tokens", `{"name":"` + strings.Repeat("x", maxTokenBody), admin, 413},
		{"no such token", "DELETE", "/tokens/" + made.ID, "", admin, 404},
		{"no such token to show", "GET", "/tokens/x", "", admin, 404},
		{"the admin's", "DELETE", "/tokens/admin", "", admin, 403},
		{"below a token", "GET", "/tokens/x/y", "", admin, 404},
		{"a slash", "GET", "/tokens/", "", admin, 404},
		{"another path", "GET", "/tokensandmore", "", admin, 404},
		{"method", "PUT", "/tokens", "", admin, 405},
		{"method of one", "POST", "/tokens/x", "", admin, 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := call(tt.method, tt.url, tt.body, tt.auth, nil)
			if w.Code != tt.status || w.Header().Get("Content-Type") != problem.ContentType {
				t.Errorf("%d %s, want %d", w.Code, w.Body, tt.status)
			}
		})
	}
	st.fail = tidings.Errorf(tidings.ErrUnavailable, "the journal is closed")
	if w := call("POST", "/tokens", `{"name":"x","scopes":["read:/a"]}`, admin, nil); w.Code != 503 || !strings.Contains(logged.String(), "the journal is closed") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
