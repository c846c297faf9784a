package bridge

import (
	"fmt"
	"time"

	"tidings/xmpp/dial"
	"tidings/xmpp/stanza"
)

// tick looks at what takes too long.
func (r *room) tick(now time.Time) error {
	switch r.state {
	case out:
		return nil
	case asking, joining, configuring:
		if now.Sub(r.since) >= joinTimeout {
			r.gone(now, "join", "timeout", "", refusal{hint: "the room does not answer; it is tried again"})
		}
		return nil
	}
	_, first := r.first()
	late := first != nil && now.Sub(first.when) >= ackTimeout
	switch {
	case !r.pinged.IsZero() && now.Sub(r.pinged) >= pingTimeout:
		r.gone(now, "ping", "timeout", "", refusal{hint: "the room does not answer; it is entered again"})
	case r.pinged.IsZero() && (late || first == nil && now.Sub(r.heard) >= quiet):
		self, err := r.self()
		if err != nil {
			return nil // it could not be in
		}
		r.pinged = now
		r.pings++
		return r.request(stanza.TypeGet, fmt.Sprintf("self-%d", r.pings), self, []byte(dial.Ping))
	}
	return nil
}

// answered takes the answer to a request.
func (r *room) answered(now time.Time, s *said) error {
	r.heard = now
	switch {
	case s.id == "there" && r.state == asking:
		if s.typ == stanza.TypeError {
			r.gone(now, "join", s.err.Condition, s.err.Text, refusal{hint: "the room was destroyed; it is entered when it is there again", long: true})
			return nil
		}
		r.destroyed = false
		return r.enter(now)
	case s.id == "instant" && r.state == configuring:
		if s.typ == stanza.TypeError {
			r.b.log.Warn("the room was made, and others may not get in", "room", r.jid, "err", s.err, "hint", "let its owner configure it")
		}
		r.entered(now)
	case s.id == fmt.Sprintf("self-%d", r.pings) && r.state == in && !r.pinged.IsZero():
		r.isIn(now, s)
	}
	return nil
}

// isIn judges the answer to a ping of ourselves (XEP-0410 section 3.3). What was sent before it and has not come back by
// now does not come back any more: rooms keep the order.
func (r *room) isIn(now time.Time, s *said) {
	before := r.pinged
	r.pinged = time.Time{}
	if s.typ == stanza.TypeError {
		switch c := s.err.Condition; c {
		case "service-unavailable", "feature-not-implemented", "item-not-found": // it came as far as an occupant
		default:
			r.gone(now, "ping", c, s.err.Text, refusal{hint: "the room does not have the bridge in it any more; it enters again"})
			return
		}
	}
	lost := 0
	for _, f := range r.flows {
		for _, m := range f.way {
			if m.sent && !m.acked && m.when.Before(before) {
				lost++
			}
		}
	}
	if lost == 0 {
		return
	}
	if r.strange >= lost && !r.inOrder && !r.keepsIDs {
		r.inOrder = true
		r.b.log.Info("the room changes the ids of messages: they are counted in their order instead", "room", r.jid)
		for range lost {
			f, m := r.first()
			r.acknowledged(f, m)
		}
		return
	}
	r.reset()
	r.narrow = r.b.opt.Window
	r.failed(now, "message", "unreflected", "", refusal{hint: "the room takes messages and does not pass them on: perhaps a filter of its server"})
}
