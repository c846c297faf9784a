package journal

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// readers is how many blocks are read at once. One reader alone waits for a disk that could do more: with four a disk gave three
// times as much.
const readers = 4

// readAhead has the disk give out the blocks of a stream that was not closed: JetStream is about to read all of them, one after the
// other, and would wait for each. It returns at once; stop ends it and waits for that.
func readAhead(dir string, log *slog.Logger) (stop func()) {
	blocks, bytes := unindexed(dir)
	if len(blocks) == 0 {
		return func() {}
	}
	log.Info("journal: it was not closed, and is read again", "blocks", len(blocks), "bytes", bytes)
	var next, stopped atomic.Int64
	var work sync.WaitGroup
	for range readers {
		work.Go(func() {
			buf := make([]byte, 256<<10)
			for stopped.Load() == 0 {
				n := int(next.Add(1)) - 1
				if n >= len(blocks) {
					return
				}
				readThrough(blocks[n], buf, func() bool { return stopped.Load() != 0 })
			}
		})
	}
	return func() {
		stopped.Store(1)
		work.Wait()
	}
}

// readThrough reads a file, so that what reads it next finds it in memory: an error is for that to find.
func readThrough(path string, buf []byte, stop func() bool) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	for !stop() {
		if _, err := f.Read(buf); err != nil {
			return
		}
	}
}

// unindexed returns the blocks of a stream in order, and their size, if its index is older than the last of them: JetStream writes the
// index when it is closed and now and then, and uses it only if nothing was written since.
func unindexed(dir string) (blocks []string, bytes int64) {
	msgs := filepath.Join(dir, "msgs")
	names, err := os.ReadDir(msgs)
	if err != nil {
		return nil, 0 // there is nothing yet
	}
	var index, last fs.FileInfo
	var numbers []int
	for _, e := range names {
		info, err := e.Info()
		if err != nil {
			continue
		}
		text, block := strings.CutSuffix(e.Name(), ".blk")
		n, err := strconv.Atoi(text)
		switch {
		case e.Name() == "index.db":
			index = info
		case block && err == nil:
			numbers = append(numbers, n)
			bytes += info.Size()
			if last == nil || info.ModTime().After(last.ModTime()) {
				last = info
			}
		}
	}
	if bytes == 0 || index != nil && !index.ModTime().Before(last.ModTime()) {
		return nil, 0
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		blocks = append(blocks, filepath.Join(msgs, strconv.Itoa(n)+".blk"))
	}
	return blocks, bytes
}
