package server

import (
	"sync"
	"sync/atomic"

	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stream"
)

// state is what has become of a session.
type state uint8

const (
	opening state = iota // its connection is on the way to the edge: a new one, or one that resumes it
	online
	waiting // for resumption
	ended
)

// Session is a resource that a client has bound. It implements service.Peer. Its connection may change, by resumption.
type Session struct {
	srv       *Server
	jid       jid.JID
	account   string
	anonymous bool

	csi    atomic.Bool // the client has said that nobody is looking
	unsure atomic.Bool // something is not acknowledged

	// Of the session's owner: the goroutine that owns the connection; while there is none, whoever has changed the state to
	// opening or ended.
	link  *link // nil unless online
	bound bool  // Accounts.Bound has been called
	sm    *management
	flows []*attached
	used  []*served // those that were given stanzas
	todo  []op      // of the inbox, what drain has taken and not done

	replay *replay // nil unless the session has just been resumed

	mu        sync.Mutex // guards what follows; nothing is called while it is held
	state     state
	leaving   *farewell // it may not wait for resumption
	carrier   *link     // link, for other goroutines
	inbox     []op
	inboxed   int           // bytes
	scheduled bool          // drain has been asked for
	changed   chan struct{} // closed when the session waits, or has ended; nil if nobody looks
	emptied   bool          // the inbox of an ended session has been taken: nothing goes back any more
	over      bool          // finish has been called
	expires   int64         // on the server's clock, while waiting
	jobs      *jobs
}

// op is something that the owner is to do.
type op struct {
	b []byte // stanzas to send
	f func() // or what else
}

// farewell is how a session is ended.
type farewell struct {
	reason string
	err    *stream.Error // nil for none
}

// maxInbox bounds what waits for the owner of a connection, which is busy with a peer that reads slowly, and what waits in a
// connection beside flows, in bytes: the answers to a few questions that were asked at once.
const maxInbox = 256 << 10

// opCost is what an op without bytes counts.
const opCost = 128

var _ service.Peer = (*Session)(nil)

// JID implements service.Peer: the full JID.
func (x *Session) JID() jid.JID { return x.jid }

// Account implements service.Peer.
func (x *Session) Account() string { return x.account }

// Anonymous implements service.Peer.
func (x *Session) Anonymous() bool { return x.anonymous }

// Inactive reports whether the client has said that nobody is looking at it (XEP-0352).
func (x *Session) Inactive() bool { return x.csi.Load() }

// Send implements service.Peer. A session for which too much waits is ended.
func (x *Session) Send(b []byte) {
	if len(b) > 0 {
		x.enqueue(op{b: b})
	}
}

// lateRoom is how many times its limit a session keeps in the moment in which it is being ended, so that what comes in that
// moment goes back to its sender too.
const lateRoom = 8

// enqueue leaves something to the owner. While the session waits for resumption it is kept, up to a bound; while it is being ended
// too, so that it goes back. It reports false if that is over, or too much is kept.
func (x *Session) enqueue(o op) bool {
	x.mu.Lock()
	n := len(o.b)
	if n == 0 {
		n = opCost
	}
	over := x.inboxed+n > x.limit() && x.inboxed > 0
	doomed := x.leaving != nil || x.state == ended
	if x.emptied || x.state == ended && o.b == nil || over && doomed && x.inboxed > lateRoom*x.limit() {
		x.mu.Unlock()
		x.srv.dropped.Add(1)
		return false
	}
	x.inboxed += n
	if last := len(x.inbox) - 1; o.b != nil && last >= 0 && x.inbox[last].f == nil {
		x.inbox[last].b = append(x.inbox[last].b, o.b...)
	} else {
		if o.b != nil {
			o.b = append([]byte(nil), o.b...)
		}
		x.inbox = append(x.inbox, o)
	}
	if over && !doomed {
		x.overflow() // unlocks
		return true
	}
	l := x.carrier
	if x.state != online || x.scheduled {
		x.mu.Unlock()
		return true
	}
	x.scheduled = true
	x.mu.Unlock()
	l.do(func() { x.drain(l) })
	return true
}

// limit returns how many bytes may wait.
func (x *Session) limit() int {
	if x.state == waiting {
		return x.srv.opt.MaxUnacked
	}
	return max(maxInbox, x.srv.opt.MaxUnacked)
}

// overflow ends the session because too much waits. It unlocks mu.
func (x *Session) overflow() {
	l := x.carrier
	x.leaving, x.expires = &farewell{reason: ReasonOverflow}, 0
	x.mu.Unlock()
	if l != nil {
		l.conn.Abort(ReasonOverflow)
	} else {
		x.srv.nudge()
	}
}

// drain does what is in the inbox. It runs on the goroutine that owns the connection.
func (x *Session) drain(l *link) {
	x.mu.Lock()
	if x.carrier != l || x.state != online || x.replay != nil {
		x.mu.Unlock()
		return // there is another connection by now, or none, or it is not its turn yet
	}
	x.todo = x.inbox
	x.inbox, x.inboxed, x.scheduled = nil, 0, false
	x.mu.Unlock()
	for len(x.todo) > 0 { // stopped takes what is left if the connection is closed
		o := x.todo[0]
		x.todo = x.todo[1:]
		if o.f != nil {
			o.f()
		} else {
			x.transmit(o.b)
		}
	}
	x.todo = nil
}

// transmit writes stanzas.
func (x *Session) transmit(b []byte) {
	n := 0
	var out []byte
	for rest := b; len(rest) > 0; {
		var st []byte
		st, rest = cutStanza(rest)
		n++
		if x.sm != nil {
			x.sm.stanza(st)
		}
		if x.link.framing == stream.WebSocket {
			out = x.link.appendOwn(out, st)
		}
	}
	if x.link.framing == stream.TCP {
		out = b
	}
	x.srv.stanzasOut.Add(uint64(n))
	l := x.link
	if x.sm != nil {
		if x.sm.queue.Bytes() > x.srv.opt.MaxUnacked {
			x.Close(ReasonUnacked, stream.NewError("policy-violation", "too much is not acknowledged"))
			return
		}
		x.sent(n)
	}
	l.put(out)
}

// nonza writes an element that is no stanza, on the goroutine that owns the connection.
func (x *Session) nonza(b []byte) {
	if l := x.link; l != nil {
		l.put(l.frame(b))
	}
}

// start is called on the goroutine that owns the connection when that has come to the edge.
func (x *Session) start(l *link) {
	x.mu.Lock()
	x.state, x.carrier = online, l
	x.scheduled = true // drain is called below, when what is older has been written
	bye := x.leaving
	x.mu.Unlock()
	x.link = l
	if bye != nil {
		l.conn.Close(bye.reason, l.goodbye(bye.err))
		return
	}
	if x.bound {
		x.resume(l)
		return
	}
	x.bound = true
	x.srv.accounts.Bound(x)
	x.drain(l)
}

// stopped is called when the connection has been closed, or has not come to the edge, on the goroutine that owned it.
func (x *Session) stopped() {
	x.link, x.replay = nil, nil
	for _, a := range x.flows {
		a.att = nil
	}
	x.mu.Lock()
	x.inbox = append(x.todo, x.inbox...)
	x.todo = nil
	x.carrier, x.scheduled = nil, false
	reason := ReasonLost
	if x.leaving != nil {
		reason = x.leaving.reason
	}
	wait := x.leaving == nil && x.sm != nil && x.sm.id != "" && x.srv.mayWait()
	if wait {
		x.state = waiting
		x.expires = x.srv.clock() + int64(x.sm.window.Seconds())
	} else {
		x.state = ended
	}
	if wait {
		x.tell()
	}
	x.mu.Unlock()
	if !wait {
		x.srv.count(reason)
		x.finish()
	}
}

// Close ends the session for good, with a stream error if it is not nil. The reason, a constant, is counted. Gone is not called
// before Close has returned.
func (x *Session) Close(reason string, err *stream.Error) {
	x.mu.Lock()
	if x.leaving != nil || x.state == ended {
		x.mu.Unlock()
		return
	}
	x.leaving = &farewell{reason, err}
	l := x.carrier
	switch x.state {
	case online:
		x.mu.Unlock()
		l.do(func() { // behind what has been sent before
			x.drain(l)
			l.conn.Close(reason, l.goodbye(err))
		})
	case waiting:
		x.expires = 0
		x.mu.Unlock()
		x.srv.nudge()
	default: // start looks at leaving
		x.mu.Unlock()
	}
}

// finish is called once, by the owner, when the session has ended for good.
func (x *Session) finish() {
	s := x.srv
	s.unbind(x)
	x.mu.Lock()
	if x.jobs != nil {
		x.jobs.cancel()
		x.jobs = nil
	}
	x.mu.Unlock()
	for _, a := range x.flows {
		a.gone = true
	}
	s.flows.Add(-int64(len(x.flows)))
	x.flows = nil
	for _, svc := range x.used {
		svc.Gone(x)
	}
	x.used = nil
	if x.bound {
		s.accounts.Gone(x)
	}
	x.mu.Lock()
	inbox := x.inbox // nobody finds the session any more: who sends it something still had found it before
	x.inbox, x.inboxed, x.emptied = nil, 0, true
	x.mu.Unlock()
	if lost := x.unsent(inbox); x.bound {
		s.undelivered(x, lost)
	}
	x.mu.Lock()
	x.over = true
	x.tell()
	x.mu.Unlock()
}

// tell wakes those that await a change. mu is held.
func (x *Session) tell() {
	if x.changed != nil {
		close(x.changed)
		x.changed = nil
	}
}

// unsent returns the stanzas that the client has not acknowledged, oldest first. Without stream management nobody knows what it
// has of what was written.
func (x *Session) unsent(inbox []op) [][]byte {
	var lost [][]byte
	if x.sm != nil {
		for r := range x.sm.queue.Runs() {
			if r.Stanza != nil {
				lost = append(lost, r.Stanza)
			}
		}
	}
	for _, o := range inbox {
		for rest := o.b; len(rest) > 0; {
			var st []byte
			st, rest = cutStanza(rest)
			lost = append(lost, st)
		}
	}
	x.sm = nil
	return lost
}

// await returns a channel that tell closes. mu is held.
func (x *Session) await() <-chan struct{} {
	if x.changed == nil {
		x.changed = make(chan struct{})
	}
	return x.changed
}
