package tidings

import (
	"strconv"
	"strings"
)

// Position is a place in a journal: the event at Offset in the journal whose life Epoch names. A reader that holds the
// Position of the last event it has seen reads on after it.
//
// Offsets grow with every event and have holes: a reader compares them and never counts them. Two positions of
// different epochs do not compare; going on from a position of another epoch is a gap.
//
// The text form is eight hexadecimal digits of the epoch, a hyphen and the offset in decimal, such as 5f3a9c01-1042. It
// is the same everywhere: SSE id, MAM and stanza id, IRC msgid, HTTP entity tag.
type Position struct {
	Epoch  uint32 // never 0 in a journal
	Offset uint64 // 0 is before the first event
}

// IsZero reports whether p is the zero Position, which is no place in any journal.
func (p Position) IsZero() bool { return p == Position{} }

// String returns the text form.
func (p Position) String() string {
	return string(p.AppendText(make([]byte, 0, 20)))
}

// AppendText appends the text form to b.
func (p Position) AppendText(b []byte) []byte {
	const hex = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, hex[p.Epoch>>shift&0xf])
	}
	b = append(b, '-')
	return strconv.AppendUint(b, p.Offset, 10)
}

// MarshalText implements encoding.TextMarshaler.
func (p Position) MarshalText() ([]byte, error) { return p.AppendText(nil), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Position) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePosition(string(b))
	return err
}

// ParsePosition parses the text form and accepts no other: each Position has one.
func ParsePosition(s string) (Position, error) {
	bad := func() (Position, error) {
		if len(s) > 64 {
			s = s[:64] + "…"
		}
		return Position{}, Errorf(ErrInvalid, "%q is not a position: want eight hexadecimal digits, a hyphen and a number, such as 5f3a9c01-1042", s)
	}
	e, o, ok := strings.Cut(s, "-")
	if !ok || len(e) != 8 || len(o) == 0 || len(o) > 1 && o[0] == '0' || strings.ToLower(e) != e {
		return bad()
	}
	epoch, err := strconv.ParseUint(e, 16, 32)
	if err != nil {
		return bad()
	}
	for i := range len(o) {
		if o[i] < '0' || o[i] > '9' {
			return bad()
		}
	}
	offset, err := strconv.ParseUint(o, 10, 64)
	if err != nil {
		return bad()
	}
	return Position{Epoch: uint32(epoch), Offset: offset}, nil
}
