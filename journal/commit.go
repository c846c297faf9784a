package journal

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"tidings"
)

// maxCommit is the number of events after which a commit takes in no further call.
const maxCommit = 500

// call is one request to the committer.
type call struct {
	events []tidings.Event
	msgs   []*nats.Msg
	marks  []*nats.Msg // beside msgs: the mark's message of each event that has one, or nil
	acks   []ack       // of msgs, set before done
	done   chan error
}

// Append implements Journal.
//
// If the store fails half way (a full disk, a lost connection), some events of the call may be stored all the same;
// the error says so. By URL, a call of more than 500 events is not atomic for a reader either.
func (j *JetStream) Append(ctx context.Context, events ...tidings.Event) ([]tidings.Appended, error) {
	own, err := checkEvents(events, j.opts.MaxPayload)
	if err != nil {
		return nil, err
	}
	if j.isClosed() {
		return nil, errClosed()
	}
	if len(own) == 0 {
		return nil, ctx.Err()
	}
	c := &call{events: own, msgs: make([]*nats.Msg, len(own)), done: make(chan error, 1)}
	for i := range own {
		e := &own[i]
		c.msgs[i] = j.subj.encode(e)
		if e.Mark != "" {
			if c.marks == nil {
				c.marks = make([]*nats.Msg, len(own))
			}
			c.marks[i] = &nats.Msg{Subject: j.subj.mark(e.Publisher), Data: []byte(e.Mark)}
		}
	}
	if err := j.commitCall(ctx, c); err != nil {
		return nil, err
	}
	out := make([]tidings.Appended, len(own))
	for i, a := range c.acks {
		out[i] = tidings.Appended{Position: j.pos(a.seq), Duplicate: a.dup}
	}
	return out, nil
}

// commitCall queues the call and waits for its commit. A call that is still queued when ctx ends is withdrawn; one
// that is under way is waited for, so that its outcome is known.
func (j *JetStream) commitCall(ctx context.Context, c *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.queueMu.Lock()
	if j.closed {
		j.queueMu.Unlock()
		return errClosed()
	}
	j.queue = append(j.queue, c)
	j.queueMu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
	}
	j.queueMu.Lock()
	i := slices.Index(j.queue, c)
	if i >= 0 {
		j.queue = slices.Delete(j.queue, i, i+1)
	}
	j.queueMu.Unlock()
	if i >= 0 {
		return ctx.Err()
	}
	return <-c.done
}

// batch is the calls that are published together.
type batch struct {
	calls []*call
	msgs  []*nats.Msg
	index []int // of each event's message in msgs
	acks  []ack
	bytes int64 // of the messages' records
	err   error
	start time.Time
}

// run is the first half of the committer: it publishes. While settle syncs one batch, it publishes the next.
func (j *JetStream) run() {
	defer close(j.toSettle)
	for {
		for {
			calls := j.take()
			if len(calls) == 0 {
				break
			}
			j.toSettle <- j.publishBatch(calls)
		}
		select {
		case <-j.wake:
		case <-j.closing:
			if calls := j.take(); len(calls) > 0 {
				j.toSettle <- j.publishBatch(calls)
				continue
			}
			return
		}
	}
}

// settle is the second half: it syncs what has been published, makes it visible and lets the callers go.
func (j *JetStream) settle() {
	for b := range j.toSettle {
		batches := []*batch{b}
	more:
		for {
			select {
			case b, ok := <-j.toSettle:
				if !ok {
					break more
				}
				batches = append(batches, b)
			default:
				break more
			}
		}
		j.settleBatches(batches)
	}
}

func (j *JetStream) publishBatch(calls []*call) *batch {
	b := &batch{calls: calls, start: time.Now()}
	if broken := j.broken.Load(); broken != nil {
		b.err = *broken
		return b
	}
	b.layOut()
	if j.fsync {
		b.bytes = recordsBytes(b.msgs, nil)
		j.published.Add(b.bytes)
	}
	b.acks, b.err = j.publish(b.msgs)
	return b
}

// recordsBytes returns the length of the messages' records, of those that are new if acks are given.
func recordsBytes(msgs []*nats.Msg, acks []ack) (n int64) {
	for i, m := range msgs {
		if acks == nil || !acks[i].dup {
			n += recordBytes(m)
		}
	}
	return n
}

func (j *JetStream) settleBatches(batches []*batch) {
	if j.fsync {
		var fresh int64
		for _, b := range batches {
			j.settled += b.bytes
			if b.err == nil {
				fresh += recordsBytes(b.msgs, b.acks)
			}
		}
		err := j.blocks.commit(fresh, func() int64 { return j.published.Load() - j.settled })
		if err != nil && j.broken.Load() == nil {
			err = tidings.Errorf(tidings.ErrUnavailable,
				"the journal cannot be sure of its disk any more and takes no events until it is started again: %w", err)
			j.log.Error("journal: syncing failed", "error", err)
			j.broken.Store(&err)
		}
	}
	for _, b := range batches {
		if broken := j.broken.Load(); broken != nil {
			b.err = *broken
		}
		if b.err != nil {
			j.unsure = true
			continue
		}
		n := 0
		for _, c := range b.calls {
			c.acks = make([]ack, len(c.msgs))
			for i := range c.msgs {
				c.acks[i] = b.acks[b.index[n]]
				n++
			}
		}
		j.publishHead(b.calls, b.acks)
	}
	j.commits.Add(1)
	j.commitTime.Add(int64(time.Since(batches[0].start)))
	for _, b := range batches {
		for _, c := range b.calls {
			c.done <- b.err
		}
	}
}

// take returns the calls of the next commit. A call for the journal's own messages goes alone, because JetStream may
// refuse it.
func (j *JetStream) take() []*call {
	j.queueMu.Lock()
	defer j.queueMu.Unlock()
	n, events := 0, 0
	for n < len(j.queue) {
		c := j.queue[n]
		if n > 0 && (c.events == nil || j.queue[n-1].events == nil || events+len(c.msgs) > maxCommit) {
			break
		}
		events += len(c.msgs)
		n++
	}
	calls := slices.Clone(j.queue[:n])
	j.queue = slices.Delete(j.queue, 0, n)
	return calls
}

// layOut sets the messages of the batch in order, each publisher's mark directly behind its last event that has one.
func (b *batch) layOut() {
	lastMark := map[string]*nats.Msg{}
	for _, c := range b.calls {
		for _, m := range c.marks {
			if m != nil {
				lastMark[m.Subject] = m
			}
		}
	}
	for _, c := range b.calls {
		for i, m := range c.msgs {
			b.index = append(b.index, len(b.msgs))
			b.msgs = append(b.msgs, m)
			if c.marks != nil && c.marks[i] != nil && lastMark[c.marks[i].Subject] == c.marks[i] {
				b.msgs = append(b.msgs, c.marks[i])
			}
		}
	}
}

// publish stores the messages. By URL, repeats of a key among them are left out, since they would make JetStream
// refuse the whole batch.
func (j *JetStream) publish(msgs []*nats.Msg) ([]ack, error) {
	if len(msgs) == 0 {
		return nil, nil
	}
	if j.srv != nil {
		return j.pub.pipelined(msgs)
	}
	var send []*nats.Msg
	place := make([]int, len(msgs)) // of each message in send
	dup := make([]bool, len(msgs))
	seen := map[string]int{}
	for i, m := range msgs {
		if key := m.Header[hdrKey]; len(key) > 0 {
			if at, ok := seen[key[0]]; ok {
				place[i], dup[i] = at, true
				continue
			}
			seen[key[0]] = len(send)
		}
		place[i] = len(send)
		send = append(send, m)
	}
	got, err := j.pub.atomic(send)
	if err != nil {
		return nil, err
	}
	acks := make([]ack, len(msgs))
	for i := range msgs {
		acks[i] = got[place[i]]
		acks[i].dup = acks[i].dup || dup[i]
	}
	return acks, nil
}

// publishHead lets readers see what a commit has made durable.
func (j *JetStream) publishHead(calls []*call, acks []ack) {
	var last uint64 // message
	for _, a := range acks {
		if !a.dup || j.unsure { // a repeat may be of an event that a failed commit has left
			last = max(last, a.seq)
		}
	}
	var evs []tidings.Event
	for _, c := range calls {
		for i := range c.events {
			if a := c.acks[i]; a.dup {
				j.duplicates.Add(1)
			} else {
				e := c.events[i]
				e.Position = j.pos(a.seq)
				evs = append(evs, e)
			}
		}
	}
	j.appended.Add(uint64(len(evs)))
	if j.srv == nil {
		j.waitFollowed(last)
		return
	}
	if last <= j.head.Load() {
		return
	}
	if j.unsure {
		// A failed commit may have left events in the store, which are durable by now: the store is the truth.
		ctx, cancel := context.WithTimeout(context.Background(), j.opts.Timeout)
		all, err := j.fetchAll(ctx, j.head.Load(), last)
		cancel()
		if err != nil {
			j.log.Error("journal: reading back after a failure; readers go to the store", "error", err)
			j.tail.reset(last)
			j.head.Store(max(last, j.head.Load()))
			j.notifier.wake()
			return
		}
		evs, j.unsure = all, false
	}
	slices.SortFunc(evs, func(a, b tidings.Event) int {
		if a.Position.Offset < b.Position.Offset {
			return -1
		}
		return 1
	})
	for i := range evs {
		j.keep.count(evs[i].Topic, storedSize(&evs[i]))
	}
	j.tail.push(evs, last)
	if len(evs) > 0 {
		j.head.Store(evs[len(evs)-1].Position.Offset)
		j.notifier.wake()
	}
}
