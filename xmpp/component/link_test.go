package component

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// Flows with one key share a source, and those that come later join it.
func TestShare(t *testing.T) {
	w := start(t, nil, map[string]service.Service{domain: newDesk(nil)})
	for range 5 {
		w.j.publish(1)
	}
	const n = 20
	for i := range n {
		w.link.Peer(user(i), domain).Attach(w.j.reader(1, 2))
	}
	s := w.connect()
	seen := map[jid.JID]string{}
	for range n * 3 {
		st := s.expect()
		seen[st.To] += number(&st) + " "
	}
	for i := range n {
		if got := seen[user(i)]; got != "3.0 4.0 5.0 " {
			t.Errorf("%s got %q", user(i), got)
		}
	}
	// One that begins elsewhere goes alone, and joins.
	w.link.Peer(user(n), domain).Attach(w.j.reader(1, 0))
	for i := range 5 {
		if st := s.expect(); st.To != user(n) || number(&st) != fmt.Sprintf("%d.0", i+1) {
			t.Errorf("%s gets %s", st.To, number(&st))
		}
	}
	go s.serve()
	w.until("one source", func() bool { open, _ := w.j.sources(); return open == 1 && w.link.Stats().Sources == 1 })
	if st := w.link.Stats(); st.Flows != n+1 || st.Peers != n+1 {
		t.Errorf("%+v", st)
	}
	w.until("the head is acknowledged", func() bool { m, ok := w.link.Acknowledged(); return ok && m == w.j.head() })
	// With nothing to give out the position moves with the journal.
	w.j.publishRaw(nil)
	w.until("and saved", func() bool { return w.store.saved() == w.j.head() })
}

// What was sent before a flow is attached comes before it, and nothing of it comes behind Detach.
func TestOrder(t *testing.T) {
	handles := make(chan service.Handle, 1)
	var w *world
	w = start(t, nil, map[string]service.Service{domain: newDesk(func(p service.Peer, st *stanza.Stanza) {
		if st.Type == stanza.TypeUnavailable {
			h := <-handles
			h.Detach()
			p.Send(stanza.AppendEmpty(nil, stanza.Presence, stanza.TypeUnavailable, "", st.To, st.From))
			return
		}
		p.Send(stanza.AppendEmpty(nil, stanza.Presence, "", "", st.To, st.From))
		handles <- p.Attach(w.j.reader(1, 0))
	})})
	w.j.publish(2)
	s := w.connect()
	s.send("<presence from='u1@host.example/r' to='room@pub.example/nick'/>")
	for _, want := range []string{"", "1.0", "1.1"} {
		if st := s.expect(); number(&st) != want {
			t.Errorf("%s comes, not %q", st.Element.Raw(), want)
		}
	}
	s.send("<presence type='unavailable' from='u1@host.example/r' to='room@pub.example/nick'/>")
	if st := s.expect(); st.Type != stanza.TypeUnavailable {
		t.Errorf("%s", st.Element.Raw())
	}
	w.j.publish(1)
	s.send("<presence from='u2@host.example/r' to='room@pub.example/nick'/>")
	for _, want := range []string{"", "1.0", "1.1", "2.0"} {
		if st := s.expect(); number(&st) != want || st.To.Local() != "u2" {
			t.Errorf("%s comes, not %q", st.Element.Raw(), want)
		}
	}
}

// A shared source that ends takes with it who may not read any more, and no others.
func TestRevoked(t *testing.T) {
	w := start(t, nil, map[string]service.Service{domain: newDesk(nil)})
	var flows []*reader
	for i := range 5 {
		r := w.j.reader(1, 0)
		flows = append(flows, r)
		w.link.Peer(user(i), domain).Attach(r)
	}
	w.j.publish(1)
	s := w.connect()
	for range flows {
		s.expect()
	}
	w.j.mu.Lock()
	flows[1].gone = errors.New("no more")
	w.j.mu.Unlock()
	w.j.revoke(errRevoked)
	last := map[jid.JID]int{}
	for range 4 { // each its own source's last words
		st := s.expect()
		if st.Child("last").IsZero() {
			t.Fatalf("%s", st.Element.Raw())
		}
		last[st.To]++
	}
	for i, r := range flows {
		err := <-r.ended
		if i == 1 && (err == nil || last[user(i)] > 0) || i != 1 && (err != nil || last[user(i)] != 1) {
			t.Errorf("flow %d ends with %v and %d last messages", i, err, last[user(i)])
		}
	}
	w.until("no flows", func() bool { return w.link.Stats().Flows == 0 })
}

// Swap begins where the old flow stood; what was not acknowledged of it is repeated after the loss of the connection.
func TestSwap(t *testing.T) {
	w := start(t, nil, map[string]service.Service{domain: newDesk(nil)})
	p := w.link.Peer(user(1), domain)
	h := p.Attach(w.j.reader(1, 0))
	for range 3 {
		w.j.publish(1)
	}
	s := w.connect()
	read := func(s *server, want ...string) {
		t.Helper()
		for _, x := range want {
			st := s.next()
			for isPing(&st) { // which nobody answers
				st = s.next()
			}
			if number(&st) != x {
				t.Fatalf("%s comes, not %s", st.Element.Raw(), x)
			}
		}
	}
	read(s, "1.0", "2.0", "3.0")
	head := w.j.head()
	swapped := make(chan struct{})
	h.Swap(func(at service.Mark) service.Flow {
		defer close(swapped)
		if at != head {
			t.Errorf("it stands at %v", at)
		}
		return w.j.reader(2, at.Offset)
	})
	<-swapped
	for range 3 {
		w.j.publish(1)
	}
	read(s, "4.0", "6.0")
	s.nc.Close()
	s = w.connect()
	read(s, "1.0", "2.0", "3.0", "4.0", "6.0")
	s.nc.Close()
	s = w.connect()
	for _, x := range []string{"1.0", "2.0", "3.0", "4.0", "6.0"} {
		if st := s.expect(); number(&st) != x {
			t.Fatalf("%s comes, not %s", st.Element.Raw(), x)
		}
	}
	go s.serve()
	w.until("acknowledged", func() bool { m, _ := w.link.Acknowledged(); return m == w.j.head() })
	s.nc.Close()
	w.j.publish(1)
	w.j.publish(1)
	s = w.connect()
	if st := s.expect(); number(&st) != "8.0" {
		t.Errorf("%s", st.Element.Raw())
	}
}

// A stop waits until everything is acknowledged, and saves that.
func TestStop(t *testing.T) {
	w := newWorld(t, nil)
	w.link.Handle(domain, newDesk(nil))
	for i := range 50 {
		w.link.Peer(user(i), domain).Attach(w.j.reader(1, 0))
	}
	for range 40 {
		w.j.publish(1)
	}
	w.run()
	s := w.connect()
	n := make(chan int)
	first := s.expect()
	if number(&first) != "1.0" {
		t.Errorf("%s", first.Element.Raw())
	}
	w.cancel()
	go func() { n <- s.serve() }()
	if err := <-w.ran; err != nil {
		t.Error(err)
	}
	if got := <-n + 1; got != 50*40 {
		t.Errorf("%d messages have come", got)
	}
	if w.store.saved() != w.j.head() {
		t.Errorf("%v is saved", w.store.saved())
	}
	w.j.closed(t)
	w.close()
	if p := w.link.Peer(user(1), domain); p.Task(func(context.Context) func() { return nil }) {
		t.Error("a task after the end")
	}
}

// Over TLS, with two domains: all is as it is without.
func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	other := newDesk(echo)
	w := newWorld(t, func(o *Options) { o.TLS = &tls.Config{RootCAs: roots} })
	w.link.Handle(domain, newDesk(nil))
	w.link.Handle("other.example", other)
	if err := w.link.Handle("OTHER.example", other); err == nil {
		t.Error("two services for one domain")
	}
	for i := range 100 {
		w.link.Peer(user(i), domain).Attach(w.j.reader(1, 0))
	}
	for range 30 {
		w.j.publish(2)
	}
	w.run()
	s := w.accept()
	s.nc = tls.Server(s.nc, &tls.Config{Certificates: web.TLS.Certificates})
	if err := s.welcome(); err != nil {
		t.Fatal(err)
	}
	s.send("<iq type='get' id='other' from='ann@host.example' to='x@other.example'><q xmlns='urn:q'/></iq>")
	had := map[jid.JID]int{}
	answered := false
	for range 100*60 + 1 {
		st := s.expect()
		if st.Kind == stanza.IQ {
			answered = st.From.Domain() == "other.example" && st.Type == stanza.TypeResult
			continue
		}
		if n := had[st.To]; number(&st) != fmt.Sprintf("%d.%d", n/2+1, n%2) {
			t.Fatalf("%s gets %s", st.To, number(&st))
		}
		had[st.To]++
	}
	if !answered {
		t.Error("the other domain does not answer")
	}
	go s.serve()
	if err := w.stop(); err != nil {
		t.Error(err)
	}
	w.close()
	w.j.closed(t)
}
