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
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
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

// testLive: what is published is delivered in order with its position, and nothing else is.
func testLive(s *suite) {
	topic := s.topic("/suite")
	one := s.open(Request{Topics: []string{topic + "/a"}})
	both := s.open(Request{Topics: []string{topic + "/a", topic + "/[bc]"}})
	var at []tidings.Position
	for n := 1; n <= 60; n += 3 {
		at = append(at, s.Publish(topic+"/a", n, n+2)...)
		s.Publish(topic+"/other", 1, 2)
	}
	s.expect(one, at, 1, 60)
	s.expect(both, at, 1, 60)
	b := s.Publish(topic+"/b", 61, 70)
	c := s.Publish(topic+"/c", 71, 80)
	a := s.Publish(topic+"/a", 81, 81)
	s.expect(both, append(append(b, c...), a...), 61, 81)
	s.expect(one, a, 81, 81)
}

// testResume: going on from a position gives exactly what follows it, and then what is published.
func testResume(s *suite) {
	topic := s.topic("/suite")
	start := s.Publish(topic+"/other", 1, 1)[0]
	at := s.Publish(topic, 1, 300) // more than a feed holds is in testSlowReader
	for _, have := range []int{0, 1, 2, 150, 299, 300} {
		after := start
		if have > 0 {
			after = at[have-1]
		}
		s.expect(s.open(Request{Topics: []string{topic}, After: after}), at[have:], have+1, 300)
		s.expect(s.open(Request{Topics: []string{topic + "x", topic[:len(topic)-1] + "?"}, After: after}), at[have:], have+1, 300)
	}
	c := s.open(Request{Topics: []string{topic}, After: at[299]})
	at = s.Publish(topic, 301, 310)
	s.expect(c, at, 301, 310)
}

// testJoinAtRandom has readers join, leave and come back while events are published: each gets every event behind its
// start once.
func testJoinAtRandom(s *suite) {
	const events, readers = 480, 12
	topic := s.topic("/suite")
	var acked atomic.Int64
	var joined, reading sync.WaitGroup
	start := make(chan struct{}, readers)
	joined.Add(readers)
	for i := range readers {
		reading.Go(func() {
			join := sync.OnceFunc(joined.Done)
			defer join()
			<-start
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			r := Request{Topics: []string{topic}}
			want := 0 // the next number; 0 until the first has come
			for {
				c, err := s.server.Open(r)
				if err != nil {
					s.Errorf("reader %d: %v", i, err)
					return
				}
				latest := int(acked.Load()) + 2 // what is published from now on comes; one may be under way
				join()
				for stay := rng.IntN(events / 3); stay > 0 || s.o.Live; stay-- {
					e, err := next(c)
					if err != nil || e.Kind != Message {
						s.Errorf("reader %d: want message %d, got %+v, %v", i, want, e, err)
						c.Close()
						return
					}
					n, err := number(e.Payload)
					if err != nil || want == 0 && n > latest || want > 0 && n != want {
						s.Errorf("reader %d: got message %d, want %d (the first: at most %d), %v", i, n, want, latest, err)
						c.Close()
						return
					}
					if want, r.After = n+1, e.Position; n == events {
						c.Close()
						return
					}
				}
				c.Close()
			}
		})
	}
	const lead = 30
	// A reader who is always there sets the pace, so that the others join a stream and not a heap.
	pacer := s.open(Request{Topics: []string{topic}})
	for n := 1; n < events; n++ {
		s.Append(event(topic, n, ""))
		acked.Store(int64(n))
		if n%(events/readers) == 0 {
			start <- struct{}{}
		}
		if n > lead {
			s.expect(pacer, nil, n-lead, n-lead)
		}
	}
	close(start)
	joined.Wait() // so that there is something for everybody
	s.Append(event(topic, events, ""))
	s.expect(pacer, nil, events-lead, events)
	reading.Wait()
}

// testGap: a position whose followers are lost and one of another epoch are told, with the position from which the
// stream goes on, and the stream goes on.
func testGap(s *suite) {
	topic := s.topic("/brief")
	at := s.Publish(topic, 1, 10)
	s.Trim()
	kept := s.Publish(topic, 11, 12)
	r := Request{Topics: []string{topic}, After: at[3]}
	c := s.open(r)
	oldest := s.expectGap(c)
	s.expect(c, kept, 11, 12)
	kept = append(kept, s.Publish(topic, 13, 13)...)
	s.expect(c, kept[2:], 13, 13)
	r.After = oldest
	s.expect(s.open(r), kept, 11, 13)
	r.After = at[9] // of the lost ones the last: nothing is missing
	s.expect(s.open(r), kept, 11, 13)

	topic = s.topic("/suite")
	at = s.Publish(topic, 1, 5)
	for _, after := range []tidings.Position{{Epoch: at[0].Epoch ^ 1, Offset: at[2].Offset}, {Epoch: at[0].Epoch, Offset: at[4].Offset + 1e6}} {
		c := s.open(Request{Topics: []string{topic}, After: after})
		s.expectGap(c)
		s.expect(c, at, 1, 5)
		at = append(at[:5:5], s.Publish(topic+"/x", 1, 1)...)[:5]
	}
}

// testRevoke: a revoked reader gets nothing that is published after Revoke has returned, and others of the same rights
// miss nothing.
func testRevoke(s *suite) {
	topic := s.topic("/private")
	idA, tokenA := s.Token("/private/**")
	_, tokenB := s.Token("/private/**")
	for _, token := range []string{"", "tid_aaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"} {
		if c, err := s.server.Open(Request{Topics: []string{topic}, Token: token}); err == nil {
			c.Close()
			s.Errorf("a private topic was opened with the token %q", token)
		} else if k := tidings.KindOf(err); k != tidings.ErrUnauthenticated && k != tidings.ErrForbidden {
			s.Errorf("a private topic, token %q: refused with %v", token, err)
		}
	}
	a := s.open(Request{Topics: []string{topic}, Token: tokenA})
	b := s.open(Request{Topics: []string{topic}, Token: tokenB})
	aPattern := s.open(Request{Topics: []string{"/private/**"}, Token: tokenA})
	bPattern := s.open(Request{Topics: []string{"/private/**"}, Token: tokenB})
	anyone := s.open(Request{Topics: []string{"/**"}})
	s.Publish(topic, 1, 3)
	for _, c := range []Conn{a, b, aPattern, bPattern} {
		s.expect(c, nil, 1, 3)
	}
	s.Revoke(idA)
	s.Publish(topic, 4, 6)
	for _, c := range []Conn{a, aPattern} {
		s.expectEnd(c, Denied)
	}
	for _, c := range []Conn{b, bPattern} {
		s.expect(c, nil, 4, 6)
	}
	public := s.topic("/suite")
	s.Publish(public, 7, 7)
	s.expect(anyone, nil, 7, 7) // none of the private ones before it
	if c, err := s.server.Open(Request{Topics: []string{topic}, Token: tokenA}); err == nil {
		c.Close()
		s.Error("a revoked token opened a private topic")
	}
}

// testRevokeWhilePublishing is testRevoke in the middle of a stream.
func testRevokeWhilePublishing(s *suite) {
	topic := s.topic("/private")
	for range 5 {
		id, token := s.Token(topic)
		live := s.open(Request{Topics: []string{topic}, Token: token})
		slow := s.open(Request{Topics: []string{topic}, Token: token, ReceiveBuffer: slowBuffer})
		var begun atomic.Int64
		first := make(chan struct{})
		stop := make(chan struct{})
		var publishing sync.WaitGroup
		publishing.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				begun.Store(int64(n))
				s.publish(topic, n, n, strings.Repeat("p", 1000))
				if n == 20 {
					close(first)
				}
			}
		})
		<-first
		s.Revoke(id)
		most := int(begun.Load())
		for name, c := range map[string]Conn{"live": live, "slow": slow} {
			n := 0
			for {
				e, err := next(c)
				if errors.Is(err, io.EOF) || err == nil && e.Kind == Denied {
					break
				}
				got, numErr := number(e.Payload)
				if err != nil || numErr != nil || got != n+1 {
					s.Errorf("%s reader: got %+v, %v after message %d", name, e, err, n)
					break
				}
				if n = got; n > most {
					break
				}
			}
			if n > most {
				s.Errorf("%s reader got message %d; when Revoke returned, %d had not been begun", name, n, most+1)
			}
		}
		close(stop)
		publishing.Wait()
	}
}

// testSlowReader: a reader that does not read delays nobody, and gets everything when it reads.
func testSlowReader(s *suite) {
	const events = 300
	topic := s.topic("/suite")
	slow := s.open(Request{Topics: []string{topic}, ReceiveBuffer: slowBuffer})
	fast := s.open(Request{Topics: []string{topic}})
	pad := strings.Repeat("p", 3000)
	at := make(chan []tidings.Position, 1)
	go func() {
		var ps []tidings.Position
		for n := 1; n <= events; n += 10 { // what lies between is not this reader's
			ps = append(ps, s.publish(topic, n, n+9, pad)...)
			s.Publish(topic+"/other", 1, 3)
		}
		at <- ps
	}()
	s.expect(fast, nil, 1, events)
	s.expect(slow, <-at, 1, events)
	if n := s.Hub.Stats().Behind; n == 0 && !s.o.Polls {
		s.Error("the slow reader was never left behind, so that the test shows nothing")
	}
	ps := s.Publish(topic, events+1, events+1)
	s.expect(slow, ps, events+1, events+1)
	s.expect(fast, ps, events+1, events+1)
}

// testShutdown: a server that stops delivers what is acknowledged, says goodbye and ends the streams; the next one goes
// on where it stopped.
func testShutdown(s *suite) {
	const events = 300
	topic := s.topic("/suite")
	quiet := s.open(Request{Topics: []string{topic + "/quiet"}})
	live := s.open(Request{Topics: []string{topic}})
	slow := s.open(Request{Topics: []string{topic}, ReceiveBuffer: slowBuffer})
	s.publish(topic, 1, events, strings.Repeat("p", 3000))
	var stopped sync.WaitGroup
	stopped.Go(func() {
		s.server.Close()
		s.Shutdown()
	})
	s.expectEnd(quiet, Goodbye)
	last := s.expect(live, nil, 1, events)
	s.expectEnd(live, Goodbye)
	s.expect(slow, nil, 1, events)
	s.expectEnd(slow, Goodbye)
	stopped.Wait()
	if s.o.Live {
		return
	}
	again := newSuite(s.T, s.o, s.Journal)
	at := again.Publish(topic, events+1, events+3)
	again.expect(again.open(Request{Topics: []string{topic}, After: last}), at, events+1, events+3)
}
