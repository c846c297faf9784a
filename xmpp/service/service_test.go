package service

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"tidings/edge"
)

// log is what a source reads: events at offsets 1, 2 and so on, each of one message or more.
type log [][]byte

// source is a Source over a log that behaves as a subscription of the hub does: it gives out pieces of whole events, and an
// event whose beginning was taken counts as given out.
type source struct {
	log  log
	done int // events given out
	most int // events in one piece
	idle int // times that Next says Idle yet
	ends []byte
}

func (s *source) Next() ([]byte, edge.Status) {
	if s.idle > 0 {
		s.idle--
		return nil, edge.Idle
	}
	if s.done == len(s.log) {
		if s.ends != nil {
			return s.ends, edge.Ended
		}
		return nil, edge.Idle
	}
	return bytes.Join(s.log[s.done:min(s.done+s.most, len(s.log))], nil), edge.Ready
}

func (s *source) Advance(n int) (rest []byte) {
	for n > 0 {
		ev := s.log[s.done]
		s.done++
		if n < len(ev) {
			return bytes.Clone(ev[n:])
		}
		n -= len(ev)
	}
	return nil
}

func (s *source) Mark() Mark            { return Mark{Epoch: 7, Offset: uint64(s.done)} }
func (s *source) Fetch(context.Context) {}
func (s *source) Goodbye() []byte       { return []byte("bye") }
func (s *source) Close()                {}

// open is what a Flow over the log does.
func (l log) open(m Mark, most, idle int, gap func([]byte) bool) Source {
	return Behind(&source{log: l, done: int(m.Offset), most: most, idle: idle}, m, gap)
}

// drain reads until nothing is left or n messages have begun; take chooses how much of what Next returns is taken.
func drain(src Source, n int, take func(most int) int) []byte {
	var out []byte
	idle := 0
	for Count(out) < n && idle < 5 {
		p, st := src.Next()
		if st == edge.Idle {
			idle++
			continue
		}
		idle = 0
		k := take(len(p))
		out = append(out, p[:k]...)
		out = append(out, src.Advance(k)...)
		if st == edge.Ended {
			break
		}
	}
	return out
}

func TestCut(t *testing.T) {
	rest := []byte("\x00 from='a'><x/></message>\x00 b\x00")
	var got []string
	for len(rest) > 0 {
		var m []byte
		m, rest = Cut(rest)
		got = append(got, string(m))
	}
	if fmt.Sprintf("%q", got) != `[" from='a'><x/></message>" " b" ""]` {
		t.Errorf("%q", got)
	}
	if n := Count([]byte("\x00a\x00b")); n != 2 {
		t.Error(n)
	}
}

// Whatever a carrier takes of a flow and wherever its reader's acknowledgement stops, opening again at the mark gives exactly
// the messages behind it.
func TestResume(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l log
		var all []byte
		for i := range rapid.IntRange(0, 12).Draw(t, "events") {
			var ev []byte
			for j := range rapid.IntRange(1, 3).Draw(t, "messages") {
				ev = append(ev, fmt.Sprintf("\x00m%d.%d", i, j)...)
			}
			l, all = append(l, ev), append(all, ev...)
		}
		take := func(most int) int { return rapid.IntRange(0, most).Draw(t, "taken") }
		mark, given := Mark{Epoch: 7}, 0
		for range rapid.IntRange(1, 4).Draw(t, "sessions") {
			src := l.open(mark, rapid.IntRange(1, 5).Draw(t, "piece"), rapid.IntRange(0, 2).Draw(t, "idle"), nil)
			if m := src.Mark(); m != mark {
				t.Fatalf("opened at %v, the source is at %v", mark, m)
			}
			want := after(all, given)
			got := drain(src, rapid.IntRange(1, 10).Draw(t, "messages"), take)
			if !bytes.HasPrefix(want, got) {
				t.Fatalf("behind %d messages there is %q, got %q", given, want, got)
			}
			// The carrier keeps the mark it began at and a count, or asks the source; both are the same place.
			n := Count(got)
			if rapid.Bool().Draw(t, "acked all") {
				mark, given = src.Mark(), given+n
				if told := Count(bytes.Join(l[:mark.Offset], nil)) + int(mark.Skip); told != given {
					t.Fatalf("the mark %v is behind %d messages, %d were given out", mark, told, given)
				}
				continue
			}
			n = rapid.IntRange(0, n).Draw(t, "acked")
			mark, given = mark.Plus(n), given+n
		}
		rest := drain(l.open(mark, 3, 0, nil), 1000, func(most int) int { return most })
		if want := after(all, given); !bytes.Equal(rest, want) {
			t.Fatalf("behind %d messages: got %q, want %q", given, rest, want)
		}
	})
}

// after returns what follows the first n messages.
func after(all []byte, n int) []byte {
	for range n {
		_, all = Cut(all)
	}
	return all
}

func TestBehindGap(t *testing.T) {
	l := log{[]byte("\x00one"), []byte("\x00gap"), []byte("\x00four"), []byte("\x00five")}
	gap := func(m []byte) bool { return string(m) == "gap" }
	for skip := range uint32(4) {
		want := []string{"\x00one\x00gap\x00four\x00five", "\x00gap\x00four\x00five", "\x00gap\x00four\x00five", "\x00gap\x00four\x00five"}[skip]
		for most := 1; most < 5; most++ {
			got := drain(l.open(Mark{Skip: skip}, most, 0, gap), 1000, func(most int) int { return most })
			if string(got) != want {
				t.Errorf("skipping %d in pieces of %d: %q", skip, most, got)
			}
		}
	}
}

// The last words of a flow are said, however much is to be skipped.
func TestBehindEnded(t *testing.T) {
	src := Behind(&source{log: log{[]byte("\x00one")}, most: 1, ends: []byte("\x00end")}, Mark{Skip: 3}, nil)
	if p, st := src.Next(); string(p) != "\x00end" || st != edge.Ended {
		t.Errorf("%q, %v", p, st)
	}
	if string(src.Goodbye()) != "bye" {
		t.Error("no goodbye")
	}
	src.Fetch(t.Context())
	src.Close()
}

// Where everything up to the mark has been skipped, the mark is the inner source's: nothing is counted twice.
func TestBehindMarkWhenSkipped(t *testing.T) {
	l := log{[]byte("\x00one"), []byte("\x00two")}
	src := l.open(Mark{Epoch: 7, Skip: 2}, 2, 0, nil)
	if _, st := src.Next(); st != edge.Idle {
		t.Fatal(st)
	}
	if m := src.Mark(); m != (Mark{Epoch: 7, Offset: 2}) {
		t.Error(m)
	}
}
