package pubsub

import (
	"tidings/xmpp/server"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// Follow returns what serves the accounts of an embedded server as a does, and tells the service which of their sessions are
// available.
func (s *Server) Follow(a server.Accounts) server.Accounts {
	f := followed{a, s}
	if r, ok := a.(server.Returner); ok {
		return returning{f, r}
	}
	return f
}

type followed struct {
	server.Accounts
	pubsub *Server
}

func (f followed) Stanza(p service.Peer, st *stanza.Stanza) {
	f.Accounts.Stanza(p, st)
	if st.Kind == stanza.Presence && st.To.IsZero() {
		f.pubsub.Presence(p, st)
	}
}

func (f followed) Gone(p service.Peer) {
	f.pubsub.Gone(p)
	f.Accounts.Gone(p)
}

type returning struct {
	followed
	server.Returner
}
