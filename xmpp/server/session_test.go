package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// scripted is a service that does what a test tells it to, on the goroutine that owns the peer.
type scripted struct {
	mu   sync.Mutex
	do   map[string]func(p service.Peer, st *stanza.Stanza) // by id
	gone chan service.Peer
}

func (s *scripted) Stanza(p service.Peer, st *stanza.Stanza) {
	s.mu.Lock()
	f := s.do[st.ID]
	s.mu.Unlock()
	if f != nil {
		f(p, st)
	}
}

func (s *scripted) Gone(p service.Peer) { s.gone <- p }

// script adds the service script.localhost. The client has f called with run.
func (w *world) script() *scripted {
	s := &scripted{do: map[string]func(service.Peer, *stanza.Stanza){}, gone: make(chan service.Peer, 10)}
	if err := w.s.Handle("script.localhost", s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (s *scripted) on(c *client, f func(p service.Peer, st *stanza.Stanza)) {
	s.mu.Lock()
	id := fmt.Sprint(len(s.do))
	s.do[id] = f
	s.mu.Unlock()
	c.send("<message to='script.localhost' id='%s'/>", id)
}

func mark(p service.Peer, text string) []byte {
	return []byte("<message to='" + p.JID().String() + "'><subject>" + text + "</subject></message>")
}

// TestOrder: what is sent, attached, detached and swapped takes effect in the order of the calls.
func TestOrder(t *testing.T) {
	for _, mode := range []TLSMode{NoTLS, DirectTLS, webSocketMode} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			t.Parallel()
			w := start(t, nil)
			s := w.script()
			other := w.service("other.localhost")
			w.pulse.beat(3)
			other.beat(5)
			c := w.dial(mode)
			c.anonymous()
			c.bind("r")
			var h service.Handle
			s.on(c, func(p service.Peer, _ *stanza.Stanza) {
				p.Send(mark(p, "before"))
				h = p.Attach(&beats{p: w.pulse, peer: p})
			})
			c.until("before")
			c.until("<body>3</body></message>")
			// The other flow goes on where this one stands.
			s.on(c, func(p service.Peer, _ *stanza.Stanza) {
				h.Swap(func(at service.Mark) service.Flow {
					if at.Offset != 3 {
						t.Errorf("it stands at %v", at)
					}
					return nil
				})
				h.Swap(func(at service.Mark) service.Flow { return &beats{p: other, peer: p, after: at.Offset} })
			})
			if got := c.until("<body>5</body></message>"); !strings.Contains(got, "from='other.localhost'><body>4<") || strings.Contains(got, "pulse") {
				t.Error(got)
			}
			w.pulse.beat(1)
			other.beat(1)
			c.until("from='other.localhost'><body>6</body></message>")
			s.on(c, func(p service.Peer, _ *stanza.Stanza) {
				h.Detach()
				p.Send(mark(p, "after"))
				other.beat(1)
				h.Detach()
				h.Swap(func(service.Mark) service.Flow { t.Error("swapped"); return nil })
				p.Send(mark(p, "end"))
			})
			c.until("after</subject></message>")
			if got := c.until("end</subject></message>"); strings.Contains(got, "body") {
				t.Error(got)
			}
			// Attached and detached at once, nothing is seen of it.
			s.on(c, func(p service.Peer, _ *stanza.Stanza) {
				p.Attach(&beats{p: w.pulse, peer: p}).Detach()
				p.Send(mark(p, "none"))
			})
			if got := c.until("none</subject></message>"); strings.Contains(got, "body") {
				t.Error(got)
			}
		})
	}
}

// TestSwapUnacknowledged: messages of a flow that another has taken the place of come again, before those of the other.
func TestSwapUnacknowledged(t *testing.T) {
	w := start(t, nil)
	s := w.script()
	other := w.service("other.localhost")
	c, _ := w.visit()
	c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	_, previd, _ := strings.Cut(c.until("/>"), " id='")
	previd, _, _ = strings.Cut(previd, "'")
	w.pulse.beat(3)
	other.beat(5)
	s.on(c, func(p service.Peer, _ *stanza.Stanza) {
		h := p.Attach(&beats{p: w.pulse, peer: p})
		h.Swap(func(at service.Mark) service.Flow { return &beats{p: other, peer: p, after: at.Offset} })
	})
	want := ""
	for range 2 { // as they came, and all again
		got := c.until("from='other.localhost'><body>5</body></message>")
		if want == "" {
			want = got
		}
		if got != want || strings.Count(got, "pulse") != 3 || strings.Count(got, "other") != 2 {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		c.nc.Close()
		w.settle()
		c = w.dial(NoTLS)
		c.anonymous()
		c.send("<resume xmlns='urn:xmpp:sm:3' h='0' previd='%s'/>", previd)
		c.until("/>")
	}
	other.beat(1)
	c.until("from='other.localhost'><body>6</body></message>")
}

// TestTasks: one after the other, each with its end on the goroutine of the peer, and not without bound.
func TestTasks(t *testing.T) {
	w := start(t, nil)
	s := w.script()
	c, _ := w.visit()
	release := make(chan struct{})
	s.on(c, func(p service.Peer, _ *stanza.Stanza) {
		order := 0
		for i := range maxTasks + 2 {
			ok := p.Task(func(context.Context) func() {
				if i == 0 {
					<-release
				}
				return func() {
					if order != i {
						t.Errorf("task %d at %d", i, order)
					}
					order++
					p.Send(mark(p, fmt.Sprint("task", i)))
				}
			})
			if !ok {
				if i < maxTasks {
					t.Errorf("only %d tasks may wait", i)
				}
				p.Send(mark(p, "full"))
				break
			}
		}
	})
	c.until("full")
	close(release)
	c.until(fmt.Sprintf("task%d</subject></message>", maxTasks-1))

	// The context ends with the session, and what the task returns is not called.
	began := make(chan struct{})
	ended := make(chan struct{})
	s.on(c, func(p service.Peer, _ *stanza.Stanza) {
		p.Task(func(ctx context.Context) func() {
			close(began)
			<-ctx.Done()
			close(ended)
			return func() { t.Error("called") }
		})
	})
	<-began
	c.nc.Close()
	<-ended
	p := <-s.gone
	if p.Task(func(context.Context) func() { return nil }) {
		t.Error("a task of a session that has ended")
	}
	p.Send([]byte("<x/>"))
	p.Attach(&beats{p: w.pulse, peer: p}).Detach()
}

// TestReplaced: the service sees the old session go before it sees the new one, even where the old one does not read.
func TestReplaced(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	s := w.script()
	a := w.login("alice", "home")
	seen := make(chan service.Peer, 2)
	s.on(a, func(p service.Peer, _ *stanza.Stanza) {
		seen <- p
		p.Attach(&beats{p: w.pulse, peer: p})
	})
	old := <-seen
	w.pulse.beat(200_000) // 12 MB, which nobody reads
	b := w.login("alice", "home")
	s.on(b, func(p service.Peer, _ *stanza.Stanza) { seen <- p })
	if p := <-seen; p == old {
		t.Error("the same peer")
	}
	if p := <-s.gone; p != old {
		t.Error("the new peer has gone")
	}
	if n := len(w.s.Sessions(jid.MustParse("alice@localhost"))); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// TestManySenders has stanzas from many goroutines arrive in each one's order, while the session comes and goes.
func TestManySenders(t *testing.T) {
	w := start(t, func(o *Options) { o.MaxUnacked = 10 << 20 })
	c, full := w.visit()
	c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	_, previd, _ := strings.Cut(c.until("/>"), " id='")
	previd, _, _ = strings.Cut(previd, "'")
	x := w.s.Session(jid.MustParse(full))
	const senders, each = 4, 500
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for i := range each {
				x.Send([]byte(fmt.Sprintf("<message type='chat' id='%d-%d'/>", s, i)))
			}
		})
	}
	h := 0
	next := [senders]int{}
	for sum := 0; sum < senders*each; {
		var s, i int
		got := c.until("/>")
		if _, err := fmt.Sscanf(got, "<message type='chat' id='%d-%d'/>", &s, &i); err != nil {
			if !strings.HasPrefix(got, "<r ") {
				t.Fatal(got)
			}
			c.send("<a xmlns='urn:xmpp:sm:3' h='%d'/>", h)
			continue
		}
		if next[s] != i {
			t.Fatalf("%d of sender %d, want %d", i, s, next[s])
		}
		next[s]++
		sum++
		if h++; h%300 == 0 {
			c.nc.Close()
			c = w.dial(NoTLS)
			c.anonymous()
			c.send("<resume xmlns='urn:xmpp:sm:3' h='%d' previd='%s'/>", h, previd)
			if s := c.until("/>"); !strings.HasPrefix(s, "<resumed ") {
				t.Fatal(s)
			}
		}
	}
	sending.Wait()
}
