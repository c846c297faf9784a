package irc

import (
	"slices"

	"tidings"
)

// Define makes a channel while the server runs.
func (s *Server) Define(name string, patterns []tidings.Pattern) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names.configure(target{name: name, patterns: tidings.Patterns(patterns...)})
}

// Tick turns the wheel by hand until each client was looked at; now is in seconds since the server was made.
func (s *Server) Tick(now int64) {
	for i := range int64(slots) {
		s.tick(now + i)
	}
}

// Numeric returns what the table has for a kind of error.
func Numeric(k tidings.ErrorKind) string { return kinds[k] }

// Candidates returns the topics that a channel may stand for, with the names it would have, and whether it exists by
// configuration.
func (s *Server) Candidates(channel string) (found []string, sure bool) {
	ts, sure := s.names.candidates(channel)
	for _, t := range ts {
		found = append(found, t.name+" "+t.patterns[0].String())
	}
	return slices.Clip(found), sure
}

// ChannelOf returns the channel of a topic.
func (s *Server) ChannelOf(t tidings.Topic) string { return s.names.channelOf(t) }
