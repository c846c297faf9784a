//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tidings/bench/internal/measure"
)

// A loop publishes the events of one run and knows which are in flight.
type loop struct {
	o        *options
	sink     *sink
	filler   []byte        // what follows the mark in each event
	perTopic []int32       // subscribers
	tokens   chan struct{} // closed loop: one for each event that may yet be in flight
	open     atomic.Int64  // events with something still due
	allDone  chan struct{} // closed when open is 0
	giveUp   chan struct{} // closed when the run ends
	next     atomic.Int64  // the next event's number
	acks     atomic.Int64
	failures atomic.Int64
}

// maxFailures ends a worker: the server is not going to recover.
const maxFailures = 100

func newLoop(o *options, s *sink) *loop {
	l := &loop{o: o, sink: s, filler: bytes.Repeat([]byte("x"), o.size-markBytes), perTopic: make([]int32, o.topics),
		allDone: make(chan struct{}), giveUp: make(chan struct{})}
	for _, sub := range s.subs {
		if sub.topic >= 0 {
			l.perTopic[sub.topic]++
		}
	}
	for i := range s.due {
		s.due[i].Store(l.perTopic[i%o.topics] + 1) // and the acknowledgement
	}
	l.open.Store(int64(o.events))
	if o.rate == 0 {
		l.tokens = make(chan struct{}, o.window)
		for range o.window {
			l.tokens <- struct{}{}
		}
	}
	s.since = time.Now().UnixNano()
	s.complete = func() {
		if l.tokens != nil {
			l.tokens <- struct{}{}
		}
		if l.open.Add(-1) == 0 {
			close(l.allDone)
		}
	}
	return l
}

// run publishes all events and returns when all have arrived, or when nothing has for the time of -patience. The
// histogram is of the time from publish to acknowledgement.
func (l *loop) run(begin time.Time, pubs []publisher) *histogram {
	l.sink.last.Store(begin.UnixNano())
	acks := make([]histogram, len(pubs))
	var wg sync.WaitGroup
	for i, p := range pubs {
		wg.Go(func() { l.publish(begin, p, &acks[i]) })
	}
	l.wait(begin)
	close(l.giveUp)
	wg.Wait()
	for i := range acks[1:] {
		acks[0].merge(&acks[i+1])
	}
	return &acks[0]
}

func (l *loop) wait(begin time.Time) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	seen, since := int64(-1), begin
	for {
		select {
		case <-l.allDone:
			return
		case now := <-tick.C:
			if n := l.sink.delivered.Load() + l.acks.Load(); n != seen {
				seen, since = n, now
			} else if now.Sub(since) > l.o.patience {
				return
			}
		}
	}
}

// publish is one worker: it takes the next event until there is none.
func (l *loop) publish(begin time.Time, p publisher, acks *histogram) {
	text := make([]byte, 0, l.o.size+1)
	for {
		if l.tokens != nil {
			select {
			case <-l.tokens:
			case <-l.giveUp:
				return
			}
		}
		seq := int(l.next.Add(1)) - 1
		if seq >= l.o.events {
			return
		}
		at := time.Now()
		if l.o.rate > 0 {
			at = begin.Add(time.Duration(float64(seq) / l.o.rate * float64(time.Second)))
			if !l.sleepUntil(at) {
				return
			}
		}
		text = append(appendMark(text[:0], at.UnixNano(), seq), l.filler...)
		if err := p.publish(seq%l.o.topics, seq, text); err != nil {
			n := l.failures.Add(1)
			if n == 1 {
				fmt.Fprintf(os.Stderr, "loadgen: event %d: %v\n", seq, err)
			}
			if n > maxFailures {
				return
			}
			continue // its acknowledgement stays due, so the run ends by -patience
		}
		acks.add(time.Since(at))
		l.acks.Add(1)
		l.sink.settle(seq)
	}
}

// sleepUntil returns false when the run has ended before at. It does not use a Go timer, whose grain of a millisecond
// would show in the latencies of an open loop.
func (l *loop) sleepUntil(at time.Time) bool {
	for {
		wait := time.Until(at)
		if wait <= 0 {
			return true
		}
		select {
		case <-l.giveUp:
			return false
		default:
		}
		ts := unix.NsecToTimespec(int64(min(wait, 20*time.Millisecond)))
		// A signal cuts the sleep short, and the loop resumes it.
		if err := unix.Nanosleep(&ts, nil); err != nil && err != unix.EINTR {
			return false
		}
	}
}

// account fills in what was counted. A delivery is missing when its event says so or its subscriber does, and the same
// for one too many: one view alone could balance a loss against a repeat.
func (l *loop) account(r *measure.Result, begin time.Time, acks *histogram, server, own time.Duration) {
	s := l.sink
	r.Events, r.PubErrors, r.Closed = int(l.acks.Load()), l.failures.Load(), s.closed
	perTopic := make([]int64, l.o.topics) // events
	for seq := range s.due {
		perTopic[seq%l.o.topics]++
		r.Expected += int64(l.perTopic[seq%l.o.topics])
	}
	var missing, repeated [2]int64
	for seq := range s.due {
		due := int64(s.due[seq].Load())
		missing[0], repeated[0] = missing[0]+max(0, due), repeated[0]+max(0, -due)
	}
	missing[0] -= int64(l.o.events) - l.acks.Load() // an acknowledgement is no delivery
	for _, sub := range s.subs {
		if sub.topic >= 0 {
			d := perTopic[sub.topic] - sub.received
			missing[1], repeated[1] = missing[1]+max(0, d), repeated[1]+max(0, -d)
		}
	}
	r.Delivered = r.Expected - max(missing[0], missing[1])
	r.Repeated = max(repeated[0], repeated[1]) + s.stray

	r.Seconds = time.Unix(0, s.last.Load()).Sub(begin).Seconds()
	if r.Seconds > 0 {
		r.PerSecond, r.AckPerS = float64(r.Delivered)/r.Seconds, float64(r.Events)/r.Seconds
		r.CPUShare, r.GenShare = server.Seconds()/r.Seconds, own.Seconds()/r.Seconds
	}
	if r.Delivered > 0 {
		r.CPUDelivery = micros(server) / float64(r.Delivered)
		r.WireBytes = int(float64(s.bytes)/float64(r.Delivered) + 0.5)
	}
	if r.Events > 0 {
		r.CPUEvent = micros(server) / float64(r.Events)
	}
	lat := &s.lat
	if l.o.conns == 0 {
		lat = acks
	}
	r.P50, r.P99, r.Max = micros(lat.quantile(0.5))/1e3, micros(lat.quantile(0.99))/1e3, micros(lat.quantile(1))/1e3
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// ownCPU returns the time this process has used.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
