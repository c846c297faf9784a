package journal

import (
	"context"
	"maps"
	"slices"
	"sync"
)

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

// Update implements Bucket. f must not call methods of the bucket.
func (b *memoryBucket) Update(ctx context.Context, key string, f func(old []byte) ([]byte, error)) error {
	if err := checkBucketKey(key); err != nil {
		return err
	}
	var refused error
	err := b.change(ctx, func() bool {
		had, ok := b.m[key]
		var old []byte
		if ok {
			old = append([]byte{}, had...)
		}
		value, err := f(old)
		if err == nil && value != nil {
			err = checkBucketValue(value, b.maxValue)
		}
		switch {
		case err != nil:
			refused = err
			return false
		case value == nil:
			delete(b.m, key)
			return ok
		}
		b.m[key] = append([]byte{}, value...)
		return true
	}, key)
	if refused != nil {
		return refused
	}
	return err
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
