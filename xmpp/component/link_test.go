package component

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

func TestDigest(t *testing.T) { // XEP-0114 example 3
	if got := Digest("3BF96D32", "test"); got != "aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e" {
		t.Error(got)
	}
}

// sentinels are by the names in the scripts.
var sentinels = map[string]error{"host-unknown": ErrHostUnknown, "conflict": ErrConflict, "not-authorized": ErrNotAuthorized,
	"invalid-from": ErrInvalidFrom, "invalid-namespace": ErrInvalidNamespace, "closed": ErrClosed, "lost": ErrLost, "timeout": context.DeadlineExceeded}

// TestTranscripts plays the server's part of the scripts. C: is what the link has to send, with {NAME} for what is not known
// before; S: what the server sends; "cut" closes the connection; "error: CONDITION" is how the attempt or the connection ends,
// "says: TEXT" and "hint: TEXT" what its text or its hint has.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := start(t, func(o *Options) {
				if strings.Contains(string(text), "\nerror: timeout") {
					o.HandshakeTimeout = 50 * time.Millisecond
				}
			}, map[string]service.Service{domain: newDesk(echo)})
			s := w.accept()
			vars := map[string]string{}
			for n, line := range strings.Split(string(text), "\n") {
				verb, rest, _ := strings.Cut(line, ":")
				rest = strings.TrimSpace(rest)
				switch verb {
				case "S":
					for k, v := range vars {
						rest = strings.ReplaceAll(rest, "{"+k+"}", v)
					}
					s.send(rest)
				case "C":
					if err := s.read(rest, vars); err != nil {
						t.Fatalf("%s:%d: %v\n%s", file, n+1, err, w.logs)
					}
				case "cut":
					s.nc.Close()
				case "error":
					w.until("the end", func() bool { return w.link.Stats().LastError != "" })
					// Another attempt sees the same, which shows what the error is.
					var e *Error
					want := sentinels[rest]
					err := w.lastError()
					if want == nil {
						if !errors.As(err, &e) || e.Stream.Condition != rest {
							t.Fatalf("%s:%d: %v", file, n+1, err)
						}
					} else if !errors.Is(err, want) {
						t.Fatalf("%s:%d: %v", file, n+1, err)
					}
				case "says":
					w.until("the end", func() bool { return w.link.Stats().LastError != "" })
					if got := w.lastError().Error(); !strings.Contains(got, rest) {
						t.Errorf("%s:%d: the error is %q", file, n+1, got)
					}
				case "hint":
					var e *Error
					if !errors.As(w.lastError(), &e) || !strings.Contains(e.Hint(), rest) || !strings.Contains(w.logs.String(), rest) {
						t.Errorf("%s:%d: %v\n%s", file, n+1, w.lastError(), w.logs)
					}
				case "dropped":
					w.until("drop", func() bool { return w.link.Stats().Dropped[rest] > 0 })
				default:
					if verb != "" && !strings.HasPrefix(verb, "#") {
						t.Fatalf("%s:%d: what is %q?", file, n+1, line)
					}
				}
			}
			s.nc.Close()
		})
	}
}

func (w *world) lastError() error {
	w.link.log.Lock()
	defer w.link.log.Unlock()
	return w.link.log.err
}

var placeholder = regexp.MustCompile(`\\\{([a-z]+)\\\}`)

// read reads exactly what a line of a script says.
func (s *server) read(want string, vars map[string]string) error {
	var names []string
	pattern := placeholder.ReplaceAllStringFunc(regexp.QuoteMeta(want), func(m string) string {
		names = append(names, placeholder.FindStringSubmatch(m)[1])
		return "([^'<>]*)"
	})
	re := regexp.MustCompile("^" + pattern)
	var got []byte
	one := make([]byte, 1)
	s.nc.SetReadDeadline(time.Now().Add(patience))
	for {
		if m := re.FindSubmatch(got); m != nil && len(m[0]) == len(got) {
			for i, n := range names {
				vars[n] = string(m[i+1])
			}
			return nil
		}
		if len(got) > len(want)+200 {
			return fmt.Errorf("got %s", got)
		}
		if _, err := s.nc.Read(one); err != nil {
			return fmt.Errorf("%w behind %s", err, got)
		}
		got = append(got, one[0])
	}
}

// echo answers requests with what they hold, messages with another, and subscribes who is available to nothing.
func echo(p service.Peer, st *stanza.Stanza) {
	switch {
	case st.Request():
		p.Send(st.AppendResult(nil, st.Payload().AppendXML(nil, stanza.NSClient)))
	case st.Kind == stanza.Message && st.Type != stanza.TypeError:
		b := stanza.AppendStart(nil, stanza.Message, st.Type, st.ID, st.To, st.From)
		for c := range st.Element.Children() {
			b = c.AppendXML(b, stanza.NSClient)
		}
		p.Send(stanza.AppendEnd(b, stanza.Message))
	case st.Kind == stanza.Presence:
		p.Send(stanza.AppendEmpty(nil, stanza.Presence, st.Type, st.ID, st.To, st.From))
	}
}

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
	h.Swap(func(at service.Mark) service.Flow {
		if at != head {
			t.Errorf("it stands at %v", at)
		}
		return w.j.reader(2, at.Offset)
	})
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
	w.until("gone", func() bool { return w.link.Stats().Peers == 1 })
	d.mu.Lock()
	gone := len(d.gone)
	d.mu.Unlock()
	if gone != 1 || w.link.Stats().Flows != 1 {
		t.Errorf("%d gone, %+v", gone, w.link.Stats())
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
func (l *lease) Release()              { close(l.released) }

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
