package im

import (
	"tidings/xmpp/jid"
	"tidings/xmpp/server"
	"tidings/xmpp/stanza"
)

// Namespaces of carbons (XEP-0280), forwarding (XEP-0297) and hints (XEP-0334).
const (
	nsCarbons = "urn:xmpp:carbons:2"
	nsForward = "urn:xmpp:forward:0"
	nsHints   = "urn:xmpp:hints"
)

// message delivers a message (RFC 6121 section 8.5). The caller holds mu.
func (s *Service) message(x *session, st *stanza.Stanza) {
	to := st.To
	if to.IsZero() {
		to = x.bare // RFC 6120 section 10.3.1
	}
	if to.Local() == "" {
		s.answer(x, st, stanza.ServiceUnavailable("nobody reads what the server is told"))
		return
	}
	took := s.deliver(st, to)
	if took == nil {
		switch st.Type {
		case stanza.TypeHeadline: // RFC 6121 section 8.5.2.2.1: for those who are there
		default:
			s.answer(x, st, stanza.ServiceUnavailable("there is no session that takes the message, and none is stored"))
		}
		return
	}
	if !copied(st) {
		return
	}
	for _, y := range s.users[to.Bare()] {
		if y.carbons && !contains(took, y) && !(x.bare == y.bare && y == x) {
			y.peer.Send(appendCarbon("received", st, y))
		}
	}
	if x.bare == to.Bare() {
		return
	}
	for _, y := range s.users[x.bare] {
		if y != x && y.carbons {
			y.peer.Send(appendCarbon("sent", st, y))
		}
	}
}

func contains(all []*session, x *session) bool {
	for _, y := range all {
		if x == y {
			return true
		}
	}
	return false
}

// deliver sends the message to the sessions that it is for, and returns them.
func (s *Service) deliver(st *stanza.Stanza, to jid.JID) (took []*session) {
	if !to.IsBare() {
		if y := s.sessions[to]; y != nil {
			y.peer.Send(server.AppendStanza(nil, st))
			return []*session{y}
		}
		if st.Type == stanza.TypeGroupchat || st.Type == stanza.TypeError || st.Type == stanza.TypeHeadline {
			return nil
		}
		to = to.Bare() // RFC 6121 section 8.5.3.2.1
	}
	if st.Type == stanza.TypeGroupchat || st.Type == stanza.TypeError {
		return nil
	}
	for _, y := range s.users[to] {
		if y.available && y.priority >= 0 {
			took = append(took, y)
		}
	}
	for _, y := range took {
		y.peer.Send(server.AppendStanza(nil, st))
	}
	return took
}

// copied reports whether other sessions get carbons of a message (XEP-0280 section 6.1).
func copied(st *stanza.Stanza) bool {
	if st.Type != stanza.TypeChat && (st.Type != stanza.TypeNormal || st.Child("body").IsZero()) {
		return false
	}
	e := st.Element
	return e.Child(nsCarbons, "private").IsZero() && e.Child(nsHints, "no-copy").IsZero() &&
		e.Child(nsCarbons, "received").IsZero() && e.Child(nsCarbons, "sent").IsZero()
}

// appendCarbon returns the copy of a message for one of the account's other sessions.
func appendCarbon(direction string, st *stanza.Stanza, y *session) []byte {
	b := stanza.AppendStart(nil, stanza.Message, st.Type, "", y.bare, y.jid)
	b = append(b, "<"+direction+" xmlns='"+nsCarbons+"'><forwarded xmlns='"+nsForward+"'><message xmlns='"+stanza.NSClient+"'"...)
	b = append(b, server.AppendStanza(nil, st)[len("<message"):]...)
	b = append(b, "</forwarded></"+direction+">"...)
	return stanza.AppendEnd(b, stanza.Message)
}

// carbons turns carbons on and off for the session (XEP-0280 sections 4 and 5).
func carbons(on bool) handler {
	return func(_ *Service, x *session, st *stanza.Stanza) {
		if st.Type != stanza.TypeSet {
			x.peer.Send(st.AppendError(nil, stanza.BadRequest()))
			return
		}
		x.carbons = on
		result(x, st, nil)
	}
}

// Undelivered implements server.Returner: a message that one session never acknowledged goes to the account's others, and
// back to its sender if there are none (XEP-0198 section 5).
func (s *Service) Undelivered(p *server.Session, st *stanza.Stanza) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.sessions[st.From]
	if st.Kind == stanza.Message && st.To.Bare() == p.JID().Bare() && st.From != st.To.Bare() && st.Element.Child(nsCarbons, "received").IsZero() {
		switch st.Type {
		case stanza.TypeChat, stanza.TypeNormal:
			if s.deliver(st, st.To.Bare()) != nil {
				return
			}
		case stanza.TypeGroupchat, stanza.TypeHeadline, stanza.TypeError:
			return
		}
	}
	if from != nil {
		s.answer(from, st, stanza.RecipientUnavailable())
	}
}
