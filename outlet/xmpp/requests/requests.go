// Package requests has a service answer what a peer asks for: one request after the other, each begun when the peer has taken
// most of what the one before it brought. So one that asks for much and reads little makes nothing pile up, and what a request
// has to wait for does not hold up the goroutine that owns the peer and others.
package requests

import (
	"context"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/xmpp/service"
)

// Job is a request and what it comes to.
type Job struct {
	// Prepare does what may block, as a task of the peer; nil for nothing. Its context ends after Desk.Time.
	Prepare func(ctx context.Context) error
	// Finish runs on the goroutine that owns the peer, behind Prepare or at once. It has done called, then or later on that
	// goroutine, when the next may begin: as the last it does, for the client may be forgotten by it.
	Finish func(done func())
	// Refuse runs in place of Finish, with an error of Prepare, or with [ErrTooMany] or Desk.Slow.
	Refuse func(err error)
}

// ErrTooMany refuses a request of a peer of which as many wait as may.
var ErrTooMany = tidings.Errorf(tidings.ErrUnavailable, "too many of your requests wait: ask again when some have been answered")

// Client is what a service knows of a peer. It embeds a Queue.
type Client interface {
	Peer() service.Peer
	// Begin is called when a job begins, and End when it has been answered and before the next begins. Begin is always
	// followed by an End.
	Begin()
	End()

	Requests() *Queue
}

// Queue holds the jobs of a client. Its zero value is an empty one. It belongs to the goroutine that owns the peer.
type Queue struct {
	jobs    []Job
	owed    int32 // bytes sent since the client last had to have taken them, up to takenAfter
	busy    bool  // a job is under way
	running bool  // run is on the stack
	closed  bool
}

// Requests returns the queue itself: what embeds it has it by that.
func (q *Queue) Requests() *Queue { return q }

// Waiting reports whether a job is under way or waits.
func (q *Queue) Waiting() bool { return q.busy || len(q.jobs) > 0 }

// Closed reports whether Close has been called.
func (q *Queue) Closed() bool { return q.closed }

// Desk is where the clients of a service are served. All of its fields are needed.
type Desk struct {
	Most    int                  // jobs of a client that may wait
	Time    time.Duration        // that Prepare may take
	Slow    error                // what a job is refused with whose Prepare takes longer
	Pauses  *edge.Group          // which nothing wakes
	Dropped func(p service.Peer) // a job was refused because too many wait, of the client or of its carrier
}

// takenAfter is how many bytes a client is sent of its own before it has to have taken them: less than what a connection holds,
// and than what a session keeps until it is acknowledged (XEP-0198).
const takenAfter = 16 << 10

// Add puts a job behind those that wait.
func (d *Desk) Add(c Client, j Job) {
	q := c.Requests()
	if len(q.jobs) >= d.Most {
		d.tooMany(c, j)
		return
	}
	q.jobs = append(q.jobs, j)
	d.run(c)
}

// First puts a job, which goes on with the one that has called it, before those that wait. It begins at once if nothing is
// under way.
func (d *Desk) First(c Client, j Job) {
	q := c.Requests()
	q.jobs = append([]Job{j}, q.jobs...)
	d.run(c)
}

func (d *Desk) tooMany(c Client, j Job) {
	d.Dropped(c.Peer())
	j.Refuse(ErrTooMany)
}

func (d *Desk) run(c Client) {
	q := c.Requests()
	if q.running {
		return
	}
	q.running = true
	for !q.busy && len(q.jobs) > 0 && !q.closed {
		j := q.jobs[0]
		q.jobs[0] = Job{}
		if q.jobs = q.jobs[1:]; len(q.jobs) == 0 {
			q.jobs = nil
		}
		q.busy = true
		c.Begin()
		d.begin(c, j)
	}
	q.running = false
}

func (d *Desk) begin(c Client, j Job) {
	q := c.Requests()
	done := func() { d.done(c) }
	if j.Prepare == nil {
		j.Finish(done)
		return
	}
	ok := c.Peer().Task(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, d.Time)
		defer cancel()
		err := j.Prepare(ctx)
		if err != nil && tidings.KindOf(err) == 0 && ctx.Err() != nil {
			err = d.Slow
		}
		return func() {
			switch {
			case q.closed:
			case err != nil:
				j.Refuse(err)
				d.done(c)
			default:
				j.Finish(done)
			}
		}
	})
	if !ok {
		d.tooMany(c, j)
		d.done(c)
	}
}

func (d *Desk) done(c Client) {
	q := c.Requests()
	if q.closed {
		return
	}
	q.busy = false
	c.End()
	d.run(c)
}

// Close is for a client whose peer has gone: what waits is forgotten, and of what is under way neither Finish nor Refuse is called
// any more.
func (d *Desk) Close(c Client) {
	q := c.Requests()
	q.closed, q.jobs = true, nil
	if q.busy {
		q.busy = false
		c.End()
	}
}

// Send sends a client stanzas that it has asked for.
func (d *Desk) Send(c Client, b []byte) {
	q := c.Requests()
	q.owed = int32(min(int(q.owed)+len(b), takenAfter))
	c.Peer().Send(b)
}

// Taken calls done when the client has taken most of what Send has sent it.
func (d *Desk) Taken(c Client, done func()) {
	q := c.Requests()
	if q.owed < takenAfter {
		done()
		return
	}
	q.owed = 0
	c.Peer().Attach(d.Pause(done))
}

// Pause returns a flow of nothing. It calls done, on the goroutine that owns the peer, when the carrier comes to it: when all
// before it has been written and, with stream management, enough of it has been acknowledged.
func (d *Desk) Pause(done func()) service.Flow { return &pause{d.Pauses, done} }

type pause struct {
	group *edge.Group
	done  func()
}

func (p *pause) Key() any           { return p }
func (p *pause) Mark() service.Mark { return service.Mark{} }
func (p *pause) Ended(error)        { p.done() }
func (p *pause) Open(service.Mark) (*edge.Group, service.Source, error) {
	return p.group, nothing{}, nil
}

// nothing is the source of a pause.
type nothing struct{}

func (nothing) Next() ([]byte, edge.Status) { return nil, edge.Ended }
func (nothing) Advance(int) []byte          { return nil }
func (nothing) Mark() service.Mark          { return service.Mark{} }
func (nothing) Fetch(context.Context)       {}
func (nothing) Goodbye() []byte             { return nil }
func (nothing) Close()                      {}
