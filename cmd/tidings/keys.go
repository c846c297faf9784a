package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tidings"
	"tidings/journal"
)

// How many of the journal's last events are known by their keys: since the start, and of those before it.
const (
	keptKeys = 1 << 16
	readKeys = 1 << 14
)

// keys are those of the journal's last events, whichever source they came from. The journal itself recognises a repeat
// within its deduplication window only, and that is too short for a source which goes and gets changes: it may have been
// unable to for an hour in which another source brought the same ones, or the process may have been killed in the middle of a
// batch, without the Mark behind it, and started again an hour later.
type keys struct {
	young time.Duration // how long a key is left to the journal: it moves the source's Mark when it refuses a repeat

	mu   sync.Mutex
	at   map[string]time.Time
	ring []string // the keys of at in the order in which they came
	next int
}

// openKeys returns the keys of the journal's last events.
func openKeys(ctx context.Context, j journal.Journal, window time.Duration) (*keys, error) {
	k := &keys{young: window / 2, at: map[string]time.Time{}}
	head, after := j.Head(), j.Oldest()
	if head.Offset > after.Offset+readKeys {
		after.Offset = head.Offset - readKeys
	}
	for after.Offset < head.Offset {
		events, next, err := j.Read(ctx, after, nil, 512)
		var gap *tidings.GapError
		if errors.As(err, &gap) && gap.Oldest.Offset > after.Offset { // retention was quicker
			after = gap.Oldest
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the journal's last events: %w", err)
		}
		k.add(time.Time{}, events)
		if next.Offset <= after.Offset {
			break
		}
		after = next
	}
	return k, nil
}

// add remembers the events, which have been appended at the time; the zero time is long ago.
func (k *keys) add(now time.Time, events []tidings.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range events {
		key := events[i].Key
		if _, ok := k.at[key]; ok || key == "" {
			continue
		}
		if len(k.ring) < keptKeys {
			k.ring = append(k.ring, key)
		} else {
			delete(k.at, k.ring[k.next])
			k.ring[k.next] = key
			k.next = (k.next + 1) % keptKeys
		}
		k.at[key] = now
	}
}

// old reports whether the journal has an event with the key which it may not recognise any more.
func (k *keys) old(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	at, ok := k.at[key]
	return ok && time.Since(at) >= k.young
}
