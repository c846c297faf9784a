package v4

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"tidings/edge"
	"tidings/hub"
	"tidings/outlet/socketio"
)

// Bounds of polls.
const (
	maxOut       = 64 << 10 // bytes that wait for a poll
	maxAnswer    = 64 << 10 // bytes after which an answer takes no more events
	upgradePause = 100 * time.Millisecond
	upgradeTime  = 10 * time.Second // for an upgrade that has been asked for
	writeTimeout = 10 * time.Second
)

// polls is what a session has while its client polls. Between two polls the subscriptions stand still.
//
// A poll that finds nothing leaves net/http: its connection is handed to the edge, where it costs what any idle one does,
// and is closed with the answer.
type polls struct {
	lease chan struct{} // of one: who has it may touch the subscriptions
	over  chan struct{} // closed when nobody gets the lease any more

	// Guarded by the session's mu.
	out       []byte // packets that wait, each behind a separator
	polling   bool   // a GET is under way or parked
	posting   bool
	waiting   int // for the lease: a poll that has it is to be answered at once
	upgrading time.Time
	upgrader  *wire // the WebSocket that the client has chosen
	parked    *parked
}

func newPolls() *polls { return &polls{lease: make(chan struct{}, 1), over: make(chan struct{})} }

// add adds a packet and has a parked poll answered. It reports whether there is room. The caller holds the session's mu.
func (ps *polls) add(pkt []byte) bool {
	ps.out = append(append(ps.out, separator), pkt...)
	ps.kick()
	return len(ps.out) <= maxOut
}

// kick has a parked poll answered. The caller holds the session's mu.
func (ps *polls) kick() {
	if ps.parked != nil {
		ps.parked.kick()
	}
}

// acquire takes the lease; a parked poll is answered for it. It reports false if the polls are over or ctx ended.
func (ps *polls) acquire(ctx context.Context, ss *session) bool {
	ss.mu.Lock()
	ps.waiting++
	ps.kick()
	ss.mu.Unlock()
	ok := false
	select {
	case ps.lease <- struct{}{}:
		ok = true
	case <-ctx.Done():
	case <-ps.over:
	}
	ss.mu.Lock()
	ps.waiting--
	ended := ss.ended
	ss.mu.Unlock()
	if ok && ended {
		ps.release(ss)
		return false
	}
	return ok
}

// release gives the lease back. Of a session that has ended meanwhile it closes the subscriptions and keeps the lease.
func (ps *polls) release(ss *session) {
	ss.mu.Lock()
	ended := ss.ended
	if !ended {
		<-ps.lease
	}
	ss.mu.Unlock()
	if ended {
		ss.closeSubscriptions()
	}
}

// end answers a parked poll with the end. It reports whether nobody had the lease, which the caller has then for ever. The
// caller holds the session's mu.
func (ps *polls) end() bool {
	ps.out = append(ps.out, separator, engineClose)
	ps.kick()
	close(ps.over)
	select {
	case ps.lease <- struct{}{}:
		return true
	default:
		return false
	}
}

// startUpgrade answers polls at once, so that the client leaves them.
func (ss *session) startUpgrade() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.polls != nil {
		ss.polls.upgrading = time.Now()
		ss.polls.kick()
	}
}

func (ss *session) stopUpgrade() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.polls != nil {
		ss.polls.upgrading = time.Time{}
	}
}

// poll serves a GET of a session that polls.
func (s *Server) poll(w http.ResponseWriter, r *http.Request, ss *session) {
	ss.mu.Lock()
	ps := ss.polls
	if ps == nil || ss.ended {
		ss.mu.Unlock()
		s.fail(w, errRequest, "the session has another transport")
		return
	}
	if ps.polling {
		ss.mu.Unlock()
		s.drops.Add("poll-overlap", 1)
		ss.end("poll-overlap") // as the reference server does
		s.fail(w, errRequest, "there is a poll already")
		return
	}
	ps.polling = true
	upgrading := !ps.upgrading.IsZero() && time.Since(ps.upgrading) < upgradeTime
	ss.mu.Unlock()
	if !ps.acquire(r.Context(), ss) {
		ss.polled(ps)
		s.fail(w, errUnknown, "the session has ended")
		return
	}
	body, over := ss.collect(r.Context(), ps)
	if len(body) == 0 && upgrading {
		// The client is on its way to the WebSocket; nothing waits for long.
		select {
		case <-time.After(upgradePause):
		case <-r.Context().Done():
		}
		body = []byte{separator, engineNoop}
	}
	if len(body) == 0 && ss.park(w, ps) {
		return
	}
	if len(body) == 0 {
		body = []byte{separator, engineNoop}
	}
	ss.polled(ps)
	ps.release(ss)
	if over {
		ss.end("denied")
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)-1))
	h.Set("Cache-Control", "no-store")
	w.Write(body[1:])
}

const contentType = "text/plain; charset=UTF-8"

// polled notes that no GET is under way any more.
func (ss *session) polled(ps *polls) {
	ss.mu.Lock()
	ps.polling = false
	ss.mu.Unlock()
}

// take returns the packets that wait.
func (ss *session) take(ps *polls) []byte {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	out := ps.out
	ps.out = nil
	return out
}

// collect returns what there is for a poll, each packet behind a separator, and whether a subscription has ended. The
// caller has the lease.
func (ss *session) collect(ctx context.Context, ps *polls) (body []byte, over bool) {
	body = ss.take(ps)
	for _, sp := range ss.spaces {
		for sp.sub != nil && !over && len(body) < maxAnswer {
			b, st := sp.sub.Next()
			switch st {
			case hub.HasBytes:
				body = append(body, b...)
				sp.sub.Advance(len(b))
				continue
			case hub.Over:
				body, over = append(body, b...), true
				continue
			case hub.Lagging:
				if len(body) == 0 && ctx.Err() == nil {
					sp.sub.Fetch(ctx)
					continue
				}
			}
			break
		}
	}
	return body, over
}

// parked is a poll that waits in the edge. It has the lease until its connection is closed.
type parked struct {
	ss     *session
	ps     *polls
	conn   *edge.Conn // static once the session can see it
	header string     // lines of the response that are its own
	over   bool       // answered or closed; guarded by the session's mu

	// Owned by the goroutine that owns the connection.
	open   int         // cursors, and the connection itself
	answer []byte      // the response
	by     *pollCursor // whose events it has
}

// reasonAnswered is counted for a poll that was closed with its answer.
const reasonAnswered = "socket.io-answered"

var errPollInput = errors.New("socket.io-poll-input")

// park hands the poll to the edge. It reports false, and leaves the response to the caller, if there is something to
// answer at once or the connection cannot be taken.
func (ss *session) park(w http.ResponseWriter, ps *polls) bool {
	ss.mu.Lock()
	now := len(ps.out) > 0 || ps.waiting > 0 || ss.ended
	ss.mu.Unlock()
	if now {
		return false
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	p := &parked{ss: ss, ps: ps, open: 1, header: socketio.HeaderLines(w.Header())}
	proto := &edge.Protocol{
		Name:  "socket.io-4-poll",
		Input: func(*edge.Conn, []byte) error { return errPollInput }, // nothing may follow a poll that has no answer
		Closed: func(*edge.Conn) {
			ss.mu.Lock()
			p.finish()
			ss.mu.Unlock()
			p.closed()
			ss.server.tell(-1)
		},
	}
	nc.SetDeadline(time.Time{})
	var cursors []*pollCursor
	for _, sp := range ss.spaces {
		if sp.sub != nil {
			cursors = append(cursors, &pollCursor{p, sp.sub})
			p.open++
		}
	}
	if len(cursors) == 0 { // else it is theirs to say
		proto.Goodbye = p.goodbye()
	}
	c, err := (*edge.Conn)(nil), errPollInput
	if rw.Reader.Buffered() == 0 {
		c, err = ss.server.opt.Edge.Add(nc, nil, proto)
	}
	if err != nil {
		if errors.Is(err, edge.ErrEnded) { // the server stops: come back
			nc.SetWriteDeadline(time.Now().Add(writeTimeout))
			nc.Write(p.goodbye())
		}
		nc.Close()
		ss.polled(ps)
		ps.release(ss)
		return true
	}
	p.conn = c
	for _, cur := range cursors {
		c.Attach(cur.sub.Waker().(*edge.Group), cur)
	}
	defer ss.server.tell(1)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if !p.over {
		ps.parked = p
		if len(ps.out) > 0 || ps.waiting > 0 || ss.ended || !ps.upgrading.IsZero() {
			p.kick()
		}
	}
	return true
}

func (s *Server) tell(n int) {
	if s.waits != nil {
		s.waits <- n
	}
}

// kick has the poll answered with what waits, or with nothing.
func (p *parked) kick() {
	c := p.conn
	c.Do(func() {
		if p.respond(nil) {
			c.Close(reasonAnswered, p.answer)
		}
	})
}

// respond makes the response, of the packets that wait and of events. It reports false if there is one already, or nobody to
// have it.
func (p *parked) respond(events []byte) bool {
	ss, ps := p.ss, p.ps
	ss.mu.Lock()
	if p.over {
		ss.mu.Unlock()
		return false
	}
	body := append(ps.out, events...)
	ps.out = nil
	p.finish() // before the client can have it: the next poll may come at once
	ss.mu.Unlock()
	if len(body) == 0 {
		body = []byte{separator, engineNoop}
	}
	p.answer = p.response(body)
	return true
}

// finish ends the poll for the session. The caller holds the session's mu.
func (p *parked) finish() {
	if !p.over {
		p.over = true
		p.ps.polling, p.ps.parked = false, nil
	}
}

// response returns the response with the packets, each behind a separator.
func (p *parked) response(body []byte) []byte {
	return socketio.AppendResponse(make([]byte, 0, 256+len(p.header)+len(body)), contentType, p.header, body[1:])
}

// goodbye returns the response that sends the client to another server.
func (p *parked) goodbye() []byte { return p.response([]byte{separator, engineClose}) }

// closed is called for each cursor and for the connection; with the last of them the subscriptions are free.
func (p *parked) closed() {
	if p.open--; p.open > 0 {
		return
	}
	p.ps.release(p.ss)
}

// pollCursor is a subscription whose first events are the answer to a poll.
type pollCursor struct {
	p   *parked
	sub *hub.Subscription
}

func (c *pollCursor) Next() ([]byte, edge.Status) {
	p := c.p
	if p.answer != nil {
		if p.by == c {
			return p.answer, edge.Ended
		}
		return nil, edge.Idle
	}
	b, st := c.sub.Next()
	switch st {
	case hub.Lagging:
		return nil, edge.Behind
	case hub.AtHead:
		return nil, edge.Idle
	}
	if !p.respond(b) {
		return nil, edge.Idle
	}
	p.by = c
	if st == hub.HasBytes {
		c.sub.Advance(len(b))
	} else {
		p.ss.end("denied")
	}
	return p.answer, edge.Ended
}

func (c *pollCursor) Advance(int) []byte        { return nil }
func (c *pollCursor) Fetch(ctx context.Context) { c.sub.Fetch(ctx) }
func (c *pollCursor) Goodbye() []byte           { return c.p.goodbye() }
func (c *pollCursor) Close()                    { c.p.closed() }

// post serves a POST of a session that polls.
func (s *Server) post(w http.ResponseWriter, r *http.Request, ss *session) {
	ss.mu.Lock()
	ps := ss.polls
	overlap := ps != nil && ps.posting
	if ps != nil {
		ps.posting = true
	}
	ss.mu.Unlock()
	switch {
	case ps == nil:
		s.fail(w, errRequest, "the session has another transport")
		return
	case overlap:
		s.drops.Add("post-overlap", 1)
		ss.end("post-overlap")
		s.fail(w, errRequest, "there is a request with packets already")
		return
	}
	defer func() {
		ss.mu.Lock()
		ps.posting = false
		ss.mu.Unlock()
	}()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.opt.MaxPayload)))
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		s.drops.Add("payload-too-big", 1)
		ss.end("payload-too-big")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		s.drops.Add("payload-incomplete", 1)
		ss.end("transport-error")
		s.fail(w, errRequest, "the body is incomplete")
		return
	}
	if !ps.acquire(r.Context(), ss) {
		s.fail(w, errUnknown, "the session has ended")
		return
	}
	n := 0
	splitPayload(body, func(p []byte) bool {
		n++
		return n <= maxPackets && ss.packet(r.Context(), p)
	})
	ps.release(ss)
	if n > maxPackets {
		s.drops.Add("too-many-packets", 1)
		ss.end("too-many-packets")
	}
	h := w.Header()
	h.Set("Content-Type", "text/html")
	h.Set("Cache-Control", "no-store")
	io.WriteString(w, "ok")
}

// maxPackets bounds the packets of one payload.
const maxPackets = 64

// packet acts on a packet of Engine.IO that came by a POST. It reports whether the next one is to be looked at. The caller
// has the lease.
func (ss *session) packet(ctx context.Context, p []byte) bool {
	typ := byte(0)
	if len(p) > 0 {
		typ = p[0]
	}
	switch {
	case typ == enginePong:
		ss.pong()
	case typ == engineNoop:
	case typ == engineClose:
		ss.end("client-close")
		return false
	case typ == 'b' && ss.skip > 0: // an attachment, in base64
		ss.skip--
	case typ == engineMessage && ss.skip == 0:
		ss.receive(ctx, p[1:])()
		ss.mu.Lock()
		defer ss.mu.Unlock()
		return !ss.ended
	default:
		ss.server.drops.Add("engine-packet", 1, "packet", socketio.Cut(p))
		ss.end("parse-error")
		return false
	}
	return true
}
