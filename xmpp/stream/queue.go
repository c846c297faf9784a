package stream

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
)

// Queue holds what was sent over a stream and not acknowledged by the peer (XEP-0198 section 4). What came from a flow, F,
// is kept as a place in it, M, and a number of messages; a stanza of one reader alone is kept as its bytes. One goroutine at a
// time may use it. The zero Queue is that of a stream on which nothing was sent since management was enabled; an empty Queue
// holds no memory worth naming.
type Queue[F comparable, M any] struct {
	runs   []Run[F, M]
	acked  uint32 // mod 2^32, as the peer counts
	unack  uint32
	stored int
}

// Run is a number of stanzas in the order they were sent.
type Run[F comparable, M any] struct {
	Stanza []byte // of one stanza; nil where the run is of a flow
	Flow   F      // the stanzas are of this flow:
	After  M      // those that follow After in it,
	Skip   uint32 // without the first Skip of them, which have been acknowledged
	Count  uint32 // stanzas; 1 beside Stanza
	Apart  bool   // the one stanza gathers what is between After and
	Until  M
}

// Stanza adds a copy of one stanza.
func (q *Queue[F, M]) Stanza(b []byte) {
	q.runs = append(q.runs, Run[F, M]{Stanza: slices.Clone(b), Count: 1})
	q.unack++
	q.stored += len(b)
}

// Continues reports whether the last that was sent was of the flow: then Flow needs no mark.
func (q *Queue[F, M]) Continues(f F) bool {
	n := len(q.runs)
	return n > 0 && q.runs[n-1].Stanza == nil && q.runs[n-1].Flow == f && !q.runs[n-1].Apart
}

// Apart adds one message that gathers what a flow has between two marks. It is a run of its own; a flow's messages are all apart, or
// none is.
func (q *Queue[F, M]) Apart(f F, after, until M) {
	q.runs = append(q.runs, Run[F, M]{Flow: f, After: after, Count: 1, Apart: true, Until: until})
	q.unack++
}

// Flow adds n messages of a flow, which follow after in it. Where the flow's previous messages were the last that was sent,
// they become one run with them, and after is not used.
func (q *Queue[F, M]) Flow(f F, after M, n int) {
	if n <= 0 {
		return
	}
	if q.Continues(f) {
		q.runs[len(q.runs)-1].Count += uint32(n)
	} else {
		q.runs = append(q.runs, Run[F, M]{Flow: f, After: after, Count: uint32(n)})
	}
	q.unack += uint32(n)
}

// Ack takes the peer's count of the stanzas it has handled, and lets go of them. A count beyond what was sent, or smaller
// than one before, is an *Error for the stream: undefined-condition with handled-count-too-high (XEP-0198 section 4).
func (q *Queue[F, M]) Ack(h uint32) error {
	n := h - q.acked // mod 2^32
	if n > q.unack {
		e := NewError("undefined-condition", fmt.Sprintf("%d stanzas were acknowledged, %d were sent", h, q.Sent()))
		e.Space, e.Name = NSSM, "handled-count-too-high"
		e.Attrs = []string{"h", strconv.FormatUint(uint64(h), 10), "send-count", strconv.FormatUint(uint64(q.Sent()), 10)}
		return e
	}
	q.acked, q.unack = h, q.unack-n
	done := 0
	for n > 0 {
		r := &q.runs[done]
		if r.Count > n {
			r.Count -= n
			r.Skip += n
			break
		}
		n -= r.Count
		q.stored -= len(r.Stanza)
		done++
	}
	q.runs = slices.Delete(q.runs, 0, done)
	if len(q.runs) == 0 && cap(q.runs) > 4 {
		q.runs = nil
	}
	return nil
}

// Drop forgets the run that holds the message behind n others of the queue: there is nothing to be sent again of it.
func (q *Queue[F, M]) Drop(n uint32) {
	for i, r := range q.runs {
		if n < r.Count {
			q.unack -= r.Count
			q.stored -= len(r.Stanza)
			q.runs = slices.Delete(q.runs, i, i+1)
			return
		}
		n -= r.Count
	}
}

// Runs yields what is not acknowledged, oldest first. The queue must not be changed meanwhile.
func (q *Queue[F, M]) Runs() iter.Seq[Run[F, M]] { return slices.Values(q.runs) }

// Take returns what is not acknowledged, oldest first, and forgets it: it is to be sent again on the resumed stream, where
// the counts go on from what the peer acknowledged (XEP-0198 section 5).
func (q *Queue[F, M]) Take() []Run[F, M] {
	runs := q.runs
	q.runs, q.unack, q.stored = nil, 0, 0
	return runs
}

// Len returns the number of stanzas that are not acknowledged.
func (q *Queue[F, M]) Len() int { return int(q.unack) }

// Bytes returns the bytes of stanzas that the queue keeps.
func (q *Queue[F, M]) Bytes() int { return q.stored }

// Acked returns the peer's last count.
func (q *Queue[F, M]) Acked() uint32 { return q.acked }

// Sent returns the count of what was sent, mod 2^32: what the peer's count will be when it has handled everything.
func (q *Queue[F, M]) Sent() uint32 { return q.acked + q.unack }
