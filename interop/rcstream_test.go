//go:build interop && linux

package interop_test

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"
)

// oldClient is the browser's file of socket.io-client 0.9.
const oldClient = "node/node_modules/socket.io-client-0.9/dist/socket.io.js"

// TestRCStream: the JavaScript program of 2015, unmodified but for the host, prints changes on every transport: in Node.js, and in
// a page of another origin in Chromium. It comes back by itself when the server has been stopped, and subscribes anew.
func TestRCStream(t *testing.T) {
	for _, tt := range []struct {
		name, transport string
		missing         func() error
		start           func(t *testing.T, base, transport string) <-chan string
	}{
		{"Node.js", "websocket", nodeModules, oldNode},
		{"Node.js", "xhr-polling", nodeModules, oldNode},
		{"Chromium", "websocket", lookPath("chromium"), oldPage},
		{"Chromium", "xhr-polling", lookPath("chromium"), oldPage},
		{"Chromium", "jsonp-polling", lookPath("chromium"), oldPage},
	} {
		t.Run(tt.name+" "+tt.transport, func(t *testing.T) {
			need(t, tt.name, tt.missing())
			need(t, "socket.io-client 0.9", stat(oldClient))
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			s := newServer(t, "")
			c := newChanges(t, s)
			f := &follower{lines: tt.start(t, s.url, tt.transport)}
			subscribed(t, ctx, f, c)
			c.send(t, 300)
			if err := f.until(ctx, c.sent, 1); err != nil {
				t.Fatal(err)
			}
			s.stop()
			s.start()
			subscribed(t, ctx, f, c)
			c.send(t, 50)
			if err := f.until(ctx, c.sent, 2); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestRCStreamResumes: one that says where it was gets every change once through a stop and a kill.
func TestRCStreamResumes(t *testing.T) {
	need(t, "Node.js", nodeModules())
	for _, transport := range []string{"websocket", "xhr-polling"} {
		t.Run(transport, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			s := newServer(t, "")
			c := newChanges(t, s)
			f := &follower{lines: run(t, exec.Command("node", "node/rcstream.mjs", s.url, transport, "resume"))}
			subscribed(t, ctx, f, c)
			stored := func(n int) {
				t.Helper()
				st, err := connect(ctx, s.url+"/v2/stream/recentchange", "")
				if err != nil {
					t.Fatal(err)
				}
				defer st.close()
				c.send(t, n)
				for got := 0; got < c.sent; {
					e, err := st.next()
					if err == nil {
						got, err = number(e.Data)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			stored(100)
			if err := f.until(ctx, c.sent-50, 1); err != nil {
				t.Fatal(err)
			}
			s.stop()
			s.start()
			stored(50)
			s.kill()
			s.start()
			stored(50)
			if err := f.until(ctx, c.sent, 2); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// subscribed sends changes until one comes, which is when the reader has subscribed: RCStream has no word for it.
func subscribed(t *testing.T, ctx context.Context, f *follower, c *changes) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	c.send(t, 1)
	for first := c.sent; ; {
		select {
		case line, ok := <-f.lines:
			var id int
			switch {
			case !ok:
				t.Fatal("it has ended")
			case line == "open":
				f.opens++
			default:
				// What it missed while nobody was there is not told: the next one may be any, and from then on each.
				if _, err := fmt.Sscanf(line, "event %d", &id); err != nil || id <= f.seen {
					t.Fatalf("after change %d it says %q", f.seen, line)
				}
				if f.seen = id; id >= first {
					return
				}
			}
		case <-tick.C:
			c.send(t, 1)
		case <-ctx.Done():
			t.Fatalf("no change comes after change %d over %d connections", f.seen, f.opens)
		}
	}
}

func stat(file string) error {
	_, err := os.Stat(file)
	return err
}

func oldNode(t *testing.T, base, transport string) <-chan string {
	return run(t, exec.Command("node", "node/rcstream.mjs", base, transport))
}

//go:embed rcstream.html
var oldHTML string

// oldPage opens a page with the program and the client's own file, and returns what it posts.
func oldPage(t *testing.T, base, transport string) <-chan string {
	t.Helper()
	script, err := os.ReadFile(oldClient)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1<<16)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			for body := bufio.NewScanner(r.Body); body.Scan(); {
				lines <- body.Text()
			}
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/socket.io.js":
			w.Header().Set("Content-Type", "text/javascript")
			w.Write(script)
		default:
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, oldHTML)
		}
	}))
	t.Cleanup(origin.Close)
	profile, err := os.MkdirTemp(scratch, "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--user-data-dir="+profile, origin.URL+"/?"+base+"%20"+transport))
	return lines
}
