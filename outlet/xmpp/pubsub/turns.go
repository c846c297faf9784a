package pubsub

import "sync"

// turns runs what is posted, one thing after the other, on whichever goroutine posts it.
type turns struct {
	mu      sync.Mutex
	ops     []func() // that wait for their turn
	posting bool     // somebody runs them
	held    int      // requests that are to be answered before they run
	own     string   // the node whose subscription a request of their own changes
	over    bool     // nothing is run any more
}

// post runs f, which must not block, behind what was posted before it: now, or when somebody else who runs such things has
// come to it, or when the request under way has been answered.
func (t *turns) post(f func()) {
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		return
	}
	t.ops = append(t.ops, f)
	t.mu.Unlock()
	t.work()
}

func (t *turns) work() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.posting {
		return
	}
	t.posting = true
	for len(t.ops) > 0 && t.held == 0 && !t.over {
		f := t.ops[0]
		t.ops[0] = nil
		if t.ops = t.ops[1:]; len(t.ops) == 0 {
			t.ops = nil
		}
		t.mu.Unlock()
		f()
		t.mu.Lock()
	}
	t.posting = false
}

// hold lets what is posted wait until release, so that an answer comes before the notices of what it answers.
func (t *turns) hold() {
	t.mu.Lock()
	t.held++
	t.mu.Unlock()
}

func (t *turns) release() {
	t.mu.Lock()
	t.held--
	t.own = ""
	t.mu.Unlock()
	t.work()
}

// asks notes the node whose subscription a request changes: who has sent it learns of that from the answer.
func (t *turns) asks(node string) {
	t.mu.Lock()
	t.own = node
	t.mu.Unlock()
}

func (t *turns) asked(node string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.own == node
}

// end lets nothing run any more.
func (t *turns) end() {
	t.mu.Lock()
	t.over, t.ops = true, nil
	t.mu.Unlock()
}
