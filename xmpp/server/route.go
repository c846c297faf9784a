package server

import (
	"slices"

	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// clientNS is the context of stanzas that were written here.
var clientNS = xmlstream.NewContext(stanza.NSClient)

// route gives a stanza of a session, whose From is set, to whoever serves its address. Every request gets an answer.
func (s *Server) route(x *Session, st *stanza.Stanza) {
	if st.To.IsZero() || st.To.Domain() == s.domain.Domain() {
		if isSession(st) && (st.To.IsZero() || st.To == s.domain) {
			x.Send(st.AppendResult(nil, nil))
			return
		}
		s.accounts.Stanza(x, st)
		return
	}
	s.mu.RLock()
	svc := s.services[st.To.Domain()]
	s.mu.RUnlock()
	if svc == nil {
		x.Send(st.AppendError(nil, stanza.RemoteServerNotFound("this server talks to no other")))
		return
	}
	if !slices.Contains(x.used, svc) {
		x.used = append(x.used, svc)
	}
	svc.Stanza(x, st)
}

// served is a domain's service, comparable whatever that is.
type served struct{ service.Service }

// Deliver sends a stanza to the session with the full JID it is addressed to, and reports whether there is one.
func (s *Server) Deliver(st *stanza.Stanza) bool {
	x := s.Session(st.To)
	if x == nil {
		return false
	}
	return x.enqueue(op{b: AppendStanza(nil, st)})
}

// AppendStanza appends a received stanza as it goes on to its recipient: with the addresses in st and with what else it had.
func AppendStanza(dst []byte, st *stanza.Stanza) []byte {
	dst = stanza.AppendStart(dst, st.Kind, st.Type, st.ID, st.From, st.To)
	dst = dst[:len(dst)-1]
	for a := range st.Element.Attrs() {
		switch {
		case a.Space == "" && slices.Contains([]string{"from", "to", "type", "id"}, a.Name):
			continue
		case a.Space == "":
			dst = append(append(dst, ' '), a.Name...)
		case a.Space == xmlstream.SpaceXML:
			dst = append(append(dst, " xml:"...), a.Name...)
		default: // attributes of other namespaces stay with the sender: nothing is known of their prefixes
			continue
		}
		dst = append(xmlstream.AppendAttr(append(dst, "='"...), a.Value), '\'')
	}
	dst = append(dst, '>')
	for c := range st.Element.Children() {
		dst = c.AppendXML(dst, stanza.NSClient)
	}
	return stanza.AppendEnd(dst, st.Kind)
}

// isSession reports whether a stanza asks for the session of RFC 3921, which clients do that remember it.
func isSession(st *stanza.Stanza) bool {
	return st.Kind == stanza.IQ && st.Type == stanza.TypeSet && st.Payload().Is(stream.NSSession, "session")
}

// undelivered deals with what a session that has ended for good never acknowledged (XEP-0198 section 5, RFC 6121 section
// 8.5): requests and messages go back to who sent them, unless the accounts know better.
func (s *Server) undelivered(x *Session, lost [][]byte) {
	returner, ok := s.accounts.(Returner)
	d := new(xmlstream.Document)
	for _, b := range lost {
		e, err := d.Parse(b, clientNS)
		if err != nil {
			continue
		}
		st, err := stanza.Parse(e)
		if err != nil || st.Kind == stanza.Presence {
			continue
		}
		s.bounced.Add(1)
		if ok {
			returner.Undelivered(x, &st)
		} else {
			s.bounce(&st)
		}
	}
}

// bounce returns a stanza to the session it came from.
func (s *Server) bounce(st *stanza.Stanza) {
	if from := s.Session(st.From); from != nil && st.Type != stanza.TypeGroupchat {
		if b := st.AppendError(nil, stanza.RecipientUnavailable()); len(b) > 0 {
			from.Send(b)
		}
	}
}

// nobody is the Accounts of a server that was given none: stanzas reach full JIDs, and nothing else.
type nobody struct{ s *Server }

func (n *nobody) Bound(*Session)    {}
func (n *nobody) Gone(service.Peer) {}

func (n *nobody) Stanza(p service.Peer, st *stanza.Stanza) {
	if !st.To.IsBare() && n.s.Deliver(st) {
		return
	}
	if st.Kind != stanza.Presence {
		p.Send(st.AppendError(nil, stanza.ServiceUnavailable()))
	}
}
