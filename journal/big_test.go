package journal_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tidings"
	"tidings/journal"
)

// TestBig makes a journal of TIDINGS_BIG events, and measures how long it takes to open it after a clean stop and after
// a SIGKILL, and to read from it. With TIDINGS_BIG_DIR it keeps the journal there for the next run.
func TestBig(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("TIDINGS_BIG"))
	if n == 0 {
		t.Skip("TIDINGS_BIG is not set to a number of events")
	}
	dir := os.Getenv("TIDINGS_BIG_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	opts := journal.Options{Dir: dir, Durability: journal.Interval, DedupeWindow: time.Second, TrimInterval: -1}
	j := open(t, opts)
	have := int(j.Stats().Events)
	payload := []byte(strings.Repeat("0123456789abcdef", 25)) // 400 bytes
	ctx := context.Background()
	for have < n {
		evs := make([]tidings.Event, 500)
		for i := range evs {
			evs[i] = tidings.Event{Topic: tidings.Topic(fmt.Sprintf("/recentchange/w%d.example.org", (have+i)%900)),
				Key: fmt.Sprintf("k%d", have+i), Payload: payload, ContentType: "application/json"}
			if (have+i)%10000 == 0 {
				evs[i].Topic = "/rare"
			}
		}
		if _, err := j.Append(ctx, evs...); err != nil {
			t.Fatal(err)
		}
		have += len(evs)
	}
	began := time.Now()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events: closed in %s", have, time.Since(began))
	opts.Durability = journal.Fsync
	began = time.Now()
	j = open(t, opts)
	clean := time.Since(began)
	t.Logf("opened after a clean stop in %s", clean)
	zero := tidings.Position{Epoch: j.Head().Epoch}
	timed := func(what string, f func() any) {
		began := time.Now()
		v := f()
		t.Logf("%s: %v in %s", what, v, time.Since(began))
	}
	read := func(after tidings.Position, max int, ps ...string) func() any {
		var pats []tidings.Pattern
		for _, p := range ps {
			pats = append(pats, tidings.MustPattern(p))
		}
		return func() any {
			evs, upTo, err := j.Read(ctx, after, pats, max)
			return fmt.Sprint(len(evs), " events up to ", upTo.Offset, " ", err)
		}
	}
	mid := tidings.Position{Epoch: zero.Epoch, Offset: j.Head().Offset / 2}
	for range 2 {
		timed("100 from the start", read(zero, 100))
		timed("1000 from the middle", read(mid, 1000))
		timed("1000 of one topic from the start", read(zero, 1000, "/recentchange/w7.example.org"))
		timed("10 of one topic from the middle", read(mid, 10, "/recentchange/w7.example.org"))
		timed("100 of a rare topic from the start", read(zero, 100, "/rare"))
		timed("10 of a rare topic from the middle", read(mid, 10, "/rare"))
		timed("100 of a glob from the middle", read(mid, 100, "/recentchange/*"))
		timed("100 of a narrow glob from the middle", read(mid, 100, "/recentchange/w77*"))
		timed("1000 of two topics from the middle", read(mid, 1000, "/recentchange/w7.example.org", "/rare"))
		timed("a topic that is not there", read(zero, 100, "/none"))
		timed("Topics", func() any { ts, err := j.Topics(ctx, tidings.MustPattern("/**")); return fmt.Sprint(len(ts), err) })
		timed("Last", func() any { _, err := j.Last(ctx, "/rare"); return err })
		timed("At", func() any { p, err := j.At(ctx, time.Now().Add(-time.Minute)); return fmt.Sprint(p, err) })
		timed("Stats", func() any { return j.Stats().Events })
	}
	j.Close()

	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "TIDINGS_JOURNAL_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<10)
	for n := 0; n < 100; n++ { // some commits
		if _, err := out.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	began = time.Now()
	cpu := cpuTime()
	j = open(t, opts)
	killed := cpuTime() - cpu // other work on the machine does not count
	t.Logf("opened after SIGKILL in %s, of CPU %s", time.Since(began), killed)
	blks, _ := filepath.Glob(filepath.Join(dir, "jetstream", "$G", "streams", "tidings", "msgs", "*.blk"))
	t.Logf("%d blocks, Stats %+v", len(blks), j.Stats())
	if clean > 5*time.Second {
		t.Errorf("opening took %s after a clean stop, want 5s at most", clean)
	}
	if killed > 15*time.Second {
		t.Errorf("opening took %s of CPU after SIGKILL, want 15s at most", killed)
	}
}
