// Package outlettest is the suite that every outlet which streams has to pass: live and stored events are one sequence
// without a hole or a repeat, a gap is told, a revocation ends what it forbids, a slow reader delays nobody, and a server
// that stops says goodbye. It runs on the memory journal, and on a JetStream journal that was closed and opened again.
//
// An outlet joins it with an [Outlet], which serves a [World] and talks to itself as a client would.
package outlettest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
)

// Outlet is an outlet under test and what its protocol cannot do.
type Outlet struct {
	// Serve starts the outlet on the world's hub and edge.
	Serve func(w *World) Server
	// Live is set for a protocol whose readers always begin now: nothing is asked to resume.
	Live bool
	// Public is set for a protocol whose readers are all anonymous: nothing is asked of tokens.
	Public bool
	// Mute is set for a form of a protocol that has no words for the server's goodbye.
	Mute bool
	// Polls is set for a form of a protocol whose readers come back for each answer: they have no place in a feed between two
	// requests, so that none of them is left behind.
	Polls bool
}

// Server is a running outlet.
type Server interface {
	// Open connects and subscribes. It returns once the subscription is in effect: what is published from then on is
	// delivered. A refusal is an error of kind tidings.ErrUnauthenticated or ErrForbidden.
	Open(r Request) (Conn, error)
	// Close stops listening. Streams go on.
	Close()
}

// Request is what a connection subscribes to.
type Request struct {
	Topics []string         // patterns
	After  tidings.Position // zero: from now on
	Token  string           // empty: anonymous
	// ReceiveBuffer is the size in bytes of the socket's receive buffer, set before it connects; 0 for the system's.
	ReceiveBuffer int
}

// Conn is a subscribed connection. One goroutine at a time calls Next; Close may be called beside it and makes it fail.
type Conn interface {
	// Next waits for the next thing the server says, keepalives aside. After the last it returns io.EOF.
	Next() (Event, error)
	Close()
}

// Event is something the server said.
type Event struct {
	Kind Kind
	// Position is that of the message, in the journal; of a gap, the position from which the reader goes on. A Live
	// outlet may leave it zero.
	Position tidings.Position
	Payload  []byte // of a message, as published
}

// Kind is the kind of an Event.
type Kind int

// The kinds.
const (
	Message Kind = iota + 1
	Gap          // events after the position asked for are lost
	Denied       // the server ends the subscription, because the reader may not read it any more
	Goodbye      // the server stops
)

// slowBuffer is the receive buffer of slow readers: less than what a feed holds.
const slowBuffer = 32 << 10

// Run runs the suite.
func Run(t *testing.T, o Outlet) {
	t.Run("memory", func(t *testing.T) {
		j := journal.NewMemory(Options(""))
		defer j.Close()
		o.run(t, j)
	})
	t.Run("reopened", func(t *testing.T) {
		dir := t.TempDir()
		open := func() journal.Journal {
			j, err := journal.OpenJetStream(t.Context(), Options(dir))
			if err != nil {
				t.Fatal(err)
			}
			return j
		}
		j := open()
		// What a reader had and what it missed while the server was down are on both sides of the reopening.
		s := &suite{World: NewWorld(t, j, hub.Options{}, edge.Options{}), o: o}
		s.server = o.Serve(s.World)
		before := s.Publish("/suite/before", 1, 20)
		s.Publish("/brief/before", 1, 20)
		s.Trim()
		s.server.Close()
		s.Shutdown()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open()
		defer j.Close()
		if !o.Live {
			t.Run("Before", func(t *testing.T) {
				s := newSuite(t, o, j)
				c := s.open(Request{Topics: []string{"/suite/before"}, After: before[6]})
				s.Publish("/suite/before", 21, 25)
				s.expect(c, before[7:], 8, 20)
				s.expect(c, nil, 21, 25)
				// Trimmed before the restart.
				c = s.open(Request{Topics: []string{"/brief/before"}, After: before[0]})
				s.expectGap(c)
				s.Publish("/brief/before", 21, 21)
				s.expect(c, nil, 21, 21)
			})
		}
		o.run(t, j)
	})
}

func (o Outlet) run(t *testing.T, j journal.Journal) {
	for _, test := range []struct {
		name   string
		f      func(*suite)
		resume bool // needs a protocol that resumes
		tokens bool // needs one with tokens
	}{
		{name: "Live", f: testLive},
		{name: "Resume", f: testResume, resume: true},
		{name: "JoinAtRandom", f: testJoinAtRandom},
		{name: "Gap", f: testGap, resume: true},
		{name: "Revoke", f: testRevoke, tokens: true},
		{name: "RevokeWhilePublishing", f: testRevokeWhilePublishing, tokens: true},
		{name: "SlowReader", f: testSlowReader},
		{name: "Shutdown", f: testShutdown},
	} {
		if test.resume && o.Live || test.tokens && o.Public {
			continue
		}
		t.Run(test.name, func(t *testing.T) { test.f(newSuite(t, o, j)) })
	}
}

// suite is a World with the outlet on it.
type suite struct {
	*World
	o      Outlet
	server Server
}

func newSuite(t *testing.T, o Outlet, j journal.Journal) *suite {
	t.Helper()
	s := &suite{World: NewWorld(t, j, hub.Options{}, edge.Options{}), o: o}
	s.server = o.Serve(s.World)
	t.Cleanup(func() { s.server.Close() })
	return s
}

// topic returns a topic of the test's own below the prefix.
func (s *suite) topic(prefix string) string {
	_, name, _ := strings.Cut(s.Name(), "/")
	return prefix + "/" + strings.ReplaceAll(name, "/", ".")
}

func (s *suite) open(r Request) Conn {
	s.Helper()
	c, err := s.server.Open(r)
	if err != nil {
		s.Fatalf("opening %+v: %v", r, err)
	}
	s.Cleanup(c.Close)
	return c
}

// next is c.Next within the suite's patience.
func next(c Conn) (Event, error) {
	timer := time.AfterFunc(patience, c.Close)
	e, err := c.Next()
	if !timer.Stop() && err != nil {
		err = fmt.Errorf("nothing came for %s: %w", patience, err)
	}
	return e, err
}

// expect reads the messages with the numbers from to to; at has their positions, nil for any that grow.
func (s *suite) expect(c Conn, at []tidings.Position, from, to int) (last tidings.Position) {
	s.Helper()
	for n := from; n <= to; n++ {
		e, err := next(c)
		if err != nil || e.Kind != Message {
			s.Fatalf("want message %d, got %+v, %v", n, e, err)
		}
		if got, err := number(e.Payload); err != nil || got != n {
			s.Fatalf("want message %d, got %d, %v", n, got, err)
		}
		if !s.o.Live {
			switch {
			case at != nil && e.Position != at[n-from]:
				s.Fatalf("message %d came with the position %s, want %s", n, e.Position, at[n-from])
			case e.Position.Epoch != last.Epoch && last.Epoch != 0, e.Position.Offset <= last.Offset:
				s.Fatalf("message %d came with the position %s after %s", n, e.Position, last)
			}
		}
		last = e.Position
	}
	return last
}

func (s *suite) expectGap(c Conn) tidings.Position {
	s.Helper()
	e, err := next(c)
	if err != nil || e.Kind != Gap {
		s.Fatalf("want a gap, got %+v, %v", e, err)
	}
	if head := s.Journal.Head(); e.Position.Epoch != head.Epoch || e.Position.Offset > head.Offset {
		s.Fatalf("the gap leads to %s, which is no position in the journal up to %s", e.Position, head)
	}
	return e.Position
}

// expectEnd reads what the server says last, of the kind given unless the outlet is mute, and the connection's end.
func (s *suite) expectEnd(c Conn, kind Kind) {
	s.Helper()
	e, err := next(c)
	if !s.o.Mute {
		if err != nil || e.Kind != kind {
			s.Fatalf("want kind %d, got %+v, %v", kind, e, err)
		}
		e, err = next(c)
	}
	if !errors.Is(err, io.EOF) {
		s.Fatalf("want the end, got %+v, %v", e, err)
	}
}
