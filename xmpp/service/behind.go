package service

import (
	"context"

	"tidings/edge"
)

// Behind returns src, which begins at m's Epoch and Offset, without its first m.Skip messages: the source that a Flow's
// Open(m) returns. Where a message for which gap is true comes first, the reader is being told that something is missing,
// so counting would skip the wrong messages: it is given that message and everything behind it. gap gets the message as
// Cut returns it; it may be nil.
func Behind(src Source, m Mark, gap func(message []byte) bool) Source {
	if m.Skip == 0 {
		return src
	}
	return &behind{src: src, at: m, left: int(m.Skip), gap: gap}
}

// behind is a source that has messages to skip; it is its inner source when it has skipped them.
type behind struct {
	src  Source
	at   Mark // until src stands behind what is skipped
	left int  // messages still to skip
	lead int  // bytes that Next left out at the beginning of what src returned
	past bool // src stands behind what is skipped
	gap  func(message []byte) bool
}

func (b *behind) Next() ([]byte, edge.Status) {
	for {
		p, st := b.src.Next()
		if b.left == 0 || st != edge.Ready {
			return p, st // the bytes of Ended are not of those that were counted
		}
		rest, left := p, b.left
		for len(rest) > 0 && left > 0 {
			message, next := Cut(rest)
			if b.gap != nil && b.gap(message) {
				left = 0
				break
			}
			rest, left = next, left-1
		}
		if len(rest) > 0 {
			// The rest is returned again should it not be taken, so nothing counts as skipped before Advance.
			b.lead = len(p) - len(rest)
			return rest, st
		}
		// All of it is skipped. At the end of what Next returned, Advance leaves no rest.
		b.src.Advance(len(p))
		b.left, b.past = left, left == 0
	}
}

func (b *behind) Advance(n int) (rest []byte) {
	if b.lead > 0 || b.left > 0 {
		if n == 0 {
			// The connection took nothing: Next returns the same again and skips the same.
			b.lead = 0
			return b.src.Advance(0)
		}
		n += b.lead
		b.left, b.lead = 0, 0
	}
	b.past = b.past || n > 0
	return b.src.Advance(n)
}

func (b *behind) Mark() Mark {
	if !b.past {
		return b.at
	}
	return b.src.Mark()
}

func (b *behind) Fetch(ctx context.Context) { b.src.Fetch(ctx) }
func (b *behind) Goodbye() []byte           { return b.src.Goodbye() }
func (b *behind) Close()                    { b.src.Close() }
