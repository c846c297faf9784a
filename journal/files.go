package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// blocks syncs the files in which JetStream stores a stream; see the package comment. It is not safe for concurrent
// use, except for all.
type blocks struct {
	dir string // of the stream
	log *slog.Logger

	last  *os.File // the block that is appended to, or nil if there is none
	num   int
	size  int64
	ahead int64     // bytes that are synced and belong to messages not yet committed, at most
	warn  sync.Once // the first time that a check fails

	synced func(path string) // for tests: a file or a directory has been synced
}

func (b *blocks) path(n int) string { return filepath.Join(b.dir, "msgs", strconv.Itoa(n)+".blk") }

// recordBytes is the length of a message's record in a block of nats-server 2.15: a fixed head, the subject, the headers
// with their length, the data and a checksum.
func recordBytes(m *nats.Msg) int64 {
	n := 22 + len(m.Subject) + len(m.Data) + 8
	if len(m.Header) > 0 {
		n += 4 + len("NATS/1.0\r\n") + len("\r\n")
		for k, vs := range m.Header {
			for _, v := range vs {
				n += len(k) + len(": ") + len(v) + len("\r\n")
			}
		}
	}
	return int64(n)
}

// open syncs everything there is and finds the block that is appended to.
func (b *blocks) open() error {
	b.close()
	names, err := os.ReadDir(filepath.Join(b.dir, "msgs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("journal: looking for blocks: %w", err)
	}
	b.num = 0
	for _, e := range names {
		if text, ok := strings.CutSuffix(e.Name(), ".blk"); ok {
			if n, err := strconv.Atoi(text); err == nil {
				b.num = max(b.num, n)
			}
		}
	}
	if b.num > 0 {
		if err := b.hold(b.num); err != nil {
			return fmt.Errorf("journal: opening a block: %w", err)
		}
		st, err := b.last.Stat()
		if err != nil {
			return fmt.Errorf("journal: opening a block: %w", err)
		}
		b.size = st.Size()
	}
	// What is written to the block or behind it from here on is growth for the next commit to see.
	return b.all()
}

// hold makes block n the one appended to, none of it synced yet.
func (b *blocks) hold(n int) error {
	f, err := os.OpenFile(b.path(n), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b.close()
	b.last, b.num, b.size = f, n, 0
	return nil
}

// commit returns once the messages acknowledged since the last commit, whose records have the given number of bytes, are
// on the disk. underWay returns what the records of messages that are published besides may have.
func (b *blocks) commit(bytes int64, underWay func() int64) error {
	grown, newFiles := int64(0), false
	for {
		// A block gets no more messages once the next one is there, so look for that before syncing this one.
		_, err := os.Stat(b.path(b.num + 1))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("journal: looking for blocks: %w", err)
		}
		next := err == nil
		if b.last != nil {
			st, err := os.Stat(b.path(b.num))
			held, err2 := b.last.Stat()
			if err != nil || err2 != nil || !os.SameFile(st, held) {
				// The block was rewritten, as after a removal, or is gone: how much it has grown is unknown.
				return b.resync(underWay)
			}
			if n := st.Size() - b.size; n != 0 {
				grown += n
				b.size = st.Size()
				if err := b.sync(b.last); err != nil {
					return err
				}
			}
		}
		if !next {
			break
		}
		if err := b.hold(b.num + 1); err != nil {
			return fmt.Errorf("journal: opening a block: %w", err)
		}
		newFiles = true
	}
	if newFiles {
		if err := b.syncDir(filepath.Join(b.dir, "msgs")); err != nil {
			return err
		}
	}
	b.ahead += grown - bytes
	if b.ahead < 0 {
		b.warn.Do(func() {
			b.log.Warn("journal: the blocks of the store have not grown as expected, syncing the whole directory instead (slower, as safe)",
				"directory", b.dir, "grown", grown, "appended", bytes)
		})
		return b.resync(underWay)
	}
	b.ahead = min(b.ahead, underWay())
	return nil
}

// resync syncs everything and finds the block that is appended to again.
func (b *blocks) resync(underWay func() int64) error {
	if err := b.open(); err != nil {
		return err
	}
	b.ahead = underWay()
	return nil
}

// all syncs every file and directory of the stream and the directories above it up to the one that holds them all.
func (b *blocks) all() error {
	return syncTree(b.dir, b.synced)
}

func (b *blocks) sync(f *os.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("journal: syncing %s: %w", f.Name(), err)
	}
	if b.synced != nil {
		b.synced(f.Name())
	}
	return nil
}

func (b *blocks) syncDir(dir string) error {
	if err := syncPath(dir, true); err != nil {
		return err
	}
	if b.synced != nil {
		b.synced(dir)
	}
	return nil
}

func (b *blocks) close() {
	if b.last != nil {
		b.last.Close()
		b.last = nil
	}
}

// syncTree syncs the files below dir, then the directories, the deepest first. Files that vanish meanwhile are fine:
// the server has replaced them, and their directory is synced afterwards.
func syncTree(dir string, synced func(string)) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if err := syncPath(path, false); err != nil {
			return err
		}
		if synced != nil {
			synced(path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("journal: syncing %s: %w", dir, err)
	}
	for _, d := range slices.Backward(dirs) {
		if err := syncPath(d, true); err != nil {
			return err
		}
		if synced != nil {
			synced(d)
		}
	}
	return nil
}

// syncPath syncs one file or directory, if it is still there. Directories cannot be synced on Windows, and need not.
func syncPath(path string, dir bool) error {
	if dir && runtime.GOOS == "windows" {
		return nil
	}
	flag := os.O_RDWR
	if dir {
		flag = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flag, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("journal: syncing: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("journal: syncing %s: %w", path, err)
	}
	return nil
}
