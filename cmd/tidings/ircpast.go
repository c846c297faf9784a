package main

import (
	"strconv"
	"strings"

	"tidings"
	"tidings/irc"
)

// ircPast is a question for a channel's history.
type ircPast struct {
	channel *ircChannel
	after   string // the selector: msgid=… or timestamp=…; empty to learn the last message only
	lines   []ircLine
	live    []ircLine // came since it was asked: some of them are among lines
	open    bool      // its batch has begun
}

// ask sends a question for the past. Answers come in the order of the questions.
func (s *ircSession) ask(p *ircPast) error {
	s.asking = append(s.asking, p)
	if p.after == "" {
		return s.say("CHATHISTORY", "LATEST", p.channel.name, "*", "1")
	}
	return s.say("CHATHISTORY", "AFTER", p.channel.name, p.after, strconv.Itoa(ircPage))
}

// batch begins or ends a piece of the past.
func (s *ircSession) batch(m *irc.Message) error {
	ref := m.Param(0)
	if name, ok := strings.CutPrefix(ref, "+"); ok {
		if m.Param(1) == "chathistory" && len(s.asking) > 0 && irc.Same(m.Param(2), s.asking[0].channel.name) {
			s.batches[name] = s.asking[0].channel
			s.asking[0].open = true
		}
		return nil
	}
	name := strings.TrimPrefix(ref, "-")
	if s.batches[name] == nil || len(s.asking) == 0 {
		return nil
	}
	delete(s.batches, name)
	p := s.asking[0]
	s.asking = s.asking[1:]
	if p.after == "" {
		if len(p.lines) > 0 && p.channel.last == "" {
			p.channel.last = p.lines[len(p.lines)-1].id
		}
		return nil
	}
	for _, l := range p.lines {
		if err := s.tell(p.channel, l); err != nil {
			return err
		}
	}
	if len(p.lines) > 0 && len(p.lines) >= ircPage {
		// What came meanwhile was stored before this question, whose answer has it.
		return s.ask(&ircPast{channel: p.channel, after: "msgid=" + p.channel.last})
	}
	for _, l := range p.live {
		if err := s.tell(p.channel, l); err != nil {
			return err
		}
	}
	return nil
}

// past returns the question about the channel that has not been answered.
func (s *ircSession) past(c *ircChannel) *ircPast {
	for _, p := range s.asking {
		if p.channel == c && p.after != "" {
			return p
		}
	}
	return nil
}

// standardReply takes what is said about history: a gap, or that there is none.
func (s *ircSession) standardReply(m *irc.Message) error {
	if m.Param(0) != "CHATHISTORY" || len(s.asking) == 0 {
		return nil
	}
	p := s.asking[0]
	why := m.Param(len(m.Params) - 1)
	if m.Command == "WARN" {
		if oldest, err := tidings.ParsePosition(m.Param(4)); m.Param(1) == "GAP" && err == nil {
			return s.gap(p.channel, oldest, strings.TrimPrefix(p.after, "msgid="))
		}
		return nil
	}
	s.asking = s.asking[1:]
	if p.after == "" {
		return nil
	}
	if !s.emit(received{}, &lostError{"the history of " + p.channel.name + " cannot be had: " + why}) {
		return errStopped
	}
	for _, l := range p.live {
		if err := s.tell(p.channel, l); err != nil {
			return err
		}
	}
	return nil
}

func (s *ircSession) gap(c *ircChannel, oldest tidings.Position, asked string) error {
	g := &tidings.GapError{Oldest: oldest}
	if p, err := tidings.ParsePosition(asked); err == nil {
		g.Asked = p
	}
	return emitted(s.emit(received{}, g))
}
