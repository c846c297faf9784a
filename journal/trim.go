package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidings"
)

// trimmer removes old events from time to time.
func (j *JetStream) trimmer(ctx context.Context) {
	j.countBytes(ctx)
	close(j.counted)
	if j.opts.TrimInterval < 0 {
		return
	}
	tick := time.NewTicker(j.opts.TrimInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := j.Trim(ctx, time.Now()); err != nil && ctx.Err() == nil {
			j.log.Warn("journal: removing old events", "error", err)
		}
	}
}

// countBytes finds out what is kept under each rule, if a rule needs it and the stream does not know.
func (j *JetStream) countBytes(ctx context.Context) {
	if !j.keep.byBytes() || j.keep.sole() {
		return
	}
	used := make([]int64, len(j.keep.rules))
	_, err := j.scan(ctx, "", j.oldest.Load(), j.head.Load(), fetchMessages, func(m *message) bool {
		if t, ok := j.subj.topicOf(m.subject); ok {
			if i := j.keep.ruleOf(t); i >= 0 {
				if e, err := j.event(m); err == nil {
					used[i] += storedSize(&e)
				}
			}
		}
		return true
	})
	if err != nil && ctx.Err() == nil {
		j.log.Warn("journal: counting bytes for retention", "error", err)
		j.recount.Store(true)
		return
	}
	j.keep.mu.Lock()
	defer j.keep.mu.Unlock()
	for i := range used {
		j.keep.used[i] += used[i] // what was appended meanwhile is counted already
	}
}

// Trim removes the events that the rules of retention do not keep at the given time, and returns their number. It also
// does away with marks that newer ones have replaced. It is called every Options.TrimInterval; processes that share a
// stream may all do so.
func (j *JetStream) Trim(ctx context.Context, now time.Time) (int, error) {
	if j.isClosed() {
		return 0, errClosed()
	}
	select {
	case <-j.counted:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	j.trimMu.Lock()
	defer j.trimMu.Unlock()
	if j.srv == nil {
		if err := j.loadLost(ctx); err != nil {
			return 0, err
		}
		if j.recount.Swap(false) {
			j.keep.mu.Lock()
			clear(j.keep.used)
			j.keep.mu.Unlock()
			j.countBytes(ctx)
		}
	}
	if err := j.purgeInternal(ctx); err != nil {
		return 0, err
	}
	info, err := j.stream.Info(ctx)
	if err != nil {
		return 0, storeReadError(err)
	}
	if j.keep.sole() {
		j.keep.mu.Lock()
		j.keep.used[0] = int64(info.State.Bytes)
		j.keep.mu.Unlock()
	}
	head, first := j.head.Load(), max(info.State.FirstSeq, 1)
	p, err := j.keep.plan(ctx, now, func(ctx context.Context, rule int, visit func(stored) bool) error {
		after := max(j.cuts[rule], first-1)
		_, err := j.scan(ctx, j.subj.below(j.keep.rules[rule].Prefix), after, head, 1, func(m *message) bool {
			t, ok := j.subj.topicOf(m.subject)
			if !ok {
				return true
			}
			size := int64(len(m.subject)+len(m.data)) + 128
			if e, err := j.event(m); err == nil {
				size = storedSize(&e)
			}
			return visit(stored{m.seq, t, m.at, size})
		})
		return err
	})
	if err != nil || p.events == 0 {
		return 0, err
	}
	if err := j.remove(ctx, p); err != nil {
		return 0, err
	}
	return p.events, nil
}

// remove carries out a plan: first what is lost is put down, then it is purged.
func (j *JetStream) remove(ctx context.Context, p *removal) error {
	var cut uint64
	if j.keep.sole() {
		cut = p.cuts[0]
		if err := j.saveMarks(ctx, cut); err != nil {
			return err
		}
	}
	kept, err := j.firstKept(ctx, p, cut)
	if err != nil {
		return err
	}
	if err := j.storeLost(ctx, &lost{topics: p.topics, cut: kept - 1, head: max(kept-1, j.head.Load())}); err != nil {
		return err
	}
	j.tail.drop(func(e *tidings.Event) bool { return p.goes(e.Topic, e.Position.Offset) })
	if cut > 0 {
		if err := j.stream.Purge(ctx, jetstream.WithPurgeSequence(cut+1)); err != nil {
			return storeReadError(err)
		}
	} else {
		for i, c := range p.cuts {
			if c == 0 || j.keep.rules[i].nested {
				continue
			}
			err := j.stream.Purge(ctx, jetstream.WithPurgeSubject(j.subj.below(j.keep.rules[i].Prefix)), jetstream.WithPurgeSequence(c+1))
			if err != nil {
				return storeReadError(err)
			}
		}
		for t, seq := range p.topics {
			if !j.keep.rules[j.keep.ruleOf(t)].nested {
				continue
			}
			err := j.stream.Purge(ctx, jetstream.WithPurgeSubject(j.subj.topic(t)), jetstream.WithPurgeSequence(seq+1))
			if err != nil {
				return storeReadError(err)
			}
		}
	}
	j.keep.removed(p)
	for i, c := range p.cuts {
		j.cuts[i] = max(j.cuts[i], c)
	}
	info, err := j.stream.Info(ctx)
	if err != nil {
		return storeReadError(err)
	}
	j.setOldest(info.State)
	if j.fsync {
		// The server may have rewritten a block.
		return j.blocks.all()
	}
	return nil
}

// firstKept returns the first sequence that an event the plan keeps has or may get.
func (j *JetStream) firstKept(ctx context.Context, p *removal, after uint64) (uint64, error) {
	head := j.head.Load()
	kept := head + 1
	_, err := j.scan(ctx, j.subj.events+">", max(after, j.oldest.Load()), head, 1, func(m *message) bool {
		if t, ok := j.subj.topicOf(m.subject); ok && p.goes(t, m.seq) {
			return true
		}
		kept = m.seq
		return false
	})
	return kept, err
}

// purgeInternal removes the messages of the journal's own that newer ones have replaced.
func (j *JetStream) purgeInternal(ctx context.Context) error {
	for _, filter := range []string{j.subj.marks + ">", j.subj.lost} {
		info, err := j.stream.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return storeReadError(err)
		}
		for s, n := range info.State.Subjects {
			if n < 2 {
				continue
			}
			if err := j.stream.Purge(ctx, jetstream.WithPurgeSubject(s), jetstream.WithPurgeKeep(1)); err != nil {
				return storeReadError(err)
			}
		}
	}
	return nil
}

// saveMarks appends the marks again that are at or before the cut.
func (j *JetStream) saveMarks(ctx context.Context, cut uint64) error {
	var again []*nats.Msg
	_, err := j.scan(ctx, j.subj.marks+">", 0, cut, fetchMessages, func(m *message) bool {
		again = append(again, &nats.Msg{
			Subject: m.subject, Data: m.data,
			Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: []string{strconv.FormatUint(m.seq, 10)}},
		})
		return true
	})
	if err != nil {
		return err
	}
	for _, m := range again {
		// Refused if the publisher has a newer mark by now, which is as good.
		if err := j.commitCall(ctx, &call{msgs: []*nats.Msg{m}, done: make(chan error, 1)}); err != nil && !isWrongLast(err) {
			return err
		}
	}
	return nil
}

func isWrongLast(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == 10164)
}

// storeLost puts down what the plan removes before it is removed.
func (j *JetStream) storeLost(ctx context.Context, more *lost) error {
	for range 5 {
		l := j.lost.Load().with(more)
		c := &call{msgs: []*nats.Msg{{
			Subject: j.subj.lost, Data: l.encode(),
			Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: []string{strconv.FormatUint(j.lostSeq, 10)}},
		}}, done: make(chan error, 1)}
		err := j.commitCall(ctx, c)
		if err == nil {
			j.lostSeq = c.acks[0].seq
			j.mergeLost(l)
			return nil
		}
		if !isWrongLast(err) {
			return err
		}
		// Another process has put its own down: join it.
		if err := j.loadLost(ctx); err != nil {
			return err
		}
	}
	return tidings.Errorf(tidings.ErrUnavailable, "journal: other processes keep removing events at the same time")
}

// loadLost reads what was removed.
func (j *JetStream) loadLost(ctx context.Context) error {
	m, err := j.lastOf(ctx, j.subj.lost)
	if errors.Is(err, errNoMessage) {
		j.lost.CompareAndSwap(nil, &lost{})
		return nil
	}
	if err != nil {
		return err
	}
	l, err := parseLost(m.data)
	if err != nil {
		return fmt.Errorf("%w (message %d)", err, m.seq)
	}
	j.lostSeq = m.seq
	j.mergeLost(l)
	return nil
}

// mergeLost adds to what is known to be removed.
func (j *JetStream) mergeLost(l *lost) {
	for {
		old := j.lost.Load()
		merged := l
		if old != nil {
			merged = old.with(l)
		}
		if j.lost.CompareAndSwap(old, merged) {
			return
		}
	}
}

// seeLost takes in what another process, or this one, has put down.
func (j *JetStream) seeLost(data []byte, seq uint64) {
	l, err := parseLost(data)
	if err != nil {
		j.log.Error("journal: reading what was removed", "error", err, "message", seq)
		return
	}
	j.mergeLost(l)
	j.tail.drop(func(e *tidings.Event) bool {
		lostUpTo, ok := l.topics[e.Topic]
		return ok && e.Position.Offset <= lostUpTo
	})
}

// freshLost asks the leader what was removed.
func (j *JetStream) freshLost(ctx context.Context) (*lost, error) {
	m, err := j.lastOf(ctx, j.subj.lost)
	if err != nil && !errors.Is(err, errNoMessage) {
		return nil, err
	}
	if err == nil {
		l, err := parseLost(m.data)
		if err != nil {
			return nil, err
		}
		j.mergeLost(l)
	}
	return j.lost.Load(), nil
}
