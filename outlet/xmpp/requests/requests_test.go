package requests_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/outlet/xmpp/requests"
	"tidings/xmpp/service"
	"tidings/xmpp/service/servicetest"
	"tidings/xmpp/stanza"
)

var errSlow = tidings.Errorf(tidings.ErrUnavailable, "slow")

// client is a service with one client, and what has happened there in the order in which it did.
type client struct {
	requests.Queue
	t    *testing.T
	desk requests.Desk
	peer *servicetest.Peer
	did  []string
}

func (c *client) Peer() service.Peer { return c.peer }
func (c *client) Begin()             { c.note("begin") }
func (c *client) End()               { c.note("end") }

func (c *client) Stanza(service.Peer, *stanza.Stanza) {}
func (c *client) Gone(service.Peer)                   { c.desk.Close(c) }

func (c *client) note(format string, args ...any) {
	c.did = append(c.did, fmt.Sprintf(format, args...))
}

// saw reports an error if something else has happened since it was last asked.
func (c *client) saw(want string) {
	c.t.Helper()
	if got := strings.Join(c.did, " "); got != want {
		c.t.Errorf("there was %q, want %q", got, want)
	}
	c.did = nil
}

// job returns a job that notes what is called of it. An err of Prepare refuses it.
func (c *client) job(name string, err error) requests.Job {
	return requests.Job{
		Prepare: func(context.Context) error { c.note("prepare %s", name); return err },
		Finish:  func(done func()) { c.note("finish %s", name); done() },
		Refuse:  func(err error) { c.note("refuse %s: %v", name, err) },
	}
}

func newClient(t *testing.T) *client {
	e, err := edge.New(edge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
	})
	c := &client{t: t}
	c.peer = servicetest.New(t, c, "service.localhost", "hamlet@localhost/x", false)
	c.desk = requests.Desk{Most: 3, Time: time.Minute, Slow: errSlow, Pauses: e.NewGroup(),
		Dropped: func(p service.Peer) { c.note("dropped %s", p.JID()) }}
	return c
}

// Jobs are done in the order in which they came, each begun when the one before is done.
func TestOrder(t *testing.T) {
	c := newClient(t)
	var done func()
	long := c.job("a", nil)
	long.Finish = func(f func()) { c.note("finish a"); done = f }
	c.desk.Add(c, long)
	c.desk.Add(c, c.job("b", tidings.Errorf(tidings.ErrInvalid, "no")))
	c.desk.Add(c, requests.Job{Finish: func(done func()) { c.note("finish c"); done() }})
	c.saw("begin")
	servicetest.Run(c.peer)
	c.saw("prepare a finish a")
	if !c.Waiting() {
		t.Error("nothing waits")
	}
	done()
	c.saw("end begin")
	servicetest.Run(c.peer)
	c.saw("prepare b refuse b: no end begin finish c end")
	if c.Waiting() {
		t.Error("something waits")
	}
}

// A job may go on with another, which comes before those that wait.
func TestFirst(t *testing.T) {
	c := newClient(t)
	c.desk.First(c, requests.Job{Finish: func(done func()) { c.note("finish alone"); done() }})
	c.saw("begin finish alone end")
	c.desk.Add(c, requests.Job{
		Prepare: func(context.Context) error { return nil },
		Finish: func(done func()) {
			c.note("finish a")
			c.desk.First(c, c.job("a2", nil))
			done()
		},
	})
	c.desk.Add(c, c.job("b", nil))
	servicetest.Run(c.peer)
	c.saw("begin finish a end begin prepare a2 finish a2 end begin prepare b finish b end")
}

// What is too much is refused at once, and those that wait are not harmed.
func TestTooMany(t *testing.T) {
	c := newClient(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		c.desk.Add(c, c.job(name, nil))
	}
	const tooMany = "refuse e: too many of your requests wait: ask again when some have been answered"
	c.saw("begin dropped hamlet@localhost/x " + tooMany)
	servicetest.Run(c.peer)
	c.saw("prepare a finish a end begin prepare b finish b end begin prepare c finish c end begin prepare d finish d end")

	c.peer.Refuse = errors.New("full")
	c.desk.Add(c, c.job("e", nil))
	c.saw("begin dropped hamlet@localhost/x " + tooMany + " end")
	if c.peer.Tasks != 4 || c.Waiting() {
		t.Errorf("%d tasks, waiting: %t", c.peer.Tasks, c.Waiting())
	}
}

// A job that takes too long is refused, with its own error if that says more.
func TestSlow(t *testing.T) {
	for _, x := range []struct {
		err  error
		want string
	}{
		{nil, "finish a"},
		{context.DeadlineExceeded, "refuse a: slow"},
		{tidings.Errorf(tidings.ErrNotFound, "nowhere"), "refuse a: nowhere"},
	} {
		c := newClient(t)
		c.desk.Time = time.Nanosecond
		j := c.job("a", nil)
		j.Prepare = func(ctx context.Context) error {
			<-ctx.Done()
			return x.err
		}
		c.desk.Add(c, j)
		servicetest.Run(c.peer)
		c.saw("begin " + x.want + " end")
	}
}

// An error of the time in which there is time is what it is.
func TestUnkind(t *testing.T) {
	c := newClient(t)
	c.desk.Add(c, c.job("a", errors.New("broken")))
	servicetest.Run(c.peer)
	c.saw("begin prepare a refuse a: broken end")
}

// Of a peer that has gone nothing is answered any more, and what was begun has its End.
func TestClose(t *testing.T) {
	for _, under := range []struct {
		name string
		way  func(c *client) (later func()) // begins a job, and returns what still comes
		want string
	}{
		{"nothing", func(*client) func() { return func() {} }, ""},
		{"a task", func(c *client) func() {
			c.desk.Add(c, c.job("a", nil))
			return func() {}
		}, "begin end prepare a"},
		{"an answer", func(c *client) func() {
			var done func()
			j := c.job("a", nil)
			j.Finish = func(f func()) { done = f }
			c.desk.Add(c, j)
			servicetest.Run(c.peer)
			return done
		}, "begin prepare a end"},
		{"its own", func(c *client) func() {
			j := c.job("a", nil)
			j.Finish = func(done func()) {
				c.desk.Close(c)
				done()
			}
			c.desk.Add(c, j)
			servicetest.Run(c.peer)
			return func() {}
		}, "begin prepare a end"},
	} {
		t.Run(under.name, func(t *testing.T) {
			c := newClient(t)
			later := under.way(c)
			if under.want != "" {
				c.desk.Add(c, c.job("b", nil))
			}
			c.desk.Close(c)
			later()
			c.desk.Add(c, c.job("c", nil))
			servicetest.Run(c.peer)
			c.saw(under.want)
			if !c.Closed() {
				t.Error("it is open")
			}
		})
	}
}

// A peer that has been sent much has to have taken it before what comes next begins.
func TestTaken(t *testing.T) {
	c := newClient(t)
	send := func(size int) {
		head, tail := "<message from='service.localhost' to='hamlet@localhost/x'><body>", "</body></message>"
		c.desk.Send(c, []byte(head+strings.Repeat("x", size-len(head)-len(tail))+tail))
	}
	taken := func() { c.note("taken") }
	send(16<<10 - 1)
	c.desk.Taken(c, taken)
	c.saw("taken")
	send(1000)
	c.desk.Taken(c, taken)
	c.saw("")
	c.desk.Taken(c, taken) // of what there was before, nobody else need wait
	c.saw("taken")
	c.peer.Mute = true
	servicetest.Run(c.peer)
	c.saw("")
	c.peer.Mute = false
	servicetest.Run(c.peer)
	c.saw("taken")
	send(100 << 10)
	send(100 << 10)
	c.desk.Taken(c, taken)
	c.saw("")
	servicetest.Run(c.peer)
	c.saw("taken")
	if n := len(c.peer.Out); n != 4 {
		t.Errorf("%d stanzas were sent", n)
	}
}

// Whatever jobs there are, each is finished or refused once, in the order in which they came, and no two are under way at once.
func FuzzQueue(f *testing.F) {
	f.Add("prrprpr")
	f.Add("nnn")
	f.Add("ppppppprprnrfrprnpppp")
	f.Add("frpfnfrrr")
	f.Fuzz(func(t *testing.T, does string) {
		if len(does) > 500 {
			return
		}
		c := newClient(t)
		var want, answered []int
		for i, r := range does {
			under := func(done func()) {
				answered = append(answered, i)
				done()
			}
			refuse := func(err error) {
				if !errors.Is(err, requests.ErrTooMany) {
					under(func() {})
				}
			}
			waiting := len(want) - len(answered)
			j := requests.Job{Finish: under, Refuse: refuse}
			switch r {
			case 'p':
				j.Prepare = func(context.Context) error { return nil }
			case 'f':
				j.Prepare = func(context.Context) error { return errors.New("failed") }
			case 'n':
			default:
				c.peer.Step()
				continue
			}
			if waiting <= c.desk.Most { // one is under way
				want = append(want, i)
			}
			c.desk.Add(c, j)
			if begun, ended := count(c.did, "begin"), count(c.did, "end"); begun > ended+1 || ended > begun {
				t.Fatalf("%d jobs are begun and %d done", begun, ended)
			}
		}
		servicetest.Run(c.peer)
		if !slices.Equal(answered, want) {
			t.Errorf("answered are %d, want %d", answered, want)
		}
	})
}

func count(did []string, what string) (n int) {
	for _, d := range did {
		if d == what {
			n++
		}
	}
	return n
}
