package server

import (
	"time"

	"tidings/xmpp/service"
	"tidings/xmpp/stream"
)

// management is a session's stream management (XEP-0198). It belongs to the session's owner, but for id and window, which do
// not change.
type management struct {
	id     string // previd of a resumption; "" if there is none to be
	window time.Duration

	in      uint32 // stanzas handled, mod 2^32
	queue   stream.Queue[*segment, service.Mark]
	runs    int // of the queue, at most so many
	since   int // stanzas sent since the last request
	asked   bool
	askedAt int64 // on the server's clock
	full    bool  // flows stand still until something is acknowledged
}

const (
	askEvery = 64   // stanzas after which an acknowledgement is requested
	maxRuns  = 1024 // runs of the queue at which flows stand still: a reader of that many turns acknowledges some
)

// stanza has the queue keep a stanza.
func (m *management) stanza(b []byte) {
	m.queue.Stanza(b)
	m.runs++
}

// flow has the queue know of n messages of a flow.
func (m *management) flow(seg *segment, after service.Mark, n int) {
	if !m.queue.Continues(seg) {
		m.runs++
	}
	m.queue.Flow(seg, after, n)
}

// apart has the queue know of a message of a flow that gathers what is between two marks.
func (m *management) apart(seg *segment, after, until service.Mark) {
	m.runs++
	m.queue.Apart(seg, after, until)
}

func (m *management) recount() {
	m.runs = 0
	for range m.queue.Runs() {
		m.runs++
	}
}

// held reports whether flows stand still: too many runs are not acknowledged, or so many bytes of stanzas that the session
// would soon have to end. A service that sends much waits for a flow to move, and so for the client.
func (x *Session) held() bool {
	m := x.sm
	if m == nil || m.runs < maxRuns && m.queue.Bytes() < x.srv.opt.MaxUnacked/2 {
		return false
	}
	if m.full = true; !m.asked {
		m.asked = true
		x.enqueue(op{f: x.request})
	}
	return true
}

// sent is told of n stanzas in the queue.
func (x *Session) sent(n int) {
	x.unsure.Store(true)
	m := x.sm
	if m.since += n; m.since >= askEvery && !m.asked {
		m.asked = true
		x.enqueue(op{f: x.request})
	}
}

// request asks for an acknowledgement.
func (x *Session) request() {
	m := x.sm
	if m == nil {
		return
	}
	m.asked, m.since, m.askedAt = true, 0, x.srv.clock()
	x.nonza([]byte(stream.Request))
}

// manage takes an element of stream management.
func (x *Session) manage(m stream.SM) *stream.Error {
	switch m.Name {
	case "enable":
		if x.sm == nil {
			x.enable(m)
			return nil
		}
	case "r":
		if x.sm != nil {
			x.nonza(stream.AppendAnswer(nil, x.sm.in))
			return nil
		}
	case "a":
		if x.sm != nil {
			return x.acknowledged(m.H)
		}
	case "resume": // only in the place of binding
	default:
		return stream.NewError("unsupported-stanza-type")
	}
	x.nonza(stream.SM{Name: "failed", Condition: "unexpected-request"}.Append(nil))
	return nil
}

func (x *Session) enable(m stream.SM) {
	sm := &management{}
	answer := stream.SM{Name: "enabled"}
	if window := x.srv.opt.ResumeWindow; m.Resume && window > 0 {
		if asked := time.Duration(m.Max) * time.Second; asked > 0 && asked < window {
			window = asked
		}
		sm.id, sm.window = stream.NewID(), window
		answer.ID, answer.Resume, answer.Max = sm.id, true, uint32(window/time.Second)
	}
	for _, a := range x.flows {
		a.mark()
	}
	x.sm = sm
	x.srv.manage(x)
	x.nonza(answer.Append(nil))
}

// mark notes where a flow stands, of which nothing has been noted so far.
func (a *attached) mark() {
	if c := a.cur; a.att != nil && c.current() && !c.behind && c.buf == nil {
		a.tail = c.src.Mark()
	}
}

func (x *Session) acknowledged(h uint32) *stream.Error {
	m := x.sm
	if err := m.queue.Ack(h); err != nil {
		return stream.AsError(err)
	}
	m.asked = false
	m.recount()
	if m.queue.Len() == 0 {
		x.unsure.Store(false)
	}
	if m.full && m.runs < maxRuns/2 { // those for which there are still too many bytes ask again
		m.full = false
		for _, a := range x.flows {
			if a.att != nil {
				a.att.Wake()
			}
		}
	}
	return nil
}

// check looks at what is not acknowledged, on the goroutine that owns the connection.
func (x *Session) check(l *link) {
	m := x.sm
	if m == nil || m.queue.Len() == 0 {
		return
	}
	switch {
	case !m.asked:
		x.request()
	case x.srv.clock()-m.askedAt >= int64(x.srv.opt.AckTimeout.Seconds()):
		l.conn.Abort(ReasonAck) // the session may be resumed
	}
}
