package mediawiki

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"tidings"
	"tidings/recentchange"
)

// queue holds what has been received and not yet been appended, in order.
type queue struct {
	maxBytes int
	wake     chan struct{} // has a buffer of one: there is something new, or the end

	mu      sync.Mutex
	events  []tidings.Event
	bytes   int // of payloads, and a fixed part of each event
	failing bool
	closed  bool
}

// eventBytes is what an event costs beside its payload.
const eventBytes = 512

// put adds an event, or returns false if there is no room and whether the journal is why.
func (q *queue) put(e tidings.Event) (ok, failing bool) {
	size := len(e.Payload) + eventBytes
	q.mu.Lock()
	if q.bytes+size > q.maxBytes {
		failing = q.failing
		q.mu.Unlock()
		return false, failing
	}
	q.bytes += size
	q.events = append(q.events, e)
	q.mu.Unlock()
	q.signal()
	return true, false
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close ends the queue: what it holds can still be taken.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.events)
}

// peek waits for events and returns the first of them, at most max, which stay in the queue until done. It returns none
// when the queue is closed and empty.
func (q *queue) peek(max int) []tidings.Event {
	for {
		q.mu.Lock()
		if n := min(max, len(q.events)); n > 0 {
			batch := slices.Clone(q.events[:n])
			q.mu.Unlock()
			return batch
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil
		}
		<-q.wake
	}
}

// done removes the first events.
func (q *queue) done(batch []tidings.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range batch {
		q.bytes -= len(batch[i].Payload) + eventBytes
	}
	clear(q.events[:len(batch)])
	q.events = q.events[len(batch):]
	if len(q.events) == 0 {
		q.events = nil // lets go of an array that a burst has made large
	}
}

func (q *queue) setFailing(failing bool) {
	q.mu.Lock()
	q.failing = failing
	q.mu.Unlock()
}

// appendAll hands over batches until the queue is closed and empty. While the journal fails it tries the same batch
// again, and the queue fills up; once ctx has ended what fails is dropped.
func (u *UDP) appendAll(ctx context.Context) {
	for {
		batch := u.queue.peek(appendBatch)
		if len(batch) == 0 {
			return
		}
		u.appendBatch(ctx, batch)
		u.queue.done(batch)
	}
}

// appendBatch appends the batch, or counts why not.
func (u *UDP) appendBatch(ctx context.Context, batch []tidings.Event) {
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		results, err := u.config.Append(ctx, batch...)
		if err == nil {
			u.queue.setFailing(false)
			for _, r := range results {
				if r.Duplicate {
					u.duplicates.Add(1)
				} else {
					u.appended.Add(1)
				}
			}
			return
		}
		if errors.Is(err, tidings.ErrInvalid) || errors.Is(err, tidings.ErrTooLarge) || errors.Is(err, tidings.ErrForbidden) {
			u.refused(ctx, batch, err)
			return
		}
		u.queue.setFailing(true)
		u.config.Log.Warn("appending has failed", "source", Publisher, "events", len(batch), "again in", backoff, "error", err)
		select {
		case <-ctx.Done():
			u.drops.Add(JournalUnavailable, uint64(len(batch)), "error", err)
			return
		case <-time.After(backoff):
		}
	}
}

// refused deals with a batch that the journal will never take: each event is tried alone, so that one of them does not
// cost the others.
func (u *UDP) refused(ctx context.Context, batch []tidings.Event, err error) {
	if len(batch) > 1 {
		for i := range batch {
			u.appendBatch(ctx, batch[i:i+1])
		}
		return
	}
	reason := JournalRefused
	if errors.Is(err, tidings.ErrTooLarge) {
		reason = string(recentchange.TooLarge)
	}
	u.drops.Add(reason, 1, "topic", batch[0].Topic, "error", err)
}
