package outlettest

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"tidings"
)

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
		if err := s.Hub.Drain(s.Context()); err != nil { // "from now on" is after what was published the last time
			s.Fatal(err)
		}
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
