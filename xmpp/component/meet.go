package component

import (
	"tidings/edge"
	"tidings/xmpp/service"
)

// rests is called when the source has nothing: then strands of one key stand at the same mark, unless the journal moves.
func (s *strand) rests() {
	s.idle = true
	if s.past != nil {
		s.repeatedAll()
		return
	}
	fam := s.l.families[s.key]
	if fam.main != s {
		s.meet()
		return
	}
	for o := range fam.others {
		if o.idle {
			o.meet()
		}
	}
}

// meet has the strand's flows join those of the main one of its key, if it stands there.
func (s *strand) meet() {
	if s.past != nil || s.round != nil || s.fetching {
		return
	}
	main := s.l.families[s.key].main
	if main == s {
		return
	}
	s.look()
	if main.mark != s.mark {
		main.look()
	}
	if main.mark != s.mark || main.extra {
		return
	}
	for len(s.members) > 0 {
		a := s.members[len(s.members)-1].a
		a.settle()
		s.remove(a) // closes s with the last
		main.join(a)
	}
	main.queue()
}

// over is called when the source has ended. What it has said last is for the flow that opened it; the others open theirs, and
// end with them or go on.
func (s *strand) over(p []byte) {
	if s.past != nil {
		s.repeatedAll()
		return
	}
	l, owner := s.l, s.owner
	members := make([]*attached, len(s.members))
	for i, m := range s.members {
		members[i] = m.a
	}
	mark := s.mark
	// Whoever waits for the sources to be closed sees this one closed when all of them have been asked.
	keep := s.src
	s.src = closed{}
	for _, a := range members {
		a.settle()
		s.remove(a)
	}
	for _, a := range members {
		if a != owner {
			a.mark = mark
			l.open(a)
		}
	}
	if owner != nil && !owner.gone {
		owner.last(p)
	}
	keep.Close()
}

// closed is in the place of a source that is not the strand's any more.
type closed struct{ service.Source }

func (closed) Close() {}

// beyond ends a repetition that has come to where the next flow goes on.
func (s *strand) beyond() bool {
	m, until := s.src.Mark(), s.past.until
	if m.Epoch == until.Epoch && less(m, until) {
		return false
	}
	s.repeatedAll()
	return true
}

// repeatedAll ends a repetition.
func (s *strand) repeatedAll() {
	a, seg := s.owner, s.past
	s.close()
	s.l.repeated(a, seg)
}

// less orders the marks of one epoch.
func less(a, b service.Mark) bool {
	return a.Offset < b.Offset || a.Offset == b.Offset && a.Skip < b.Skip
}

var _ edge.Cursor = (*bell)(nil)
