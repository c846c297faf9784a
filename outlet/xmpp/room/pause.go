package room

import (
	"context"

	"tidings/edge"
	"tidings/xmpp/service"
)

// pauseAfter is how many bytes a visitor is sent of its own before it has to have taken them: less than what a connection
// holds, and than what a session keeps until it is acknowledged (XEP-0198).
const pauseAfter = 16 << 10

// send sends stanzas.
func (v *visitor) send(b []byte) {
	v.owed += len(b)
	v.peer.Send(b)
}

// pause calls done when the visitor has taken most of what it was sent.
func (v *visitor) pause(done func()) {
	if v.owed < pauseAfter {
		done()
		return
	}
	v.owed = 0
	v.peer.Attach(&pause{v.srv, done})
}

// pause is a flow of nothing. It ends when the carrier comes to it: when all before it has been written and, with stream
// management, enough of it has been acknowledged.
type pause struct {
	srv  *Server
	done func()
}

func (p *pause) Key() any           { return p }
func (p *pause) Mark() service.Mark { return service.Mark{} }
func (p *pause) Ended(error)        { p.done() }
func (p *pause) Open(service.Mark) (*edge.Group, service.Source, error) {
	return p.srv.pauses, nothing{}, nil
}

// nothing is the source of a pause.
type nothing struct{}

func (nothing) Next() ([]byte, edge.Status) { return nil, edge.Ended }
func (nothing) Advance(int) []byte          { return nil }
func (nothing) Mark() service.Mark          { return service.Mark{} }
func (nothing) Fetch(context.Context)       {}
func (nothing) Goodbye() []byte             { return nil }
func (nothing) Close()                      {}
