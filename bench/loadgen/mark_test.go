//go:build linux

package main

import (
	"slices"
	"testing"
)

type hit struct {
	nanos int64
	seq   int
}

func scanAll(chunks ...[]byte) []hit {
	var s scanner
	var hits []hit
	for _, c := range chunks {
		s.feed(c, func(nanos int64, seq int) { hits = append(hits, hit{nanos, seq}) })
	}
	return hits
}

func mark(nanos int64, seq int) string { return string(appendMark(nil, nanos, seq)) }

func TestScanner(t *testing.T) {
	a, b := hit{1790000000123456789, 7}, hit{1790000000999999999, maxEvents - 1}
	ma, mb := mark(a.nanos, a.seq), mark(b.nanos, b.seq)
	if len(ma) != markBytes || len(mb) != markBytes {
		t.Fatalf("marks %q and %q are not %d bytes", ma, mb, markBytes)
	}
	tests := []struct {
		name, stream string
		want         []hit
	}{
		{"nothing", "data: plain\n\n", nil},
		{"one", "data: " + ma + "xxxx\n\n", []hit{a}},
		{"two side by side", ma + mb, []hit{a, b}},
		{"tildes around", "~/~" + ma + "~", []hit{a}},
		{"a tilde inside a mark begins anew", ma[:10] + mb, []hit{b}},
		{"letters instead of digits", "~" + "x123456789012345678901234567890", nil},
		{"cut at the end of the stream", ma + mb[:20], []hit{a}},
		{"many tildes", "~~~~" + ma + "~~~~~~" + mb, []hit{a, b}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := scanAll([]byte(tt.stream)); !slices.Equal(got, tt.want) {
				t.Errorf("in one piece: got %v, want %v", got, tt.want)
			}
			// However the stream is cut into three reads, the marks are the same.
			for i := range len(tt.stream) {
				for j := i; j < len(tt.stream); j++ {
					s := []byte(tt.stream)
					if got := scanAll(s[:i], s[i:j], s[j:]); !slices.Equal(got, tt.want) {
						t.Fatalf("cut at %d and %d: got %v, want %v", i, j, got, tt.want)
					}
				}
			}
		})
	}
}

func FuzzScanner(f *testing.F) {
	f.Add("event: message\nid: 5f3a-9\ndata: "+mark(1790000000123456789, 3)+"xxx\n\n", 20)
	f.Add("~~"+mark(1, 2)+mark(3, 4), 31)
	f.Add("~12345~1234567890123456789012345678", 6)
	f.Fuzz(func(t *testing.T, stream string, step int) {
		whole := scanAll([]byte(stream))
		if step = min(max(1, step), len(stream)+1); step > len(stream) {
			return
		}
		if cut := scanAll(slices.Collect(slices.Chunk([]byte(stream), step))...); !slices.Equal(whole, cut) {
			t.Errorf("cut every %d bytes: %v, in one piece: %v", step, cut, whole)
		}
	})
}
