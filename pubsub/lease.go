package pubsub

import (
	"slices"
	"time"
)

// leases knows the shards in which a subscription ends by itself, and has the one timer for all of them. It is guarded by
// the service's mu.
type leases struct {
	next  map[subRef]int64 // when the first one of the shard ends
	timer *time.Timer
	at    int64 // when the timer fires; 0 if it is not set
}

// leaseRetry is how long a subscription that has ended, and could not be removed, waits for another try.
const leaseRetry = 30 * time.Second

func (l *leases) init() { l.next = map[subRef]int64{} }

func (l *leases) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

func (l *leases) set(ref subRef, subs []sub) {
	var first int64
	for i := range subs {
		if e := subs[i].expires; e != 0 && (first == 0 || e < first) {
			first = e
		}
	}
	if first == 0 {
		delete(l.next, ref)
	} else {
		l.next[ref] = first
	}
}

// schedule sets the timer for the next subscription that ends. The caller holds mu.
func (s *Service) schedule() {
	l := &s.leases
	if s.closed || len(l.next) == 0 {
		return
	}
	var first int64
	for _, at := range l.next {
		if first == 0 || at < first {
			first = at
		}
	}
	s.wake(first)
}

// wake sets the timer for a time if it would fire later. The caller holds mu.
func (s *Service) wake(at int64) {
	l := &s.leases
	if s.closed || l.at != 0 && l.at <= at {
		return
	}
	l.stop()
	l.at = at
	l.timer = time.AfterFunc(max(time.Until(time.Unix(at, 0)), 0), s.expire)
}

// expire removes the subscriptions whose time has come. They have amounted to nothing since.
func (s *Service) expire() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.work.Add(1)
	defer s.work.Done()
	s.leases.at = 0
	now := time.Now().Unix()
	type due struct {
		name string
		life uint64
		num  int
	}
	var shards []due
	for ref, at := range s.leases.next {
		if at <= now {
			shards = append(shards, due{ref.node.name, ref.node.shard(ref.shard).life, ref.shard})
		}
	}
	s.mu.Unlock()
	failed := false
	for _, d := range shards {
		err := s.updateShard(s.ctx, d.name, d.life, d.num, func(recs []record) ([]record, error) {
			return slices.DeleteFunc(recs, func(r record) bool { return r.expires != 0 && r.expires <= now }), nil
		})
		if err != nil && s.ctx.Err() == nil {
			failed = true
			s.opt.Logger.Error("pubsub: removing subscriptions that have ended", "node", d.name, "err", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed {
		s.wake(time.Now().Add(leaseRetry).Unix())
		return
	}
	s.schedule()
}
