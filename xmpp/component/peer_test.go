package component

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// A peer without anything to do is forgotten, and one that has a flow is not.
func TestForget(t *testing.T) {
	d := newDesk(echo)
	w := start(t, nil, map[string]service.Service{domain: d})
	s := w.connect()
	idle, busy, written := w.link.Peer(user(1), domain), w.link.Peer(user(2), domain), w.link.Peer(user(3), domain)
	busy.Attach(w.j.reader(1, 0))
	w.j.publish(1)
	s.expect()
	if written != w.link.Peer(user(3), domain) {
		t.Error("not the same peer")
	}
	s.send("<presence from='u4@host.example/r' to='pub.example'/>")
	s.expect()
	w.j.publish(1)
	s.expect()
	conn := func(f func()) {
		done := make(chan struct{})
		w.link.post(nil, func() { f(); close(done) })
		<-done
	}
	conn(func() { w.link.sweep(0) })
	u4 := jid.MustParse("u4@host.example/r")
	var four service.Peer
	d.mu.Lock()
	for p := range d.peers {
		if p.JID() == u4 {
			four = p
		}
	}
	d.mu.Unlock()
	if d.goneTimes(idle) != 1 || d.goneTimes(busy) != 0 || four == nil || d.goneTimes(four) != 1 {
		t.Errorf("gone: %v", d.gone)
	}
	if w.link.Stats().Peers != 1 {
		t.Errorf("%+v", w.link.Stats())
	}
	idle.Send([]byte("<message from='pub.example' to='u1@host.example'/>"))
	if w.link.Stats().Dropped[ReasonGone] != 1 || idle.Attach(w.j.reader(1, 0)) == nil {
		t.Errorf("%+v", w.link.Stats())
	}
	if w.link.Peer(user(1), domain) == idle {
		t.Error("it has come back as the same peer")
	}
}

// Who has only written is gone when the link has been down for long; who was asked for stays.
func TestKeep(t *testing.T) {
	var w *world
	d := newDesk(func(p service.Peer, st *stanza.Stanza) { p.Attach(w.j.reader(1, 0)) })
	w = newWorld(t, func(o *Options) { o.Keep = 20 * time.Millisecond })
	w.link.Handle(domain, d)
	w.run()
	defer func() { w.stop(); w.close(); w.j.closed(t) }()
	w.j.publish(1)
	w.link.Peer(user(1), domain).Attach(w.j.reader(1, 0))
	s := w.connect()
	s.expect()
	s.send("<presence from='u2@host.example/r' to='room@pub.example/nick'/>")
	s.expect()
	addr := w.ln.Addr().String()
	w.ln.Close()
	s.nc.Close()
	gone := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.gone)
	}
	w.until("gone", func() bool { return w.link.Stats().Peers == 1 && gone() > 0 })
	if gone() != 1 || w.link.Stats().Flows != 1 {
		t.Errorf("%d gone, %+v", gone(), w.link.Stats())
	}
	var err error
	if w.ln, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	w.j.publish(1)
	s = w.connect()
	for {
		st := s.expect()
		if st.To != user(1) {
			t.Errorf("%s", st.Element.Raw())
		}
		if number(&st) == "2.0" {
			break
		}
	}
	go s.serve()
}

// Tasks come in turn, and what they return runs where stanzas are handled.
func TestTasks(t *testing.T) {
	w := start(t, nil, map[string]service.Service{domain: newDesk(func(p service.Peer, st *stanza.Stanza) {
		b := st.AppendResult(nil, nil)
		if !p.Task(func(ctx context.Context) func() {
			if ctx.Err() != nil {
				return nil
			}
			return func() { p.Send(b) }
		}) {
			p.Send(st.AppendError(nil, stanza.ResourceConstraint()))
		}
	})})
	s := w.connect()
	for i := range 200 {
		s.send(fmt.Sprintf("<iq type='get' id='%d' from='u%d@host.example/r' to='pub.example'><q xmlns='urn:q'/></iq>", i, i%7))
	}
	seen := map[string]bool{}
	for range 200 {
		st := s.expect()
		seen[st.ID] = true
	}
	if len(seen) != 200 {
		t.Errorf("%d answers", len(seen))
	}
	// Of one peer only so many wait, and a forgotten peer has none.
	block := make(chan struct{})
	p := w.link.Peer(user(99), domain)
	n := 0
	for p.Task(func(ctx context.Context) func() { <-block; return nil }) {
		n++
	}
	close(block)
	if n < maxTasks || n > maxTasks+1 || w.link.Stats().TasksRefused == 0 {
		t.Errorf("%d tasks", n)
	}
}

// Addresses beyond the bound are refused, unless others have been idle for long.
func TestMaxPeers(t *testing.T) {
	w := start(t, func(o *Options) { o.MaxPeers = 3 }, map[string]service.Service{domain: newDesk(echo)})
	s := w.connect()
	for i := range 3 {
		s.send(fmt.Sprintf("<iq type='get' id='%d' from='u%d@host.example' to='pub.example'><q xmlns='urn:q'/></iq>", i, i))
		if st := s.expect(); st.Type != stanza.TypeResult {
			t.Errorf("%s", st.Element.Raw())
		}
	}
	s.send("<iq type='get' id='4' from='u4@host.example' to='pub.example'><q xmlns='urn:q'/></iq><message from='u5@host.example' to='pub.example'/>")
	if st := s.expect(); st.Type != stanza.TypeError || st.Err().Condition != "resource-constraint" {
		t.Errorf("%s", st.Element.Raw())
	}
	w.until("dropped", func() bool { return w.link.Stats().Dropped[ReasonPeers] == 1 })
	w.link.mu.Lock()
	for _, p := range w.link.services[domain].peers {
		p.heard.Store(0)
	}
	w.link.mu.Unlock()
	w.link.post(nil, func() { w.link.swept = time.Time{} })
	s.send("<iq type='get' id='6' from='u6@host.example' to='pub.example'><q xmlns='urn:q'/></iq>")
	if st := s.expect(); st.Type != stanza.TypeResult {
		t.Errorf("%s", st.Element.Raw())
	}
}
