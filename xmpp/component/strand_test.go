package component

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tidings/xmpp/jid"
)

var delivery = regexp.MustCompile(`<message to='(u\d+)@[^>]*><n>(\d+)\.(\d+)</n></message>`)

// distributed is a message for many, and its addresses.
var (
	distributed = regexp.MustCompile(`<message to='example/multicast-[^>]*>(<n>[^<]*</n>)<addresses[^>]*>(.*?)</addresses></message>`)
	address     = regexp.MustCompile(`<address type='bcc' jid='([^']*)'/>`)
)

// each has the messages for many in the form in which each address has its own.
func each(b []byte) []byte {
	return distributed.ReplaceAllFunc(b, func(m []byte) (out []byte) {
		parts := distributed.FindSubmatch(m)
		for _, a := range address.FindAllSubmatch(parts[2], -1) {
			out = fmt.Appendf(out, "<message to='%s' from='pub.example'>%s</message>", a[1], parts[1])
		}
		return out
	})
}

// TestRounds: flows come and go in the middle of rounds, which are written in pieces of any size; each has every message behind
// where it joined, once and in order.
func TestRounds(t *testing.T) {
	w := newWorld(t, nil)
	defer w.close()
	rapid.Check(t, func(t *rapid.T) {
		l := w.link
		l.times.piece = rapid.SampledFrom([]int{pieceSize, 100}).Draw(t, "bytes of a piece")
		j := newJournal(w.e)
		v := &served{peers: map[jid.JID]*peer{}}
		r := j.reader(1, 0)
		_, src, err := r.Open(r.Mark())
		if err != nil {
			t.Fatal(err)
		}
		s := &strand{l: l, src: src, moved: true, mark: r.Mark(), begin: r.Mark()}
		l.families[nil] = &family{main: s}
		type had struct {
			a    *attached
			from int // the first event that it is to have
			got  []string
		}
		all := map[string]*had{}
		lanes := rapid.IntRange(1, 3).Draw(t, "lanes")
		l.multicast.on = lanes == 1 && rapid.Bool().Draw(t, "multicast")
		var here []*had
		join := func() {
			if s.extra {
				return // nobody stands there
			}
			s.look()
			p := &peer{l: l, served: v, addr: user(len(all)), head: "<message to='" + user(len(all)).Bare().String() + "'", lane: uint8(len(all) % lanes)}
			h := &had{a: &attached{p: p}, from: int(s.mark.Offset) + 1}
			all[p.addr.Local()] = h
			here = append(here, h)
			s.join(h.a)
		}
		take := func(size int) bool {
			out := make(pieces, lanes)
			more := s.fill(out, size)
			for lane, b := range out {
				for _, m := range delivery.FindAllSubmatch(each(b), -1) {
					h := all[string(m[1])]
					if h.a.s == nil || int(h.a.p.lane) != lane {
						t.Fatalf("%s is given something in lane %d, or behind its end", m[1], lane)
					}
					h.got = append(h.got, string(m[2])+"."+string(m[3]))
				}
			}
			return more
		}
		join()
		var events []int
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"publish", "take", "take", "join", "leave"}).Draw(t, "step") {
			case "publish":
				n := rapid.IntRange(1, 3).Draw(t, "messages")
				events = append(events, n)
				j.publish(n)
			case "take":
				take(rapid.IntRange(1, 400).Draw(t, "bytes"))
			case "join":
				join()
			case "leave":
				if len(here) > 1 { // the last would close it
					i := rapid.IntRange(0, len(here)-1).Draw(t, "who")
					s.remove(here[i].a)
					here = slices.Delete(here, i, i+1)
				}
			}
		}
		for take(1000) {
		}
		for name, h := range all {
			var want []string
			for i, n := range events {
				for k := range n {
					if i+1 >= h.from {
						want = append(want, fmt.Sprintf("%d.%d", i+1, k))
					}
				}
			}
			if h.a.s == nil {
				want = want[:min(len(want), len(h.got))]
			}
			if !slices.Equal(h.got, want) {
				t.Fatalf("%s had %v, not %v", name, h.got, want)
			}
		}
		l.dirty = nil
	})
}
