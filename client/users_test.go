package client_test

import (
	"testing"
	"time"

	"tidings"
	"tidings/client"
)

func TestUsers(t *testing.T) {
	auth := map[string]string{"Authorization": "Bearer admin"}
	sends := map[string]string{"Authorization": "Bearer admin", "Content-Type": "application/json"}
	c := start(t, []client.Option{client.WithToken("admin")},
		expect(t, "POST", "/users", sends, `{"name":"Zoë","password":"pencil"}`, `{"name":"zoë","created":"2026-01-31T12:00:00Z","changed":"2026-01-31T12:00:00Z"}`),
		expect(t, "GET", "/users", auth, "", `{"users":[{"name":"zoë","created":"2026-01-31T12:00:00Z","changed":"2026-02-01T12:00:00Z"}]}`),
		expect(t, "PATCH", "/users/zo%C3%AB", sends, `{"password":"a \"b\""}`, ``),
		expect(t, "DELETE", "/users/zo%C3%AB", auth, "", ``),
		answers(409, nil, `{"detail":"there is one"}`),
		answers(404, nil, `{"detail":"there is none"}`),
		answers(404, nil, `{"detail":"there is none"}`),
		answers(200, nil, `<html>`))
	ctx := t.Context()
	created := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	if u, err := c.AddUser(ctx, "Zoë", "pencil"); err != nil || u != (client.User{Name: "zoë", Created: created, Changed: created}) {
		t.Errorf("%+v, %v", u, err)
	}
	if list, err := c.Users(ctx); err != nil || len(list) != 1 || list[0] != (client.User{Name: "zoë", Created: created, Changed: created.Add(24 * time.Hour)}) {
		t.Errorf("%+v, %v", list, err)
	}
	if err := c.SetPassword(ctx, "zoë", `a "b"`); err != nil {
		t.Error(err)
	}
	if err := c.RemoveUser(ctx, "zoë"); err != nil {
		t.Error(err)
	}
	if _, err := c.AddUser(ctx, "x", "y"); tidings.KindOf(err) != tidings.ErrConflict {
		t.Errorf("taken: %v", err)
	}
	if err := c.SetPassword(ctx, "x", "y"); tidings.KindOf(err) != tidings.ErrNotFound {
		t.Errorf("nobody: %v", err)
	}
	if err := c.RemoveUser(ctx, "x"); tidings.KindOf(err) != tidings.ErrNotFound {
		t.Errorf("nobody: %v", err)
	}
	if _, err := c.AddUser(ctx, "x", "y"); tidings.KindOf(err) != tidings.ErrUnavailable {
		t.Errorf("an answer that is none: %v", err)
	}
}
