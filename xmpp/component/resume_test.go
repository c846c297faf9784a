package component

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// ledger is what the server has had of each address, over all connections.
type ledger struct {
	tb
	mu    sync.Mutex
	want  map[jid.JID][]string // all that there will be for an address
	had   map[jid.JID]int      // of want
	acked map[jid.JID]int      // of it, what the link knows that the server has routed
}

// reading is a wire's connections as the server reads them.
type reading struct {
	*ledger
	lines []*server
	most  int // stanzas, then one of the connections is cut; 0 for never
	late  int // stanzas between a ping and its answer
	whole bool

	had      int
	at       map[jid.JID]int              // of want
	over     map[jid.JID]int              // which connection
	answered map[string][]map[jid.JID]int // at, by ping
}

// reads reads connections until they have had so many stanzas, then cuts one of them; 0 for never. Each answer to a ping is late
// by so many stanzas of its connection.
func (g *ledger) reads(lines []*server, most, late int) (err error) {
	r := &reading{ledger: g, lines: lines, most: most, late: late, whole: lines[0].w.link.times.piece == pieceSize && lines[0].w.link.times.round == 1,
		at: map[jid.JID]int{}, over: map[jid.JID]int{}, answered: map[string][]map[jid.JID]int{}}
	ended := make(chan error, len(lines))
	for i := range lines {
		go func() { ended <- r.line(i) }()
	}
	for range lines {
		err = errors.Join(err, <-ended)
	}
	return err
}

// line reads one of the connections. When it ends, the link closes the others.
func (r *reading) line(lane int) error {
	s := r.lines[lane]
	defer s.nc.Close()
	var asked map[jid.JID]int // as of the ping that is to be answered
	var id string
	wait := 0
	for {
		el, err := s.element()
		if err != nil {
			return nil
		}
		st, err := stanza.Parse(el)
		if err != nil {
			return err
		}
		if distributes(s, &st) {
			continue
		}
		r.mu.Lock()
		r.had++
		n := r.had
		switch {
		case st.To == s.w.link.multicast.to:
			err = eachAddress(&st, func(copy *stanza.Stanza) error { return r.take(lane, copy) })
		case !isPing(&st):
			err = r.take(lane, &st)
		case id != "":
			err = errors.New("a second ping before the answer to the first")
		default:
			round := st.ID[:strings.LastIndexByte(st.ID, '-')]
			for before, told := range r.answered { // the link has heard all answers to that
				if before != round {
					for _, at := range told {
						maps.Copy(r.acked, at)
					}
					delete(r.answered, before)
				}
			}
			asked, id, wait = maps.Clone(r.at), st.ID, r.late
			maps.DeleteFunc(asked, func(a jid.JID, _ int) bool { return r.over[a] != lane })
		}
		r.mu.Unlock()
		if err != nil {
			return err
		}
		if n%3 == 0 { // at any moment
			s.w.link.post(nil, func() {
				if l := s.w.link; l.wire != nil {
					l.measure()
				}
			})
		}
		if id != "" {
			if wait--; wait < 0 {
				round := id[:strings.LastIndexByte(id, '-')]
				r.mu.Lock()
				r.answered[round] = append(r.answered[round], asked)
				r.mu.Unlock()
				r.lines[0].send("<iq type='result' from='example' to='pub.example' id='" + id + "'/>")
				id = ""
			}
		}
		if n == r.most {
			return nil
		}
	}
}

// take checks and notes a message. mu is held.
func (r *reading) take(lane int, st *stanza.Stanza) error {
	what := number(st)
	want := r.want[st.To]
	i, known := r.at[st.To]
	if was, ok := r.over[st.To]; ok && was != lane {
		return fmt.Errorf("%s is given %s over connection %d, and something before over %d", st.To, what, lane, was)
	}
	if !known {
		for i < len(want) && want[i] != what {
			i++
		}
		if i > r.ledger.had[st.To] {
			return fmt.Errorf("%s begins with %s behind a gap", st.To, what)
		}
		if i < r.acked[st.To] && r.whole { // a round is in one piece
			return fmt.Errorf("%s is given %s again, %d were acknowledged", st.To, what, r.acked[st.To])
		}
	} else if i >= len(want) || want[i] != what {
		return fmt.Errorf("%s is given %s as number %d of this connection", st.To, what, i)
	}
	r.at[st.To], r.over[st.To] = i+1, lane
	r.ledger.had[st.To] = max(r.ledger.had[st.To], i+1)
	return nil
}

func (g *ledger) all() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for a, want := range g.want {
		if g.had[a] < len(want) {
			return false
		}
	}
	return true
}

// TestResume: whatever is cut wherever, each address gets every message at least once, in order and without gaps, and what was
// acknowledged is not repeated; over restarts too.
func TestResume(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &ledger{tb: t, want: map[jid.JID][]string{}, had: map[jid.JID]int{}, acked: map[jid.JID]int{}}
		names := senderNames[:rapid.IntRange(0, len(senderNames)).Draw(t, "senders")]
		multicast := len(names) == 0 && rapid.Bool().Draw(t, "multicast")
		options := func(o *Options) { o.Senders, o.Multicast = names, multicast }
		w := newWorld(t, options)
		defer w.close()
		events := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 60).Draw(t, "messages of events")
		type subscriber struct {
			addr  jid.JID
			every int
			from  uint64
		}
		var subs []subscriber
		for i := range rapid.IntRange(1, 12).Draw(t, "addresses") {
			s := subscriber{user(i), rapid.IntRange(1, 3).Draw(t, "every"), uint64(min(len(events), rapid.SampledFrom([]int{0, 0, 0, 1, 5}).Draw(t, "from")))}
			subs = append(subs, s)
			g.want[s.addr] = []string{}
			for j, n := range events {
				if j+1 > int(s.from) && (j+1)%s.every == 0 {
					for k := range n {
						g.want[s.addr] = append(g.want[s.addr], fmt.Sprintf("%d.%d", j+1, k))
					}
				}
			}
		}
		first := rapid.IntRange(0, len(events)).Draw(t, "events at first")
		put := func(n int) {
			if n == 0 {
				w.j.publishRaw(nil)
			} else {
				w.j.publish(n)
			}
		}
		for _, n := range events[:first] {
			put(n)
		}
		w.j.behind = rapid.IntRange(0, len(events)).Draw(t, "fetched")
		cuts := rapid.SliceOfN(rapid.IntRange(1, 80), 0, 5).Draw(t, "cuts")
		late := rapid.IntRange(0, 20).Draw(t, "answers are late by")
		restarts := rapid.SliceOfN(rapid.Bool(), len(cuts), len(cuts)).Draw(t, "killed then")

		piece := rapid.SampledFrom([]int{pieceSize, 1000, 100}).Draw(t, "bytes of a piece")
		round := rapid.SampledFrom([]int{1, 300, roundSize}).Draw(t, "bytes of a round")
		begin := func() {
			w.link.times.piece, w.link.times.round = piece, round
			if err := w.link.Handle(domain, newDesk(nil)); err != nil {
				t.Fatal(err)
			}
			at, known := w.link.Acknowledged()
			for _, s := range subs {
				r := w.j.reader(s.every, s.from)
				if known && at.Offset > s.from {
					r.from = at
				}
				w.link.Peer(s.addr, domain).Attach(r)
			}
			w.run()
		}
		begin()
		rest := events[first:]
		for i := 0; ; i++ {
			lines := w.connectAll()
			most := 0
			if i < len(cuts) {
				most = cuts[i]
			}
			ended := make(chan error, 1)
			if most == 0 {
				late = 0
			}
			go func() { ended <- g.reads(lines, most, late) }()
			n := len(rest)
			if most > 0 {
				n = rapid.IntRange(0, len(rest)).Draw(t, "events meanwhile")
			}
			for _, m := range rest[:n] {
				put(m)
			}
			rest = rest[n:]
			if most == 0 {
				w.until("everything", func() bool {
					select {
					case err := <-ended:
						t.Fatalf("%v, had %v of %v", err, g.had, g.want)
					default:
					}
					return g.all() && w.link.Stats().Connected
				})
				w.cancel()
				<-w.ran
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				break
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(20 * time.Millisecond): // no more is coming
				lines[len(lines)-1].nc.Close()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
			}
			if restarts[i] {
				w.kill()
				saved, ok := w.store.mark, w.store.ok
				for a := range g.acked {
					g.acked[a] = 0 // what was acknowledged and not saved is given out again
				}
				if ok {
					for _, s := range subs {
						for j, x := range g.want[s.addr] {
							var ev int
							fmt.Sscanf(x, "%d.", &ev)
							if ev <= int(saved.Offset) {
								if g.had[s.addr] <= j {
									t.Fatalf("%v is saved, and %s has not had %s", saved, s.addr, x)
								}
								g.acked[s.addr] = j + 1
							}
						}
					}
				}
				w.again(options)
				begin()
			}
		}
		if w.store.saved() != w.j.head() {
			t.Fatalf("%v is saved, the head is %v", w.store.saved(), w.j.head())
		}
		w.j.mu.Lock()
		defer w.j.mu.Unlock()
		if w.j.open != 0 {
			t.Fatalf("%d sources are open", w.j.open)
		}
	})
}

// kill ends the link as a crash would: nothing is written, acknowledged or saved any more.
func (w *world) kill() {
	w.link.mine.Store(false)
	w.link.mu.Lock()
	c := w.link.carrier
	w.link.mu.Unlock()
	w.cancel()
	if c != nil {
		c.kill(ErrLost)
	}
	<-w.ran
}

// One that joins others behind messages that are not acknowledged is given those again, and holds the position.
func TestOwed(t *testing.T) {
	w := start(t, nil, map[string]service.Service{domain: newDesk(nil)})
	numbers := func(s *server, to jid.JID, want ...string) {
		t.Helper()
		for _, x := range want {
			if st := s.expect(); st.To != to || number(&st) != x {
				t.Fatalf("%s comes, not %s for %s", st.Element.Raw(), x, to)
			}
		}
	}
	for range 3 {
		w.j.publish(1)
	}
	w.link.Peer(user(1), domain).Attach(w.j.reader(1, 0))
	s := w.connect()
	numbers(s, user(1), "1.0", "2.0", "3.0")
	ping := s.next()
	s.pong(&ping)
	w.until("acknowledged", func() bool { m, _ := w.link.Acknowledged(); return m == w.j.head() })
	w.link.Peer(user(2), domain).Attach(w.j.reader(1, 0))
	numbers(s, user(2), "1.0", "2.0", "3.0")
	if ping = s.next(); !isPing(&ping) {
		t.Fatalf("%s", ping.Element.Raw())
	}
	w.until("it has joined", func() bool { st := w.link.Stats(); return st.Sources == 1 && st.Flows == 2 })
	w.until("the position is its own", func() bool { m, _ := w.link.Acknowledged(); return m.Offset == 0 })
	s.nc.Close()
	s = w.connect()
	numbers(s, user(2), "1.0", "2.0", "3.0")
	go s.serve()
	w.until("acknowledged", func() bool { m, _ := w.link.Acknowledged(); return m == w.j.head() })
}
