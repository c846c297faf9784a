package journal

import "sync"

// notifier wakes those who wait for Head to move.
type notifier struct {
	mu sync.Mutex
	m  map[*chan<- struct{}]struct{}
}

func (n *notifier) add(ch chan<- struct{}) (stop func()) {
	key := &ch
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m == nil {
		n.m = map[*chan<- struct{}]struct{}{}
	}
	n.m[key] = struct{}{}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.m, key)
	}
}

func (n *notifier) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ch := range n.m {
		select {
		case *ch <- struct{}{}:
		default:
		}
	}
}
