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

// users are accounts in memory, with passwords.
type users struct {
	passwords map[string]string
	fail      error
}

var made = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func (u *users) Add(_ context.Context, name, password string) error {
	name = strings.ToLower(name)
	switch _, ok := u.passwords[name]; {
	case u.fail != nil:
		return u.fail
	case ok:
		return tidings.Errorf(tidings.ErrConflict, "there is an account %q", name)
	case name == "" || password == "":
		return tidings.Errorf(tidings.ErrInvalid, "it is empty")
	}
	u.passwords[name] = password
	return nil
}

func (u *users) SetPassword(_ context.Context, name, password string) error {
	if _, ok := u.passwords[name]; !ok {
		return tidings.Errorf(tidings.ErrNotFound, "there is no account %q", name)
	}
	u.passwords[name] = password
	return nil
}

func (u *users) Delete(_ context.Context, name string) error {
	if _, ok := u.passwords[name]; !ok {
		return tidings.Errorf(tidings.ErrNotFound, "there is no account %q", name)
	}
	delete(u.passwords, name)
	return nil
}

func (u *users) Lookup(name string) (string, time.Time, time.Time, bool) {
	name = strings.ToLower(name)
	_, ok := u.passwords[name]
	return name, made, made, ok
}

func (u *users) Each(f func(string, time.Time, time.Time)) {
	for name := range u.passwords {
		f(name, made, made)
	}
}

func TestUsers(t *testing.T) {
	admin := "Bearer " + strings.Repeat("a", 32)
	p, err := access.Open(t.Context(), &store{entries: map[string][]byte{}}, access.Options{AdminToken: admin[len("Bearer "):]})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, publisher, err := p.Create(t.Context(), "n", []string{"publish:/**"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	u := &users{passwords: map[string]string{}}
	var logged bytes.Buffer
	h := &UserServer{Users: u, Policy: p, Log: slog.New(slog.NewTextHandler(&logged, nil))}
	call := func(method, url, body, auth string) *httptest.ResponseRecorder {
		return do(h, method, url, body, "Authorization", auth)
	}

	w := call("POST", "/users", `{"name":"Zoë","password":"pencil"}`, admin)
	var one userJSON
	if err := json.Unmarshal(w.Body.Bytes(), &one); err != nil || w.Code != 201 || w.Header().Get("Location") != "/users/zo%C3%AB" || one != (userJSON{"zoë", made, made}) || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %s", w.Code, w.Header(), w.Body)
	}
	if w := call("GET", "/users", "", admin); w.Code != 200 || !strings.Contains(w.Body.String(), `"zoë"`) || strings.Contains(w.Body.String(), "pencil") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := call("GET", "/users/zo%C3%AB", "", admin); w.Code != 200 || !strings.Contains(w.Body.String(), `"created"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := call("PATCH", "/users/zo%C3%AB", `{"password":"crayon"}`, admin); w.Code != 204 || u.passwords["zoë"] != "crayon" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, tt := range []struct {
		name, method, url, body, auth string
		status                        int
	}{
		{"nobody", "GET", "/users", "", "-", 401},
		{"wrong token", "POST", "/users", "{}", "Bearer x", 401},
		{"a publisher", "GET", "/users", "", "Bearer " + publisher, 403},
		{"a publisher removes", "DELETE", "/users/zo%C3%AB", "", "Bearer " + publisher, 403},
		{"taken", "POST", "/users", `{"name":"ZOË","password":"x"}`, admin, 409},
		{"no body", "POST", "/users", "", admin, 400},
		{"no password", "POST", "/users", `{"name":"x"}`, admin, 400},
		{"no name", "POST", "/users", `{"password":"x"}`, admin, 400},
		{"unknown member", "POST", "/users", `{"name":"x","password":"x","admin":true}`, admin, 400},
		{"something behind", "POST", "/users", `{"name":"x","password":"x"}{}`, admin, 400},
		{"too large", "POST", "/users", `{"name":"` + strings.Repeat("x", maxUserBody), admin, 413},
		{"a password of nobody", "PATCH", "/users/x", `{"password":"x"}`, admin, 404},
		{"a name in a change", "PATCH", "/users/zo%C3%AB", `{"name":"y","password":"x"}`, admin, 400},
		{"remove nobody", "DELETE", "/users/x", "", admin, 404},
		{"show nobody", "GET", "/users/x", "", admin, 404},
		{"below one", "GET", "/users/x/y", "", admin, 404},
		{"a slash in a name", "GET", "/users/x%2Fy", "", admin, 404},
		{"a slash", "GET", "/users/", "", admin, 404},
		{"another path", "GET", "/usersandmore", "", admin, 404},
		{"method", "DELETE", "/users", "", admin, 405},
		{"method of one", "PUT", "/users/x", "{}", admin, 405},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := call(tt.method, tt.url, tt.body, tt.auth)
			if w.Code != tt.status || w.Header().Get("Content-Type") != problem.ContentType {
				t.Errorf("%d %s, want %d", w.Code, w.Body, tt.status)
			}
		})
	}
	if w := call("DELETE", "/users/zo%C3%AB", "", admin); w.Code != 204 || len(u.passwords) != 0 {
		t.Errorf("%d %s, %v", w.Code, w.Body, u.passwords)
	}
	u.fail = tidings.Errorf(tidings.ErrUnavailable, "the journal is closed")
	if w := call("POST", "/users", `{"name":"x","password":"pencil"}`, admin); w.Code != 503 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, secret := range []string{"pencil", "crayon"} {
		if strings.Contains(logged.String(), secret) {
			t.Errorf("a password is in the log:\n%s", &logged)
		}
	}
	if n := strings.Count(logged.String(), "level=INFO"); n != 3 || !strings.Contains(logged.String(), "the journal is closed") {
		t.Errorf("logged\n%s", &logged)
	}
}
