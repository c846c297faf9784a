package journal

import (
	"slices"
	"sort"
	"sync"

	"tidings"
)

// tail is the newest events in memory, bounded in bytes. It holds every event with an offset in (base, last] that is
// kept. Readers take a snapshot of the slice and look at it without the lock, so elements are never written twice: what
// is dropped from the front is left alone until the slice is copied.
type tail struct {
	max int64

	mu    sync.RWMutex
	evs   []tidings.Event
	bytes int64 // of evs
	dead  int64 // dropped from the front and not yet copied away
	base  uint64
	last  uint64
}

// memorySize is what an event costs in the tail.
func memorySize(e *tidings.Event) int64 { return storedSize(e) + 96 }

// push adds events, in order, and declares the tail complete up to last.
func (t *tail) push(evs []tidings.Event, last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range evs {
		t.bytes += memorySize(&evs[i])
	}
	t.evs = append(t.evs, evs...)
	t.last = max(t.last, last)
	t.evict()
}

func (t *tail) evict() {
	n := 0
	for ; n < len(t.evs) && t.bytes > t.max; n++ {
		size := memorySize(&t.evs[n])
		t.bytes -= size
		t.dead += size
		t.base = t.evs[n].Position.Offset
	}
	t.evs = t.evs[n:]
	if t.dead > t.max/4 {
		t.evs = slices.Clone(t.evs)
		t.dead = 0
	}
}

// prepend puts older events before the tail, which then is complete from base on. It does nothing if the tail does not
// begin at next any more, because it has filled up on its own.
func (t *tail) prepend(evs []tidings.Event, base, next uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.base != next {
		return
	}
	t.evs = slices.Concat(evs, t.evs)
	t.base, t.dead = base, 0
	for i := range evs {
		t.bytes += memorySize(&evs[i])
	}
	t.evict()
}

// reset empties the tail, which then begins behind the offset.
func (t *tail) reset(last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.evs, t.bytes, t.dead, t.base, t.last = nil, 0, 0, last, last
}

// drop removes the events that retention has removed.
func (t *tail) drop(gone func(*tidings.Event) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var kept []tidings.Event
	t.bytes, t.dead = 0, 0
	for i := range t.evs {
		if !gone(&t.evs[i]) {
			kept = append(kept, t.evs[i])
			t.bytes += memorySize(&t.evs[i])
		}
	}
	t.evs = kept
}

// bounds returns base and last.
func (t *tail) bounds() (base, last uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.base, t.last
}

// read returns up to max events in (after, limit] that match, and the offset up to which that is complete. It reports
// false if the tail does not reach back to after, with the offset, behind after, from which on it is complete.
func (t *tail) read(after, limit uint64, patterns []tidings.Pattern, max int) (evs []tidings.Event, upTo uint64, ok bool) {
	t.mu.RLock()
	if base := t.base; after < base {
		t.mu.RUnlock()
		return nil, base, false
	}
	all := t.evs
	t.mu.RUnlock()
	from := sort.Search(len(all), func(i int) bool { return all[i].Position.Offset > after })
	for i := from; i < len(all) && all[i].Position.Offset <= limit; i++ {
		if !matches(patterns, all[i].Topic) {
			continue
		}
		if len(evs) == max {
			return evs, evs[max-1].Position.Offset, true
		}
		evs = append(evs, all[i])
	}
	return evs, limit, true
}

// newest returns the last event of the topic that is in memory.
func (t *tail) newest(topic tidings.Topic) (tidings.Event, bool) {
	t.mu.RLock()
	all := t.evs
	t.mu.RUnlock()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Topic == topic {
			return all[i], true
		}
	}
	return tidings.Event{}, false
}
