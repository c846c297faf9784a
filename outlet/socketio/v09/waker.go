package v09

import (
	"context"
	"sync"
)

// pollGroup wakes the polls that wait for one feed.
type pollGroup struct {
	waker *waker

	mu     sync.Mutex
	polls  map[*poll]struct{}
	queued bool // it stands in the waker's queue
}

func (g *pollGroup) add(p *poll) {
	g.mu.Lock()
	if g.polls == nil {
		g.polls = map[*poll]struct{}{}
	}
	g.polls[p] = struct{}{}
	g.mu.Unlock()
}

func (g *pollGroup) remove(p *poll) {
	g.mu.Lock()
	delete(g.polls, p)
	g.mu.Unlock()
}

// Wake has the polls woken by the waker's goroutine: the hub does not wait for them.
func (g *pollGroup) Wake() {
	g.mu.Lock()
	queue := !g.queued && len(g.polls) > 0
	g.queued = g.queued || queue
	g.mu.Unlock()
	if queue {
		g.waker.push(g)
	}
}

// waker is the goroutine that wakes polls.
type waker struct {
	bell chan struct{} // of one

	mu    sync.Mutex
	queue []*pollGroup
}

func (k *waker) push(g *pollGroup) {
	k.mu.Lock()
	k.queue = append(k.queue, g)
	k.mu.Unlock()
	select {
	case k.bell <- struct{}{}:
	default:
	}
}

func (k *waker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.bell:
		}
		k.mu.Lock()
		queue := k.queue
		k.queue = nil
		k.mu.Unlock()
		for _, g := range queue {
			g.mu.Lock()
			g.queued = false
			for p := range g.polls {
				p.wake()
			}
			g.mu.Unlock()
		}
	}
}
