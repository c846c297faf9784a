package client_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/client"
	"tidings/xmpp/server"
)

// testOnce reads the changes of en.wikipedia.org at the address, which tells their topic as given, from the start named. Connections
// break everywhere, and with restart it is another server after each 300; every change comes once and in order.
func testOnce(t *testing.T, url, start string, topic tidings.Topic, window time.Duration, restart bool) {
	const past, n = 150, 900
	w := startXMPP(t, func(o *server.Options) { o.ResumeWindow = window }, nil)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	relay := newWire(t, w.addr, func(n int) int {
		if n == 0 && start == "live" {
			return 12_000 // enough to get there
		}
		return 4000 + random.IntN(40_000)
	})
	var first tidings.Position
	for id := range past {
		if p := w.change(id); id == 0 {
			first = p
		}
	}
	if err := w.Hub.Drain(t.Context()); err != nil { // for readers they are the past from then on
		t.Fatal(err)
	}
	from, want := client.Live, past
	switch start {
	case "after":
		from, want = client.After(first), 1
	case "since":
		from, want = client.Since(time.Now().Add(-time.Hour)), 0
	}
	r := readRoom(t, url, relay.ln.Addr().String(), nil, from, nil)
	if start == "live" {
		r.connected()
	}
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for id := range n {
			w.change(past + id)
		}
	})
	defer publishing.Wait()
	var last tidings.Position
	for ; want < past+n; want++ {
		switch v := r.next().(type) {
		case error:
			t.Fatalf("behind %s, with %d to come: %v", last, past+n-want, v)
		case client.Event:
			rc, ok := v.RecentChange()
			if !ok || rc.ID != int64(want) || rc.Title != fmt.Sprintf("Title <%d>", want) || v.Position.Offset <= last.Offset ||
				v.Topic != topic || v.ID != v.Position.String() || v.Time.Unix() != 1772600767 {
				t.Fatalf("%+v (%v) in %+v behind %s, want change %d", rc, ok, v, last, want)
			}
			last = v.Position
		}
		if restart && want%300 == 299 {
			w.restart(relay)
		}
	}
	lines := relay.cut()
	if lines < 4 {
		t.Errorf("there were %d connections only", lines)
	}
	if resumed := w.srv.Stats().Resumed; !restart && (resumed > 0) != (window == 0) {
		t.Errorf("%d sessions were resumed", resumed)
	}
	t.Logf("%d connections", lines)
}

// testGap reads /brief/a at the address: what is not kept any more is a gap, at the beginning and in the middle.
func testGap(t *testing.T, url string) {
	for name, window := range map[string]time.Duration{"resumed": 0, "from the archive": -1} {
		t.Run(name, func(t *testing.T) {
			w := startXMPP(t, func(o *server.Options) { o.ResumeWindow = window }, nil)
			relay := newWire(t, w.addr, nil)
			ps := w.Publish("/brief/a", 1, 3)
			w.Trim()
			oldest := ps[2]
			four := w.Publish("/brief/a", 4, 4)[0]
			r := readRoom(t, url, relay.ln.Addr().String(), nil, client.After(ps[0]), nil)
			gap, ok := errors.AsType[*tidings.GapError](r.err())
			if !ok || gap.Asked != ps[0] || gap.Oldest != oldest {
				t.Fatalf("%v", gap)
			}
			if e := r.event(); e.Position != four {
				t.Fatalf("%+v", e)
			}
			r.connected()
			relay.refuse(true)
			relay.cut()
			five := w.Publish("/brief/a", 5, 5)[0]
			w.Trim()
			six := w.Publish("/brief/a", 6, 6)[0]
			relay.refuse(false)
			gap, ok = errors.AsType[*tidings.GapError](r.err())
			if !ok || gap.Asked != four || gap.Oldest != five {
				t.Fatalf("%v", gap)
			}
			if e := r.event(); e.Position != six {
				t.Fatalf("%+v", e)
			}
		})
	}
}

// unreadable is what cannot be read, and the error that says so.
type unreadable struct {
	name, url string
	patterns  []string // of which "" is the zero pattern
	filters   []client.Filter
	from      client.From
	opts      []client.Option
	kind      tidings.ErrorKind
	text      string
}

func (w *xmppWorld) refuses(t *testing.T, cases []unreadable) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			var ps []tidings.Pattern
			for _, p := range tt.patterns {
				pattern, err := tidings.ParsePattern(p)
				if err != nil && p != "" {
					t.Fatal(err)
				}
				ps = append(ps, pattern)
			}
			r := readRoom(t, tt.url, w.addr, ps, tt.from, tt.filters, tt.opts...)
			if err := r.err(); tidings.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v (%v), want %v and %q", err, tidings.KindOf(err), tt.kind, tt.text)
			}
		})
	}
}
