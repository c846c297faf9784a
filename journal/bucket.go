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

	blocks  *blocks    // nil if nothing is to be synced
	syncing sync.Mutex // held while they are
	nextMu  sync.Mutex
	next    *syncRound // of changes that wait for the sync under way; nil if there are none

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

	mu      sync.Mutex
	seen    uint64        // revision up to which f was called
	skipped uint64        // the last one up to there that was not brought: its key had another by then
	moved   chan struct{} // closed when seen moves; nil if nobody waits for that
	ended   bool
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
	return b.change(ctx, func() (revisions, error) {
		rev, err := b.kv.Put(ctx, escapeKey(key), value)
		return revisions{rev, rev}, err
	})
}

// Delete implements Bucket.
func (b *kvBucket) Delete(ctx context.Context, key string) error {
	return b.Update(ctx, key, func([]byte) ([]byte, error) { return nil, nil })
}

// Update implements Bucket.
func (b *kvBucket) Update(ctx context.Context, key string, f func(old []byte) ([]byte, error)) error {
	if err := checkBucketKey(key); err != nil {
		return err
	}
	var refused error // by f, which keeps its own words
	err := b.change(ctx, func() (is revisions, err error) {
		k := escapeKey(key)
		for {
			if err := ctx.Err(); err != nil {
				return is, err
			}
			var old []byte
			var last uint64
			e, err := b.kv.Get(ctx, k)
			switch {
			case err == nil:
				old, last = append([]byte{}, e.Value()...), e.Revision()
			case !errors.Is(err, jetstream.ErrKeyNotFound):
				return is, err
			}
			value, err := f(old)
			if err == nil && value != nil {
				err = checkBucketValue(value, b.j.opts.MaxPayload)
			}
			if err != nil {
				refused = err
				return is, nil
			}
			switch {
			case value == nil && old == nil:
				return is, nil
			case value == nil:
				is.from = last + 1
				if err = b.kv.Delete(ctx, k, jetstream.LastRevision(last)); err == nil {
					is.to, err = b.lastSeq(ctx)
				}
			case old == nil:
				is.to, err = b.kv.Create(ctx, k, value)
				is.from = is.to
			default:
				is.to, err = b.kv.Update(ctx, k, value, last)
				is.from = is.to
			}
			if !isConflict(err) {
				return is, err
			}
		}
	})
	if refused != nil {
		return refused
	}
	return err
}

// isConflict reports whether another change of the key came first.
func isConflict(err error) bool {
	var js jetstream.JetStreamError
	if !errors.As(err, &js) || js.APIError() == nil {
		return false
	}
	code := js.APIError().ErrorCode
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

// lastSeq returns a revision at or behind that of the last change.
func (b *kvBucket) lastSeq(ctx context.Context) (uint64, error) {
	st, err := b.kv.Status(ctx)
	if err != nil {
		return 0, err
	}
	bs, ok := st.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return 0, fmt.Errorf("unexpected status %T", st)
	}
	return bs.StreamInfo().State.LastSeq, nil
}

// revisions are two between which that of a change is, both included. The zero value is that of no change.
type revisions struct{ from, to uint64 }

// change makes a change durable and waits until the watchers here have seen it.
func (b *kvBucket) change(ctx context.Context, f func() (revisions, error)) error {
	if b.j.isClosed() {
		return errClosed()
	}
	is, err := f()
	if err == nil && b.blocks != nil && is.to > 0 {
		err = b.sync()
	}
	b.mu.Lock()
	ws := slices.Collect(maps.Keys(b.watchers))
	b.mu.Unlock()
	for i := 0; i < len(ws) && err == nil && is.to > 0; i++ {
		err = b.reach(ctx, ws[i], is)
	}
	switch {
	case err == nil:
		return nil
	case b.j.isClosed():
		return errClosed()
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return storeError(err)
}

// reach waits until the watcher has been brought a change, or a later one of the same key. The store keeps one revision of a
// key, so a watcher that is late is never brought those before it, and may have passed them before it has the later one.
func (b *kvBucket) reach(ctx context.Context, w *kvWatcher, is revisions) error {
	skipped, err := w.wait(ctx, is.to)
	for err == nil && is.from <= skipped {
		// One of the revisions up to now is the key's, and is not skipped yet.
		var last uint64
		if last, err = b.lastSeq(ctx); err != nil {
			return err
		}
		before := skipped
		if skipped, err = w.wait(ctx, last); skipped == before {
			break
		}
	}
	return err
}

// syncRound is one sync of the bucket's files and the changes that it makes durable.
type syncRound struct {
	done chan struct{}
	err  error // set before done is closed
}

// sync returns once what the store has acknowledged before the call is on the disk. Changes that come while a sync is
// under way share the next one.
func (b *kvBucket) sync() error {
	b.nextMu.Lock()
	r := b.next
	first := r == nil
	if first {
		r = &syncRound{done: make(chan struct{})}
		b.next = r
	}
	b.nextMu.Unlock()
	if !first {
		<-r.done
		return r.err
	}
	b.syncing.Lock()
	defer b.syncing.Unlock()
	b.nextMu.Lock()
	b.next = nil // who comes from here on may have written what this round no longer sees
	b.nextMu.Unlock()
	r.err = b.blocks.all()
	close(r.done)
	return r.err
}

// Watch implements Bucket. f must not change the bucket.
func (b *kvBucket) Watch(ctx context.Context, f func(key string, value []byte)) error {
	if b.j.isClosed() {
		return errClosed()
	}
	kw, err := b.kv.WatchAll(context.WithoutCancel(ctx))
	if err != nil {
		return storeReadError(err)
	}
	run, stop := context.WithCancel(ctx)
	w := &kvWatcher{w: kw, f: f, stop: stop}
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
	if rev > w.seen+1 {
		w.skipped = rev - 1
	}
	w.seen = max(w.seen, rev)
	w.ended = w.ended || ended
	if w.moved != nil {
		close(w.moved)
		w.moved = nil
	}
}

// wait waits until f was called for what there is up to the revision, or the watch is over. It returns the last revision that
// was skipped; 0 if the watch is over.
func (w *kvWatcher) wait(ctx context.Context, rev uint64) (skipped uint64, err error) {
	for {
		w.mu.Lock()
		ended, done := w.ended, w.seen >= rev
		if !ended && !done && w.moved == nil {
			w.moved = make(chan struct{})
		}
		moved, skipped := w.moved, w.skipped
		w.mu.Unlock()
		switch {
		case ended:
			return 0, nil
		case done:
			return skipped, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return 0, ctx.Err()
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
