package room_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidings"
	"tidings/access"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/room"
	"tidings/recentchange"
	"tidings/xmpp/service/servicetest"
	"tidings/xmpp/stanza"
)

// A peer that asks for much and takes nothing has one answer waiting, and is refused what is too much; when it takes
// again, it gets the rest in order.
func TestGreedy(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, options(w))
	w.Publish("/news/a", 1, 120)
	p := newPeer(t, s, "greedy@localhost/x")
	const asked = 4200 // one more than may wait, and some
	for i := range asked {
		p.Say(fmt.Sprintf("<iq type='set' id='%d' to='\\2fnews\\2fa@conference.localhost'><query xmlns='urn:xmpp:mam:2'/></iq>", i))
	}
	if p.Tasks != 1 {
		t.Errorf("%d requests are under way at once", p.Tasks)
	}
	refused := len(p.Out)
	for i := range p.Out {
		if p.Out[i].Err().Condition != "resource-constraint" {
			t.Fatalf("unasked: %s", p.Out[i].Element.Raw())
		}
	}
	if refused == 0 || refused > asked/2 {
		t.Errorf("%d of %d are refused", refused, asked)
	}
	p.Out = nil
	next := 0
	for range 500 { // the others would take long
		for !p.Step() {
			t.Fatal("nothing goes on")
		}
		for i := range p.Out {
			if st := &p.Out[i]; st.Kind == stanza.IQ {
				if st.ID != fmt.Sprint(next) || st.Payload().Name() != "fin" {
					t.Fatalf("want the answer to %d, got %s", next, st.Element.Raw())
				}
				next++
			}
		}
		p.Out = nil
	}
	if next == 0 {
		t.Error("no page was finished")
	}
	p.Gone()
	if st := s.Stats(); st.Visitors != 0 || st.Occupants != 0 || st.Rooms != 0 || st.Dropped[room.DropJobs] != uint64(refused) {
		t.Errorf("left behind: %+v", st)
	}
}

// One may be in 2,000 rooms and no more.
func TestManyRooms(t *testing.T) {
	w := newWorld(t)
	s := newServer(t, options(w))
	p := newPeer(t, s, "many@localhost/x")
	for i := range 2001 {
		p.Say(fmt.Sprintf("<presence to='\\2f%d\\2f*@conference.localhost/many'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i))
	}
	servicetest.Run(p)
	if st := s.Stats(); st.Occupants != 2000 || st.Rooms != 2000 || st.Visitors != 1 {
		t.Errorf("%+v", st)
	}
	if last := &p.Out[len(p.Out)-1]; last.Type != stanza.TypeError || last.Err().Condition != "policy-violation" {
		t.Errorf("the last is answered with %s", last.Element.Raw())
	}
	p.Gone()
	if st := s.Stats(); st.Visitors != 0 || st.Occupants != 0 || st.Rooms != 0 || w.Hub.Stats().Subscriptions != 0 {
		t.Errorf("left behind: %+v, %+v", st, w.Hub.Stats())
	}
}

// FuzzStanzas gives a service any stanzas. Whatever they are, what it sends is stanzas, each request is answered once, and a
// peer that has gone leaves nothing behind. The seeds are what the clients of the transcripts say.
func FuzzStanzas(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("no transcript: %v", err)
	}
	o := outlettest.Options("")
	o.Retention = append(o.Retention, journal.Retention{Prefix: "/news", Bytes: 1})
	j := journal.NewMemory(o)
	f.Cleanup(func() { j.Close() })
	epoch := fmt.Sprintf("%08x", j.Head().Epoch)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var said strings.Builder
		for line := range strings.Lines(string(text)) {
			if l, ok := strings.CutPrefix(line, "C: "); ok {
				said.WriteString(strings.NewReplacer("{{epoch}}", "EPOCH", "{{noon}}", "2026-01-01T00:00:00Z", "{{", "", "}}", "").Replace(l))
			}
		}
		f.Add(said.String())
	}
	bucket, err := j.Bucket(context.Background(), "tokens")
	if err != nil {
		f.Fatal(err)
	}
	policy, err := access.Open(context.Background(), bucket, access.Options{Private: []tidings.Pattern{tidings.MustPattern("/private/**")}})
	if err != nil {
		f.Fatal(err)
	}
	h := hub.New(j, policy, hub.Options{Decode: outlet.Decoder(wikis)})
	e, err := edge.New(edge.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
		h.Close()
		policy.Close()
	})
	for _, ev := range []tidings.Event{
		{Topic: "/news/local", ContentType: "application/json", Payload: []byte(`{"a":1}`)},
		{Topic: "/news/local", ContentType: "text/plain", Payload: []byte("a <b> \x00")},
		{Topic: "/recentchange/w1.example.org", ContentType: recentchange.TypeRC, Payload: []byte(`<rc type="edit" title="A" user="B" wikiid="w1"/>`)},
		{Topic: "/recentchange/en.wikipedia.org", ContentType: recentchange.TypeRC, Payload: []byte(`<rc type="edit" title="A" user="B" wikiid="enwiki"/>`)},
		{Topic: "/private/x", ContentType: "text/plain", Payload: []byte("not-for-you")},
	} {
		if _, err := j.Append(context.Background(), ev); err != nil {
			f.Fatal(err)
		}
	}
	if err := h.Drain(context.Background()); err != nil {
		f.Fatal(err)
	}
	opt := room.Options{Hub: h, Edge: e, May: policy.May, Audience: policy.Audience, Wikis: wikis,
		Topics: func(ctx context.Context, p tidings.Pattern) (ts []tidings.Topic, err error) {
			infos, err := j.Topics(ctx, p)
			for _, i := range infos {
				ts = append(ts, i.Topic)
			}
			return ts, err
		},
		WikiOf: func(context.Context, tidings.Topic) (string, error) { return "enwiki", nil },
	}
	f.Fuzz(func(t *testing.T, said string) {
		if len(said) > 20_000 {
			return
		}
		s := newServer(t, opt) // of its own, so that what fails once does not fail everything
		before := h.Stats().Subscriptions
		p := newPeer(t, s, "fuzz@localhost/x")
		want := map[string]int{}
		for line := range strings.Lines(strings.ReplaceAll(said, "EPOCH", epoch)) {
			if st, ok := p.Try(line); ok && st.Request() {
				want[st.ID]++
			}
			if len(line)%2 == 0 {
				servicetest.Run(p)
			}
		}
		servicetest.Run(p)
		for i := range p.Out {
			st := &p.Out[i]
			if b := st.Element.Raw(); strings.Contains(string(b), "not-for-you") {
				t.Fatalf("told: %s", b)
			}
			if st.Kind == stanza.IQ {
				want[st.ID]--
			}
		}
		for id, n := range want {
			if n != 0 {
				t.Errorf("the requests of the id %q have %d answers too few", id, n)
			}
		}
		p.Gone()
		if st := s.Stats(); st.Visitors != 0 || st.Occupants != 0 || st.Rooms != 0 || h.Stats().Subscriptions != before {
			t.Errorf("left behind: %+v, %d subscriptions more", st, h.Stats().Subscriptions-before)
		}
	})
}
