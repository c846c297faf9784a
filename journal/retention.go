package journal

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"tidings"
)

// retention applies the rules. It decides which events go; removing them is the journal's part.
type retention struct {
	rules []rule // the longest prefix first

	mu   sync.Mutex
	used []int64 // bytes kept under each rule
}

type rule struct {
	Retention
	nested bool // another rule has a prefix below this one
}

// stored is what the rules look at of an event.
type stored struct {
	offset uint64
	topic  tidings.Topic
	at     time.Time // when it was appended
	size   int64
}

// removal is what one look at the rules has found.
type removal struct {
	cuts   []uint64                 // for each rule, the highest offset that goes, or 0
	topics map[tidings.Topic]uint64 // for each topic, likewise
	events int
	size   []int64 // for each rule, what goes
}

func newRetention(rules []Retention) *retention {
	r := &retention{used: make([]int64, len(rules))}
	for _, x := range rules {
		r.rules = append(r.rules, rule{Retention: x})
	}
	slices.SortFunc(r.rules, func(a, b rule) int { return cmp.Compare(len(b.Prefix), len(a.Prefix)) })
	for i := range r.rules {
		for _, other := range r.rules[:i] {
			if covers(r.rules[i].Prefix, other.Prefix) {
				r.rules[i].nested = true
			}
		}
	}
	return r
}

// covers reports whether the topic is the prefix or below it.
func covers(prefix, t tidings.Topic) bool {
	return prefix == "" || t == prefix || strings.HasPrefix(string(t), string(prefix)) && t[len(prefix)] == '/'
}

// ruleOf returns the index of the rule that holds for the topic, or -1.
func (r *retention) ruleOf(t tidings.Topic) int {
	for i := range r.rules {
		if covers(r.rules[i].Prefix, t) {
			return i
		}
	}
	return -1
}

// byBytes reports whether a rule counts bytes.
func (r *retention) byBytes() bool {
	return slices.ContainsFunc(r.rules, func(x rule) bool { return x.Bytes > 0 })
}

// sole reports whether there is one rule and it is for every topic, so that the log is cut at one place.
func (r *retention) sole() bool { return len(r.rules) == 1 && r.rules[0].Prefix == "" }

// count adds n bytes to the rule of the topic.
func (r *retention) count(t tidings.Topic, n int64) {
	if i := r.ruleOf(t); i >= 0 {
		r.mu.Lock()
		r.used[i] += n
		r.mu.Unlock()
	}
}

// plan looks for events that have to go. scan has to call visit for the events below the rule's prefix, oldest first, until visit
// returns false; it may begin behind what the rule has removed before.
func (r *retention) plan(ctx context.Context, now time.Time, scan func(ctx context.Context, rule int, visit func(stored) bool) error) (*removal, error) {
	out := &removal{cuts: make([]uint64, len(r.rules)), topics: map[tidings.Topic]uint64{}, size: make([]int64, len(r.rules))}
	for i, x := range r.rules {
		if x.Age == 0 && x.Bytes == 0 {
			continue
		}
		r.mu.Lock()
		over := r.used[i] - x.Bytes
		r.mu.Unlock()
		err := scan(ctx, i, func(s stored) bool {
			if r.ruleOf(s.topic) != i {
				return true
			}
			tooOld := x.Age > 0 && s.at.Before(now.Add(-x.Age))
			tooMany := x.Bytes > 0 && over-out.size[i] > 0
			if !tooOld && !tooMany {
				return false
			}
			out.cuts[i] = s.offset
			out.topics[s.topic] = max(out.topics[s.topic], s.offset)
			out.size[i] += s.size
			out.events++
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// removed takes what a plan has removed off the bytes used.
func (r *retention) removed(p *removal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, n := range p.size {
		r.used[i] = max(0, r.used[i]-n)
	}
}

// goes reports whether the plan removes the event.
func (p *removal) goes(topic tidings.Topic, offset uint64) bool {
	seq, ok := p.topics[topic]
	return ok && offset <= seq
}
