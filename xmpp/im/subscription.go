package im

import (
	"context"

	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
)

// subscription takes the stanzas that manage presence subscriptions (RFC 6121 section 3). Both sides are accounts here: the
// request of the one and what it does to the roster of the other are one task.
func (s *Service) subscription(x *session, st *stanza.Stanza) {
	to := st.To.Bare()
	switch {
	case x.local == "":
		s.answer(x, st, stanza.NotAllowed("an anonymous session has no roster"))
		return
	case st.To.IsZero() || to == x.bare || to.Local() == "":
		s.answer(x, st, stanza.BadRequest("a subscription is to the address of an account"))
		return
	case !s.exists(to) && st.Type == stanza.TypeSubscribe:
		s.answer(x, st, stanza.ItemNotFound())
		return
	}
	own, typ, body := x.bare, st.Type, content(st)
	if len(body) > maxPresence {
		s.answer(x, st, stanza.PolicyViolation("the request is too long"))
		return
	}
	s.later(x, st, func(ctx context.Context) error {
		s.writing.Lock()
		defer s.writing.Unlock()
		switch typ {
		case stanza.TypeSubscribe:
			return s.subscribe(ctx, own, to, body)
		case stanza.TypeSubscribed:
			return s.approve(ctx, own, to)
		}
		if err := s.changeRoster(ctx, own.Local(), func(r *roster) error {
			if i := r.find(to); i >= 0 {
				if typ == stanza.TypeUnsubscribe {
					r.Items[i].To, r.Items[i].Ask = false, false
				} else {
					r.Items[i].From, r.Items[i].In = false, ""
				}
			}
			return nil
		}); err != nil {
			return err
		}
		return s.unsubscribed(ctx, own, to, typ)
	})
}

// subscribe is an account's request to see another's presence (RFC 6121 section 3.1).
func (s *Service) subscribe(ctx context.Context, from, to jid.JID, body []byte) error {
	s.mu.Lock()
	mine, theirs := s.of(from.Local()).roster.get(to), s.of(to.Local()).roster.get(from)
	refused := s.blocks(to.Local(), from)
	s.mu.Unlock()
	if mine.To && theirs.From {
		return nil
	}
	if err := s.changeRoster(ctx, from.Local(), func(r *roster) error {
		c := r.contactFor(to)
		c.Ask, c.Hidden = true, false
		return nil
	}); err != nil || refused {
		return err // who is blocked is told nothing
	}
	if theirs.From { // it is granted already
		return s.grant(ctx, to, from)
	}
	in := string(body)
	if in == "" {
		in = noContent
	}
	if theirs.In == in {
		return nil
	}
	if err := s.changeRoster(ctx, to.Local(), func(r *roster) error {
		known := r.find(from) >= 0
		c := r.contactFor(from)
		c.In, c.Hidden = in, c.Hidden || !known
		return nil
	}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, y := range s.users[to] {
		if y.available {
			y.peer.Send(appendPending(nil, &contact{address: from, In: in}, to))
		}
	}
	return nil
}

// approve is an account's consent to be seen (RFC 6121 section 3.1.4). Without a request it does nothing: consent in advance
// is not offered.
func (s *Service) approve(ctx context.Context, from, to jid.JID) error {
	s.mu.Lock()
	pending := s.of(from.Local()).roster.get(to).In != ""
	s.mu.Unlock()
	if !pending {
		return nil
	}
	if err := s.changeRoster(ctx, from.Local(), func(r *roster) error {
		c := r.contactFor(to)
		c.From, c.In, c.Hidden = true, "", false
		return nil
	}); err != nil {
		return err
	}
	return s.grant(ctx, from, to)
}

// grant tells to that it sees from now.
func (s *Service) grant(ctx context.Context, from, to jid.JID) error {
	s.mu.Lock()
	asked := s.of(to.Local()).roster.get(from)
	s.mu.Unlock()
	if !asked.Ask {
		return nil
	}
	if err := s.changeRoster(ctx, to.Local(), func(r *roster) error {
		c := r.contactFor(from)
		c.To, c.Ask = true, false
		return nil
	}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, y := range s.users[to] {
		if y.interested || y.available {
			y.peer.Send(stanza.AppendEmpty(nil, stanza.Presence, stanza.TypeSubscribed, "", from, to))
		}
		if y.available {
			s.probe(y, from)
		}
	}
	return nil
}

// unsubscribed does to the roster of to what from has done: given its subscription up (unsubscribe, RFC 6121 section 3.3), or
// withdrawn that of to (unsubscribed, section 3.2).
func (s *Service) unsubscribed(ctx context.Context, from, to jid.JID, typ string) error {
	s.mu.Lock()
	was := s.of(to.Local()).roster.get(from)
	s.mu.Unlock()
	had := was.To || was.Ask
	if typ == stanza.TypeUnsubscribe {
		had = was.From || was.In != ""
	}
	if !had {
		return nil
	}
	if err := s.changeRoster(ctx, to.Local(), func(r *roster) error {
		c := r.contactFor(from)
		if typ == stanza.TypeUnsubscribe {
			c.From, c.In = false, ""
		} else {
			c.To, c.Ask = false, false
		}
		return nil
	}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Whoever does not see the other any more is told that it has gone, before or after what ended it.
	gone, seer := from, to
	if typ == stanza.TypeUnsubscribe {
		gone, seer = to, from
	}
	for _, y := range s.users[to] {
		if y.interested || y.available {
			y.peer.Send(stanza.AppendEmpty(nil, stanza.Presence, typ, "", from, to))
		}
	}
	for _, g := range s.users[gone] {
		if g.available {
			s.deliverPresence(g, seer, stanza.TypeUnavailable, nil)
		}
	}
	return nil
}
