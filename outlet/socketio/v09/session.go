package v09

import (
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet/socketio"
	"tidings/websocket"
)

// carrier says what carries a session.
type carrier uint8

const (
	none carrier = iota // nothing yet
	socket
	polling
)

// Limits of one session.
const (
	maxPackets = 100      // that a client may send in a second
	maxOut     = 64 << 10 // bytes that wait for a poll
)

// session is one client's, from its handshake to its end.
type session struct {
	// Static after the handshake.
	server *Server
	id     socketio.ID
	owner  *owner // nil for the anonymous actor

	waiting bool // for its first transport; guarded by server.mu

	heard atomic.Uint32 // second in which the client was last heard of

	mu        sync.Mutex
	carrier   carrier
	ended     bool
	positions bool // the client wants them
	packets   uint8
	second    uint32 // in which it sent so many packets
	asked     uint32 // second of the oldest heartbeat not answered; 0 for none
	set       *set

	// Of a socket.
	ws     *websocket.Conn
	att    *edge.Attachment
	cursor *cursor // changed by the goroutine that owns the connection

	// Of one that polls.
	*pollState
}

// pollState is what a session keeps between two polls.
type pollState struct {
	at      tidings.Position // everything up to here has been given out; zero: nothing is subscribed to, and so from now on
	out     []byte           // framed packets that wait for a poll
	version int              // of the set and the place, as far as clients change them
	moved   bool             // at is where the client asked to go, and no poll has gone there yet
	poll    *poll            // held, or waiting for its outcome
	sent    sent             // what the last poll was answered with
	repeats uint8            // answers in a row that the client did not get
}

// sent is what an answer took out of a session: it goes back there if the client did not get it.
type sent struct {
	poll *poll // nil: the outcome is known
	at   tidings.Position
	out  []byte
}

// owner is who made the handshake, and the proof that came with it.
type owner struct {
	actor tidings.Actor
	proof []string // its Authorization header
}

func (ss *session) actor() tidings.Actor {
	if ss.owner == nil {
		return tidings.Actor{}
	}
	return ss.owner.actor
}

// entitled reports whether the proof still holds. The hub ends subscriptions whose actors lose a right; a session that polls has
// none between polls.
func (ss *session) entitled() bool {
	if ss.owner == nil {
		return true
	}
	_, err := ss.server.opt.Authenticate(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: socketio.Path}, Header: http.Header{"Authorization": ss.owner.proof}})
	return err == nil
}

// open makes the carrier the session's own. It reports false if it cannot be: the session has ended, or it has subscribed by
// another one, whose place is lost with it. A client that gets nothing by a WebSocket tries the next transport with the same
// session.
func (ss *session) open(c carrier) bool {
	ss.mu.Lock()
	if ss.ended || ss.carrier != none && ss.carrier != c && ss.set != nil {
		ss.mu.Unlock()
		return false
	}
	first, was := ss.carrier == none, ss.ws
	if ss.carrier != c {
		ss.carrier, ss.ws, ss.asked = c, nil, 0
		ss.pollState = nil
		if c == polling {
			ss.pollState = &pollState{out: appendFramed(nil, []byte(packetConnect))}
		}
	} else if c == socket {
		ss.mu.Unlock()
		return false // a second one
	} else {
		was = nil
	}
	if first {
		// With mu held, so that an end cannot come between.
		ss.server.connected.Add(1)
		ss.server.mu.Lock()
		ss.server.left(ss)
		ss.server.mu.Unlock()
	}
	ss.mu.Unlock()
	if was != nil {
		was.Close(websocket.NormalClosure, "another transport")
	}
	ss.heard.Store(ss.server.wheel.Now())
	return true
}

// end ends the session for a reason, which is a constant; last is the packet that tells the client, or "".
func (ss *session) end(reason, last string) {
	ss.mu.Lock()
	if ss.ended {
		ss.mu.Unlock()
		return
	}
	ss.ended = true
	ss.server.ended.Add(reason) // before anybody can know
	set, ws, was := ss.set, ss.ws, ss.carrier
	ss.set, ss.ws = nil, nil
	if ss.pollState != nil {
		if last != "" {
			ss.out = appendFramed(ss.out, []byte(last))
		}
		if ss.poll != nil {
			ss.poll.wake()
		}
	}
	ss.mu.Unlock()
	s := ss.server
	s.mu.Lock()
	delete(s.sessions, ss.id)
	s.left(ss)
	s.mu.Unlock()
	s.sets.put(set)
	if was != none {
		s.connected.Add(-1)
	}
	if ws != nil {
		if last != "" {
			ws.WriteText([]byte(last))
		}
		ws.Close(websocket.NormalClosure, "")
	}
}

// Tick is the wheel's.
func (ss *session) Tick(now uint32) uint32 {
	o := &ss.server.opt
	beat, timeout, leave := socketio.Seconds(o.Heartbeat), socketio.Seconds(o.HeartbeatTimeout), socketio.Seconds(o.CloseTimeout)
	ss.mu.Lock()
	if ss.ended {
		ss.mu.Unlock()
		return 0
	}
	heard := ss.heard.Load()
	switch ss.carrier {
	case none:
		ss.mu.Unlock()
		if now >= heard+leave {
			ss.end("never-connected", "")
			return 0
		}
		return min(heard+leave, now+beat)
	case polling:
		held := ss.poll != nil
		ss.mu.Unlock()
		if !held && now >= heard+leave {
			ss.end("close-timeout", "")
			return 0
		}
		return now + min(beat, leave)
	}
	if ss.asked != 0 && heard >= ss.asked {
		ss.asked = 0
	}
	asked, ws := ss.asked, ss.ws
	if asked == 0 {
		ss.asked = now
	}
	ss.mu.Unlock()
	if asked != 0 && now >= asked+timeout {
		ss.end("heartbeat-timeout", packetDisconnect)
		return 0
	}
	if ws == nil {
		return now + beat
	}
	ws.Write(heartbeatFrame)
	if asked != 0 {
		return min(now+beat, asked+timeout)
	}
	return now + min(beat, timeout)
}

var heartbeatFrame = websocket.AppendText(nil, []byte(packetHeartbeat))

// spend counts a packet of the client. It reports whether the session goes on, and if so whether the packet is one too many.
func (ss *session) spend() (open, tooMany bool) {
	now := ss.server.wheel.Now()
	ss.heard.Store(now)
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.second != now {
		ss.second, ss.packets = now, 0
	}
	if ss.packets == maxPackets {
		return !ss.ended, true
	}
	ss.packets++
	return !ss.ended, false
}

// subscribe opens a place for the set behind the position; zero is now.
func (ss *session) subscribe(c carrier, set *set, after tidings.Position, positions bool) (place, error) {
	s := ss.server
	if set.empty() {
		return place{at: after}, nil
	}
	if after.IsZero() {
		after = s.opt.Hub.Head()
	}
	sub, err := s.opt.Hub.Subscribe(hub.Request{
		After: after, Query: set.query, Actor: ss.actor(), Form: formOf(c, positions),
		NewWaker: func() hub.Waker {
			if c == socket {
				return s.opt.Edge.NewGroup()
			}
			return &pollGroup{waker: &s.waker}
		},
	})
	return place{sub: sub}, err
}
