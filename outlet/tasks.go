package outlet

import (
	"context"
	"sync"

	"tidings/edge"
)

// Task is something that a client asked for and that takes too long for the goroutine that owns the connection: what has
// to be compiled, or looked up in the log. Its reply is written to the connection, and then is called on the goroutine
// that owns it; either may be nil. If the connection is closed meanwhile, then is called all the same, so that it can
// let go of what the task has opened.
type Task func(ctx context.Context) (reply []byte, then func())

// maxTasks bounds those that wait, of one connection.
const maxTasks = 64

// Tasks are those of one connection, done one after the other by the edge's fetchers, which give connections turns. A
// connection that takes no bytes gets none done. The goroutine that owns the connection owns it. The zero value is
// empty.
type Tasks struct{ cur *tasks }

// Add has the task done behind those before it. It reports false if too many wait.
func (t *Tasks) Add(c *edge.Conn, g *edge.Group, task Task) bool {
	if t.cur != nil {
		return t.cur.push(task)
	}
	t.cur = &tasks{of: t, queue: []Task{task}}
	t.cur.att = c.Attach(g, t.cur)
	return true
}

// tasks is the cursor that stands for the tasks while there are some.
type tasks struct {
	of  *Tasks
	att *edge.Attachment

	mu    sync.Mutex
	queue []Task

	// What the last task left, for the connection.
	reply []byte
	then  func()
}

func (t *tasks) push(task Task) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == maxTasks {
		return false
	}
	t.queue = append(t.queue, task)
	return true
}

func (t *tasks) Next() ([]byte, edge.Status) {
	if len(t.reply) > 0 {
		return t.reply, edge.Ready
	}
	t.finish()
	t.mu.Lock()
	more := len(t.queue) > 0
	t.mu.Unlock()
	if more {
		return nil, edge.Behind
	}
	if t.of.cur == t {
		t.of.cur = nil // the next task brings a cursor of its own
		t.att.Detach()
	}
	return nil, edge.Idle
}

func (t *tasks) Advance(n int) (rest []byte) {
	if n < len(t.reply) {
		rest = append(rest, t.reply[n:]...)
	}
	t.reply = nil
	t.finish()
	return rest
}

func (t *tasks) finish() {
	if then := t.then; then != nil {
		t.then = nil
		then()
	}
}

func (t *tasks) Fetch(ctx context.Context) {
	t.mu.Lock()
	task := t.queue[0]
	t.queue[0] = nil
	t.queue = t.queue[1:]
	t.mu.Unlock()
	t.reply, t.then = task(ctx)
}

func (t *tasks) Goodbye() []byte { return nil }
func (t *tasks) Close()          { t.finish() }
