package journal

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"tidings"
)

// maxLostBytes bounds the stored form of a lost.
const maxLostBytes = 256 << 10

// lost is what retention has removed: for each topic the offset of the last event it lost. It is what tells a gap from
// a quiet topic. A lost is not changed once it is in use; with makes another.
type lost struct {
	topics map[tidings.Topic]uint64
	cut    uint64 // nothing is kept up to here, and what was there is in topics or rest
	rest   uint64 // of topics not listed, events up to here may be lost
	head   uint64 // the last event when this was put down
	max    uint64 // the highest offset that may be lost
}

// floor returns the offset of the last lost event behind after that one of the patterns matches, or 0.
func (l *lost) floor(after uint64, patterns []tidings.Pattern) uint64 {
	if after >= l.max {
		return 0
	}
	if len(patterns) == 0 {
		return l.max
	}
	var f uint64
	if l.rest > after {
		f = l.rest
	}
	if len(patterns) == 1 {
		if t, ok := patterns[0].Topic(); ok {
			if seq := l.topics[t]; seq > after {
				f = max(f, seq)
			}
			return f
		}
	}
	for t, seq := range l.topics {
		if seq > after && seq > f && matches(patterns, t) {
			f = seq
		}
	}
	return f
}

// with returns l with what more says added.
func (l *lost) with(more *lost) *lost {
	n := &lost{topics: maps.Clone(l.topics), cut: max(l.cut, more.cut), rest: max(l.rest, more.rest), head: max(l.head, more.head)}
	if n.topics == nil {
		n.topics = map[tidings.Topic]uint64{}
	}
	for t, seq := range more.topics {
		n.topics[t] = max(n.topics[t], seq)
	}
	n.shrink(maxLostBytes)
	n.max = n.rest
	for _, seq := range n.topics {
		n.max = max(n.max, seq)
	}
	return n
}

func lostLineBytes(t tidings.Topic) int { return len(t) + 22 }

// shrink moves the topics with the lowest offsets into the rest until the stored form has at most limit bytes.
func (l *lost) shrink(limit int) {
	size := 64
	for t := range l.topics {
		size += lostLineBytes(t)
	}
	if size <= limit {
		return
	}
	for _, t := range l.sorted() {
		if size <= limit {
			return
		}
		l.rest = max(l.rest, l.topics[t])
		delete(l.topics, t)
		size -= lostLineBytes(t)
	}
}

// sorted returns the topics by offset, the lowest first.
func (l *lost) sorted() []tidings.Topic {
	return slices.SortedFunc(maps.Keys(l.topics), func(a, b tidings.Topic) int {
		return cmp.Or(cmp.Compare(l.topics[a], l.topics[b]), cmp.Compare(a, b))
	})
}

// encode returns the stored form.
func (l *lost) encode() []byte {
	b := fmt.Appendf(nil, "cut %d\nrest %d\nhead %d\n", l.cut, l.rest, l.head)
	for _, t := range l.sorted() {
		b = strconv.AppendUint(b, l.topics[t], 10)
		b = append(b, ' ')
		b = append(b, t...)
		b = append(b, '\n')
	}
	return b
}

// parseLost parses the stored form.
func parseLost(b []byte) (*lost, error) {
	l := &lost{topics: map[tidings.Topic]uint64{}}
	for line := range bytes.Lines(b) {
		line, ok := bytes.CutSuffix(line, []byte("\n"))
		first, second, ok2 := bytes.Cut(line, []byte(" "))
		if !ok || !ok2 {
			return nil, fmt.Errorf("journal: malformed line %.40q in a table of lost events", line)
		}
		num, dst := second, &l.cut
		switch string(first) {
		case "cut":
		case "rest":
			dst = &l.rest
		case "head":
			dst = &l.head
		default:
			num, dst = first, nil
		}
		n, err := strconv.ParseUint(string(num), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("journal: malformed line %.40q in a table of lost events", line)
		}
		if dst != nil {
			*dst = n
			continue
		}
		t, err := tidings.ParseTopic(string(second))
		if err != nil {
			return nil, fmt.Errorf("journal: table of lost events: %w", err)
		}
		l.topics[t] = n
	}
	return (&lost{}).with(l), nil
}
