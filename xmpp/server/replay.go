package server

import (
	"bytes"
	"context"

	"tidings/edge"
	"tidings/xmpp/service"
	"tidings/xmpp/stream"
)

// replay is the cursor that writes again what was not acknowledged when a session is resumed (XEP-0198 section 5): the stanzas
// of the session's queue, which stays as it is, in their order. So the counts mean the same on every connection, and it does
// not matter how often one is lost on the way. Its fields belong to the goroutine that owns the connection.
type replay struct {
	x    *Session
	l    *link
	att  *edge.Attachment
	next uint32 // all stanzas before this one have been written again, counted as the client does
	over bool

	sources map[*segment]*repeated
	behind  *repeated // whose Fetch is due

	// Between Next and Advance.
	buf  *[]byte
	ends []int     // of stanzas in buf
	of   *repeated // nil for stanzas of the session's own
	p    []byte    // the source's bytes that buf was made of
}

// repeated is a flow that is written again, from where it was not acknowledged. It goes on from there.
type repeated struct {
	group *edge.Group
	src   service.Source
}

// limit has a source that gathers do so up to a mark.
func (s *repeated) limit(until service.Mark) {
	if g, ok := s.src.(service.Gathering); ok {
		g.Limit(until)
	}
}

// maxReplayed is how many bytes of the session's own stanzas are written at once.
const maxReplayed = 64 << 10

// resume goes on with a session on the goroutine that owns its new connection.
func (x *Session) resume(l *link) {
	m := x.sm
	m.since, m.asked, m.full = 0, false, false
	for run := range m.queue.Runs() {
		if run.Stanza == nil && run.Flow.a.gone {
			x.forget(func(seg *segment) bool { return seg.a.gone }, 0) // the client has left it, or it has ended
			break
		}
	}
	r := &replay{x: x, l: l, next: m.queue.Acked(), sources: map[*segment]*repeated{}}
	x.replay = r
	if m.queue.Len() == 0 {
		x.replayed(r)
		return
	}
	r.att = l.conn.Attach(x.srv.replays, r)
}

// forget drops the messages of flows from the queue, but for those among its first keep stanzas.
func (x *Session) forget(which func(*segment) bool, keep uint32) {
	q := &x.sm.queue
	at := uint32(0)
	for _, run := range q.Take() {
		n := run.Count
		if run.Stanza == nil && which(run.Flow) {
			n = min(n, max(keep, at)-at)
		}
		at += run.Count
		switch {
		case run.Stanza != nil:
			q.Stanza(run.Stanza)
		case run.Apart && n > 0:
			q.Apart(run.Flow, run.After, run.Until)
		default:
			q.Flow(run.Flow, run.After.Plus(int(run.Skip)), int(n))
		}
	}
	x.sm.recount()
}

// replayed is called when all has been written again: from now on flows write what is new, and the inbox is done.
func (x *Session) replayed(r *replay) {
	if x.replay != r {
		return
	}
	x.replay = nil
	for _, a := range append([]*attached(nil), x.flows...) {
		if s := r.sources[a.seg]; s != nil {
			delete(r.sources, a.seg)
			s.limit(service.Mark{})
			a.adopt(s.group, s.src)
		} else if !a.gone {
			a.open()
		}
	}
	if r.att != nil {
		r.att.Detach()
	}
	if x.sm.queue.Len() > 0 {
		x.unsure.Store(true)
		x.request()
	}
	x.drain(r.l)
}

// Next implements edge.Cursor.
func (r *replay) Next() ([]byte, edge.Status) {
	if r.buf != nil {
		return *r.buf, edge.Ready
	}
	if r.over {
		return nil, edge.Idle
	}
	q := &r.x.sm.queue
	if int32(r.next-q.Acked()) < 0 { // the client says that it had what it has not been sent again
		r.next = q.Acked()
		r.closeSources()
	}
	for !r.over {
		done := r.next - q.Acked()
		at := uint32(0)
		var run stream.Run[*segment, service.Mark]
		found := false
		for run = range q.Runs() {
			if found = at+run.Count > done; found {
				break
			}
			at += run.Count
		}
		switch {
		case !found:
			r.over = true
			r.l.do(func() { r.x.replayed(r) })
		case run.Stanza != nil:
			r.own(done)
			return *r.buf, edge.Ready
		default:
			if st := r.flow(run, done-at, done); st != edge.Idle {
				if st == edge.Behind {
					return nil, st
				}
				return *r.buf, st
			}
		}
	}
	return nil, edge.Idle
}

// own puts together the session's own stanzas behind the first done ones of the queue.
func (r *replay) own(done uint32) {
	r.buf, r.ends, r.of = buffers.Get().(*[]byte), r.ends[:0], nil
	b := (*r.buf)[:0]
	at := uint32(0)
	for run := range r.x.sm.queue.Runs() {
		if at += run.Count; at <= done {
			continue
		}
		if run.Stanza == nil || len(b) >= maxReplayed {
			break
		}
		b = r.l.appendOwn(b, run.Stanza)
		r.ends = append(r.ends, len(b))
	}
	*r.buf = b
}

// flow puts together messages of a run without its first skip ones, behind the first done ones of the queue. It returns Idle if
// there are none any more: the queue has forgotten them.
func (r *replay) flow(run stream.Run[*segment, service.Mark], skip, done uint32) edge.Status {
	s := r.sources[run.Flow]
	if s == nil {
		g, src, err := run.Flow.flow.Open(run.After.Plus(int(run.Skip + skip)))
		if err != nil { // the flow is told when it is its turn to go on
			r.x.forget(func(seg *segment) bool { return seg == run.Flow }, done)
			return edge.Idle
		}
		s = &repeated{g, src}
		r.sources[run.Flow] = s
	}
	s.limit(run.Until)
	p, st := s.src.Next()
	switch st {
	case edge.Ready:
	case edge.Behind:
		r.behind = s
		return st
	default:
		if st == edge.Ended {
			delete(r.sources, run.Flow)
			s.src.Close()
		} else if run.Apart { // what it gathered is not kept any more, or may not be read
			r.x.sm.queue.Drop(done)
			r.x.sm.recount()
			return edge.Idle
		}
		r.x.forget(func(seg *segment) bool { return seg == run.Flow }, done)
		return edge.Idle
	}
	r.buf, r.ends, r.of = buffers.Get().(*[]byte), r.ends[:0], s
	b := (*r.buf)[:0]
	rest := p
	for len(rest) > 0 && len(r.ends) < int(run.Count-skip) {
		var m []byte
		m, rest = service.Cut(rest)
		b = r.l.appendShared(b, m)
		r.ends = append(r.ends, len(b))
	}
	*r.buf, r.p = b, p[:len(p)-len(rest)]
	return edge.Ready
}

// Advance implements edge.Cursor.
func (r *replay) Advance(n int) (rest []byte) {
	b := *r.buf
	k, end := 0, 0
	for ; end < n; k++ {
		end = r.ends[k]
	}
	rest = bytes.Clone(b[n:end])
	if r.of != nil {
		left := r.p
		for range k {
			_, left = service.Cut(left)
		}
		for more := r.of.src.Advance(len(r.p) - len(left)); len(more) > 0; k++ {
			var m []byte
			m, more = service.Cut(more)
			rest = r.l.appendShared(rest, m)
		}
	}
	r.release()
	r.next += uint32(k)
	r.x.srv.stanzasOut.Add(uint64(k))
	return rest
}

func (r *replay) release() {
	if r.buf != nil {
		putBuffer(r.buf)
		r.buf, r.p, r.of = nil, nil, nil
	}
}

// Fetch implements edge.Cursor.
func (r *replay) Fetch(ctx context.Context) { r.behind.src.Fetch(ctx) }

// Goodbye implements edge.Cursor.
func (r *replay) Goodbye() []byte { return nil }

// Close implements edge.Cursor.
func (r *replay) Close() {
	r.release()
	r.closeSources()
}

func (r *replay) closeSources() {
	for seg, s := range r.sources {
		delete(r.sources, seg)
		s.src.Close()
	}
}
