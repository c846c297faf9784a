package room

import (
	"context"

	"tidings/edge"
	"tidings/xmpp/service"
)

// page is a number of messages that are given out once, as a flow: what the peer does not take yet waits here, and nothing
// else is read for it meanwhile.
type page struct {
	srv      *Server
	messages []stored
	ended    func(error) // called once, when all has been given out or nothing more can be
}

func (s *Server) newPage(messages []stored, ended func(error)) *page {
	return &page{s, messages, ended}
}

// Key implements service.Flow: no other flow has the same messages.
func (p *page) Key() any { return p }

// Mark implements service.Flow. A mark of a page counts its messages.
func (p *page) Mark() service.Mark { return service.Mark{} }

func (p *page) Open(after service.Mark) (*edge.Group, service.Source, error) {
	at := min(after.Offset+uint64(after.Skip), uint64(len(p.messages)))
	return p.srv.pageGroup, &pageSource{messages: p.messages, at: int(at)}, nil
}

func (p *page) Ended(err error) { p.ended(err) }

// pageSource is a place in a page.
type pageSource struct {
	messages []stored
	at       int
	buf      []byte // what Next returned last
	n        int    // messages in it
}

// maxTurn bounds the bytes that are put together for one write, from the second message on.
const maxTurn = 32 << 10

func (s *pageSource) Next() ([]byte, edge.Status) {
	if s.at == len(s.messages) {
		return nil, edge.Ended
	}
	if s.buf == nil {
		s.n = 0
		for _, m := range s.messages[s.at:] {
			if s.n > 0 && len(s.buf)+len(m.message) > maxTurn {
				break
			}
			s.buf = append(s.buf, m.message...)
			s.n++
		}
	}
	return s.buf, edge.Ready
}

func (s *pageSource) Advance(n int) (rest []byte) {
	end := 0
	for end < n {
		end += len(s.messages[s.at].message)
		s.at++
	}
	rest = append(rest, s.buf[n:end]...)
	s.buf = nil
	return rest
}

func (s *pageSource) Mark() service.Mark    { return service.Mark{Offset: uint64(s.at)} }
func (s *pageSource) Fetch(context.Context) {}
func (s *pageSource) Goodbye() []byte       { return nil }
func (s *pageSource) Close()                {}
