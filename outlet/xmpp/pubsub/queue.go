package pubsub

import (
	"context"

	"tidings"
	"tidings/edge"
	"tidings/xmpp/service"
)

// job is a request and what it comes to.
type job struct {
	prepare func(ctx context.Context) error // may block
	finish  func(done func())               // on the goroutine that owns the peer; done is called when the next may begin
	refuse  func(err error)                 // in place of finish; for an error of prepare too
}

// queue holds the requests of a client: one after the other, each begun when the client has taken most of what the one before
// it brought. So one that asks for much and reads little makes nothing pile up. It belongs to the goroutine that owns the peer.
type queue struct {
	jobs    []job
	busy    bool // one is under way
	running bool // run is on the stack
	gone    bool
	owed    int // bytes sent since the client last had to have taken them
}

// Limits of a queue.
const (
	maxWaiting = 1000     // requests
	pauseAfter = 16 << 10 // bytes that a client is sent before it has to have taken them
)

var (
	errTooMany = tidings.Errorf(tidings.ErrUnavailable, "too many of your requests wait: ask again when some have been answered")
	errSlow    = tidings.Errorf(tidings.ErrUnavailable, "that took too long: ask for less, or later")
)

func (c *client) add(j job) {
	if len(c.jobs) >= maxWaiting {
		c.srv.drops.Add(DropJobs, 1, "client", c.peer.JID())
		j.refuse(errTooMany)
		return
	}
	c.jobs = append(c.jobs, j)
	c.run()
}

func (c *client) run() {
	if c.running {
		return
	}
	c.running = true
	for !c.busy && len(c.jobs) > 0 && !c.gone {
		j := c.jobs[0]
		c.jobs[0] = job{}
		if c.jobs = c.jobs[1:]; len(c.jobs) == 0 {
			c.jobs = nil
		}
		c.busy = true
		c.hold()
		refuse := func(err error) func() {
			return func() {
				if !c.gone {
					j.refuse(err)
					c.done()
				}
			}
		}
		ok := c.peer.Task(func(ctx context.Context) func() {
			ctx, cancel := context.WithTimeout(ctx, requestTime)
			defer cancel()
			if err := j.prepare(ctx); err != nil {
				if tidings.KindOf(err) == 0 && ctx.Err() != nil {
					err = errSlow
				}
				return refuse(err)
			}
			return func() {
				if !c.gone {
					j.finish(c.done)
				}
			}
		})
		if !ok {
			c.srv.drops.Add(DropJobs, 1, "client", c.peer.JID())
			refuse(errTooMany)()
		}
	}
	c.running = false
}

func (c *client) done() {
	c.busy = false
	c.release()
	c.run()
}

// send sends stanzas that somebody has asked for.
func (c *client) send(b []byte) {
	c.owed += len(b)
	c.peer.Send(b)
}

// pause calls done when the client has taken most of what it was sent.
func (c *client) pause(done func()) {
	if c.owed < pauseAfter {
		done()
		return
	}
	c.owed = 0
	c.peer.Attach(&pause{c.srv, done})
}

// pause is a flow of nothing. It ends when the carrier comes to it: when all before it has been written and, with stream
// management, enough of it has been acknowledged.
type pause struct {
	srv  *Server
	done func()
}

func (p *pause) Key() any           { return p }
func (p *pause) Mark() service.Mark { return service.Mark{} }
func (p *pause) Ended(error)        { p.done() }
func (p *pause) Open(service.Mark) (*edge.Group, service.Source, error) {
	return p.srv.pauses, nothing{}, nil
}

// nothing is the source of a pause.
type nothing struct{}

func (nothing) Next() ([]byte, edge.Status) { return nil, edge.Ended }
func (nothing) Advance(int) []byte          { return nil }
func (nothing) Mark() service.Mark          { return service.Mark{} }
func (nothing) Fetch(context.Context)       {}
func (nothing) Goodbye() []byte             { return nil }
func (nothing) Close()                      {}
