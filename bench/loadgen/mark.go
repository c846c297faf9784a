//go:build linux

package main

import (
	"bytes"
	"strconv"
)

// A mark identifies an event inside any protocol: a tilde, the publish time as 19 digits of nanoseconds since 1970, and
// the event's number in this run as 9 digits. No protocol under test escapes or splits these characters, so deliveries
// are counted without parsing the protocol.
const (
	markBytes = 1 + timeDigits + seqDigits

	timeDigits = 19
	seqDigits  = 9
	maxEvents  = 1_000_000_000
)

// appendMark appends the mark of event seq, published at nanos.
func appendMark(b []byte, nanos int64, seq int) []byte {
	b = append(b, '~')
	b = appendDigits(b, uint64(nanos), timeDigits)
	return appendDigits(b, uint64(seq), seqDigits)
}

func appendDigits(b []byte, n uint64, width int) []byte {
	var tmp [20]byte
	d := strconv.AppendUint(tmp[:0], n, 10)
	for range width - len(d) {
		b = append(b, '0')
	}
	return append(b, d...)
}

// parseMark reads the mark at the start of b, which has at least markBytes bytes.
func parseMark(b []byte) (nanos int64, seq int, ok bool) {
	if b[0] != '~' {
		return 0, 0, false
	}
	n, ok1 := digits(b[1 : 1+timeDigits])
	s, ok2 := digits(b[1+timeDigits : markBytes])
	return n, int(s), ok1 && ok2
}

func digits(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// A scanner finds the marks in what one connection sends, also where a read has cut a mark in two.
type scanner struct {
	carry [markBytes - 1]byte // begins with a tilde when n > 0
	n     uint8
}

// feed calls found for each mark that ends in b.
func (s *scanner) feed(b []byte, found func(nanos int64, seq int)) {
	if s.n > 0 {
		b = s.join(b, found)
	}
	for {
		i := bytes.IndexByte(b, '~')
		if i < 0 {
			return
		}
		b = b[i:]
		if len(b) < markBytes {
			s.n = uint8(copy(s.carry[:], b))
			return
		}
		if nanos, seq, ok := parseMark(b); ok {
			found(nanos, seq)
			b = b[markBytes:]
		} else {
			b = b[1:]
		}
	}
}

// join looks for marks that begin in the carried bytes and returns the part of b that it has not used.
func (s *scanner) join(b []byte, found func(nanos int64, seq int)) []byte {
	var both [2 * markBytes]byte
	old := int(s.n)
	n := copy(both[:], s.carry[:old])
	n += copy(both[n:], b[:min(len(b), markBytes)])
	s.n = 0
	for i := 0; i < old; i++ {
		if both[i] != '~' {
			continue
		}
		if n-i < markBytes { // so b is shorter than a mark and stands in both as a whole
			s.n = uint8(copy(s.carry[:], both[i:n]))
			return nil
		}
		if nanos, seq, ok := parseMark(both[i:]); ok {
			found(nanos, seq)
			return b[i+markBytes-old:]
		}
	}
	return b
}
