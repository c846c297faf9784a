package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"tidings/edge"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// pulse is a service with one flow, of numbered messages. A message to it does something: see Stanza.
type pulse struct {
	e     *edge.Edge
	g     *edge.Group
	name  string // its domain
	joins bool   // messages are put together

	mu    sync.Mutex
	ends  []int // of messages in bytes
	all   []byte
	kept  int // messages before it have to be fetched
	open  int // sources
	peers map[service.Peer]service.Handle
	gone  int
	err   error // of Open
}

func (p *pulse) empty(t testing.TB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open != 0 || len(p.peers) != 0 {
		t.Errorf("%d sources are open, %d peers are there", p.open, len(p.peers))
	}
}

// beat appends n messages.
func (p *pulse) beat(n int) {
	p.mu.Lock()
	for range n {
		p.all = fmt.Appendf(p.all, "\x00 from='%s'><body>%d</body></message>", p.name, len(p.ends)+1)
		p.ends = append(p.ends, len(p.all))
	}
	p.mu.Unlock()
	p.g.Wake()
}

// keep has messages up to n fetched.
func (p *pulse) keep(n int) {
	p.mu.Lock()
	p.kept = max(n, 0)
	p.mu.Unlock()
}

// revoke ends the flows, and refuses to open others.
func (p *pulse) revoke() {
	p.mu.Lock()
	p.err = errRevoked
	p.mu.Unlock()
	p.g.Wake()
}

var errRevoked = errors.New("revoked")

func (p *pulse) Stanza(peer service.Peer, st *stanza.Stanza) {
	switch {
	case st.Kind == stanza.Presence && st.Type == stanza.TypeAvailable:
		peer.Send(stanza.AppendEmpty(nil, stanza.Presence, "", "", st.To, st.From))
		h := peer.Attach(&beats{p: p, peer: peer})
		p.mu.Lock()
		p.peers[peer] = h
		p.mu.Unlock()
	case st.Kind == stanza.Presence && st.Type == stanza.TypeUnavailable:
		p.mu.Lock()
		h := p.peers[peer]
		delete(p.peers, peer)
		p.mu.Unlock()
		if h != nil {
			h.Detach()
		}
		peer.Send(stanza.AppendEmpty(nil, stanza.Presence, "unavailable", "", st.To, st.From))
	case st.Request():
		b := st.AppendResult(nil, nil)
		peer.Task(func(context.Context) func() { return func() { peer.Send(b) } })
	case st.Kind == stanza.Message:
		peer.Send(stanza.AppendEnd(append(stanza.AppendStart(nil, stanza.Message, "chat", st.ID, st.To, st.From), "<body>you</body>"...), stanza.Message))
	}
}

func (p *pulse) Gone(peer service.Peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.peers, peer)
	p.gone++
}

// beats is the flow of a peer.
type beats struct {
	p     *pulse
	peer  service.Peer
	after uint64
}

func (b *beats) Key() any           { return "beats" }
func (b *beats) Mark() service.Mark { return service.Mark{Epoch: 1, Offset: b.after} }

func (b *beats) Open(after service.Mark) (*edge.Group, service.Source, error) {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	if b.p.err != nil {
		return nil, nil, b.p.err
	}
	b.p.open++
	src := &beating{p: b.p, at: int(after.Offset)}
	if b.p.joins {
		return b.p.g, &joining{beating: src, most: rand.IntN(7) + 1}, nil
	}
	return b.p.g, service.Behind(src, after, nil), nil
}

func (b *beats) Ended(err error) {
	b.p.mu.Lock()
	delete(b.p.peers, b.peer)
	b.p.mu.Unlock()
	b.peer.Send([]byte("<presence type='unavailable' from='pulse.localhost' to='" + b.peer.JID().String() + "'/>"))
}

// beating is a source.
type beating struct {
	p       *pulse
	at      int // messages given out
	next    int
	fetched bool
}

func (s *beating) start(i int) int {
	if i == 0 {
		return 0
	}
	return s.p.ends[i-1]
}

func (s *beating) Next() ([]byte, edge.Status) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	switch {
	case s.p.err != nil:
		return fmt.Appendf(nil, "\x00 from='%s'><body>the last</body></message>", s.p.name), edge.Ended
	case s.at >= len(s.p.ends):
		return nil, edge.Idle
	case s.at < s.p.kept && !s.fetched:
		return nil, edge.Behind
	}
	s.next = min(len(s.p.ends), s.at+500)
	a, b := s.start(s.at), s.start(s.next)
	return s.p.all[a:b:b], edge.Ready
}

func (s *beating) Advance(n int) []byte {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.fetched = false
	for a := s.start(s.at); s.at < s.next && s.start(s.at+1)-a <= n; {
		s.at++
	}
	return nil
}

func (s *beating) Fetch(context.Context) { s.fetched = true }
func (s *beating) Goodbye() []byte       { return nil }
func (s *beating) Mark() service.Mark    { return service.Mark{Epoch: 1, Offset: uint64(s.at)} }
func (s *beating) Close() {
	s.p.mu.Lock()
	s.p.open--
	s.p.mu.Unlock()
}

// joining is a source that gathers: of up to so many messages it makes one with all their numbers. Under a limit it takes what there
// is up to there.
type joining struct {
	*beating
	most, until int
	buf         []byte
	upTo        int
}

func (s *joining) Limit(m service.Mark) { s.until = int(m.Offset) }

func (s *joining) Next() ([]byte, edge.Status) {
	_, st := s.beating.Next()
	if st != edge.Ready {
		return nil, st
	}
	s.upTo = min(s.next, s.at+s.most)
	if s.until > 0 {
		if s.upTo = s.until; s.at >= s.until {
			return nil, edge.Idle
		}
	}
	s.buf = fmt.Appendf(nil, "\x00 from='%s'><body>", s.p.name)
	for n := s.at; n < s.upTo; n++ {
		s.buf = fmt.Appendf(s.buf, "%d ", n+1)
	}
	s.buf = append(s.buf, "</body></message>"...)
	return s.buf, edge.Ready
}

func (s *joining) Advance(n int) []byte {
	s.fetched = false
	if n == 0 {
		return nil
	}
	s.at = s.upTo
	return s.buf[n:]
}
