package pubsub

import (
	"bytes"
	"sync"

	"tidings"
	"tidings/edge"
	"tidings/xmpp/service"
)

// Bounds of a digest. Each is over when it would not hold the next notification.
const (
	maxDigestItems = 64
	maxDigestBytes = 32 << 10
)

// partEnd is what the parts of a message in a form with digest end with, but for the last. It cannot occur in XML.
const partEnd = 1

// parts are those of a notification that a digest is made of: what stands between them is in the parts.
type parts struct {
	head  []byte // the attribute from, up to the id
	id    []byte // the position
	open  []byte // up to the items
	items []byte // or retractions
	close []byte // behind the items, up to a body
	body  []byte // what the body says
	tail  []byte // the element stanza-id is in it
}

// cut parses a message, as service.Cut returns it. ok is false for one that tells of a gap.
func (p *parts) cut(message []byte) (ok bool) {
	for _, part := range []*[]byte{&p.head, &p.id, &p.open, &p.items, &p.close, &p.body} {
		if *part, message, ok = bytes.Cut(message, []byte{partEnd}); !ok {
			return false
		}
	}
	p.tail = message
	return true
}

// with reports whether two notifications can be one: they are of one node, and both of items or both of retractions (the schema in
// XEP-0060 section 18.3 has no mixture).
func (p *parts) with(q *parts) bool {
	const kind = len("<r") // <item and <retract
	return len(p.items) > kind && len(q.items) > kind && bytes.Equal(p.items[:kind], q.items[:kind]) &&
		bytes.Equal(p.open, q.open) && bytes.Equal(p.close, q.close) && bytes.Equal(p.head, q.head)
}

// digest is a source of a form with digest whose messages are those of the source inside, or several of them in one: the items one
// behind the other, with the id and the stanza-id of the last, up to which the reader has everything (pubsub#digest, XEP-0060
// section 16.4.3). Nobody waits for a digest: it holds what is there when it is asked for.
type digest struct {
	service.Source
	until service.Mark // of Limit

	messages [][]byte // that are put together
	last     parts    // of the last of them
	size     int      // of their items and bodies, in bytes
	buf      *[]byte  // what Next returned
	taken    int      // bytes of the inner source that it was made of

	// Without a limit a digest is of one piece of the inner source. Under one it has to end where it did before, over however many
	// pieces: they are taken from the inner source meanwhile.
	ahead  bool
	before service.Mark // where the inner source stood before what is ahead
}

// digests are what digests are put together in, for as long as Next's bytes are valid.
var digests = sync.Pool{New: func() any { return new([]byte) }}

// gather returns a source as subscribers of the form are to have it.
func (f form) gather(src service.Source) service.Source {
	if !f.digest {
		return src
	}
	return &digest{Source: src}
}

var _ service.Gathering = (*digest)(nil)

// Limit implements service.Gathering.
func (d *digest) Limit(until service.Mark) { d.until = until }

func (d *digest) limited() bool { return d.until != service.Mark{} }

// Next implements edge.Cursor.
func (d *digest) Next() ([]byte, edge.Status) {
	if d.buf != nil {
		return *d.buf, edge.Ready
	}
	for {
		if d.limited() && !d.ahead {
			d.before = d.Source.Mark()
		}
		p, st := d.Source.Next()
		if st != edge.Ready {
			if st != edge.Behind && d.ahead {
				return d.write(), edge.Ready
			}
			if st == edge.Idle {
				d.messages = nil // many stand idle
			}
			return p, st
		}
		n, over := d.collect(p)
		if !d.limited() {
			d.taken = n
			return d.write(), edge.Ready
		}
		d.Source.Advance(n)
		d.ahead = d.ahead || n > 0
		if over && !d.ahead {
			return nil, edge.Idle
		} else if over {
			return d.write(), edge.Ready
		}
	}
}

// collect takes the next messages of the inner source into the digest, and returns their size in bytes. over says that the digest
// ends before what is left.
func (d *digest) collect(p []byte) (n int, over bool) {
	for n < len(p) {
		m, _ := service.Cut(p[n:])
		if d.limited() {
			m = bytes.Clone(m) // it is kept longer than the source says that its bytes are valid
		}
		var q parts
		alone := !q.cut(m)
		size := len(q.items) + len(q.body)
		switch k := len(d.messages); {
		case k > 0 && (alone || k == maxDigestItems || d.size+size > maxDigestBytes || !d.last.with(&q)), d.beyond(&q):
			return n, true
		}
		d.messages, d.last = append(d.messages, m), q
		d.size += size
		n += 1 + len(m)
		if alone {
			return n, true
		}
	}
	return n, false
}

// beyond reports whether a notification lies behind the limit.
func (d *digest) beyond(q *parts) bool {
	if !d.limited() || q.id == nil {
		return false
	}
	at, err := tidings.ParsePosition(string(q.id))
	return err != nil || at.Epoch != d.until.Epoch || at.Offset > d.until.Offset
}

// write makes the digest of what was collected.
func (d *digest) write() []byte {
	d.buf = digests.Get().(*[]byte)
	b := append((*d.buf)[:0], service.To)
	var first parts
	if first.cut(d.messages[0]) {
		b = append(append(append(append(b, first.head...), d.last.id...), first.open...), first.items...)
		var q parts
		for _, m := range d.messages[1:] {
			q.cut(m)
			b = append(b, q.items...)
		}
		b = append(append(b, first.close...), first.body...)
		for _, m := range d.messages[1:] {
			if q.cut(m); len(q.body) > 0 {
				b = append(append(b, '\n'), q.body...)
			}
		}
		b = append(b, d.last.tail...)
	} else {
		b = append(b, d.messages[0]...)
	}
	clear(d.messages)
	d.messages, d.last, d.size = d.messages[:0], parts{}, 0
	*d.buf = b
	return b
}

// Advance implements edge.Cursor.
func (d *digest) Advance(n int) (rest []byte) {
	switch {
	case d.buf == nil:
		return d.Source.Advance(n)
	case n == 0 && d.ahead:
		return nil // Next returns it again
	case n == 0:
		d.release()
		return d.Source.Advance(0)
	}
	if n < len(*d.buf) {
		rest = bytes.Clone((*d.buf)[n:])
	}
	d.release()
	if !d.ahead {
		d.Source.Advance(d.taken)
	}
	d.ahead = false
	return rest
}

func (d *digest) release() {
	if d.buf != nil && cap(*d.buf) <= 2*maxDigestBytes {
		digests.Put(d.buf)
	}
	d.buf = nil
}

// Mark implements service.Source.
func (d *digest) Mark() service.Mark {
	if d.ahead {
		return d.before
	}
	return d.Source.Mark()
}

// Close implements edge.Cursor.
func (d *digest) Close() {
	d.release()
	d.Source.Close()
}
