package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidings/config"
)

// testServer returns a server with its data in a directory of the test. It is closed with the test.
func testServer(t *testing.T) *server {
	t.Helper()
	cfg := config.Defaults()
	cfg.Data, cfg.HTTP.Addr, cfg.UDP.Addr, cfg.IRC.Addr, cfg.XMPP.Addr = t.TempDir(), "127.0.0.1:0", config.Off, config.Off, config.Off
	s, err := open(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Each resource says which methods it has, in answer to OPTIONS and to the others.
func TestMethods(t *testing.T) {
	s := testServer(t)
	token, err := os.ReadFile(filepath.Join(s.cfg.Data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ path, methods string }{
		{"/", "GET, HEAD"},
		{"/topics", "GET, HEAD"},
		{"/topics/a", "GET, HEAD, POST, DELETE"},
		{"/subscribe?topic=/a", "GET, HEAD"},
		{"/v2/stream/recentchange", "GET, HEAD"},
		{"/tokens", "GET, HEAD, POST"},
		{"/tokens/admin", "GET, HEAD, DELETE"},
		{"/status", "GET, HEAD"},
		{"/healthz", "GET, HEAD"},
		{"/readyz", "GET, HEAD"},
		{"/metrics", "GET, HEAD"},
		{"/robots.txt", "GET, HEAD"},
		{"/problems/gap", "GET, HEAD"},
		{"/nothing", ""},
		{"/topics/../status", "GET, HEAD, POST, DELETE"},
	} {
		for _, method := range []string{"OPTIONS", "HEAD", "POST", "DELETE", "PATCH", "PROPFIND"} {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.listener.Addr().String()+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Errorf("%s %s: %v", method, tc.path, err)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Errorf("%s %s: %v", method, tc.path, err)
			}
			allow := resp.Header.Get("Allow")
			switch has := strings.Contains(tc.methods, method); {
			case tc.methods == "":
				if resp.StatusCode != http.StatusNotFound {
					t.Errorf("%s %s: %s", method, tc.path, resp.Status)
				}
			case method == "OPTIONS":
				if resp.StatusCode != http.StatusNoContent || allow != tc.methods+", OPTIONS" {
					t.Errorf("%s %s: %s, Allow %q, want %s, OPTIONS", method, tc.path, resp.Status, allow, tc.methods)
				}
			case has:
				if resp.StatusCode == http.StatusMethodNotAllowed {
					t.Errorf("%s %s: %s", method, tc.path, resp.Status)
				}
			default:
				var problem struct{ Type string }
				if err := json.Unmarshal(body, &problem); err != nil || problem.Type != "/problems/method" || resp.StatusCode != http.StatusMethodNotAllowed || allow != tc.methods {
					t.Errorf("%s %s: %s, Allow %q, want %s: %s", method, tc.path, resp.Status, allow, tc.methods, body)
				}
			}
		}
	}
}

// A page of another origin may use every public resource, and reads what was wrong with its request.
func TestCORS(t *testing.T) {
	s := testServer(t)
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"OPTIONS", "/topics/a", 204},
		{"OPTIONS", "/v2/stream/recentchange", 204},
		{"OPTIONS", "/subscribe", 204},
		{"GET", "/topics", 200},
		{"GET", "/topics/a", 200},
		{"GET", "/topics/a?format=csv", 400},
		{"GET", "/topics/a%2Fb", 400},
		{"POST", "/topics/a", 401},
		{"POST", "/topics", 405},
		{"GET", "/v2/stream/none", 400},
		{"GET", "/nothing", 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://"+s.listener.Addr().String()+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://garden.example.org")
		if tc.method == "OPTIONS" {
			req.Header.Set("Access-Control-Request-Method", "POST")
			req.Header.Set("Access-Control-Request-Headers", "authorization,content-type,last-event-id")
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Errorf("%s %s: %v", tc.method, tc.path, err)
			continue
		}
		resp.Body.Close()
		h := resp.Header
		if resp.StatusCode != tc.status || h.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s: %s, want %d: %v", tc.method, tc.path, resp.Status, tc.status, h)
		}
		if tc.method == "OPTIONS" {
			for _, name := range []string{"Authorization", "Content-Type", "Last-Event-ID", "Idempotency-Key", "Item-ID"} {
				if !strings.Contains(h.Get("Access-Control-Allow-Headers"), name) {
					t.Errorf("%s: the header %s is not allowed: %v", tc.path, name, h)
				}
			}
			if !strings.Contains(h.Get("Access-Control-Allow-Methods"), "POST") {
				t.Errorf("%s: %v", tc.path, h)
			}
		}
	}
}
