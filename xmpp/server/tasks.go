package server

import (
	"context"
	"sync"
)

// workersAtOnce is how many tasks run at the same time.
const workersAtOnce = 4

// workers do the tasks of sessions. Sessions take turns: each has one done before it stands behind the others again.
type workers struct {
	mu     sync.Mutex
	bell   *sync.Cond
	queue  []*Session
	closed bool
}

func (w *workers) init() { w.bell = sync.NewCond(&w.mu) }

// push reports false when the server has been closed.
func (w *workers) push(x *Session) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.queue = append(w.queue, x)
	w.bell.Signal()
	return true
}

func (w *workers) run() {
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.closed {
			w.bell.Wait()
		}
		if w.closed {
			w.mu.Unlock()
			return
		}
		x := w.queue[0]
		w.queue[0] = nil
		w.queue = w.queue[1:]
		w.mu.Unlock()
		if x.work() {
			w.push(x)
		}
	}
}

func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.queue = nil
	w.mu.Unlock()
	w.bell.Broadcast()
}

// jobs are the tasks of a session.
type jobs struct {
	queue  []func(ctx context.Context) func()
	ctx    context.Context
	cancel context.CancelFunc
}

// maxTasks bounds those that wait, of one session.
const maxTasks = 64

// Task implements service.Peer. What a task returns is dropped when the session has ended meanwhile.
func (x *Session) Task(f func(ctx context.Context) (then func())) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.state == ended {
		return false
	}
	if x.jobs != nil {
		if len(x.jobs.queue) == maxTasks {
			return false
		}
		x.jobs.queue = append(x.jobs.queue, f)
		return true
	}
	j := &jobs{queue: []func(context.Context) func(){f}}
	j.ctx, j.cancel = context.WithCancel(x.srv.ctx)
	if !x.srv.workers.push(x) {
		j.cancel()
		return false
	}
	x.jobs = j
	return true
}

// work does one task, on a worker, and reports whether there are more.
func (x *Session) work() (more bool) {
	x.mu.Lock()
	j := x.jobs
	if j == nil {
		x.mu.Unlock()
		return false
	}
	f := j.queue[0]
	j.queue[0] = nil
	j.queue = j.queue[1:]
	x.mu.Unlock()
	if then := f(j.ctx); then != nil {
		x.enqueue(op{f: then})
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.jobs != j || len(j.queue) > 0 {
		return x.jobs == j
	}
	j.cancel()
	x.jobs = nil
	return false
}
