//go:build interop && linux

package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidings/interop/mediawiki"
)

// getJSON reads what the server answers at a path.
func (s *server) getJSON(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := visitor.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// sourcesStatus is what the tests here read of /status.
type sourcesStatus struct {
	UDP  struct{ Appended, Duplicates int } `json:"udp"`
	Poll []struct {
		Polls, Requests, Appended, Duplicates, Stored, Late, Errors int
		Dropped                                                     map[string]int
	} `json:"poll"`
	EventStreams []struct {
		Connected                                        bool
		Appended, Duplicates, Repeats, Connections, Gaps int
		Dropped                                          map[string]int
	} `json:"eventstreams"`
	Redis []struct {
		Connected               bool
		Appended, Interruptions int
		Dropped                 map[string]int
	} `json:"redis"`
}

// until asks for the status until it is as wanted.
func (s *server) until(ctx context.Context, ok func(*sourcesStatus) bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var st sourcesStatus
		if err := s.getJSON(ctx, "/status", &st); err == nil && ok(&st) {
			return nil
		} else if ctx.Err() != nil {
			return fmt.Errorf("the status is %+v: %w", st, errors.Join(err, ctx.Err()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// counts reads the stream from its beginning until the change with the title has come and no other came within two
// polls, and returns how often each rcid came.
func (s *server) counts(ctx context.Context, lastTitle string) (map[string]int, error) {
	var topics struct {
		Topics []struct {
			Topic  string
			Events int
		}
	}
	counts := map[string]int{}
	st, err := connect(ctx, s.url+"/v2/stream/recentchange?since=2000-01-01", "")
	if err != nil {
		return nil, err
	}
	defer st.close()
	read, found := 0, false
	for {
		if err := s.getJSON(ctx, "/topics?match=/recentchange/*", &topics); err != nil {
			return nil, err
		}
		stored := 0
		for _, t := range topics.Topics {
			stored += t.Events
		}
		if found && read == stored {
			return counts, nil
		}
		for !found || read < stored {
			e, err := st.next()
			if err != nil {
				return counts, err
			}
			c, err := parseChange(e.Data)
			if err != nil {
				return counts, err
			}
			read++
			if id, ok := c["id"].(json.Number); ok {
				counts[id.String()]++
			}
			found = found || c["title"] == lastTitle
		}
	}
}

// TestPollMediaWiki: Debian's MediaWiki is polled while changes are made, and the server is killed and stopped meanwhile;
// a second server polls it and gets its feed as well. Each change that the wiki lists in the end has come once.
func TestPollMediaWiki(t *testing.T) {
	need(t, "MediaWiki", mediawiki.Installed())
	const edits = 500
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp(scratch, "wiki-")
	if err != nil {
		t.Fatal(err)
	}
	feed := freePort(t, "udp")
	wiki, err := mediawiki.Start(ctx, dir, mediawiki.Feed{Dialect: mediawiki.JSON, Addr: feed})
	if err != nil {
		t.Fatal(err)
	}
	defer wiki.Stop()
	script, err := wiki.NewScript(ctx)
	if err != nil {
		t.Fatal(err)
	}
	old, err := wiki.RecentChanges(ctx)
	if err != nil {
		t.Fatal(err)
	}
	poll := fmt.Sprintf("contact = \"interop@example.org\"\n[[poll]]\napi_url = %q\ninterval = \"1s\"\n", wiki.URL+"/api.php")
	polled := newServer(t, poll)
	both := newServerAt(t, poll, feed)
	for _, s := range []*server{polled, both} {
		if err := s.until(ctx, func(st *sourcesStatus) bool { return len(st.Poll) == 1 && st.Poll[0].Polls > 0 }); err != nil {
			t.Fatal(err)
		}
	}

	began := time.Now()
	for i := range edits {
		if err := script.Page(ctx, fmt.Sprintf("Row %d", i)); err != nil {
			t.Fatal(err)
		}
		switch i {
		case 100, 300: // killed in the middle of whatever it does, and away for some edits
			polled.kill()
		case 200:
			polled.stop()
			if err := script.Round(ctx); err != nil {
				t.Fatal(err)
			}
		case 110, 250, 301:
			polled.start()
		}
	}
	took := time.Since(began)
	if err := script.Page(ctx, lastPage); err != nil {
		t.Fatal(err)
	}
	rows, err := wiki.RecentChanges(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rows = rows[len(old):]
	if len(rows) < edits {
		t.Fatalf("the wiki lists only %d changes", len(rows))
	}
	for name, s := range map[string]*server{"polled": polled, "polled and fed": both} {
		polls := 0
		if err := s.until(ctx, func(st *sourcesStatus) bool { // two polls have begun after the last change
			if polls == 0 {
				polls = st.Poll[0].Polls
			}
			return st.Poll[0].Polls >= polls+3
		}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		counts, err := s.counts(ctx, lastPage)
		if err != nil {
			t.Fatalf("%s, after %d changes: %v", name, len(counts), err)
		}
		for _, r := range rows {
			if n := counts[fmt.Sprint(r.RCID)]; n != 1 {
				t.Errorf("%s: change %d (%s %s) came %d times", name, r.RCID, r.Type, r.Title, n)
			}
		}
		for id, n := range counts {
			if n != 1 {
				t.Errorf("%s: change %s came %d times", name, id, n)
			}
		}
		var st sourcesStatus
		if err := s.getJSON(ctx, "/status", &st); err != nil {
			t.Fatal(err)
		}
		if len(st.Poll[0].Dropped) > 0 {
			t.Errorf("%s: dropped %v", name, st.Poll[0].Dropped)
		}
		t.Logf("%s: %d changes, of which the wiki lists %d; since the last start %+v, by UDP %+v", name, len(counts), len(rows), st.Poll[0], st.UDP)
	}
	t.Logf("%d edits took %v", edits, took.Round(time.Second))
}

// TestTwoInARow: B reads A's EventStreams. A is stopped or killed ten times and B twice; B has each change once and in
// order.
func TestTwoInARow(t *testing.T) {
	const total, batch = 10_000, 100
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	a := newServer(t, "[http]\nretry = \"100ms\"\n")
	b := newServer(t, fmt.Sprintf("[[eventstreams]]\nurl = %q\n", a.url+"/v2/stream/recentchange"))
	if err := b.until(ctx, func(st *sourcesStatus) bool { return len(st.EventStreams) == 1 && st.EventStreams[0].Connected }); err != nil {
		t.Fatal(err)
	}
	c := newChanges(t, a)
	started := 0 // how many had been sent when A was started
	for c.sent < total {
		c.send(t, batch)
		// What A has acknowledged, which UDP cannot tell, is what B has to have.
		if err := a.until(ctx, func(st *sourcesStatus) bool { return st.UDP.Appended == c.sent-started }); err != nil {
			t.Fatal(err)
		}
		if c.sent%1000 == 0 {
			if c.sent%2000 == 0 {
				a.kill()
			} else {
				a.stop()
			}
			a.start()
			started = c.sent
			if c.sent%4000 != 0 { // and sometimes more comes before B does
				if err := b.until(ctx, func(st *sourcesStatus) bool { return st.EventStreams[0].Connected }); err != nil {
					t.Fatal(err)
				}
			}
		}
		if c.sent == 3500 || c.sent == 7000 {
			b.kill()
			b.start()
		}
	}
	st, err := connect(ctx, b.url+"/v2/stream/recentchange?since=2000-01-01", "")
	if err != nil {
		t.Fatal(err)
	}
	defer st.close()
	for i := 1; i <= total; i++ {
		e, err := st.next()
		if err != nil {
			t.Fatalf("after change %d: %v", i-1, err)
		}
		if n, err := number(e.Data); err != nil || n != i || e.Type != "message" {
			t.Fatalf("%s %d (%v) came instead of %d: %.300s", e.Type, n, err, i, e.Data)
		}
		if i == total && !strings.Contains(e.Data, `"topic":"`) || strings.Count(e.Data, `"topic":"`) != 1 {
			t.Errorf("the place of the event is not told once: %s", e.Data)
		}
	}
	var topics struct{ Topics []struct{ Events int } }
	if err := b.getJSON(ctx, "/topics", &topics); err != nil || len(topics.Topics) != 1 || topics.Topics[0].Events != total {
		t.Errorf("%+v, %v", topics, err)
	}
	var status sourcesStatus
	if err := b.getJSON(ctx, "/status", &status); err != nil || status.EventStreams[0].Gaps != 0 || len(status.EventStreams[0].Dropped) > 0 {
		t.Errorf("%+v, %v", status, err)
	}
	t.Logf("B since its last start: %+v", status.EventStreams[0])
}

// TestRedis: changes that are published on Redis come, also after Redis has been restarted. Those published while it was
// not running are lost, which Redis cannot help; none comes twice.
func TestRedis(t *testing.T) {
	redis, cli := command(t, "redis-server"), command(t, "redis-cli")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp(scratch, "redis-")
	if err != nil {
		t.Fatal(err)
	}
	addr := freePort(t, "tcp")
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(config, []byte("bind 127.0.0.1\nport "+port+"\nrequirepass \"a secret\"\nsave \"\"\ndir "+dir+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var running *exec.Cmd
	start := func() {
		running = exec.Command(redis, config)
		running.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := running.Start(); err != nil {
			t.Fatal(err)
		}
	}
	stop := func() {
		running.Process.Kill()
		running.Wait()
	}
	start()
	defer func() { stop() }()
	s := newServer(t, fmt.Sprintf("[[redis]]\nurl = %q\n", "redis://:a%20secret@"+addr))
	connected := func(interruptions int) {
		t.Helper()
		if err := s.until(ctx, func(st *sourcesStatus) bool {
			return len(st.Redis) == 1 && st.Redis[0].Connected && st.Redis[0].Interruptions == interruptions
		}); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(rcid int) {
		t.Helper()
		payload := fmt.Sprintf(`{"id":%d,"type":"edit","namespace":0,"title":"Bed %d","comment":"weeding \u00e4","timestamp":1700000000,"user":"Gardener","bot":false,"server_url":"http://garden.example.org","server_name":"garden.example.org","server_script_path":"/w","wiki":"gardenwiki"}`, rcid, rcid)
		cmd := exec.CommandContext(ctx, cli, "-p", port, "-x", "PUBLISH", "rc.gardenwiki")
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH=a secret")
		cmd.Stdin = strings.NewReader(payload)
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
			t.Fatalf("publishing: %v: %s", err, out)
		}
	}
	connected(0)
	st, err := connect(ctx, s.url+"/v2/stream/recentchange?since=2000-01-01", "")
	if err != nil {
		t.Fatal(err)
	}
	defer st.close()
	for i := range 40 {
		if i == 20 {
			stop()
			start()
			connected(1)
		}
		publish(i + 1)
		e, err := st.next()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := number(e.Data); err != nil || n != i+1 {
			t.Fatalf("%d came instead of %d (%v)", n, i+1, err)
		}
	}
	var status sourcesStatus
	if err := s.getJSON(ctx, "/status", &status); err != nil || status.Redis[0].Appended != 40 || len(status.Redis[0].Dropped) > 0 {
		t.Errorf("%+v, %v", status, err)
	}
	var raw json.RawMessage
	if err := s.getJSON(ctx, "/status", &raw); err != nil || strings.Contains(string(raw), "secret") {
		t.Errorf("the password is told: %s, %v", raw, err)
	}
}
