package bridge

import (
	"errors"
	"maps"
	"sync"
	"sync/atomic"

	"tidings"
	"tidings/xmpp/delay"
	"tidings/xmpp/muc"
	"tidings/xmpp/sasl"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
)

// user is what a room says of an occupant.
type user = muc.User

// parse takes from a stanza what the bridge needs, which outlives it.
func parse(st *stanza.Stanza) said {
	s := said{kind: st.Kind, typ: st.Type, id: st.ID, from: st.From, err: st.Err()}
	switch st.Kind {
	case stanza.Presence:
		s.user, _ = muc.FindUser(st.Element)
	case stanza.Message:
		s.body = !st.Child("body").IsZero()
		_, _, s.delayed = delay.Find(st.Element)
	}
	return s
}

// counters are the figures of a bridge since Open.
type counters struct {
	connected                          atomic.Bool
	connections, resumed               atomic.Uint64
	sent, repeated, acknowledged, gaps atomic.Uint64

	mu     sync.Mutex
	errors map[string]uint64
	last   string
}

func (c *counters) failed(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errors[what]++
}

// disconnected counts the loss of a session, or one that could not be had.
func (b *Bridge) disconnected(err error) {
	what := "connection"
	if e, ok := errors.AsType[*sasl.Error](err); ok {
		what = "login-" + string(e.Condition)
	} else if e, ok := errors.AsType[*stream.Error](err); ok {
		what = "stream-" + e.Condition
	}
	b.counters.mu.Lock()
	defer b.counters.mu.Unlock()
	b.counters.errors[what]++
	b.counters.last = err.Error()
}

// Stats are figures since Open.
type Stats struct {
	Name         string
	Connected    bool
	LastError    string // why the last session ended or could not be had; empty while there is one
	Connections  uint64
	Resumed      uint64 // of them, sessions that went on
	Sent         uint64 // messages
	Repeated     uint64 // of them, those that had been sent before
	Acknowledged uint64
	UnderWay     int // bytes of messages
	Gaps         uint64
	// Errors counts what went wrong: login-, stream-, join-, message-, out- and ping- with the condition, connection, and withdrawn.
	Errors  map[string]uint64
	Skipped map[string]uint64 // events that were not said, by reason
	Rooms   []RoomStats
}

// RoomStats are the figures of a room.
type RoomStats struct {
	Room      string
	Nick      string
	State     string // in, joining or out
	LastError string // the last failure, if it was not overcome
	UnderWay  int    // messages
	// Position is up to where everything is acknowledged, of the first of its topics.
	Position tidings.Position
}

// moment is what the goroutine of the bridge has told last.
type moment struct {
	underWay int
	rooms    []RoomStats
}

// publish tells how the rooms are: when the state of one has changed, and each second.
func (b *Bridge) publish() {
	b.changed = false
	m := &moment{underWay: b.underWay, rooms: make([]RoomStats, 0, len(b.ordered))}
	for _, r := range b.ordered {
		m.rooms = append(m.rooms, RoomStats{Room: r.jid.String(), Nick: r.nick, State: stateNames[r.state], LastError: r.err, UnderWay: r.underWay(),
			Position: r.flows[0].rec.Position})
	}
	b.now.Store(m)
}

// Stats returns the figures.
func (b *Bridge) Stats() Stats {
	c := &b.counters
	m := b.now.Load()
	s := Stats{Name: b.opt.Name, Connected: c.connected.Load(), Connections: c.connections.Load(), Resumed: c.resumed.Load(),
		Sent: c.sent.Load(), Repeated: c.repeated.Load(), Acknowledged: c.acknowledged.Load(), UnderWay: m.underWay, Gaps: c.gaps.Load(),
		Skipped: b.drops.Snapshot(), Rooms: m.rooms}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Errors = maps.Clone(c.errors)
	if !s.Connected {
		s.LastError = c.last
	}
	return s
}
