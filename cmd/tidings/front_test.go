package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"tidings/config"
)

// TestFront: browsers get the live page, at the root and where they are led to a topic; everybody else what they asked for.
func TestFront(t *testing.T) {
	cfg := config.Defaults()
	cfg.Data, cfg.HTTP.Addr, cfg.UDP.Addr, cfg.IRC.Addr, cfg.XMPP.Addr, cfg.Durability = t.TempDir(), "127.0.0.1:0", config.Off, "127.0.0.1:0", "127.0.0.1:0", "interval"
	s, err := open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
	for _, tt := range []struct {
		path, accept  string
		status        int
		typ, location string
		body          string
	}{
		{"/", browser, 200, "text/html; charset=utf-8", "", "<h2 id=\"flow-head\">"},
		{"/", browser, 200, "text/html; charset=utf-8", "", "irssi --connect 127.0.0.1"},
		{"/", "*/*", 200, "text/plain; charset=utf-8", "", "/subscribe?topic=PATTERN"},
		{"/", "", 200, "text/plain; charset=utf-8", "", "/topics/{topic}"},
		{"/?filter=x+%3D", browser, 400, "text/html; charset=utf-8", "", "<mark>"},
		{"/topics/a%20b/*?bot=false&filter=ns+%3D%3D+0", browser, 303, "text/html; charset=utf-8", "/?bot=false&filter=ns%20%3D%3D%200&topic=/a%20b/*", ""},
		{"/topics/a?format=html", "*/*", 303, "text/html; charset=utf-8", "/?topic=/a", ""},
		{"/topics/a?format=json", browser, 200, "application/json", "", `{"events":[`},
		{"/topics/a", "*/*", 200, "application/json", "", `{"events":[`},
		{"/live?topic=/a", "*/*", 200, "application/json", "", `"head":"`},
	} {
		req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://"+s.listener.Addr().String()+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.accept != "" {
			req.Header.Set("Accept", tt.accept)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		h := resp.Header
		if resp.StatusCode != tt.status || h.Get("Content-Type") != tt.typ || h.Get("Location") != tt.location || !strings.Contains(string(body), tt.body) {
			t.Errorf("%s for %q: %d %s %q\n%.300s", tt.path, tt.accept, resp.StatusCode, h.Get("Content-Type"), h.Get("Location"), body)
		}
		if !strings.Contains(strings.Join(h.Values("Vary"), ","), "Accept") && !strings.HasPrefix(tt.path, "/live") {
			t.Errorf("%s does not vary by Accept", tt.path)
		}
	}
	if n := s.report().Hub.Subscriptions; n != 0 {
		t.Errorf("nobody reads, and the status tells of %d subscriptions", n)
	}
}
