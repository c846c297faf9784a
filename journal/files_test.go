package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tidings"
)

func openInternal(t *testing.T, o Options) *JetStream {
	t.Helper()
	if o.Dir == "" && o.URL == "" {
		o.Dir = t.TempDir()
	}
	o.TrimInterval = -1
	j, err := OpenJetStream(context.Background(), o)
	if err != nil {
		t.Fatal("OpenJetStream:", err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// syncs records how large each file was when it was last synced.
type syncs struct {
	mu sync.Mutex
	m  map[string]int64
}

func (s *syncs) synced(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string]int64{}
	}
	if st, err := os.Stat(path); err == nil {
		s.m[path] = st.Size()
	}
}

// TestCommitSyncsTheMessage looks for each payload in the store's files once Append has returned: the file that holds
// it has to have been synced with it, and so has the directory of a file that is new.
func TestCommitSyncsTheMessage(t *testing.T) {
	var log bytes.Buffer
	j := openInternal(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	var s syncs
	j.blocks.synced = s.synced
	msgs := filepath.Join(j.blocks.dir, "msgs")
	seen := map[string]bool{filepath.Join(msgs, "1.blk"): true} // made and synced with the stream
	filler := strings.Repeat("x", 900<<10)
	for i := range 30 { // blocks have some 8 MiB
		s.mu.Lock()
		clear(s.m)
		s.mu.Unlock()
		payload := fmt.Sprintf("<payload %d>", i)
		if _, err := j.Append(t.Context(), tidings.Event{Topic: "/a", Payload: []byte(filler)},
			tidings.Event{Topic: "/a", Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
		found := false
		files, err := filepath.Glob(filepath.Join(msgs, "*.blk"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.Index(b, []byte(payload))
			if at < 0 {
				continue
			}
			found = true
			if synced := s.m[name]; synced < int64(at+len(payload)) {
				t.Errorf("%s holds %s at byte %d and was synced with %d bytes", filepath.Base(name), payload, at, synced)
			}
			if _, dirSynced := s.m[msgs]; !seen[name] && !dirSynced {
				t.Errorf("%s is new and its directory was not synced", filepath.Base(name))
			}
			seen[name] = true
		}
		if !found {
			t.Fatalf("%s is in none of %d blocks", payload, len(files))
		}
	}
	if len(seen) < 3 {
		t.Errorf("the test has seen %d blocks, want some", len(seen))
	}
	if log.Len() > 0 {
		t.Errorf("the store's layout is not as expected: %s", log.String())
	}
}

func TestBucketSyncsTheValue(t *testing.T) {
	j := openInternal(t, Options{})
	bucket, err := j.Bucket(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	var s syncs
	b := bucket.(*kvBucket)
	b.blocks.synced = s.synced
	if err := b.Put(t.Context(), "k", []byte("<the value>")); err != nil {
		t.Fatal(err)
	}
	found := false
	for name, size := range s.m {
		if data, err := os.ReadFile(name); err == nil {
			at := bytes.Index(data, []byte("<the value>"))
			found = found || at >= 0 && size >= int64(at+11)
		}
	}
	if !found {
		t.Errorf("none of the files synced holds the value: %v", s.m)
	}
}

// TestBlocks plays the server's part with files of its own.
func TestBlocks(t *testing.T) {
	const block1, block2, block3 = "1.blk", "2.blk", "3.blk"
	none := func() int64 { return 0 }
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, write func(name string, n int), dir string)
		want []string // files synced
		warn bool
	}{
		{"grown", func(t *testing.T, write func(string, int), _ string) { write(block1, 100) }, []string{block1}, false},
		{"next block", func(t *testing.T, write func(string, int), _ string) { write(block1, 50); write(block2, 50) }, []string{block1, block2, "msgs"}, false},
		{"two blocks", func(t *testing.T, write func(string, int), _ string) { write(block2, 50); write(block3, 50) }, []string{block2, block3, "msgs"}, false},
		{"a number left out", func(t *testing.T, write func(string, int), _ string) { write(block3, 100) }, []string{block1, block3, "msgs"}, true},
		{"another file", func(t *testing.T, write func(string, int), _ string) { write("new.dat", 100) }, []string{block1, "new.dat", "msgs"}, true},
		{"too little", func(t *testing.T, write func(string, int), _ string) { write(block1, 99) }, []string{block1, "msgs"}, true},
		{"replaced", func(t *testing.T, write func(string, int), dir string) {
			write("tmp", 5000)
			if err := os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, block1)); err != nil {
				t.Fatal(err)
			}
		}, []string{block1, "msgs"}, false},
		{"gone", func(t *testing.T, write func(string, int), dir string) {
			if err := os.Remove(filepath.Join(dir, block1)); err != nil {
				t.Fatal(err)
			}
			write(block3, 100)
		}, []string{block3, "msgs"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			msgs := filepath.Join(dir, "msgs")
			if err := os.Mkdir(msgs, 0o700); err != nil {
				t.Fatal(err)
			}
			write := func(name string, n int) {
				t.Helper()
				f, err := os.OpenFile(filepath.Join(msgs, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.Write(make([]byte, n)); err != nil {
					t.Fatal(err)
				}
			}
			write(block1, 1000)
			var log bytes.Buffer
			b := &blocks{dir: dir, log: slog.New(slog.NewTextHandler(&log, nil))}
			if err := b.open(); err != nil {
				t.Fatal(err)
			}
			defer b.close()
			var got []string
			b.synced = func(path string) {
				if path != dir {
					got = append(got, filepath.Base(path))
				}
			}
			tt.do(t, write, msgs)
			if err := b.commit(100, none); err != nil {
				t.Fatal("commit:", err)
			}
			slices.Sort(got)
			got = slices.Compact(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("synced %v, want %v", got, tt.want)
			}
			if (log.Len() > 0) != tt.warn {
				t.Errorf("log: %q, want something: %t", log.String(), tt.warn)
			}
			// The state is right again afterwards.
			got = nil
			write(fmt.Sprintf("%d.blk", b.num), 100)
			if err := b.commit(100, none); err != nil {
				t.Fatal("commit:", err)
			}
			if want := []string{fmt.Sprintf("%d.blk", b.num)}; !slices.Equal(got, want) {
				t.Errorf("afterwards: synced %v, want %v", got, want)
			}
		})
	}
}

// TestBlocksAhead has messages under way be written when a commit looks.
func TestBlocksAhead(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "msgs"), 0o700); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "msgs", "1.blk")
	b := &blocks{dir: dir, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	if err := b.open(); err != nil {
		t.Fatal(err)
	}
	defer b.close()
	all := 0
	b.synced = func(path string) {
		if path == dir {
			all++
		}
	}
	if err := os.WriteFile(name, make([]byte, 150), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.commit(100, func() int64 { return 60 }); err != nil || all != 0 || b.ahead != 50 {
		t.Fatalf("%v, %d full syncs, %d bytes ahead, want 50", err, all, b.ahead)
	}
	if err := b.commit(50, func() int64 { return 0 }); err != nil || all != 0 {
		t.Fatalf("%v, %d full syncs for what was synced before", err, all)
	}
	if err := b.commit(1, func() int64 { return 0 }); err != nil || all != 1 {
		t.Fatalf("%v, %d full syncs, want 1 for bytes that are nowhere", err, all)
	}
}

// TestSyncFails has a commit fail at the disk: the journal must take no more.
func TestSyncFails(t *testing.T) {
	j := openInternal(t, Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if _, err := j.Append(t.Context(), tidings.Event{Topic: "/a", Payload: []byte("good")}); err != nil {
		t.Fatal(err)
	}
	head := j.Head()
	good := j.blocks.last
	bad, err := os.Open(good.Name()) // closed: Stat and Sync fail
	if err != nil {
		t.Fatal(err)
	}
	bad.Close()
	j.blocks.last = bad
	dir := j.blocks.dir
	j.blocks.dir = filepath.Join(dir, "meta.inf") // not a directory, so that a full sync fails as well
	for range 2 {
		_, err := j.Append(t.Context(), tidings.Event{Topic: "/a", Payload: []byte("lost")})
		if !errors.Is(err, tidings.ErrUnavailable) {
			t.Errorf("Append: %v, want ErrUnavailable", err)
		}
	}
	good.Close()
	if j.Head() != head {
		t.Errorf("Head has moved to %s", j.Head())
	}
	evs, _, err := j.Read(t.Context(), tidings.Position{Epoch: head.Epoch}, nil, 10)
	if err != nil || len(evs) != 1 {
		t.Errorf("Read: %d events, %v, want the one that was stored", len(evs), err)
	}
}

// TestHalfFailed has the acknowledgements of a batch come too late: its events may be in the store or not. A repeat
// finds them, and no reader has a hole.
func TestHalfFailed(t *testing.T) {
	j := openInternal(t, Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	keyed := func(from, to int) (evs []tidings.Event) {
		for i := from; i < to; i++ {
			evs = append(evs, tidings.Event{Topic: "/a", Key: fmt.Sprint(i), Payload: fmt.Append(nil, i)})
		}
		return evs
	}
	if _, err := j.Append(t.Context(), keyed(0, 5)...); err != nil {
		t.Fatal(err)
	}
	timeout := j.pub.timeout
	j.pub.timeout = 0 // run has nothing to do now
	_, err := j.Append(t.Context(), keyed(5, 200)...)
	if !errors.Is(err, tidings.ErrUnavailable) {
		t.Fatalf("Append: %v, want ErrUnavailable", err)
	}
	j.pub.timeout, j.pub.late = timeout, false
	got, err := j.Append(t.Context(), keyed(3, 205)...)
	if err != nil {
		t.Fatal(err)
	}
	if h := j.Head(); h.Offset < got[len(got)-1].Position.Offset {
		t.Errorf("Head = %s, the last event is at %s", h, got[len(got)-1].Position)
	}
	for name, read := range map[string]func() ([]tidings.Event, error){
		"memory": func() ([]tidings.Event, error) {
			evs, _, err := j.Read(t.Context(), tidings.Position{Epoch: j.epoch}, nil, 1000)
			return evs, err
		},
		"store": func() ([]tidings.Event, error) { return j.fetchAll(t.Context(), 0, j.head.Load()) },
	} {
		evs, err := read()
		if err != nil || len(evs) != 205 {
			t.Fatalf("%s: %d events, %v, want 205", name, len(evs), err)
		}
		for i, e := range evs {
			if string(e.Payload) != fmt.Sprint(i) {
				t.Fatalf("%s: event %d is %q", name, i, e.Payload)
			}
		}
	}
}

// TestServerGone stops the server below the journal.
func TestServerGone(t *testing.T) {
	j := openInternal(t, Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if _, err := j.Append(t.Context(), tidings.Event{Topic: "/a", Payload: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	j.srv.Shutdown()
	if _, err := j.Append(t.Context(), tidings.Event{Topic: "/a"}); !errors.Is(err, tidings.ErrUnavailable) {
		t.Errorf("Append: %v, want ErrUnavailable", err)
	}
	evs, _, err := j.Read(t.Context(), tidings.Position{Epoch: j.epoch}, nil, 10)
	if err != nil || len(evs) != 1 {
		t.Errorf("Read: %d events, %v, want the one in memory", len(evs), err)
	}
	if _, err := j.Mark(t.Context(), "p"); !errors.Is(err, tidings.ErrUnavailable) {
		t.Errorf("Mark: %v, want ErrUnavailable", err)
	}
}

func TestTailIsBounded(t *testing.T) {
	tl := tail{max: 10_000}
	n := uint64(0)
	for range 1000 {
		var evs []tidings.Event
		for range 7 {
			n++
			evs = append(evs, tidings.Event{Topic: "/a", Payload: make([]byte, 100), Position: tidings.Position{Epoch: 1, Offset: n}})
		}
		tl.push(evs, n)
		if tl.bytes > tl.max || tl.dead > tl.max/2 || cap(tl.evs) > 200 {
			t.Fatalf("%d bytes, %d dead, room for %d events", tl.bytes, tl.dead, cap(tl.evs))
		}
		if base, last := tl.bounds(); last != n || base+uint64(len(tl.evs)) != n {
			t.Fatalf("%d events in (%d, %d]", len(tl.evs), base, last)
		}
	}
	if len(tl.evs) < 20 {
		t.Errorf("only %d events", len(tl.evs))
	}
	if _, base, ok := tl.read(tl.base-1, n, nil, 10); ok || base != tl.base {
		t.Errorf("the tail says it reaches back further than it does, or to %d", base)
	}
	if evs, upTo, ok := tl.read(tl.base, n, nil, 1000); !ok || upTo != n || len(evs) != len(tl.evs) {
		t.Errorf("read: %d events up to %d, %t", len(evs), upTo, ok)
	}
}
