//go:build interop && linux

package interop_test

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// foreignReaders follow /v2/stream/recentchange of the server at base, each a program of others, and say in lines what
// they see: "open" for each connection that opens, "event N" for the change with rcid N, "gap ..." for a gap.
var foreignReaders = []foreignReader{
	{"eventsource from npm", nodeModules, func(t *testing.T, base string) <-chan string { return node(t, "eventsource", base) }},
	{"wikimedia-streams from npm", nodeModules, func(t *testing.T, base string) <-chan string { return node(t, "wikimedia", base) }},
	{"EventSource in Chromium", lookPath("chromium"), chromium},
	{"socket.io-client 4 from npm, websocket", nodeModules, socketIO4("websocket")},
	{"socket.io-client 4 from npm, polling", nodeModules, socketIO4("polling")},
	{"socket.io-client 4 from npm, upgrade", nodeModules, socketIO4("polling,websocket")},
}

type foreignReader struct {
	name    string
	missing func() error // why it cannot be started, or nil
	start   func(t *testing.T, base string) <-chan string
}

// lookPath returns a function that looks for a program.
func lookPath(name string) func() error {
	return func() error {
		_, err := exec.LookPath(name)
		return err
	}
}

// nodeModules looks for Node.js and what node/package.json names.
func nodeModules() error {
	_, err := os.Stat("node/node_modules/.installed")
	return errors.Join(lookPath("node")(), err)
}

// node starts one of the scripts in node/.
func node(t *testing.T, script, base string) <-chan string {
	t.Helper()
	return run(t, exec.Command("node", "node/"+script+".mjs", base))
}

// run starts a program and returns the lines it prints. It is killed, with all it has started, when the test ends.
func run(t *testing.T, cmd *exec.Cmd) <-chan string {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1<<16) // nobody reads on when a test has failed
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(lines)
		for r := bufio.NewScanner(stdout); r.Scan(); {
			lines <- r.Text()
		}
		cmd.Wait()
	}()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		if t.Failed() {
			t.Logf("%s printed on standard error: %.3000s", cmd.Args, stderr.String())
		}
	})
	return lines
}

//go:embed browser.html
var page string

// chromium opens a page of another origin that reads the stream with the browser's own EventSource and posts what it
// sees to where it came from.
func chromium(t *testing.T, base string) <-chan string {
	t.Helper()
	lines := make(chan string, 1<<16)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, page)
			return
		}
		for body := bufio.NewScanner(r.Body); body.Scan(); {
			lines <- body.Text()
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(origin.Close)
	profile, err := os.MkdirTemp(scratch, "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--user-data-dir="+profile, origin.URL+"/?"+base)
	run(t, cmd)
	return lines
}

// follower checks the lines of a foreign reader: the changes have to come once each and in order.
type follower struct {
	lines <-chan string
	seen  int
	opens int
}

// until reads lines until the change n has come and so many connections have opened.
func (f *follower) until(ctx context.Context, n, opens int) error {
	for f.seen < n || f.opens < opens {
		line, err := f.line(ctx)
		if err != nil {
			return fmt.Errorf("after change %d over %d connections, waiting for change %d and connection %d: %w", f.seen, f.opens, n, opens, err)
		}
		if line == "open" {
			f.opens++
			continue
		}
		if line != fmt.Sprintf("event %d", f.seen+1) {
			return fmt.Errorf("after change %d it says %q", f.seen, line)
		}
		f.seen++
	}
	return nil
}

// errEnded says that the program has ended.
var errEnded = errors.New("it has ended")

func (f *follower) line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-f.lines:
		if !ok {
			return "", errEnded
		}
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// TestForeignReadersResume: clients of others read the changes and, after the server was stopped and after it was killed,
// go on by themselves where they were: every change once, in order.
func TestForeignReadersResume(t *testing.T) {
	t.Parallel()
	for _, client := range foreignReaders {
		t.Run(client.name, func(t *testing.T) {
			need(t, client.name, client.missing())
			t.Parallel() // most of it is waiting to connect again
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			s := newServer(t, "")
			f := &follower{lines: client.start(t, s.url)}
			c := newChanges(t, s)
			check := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			check(f.until(ctx, 0, 1))
			// stored waits until the server has stored all that was sent: only then may it be killed.
			stored := func(sent func()) {
				t.Helper()
				st, err := connect(ctx, s.url+"/v2/stream/recentchange", "")
				check(err)
				defer st.close()
				sent()
				for n := 0; n < c.sent; {
					e, err := st.next()
					check(err)
					n, err = number(e.Data)
					check(err)
				}
			}
			stored(func() { c.send(t, 50) })
			check(f.until(ctx, 30, 1))
			stored(func() { c.send(t, 50) })
			s.stop()
			s.start()
			c.send(t, 50)
			check(f.until(ctx, c.sent, 2))
			stored(func() { c.send(t, 100) })
			s.kill()
			s.start()
			check(f.until(ctx, c.sent, 3)) // else the next kill may find it away
			stored(func() { c.send(t, 50) })
			s.kill()
			s.start()
			c.send(t, 50)
			check(f.until(ctx, c.sent, 4))
			t.Logf("%d changes over %d connections", f.seen, f.opens)
		})
	}
}
