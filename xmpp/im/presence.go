package im

import (
	"strconv"

	"tidings/xmpp/jid"
	"tidings/xmpp/server"
	"tidings/xmpp/stanza"
)

// maxPresence bounds what is kept of a session's presence, in bytes.
const maxPresence = 8 << 10

// presenceStanza takes a presence. The caller holds mu.
func (s *Service) presenceStanza(x *session, st *stanza.Stanza) {
	switch st.Type {
	case stanza.TypeAvailable, stanza.TypeUnavailable:
		if st.To.IsZero() {
			s.broadcast(x, st)
		} else {
			s.direct(x, st)
		}
	case stanza.TypeSubscribe, stanza.TypeSubscribed, stanza.TypeUnsubscribe, stanza.TypeUnsubscribed:
		s.subscription(x, st)
	case stanza.TypeProbe: // clients have no business with it, but some ask (RFC 6121 section 4.3)
		if st.To.Local() != "" && s.maySee(x.bare, st.To.Bare()) {
			s.probe(x, st.To.Bare())
		}
	case stanza.TypeError:
		if y := s.sessions[st.To]; y != nil {
			y.peer.Send(server.AppendStanza(nil, st))
		}
	}
}

// content returns the XML inside a stanza, as it means the same in another one.
func content(st *stanza.Stanza) []byte {
	var b []byte
	for c := range st.Element.Children() {
		b = c.AppendXML(b, stanza.NSClient)
	}
	return b
}

// broadcast takes presence without an address (RFC 6121 sections 4.2, 4.4 and 4.5).
func (s *Service) broadcast(x *session, st *stanza.Stanza) {
	body := content(st)
	if len(body) > maxPresence {
		s.answer(x, st, stanza.PolicyViolation("the presence is too long"))
		return
	}
	if st.Type == stanza.TypeUnavailable {
		s.leave(x, body)
		return
	}
	first := !x.available
	x.available, x.presence, x.priority = true, body, 0
	if p := st.Child("priority"); !p.IsZero() {
		n, err := strconv.ParseInt(p.Text(), 10, 8)
		if err != nil {
			n = 0
		}
		x.priority = int8(n)
	}
	s.tell(x, "", body)
	if !first {
		return
	}
	for _, y := range s.users[x.bare] { // its other resources are seen by it
		if y != x && y.available {
			x.peer.Send(y.appendPresence(nil, "", y.presence, x.jid))
		}
	}
	r := s.of(x.local).roster
	if x.local == "" || r == nil {
		return
	}
	for i := range r.Items {
		c := &r.Items[i]
		if c.To && s.maySee(x.bare, c.address) {
			s.probe(x, c.address)
		}
		if c.In != "" { // a request that waits for its answer (RFC 6121 section 3.1.3)
			x.peer.Send(appendPending(nil, c, x.bare))
		}
	}
}

func appendPending(dst []byte, c *contact, to jid.JID) []byte {
	dst = stanza.AppendStart(dst, stanza.Presence, stanza.TypeSubscribe, "", c.address, to)
	if c.In != noContent {
		dst = append(dst, c.In...)
	}
	return stanza.AppendEnd(dst, stanza.Presence)
}

// leave makes the session unavailable, for everybody who could know that it was there (RFC 6121 sections 4.5 and 4.6.3).
func (s *Service) leave(x *session, body []byte) {
	if x.available {
		s.tell(x, stanza.TypeUnavailable, body)
	}
	for j := range x.directed {
		s.deliverPresence(x, j, stanza.TypeUnavailable, body)
	}
	x.available, x.presence, x.priority, x.directed = false, nil, 0, nil
}

// tell sends the session's presence to those who are subscribed to it, and to the account's own sessions, itself included.
func (s *Service) tell(x *session, typ string, body []byte) {
	for _, y := range s.users[x.bare] {
		if y == x || y.available {
			y.peer.Send(x.appendPresence(nil, typ, body, y.jid))
		}
	}
	if x.local == "" {
		return
	}
	if r := s.of(x.local).roster; r != nil {
		for i := range r.Items {
			if c := &r.Items[i]; c.From && c.address != x.bare && !s.blocks(x.local, c.address) {
				delete(x.directed, c.address)
				s.deliverPresence(x, c.address, typ, body)
			}
		}
	}
}

// deliverPresence sends the session's presence to an address: one session, or all that are available of an account. Who blocks
// the session sees it go at most (XEP-0191 section 3.3).
func (s *Service) deliverPresence(x *session, to jid.JID, typ string, body []byte) {
	if typ != stanza.TypeUnavailable && s.blocks(to.Local(), x.jid) {
		return
	}
	if !to.IsBare() {
		if y := s.sessions[to]; y != nil {
			y.peer.Send(x.appendPresence(nil, typ, body, y.jid))
		}
		return
	}
	for _, y := range s.users[to] {
		if y.available {
			y.peer.Send(x.appendPresence(nil, typ, body, y.jid))
		}
	}
}

func (x *session) appendPresence(dst []byte, typ string, body []byte, to jid.JID) []byte {
	dst = stanza.AppendStart(dst, stanza.Presence, typ, "", x.jid, to)
	return stanza.AppendEnd(append(dst, body...), stanza.Presence)
}

// maxDirected bounds how many addresses a session may have sent presence to directly.
const maxDirected = 1000

// direct takes presence with an address (RFC 6121 section 4.6).
func (s *Service) direct(x *session, st *stanza.Stanza) {
	if st.To == s.domain || st.To.Bare() == x.bare && st.To.IsBare() {
		return // the server knows, and so do the account's sessions
	}
	body := content(st)
	if len(body) > maxPresence {
		s.answer(x, st, stanza.PolicyViolation("the presence is too long"))
		return
	}
	if st.Type == stanza.TypeUnavailable {
		delete(x.directed, st.To)
		s.deliverPresence(x, st.To, st.Type, body)
		return
	}
	if !s.of(x.local).roster.get(st.To.Bare()).From || !x.available {
		if len(x.directed) >= maxDirected {
			s.answer(x, st, stanza.ResourceConstraint("presence has been sent to too many addresses"))
			return
		}
		if x.directed == nil {
			x.directed = map[jid.JID]struct{}{}
		}
		x.directed[st.To] = struct{}{}
	}
	s.deliverPresence(x, st.To, "", body)
}

// maySee reports whether an account, or an anonymous session, may see the presence of an account.
func (s *Service) maySee(who, whom jid.JID) bool {
	if who == whom {
		return true
	}
	return whom.Local() != "" && s.of(whom.Local()).roster.get(who).From && !s.blocks(whom.Local(), who)
}

// probe sends a session what presence an account has.
func (s *Service) probe(x *session, whom jid.JID) {
	for _, y := range s.users[whom] {
		if y.available {
			x.peer.Send(y.appendPresence(nil, "", y.presence, x.jid))
		}
	}
}
