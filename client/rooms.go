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

// rooms is the stream of one or several rooms over its connections.
type rooms struct {
	c        *Client
	url      string
	patterns []tidings.Pattern
	filter   string
	from     From
	yield    func(Event, error) bool

	rooms     []*room // empty before the first connection
	session   *dial.Session
	conn      *dial.Conn
	connected bool // at least once
	told      bool // that this connection is there
	failures  int  // in a row
}

// readRooms yields what the rooms say until ctx ends, the loop is left, or an error ends it.
func (c *Client) readRooms(ctx context.Context, patterns []tidings.Pattern, from From, filters []Filter, yield func(Event, error) bool) {
	s := &rooms{c: c, url: c.base.Redacted(), patterns: patterns, from: from, yield: yield}
	err := s.check(filters)
	if err == nil {
		err = s.run(ctx)
	}
	if err != errStopped {
		yield(Event{}, err)
	}
}

// check judges what is asked for.
func (s *rooms) check(filters []Filter) error {
	if len(s.patterns) == 0 && s.c.xmpp.room.IsZero() {
		return tidings.Errorf(tidings.ErrInvalid, "client: no pattern is given, and the address names no room: want one such as xmpp://localhost/en.wikipedia.org@conference.localhost")
	}
	for _, p := range s.patterns {
		if p.IsZero() {
			return tidings.Errorf(tidings.ErrInvalid, "client: the zero Pattern matches nothing")
		}
	}
	q, err := filterQuery(filters)
	s.filter = q.Encode()
	return err
}

// run connects again and again, and returns the error that ends the stream.
func (s *rooms) run(ctx context.Context) error {
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
func (s *rooms) connect(ctx context.Context) error {
	conn, err := s.c.dialXMPP(ctx, s.session)
	if err != nil {
		return err
	}
	s.conn, s.told = conn, false
	defer func() {
		// A session whose connection broke is worth being resumed; one that is left is over.
		if s.session = nil; conn.Err() != nil {
			s.session = conn.Drop()
		}
		conn.Close()
	}()
	if conn.Resumed() {
		s.up()
		return s.read(ctx)
	}
	if len(s.rooms) == 0 {
		if err := s.find(ctx); err != nil {
			return err
		}
	}
	for _, r := range s.rooms {
		r.nick = cmp.Or(s.c.xmpp.nick, fmt.Sprintf("tidings-%06x", rand.IntN(1<<24)))
		if err := r.join(); err != nil {
			return err
		}
	}
	return s.read(ctx)
}

// find makes the rooms of the patterns, or of the address.
func (s *rooms) find(ctx context.Context) error {
	if len(s.patterns) == 0 {
		s.rooms = []*room{newRoom(s, s.c.xmpp.room)}
		return nil
	}
	domain, err := s.c.conference(ctx, s.conn)
	if err != nil {
		return err
	}
	var found []*room
	for _, p := range s.patterns {
		local, err := RoomAddress(p)
		if err != nil {
			return err
		}
		address, err := jid.New(local, domain, "")
		if err != nil {
			return tidings.Errorf(tidings.ErrInvalid, "client: the room of %s: %w", p, err)
		}
		if !slices.ContainsFunc(found, func(r *room) bool { return r.jid == address }) {
			found = append(found, newRoom(s, address))
		}
	}
	s.rooms = found
	return nil
}

// up tells that the connection is there once all of its rooms are.
func (s *rooms) up() {
	if s.told || slices.ContainsFunc(s.rooms, func(r *room) bool { return !r.known || r.state == joining }) {
		return
	}
	s.connected, s.told = true, true
	s.c.notify(Notice{URL: s.url})
}

var errTick = errors.New("it is time to look after rooms that say nothing")

// read takes stanzas until the connection ends.
func (s *rooms) read(ctx context.Context) error {
	for {
		until, cancel := context.WithTimeoutCause(ctx, s.c.silence/5, errTick)
		err := s.readOn(until)
		cancel()
		if err != errTick || ctx.Err() != nil {
			return err
		}
		for _, r := range s.rooms {
			if err := r.look(time.Now()); err != nil {
				return err
			}
		}
	}
}

func (s *rooms) readOn(ctx context.Context) error {
	for {
		st, err := s.conn.Next(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.rooms, func(r *room) bool { return r.jid == st.From.Bare() })
		if i < 0 {
			continue // nobody else is spoken to
		}
		r := s.rooms[i]
		r.heard = time.Now()
		switch st.Kind {
		case stanza.Presence:
			err = r.presence(&st)
		case stanza.IQ:
			err = r.answer(&st)
		case stanza.Message:
			err = r.message(&st)
		}
		if err != nil {
			return err
		}
		s.up()
	}
}

// emit yields an event or a gap.
func (s *rooms) emit(e Event, err error) error {
	if err == nil {
		s.failures = -1 // it counts the failures behind this event
	}
	if !s.yield(e, err) {
		return errStopped
	}
	return nil
}
