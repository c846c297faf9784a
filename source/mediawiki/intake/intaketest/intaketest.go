// Package intaketest is what the tests of the sources have in common: a journal that can be killed in the middle of an Append, and a
// source that runs until it is stopped.
package intaketest

import (
	"context"
	"sync"
	"testing"

	"tidings"
)

// Journal keeps events and never recognises a repeat: a source has to. The zero value is empty.
type Journal struct {
	mu     sync.Mutex
	events []tidings.Event
	mark   string
	kept   func(events int) int // while it is dying
}

// Begin makes mark the last one.
func (j *Journal) Begin(mark string) {
	j.mu.Lock()
	j.mark = mark
	j.mu.Unlock()
}

// Append is what a source is given.
func (j *Journal) Append(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	j.mu.Lock()
	if j.kept != nil {
		j.events = append(j.events, events[:j.kept(len(events))]...)
		j.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	defer j.mu.Unlock()
	j.events = append(j.events, events...)
	for _, e := range events {
		if e.Mark != "" {
			j.mark = e.Mark
		}
	}
	return make([]tidings.Appended, len(events)), nil
}

// Die makes each Append from now on keep so many of its events and no mark, and return only when its context ends, as if the process
// were killed in it. Nil brings the journal back.
func (j *Journal) Die(kept func(events int) int) {
	j.mu.Lock()
	j.kept = kept
	j.mu.Unlock()
}

// Last returns the last mark, and whether one of the last 2,000 events has a key: what a source is given when it starts.
func (j *Journal) Last() (mark string, stored func(key string) bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	keys := map[string]bool{}
	for _, e := range j.events[max(0, len(j.events)-2000):] {
		keys[e.Key] = true
	}
	return j.mark, func(k string) bool { return keys[k] }
}

// Events returns the events on the topic, or all of them for "".
func (j *Journal) Events(topic tidings.Topic) (all []tidings.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events {
		if topic == "" || e.Topic == topic {
			all = append(all, e)
		}
	}
	return all
}

// Run runs a source, whose Run may not fail. stop ends it and waits for it.
func Run(t *testing.T, source interface{ Run(context.Context) error }) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := source.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}
