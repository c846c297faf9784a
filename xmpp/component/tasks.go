package component

import (
	"context"
	"sync"
)

// Tasks and fetches that run at the same time.
const (
	workersAtOnce  = 4
	fetchersAtOnce = 4
)

// workers do the tasks of peers. Peers take turns: each has one done before it stands behind the others again.
type workers struct {
	mu     sync.Mutex
	change *sync.Cond
	queue  []*peer
	paused bool
	closed bool
}

func (w *workers) init() { w.change = sync.NewCond(&w.mu) }

func (w *workers) push(p *peer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, p)
	w.change.Signal()
}

// pause has no task begun, or goes on.
func (w *workers) pause(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = yes
	w.change.Broadcast()
}

func (w *workers) run() {
	for {
		w.mu.Lock()
		for (len(w.queue) == 0 || w.paused) && !w.closed {
			w.change.Wait()
		}
		if w.closed {
			w.mu.Unlock()
			return
		}
		p := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.mu.Unlock()
		if p.work() {
			w.push(p)
		}
	}
}

func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.queue = nil
	w.mu.Unlock()
	w.change.Broadcast()
}

// jobs are the tasks of a peer.
type jobs struct {
	queue  []func(ctx context.Context) func()
	ctx    context.Context
	cancel context.CancelFunc
}

// maxTasks bounds those that wait, of one peer; and of all together.
const (
	maxTasks    = 64
	maxAllTasks = 10_000
)

// addTask adds a task to a peer's. mu is held.
func (l *Link) addTask(p *peer, f func(ctx context.Context) func()) bool {
	if l.tasks.Load() >= maxAllTasks || p.jobs != nil && len(p.jobs.queue) == maxTasks {
		l.refused.Add(1)
		return false
	}
	l.tasks.Add(1)
	if p.jobs != nil {
		p.jobs.queue = append(p.jobs.queue, f)
		return true
	}
	j := &jobs{queue: []func(context.Context) func(){f}}
	j.ctx, j.cancel = context.WithCancel(l.ctx)
	p.jobs = j
	l.workers.push(p)
	return true
}

// work does one task, on a worker, and reports whether there are more.
func (p *peer) work() (more bool) {
	l := p.l
	l.mu.Lock()
	j := p.jobs
	if j == nil {
		l.mu.Unlock()
		return false
	}
	f := j.queue[0]
	j.queue[0] = nil
	j.queue = j.queue[1:]
	l.mu.Unlock()
	l.tasks.Add(-1)
	if then := f(j.ctx); then != nil {
		l.post(p, then)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.jobs != j || len(j.queue) > 0 {
		return p.jobs == j
	}
	j.cancel()
	p.jobs = nil
	return false
}

// fetches are the strands whose sources have to do what may block, in the order in which they asked.
type fetches struct {
	mu     sync.Mutex
	change *sync.Cond
	queue  []*strand
	closed bool
}

func (q *fetches) init() { q.change = sync.NewCond(&q.mu) }

func (q *fetches) push(s *strand) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, s)
	q.change.Signal()
}

func (q *fetches) run(l *Link) {
	for {
		q.mu.Lock()
		for len(q.queue) == 0 && !q.closed {
			q.change.Wait()
		}
		if q.closed {
			q.mu.Unlock()
			return
		}
		s := q.queue[0]
		q.queue[0] = nil
		q.queue = q.queue[1:]
		q.mu.Unlock()
		s.src.Fetch(l.ctx)
		l.post(nil, s.fetched)
	}
}

func (q *fetches) close() {
	q.mu.Lock()
	q.closed = true
	q.queue = nil
	q.mu.Unlock()
	q.change.Broadcast()
}
