package web

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"tidings"
	"tidings/hub"
)

// Events are counted in buckets of some seconds, for the last minutes and for each topic that has flowed in them.
const (
	bucketSeconds = 5
	buckets       = 60
	rateOver      = time.Minute // what the rates are averaged over
	maxCounted    = 50_000      // topics, some 300 bytes each
)

// rates counts the events of each topic. It is a subscription of the system to every topic, in a wire form that has no
// bytes: the hub asks it to encode each event once, and it counts that.
type rates struct {
	now   func() time.Time
	since time.Time
	sub   *hub.Subscription

	mu      sync.Mutex
	topics  map[tidings.Topic]*ring
	full    bool      // topics are not counted because there are too many
	cleared int64     // bucket in which room was last made
	taken   []counted // the snapshot; it is replaced, never changed
	takenAt time.Time
}

// ring has the counts of the buckets up to last.
type ring struct {
	last   int64
	counts [buckets]uint32
}

func countRates(h *hub.Hub) (*rates, error) {
	r := newRates(time.Now)
	var err error
	r.sub, err = h.Subscribe(hub.Request{
		After: h.Head(), Query: hub.Query{Patterns: []tidings.Pattern{tidings.MustPattern("/**")}},
		Actor: tidings.Actor{Kind: tidings.System, Name: "web"}, Form: r, NewWaker: func() hub.Waker { return nobody{} },
	})
	return r, err
}

func newRates(now func() time.Time) *rates {
	return &rates{now: now, since: now(), topics: map[tidings.Topic]*ring{}}
}

// nobody waits for the bytes that there are not.
type nobody struct{}

func (nobody) Wake() {}

// Close ends the counting.
func (r *rates) Close() { r.sub.Close() }

// Key implements hub.Form.
func (r *rates) Key() string { return "web-rates" }

// Append implements hub.Form: it counts the event.
func (r *rates) Append(dst []byte, it *hub.Item) []byte {
	r.count(it.Topic)
	return dst
}

// AppendGap implements hub.Form.
func (r *rates) AppendGap(dst []byte, _ *tidings.GapError) []byte { return dst }

// AppendEnd implements hub.Form.
func (r *rates) AppendEnd(dst []byte, _ error) []byte { return dst }

// AppendGoodbye implements hub.Form.
func (r *rates) AppendGoodbye(dst []byte) []byte { return dst }

func bucketOf(t time.Time) int64 { return t.Unix() / bucketSeconds }

func (r *rates) count(t tidings.Topic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := bucketOf(r.now())
	c := r.topics[t]
	if c == nil {
		if len(r.topics) >= maxCounted && !r.makeRoom(b) {
			r.full = true
			return
		}
		c = &ring{last: b}
		r.topics[t] = c
	}
	c.advance(b)
	c.counts[b%buckets]++
}

// makeRoom forgets the topics that have been silent for the whole time, at most once in a bucket.
func (r *rates) makeRoom(b int64) bool {
	if r.cleared == b {
		return false
	}
	r.cleared = b
	r.full = false
	for t, c := range r.topics {
		if c.last <= b-buckets {
			delete(r.topics, t)
		}
	}
	return len(r.topics) < maxCounted
}

// advance empties the buckets that have begun since the last.
func (c *ring) advance(b int64) {
	if b-c.last >= buckets {
		c.counts = [buckets]uint32{}
	}
	for i := max(c.last+1, b-buckets+1); i <= b; i++ {
		c.counts[i%buckets] = 0
	}
	c.last = max(c.last, b)
}

// figures are what the page shows of what flows, and what StatePath answers.
type figures struct {
	Head    tidings.Position `json:"head"`
	Seconds int              `json:"seconds"` // of a bucket
	End     int64            `json:"end"`     // number of the last bucket since 1970; it has not ended
	Counts  []uint32         `json:"counts"`  // events in each bucket, the last one last
	Rate    float64          `json:"rate"`    // events a second over the last minute
	Topics  []topicFigures   `json:"topics"`  // the busiest
	Matched int              `json:"matched"` // topics, those not in Topics included
	Partial bool             `json:"partial"` // too many topics flow for all of them to be counted
}

type topicFigures struct {
	Topic  tidings.Topic `json:"topic"`
	Events uint64        `json:"events"` // kept
	Rate   float64       `json:"rate"`
	Counts []uint32      `json:"counts"` // two buckets each
}

// counted is a topic's counts at one moment, the last bucket last.
type counted struct {
	topic  tidings.Topic
	counts [buckets]uint32
}

// snapshot returns the counts of all topics, at most stateAge old, and when they were taken. The hub waits for the lock,
// so it is held for one copy a second, however many ask for however many sets of topics.
func (r *rates) snapshot() (all []counted, at time.Time, partial bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.takenAt) >= stateAge {
		b := bucketOf(now)
		r.taken, r.takenAt = make([]counted, 0, len(r.topics)), now
		for t, c := range r.topics {
			if c.last <= b-buckets {
				continue
			}
			c.advance(b)
			one := counted{topic: t}
			n := copy(one.counts[:], c.counts[(b+1)%buckets:])
			copy(one.counts[n:], c.counts[:])
			r.taken = append(r.taken, one)
		}
	}
	return r.taken, r.takenAt, r.full
}

// figures returns what the topics that are wanted have counted, the busiest ones first.
func (r *rates) figures(wanted func(tidings.Topic) bool) figures {
	all, now, partial := r.snapshot()
	b := bucketOf(now)

	// The minute ends now and begins with a bucket, unless the counting began later.
	const whole = int64(rateOver / time.Second / bucketSeconds)
	from := time.Unix((b-whole)*bucketSeconds, 0)
	if r.since.After(from) {
		from = r.since
	}
	seconds := max(now.Sub(from).Seconds(), bucketSeconds)
	f := figures{Seconds: bucketSeconds, End: b, Counts: make([]uint32, buckets), Topics: []topicFigures{}, Partial: partial}
	for i := range all {
		one := &all[i]
		if !wanted(one.topic) {
			continue
		}
		f.Matched++
		t := topicFigures{Topic: one.topic, Counts: make([]uint32, buckets/2)}
		for i, n := range one.counts {
			f.Counts[i] += n
			t.Counts[i/2] += n
			if i >= buckets-1-int(whole) {
				t.Rate += float64(n) / seconds
			}
		}
		f.Rate += t.Rate
		f.Topics = append(f.Topics, t)
	}
	slices.SortFunc(f.Topics, func(a, b topicFigures) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), strings.Compare(string(a.Topic), string(b.Topic)))
	})
	f.Topics = f.Topics[:min(len(f.Topics), pageTopics)]
	return f
}

// addKept adds how many events are kept of each topic, and the topics that have not flowed while there is room.
func (f *figures) addKept(all []Topic, wanted func(tidings.Topic) bool) {
	at := map[tidings.Topic]int{}
	for i, t := range f.Topics {
		at[t.Topic] = i
	}
	flowing, matched := f.Matched, 0
	for _, t := range all {
		if i, ok := at[t.Topic]; ok {
			f.Topics[i].Events = t.Events
		}
		if !wanted(t.Topic) {
			continue
		}
		matched++
		if _, ok := at[t.Topic]; !ok && flowing < pageTopics && len(f.Topics) < pageTopics {
			f.Topics = append(f.Topics, topicFigures{Topic: t.Topic, Events: t.Events, Counts: make([]uint32, buckets/2)})
		}
	}
	f.Matched = max(flowing, matched)
}
