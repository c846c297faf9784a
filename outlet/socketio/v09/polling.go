package v09

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/outlet/socketio"
)

// Bounds of a poll.
const (
	writeTimeout = 10 * time.Second
	lingerTime   = 5 * time.Second // for the outcome of an answer
	outcomeTime  = time.Second     // that the next poll waits for it
	maxAnswer    = 64 << 10        // bytes after which an answer takes no more events
	maxRepeats   = 2               // that a client gets an answer anew
)

// post takes packets that the client of a polling transport sends: as the body, or from JSONP as the JSON string in the form's
// field d.
func (s *Server) post(w http.ResponseWriter, r *http.Request, ss *session, jsonp bool) {
	r.Body = http.MaxBytesReader(w, r.Body, int64(s.opt.MaxBody))
	var body []byte
	var err error
	if jsonp {
		var d string
		if err = r.ParseForm(); err == nil {
			if err = json.Unmarshal([]byte(r.PostForm.Get("d")), &d); err != nil {
				err = errFrame
			}
		}
		body = []byte(d)
	} else {
		body, err = io.ReadAll(r.Body)
	}
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		s.drops.Add("body-too-big", 1)
		text(w, http.StatusRequestEntityTooLarge, "the body is too big")
		return
	}
	if err == nil {
		if !ss.open(polling) {
			text(w, http.StatusOK, packetUnknown)
			return
		}
		on := true
		err = splitPayload(body, func(pkt []byte) { on = on && ss.receive(polling, pkt) })
	}
	if err != nil {
		s.drops.Add(errFrame.Error(), 1)
		text(w, http.StatusBadRequest, "the body is no payload")
		return
	}
	text(w, http.StatusOK, "1")
}

// changePolling is change between polls or beside one.
func (ss *session) changePolling(p packet, edit func(*change)) {
	ss.mu.Lock()
	st := ss.pollState
	if st == nil {
		ss.mu.Unlock()
		return
	}
	at := st.at
	ss.mu.Unlock()
	// The place is opened to see that it may be, and for its position; polls open their own.
	n, place, ok := ss.edit(polling, edit, at)
	place.close()
	if ok {
		ss.mu.Lock()
		switch {
		case n.moved:
			st.at = place.position()
		case st.at.IsZero() || place.position().IsZero():
			st.at = place.position()
		} // else a poll may have moved on meanwhile, and knows better
		st.moved = st.moved || n.moved
		st.version++
		held := st.poll
		ss.mu.Unlock()
		ss.adopt(n)
		if held != nil {
			held.wake()
		}
	}
	ss.ack(p, place.position())
}

// poll is a request that is held, or whose answer's outcome is not known yet. Its goroutine owns it.
//
// The goroutine sits in a read of the socket, from which it comes back when the client goes, when the poll's time is over, and when
// somebody sets the deadline into the past to wake it.
type poll struct {
	nc       net.Conn
	callback string // of JSONP, or ""
	header   string // lines of the answer that are its own
	ctx      context.Context
	cancel   context.CancelFunc
	settled  chan struct{} // closed when it is known whether the client has the answer
	gone     chan struct{} // closed when the goroutine is done

	replaced bool // by another poll; guarded by the session's mu
}

var past = time.Unix(1, 0)

func (p *poll) wake() { p.nc.SetReadDeadline(past) }

// poll holds a GET of a polling transport.
func (s *Server) poll(w http.ResponseWriter, r *http.Request, ss *session, callback string) {
	if !ss.open(polling) {
		if callback != "" {
			script(w, "text/javascript; charset=UTF-8", callback, packetUnknown)
			return
		}
		text(w, http.StatusOK, packetUnknown)
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		text(w, http.StatusHTTPVersionNotSupported, "polling needs HTTP/1.1")
		return
	}
	if rw.Reader.Buffered() > 0 { // a pipelined request, which no browser sends and which would be lost
		nc.Close()
		return
	}
	p := &poll{nc: nc, callback: callback, header: socketio.HeaderLines(w.Header()), settled: make(chan struct{}), gone: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(s.ctx)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		p.cancel()
		nc.Close()
		return
	}
	s.polls[p] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	go func() { // with a small stack, and without what net/http keeps for a handler
		defer s.wg.Done()
		defer close(p.gone)
		ss.hold(p)
		nc.Close()
		p.cancel()
		s.mu.Lock()
		delete(s.polls, p)
		s.mu.Unlock()
	}()
}

// hold answers the poll when there is something to tell, or when its time is over.
func (ss *session) hold(p *poll) {
	if !ss.take(p) {
		p.settle()
		return
	}
	s := ss.server
	deadline := time.Now().Add(s.opt.PollTime)
	var at place
	opened := false
	version := 0
	defer func() { ss.closePlace(p, &at) }()
	for {
		p.nc.SetReadDeadline(deadline) // before the looking, so that a wake behind it ends the read
		ss.mu.Lock()
		replaced, ended, set, positions := p.replaced, ss.ended, ss.set, ss.positions
		changed := !opened || version != ss.version
		version = ss.version
		from := ss.at
		if at.sub != nil && !ss.moved && !from.IsZero() {
			from = at.position()
		}
		ss.moved = false
		ss.mu.Unlock()
		if replaced {
			// What comes next is the other poll's.
			ss.leave(p, &at)
			p.answer(appendFramed(nil, []byte(packetNoop)))
			return
		}
		if changed && !ended {
			ss.closePlace(p, &at)
			var err error
			if !ss.entitled() {
				err = errWithdrawn
			} else {
				at, err = ss.subscribe(polling, set, from, positions)
			}
			if err != nil { // a right was withdrawn since
				ss.tell(namespace, subscribeError, detail(err))
				ss.end("denied", packetDisconnect)
				continue
			}
			opened = true
			if at.sub != nil {
				at.sub.Waker().(*pollGroup).add(p)
			}
			continue
		}
		events, over := ss.collect(p, &at, ended)
		if over {
			ss.end("denied", "")
		}
		if ss.deliver(p, &at, events, over || ended) {
			return
		}
		s.mu.Lock()
		leaving := s.leaving
		s.mu.Unlock()
		switch {
		case leaving:
			ss.leave(p, &at)
			ss.end("shutdown", "")
			p.answer(appendFramed(nil, []byte(packetGoodbye)))
			return
		case !time.Now().Before(deadline):
			ss.leave(p, &at)
			p.answer(appendFramed(nil, []byte(packetNoop)))
			return
		}
		var b [1]byte
		if _, err := p.nc.Read(b[:]); !isTimeout(err) {
			ss.leave(p, &at) // the client has gone, or sends what belongs to no poll
			p.settle()
			return
		}
	}
}

var errWithdrawn = tidings.Errorf(tidings.ErrForbidden, "the permission to read this has been withdrawn")

// take makes p the session's poll, when the one before has been answered and its outcome is known or has taken too long.
func (ss *session) take(p *poll) bool {
	ss.mu.Lock()
	st := ss.pollState
	if st == nil {
		ss.mu.Unlock()
		return false
	}
	old := st.poll
	st.poll = p
	if old != nil {
		old.replaced = true
		if st.sent.poll != old {
			old.wake()
			old.cancel()
		}
	}
	ss.mu.Unlock()
	if old == nil {
		return true
	}
	tick := time.NewTicker(outcomeTime)
	defer tick.Stop()
	for {
		select {
		case <-old.settled:
			return true
		case <-tick.C: // one that is not answered yet has been woken, and writes with a deadline
		}
		ss.mu.Lock()
		unknown := st.sent.poll == old
		if unknown {
			st.sent = sent{}
		}
		ss.mu.Unlock()
		if unknown {
			old.nc.Close()
			return true
		}
	}
}

// collect returns the framed events that the place has now, and whether they are the last.
func (ss *session) collect(p *poll, at *place, ended bool) (events []byte, over bool) {
	for !ended && len(events) < maxAnswer {
		b, st := at.next()
		switch st {
		case hub.HasBytes:
			events = append(events, b...)
			at.sub.Advance(len(b))
			continue
		case hub.Lagging:
			if len(events) > 0 {
				return events, false
			}
			at.sub.Fetch(p.ctx)
			if p.ctx.Err() != nil {
				return events, false
			}
			continue
		case hub.Over:
			return append(events, b...), true
		}
		break
	}
	return events, false
}

// deliver answers the poll with what waits for it, and notes where the client is then. It reports false if there is nothing.
func (ss *session) deliver(p *poll, at *place, events []byte, last bool) bool {
	ss.mu.Lock()
	body := append(ss.out[:len(ss.out):len(ss.out)], events...)
	if len(body) == 0 {
		if !last {
			ss.mu.Unlock()
			return false
		}
		body = appendFramed(nil, []byte(packetDisconnect))
	}
	ss.sent = sent{poll: p, at: ss.at, out: ss.out}
	ss.out = nil
	ss.advance(at)
	ss.mu.Unlock()
	ss.closePlace(p, at)
	arrived := p.write(body) && ss.linger(p)
	ss.mu.Lock()
	if ss.sent.poll == p {
		// A client that resets every connection would get the same for ever.
		if !arrived && ss.repeats < maxRepeats {
			ss.repeats++
			ss.out = append(ss.sent.out, ss.out...)
			if !ss.moved && !ss.at.IsZero() && !ss.sent.at.IsZero() {
				ss.at = ss.sent.at
			}
		} else {
			ss.repeats = 0
		}
		ss.sent = sent{}
	}
	if ss.poll == p {
		ss.poll = nil
	}
	ss.heard.Store(ss.server.wheel.Now())
	ss.mu.Unlock()
	p.settle()
	return true
}

// leave ends the poll without taking anything out of the session.
func (ss *session) leave(p *poll, at *place) {
	ss.mu.Lock()
	ss.advance(at)
	if ss.poll == p {
		ss.poll = nil
	}
	ss.heard.Store(ss.server.wheel.Now())
	ss.mu.Unlock()
	ss.closePlace(p, at)
}

// advance notes where the place is, unless the client has asked for another one meanwhile. The caller holds mu.
func (ss *session) advance(at *place) {
	if at.sub != nil && !ss.moved && !ss.at.IsZero() {
		ss.at = at.position()
	}
}

func (ss *session) closePlace(p *poll, at *place) {
	if at.sub != nil {
		at.sub.Waker().(*pollGroup).remove(p)
	}
	at.close()
	at.sub = nil
}

func (p *poll) settle() {
	select {
	case <-p.settled:
	default:
		close(p.settled)
	}
}

// answer writes an answer that nothing depends on.
func (p *poll) answer(body []byte) {
	p.settle()
	p.write(body)
}

// write writes the response. It reports whether the connection took it.
func (p *poll) write(body []byte) bool {
	typ := "text/plain; charset=UTF-8"
	body = unframe(body)
	if p.callback != "" {
		typ = "text/javascript; charset=UTF-8"
		body = appendJSONP(nil, p.callback, body)
	}
	p.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := p.nc.Write(socketio.AppendResponse(make([]byte, 0, 512+len(body)), typ, p.header, body))
	return err == nil
}

// linger waits for the client to close its side, as it was told to, and reports whether it got the answer. One that has given the
// poll up has closed its side too: then the answer was either not taken by its kernel, or the connection is reset because nobody
// read it.
func (ss *session) linger(p *poll) bool {
	s := ss.server
	for until := time.Now().Add(lingerTime); time.Now().Before(until); {
		p.nc.SetReadDeadline(until)
		s.mu.Lock()
		closed := s.closed
		s.mu.Unlock()
		if closed { // and with it every session
			return true
		}
		var b [1]byte
		switch _, err := p.nc.Read(b[:]); {
		case err == nil:
		case errors.Is(err, io.EOF):
			return taken(p.nc)
		case !isTimeout(err): // else woken for what it has no time for any more, or the time is over
			return errors.Is(err, net.ErrClosed)
		}
	}
	return true
}

// unwrap returns the connection below TLS and what counts connections.
func unwrap(nc net.Conn) net.Conn {
	for {
		u, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = u.NetConn()
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
