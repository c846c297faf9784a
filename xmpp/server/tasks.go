package server

import "sync"

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
