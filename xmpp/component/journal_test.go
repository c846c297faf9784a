package component

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"tidings/edge"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// journal is what flows read: events of one message or more at the offsets 1, 2 and so on.
type journal struct {
	g     *edge.Group
	epoch uint32

	mu     sync.Mutex
	events [][]byte // nil for one that nobody is shown
	behind int      // up to there a source has to fetch
	open   int      // sources
	opened int
	most   int // of the sources that were open at once
	err    error
}

func newJournal(e *edge.Edge) *journal { return &journal{g: e.NewGroup(), epoch: 7} }

// publish appends an event of so many messages.
func (j *journal) publish(messages int) {
	j.mu.Lock()
	n := len(j.events) + 1
	var ev []byte
	for i := range messages {
		ev = fmt.Appendf(ev, "\x00 from='pub.example'><n>%d.%d</n></message>", n, i)
	}
	j.events = append(j.events, ev)
	j.mu.Unlock()
	j.g.Wake()
}

func (j *journal) publishRaw(message []byte) {
	j.mu.Lock()
	j.events = append(j.events, message)
	j.mu.Unlock()
	j.g.Wake()
}

func (j *journal) head() service.Mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	return service.Mark{Epoch: j.epoch, Offset: uint64(len(j.events))}
}

// revoke has sources end, and none opened.
func (j *journal) revoke(err error) {
	j.mu.Lock()
	j.err = err
	j.mu.Unlock()
	j.g.Wake()
}

var errRevoked = errors.New("revoked")

func (j *journal) closed(t testing.TB) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.open != 0 {
		t.Errorf("%d sources are open", j.open)
	}
}

func (j *journal) sources() (open, opened int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.open, j.opened
}

// reader is a flow of the events whose offset is a multiple of every.
type reader struct {
	j     *journal
	every int
	name  string // of readers with bytes of their own
	from  service.Mark
	gone  error // of Open
	ended chan error
}

func (j *journal) reader(every int, after uint64) *reader {
	return &reader{j: j, every: every, from: service.Mark{Epoch: j.epoch, Offset: after}, ended: make(chan error, 1)}
}

type readerKey struct {
	every int
	name  string
}

func (r *reader) Key() any           { return readerKey{r.every, r.name} }
func (r *reader) Mark() service.Mark { return r.from }
func (r *reader) Ended(err error)    { r.ended <- err }

func (r *reader) Open(after service.Mark) (*edge.Group, service.Source, error) {
	r.j.mu.Lock()
	defer r.j.mu.Unlock()
	if r.gone != nil {
		return nil, nil, r.gone
	}
	r.j.open++
	r.j.opened++
	r.j.most = max(r.j.most, r.j.open)
	return r.j.g, service.Behind(&source{r: r, at: int(after.Offset)}, after, nil), nil
}

// source behaves as a subscription of a hub does.
type source struct {
	r       *reader
	at      int // events given out, or not shown
	given   []int
	fetched bool
	closed  bool
}

func (s *source) shown(i int) bool { return i%s.r.every == 0 && s.r.j.events[i-1] != nil }

func (s *source) Next() ([]byte, edge.Status) {
	j := s.r.j
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.closed {
		panic("a source is used after Close")
	}
	if j.err != nil {
		return []byte("\x00 from='pub.example'><last/></message>"), edge.Ended
	}
	if s.at < j.behind && s.at < len(j.events) && !s.fetched {
		return nil, edge.Behind
	}
	var p []byte
	s.given = s.given[:0]
	for i := s.at + 1; i <= len(j.events) && len(s.given) < 20; i++ {
		if s.shown(i) {
			p = append(p, j.events[i-1]...)
			s.given = append(s.given, i)
		}
	}
	if len(p) == 0 {
		return nil, edge.Idle
	}
	return p, edge.Ready
}

func (s *source) Advance(n int) []byte {
	j := s.r.j
	j.mu.Lock()
	defer j.mu.Unlock()
	s.fetched = false
	for _, i := range s.given {
		if n <= 0 {
			break
		}
		ev := j.events[i-1]
		s.at = i
		if n < len(ev) {
			return bytes.Clone(ev[n:])
		}
		n -= len(ev)
	}
	return nil
}

func (s *source) Mark() service.Mark {
	j := s.r.j
	j.mu.Lock()
	defer j.mu.Unlock()
	at := s.at
	for at < len(j.events) && !s.shown(at+1) {
		at++
	}
	return service.Mark{Epoch: j.epoch, Offset: uint64(at)}
}

func (s *source) Fetch(context.Context) { s.fetched = true }
func (s *source) Goodbye() []byte       { return nil }
func (s *source) Close() {
	s.r.j.mu.Lock()
	defer s.r.j.mu.Unlock()
	if s.closed {
		panic("a source is closed twice")
	}
	s.closed = true
	s.r.j.open--
}

// desk is a service that hands stanzas to the test.
type desk struct {
	mu     sync.Mutex
	peers  map[service.Peer]int // stanzas of each
	gone   map[service.Peer]int
	stanza func(p service.Peer, st *stanza.Stanza)
}

func newDesk(f func(p service.Peer, st *stanza.Stanza)) *desk {
	return &desk{peers: map[service.Peer]int{}, gone: map[service.Peer]int{}, stanza: f}
}

func (d *desk) Stanza(p service.Peer, st *stanza.Stanza) {
	d.mu.Lock()
	d.peers[p]++
	d.mu.Unlock()
	if d.stanza != nil {
		d.stanza(p, st)
	}
}

func (d *desk) Gone(p service.Peer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone[p]++
}

func (d *desk) goneTimes(p service.Peer) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone[p]
}
