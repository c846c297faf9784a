package journal

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidings"
)

// A journal that was closed is not read again; one that was not, in the order of its blocks.
func TestReadAhead(t *testing.T) {
	o := Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	var dir string
	fill := func() {
		t.Helper()
		j, err := OpenJetStream(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		for range 12 { // of which a block has seven or fewer
			if _, err := j.Append(context.Background(), tidings.Event{Topic: "/a", Payload: bytes.Repeat([]byte("x"), 1<<20)}); err != nil {
				t.Fatal(err)
			}
		}
		dir = j.blocks.dir
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if blocks, _ := unindexed(filepath.Join(o.Dir, "nothing")); blocks != nil {
		t.Errorf("of nothing: %q", blocks)
	}
	fill()
	if blocks, _ := unindexed(dir); blocks != nil {
		t.Errorf("of a journal that was closed: %q", blocks)
	}
	check := func(what string) {
		t.Helper()
		blocks, size := unindexed(dir)
		if len(blocks) < 2 || filepath.Base(blocks[0]) != "1.blk" || filepath.Base(blocks[1]) != "2.blk" || size < 12<<20 {
			t.Errorf("%s: %q, %d bytes", what, blocks, size)
		}
	}
	index := filepath.Join(dir, "msgs", "index.db")
	if err := os.Chtimes(index, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	check("an index that is older than the blocks")
	if err := os.Remove(index); err != nil {
		t.Fatal(err)
	}
	check("no index")

	var log bytes.Buffer
	readAhead(dir, slog.New(slog.NewTextHandler(&log, nil)))()
	if !strings.Contains(log.String(), "read again") {
		t.Errorf("it says %q", log.String())
	}
	blocks, _ := unindexed(dir)
	n := 0
	readThrough(blocks[0], make([]byte, 1<<20), func() bool { n++; return false })
	if st, err := os.Stat(blocks[0]); err != nil || n < int(st.Size()>>20) {
		t.Errorf("%d reads of %v, %v", n, st, err)
	}
	readThrough(filepath.Join(dir, "nothing"), nil, nil)
	fill()
}
