package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"tidings"
)

const maxBucketKey = 255

func checkBucketName(name string) error {
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return tidings.Errorf(tidings.ErrInvalid, "journal: bucket name %q: want 1 to 64 of a-z, 0-9, _ and -", name)
	}
	return nil
}

func checkBucketKey(key string) error {
	if key == "" || len(key) > maxBucketKey || !utf8.ValidString(key) {
		return tidings.Errorf(tidings.ErrInvalid, "journal: bucket key %.40q: want 1 to %d bytes of UTF-8", key, maxBucketKey)
	}
	return nil
}

func checkBucketValue(value []byte, limit int) error {
	if len(value) > limit {
		return tidings.Errorf(tidings.ErrTooLarge, "the value has %d bytes and may have %d", len(value), limit)
	}
	return nil
}

// escapeKey writes a key in the letters that a key-value bucket allows.
func escapeKey(key string) string {
	b := make([]byte, 0, len(key)+8)
	for i := range len(key) {
		c := key[i]
		if strings.IndexByte(nameBytes, c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '=', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(b)
}

// kvBucket is a Bucket in a JetStream key-value bucket.
type kvBucket struct {
	j  *JetStream
	kv jetstream.KeyValue

	syncMu sync.Mutex
	blocks *blocks // nil if nothing is to be synced

	mu       sync.Mutex
	closed   bool
	watchers map[*kvWatcher]struct{}
	work     sync.WaitGroup
}

// kvWatcher is one call of Watch.
type kvWatcher struct {
	w    jetstream.KeyWatcher
	f    func(key string, value []byte)
	stop context.CancelFunc

	mu    sync.Mutex
	seen  uint64        // revision up to which f was called
	moved chan struct{} // closed when seen moves, and replaced
	ended bool
}

// Bucket implements Journal.
func (j *JetStream) Bucket(ctx context.Context, name string) (Bucket, error) {
	if err := checkBucketName(name); err != nil {
		return nil, err
	}
	j.bucketMu.Lock()
	defer j.bucketMu.Unlock()
	if j.isClosed() {
		return nil, errClosed()
	}
	if b := j.buckets[name]; b != nil {
		return b, nil
	}
	full := j.opts.Stream + "_" + name
	kv, err := j.js.KeyValue(ctx, full)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = j.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: full, Description: "Tidings registry",
			Storage: jetstream.FileStorage, Replicas: j.opts.Replicas})
		if errors.Is(err, jetstream.ErrBucketExists) {
			kv, err = j.js.KeyValue(ctx, full)
		}
		if err == nil && j.fsync {
			err = syncTree(j.opts.Dir, nil)
		}
	}
	if err != nil {
		return nil, tidings.Errorf(tidings.ErrUnavailable, "journal: opening the bucket %s: %w", name, err)
	}
	b := &kvBucket{j: j, kv: kv, watchers: map[*kvWatcher]struct{}{}}
	if j.fsync {
		b.blocks = &blocks{dir: j.streamDir("KV_" + full), log: j.log}
	}
	j.buckets[name] = b
	return b, nil
}

// Put implements Bucket.
func (b *kvBucket) Put(ctx context.Context, key string, value []byte) error {
	if err := checkBucketKey(key); err != nil {
		return err
	}
	if err := checkBucketValue(value, b.j.opts.MaxPayload); err != nil {
		return err
	}
	return b.change(ctx, func() (uint64, error) { return b.kv.Put(ctx, escapeKey(key), value) })
}

// Delete implements Bucket.
func (b *kvBucket) Delete(ctx context.Context, key string) error {
	if err := checkBucketKey(key); err != nil {
		return err
	}
	return b.change(ctx, func() (uint64, error) {
		k := escapeKey(key)
		if _, err := b.kv.Get(ctx, k); err != nil {
			if errors.Is(err, jetstream.ErrKeyNotFound) {
				return 0, nil
			}
			return 0, err
		}
		if err := b.kv.Delete(ctx, k); err != nil {
			return 0, err
		}
		st, err := b.kv.Status(ctx)
		if err != nil {
			return 0, err
		}
		bs, ok := st.(*jetstream.KeyValueBucketStatus)
		if !ok {
			return 0, fmt.Errorf("unexpected status %T", st)
		}
		return bs.StreamInfo().State.LastSeq, nil
	})
}

// change makes a change durable and waits until the watchers here have seen it.
func (b *kvBucket) change(ctx context.Context, f func() (uint64, error)) error {
	if b.j.isClosed() {
		return errClosed()
	}
	rev, err := f()
	if err == nil && b.blocks != nil {
		b.syncMu.Lock()
		err = b.blocks.all()
		b.syncMu.Unlock()
	}
	if err != nil {
		if b.j.isClosed() {
			return errClosed()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return storeError(err)
	}
	b.mu.Lock()
	ws := slices.Collect(maps.Keys(b.watchers))
	b.mu.Unlock()
	for _, w := range ws {
		if err := w.wait(ctx, rev); err != nil {
			return err
		}
	}
	return nil
}

// Watch implements Bucket. f must not call Put or Delete of the bucket.
func (b *kvBucket) Watch(ctx context.Context, f func(key string, value []byte)) error {
	if b.j.isClosed() {
		return errClosed()
	}
	kw, err := b.kv.WatchAll(context.WithoutCancel(ctx))
	if err != nil {
		return storeReadError(err)
	}
	run, stop := context.WithCancel(ctx)
	w := &kvWatcher{w: kw, f: f, stop: stop, moved: make(chan struct{})}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		stop()
		kw.Stop()
		return errClosed()
	}
	b.watchers[w] = struct{}{} // from here on a Put waits for f
	loaded := make(chan struct{})
	b.work.Go(func() {
		defer func() {
			b.mu.Lock()
			delete(b.watchers, w)
			b.mu.Unlock()
			w.move(0, true)
			stop()
			kw.Stop()
		}()
		w.run(run, loaded, b.j.log)
	})
	b.mu.Unlock()
	select {
	case <-loaded:
		return nil
	case <-run.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errClosed()
	}
}

// run calls f until ctx ends, and closes loaded when it has done so for all that was there.
func (w *kvWatcher) run(ctx context.Context, loaded chan<- struct{}, log *slog.Logger) {
	there := true
	for {
		select {
		case e, ok := <-w.w.Updates():
			if !ok {
				return
			}
			if e == nil { // the end of what was there
				there = false
				close(loaded)
				continue
			}
			key, ok := unescape(e.Key(), '=')
			switch {
			case !ok:
				log.Error("journal: skipping an entry of a bucket with a malformed key", "key", e.Key())
			case e.Operation() == jetstream.KeyValuePut:
				w.f(key, append([]byte{}, e.Value()...))
			case !there:
				w.f(key, nil)
			}
			w.move(e.Revision(), false)
		case <-ctx.Done():
			return
		}
	}
}

func (w *kvWatcher) move(rev uint64, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = max(w.seen, rev)
	w.ended = w.ended || ended
	close(w.moved)
	w.moved = make(chan struct{})
}

// wait waits until f was called for the revision, or the watch is over.
func (w *kvWatcher) wait(ctx context.Context, rev uint64) error {
	for {
		w.mu.Lock()
		done, moved := w.ended || w.seen >= rev, w.moved
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends the watches and waits for them.
func (b *kvBucket) close() {
	b.mu.Lock()
	b.closed = true
	for w := range b.watchers {
		w.stop()
	}
	b.mu.Unlock()
	b.work.Wait()
}

// memoryBucket is a Bucket in memory.
type memoryBucket struct {
	maxValue int
	mu       sync.Mutex // held while the watchers are called, so that they see changes in order
	closed   bool
	m        map[string][]byte
	watchers []memoryWatcher
}

type memoryWatcher struct {
	ctx context.Context
	f   func(key string, value []byte)
}

// Bucket implements Journal.
func (m *Memory) Bucket(_ context.Context, name string) (Bucket, error) {
	if err := checkBucketName(name); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errClosed()
	}
	b := m.buckets[name]
	if b == nil {
		b = &memoryBucket{maxValue: m.opts.MaxPayload, m: map[string][]byte{}}
		m.buckets[name] = b
	}
	return b, nil
}

// Put implements Bucket.
func (b *memoryBucket) Put(ctx context.Context, key string, value []byte) error {
	if err := checkBucketKey(key); err != nil {
		return err
	}
	if err := checkBucketValue(value, b.maxValue); err != nil {
		return err
	}
	return b.change(ctx, func() bool { b.m[key] = append([]byte{}, value...); return true }, key)
}

// Delete implements Bucket.
func (b *memoryBucket) Delete(ctx context.Context, key string) error {
	if err := checkBucketKey(key); err != nil {
		return err
	}
	return b.change(ctx, func() bool {
		_, ok := b.m[key]
		delete(b.m, key)
		return ok
	}, key)
}

func (b *memoryBucket) change(ctx context.Context, f func() bool, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed()
	}
	if !f() {
		return nil
	}
	b.watchers = slices.DeleteFunc(b.watchers, func(w memoryWatcher) bool { return w.ctx.Err() != nil })
	for _, w := range b.watchers {
		w.f(key, b.m[key])
	}
	return nil
}

// Watch implements Bucket. f must not call methods of the bucket.
func (b *memoryBucket) Watch(ctx context.Context, f func(key string, value []byte)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed()
	}
	for _, k := range slices.Sorted(maps.Keys(b.m)) {
		f(k, b.m[k])
	}
	b.watchers = append(b.watchers, memoryWatcher{ctx, f})
	return nil
}

func (b *memoryBucket) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.watchers = true, nil
}
