package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"tidings"
	"tidings/internal/retry"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
)

// xmppStream is the stream of one or several rooms or nodes over its connections.
type xmppStream struct {
	c        *Client
	url      string
	patterns []tidings.Pattern
	filter   string
	from     From
	yield    func(Event, error) bool

	parts     []part // empty before the first connection
	session   *dial.Session
	conn      *dial.Conn
	connected bool // at least once
	told      bool // that this connection is there
	failures  int  // in a row
}

// part is a room or a node of a stream.
type part interface {
	// enter asks to be let in, on a session that is new.
	enter() error
	// take acts on a stanza if it is for this part.
	take(st *stanza.Stanza) (mine bool, err error)
	// ready reports whether it is known from where to go on if the connection breaks.
	ready() bool
	// look sees whether the part has been silent for too long.
	look(now time.Time) error
	// leave says goodbye on a session that is about to end, without waiting for an answer, and reports whether it had to.
	leave() bool
}

// readXMPP yields what rooms or nodes say until ctx ends, the loop is left, or an error ends it.
func (c *Client) readXMPP(ctx context.Context, patterns []tidings.Pattern, from From, filters []Filter, yield func(Event, error) bool) {
	s := &xmppStream{c: c, url: c.base.Redacted(), patterns: patterns, from: from, yield: yield}
	err := s.check(filters)
	if err == nil {
		err = s.run(ctx)
	}
	s.goodbye(ctx)
	if err != errStopped {
		yield(Event{}, err)
	}
}

// check judges what is asked for.
func (s *xmppStream) check(filters []Filter) error {
	x := s.c.xmpp
	if len(s.patterns) == 0 && x.room.IsZero() && x.node == "" {
		return tidings.Errorf(tidings.ErrInvalid, "client: no pattern is given, and the address names no room and no node: want one such as "+
			"xmpp://localhost/en.wikipedia.org@conference.localhost or xmpp://localhost/pubsub.localhost?;node=/news/local")
	}
	for i, p := range s.patterns {
		if p.IsZero() {
			return tidings.Errorf(tidings.ErrInvalid, "client: the zero Pattern matches nothing")
		}
		for _, q := range s.patterns[:i] {
			if x.pubsub() && p.String() != q.String() && overlap(p, q) {
				return tidings.Errorf(tidings.ErrInvalid, "client: %s and %s may match the same node, whose items could not be told apart: read one after the other, or over HTTP", q, p)
			}
		}
	}
	if x.pubsub() && len(filters) > 0 {
		return tidings.Errorf(tidings.ErrInvalid, "client: PubSub has no filters: read the room of the topic, or over HTTP")
	}
	q, err := filterQuery(filters)
	s.filter = q.Encode()
	return err
}

// run connects again and again, and returns the error that ends the stream.
func (s *xmppStream) run(ctx context.Context) error {
	for ; ; s.failures++ {
		err := xmppError(s.connect(ctx))
		if err == errStopped {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if kind := tidings.KindOf(err); !s.connected || kind != tidings.ErrUnavailable {
			return err
		}
		wait := retry.Backoff(s.c.retry, s.c.maxBackoff, max(s.failures, 0))
		s.c.notify(Notice{URL: s.url, Err: err, Wait: wait})
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// connect makes one connection and reads it until it ends.
func (s *xmppStream) connect(ctx context.Context) error {
	conn, err := s.c.dialXMPP(ctx, s.session)
	if err != nil {
		return err
	}
	s.conn, s.told = conn, false
	defer func() {
		// A session whose connection broke is worth being resumed; one that is left is over.
		if s.session = nil; conn.Err() != nil {
			s.session = conn.Drop()
		} else {
			s.leave()
		}
		conn.Close()
	}()
	if conn.Resumed() {
		s.up()
		return s.read(ctx)
	}
	if len(s.parts) == 0 {
		if err := s.find(ctx); err != nil {
			return err
		}
	}
	for _, p := range s.parts {
		if err := p.enter(); err != nil {
			return err
		}
	}
	return s.read(ctx)
}

// leave has every part say goodbye, and reports whether one had to.
func (s *xmppStream) leave() (left bool) {
	for _, p := range s.parts {
		if p.leave() {
			left = true
		}
	}
	return left
}

// goodbyeTimeout bounds what is done for a server that cannot be reached when the stream ends.
const goodbyeTimeout = 3 * time.Second

// goodbye ends a session that waits for its resumption when the stream ends between two connections, so that what was
// subscribed to is not left behind. It is tried once.
func (s *xmppStream) goodbye(ctx context.Context) {
	if s.session == nil || !slices.ContainsFunc(s.parts, func(p part) bool { _, ok := p.(*node); return ok }) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
	defer cancel()
	conn, err := s.c.dialXMPP(ctx, s.session)
	if err != nil {
		return // the server forgets by itself what it forgets
	}
	s.conn = conn
	s.leave()
	conn.Close()
}

// find makes the rooms or nodes of the patterns, or of the address.
func (s *xmppStream) find(ctx context.Context) error {
	if s.c.xmpp.pubsub() {
		return s.findNodes(ctx)
	}
	if len(s.patterns) == 0 {
		s.parts = []part{newRoom(s, s.c.xmpp.room)}
		return nil
	}
	domain, err := s.c.conference(ctx, s.conn)
	if err != nil {
		return err
	}
	var found []part
	seen := map[jid.JID]bool{}
	for _, p := range s.patterns {
		local, err := RoomAddress(p)
		if err != nil {
			return err
		}
		address, err := jid.New(local, domain, "")
		if err != nil {
			return tidings.Errorf(tidings.ErrInvalid, "client: the room of %s: %w", p, err)
		}
		if !seen[address] {
			seen[address] = true
			found = append(found, newRoom(s, address))
		}
	}
	s.parts = found
	return nil
}

// nick returns what to be called in rooms.
func (s *xmppStream) nick() string {
	return cmp.Or(s.c.xmpp.nick, fmt.Sprintf("tidings-%06x", rand.IntN(1<<24)))
}

// up tells that the connection is there once all of its parts are.
func (s *xmppStream) up() {
	if s.told || slices.ContainsFunc(s.parts, func(p part) bool { return !p.ready() }) {
		return
	}
	s.connected, s.told = true, true
	s.c.notify(Notice{URL: s.url})
}

var errTick = errors.New("it is time to look after rooms and nodes that say nothing")

// read takes stanzas until the connection ends.
func (s *xmppStream) read(ctx context.Context) error {
	for {
		until, cancel := context.WithTimeoutCause(ctx, s.c.silence/5, errTick)
		err := s.readOn(until)
		cancel()
		if err != errTick || ctx.Err() != nil {
			return err
		}
		for _, p := range s.parts {
			if err := p.look(time.Now()); err != nil {
				return err
			}
		}
	}
}

func (s *xmppStream) readOn(ctx context.Context) error {
	for {
		st, err := s.conn.Next(ctx)
		if err != nil {
			return err
		}
		for _, p := range s.parts { // nobody else is spoken to
			mine, err := p.take(&st)
			if err != nil {
				return err
			}
			if mine {
				s.up()
				break
			}
		}
	}
}

// emit yields an event or a gap.
func (s *xmppStream) emit(e Event, err error) error {
	if err == nil {
		s.failures = -1 // it counts the failures behind this event
	}
	if !s.yield(e, err) {
		return errStopped
	}
	return nil
}
