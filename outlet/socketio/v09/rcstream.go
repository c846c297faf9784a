package v09

import (
	"encoding/json"
	"slices"

	"tidings"
	"tidings/edge"
	"tidings/outlet/socketio"
)

// namespace is RCStream's.
const namespace = "/rc"

// The events of the namespace.
const (
	eventSubscribe   = "subscribe"   // from clients: a pattern or a list of them
	eventUnsubscribe = "unsubscribe" // from clients: patterns as they were given
	eventResume      = "resume"      // from clients: a position, or nothing to be told positions from now on
	eventChange      = "change"      // a recent change
	eventPublish     = "publish"     // anything else, as a CloudEvent
	eventRetract     = "retract"
	eventGap         = "gap" // {"asked":POSITION,"oldest":POSITION}
	eventError       = "error"
)

// The first arguments of the event error; the second is a sentence. The first one with its sentence is RCStream's.
const (
	subscribeError = "subscribe_error"
	resumeError    = "resume_error"
	namespaceError = "no_such_namespace" // gevent-socketio's

	tooManySubscriptions = "Too many subscriptions"
)

// Reasons for which what a client asks for is dropped.
const (
	dropPatterns  = "too-many-patterns"
	dropPattern   = "pattern"
	dropDenied    = "subscription-denied"
	dropResume    = "resume-position"
	dropEventName = "event-unknown"
	dropRate      = "packet-rate"
)

// receive acts on one packet. It reports false when the session has ended by it.
func (ss *session) receive(c carrier, b []byte) bool {
	s := ss.server
	open, tooMany := ss.spend()
	if !open {
		return false
	}
	if tooMany {
		s.drops.Add(dropRate, 1)
		ss.end(dropRate, packetDisconnect)
		return false
	}
	p, err := parsePacket(b)
	if err != nil {
		s.drops.Add(err.Error(), 1, "packet", socketio.Cut(b))
		return true
	}
	switch {
	case p.typ == typeDisconnect && p.endpoint == "":
		ss.end("disconnect", "")
		return false
	case p.typ == typeHeartbeat, p.typ == typeNoop, p.typ == typeAck, p.typ == typeError, p.endpoint == "" && p.typ == typeConnect:
		return true // that the client is there has been noted
	case p.endpoint != namespace:
		if p.typ != typeDisconnect {
			s.drops.Add("namespace", 1, "namespace", socketio.Cut(p.endpoint))
			ss.tell(p.endpoint, namespaceError, "The endpoint you tried to connect to doesn't exist: "+p.endpoint)
		}
		return true
	}
	// The namespace is there from the first packet on, of whatever type: clients emit before they see the echo of theirs.
	switch p.typ {
	case typeDisconnect:
		ss.change(c, p, func(c *change) { *c = change{left: true} })
	case typeConnect:
		ss.send(appendPacket(nil, typeConnect, namespace, nil))
	case typeEvent:
		e, err := parseEvent(p.data)
		if err != nil {
			s.drops.Add(err.Error(), 1, "packet", socketio.Cut(b))
		}
		ss.event(c, p, e)
	default:
		s.drops.Add("message", 1) // RCStream has nothing to say to text
		if p.id != "" && !p.wantData {
			ss.send(appendAck(nil, p, nil))
		}
	}
	return true
}

// event acts on an event of the client; one without a name was malformed.
func (ss *session) event(by carrier, p packet, e event) {
	switch e.Name {
	case eventSubscribe:
		ss.change(by, p, func(c *change) { c.subscribe(ss, e.Args) })
	case eventUnsubscribe:
		ss.change(by, p, func(c *change) {
			gone := texts(e.Args)
			c.patterns = slices.DeleteFunc(c.patterns, func(p string) bool { return slices.Contains(gone, p) })
		})
	case eventResume:
		ss.change(by, p, func(c *change) { c.resume(ss, e.Args) })
	default:
		if e.Name != "" {
			ss.server.drops.Add(dropEventName, 1, "event", socketio.Cut(e.Name))
		}
		ss.ack(p, tidings.Position{})
	}
}

// texts returns the strings among the arguments, each of them a string or a list. Others are ignored, as RCStream did.
func texts(args []json.RawMessage) (all []string) {
	for _, a := range args {
		var one string
		var many []json.RawMessage
		if json.Unmarshal(a, &one) == nil && a[0] == '"' {
			all = append(all, one)
		} else if json.Unmarshal(a, &many) == nil {
			for _, m := range many {
				if json.Unmarshal(m, &one) == nil && m[0] == '"' {
					all = append(all, one)
				}
			}
		}
	}
	return all
}

// change is what a client changes about its subscription: the copy that an event works on.
type change struct {
	patterns  []string
	positions bool
	after     tidings.Position // where to go on from, if the client says so
	left      bool             // the namespace: nothing is kept
	errors    [][2]string
}

func (c *change) fail(name, sentence string) { c.errors = append(c.errors, [2]string{name, sentence}) }

// subscribe adds patterns. At the first one too many RCStream stopped, and kept those before it.
func (c *change) subscribe(ss *session, args []json.RawMessage) {
	s := ss.server
	for _, p := range texts(args) {
		switch {
		case slices.Contains(c.patterns, p):
		case !validPattern(p):
			s.drops.Add(dropPattern, 1, "pattern", socketio.Cut(p))
			c.fail(subscribeError, "A pattern has to have 1 to 255 bytes and no control characters")
		case len(c.patterns) >= s.opt.MaxPatterns:
			s.drops.Add(dropPatterns, 1)
			c.fail(subscribeError, tooManySubscriptions)
			return
		default:
			if p[0] == '/' {
				if _, err := tidings.ParsePattern(p); err != nil {
					s.drops.Add(dropPattern, 1, "pattern", socketio.Cut(p))
					c.fail(subscribeError, err.Error())
					continue
				}
			}
			c.patterns = append(c.patterns, p)
		}
	}
}

// resume goes to a position. Without one, or with null, positions are told from now on and nothing else changes.
func (c *change) resume(ss *session, args []json.RawMessage) {
	if len(args) > 0 && string(args[0]) != "null" {
		var text string
		err := json.Unmarshal(args[0], &text)
		if err == nil {
			c.after, err = tidings.ParsePosition(text)
		}
		if err != nil {
			ss.server.drops.Add(dropResume, 1, "position", socketio.Cut(string(args[0])))
			c.fail(resumeError, "The argument has to be a position such as 5f3a9c01-1042")
			return
		}
	}
	c.positions = true
}

// change changes the subscription by edit, from exactly where it stands, and acknowledges p.
func (ss *session) change(by carrier, p packet, edit func(*change)) {
	if by == polling {
		ss.changePolling(p, edit)
		return
	}
	// On the goroutine that owns the connection, where the cursor stands still.
	ss.att.Swap(func() (*edge.Group, edge.Cursor) {
		old := ss.cursor
		next, place, ok := ss.edit(socket, edit, old.position())
		ss.ack(p, place.position())
		if !ok {
			return nil, nil
		}
		ss.adopt(next)
		ss.cursor = &cursor{place: place}
		group := ss.server.idle
		if place.sub != nil {
			group = place.sub.Waker().(*edge.Group)
		}
		return group, ss.cursor
	})
}

// next is what edit leads to.
type next struct {
	set       *set
	positions bool
	moved     bool // to a position the client gave
}

// edit applies edit to the session's state, of which at is the place, tells the client of errors, and opens the new place. ok is
// false, and the place only tells where the session stands, if everything stays as it is.
func (ss *session) edit(by carrier, edit func(*change), at tidings.Position) (n next, p place, ok bool) {
	s := ss.server
	ss.mu.Lock()
	old, ended := ss.set, ss.ended
	c := change{patterns: old.list(), positions: ss.positions}
	ss.mu.Unlock()
	stay := place{at: at}
	if ended {
		return n, stay, false
	}
	was := c.positions
	edit(&c)
	for _, e := range c.errors {
		ss.tell(namespace, e[0], e[1])
	}
	slices.Sort(c.patterns)
	if slices.Equal(c.patterns, old.list()) && c.positions == was && c.after.IsZero() && !c.left {
		return n, stay, false
	}
	n = next{set: s.sets.get(c.patterns), positions: c.positions, moved: !c.after.IsZero()}
	if n.moved {
		at = c.after
	} else if c.left || n.set.empty() && !old.empty() {
		at = tidings.Position{} // whatever is subscribed to next begins then
	}
	p, err := ss.subscribe(by, n.set, at, n.positions)
	if err != nil {
		s.drops.Add(dropDenied, 1)
		ss.tell(namespace, subscribeError, detail(err))
		s.sets.put(n.set)
		return n, stay, false
	}
	return n, p, true
}

// adopt makes what edit has found the session's state.
func (ss *session) adopt(n next) {
	ss.mu.Lock()
	old := ss.set
	ss.set, ss.positions = n.set, n.positions
	if ss.ended { // meanwhile: nobody else gives it back
		ss.set, old = nil, n.set
	}
	ss.mu.Unlock()
	ss.server.sets.put(old)
}

// detail is what a client is told of an error.
func detail(err error) string {
	if tidings.KindOf(err) == 0 {
		return "Internal error"
	}
	return err.Error()
}

// ack acknowledges a packet that asks for it, with the position up to which the client has what it subscribed to if it asks for
// data; null if it has not subscribed.
func (ss *session) ack(p packet, at tidings.Position) {
	switch {
	case p.id == "":
	case !p.wantData:
		ss.send(appendAck(nil, p, nil))
	case at.IsZero():
		ss.send(appendAck(nil, p, []byte("[null]")))
	default:
		ss.send(appendAck(nil, p, append(at.AppendText([]byte(`["`)), `"]`...)))
	}
}

// tell sends an event error.
func (ss *session) tell(endpoint, name, sentence string) {
	ss.send(appendEvent(nil, endpoint, eventError, appendStrings(nil, name, sentence)))
}

// send sends a packet that is none of a feed.
func (ss *session) send(pkt []byte) {
	ss.mu.Lock()
	ws := ss.ws
	full := false
	if ss.pollState != nil && !ss.ended {
		ss.out = appendFramed(ss.out, pkt)
		full = len(ss.out) > maxOut
		if ss.poll != nil {
			ss.poll.wake()
		}
	}
	ss.mu.Unlock()
	if ws != nil {
		ws.WriteText(pkt)
	}
	if full {
		ss.end("queue-full", "")
	}
}
