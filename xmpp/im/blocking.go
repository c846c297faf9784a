package im

import (
	"context"
	"slices"

	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Namespaces of blocking (XEP-0191).
const (
	nsBlocking       = "urn:xmpp:blocking"
	nsBlockingErrors = "urn:xmpp:blocking:errors"
)

// blocks reports whether an account blocks an address: that JID, its bare JID, or its domain with or without the resource
// (XEP-0191 section 3.3 and XEP-0016 section 2.1). The caller holds mu.
func (s *Service) blocks(local string, who jid.JID) bool {
	for _, b := range s.of(local).blocked {
		if b == who || b == who.Bare() || b == who.DomainJID() {
			return true
		}
	}
	return false
}

// refusedByBlock returns the error for a stanza that a block list stops; of one that goes nowhere without an error, too.
func (s *Service) refusedByBlock(x *session, st *stanza.Stanza) *stanza.Error {
	to := st.To.Bare()
	if st.To.IsZero() || to == x.bare || st.To.Local() == "" {
		return nil
	}
	if x.local != "" && s.blocks(x.local, st.To) {
		if st.Kind == stanza.Presence && st.Type == stanza.TypeUnavailable {
			return nil
		}
		return stanza.NotAcceptable("you have blocked this address").With(nsBlockingErrors, "blocked")
	}
	if st.Kind != stanza.Presence && s.blocks(st.To.Local(), st.From) && (st.Kind == stanza.Message || st.Request()) {
		return stanza.ServiceUnavailable()
	}
	return nil
}

func blocklist(s *Service, x *session, st *stanza.Stanza) {
	if st.Type != stanza.TypeGet {
		s.answer(x, st, stanza.BadRequest())
		return
	}
	x.blocklist = true
	var all []jid.JID
	if x.local != "" {
		all = s.of(x.local).blocked
	}
	result(x, st, appendBlocked("blocklist", all))
}

func appendBlocked(name string, all []jid.JID) []byte {
	var b xmlstream.Builder
	b.Open(name, "xmlns", nsBlocking)
	for _, j := range all {
		b.Empty("item", "jid", j.String())
	}
	return b.Close().Bytes()
}

// block and unblock change the list (XEP-0191 sections 3.3 and 3.4).
func block(s *Service, x *session, st *stanza.Stanza) {
	s.setBlocked(x, st, func(all, items []jid.JID) []jid.JID {
		for _, j := range items {
			if !slices.Contains(all, j) {
				all = append(all, j)
			}
		}
		return all
	})
}

func unblock(s *Service, x *session, st *stanza.Stanza) {
	s.setBlocked(x, st, func(all, items []jid.JID) []jid.JID {
		if len(items) == 0 {
			return nil
		}
		return slices.DeleteFunc(all, func(j jid.JID) bool { return slices.Contains(items, j) })
	})
}

func (s *Service) setBlocked(x *session, st *stanza.Stanza, change func(all, items []jid.JID) []jid.JID) {
	var items []jid.JID
	el := st.Payload()
	for c := range el.Children() {
		if !c.Is(nsBlocking, "item") {
			continue
		}
		j, err := jid.Parse(c.Attr("jid"))
		if err != nil {
			s.answer(x, st, stanza.JIDMalformed())
			return
		}
		items = append(items, j)
	}
	switch {
	case st.Type != stanza.TypeSet || el.Name() == "block" && len(items) == 0:
		s.answer(x, st, stanza.BadRequest())
		return
	case x.local == "":
		s.answer(x, st, stanza.NotAllowed("an anonymous session has no block list"))
		return
	}
	local := x.local
	s.later(x, st, func(ctx context.Context) error {
		s.writing.Lock()
		defer s.writing.Unlock()
		return s.changeBlocked(ctx, local, func(all []jid.JID) []jid.JID { return change(all, items) })
	})
}

// pushBlocked tells the account's sessions of the change, and makes those who are blocked now see them go. The caller holds mu.
func (s *Service) pushBlocked(local string, old, next []jid.JID) {
	bare, err := jid.New(local, s.domain.Domain(), "")
	if err != nil || len(s.users[bare]) == 0 {
		return
	}
	less := func(a, b []jid.JID) (diff []jid.JID) {
		for _, j := range a {
			if !slices.Contains(b, j) {
				diff = append(diff, j)
			}
		}
		return diff
	}
	added, removed := less(next, old), less(old, next)
	r := s.of(local).roster
	for _, x := range s.users[bare] {
		if x.blocklist && len(added) > 0 {
			x.push(bare, appendBlocked("block", added))
		}
		if x.blocklist && len(removed) > 0 {
			if len(next) == 0 && len(removed) > 1 {
				removed = nil // all of them
			}
			x.push(bare, appendBlocked("unblock", removed))
		}
		if !x.available {
			continue
		}
		for _, j := range added {
			if r.get(j.Bare()).From {
				s.deliverPresence(x, j, stanza.TypeUnavailable, nil)
			}
		}
		for _, j := range less(old, next) {
			if r.get(j.Bare()).From {
				s.deliverPresence(x, j, "", x.presence)
			}
		}
	}
}
