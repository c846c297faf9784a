package room

import (
	"context"

	"tidings"
)

// job is something that a peer asks for and that takes a while.
type job struct {
	prepare func(ctx context.Context) error // what may block; nil for nothing
	finish  func(done func())               // on the goroutine that owns the peer; done is called when the next may begin
	refuse  func(err error)                 // in place of finish; for an error of prepare too
}

// queue holds what a visitor waits for: one thing after the other, each begun when the visitor has taken what the one
// before it brought. So a peer that asks for much and reads little makes nothing pile up.
type queue struct {
	jobs    []job
	busy    bool // one is under way
	running bool // run is on the stack
}

// maxWaiting bounds the jobs that wait, of one visitor: it may enter all its rooms at once.
const maxWaiting = 2 * maxRooms

func (q *queue) waiting() bool { return q.busy || len(q.jobs) > 0 }

// add puts a job behind those that wait.
func (v *visitor) add(j job) {
	if len(v.jobs) >= maxWaiting {
		v.srv.drops.Add(DropJobs, 1, "visitor", v.peer.JID())
		j.refuse(errTooMany)
		return
	}
	v.jobs = append(v.jobs, j)
	v.run()
}

// first begins a job at once if nothing is under way but what has called it, and before those that wait otherwise.
func (v *visitor) first(j job) {
	v.jobs = append([]job{j}, v.jobs...)
	v.run()
}

var (
	errTooMany = tidings.Errorf(tidings.ErrUnavailable, "too many of your requests wait: ask again when some have been answered")
	errSlow    = tidings.Errorf(tidings.ErrUnavailable, "looking that up took too long: ask for less, or later")
)

func (v *visitor) run() {
	if v.running {
		return
	}
	v.running = true
	for !v.busy && len(v.jobs) > 0 && !v.gone {
		j := v.jobs[0]
		v.jobs[0] = job{}
		if v.jobs = v.jobs[1:]; len(v.jobs) == 0 {
			v.jobs = nil
		}
		v.busy = true
		if j.prepare == nil {
			j.finish(v.done)
			continue
		}
		ok := v.peer.Task(func(ctx context.Context) func() {
			ctx, cancel := context.WithTimeout(ctx, readTime)
			defer cancel()
			if err := j.prepare(ctx); err != nil {
				if tidings.KindOf(err) == 0 && ctx.Err() != nil {
					err = errSlow
				}
				return func() {
					if !v.gone {
						j.refuse(err)
						v.done()
					}
				}
			}
			return func() {
				if !v.gone {
					j.finish(v.done)
				}
			}
		})
		if !ok {
			v.busy = false
			v.srv.drops.Add(DropJobs, 1, "visitor", v.peer.JID())
			j.refuse(errTooMany)
		}
	}
	v.running = false
	v.settle()
}

func (v *visitor) done() {
	v.busy = false
	v.run()
}
