package journal

import (
	"context"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"tidings"
)

// Memory is a journal that lives in memory, for tests: it behaves as [JetStream] does and forgets everything on Close.
type Memory struct {
	opts     Options
	epoch    uint32
	keep     *retention
	notifier notifier

	mu      sync.RWMutex
	closed  bool
	recs    []memoryRecord
	seen    map[string]memoryKey
	marks   map[string]string
	buckets map[string]*memoryBucket
	lost    *lost
	last    uint64
	oldest  uint64
	stats   Stats
	trimmed time.Time // when Append last looked for events to remove
}

type memoryRecord struct {
	event tidings.Event
	at    time.Time
	size  int64
}

type memoryKey struct {
	offset uint64
	at     time.Time
}

var _ Journal = (*Memory)(nil)

// NewMemory returns an empty journal with a new epoch. Of the options DedupeWindow, MaxPayload, Retention and TrimInterval count;
// it panics where OpenJetStream returns an error for them.
func NewMemory(o Options) *Memory {
	o, err := o.withDefaults()
	if err != nil {
		panic(err)
	}
	return &Memory{
		opts: o, epoch: newEpoch(), keep: newRetention(o.Retention), lost: &lost{},
		seen: map[string]memoryKey{}, marks: map[string]string{}, buckets: map[string]*memoryBucket{},
		trimmed: time.Now(), stats: Stats{Durability: "memory"},
	}
}

// newEpoch returns a random number other than 0.
func newEpoch() uint32 {
	for {
		if e := rand.Uint32(); e != 0 {
			return e
		}
	}
}

func (m *Memory) pos(offset uint64) tidings.Position {
	return tidings.Position{Epoch: m.epoch, Offset: offset}
}

// Append implements Journal.
func (m *Memory) Append(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	own, err := checkEvents(events, m.opts.MaxPayload)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	start := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errClosed()
	}
	out := make([]tidings.Appended, len(own))
	for i := range own {
		e := own[i]
		if e.Mark != "" {
			m.marks[e.Publisher] = e.Mark
		}
		if k, ok := m.seen[e.Key]; ok && e.Key != "" && start.Sub(k.at) < m.opts.DedupeWindow {
			out[i] = tidings.Appended{Position: m.pos(k.offset), Duplicate: true}
			m.stats.Duplicates++
			continue
		}
		m.last++
		e.Position = m.pos(m.last)
		if e.Key != "" {
			m.seen[e.Key] = memoryKey{m.last, start}
		}
		rec := memoryRecord{event: e, at: start, size: storedSize(&e)}
		m.recs = append(m.recs, rec)
		m.keep.count(e.Topic, rec.size)
		m.stats.Appended++
		m.stats.Bytes += uint64(rec.size)
		out[i] = tidings.Appended{Position: e.Position}
	}
	m.stats.Commits++
	if m.opts.TrimInterval > 0 && start.Sub(m.trimmed) >= m.opts.TrimInterval {
		m.trimLocked(start)
	}
	m.stats.CommitTime += time.Since(start)
	m.notifier.wake()
	return out, nil
}

// from returns the index of the first record behind the offset.
func (m *Memory) from(offset uint64) int {
	return sort.Search(len(m.recs), func(i int) bool { return m.recs[i].event.Position.Offset > offset })
}

// Read implements Journal.
func (m *Memory) Read(_ context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error) {
	return m.read(after, patterns, max, false)
}

// ReadKept is Read without its GapError for events that retention has removed; see JetStream.ReadKept.
func (m *Memory) ReadKept(_ context.Context, after tidings.Position, patterns []tidings.Pattern, max int) ([]tidings.Event, tidings.Position, error) {
	return m.read(after, patterns, max, true)
}

func (m *Memory) read(after tidings.Position, patterns []tidings.Pattern, max int, kept bool) ([]tidings.Event, tidings.Position, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, after, errClosed()
	}
	if err := checkAfter(after, m.pos(m.oldest), m.pos(m.last), patterns, m.lost, kept); err != nil {
		return nil, after, err
	}
	if max <= 0 {
		return nil, after, nil
	}
	var out []tidings.Event
	for _, r := range m.recs[m.from(after.Offset):] {
		if !matches(patterns, r.event.Topic) {
			continue
		}
		if len(out) == max {
			return out, out[max-1].Position, nil
		}
		out = append(out, r.event)
	}
	return out, m.pos(m.last), nil
}

// checkAfter returns the GapError that reading after a position deserves, or nil.
func checkAfter(after, oldest, head tidings.Position, patterns []tidings.Pattern, l *lost, kept bool) error {
	if after.Epoch != head.Epoch || after.Offset > head.Offset {
		return &tidings.GapError{Asked: after, Oldest: oldest}
	}
	if kept {
		return nil
	}
	if f := l.floor(after.Offset, patterns); f > 0 {
		return &tidings.GapError{Asked: after, Oldest: tidings.Position{Epoch: head.Epoch, Offset: f}}
	}
	return nil
}

// Head implements Journal.
func (m *Memory) Head() tidings.Position {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.pos(m.last)
}

// Oldest implements Journal.
func (m *Memory) Oldest() tidings.Position {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.pos(m.oldest)
}

// At implements Journal.
func (m *Memory) At(_ context.Context, t time.Time) (tidings.Position, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return tidings.Position{}, errClosed()
	}
	i := sort.Search(len(m.recs), func(i int) bool { return !m.recs[i].at.Before(t) })
	switch {
	case i == len(m.recs):
		return m.pos(m.last), nil
	case i == 0:
		return m.pos(m.oldest), nil
	}
	return m.recs[i-1].event.Position, nil
}

// Last implements Journal.
func (m *Memory) Last(_ context.Context, topic tidings.Topic) (tidings.Event, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return tidings.Event{}, errClosed()
	}
	for _, r := range slices.Backward(m.recs) {
		if r.event.Topic == topic {
			return r.event, nil
		}
	}
	return tidings.Event{}, errNoEvents(topic)
}

func errNoEvents(topic tidings.Topic) error {
	return tidings.Errorf(tidings.ErrNotFound, "the topic %s has no events", topic)
}

// Topics implements Journal.
func (m *Memory) Topics(_ context.Context, pattern tidings.Pattern) ([]TopicInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, errClosed()
	}
	n := map[tidings.Topic]uint64{}
	for _, r := range m.recs {
		if pattern.Match(r.event.Topic) {
			n[r.event.Topic]++
		}
	}
	return sortTopics(n), nil
}

func sortTopics(n map[tidings.Topic]uint64) []TopicInfo {
	out := make([]TopicInfo, 0, len(n))
	for t, c := range n {
		out = append(out, TopicInfo{Topic: t, Events: c})
	}
	slices.SortFunc(out, func(a, b TopicInfo) int { return strings.Compare(string(a.Topic), string(b.Topic)) })
	return out
}

// Mark implements Journal.
func (m *Memory) Mark(_ context.Context, publisher string) (string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return "", errClosed()
	}
	return m.marks[publisher], nil
}

// Notify implements Journal.
func (m *Memory) Notify(ch chan<- struct{}) (stop func()) { return m.notifier.add(ch) }

// Stats implements Journal.
func (m *Memory) Stats() Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := m.stats
	s.Events = uint64(len(m.recs))
	return s
}

// Trim removes the events that the rules of retention do not keep at the given time, and returns their number.
func (m *Memory) Trim(_ context.Context, now time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, errClosed()
	}
	return m.trimLocked(now), nil
}

func (m *Memory) trimLocked(now time.Time) int {
	m.trimmed = now
	for k, v := range m.seen {
		if now.Sub(v.at) >= m.opts.DedupeWindow {
			delete(m.seen, k)
		}
	}
	p, _ := m.keep.plan(context.Background(), now, func(_ context.Context, _ int, visit func(stored) bool) error {
		for _, r := range m.recs {
			if !visit(stored{r.event.Position.Offset, r.event.Topic, r.at, r.size}) {
				break
			}
		}
		return nil
	})
	if p.events == 0 {
		return 0
	}
	m.recs = slices.DeleteFunc(m.recs, func(r memoryRecord) bool {
		gone := p.goes(r.event.Topic, r.event.Position.Offset)
		if gone {
			m.stats.Bytes -= uint64(r.size)
		}
		return gone
	})
	m.keep.removed(p)
	m.oldest = m.last
	if len(m.recs) > 0 {
		m.oldest = m.recs[0].event.Position.Offset - 1
	}
	m.lost = m.lost.with(&lost{topics: p.topics, cut: m.oldest})
	return p.events
}

// Close implements Journal.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	m.recs = nil
	for _, b := range m.buckets {
		b.close()
	}
	return nil
}
