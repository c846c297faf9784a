package stream

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestQueue compares a queue with a list that has an entry for each stanza.
func TestQueue(t *testing.T) {
	type sent struct {
		stanza string // "" for one of a flow
		flow   int
		place  int // in the flow
		until  int // of one that gathers what is up to there, else 0
	}
	rapid.Check(t, func(t *rapid.T) {
		var q Queue[int, int] // a mark is the number of messages before it
		var model []sent
		places := map[int]int{}
		// Near the end of the count, so that it begins at 0 again.
		start := rapid.SampledFrom([]uint32{0, math.MaxUint32 - 3}).Draw(t, "start")
		q.acked = start
		acked, total := start, start
		dropped := false
		check := func() {
			t.Helper()
			var got []sent
			private := 0
			last := Run[int, int]{Flow: -1}
			for r := range q.Runs() {
				if r.Stanza != nil {
					if r.Count != 1 {
						t.Fatalf("a stanza counts %d", r.Count)
					}
					got = append(got, sent{stanza: string(r.Stanza)})
					private += len(r.Stanza)
				}
				for i := range r.Count {
					if r.Stanza == nil {
						got = append(got, sent{flow: r.Flow, place: r.After + int(r.Skip) + int(i), until: r.Until})
					}
				}
				if r.Apart && (r.Count != 1 || r.Skip != 0) {
					t.Fatalf("%+v", r)
				}
				if r.Stanza == nil && last.Stanza == nil && last.Count > 0 && last.Flow == r.Flow && !r.Apart && !last.Apart && !dropped {
					t.Fatal("two runs of one flow follow each other")
				}
				last = r
			}
			if d := cmp.Diff(model, got, cmp.AllowUnexported(sent{})); d != "" {
				t.Fatal(d)
			}
			if q.Len() != len(model) || q.Bytes() != private || q.Acked() != acked || q.Sent() != total {
				t.Fatalf("len %d, bytes %d, acked %d, sent %d; want %d, %d, %d, %d", q.Len(), q.Bytes(), q.Acked(), q.Sent(), len(model), private, acked, total)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"stanza": func(t *rapid.T) {
				b := []byte("s" + strconv.Itoa(rapid.IntRange(0, 999).Draw(t, "stanza")))
				q.Stanza(b)
				model = append(model, sent{stanza: string(b)})
				b[0] = 'x' // a copy was kept
				total++
			},
			"flow": func(t *rapid.T) {
				f, n := rapid.IntRange(1, 2).Draw(t, "flow"), rapid.IntRange(0, 4).Draw(t, "messages")
				at := places[f]
				if q.Continues(f) {
					at = -1 // not used
				}
				q.Flow(f, at, n)
				for range n {
					model = append(model, sent{flow: f, place: places[f]})
					places[f]++
				}
				total += uint32(n)
			},
			"apart": func(t *rapid.T) {
				f, n := 3, rapid.IntRange(1, 4).Draw(t, "gathered")
				m := sent{flow: f, place: places[f], until: places[f] + n}
				q.Apart(f, m.place, m.until)
				model = append(model, m)
				places[f] += n
				total++
			},
			"drop": func(t *rapid.T) {
				n := rapid.IntRange(0, len(model)).Draw(t, "dropped")
				if n == len(model) || model[n].until == 0 {
					return
				}
				q.Drop(uint32(n))
				if model = slices.Delete(model, n, n+1); len(model) == 0 {
					model = nil
				}
				total--
				dropped = true
			},
			"ack": func(t *rapid.T) {
				n := rapid.IntRange(0, len(model)).Draw(t, "acked")
				acked += uint32(n)
				if err := q.Ack(acked); err != nil {
					t.Fatal(err)
				}
				model = model[n:]
				if len(model) == 0 {
					model = nil
				}
			},
			"ack too much": func(t *rapid.T) {
				// Everything from one more than was sent to one less than was acknowledged, around the end of the count.
				n := uint32(len(model)) + 1 + rapid.Uint32Range(0, math.MaxUint32-uint32(len(model))-1).Draw(t, "beyond")
				var e *Error
				if err := q.Ack(acked + n); !errors.As(err, &e) || e.Condition != "undefined-condition" || e.Name != "handled-count-too-high" {
					t.Fatalf("%d of %d: %v", acked+n, total, err)
				}
			},
			"resume": func(t *rapid.T) {
				// What is left is sent again, in the same order, and counted anew.
				for _, r := range q.Take() {
					switch {
					case r.Stanza != nil:
						q.Stanza(r.Stanza)
					case r.Apart:
						q.Apart(r.Flow, r.After, r.Until)
					default:
						q.Flow(r.Flow, r.After+int(r.Skip), int(r.Count))
					}
				}
			},
		})
	})
}

func TestQueueError(t *testing.T) {
	var q Queue[int, int]
	q.Flow(1, 0, 8)
	err := q.Ack(10)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	want := `<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>10 stanzas were acknowledged, 8 were sent</text><handled-count-too-high xmlns='urn:xmpp:sm:3' h='10' send-count='8'></handled-count-too-high></stream:error>`
	if got := string(e.Append(nil, TCP)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// An idle session's queue holds nothing, and ten thousand messages of a flow are one run.
func TestQueueIsSmall(t *testing.T) {
	var q Queue[int, int]
	for range 10_000 {
		q.Flow(1, q.Len(), 1)
	}
	if n := len(slices.Collect(q.Runs())); n != 1 {
		t.Errorf("%d runs", n)
	}
	for range 100 {
		q.Stanza(bytes.Repeat([]byte("x"), 100))
	}
	if err := q.Ack(q.Sent()); err != nil {
		t.Fatal(err)
	}
	if q.runs != nil || q.Bytes() != 0 {
		t.Errorf("an idle queue holds %d entries and %d bytes", cap(q.runs), q.Bytes())
	}
}

// Steady traffic that is acknowledged again and again allocates nothing.
func TestQueueAllocations(t *testing.T) {
	var q Queue[int, int]
	if n := testing.AllocsPerRun(100, func() {
		q.Flow(1, 0, 3)
		if err := q.Ack(q.Sent()); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
