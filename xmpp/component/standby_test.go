package component

import (
	"context"
	"errors"
	"io"
	"testing"

	"tidings/xmpp/service"
)

// lease is a Lease of a test.
type lease struct {
	grant    chan chan struct{}
	lost     chan struct{}
	released chan struct{}
}

func (l *lease) Acquire(ctx context.Context) error {
	select {
	case l.lost = <-l.grant:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *lease) Lost() <-chan struct{} { return l.lost }

func (l *lease) Release() { close(l.released) }

// A standby dials when it has the lease, goes on where the other process was, and is silent when it has lost it.
func TestLease(t *testing.T) {
	ls := &lease{grant: make(chan chan struct{}), released: make(chan struct{})}
	w := start(t, func(o *Options) { o.Lease = ls }, map[string]service.Service{domain: newDesk(nil)})
	w.link.Peer(user(1), domain).Attach(w.j.reader(1, 0))
	for range 5 {
		w.j.publish(1)
	}
	w.until("waiting", func() bool { return w.link.Stats().WaitingForLease })
	w.store.Save(t.Context(), service.Mark{Epoch: 7, Offset: 3}) // by the other process
	lost := make(chan struct{})
	ls.grant <- lost
	s := w.connect()
	if st := s.expect(); number(&st) != "4.0" {
		t.Errorf("%s", st.Element.Raw())
	}
	if st := s.expect(); number(&st) != "5.0" {
		t.Errorf("%s", st.Element.Raw())
	}
	close(lost)
	s.serve()
	w.until("waiting again", func() bool { return w.link.Stats().WaitingForLease })
	if !errors.Is(w.lastError(), ErrLeaseLost) {
		t.Error(w.lastError())
	}
	for range 3 {
		w.j.publish(1)
	}
	w.store.Save(t.Context(), service.Mark{Epoch: 7, Offset: 7})
	ls.grant <- make(chan struct{})
	s = w.connect()
	if st := s.expect(); number(&st) != "8.0" {
		t.Errorf("%s", st.Element.Raw())
	}
	go s.serve()
	w.until("saved", func() bool { return w.store.saved() == w.j.head() })
	w.cancel()
	<-ls.released
}

// A process that finds the domain taken waits, and goes on from what the other one has saved.
func TestConflict(t *testing.T) {
	w := start(t, nil, map[string]service.Service{domain: newDesk(nil)})
	w.link.Peer(user(1), domain).Attach(w.j.reader(1, 0))
	for range 3 {
		w.j.publish(1)
	}
	for range 3 {
		s := w.accept()
		s.header()
		s.send("<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='1'>" +
			"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
		io.Copy(io.Discard, s.nc)
		s.nc.Close()
	}
	w.store.Save(t.Context(), service.Mark{Epoch: 7, Offset: 2})
	s := w.connect()
	if st := s.expect(); number(&st) != "3.0" {
		t.Errorf("%s", st.Element.Raw())
	}
	go s.serve()
}
