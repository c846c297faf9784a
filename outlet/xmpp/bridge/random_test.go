package bridge_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/outlet/xmpp/bridge"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
)

// trouble is a server with rooms that lets a bridge down at random: it ends connections before or behind what it passes on
// and may resume their sessions, puts the bridge out, and lets it wait.
type trouble struct {
	f      *fixture
	random *rand.Rand
	calm   atomic.Bool         // from now on all is well
	said   map[string][]string // by room: the ids of what was said, as often as it was said
	in     map[string]bool
	logins int

	// The session that can be resumed (XEP-0198).
	alive   bool
	got     int      // stanzas of the bridge that were handled
	sent    []string // stanzas to it, in all
	resumed int
}

// logIn does the server's part of a login, in which the bridge may resume its session.
func (s *trouble) logIn(l *lines) error {
	expect := func(answer string) (line string, err error) {
		l.SetDeadline(time.Now().Add(time.Minute))
		if line, err = l.line(); err != nil {
			return line, err
		}
		if strings.HasPrefix(line, "<iq") {
			_, id, _ := strings.Cut(line, "id='")
			id, _, _ = strings.Cut(id, "'")
			answer = fmt.Sprintf(answer, id)
		}
		if !strings.HasPrefix(line, "<resume") {
			_, err = io.WriteString(l.Conn, answer)
		}
		return line, err
	}
	const bound = "<iq type='result' id='%s'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>anon@example.org/tidings</jid></bind></iq>"
	for _, answer := range []string{
		header + "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>",
		"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
		header + "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>",
	} {
		if _, err := expect(answer); err != nil {
			return err
		}
	}
	line, err := expect(bound)
	if err != nil {
		return err
	}
	if _, h, ok := strings.Cut(line, " h='"); ok && strings.HasPrefix(line, "<resume") {
		h, _, _ = strings.Cut(h, "'")
		n, err := strconv.Atoi(h)
		if err != nil {
			return err
		}
		if s.alive && !s.maybe(3) {
			s.resumed++
			_, err = fmt.Fprintf(l.Conn, "<resumed xmlns='urn:xmpp:sm:3' previd='m' h='%d'/>%s", s.got, strings.Join(s.sent[n:], ""))
			return err
		}
		if _, err := io.WriteString(l.Conn, "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"); err != nil {
			return err
		}
		if _, err := expect(bound); err != nil {
			return err
		}
	}
	s.alive, s.got, s.sent, s.in = true, 0, nil, map[string]bool{}
	_, err = expect("<enabled xmlns='urn:xmpp:sm:3' id='m' resume='true'/>")
	return err
}

// serve serves connections, one after another, until ctx ends.
func (s *trouble) serve(ctx context.Context) {
	for {
		select {
		case nc := <-s.f.ends:
			s.logins++
			l := newLines(nc)
			if s.logIn(l) == nil {
				s.converse(ctx, l)
			}
			l.Close()
		case <-ctx.Done():
			return
		}
	}
}

func (s *trouble) maybe(n int) bool { return !s.calm.Load() && s.random.IntN(n) == 0 }

// converse answers what the bridge says until it has let the bridge down.
func (s *trouble) converse(ctx context.Context, l *lines) {
	say := func(format string, a ...any) bool {
		stanza := fmt.Sprintf(format, a...)
		s.sent = append(s.sent, stanza)
		_ = l.SetWriteDeadline(time.Now().Add(time.Minute))
		_, err := io.WriteString(l.Conn, stanza)
		return err == nil
	}
	for ok := true; ok && !s.maybe(100); {
		var line string
		select {
		case line, ok = <-l.in:
		case <-ctx.Done():
			return
		}
		attr := func(name string) string {
			_, v, _ := strings.Cut(line, " "+name+"='")
			v, _, _ = strings.Cut(v, "'")
			return v
		}
		room, _, _ := strings.Cut(attr("to"), "/")
		if ok && !strings.HasPrefix(line, "</stream") && !strings.Contains(line, "urn:xmpp:sm:3") {
			s.got++
		}
		switch {
		case !ok:
		case strings.HasPrefix(line, "<r xmlns"):
			_, err := fmt.Fprintf(l.Conn, "<a xmlns='urn:xmpp:sm:3' h='%d'/>", s.got)
			ok = err == nil
		case strings.HasPrefix(line, "<a xmlns"):
		case strings.HasPrefix(line, "</stream"):
			s.alive = false
			_, _ = io.WriteString(l.Conn, "</stream:stream>") // the bridge may be gone
			return
		case strings.HasPrefix(line, "<presence") && attr("type") == "unavailable":
			s.in[room] = false
		case strings.HasPrefix(line, "<presence") && s.maybe(4):
			ok = say("<presence from='%s/bot' type='error'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>", room)
		case strings.HasPrefix(line, "<presence"):
			s.in[room] = true
			ok = say("<presence from='%s/bot'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/><status code='110'/></x></presence>", room)
		case strings.HasPrefix(line, "<iq") && s.in[room]:
			ok = say("<iq from='%s/bot' type='result' id='%s'/>", room, attr("id"))
		case strings.HasPrefix(line, "<iq"):
			ok = say("<iq from='%s/bot' type='error' id='%s'><error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", room, attr("id"))
		case !s.in[room]:
			ok = say("<message from='%s' type='error' id='%s'><error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>", room, attr("id"))
		case s.maybe(60):
			s.in[room] = false
			ok = s.maybe(2) || say("<presence from='%s/bot' type='unavailable'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'/><status code='110'/><status code='307'/></x></presence>", room)
		default:
			s.said[room] = append(s.said[room], attr("id"))
			ok = s.maybe(100) || say("<message from='%s/bot' type='groupchat' id='%s'><body>x</body></message>", room, attr("id"))
		}
	}
}

// TestTrouble: whatever the server does and however often the process is killed, each room is told all of it, in order.
func TestTrouble(t *testing.T) {
	for round := range 8 {
		t.Run(fmt.Sprint(round), func(t *testing.T) { synctest.Test(t, runTrouble) })
	}
}

func runTrouble(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := newFixture(t)
	f.tail = 4 << 10 // so that a room that was away is read for from the journal
	f.start()
	s := &trouble{f: f, random: rand.New(rand.NewPCG(seed, 0)), said: map[string][]string{}, in: map[string]bool{}}
	life := rand.New(rand.NewPCG(seed, 1))
	serving, stop := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.serve(serving)
	}()
	open := func() {
		var err error
		f.bridge, err = bridge.Open(context.Background(), bridge.Options{
			Hub: f.hub, Store: f.store, Name: "test", Nick: "bot", Rate: 50, Window: 8, Log: slog.New(slog.NewTextHandler(&f.log, nil)),
			Rooms: []bridge.Room{{Address: "all@c.example", Patterns: []tidings.Pattern{tidings.MustPattern("/**")}}, {Address: "{host}@c.example"}},
			Dial: dial.Config{JID: jid.MustParse("example.org"), Plaintext: true, Address: "x", DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				select {
				case f.ends <- theirs:
					return ours, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	halt := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_ = f.bridge.Stop(ctx) // which may take too long, as the server has it
	}
	open()
	want := map[string][]string{}
	const n = 400
	for range n {
		host := "h" + fmt.Sprint(life.IntN(3)) + ".example"
		r, err := f.journal.Append(t.Context(), tidings.Event{Topic: tidings.Topic("/recentchange/" + host), ContentType: "text/plain", Payload: []byte(strings.Repeat("x", life.IntN(300)))})
		if err != nil {
			t.Fatal(err)
		}
		for _, room := range []string{"all@c.example", host + "@c.example"} {
			want[room] = append(want[room], r[0].Position.String())
		}
		switch life.IntN(40) {
		case 0:
			f.store.breaks(true)
			halt(canceled())
			f.store.breaks(false)
			open()
		case 1:
			halt(context.Background())
			open()
		case 2:
			time.Sleep(time.Duration(life.IntN(60)) * time.Second) // of the bubble
		default:
			time.Sleep(time.Duration(life.IntN(100)) * time.Millisecond)
		}
	}
	// With a server that does what it should, everything comes.
	synctest.Wait()
	s.calm.Store(true)
	for range 60 {
		time.Sleep(time.Minute)
		synctest.Wait()
		if done(f.bridge.Stats(), want) {
			break
		}
	}
	halt(context.Background())
	stop()
	<-served
	repeats := 0
	for room, ids := range want {
		var first []string
		for _, id := range s.said[room] {
			if slices.Contains(first, id) {
				repeats++
				continue
			}
			first = append(first, id)
		}
		if !slices.Equal(first, ids) {
			t.Errorf("%s was told %d of %d, or not in order:\n%v\n%v", room, len(first), len(ids), first, ids)
		}
	}
	t.Logf("%d logins, %d of them resumed, %d repeats of %d messages", s.logins, s.resumed, repeats, 2*n)
	if t.Failed() {
		t.Log(f.log.String())
	}
	f.end()
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// done reports whether every room has acknowledged what is wanted.
func done(st bridge.Stats, want map[string][]string) bool {
	for room, ids := range want {
		i := slices.IndexFunc(st.Rooms, func(r bridge.RoomStats) bool { return r.Room == room })
		if i < 0 || st.Rooms[i].UnderWay > 0 || before(st.Rooms[i].Position.String(), ids[len(ids)-1]) {
			return false
		}
	}
	return true
}

func before(a, b string) bool {
	p, _ := tidings.ParsePosition(a)
	q, _ := tidings.ParsePosition(b)
	return p.Offset < q.Offset
}
