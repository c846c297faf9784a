package pubsub

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// sweepers is how many shards are swept at a time: their changes share the store's syncs.
const sweepers = 16

// Sweep ends those subscriptions of full JIDs, made through the server's own service, for which gone says so: those of
// sessions that a crash has ended before they could end them. It returns how many it has ended. gone is called with the
// bare JID and the resource, with no lock held. Errors are the store's; what could not be ended is left for another time.
func (s *Service) Sweep(ctx context.Context, gone func(bare, resource string) bool) (int, error) {
	type place struct {
		name string
		life uint64
		num  int
	}
	type found struct {
		place
		subs []sub
	}
	var all []found
	s.mu.RLock()
	for _, n := range s.nodes {
		for i := range n.shards {
			sh := &n.shards[i]
			if slices.ContainsFunc(sh.subs, func(x sub) bool { return x.resource != "" }) {
				all = append(all, found{place{n.name, sh.life, sh.num}, sh.subs}) // which nobody changes
			}
		}
	}
	s.mu.RUnlock()
	work := make(chan found)
	var swept atomic.Int64
	var failed error
	var once sync.Once
	var wg sync.WaitGroup
	for range min(sweepers, len(all)) {
		wg.Go(func() {
			for f := range work {
				n := 0
				err := s.updateShard(ctx, f.name, f.life, f.num, func(recs []record) ([]record, error) {
					before := len(recs)
					recs = slices.DeleteFunc(recs, func(r record) bool {
						return slices.ContainsFunc(f.subs, func(x sub) bool { return x.id == r.id })
					})
					if n = before - len(recs); n == 0 {
						return nil, errUnchanged
					}
					return recs, nil
				})
				if err != nil {
					once.Do(func() { failed = err })
					continue
				}
				swept.Add(int64(n))
			}
		})
	}
	for _, f := range all {
		f.subs = slices.DeleteFunc(slices.Clone(f.subs), func(x sub) bool { return x.resource == "" || x.service != nil || !gone(x.entity.jid, x.resource) })
		if len(f.subs) > 0 {
			work <- f
		}
	}
	close(work)
	wg.Wait()
	return int(swept.Load()), failed
}
