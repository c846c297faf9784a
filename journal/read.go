package journal

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidings"
)

const (
	readBytes   = 8 << 20 // after which a Read from the store returns what it has, as it does after readTime
	readScanned = 20000   // messages that a Read looks at in the store for one filter at most
	readTime    = time.Second
)

// Read implements Journal.
//
// Where the rules of retention differ between the topics that the patterns match, a GapError's Oldest is behind the last
// event that was removed, and events of the other topics may be kept before it: ReadKept returns those.
func (j *JetStream) Read(ctx context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error) {
	return j.read(ctx, after, patterns, max, false)
}

// ReadKept is Read without its GapError for events that retention has removed: it returns what is kept. A reader that
// was told of a gap can use it up to the GapError's Oldest, and Read from there on.
func (j *JetStream) ReadKept(ctx context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error) {
	return j.read(ctx, after, patterns, max, true)
}

func (j *JetStream) read(ctx context.Context, after tidings.Position, patterns []tidings.Pattern, max int, kept bool) ([]tidings.Event, tidings.Position, error) {
	if j.isClosed() {
		return nil, after, errClosed()
	}
	head := j.Head()
	if err := checkAfter(after, j.Oldest(), head, patterns, j.lost.Load(), kept); err != nil {
		return nil, after, err
	}
	if max <= 0 || after == head {
		return nil, after, nil
	}
	evs, upTo, ok := j.tail.read(after.Offset, head.Offset, patterns, max)
	if ok {
		return evs, j.pos(upTo), nil
	}
	evs, upTo, err := j.readStore(ctx, after.Offset, min(head.Offset, upTo), patterns, max)
	if err != nil {
		if j.isClosed() {
			err = errClosed()
		}
		return nil, after, err
	}
	// Events may have been removed while this was reading; what is lost is known before it is.
	if !kept {
		l := j.lost.Load()
		if j.srv == nil {
			if l, err = j.freshLost(ctx); err != nil {
				return nil, after, err
			}
		}
		if err := checkAfter(after, j.Oldest(), head, patterns, l, false); err != nil {
			return nil, after, err
		}
	}
	return evs, j.pos(upTo), nil
}

// readStore returns up to max events in (after, limit] that match, and the offset up to which that is complete.
func (j *JetStream) readStore(ctx context.Context, after, limit uint64, patterns []tidings.Pattern, max int) (all []tidings.Event, upTo uint64, err error) {
	filters := j.subj.filters(patterns)
	until := time.Now().Add(readTime)
	if len(filters) == 1 {
		return j.readFilter(ctx, filters[0], after, limit, until, patterns, max)
	}
	// Each filter is read as far as the others, window by window: a rare topic alone would be read to the end of the log.
	upTo = after
	for window := uint64(4096); upTo < limit && len(all) < max; window *= 2 {
		var evs []tidings.Event
		end := min(limit, upTo+window)
		for _, f := range filters {
			some, to, err := j.readFilter(ctx, f, upTo, end, until, patterns, max-len(all))
			if err != nil {
				return nil, after, err
			}
			evs = append(evs, some...)
			end = min(end, to)
		}
		slices.SortFunc(evs, func(a, b tidings.Event) int { return cmp.Compare(a.Position.Offset, b.Position.Offset) })
		evs = slices.CompactFunc(evs, func(a, b tidings.Event) bool { return a.Position == b.Position })
		n, _ := slices.BinarySearchFunc(evs, end+1, func(e tidings.Event, o uint64) int { return cmp.Compare(e.Position.Offset, o) })
		evs = evs[:n]
		if len(evs) > max-len(all) {
			evs = evs[:max-len(all)]
			end = evs[len(evs)-1].Position.Offset
		}
		all = append(all, evs...)
		if end == upTo || time.Now().After(until) {
			upTo = end
			break
		}
		upTo = end
	}
	return all, upTo, nil
}

// readFilter is readStore for one filter. Once its time is up it returns what it has, which is something.
func (j *JetStream) readFilter(ctx context.Context, filter string, after, limit uint64, until time.Time, patterns []tidings.Pattern, max int) (evs []tidings.Event, upTo uint64, err error) {
	size, seen := 0, 0
	upTo, err = j.scanSome(ctx, filter, after, limit, min(max+1, fetchMessages), readScanned, func(m *message) bool {
		t, ok := j.subj.topicOf(m.subject)
		match := ok && matches(patterns, t)
		if len(evs) == max && match || size > readBytes || seen > 0 && time.Now().After(until) {
			return false
		}
		seen++
		if !match {
			return true
		}
		e, err := j.event(m)
		if err != nil {
			j.log.Error("journal: skipping a message that cannot be read", "error", err)
			return true
		}
		size += len(e.Payload)
		evs = append(evs, e)
		return true
	})
	return evs, upTo, err
}

// At implements Journal.
func (j *JetStream) At(ctx context.Context, t time.Time) (tidings.Position, error) {
	if j.isClosed() {
		return tidings.Position{}, errClosed()
	}
	head, oldest := j.Head(), j.Oldest()
	switch y := t.Year(); { // JetStream counts nanoseconds in 64 bits
	case y < 1970:
		return oldest, nil
	case y > 2200:
		return head, nil
	}
	m, err := j.leader(ctx, getRequest{StartTime: &t, NextFor: j.subj.events + ">"})
	switch {
	case errors.Is(err, errNoMessage), err == nil && m.seq > head.Offset:
		return head, nil
	case err != nil:
		return tidings.Position{}, err
	}
	return j.pos(max(m.seq-1, oldest.Offset)), nil
}

// Last implements Journal.
func (j *JetStream) Last(ctx context.Context, topic tidings.Topic) (tidings.Event, error) {
	if j.isClosed() {
		return tidings.Event{}, errClosed()
	}
	if _, err := tidings.ParseTopic(string(topic)); err != nil {
		return tidings.Event{}, err
	}
	if e, ok := j.tail.newest(topic); ok {
		return e, nil
	}
	m, err := j.lastOf(ctx, j.subj.topic(topic))
	if errors.Is(err, errNoMessage) {
		return tidings.Event{}, errNoEvents(topic)
	}
	if err != nil {
		return tidings.Event{}, err
	}
	if err := j.waitDurable(ctx, m.seq); err != nil {
		return tidings.Event{}, err
	}
	return j.event(&m)
}

// Topics implements Journal.
func (j *JetStream) Topics(ctx context.Context, pattern tidings.Pattern) ([]TopicInfo, error) {
	if j.isClosed() {
		return nil, errClosed()
	}
	if pattern.IsZero() {
		return nil, nil
	}
	info, err := j.stream.Info(ctx, jetstream.WithSubjectFilter(j.subj.filter(pattern)))
	if err != nil {
		return nil, storeReadError(err)
	}
	n := map[tidings.Topic]uint64{}
	for s, c := range info.State.Subjects {
		if t, ok := j.subj.topicOf(s); ok && pattern.Match(t) {
			n[t] = c
		}
	}
	return sortTopics(n), nil
}

// Mark implements Journal.
func (j *JetStream) Mark(ctx context.Context, publisher string) (string, error) {
	if j.isClosed() {
		return "", errClosed()
	}
	m, err := j.lastOf(ctx, j.subj.mark(publisher))
	if errors.Is(err, errNoMessage) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return string(m.data), j.waitDurable(ctx, m.seq)
}

// waitDurable waits until a message just read is as durable as the others: it may belong to a commit that is under way.
func (j *JetStream) waitDurable(ctx context.Context, seq uint64) error {
	if seq <= j.head.Load() {
		return nil
	}
	if j.srv == nil {
		j.waitFollowed(seq)
		return nil
	}
	// An empty call takes its turn behind all that is published.
	if err := j.commitCall(ctx, &call{done: make(chan error, 1)}); err != nil && j.broken.Load() == nil {
		return err
	}
	return nil
}
