package room

import (
	"tidings"
	"tidings/xmpp/jid"
)

// PatternsOf returns what the room of that name would stand for, if there were events.
func (s *Server) PatternsOf(local string) ([]tidings.Pattern, error) {
	ts, _ := s.names.candidates(local)
	if len(ts) == 0 {
		_, err := jid.New(local, s.opt.Domain, "")
		return nil, err
	}
	return ts[0].patterns, nil
}
