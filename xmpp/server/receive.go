package server

import (
	"sync"

	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// documents are what stanzas are parsed in.
var documents = sync.Pool{New: func() any { return new(xmlstream.Document) }}

// element takes an element that the client has sent. It runs on the goroutine that owns the connection.
func (x *Session) element(e xmlstream.Element) *stream.Error {
	st, err := stanza.Parse(e)
	if err == stanza.ErrNotStanza {
		return x.received(e)
	}
	if !st.From.IsZero() && st.From != x.jid && st.From != x.jid.Bare() {
		return stream.NewError("invalid-from", "from is not the address of this session")
	}
	st.From = x.jid
	x.srv.stanzasIn.Add(1)
	if err != nil {
		x.Send(st.AppendError(nil, err.(*stanza.Error)))
	} else {
		x.srv.route(x, &st)
	}
	if x.sm != nil {
		x.sm.in++
	}
	return nil
}

// received takes an element that is no stanza.
func (x *Session) received(e xmlstream.Element) *stream.Error {
	switch e.Space() {
	case stream.NSSM:
		m, err := stream.ParseSM(e)
		if err != nil {
			return stream.AsError(err)
		}
		return x.manage(m)
	case stream.NSCSI:
		switch e.Name() {
		case "active", "inactive":
			x.csi.Store(e.Name() == "inactive")
			return nil
		}
	}
	return stream.NewError("unsupported-stanza-type")
}
