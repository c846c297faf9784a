package component

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// One that has the wrong answer to every ping is left; one that never reads too.
func TestSilent(t *testing.T) {
	for name, serve := range map[string]func(s *server){
		"no pong": func(s *server) {
			for {
				if _, err := s.element(); err != nil {
					return
				}
			}
		},
		"never reads": func(*server) {},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, func(o *Options) { o.AckTimeout = 100 * time.Millisecond }, map[string]service.Service{domain: newDesk(nil)})
			for i := range 100 {
				w.link.Peer(user(i), domain).Attach(w.j.reader(1, 0))
			}
			big := []byte("\x00 from='pub.example'><x>" + strings.Repeat("x", 32<<10) + "</x></message>")
			for range 50 {
				w.j.publishRaw(big)
			}
			s := w.connect()
			serve(s)
			second := w.connect()
			if !errors.Is(w.lastError(), ErrSilent) {
				t.Error(w.lastError())
			}
			w.until("it is back", func() bool { return w.link.Stats().Reconnects > 0 })
			if out := w.link.Stats().BytesOut; name == "never reads" && out > 16<<20 {
				t.Errorf("%d of 164 MB were put together", out)
			}
			s.nc.Close()
			second.nc.Close()
		})
	}
}

// A server that sends requests and does not read the answers is not read from any more.
func TestBackPressure(t *testing.T) {
	answer := bytes.Repeat([]byte("y"), 16<<10)
	w := start(t, func(o *Options) { o.MaxBacklog = 256 << 10 }, map[string]service.Service{domain: newDesk(func(p service.Peer, st *stanza.Stanza) {
		p.Send(st.AppendResult(nil, append(append([]byte("<x>"), answer...), "</x>"...)))
	})})
	s := w.connect()
	const n = 3000 // some 50 MB of answers
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			if _, err := fmt.Fprintf(s.nc, "<iq type='get' id='%d' from='u%d@host.example/r' to='pub.example'><q xmlns='urn:q'>%s</q></iq>", i, i%50, answer[:4000]); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	w.until("it does not read", func() bool {
		w.link.mu.Lock()
		defer w.link.mu.Unlock()
		return w.link.choked
	})
	if st := w.link.Stats(); st.Waiting > 2*256<<10 {
		t.Errorf("%d bytes wait", st.Waiting)
	}
	for i := range n {
		if st := s.expect(); st.ID != fmt.Sprint(i) {
			t.Fatalf("the answer to %s, not %d", st.ID, i)
		}
	}
	<-sent
	if st := w.link.Stats(); len(st.Dropped) > 0 || st.Reconnects > 0 {
		t.Errorf("%+v", st)
	}
}

// A service that sends without being asked, to a server that does not read, loses the connection and not the process its memory.
func TestBroken(t *testing.T) {
	w := start(t, func(o *Options) { o.MaxBacklog = 64 << 10 }, map[string]service.Service{domain: newDesk(nil)})
	s := w.connect()
	w.until("connected", func() bool { return w.link.Stats().Connected })
	p := w.link.Peer(user(1), domain)
	b := []byte("<message from='pub.example' to='u1@host.example'><x>" + strings.Repeat("z", 16<<10) + "</x></message>")
	w.until("the end", func() bool {
		p.Send(b)
		return w.link.Stats().LastError != ""
	})
	if !errors.Is(w.lastError(), ErrBacklog) {
		t.Error(w.lastError())
	}
	if st := w.link.Stats(); st.Dropped[ReasonBacklog] == 0 || st.Waiting > 2*(64<<10) {
		t.Errorf("%+v", st)
	}
	s.nc.Close()
	// While there is no connection what is beyond the bound is dropped and counted.
	w.ln.Close()
	for range 20 {
		p.Send(b)
	}
	w.until("offline", func() bool { p.Send(b); return w.link.Stats().Dropped[ReasonOffline] > 0 })
	if st := w.link.Stats(); st.Waiting > 2*(64<<10) {
		t.Errorf("%+v", st)
	}
}

// What is sent while there is no connection is written when there is one, in order; flows go on behind what was acknowledged.
func TestOffline(t *testing.T) {
	w := start(t, nil, map[string]service.Service{domain: newDesk(nil)})
	p := w.link.Peer(user(1), domain)
	send := func(n string) {
		p.Send([]byte("<message from='pub.example' to='u1@host.example'><n>" + n + "</n></message>"))
	}
	send("a")
	h := p.Attach(w.j.reader(1, 0))
	send("b")
	w.j.publish(1)
	s := w.connect()
	got := ""
	for range 3 {
		st := s.expect()
		got += number(&st) + " "
	}
	if got != "a b 1.0 " {
		t.Errorf("got %s", got)
	}
	ping := s.next()
	s.pong(&ping)
	w.until("acknowledged", func() bool { return w.link.Stats().Acknowledged == w.j.head() })
	s.nc.Close()
	w.until("lost", func() bool { return w.link.Stats().LastError != "" })
	head := w.j.head()
	h.Swap(func(at service.Mark) service.Flow {
		if at != head {
			t.Errorf("it stands at %v", at)
		}
		return w.j.reader(2, at.Offset)
	})
	h2 := p.Attach(w.j.reader(1, 0))
	h2.Detach()
	send("c")
	w.j.publish(1)
	s = w.connect()
	got = ""
	for range 2 {
		st := s.expect()
		got += number(&st) + " "
	}
	if got != "c 2.0 " {
		t.Errorf("got %s", got)
	}
	go s.serve()
}
