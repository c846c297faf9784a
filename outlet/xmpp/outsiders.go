package xmpp

import (
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// Outsiders returns what serves s to the addresses that come over a component link. Who comes from the domain is refused: it is
// the embedded server's, whose accounts have rights of their own, and another server cannot speak for them. refused is called
// with each such address.
func Outsiders(s service.Service, domain string, refused func(from jid.JID)) service.Service {
	return outsiders{s, domain, refused}
}

type outsiders struct {
	service.Service
	domain  string
	refused func(from jid.JID)
}

var errInsider = stanza.Forbidden("accounts of that domain use the server that has them")

func (o outsiders) Stanza(p service.Peer, st *stanza.Stanza) {
	if st.From.Domain() != o.domain {
		o.Service.Stanza(p, st)
		return
	}
	o.refused(st.From)
	wanted := st.Kind == stanza.Message || st.Request() || st.Kind == stanza.Presence && st.Type == stanza.TypeAvailable
	if b := st.AppendError(nil, errInsider); wanted && len(b) > 0 {
		p.Send(b)
	}
}
