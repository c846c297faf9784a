package pubsub

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	model "tidings/pubsub"
	"tidings/xmpp/service"
	"tidings/xmpp/xmlstream"
)

// notifications is a log of messages in the form of digests, and a source of it that gives them out in pieces.
type notifications struct {
	log   [][]byte
	at    int // given out
	most  int // in a piece
	fetch bool
}

func (n *notifications) Next() ([]byte, edge.Status) {
	if n.at == len(n.log) {
		return nil, edge.Idle
	}
	if n.fetch = !n.fetch; n.fetch && n.at%3 == 1 {
		return nil, edge.Behind
	}
	return bytes.Join(n.log[n.at:min(n.at+n.most, len(n.log))], nil), edge.Ready
}

func (n *notifications) Advance(taken int) []byte {
	for taken > 0 {
		taken -= len(n.log[n.at])
		n.at++
	}
	if taken < 0 {
		panic("a message was cut")
	}
	return nil
}

func (n *notifications) Mark() service.Mark    { return service.Mark{Epoch: 7, Offset: uint64(n.at)} }
func (n *notifications) Fetch(context.Context) {}
func (n *notifications) Goodbye() []byte       { return nil }
func (n *notifications) Close()                {}

// told is what messages say, item by item.
type told struct {
	items []string // node, and what becomes of which
	sizes []int    // of each message, in items
	ids   []string // of each message
	gaps  int
}

// read reads a message, whose form the test is of.
func (g *told) read(t *rapid.T, message []byte) {
	if bytes.IndexByte(message, partEnd) >= 0 {
		t.Fatalf("the end of a part is left: %q", message)
	}
	m, ok := bytes.CutPrefix(message, []byte{service.To})
	if !ok || bytes.IndexByte(m, service.To) >= 0 {
		t.Fatalf("this is not one message: %q", message)
	}
	var d xmlstream.Document
	el, err := d.Parse(append([]byte("<message"), m...), nil)
	if err != nil {
		t.Fatalf("%v: %q", err, message)
	}
	if !el.Child("urn:tidings:0", "gap").IsZero() {
		g.gaps++
		g.items = append(g.items, "gap")
		return
	}
	if id := el.Child(nsSID, "stanza-id").Attr("id"); id != el.Attr("id") {
		t.Fatalf("two ids, %q and %q", id, el.Attr("id"))
	}
	items := el.Child(nsEvent, "event").Child(nsEvent, "items")
	n, kinds := 0, map[string]bool{}
	for c := range items.Children() {
		n++
		kinds[c.Name()] = true
		g.items = append(g.items, fmt.Sprintf("%s %s %s", items.Attr("node"), c.Name(), c.Attr("id")))
	}
	if n == 0 {
		n = 1
		g.items = append(g.items, items.Attr("node"))
	}
	if len(kinds) > 1 || n > maxDigestItems || n > 1 && len(message) > maxDigestBytes+2000 {
		t.Fatalf("%d items of %v in %d bytes", n, kinds, len(message))
	}
	if body := el.Child("", "body").Text(); body != "" && strings.Count(body, "retracted")+strings.Count(body, "text") != n {
		t.Fatalf("the body of %d items is %q", n, body)
	}
	g.sizes, g.ids = append(g.sizes, n), append(g.ids, el.Attr("id"))
}

// written are messages in a form.
func written(t *rapid.T, f form, events []tidings.Event) (log [][]byte) {
	for i := range events {
		e := &events[i]
		if e.Topic == "" {
			log = append(log, f.AppendGap(nil, &tidings.GapError{Asked: tidings.Position{Epoch: 7, Offset: 1}, Oldest: e.Position}))
			continue
		}
		c := model.DefaultConfig()
		if c.NotifyRetract = true; e.Topic == "/bare" {
			c.PersistItems, c.DeliverPayloads = false, false
		}
		log = append(log, append(f.append([]byte{service.To}, &hub.Item{Event: e}, &c), "</message>"...))
	}
	return log
}

// A digest says what its notifications would have said, in the order of it, with the id of the last; and what was given out once
// can be given out again from its marks.
func TestDigest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []tidings.Event
		for i := range rapid.IntRange(1, 150).Draw(t, "events") {
			e := tidings.Event{Topic: "/a", ID: fmt.Sprintf("<%d", i), Position: tidings.Position{Epoch: 7, Offset: uint64(i + 1)}, ContentType: "text/plain", Payload: []byte("text")}
			switch rapid.IntRange(0, 40).Draw(t, "kind") {
			case 0:
				e.Topic = ""
			case 1:
				e.Topic = "/b"
			case 2:
				e.Topic = "/bare"
			case 3, 4:
				e.Kind, e.Payload = tidings.Retract, nil
			case 5:
				e.Payload = []byte("text" + strings.Repeat("x", rapid.SampledFrom([]int{10_000, 40_000}).Draw(t, "size")))
			}
			events = append(events, e)
		}
		f := form{service: "pubsub.localhost", body: rapid.Bool().Draw(t, "body"), digest: true}
		if rapid.Bool().Draw(t, "several") {
			f.subID = "s1"
		}
		log := written(t, f, events)
		f.digest = false
		var want told
		for _, m := range written(t, f, events) {
			want.read(t, m)
		}
		f.digest = true

		type given struct {
			message      []byte
			after, until service.Mark
		}
		var all []given
		var got told
		src := f.gather(&notifications{log: log, most: rapid.IntRange(1, 200).Draw(t, "piece")})
		for {
			after := src.Mark()
			p, st := src.Next()
			if st == edge.Behind {
				continue
			}
			if st == edge.Idle {
				break
			}
			m := bytes.Clone(p)
			if rapid.IntRange(0, 9).Draw(t, "refused") == 0 {
				src.Advance(0)
				if src.Mark() != after {
					t.Fatal("what was not taken counts as taken")
				}
				continue
			}
			k := rapid.IntRange(1, len(m)).Draw(t, "taken")
			if rest := src.Advance(k); string(rest) != string(m[k:]) {
				t.Fatalf("the rest is %q, not %q", rest, m[k:])
			}
			got.read(t, m)
			all = append(all, given{m, after, src.Mark()})
		}
		if fmt.Sprint(got.items) != fmt.Sprint(want.items) || got.gaps != want.gaps {
			t.Fatalf("digests say\n%v, not\n%v", got.items, want.items)
		}
		end := 0
		for i, n := range got.sizes {
			if end += n; got.ids[i] != want.ids[end-1] {
				t.Fatalf("a digest that ends with %s has the id %s", want.ids[end-1], got.ids[i])
			}
		}

		// From any of them on, and by other pieces, they come again as they were.
		from := rapid.IntRange(0, len(all)-1).Draw(t, "from")
		again := f.gather(&notifications{log: log, most: rapid.IntRange(1, 200).Draw(t, "piece again"), at: int(all[from].after.Offset)})
		for _, g := range all[from:] {
			again.(service.Gathering).Limit(g.until)
			var p []byte
			for st := edge.Behind; st != edge.Ready; {
				if at := again.Mark(); at != g.after {
					t.Fatalf("it stands at %v, not %v", at, g.after)
				}
				if p, st = again.Next(); st == edge.Idle {
					t.Fatalf("nothing comes for %q", g.message)
				}
				if st == edge.Ready && rapid.IntRange(0, 9).Draw(t, "refused again") == 0 {
					again.Advance(0)
					st = edge.Behind
				}
			}
			if !bytes.Equal(p, g.message) {
				t.Fatalf("again\n%q, first\n%q", p, g.message)
			}
			again.Advance(len(p))
		}
		if p, st := again.Next(); st == edge.Ready {
			t.Fatalf("behind the limit: %q", p)
		}
		again.Close()
	})
}
