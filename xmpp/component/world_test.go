package component

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tidings/edge"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait. It is long because machines that run tests are busy.
const patience = 60 * time.Second

// tb is what testing.TB and rapid.T have in common.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// world is a link with the server that it dials.
type world struct {
	tb
	e      *edge.Edge
	ln     net.Listener
	link   *Link
	store  *store
	j      *journal
	cancel context.CancelFunc
	ran    chan error
	logs   *logs
}

// store is a Position.
type store struct {
	mu    sync.Mutex
	mark  service.Mark
	ok    bool
	saves int
	err   error
}

func (s *store) Load(context.Context) (service.Mark, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mark, s.ok, s.err
}

func (s *store) Save(_ context.Context, m service.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.mark, s.ok = m, true
		s.saves++
	}
	return s.err
}

func (s *store) saved() service.Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mark
}

// logs keeps what is logged.
type logs struct {
	mu sync.Mutex
	b  []byte
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

const (
	domain = "pub.example"
	secret = "test"
)

// newWorld makes a server that listens and a link that does not run.
func newWorld(t tb, change func(*Options)) *world {
	t.Helper()
	e, err := edge.New(edge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{tb: t, e: e, ln: ln, store: &store{}, j: newJournal(e), logs: &logs{}}
	w.again(change)
	return w
}

// again makes another link, as after a restart.
func (w *world) again(change func(*Options)) {
	w.Helper()
	o := Options{Edge: w.e, Addr: w.ln.Addr().String(), Domain: domain, Secret: secret, Position: w.store, AckTimeout: patience,
		Log: slog.New(slog.NewTextHandler(w.logs, nil))}
	if change != nil {
		change(&o)
	}
	l, err := New(o)
	if err != nil {
		w.Fatal(err)
	}
	l.times.retry, l.times.retryMost, l.times.conflictMost = 2*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	l.times.tick, l.times.save, l.times.stop = 2*time.Millisecond, time.Millisecond, patience
	w.link = l
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.ran = cancel, make(chan error, 1)
	link := w.link
	go func() { w.ran <- link.Run(ctx) }()
}

// stop ends the link as the program does, and waits.
func (w *world) stop() error {
	w.Helper()
	w.cancel()
	select {
	case err := <-w.ran:
		return err
	case <-time.After(patience):
		w.Fatal("Run does not return")
		return nil
	}
}

// close ends everything.
func (w *world) close() {
	w.Helper()
	w.ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.e.Shutdown(ctx); err != nil {
		w.Fatal(err)
	}
}

// start is newWorld, with the link running and everything closed at the end of the test.
func start(t *testing.T, change func(*Options), services map[string]service.Service) *world {
	t.Helper()
	w := newWorld(t, change)
	for d, s := range services {
		if err := w.link.Handle(d, s); err != nil {
			t.Fatal(err)
		}
	}
	w.run()
	t.Cleanup(func() {
		w.link.times.stop = 0 // the test has seen what it wanted to
		w.ln.Close()
		w.stop()
		w.close()
		w.j.closed(t)
	})
	return w
}

// until waits for something that has no event to wait for.
func (w *world) until(what string, so func() bool) {
	w.Helper()
	end := time.Now().Add(patience)
	for !so() {
		if time.Now().After(end) {
			w.Fatalf("%s: not within %v; %+v\n%s", what, patience, w.link.Stats(), w.logs)
		}
		time.Sleep(time.Millisecond)
	}
}

// server is the server's end of a connection.
type server struct {
	w    *world
	nc   net.Conn
	scan xmlstream.Scanner
	doc  xmlstream.Document
	ns   *xmlstream.Context
	buf  []byte
}

// accept waits for the link to dial.
func (w *world) accept() *server {
	w.Helper()
	w.ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	nc, err := w.ln.Accept()
	if err != nil {
		w.Fatal(err)
	}
	return &server{w: w, nc: nc, buf: make([]byte, 64<<10)}
}

// connect accepts, and shakes hands. A link that was killed may have dialed in vain before.
func (w *world) connect() *server {
	w.Helper()
	var err error
	for range 3 {
		s := w.accept()
		if err = s.welcome(); err == nil {
			return s
		}
		s.nc.Close()
	}
	w.Fatal(err)
	return nil
}

// senderNames are domains of senders.
var senderNames = []string{"out1.example", "out2.example"}

// connectAll is connect, and the same of the link's senders: the component's own connection is the first.
func (w *world) connectAll() []*server {
	w.Helper()
	lines := []*server{w.connect()}
	for range w.link.senders {
		lines = append(lines, w.connect())
	}
	return lines
}

var errStream = errors.New("the stream has ended")

func (s *server) token() (xmlstream.Kind, []byte, error) {
	for {
		kind, raw, err := s.scan.Next()
		if err != nil || kind != xmlstream.None {
			return kind, raw, err
		}
		s.nc.SetReadDeadline(time.Now().Add(patience))
		n, err := s.nc.Read(s.buf)
		if n == 0 && err != nil {
			return 0, nil, err
		}
		s.scan.Feed(s.buf[:n])
	}
}

// header reads the component's header.
func (s *server) header() error {
	kind, raw, err := s.token()
	if err != nil {
		return err
	}
	if kind != xmlstream.Open {
		return fmt.Errorf("not a header: %s", raw)
	}
	_, s.ns, err = s.doc.ParseHeader(raw)
	return err
}

func (s *server) welcome() error {
	if err := s.header(); err != nil {
		return err
	}
	s.send("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' from='pub.example' id='3BF96D32'>")
	el, err := s.element()
	if err != nil {
		return err
	}
	if el.Name() != "handshake" || el.Text() != "aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e" {
		return fmt.Errorf("the handshake is %s", el.Raw())
	}
	s.send("<handshake/>")
	return nil
}

func (s *server) send(text string) {
	s.nc.SetWriteDeadline(time.Now().Add(patience))
	io.WriteString(s.nc, text)
}

// element returns the next element. It is valid until the next call.
func (s *server) element() (xmlstream.Element, error) {
	kind, raw, err := s.token()
	switch {
	case err != nil:
		return xmlstream.Element{}, err
	case kind == xmlstream.End:
		return xmlstream.Element{}, errStream
	}
	return s.doc.Parse(raw, s.ns)
}

// toEnd reads to the end of the stream, and returns errStream, or why there is none.
func (s *server) toEnd() error {
	for {
		if _, err := s.element(); err != nil {
			return err
		}
	}
}

// next returns the next stanza.
func (s *server) next() stanza.Stanza {
	s.w.Helper()
	el, err := s.element()
	if err != nil {
		s.w.Fatalf("%v\n%s", err, s.w.logs)
	}
	st, err := stanza.Parse(el)
	if err != nil {
		s.w.Fatalf("%v: %s", err, el.Raw())
	}
	return st
}

// isPing reports whether the stanza is a ping of the link.
func isPing(st *stanza.Stanza) bool { return st.Request() && st.Payload().Is("urn:xmpp:ping", "ping") }

// pong answers it.
func (s *server) pong(st *stanza.Stanza) { s.send(string(st.AppendResult(nil, nil))) }

// expect returns the next stanza that is no ping; pings are answered.
func (s *server) expect() stanza.Stanza {
	s.w.Helper()
	for {
		st := s.next()
		if !isPing(&st) {
			return st
		}
		s.pong(&st)
	}
}

// serve answers pings until the connection ends, and counts what else comes.
func (s *server) serve() (messages int) {
	for {
		el, err := s.element()
		if err != nil {
			s.nc.Close()
			return messages
		}
		if st, err := stanza.Parse(el); err == nil && isPing(&st) {
			s.pong(&st)
		} else {
			messages++
		}
	}
}

// number returns which message of a journal a stanza is.
func number(st *stanza.Stanza) string { return st.Child("n").Text() }

func user(i int) jid.JID { return jid.MustParse(fmt.Sprintf("u%d@host.example/r&'%d", i, i)) }
