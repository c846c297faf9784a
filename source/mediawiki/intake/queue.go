package intake

import (
	"context"
	"slices"
	"sync"
	"time"

	"tidings"
)

// Queue holds what has been received and not yet been appended, in order.
type Queue struct {
	intake   *Intake
	maxBytes int
	wake     chan struct{} // has a buffer of one: there is something new, or the end
	room     chan struct{} // has a buffer of one: something was taken out

	mu      sync.Mutex
	events  []tidings.Event
	bytes   int // of payloads, and a fixed part of each event
	failing bool
	closed  bool
}

// eventBytes is what an event costs beside its payload.
const eventBytes = 512

// NewQueue returns a queue that holds payloads of about maxBytes.
func (in *Intake) NewQueue(maxBytes int) *Queue {
	return &Queue{intake: in, maxBytes: maxBytes, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// Wait returns once the queue is less than half full, for a source that can leave what it has not received where it is;
// or with an error when ctx ends. One goroutine may wait at a time.
func (q *Queue) Wait(ctx context.Context) error {
	for {
		q.mu.Lock()
		full := q.bytes > q.maxBytes/2
		q.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-q.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Put adds an event, or drops and counts it if there is no room.
func (q *Queue) Put(e tidings.Event) {
	size := len(e.Payload) + eventBytes
	q.mu.Lock()
	if q.bytes+size > q.maxBytes {
		reason := QueueFull
		if q.failing {
			reason = JournalUnavailable
		}
		q.mu.Unlock()
		q.intake.Drops.Add(reason, 1, "topic", e.Topic)
		return
	}
	q.bytes += size
	q.events = append(q.events, e)
	q.mu.Unlock()
	q.signal()
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Len returns the number of events that wait.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.events)
}

// Start appends what is put into the queue until finish is called, which returns once all of it is stored; after
// ShutdownTime it gives up on what the journal does not take. That ctx ends stops nothing: what has been received is
// to be stored.
func (q *Queue) Start(ctx context.Context) (finish func()) {
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	var appending sync.WaitGroup
	appending.Go(func() { q.run(work) })
	return func() {
		q.close()
		limit := time.AfterFunc(ShutdownTime, giveUp)
		appending.Wait()
		limit.Stop()
		giveUp()
	}
}

// run hands over batches until the queue is closed and empty. While the journal fails it tries the same batch again, and
// the queue fills up; once ctx has ended what fails is dropped.
func (q *Queue) run(ctx context.Context) {
	for {
		batch := q.peek(Batch)
		if len(batch) == 0 {
			return
		}
		marked := false
		for i := range slices.Backward(batch) {
			if marked {
				batch[i].Mark = "" // the last one's holds for all
			}
			marked = marked || batch[i].Mark != ""
		}
		q.intake.Store(ctx, batch, q.setFailing)
		q.done(batch)
	}
}

// close ends the queue: what it holds can still be taken.
func (q *Queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// peek waits for events and returns the first of them, at most max, which stay in the queue until done. It returns none
// when the queue is closed and empty.
func (q *Queue) peek(max int) []tidings.Event {
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
func (q *Queue) done(batch []tidings.Event) {
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
	select {
	case q.room <- struct{}{}:
	default:
	}
}

func (q *Queue) setFailing(failing bool) {
	q.mu.Lock()
	q.failing = failing
	q.mu.Unlock()
}
