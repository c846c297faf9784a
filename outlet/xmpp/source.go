package xmpp

import (
	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/xmpp/service"
)

// MarkOf returns the mark of a position in a flow.
func MarkOf(p tidings.Position) service.Mark {
	return service.Mark{Epoch: p.Epoch, Offset: p.Offset}
}

// PositionOf returns the position of a mark, whose Skip is left to service.Behind.
func PositionOf(m service.Mark) tidings.Position {
	return tidings.Position{Epoch: m.Epoch, Offset: m.Offset}
}

// Open subscribes for a flow that goes on after the mark, in a form whose messages begin with service.To. gap tells the
// messages about gaps, for service.Behind.
func Open(h *hub.Hub, e *edge.Edge, r hub.Request, after service.Mark, gap func(message []byte) bool) (*edge.Group, service.Source, error) {
	r.After = PositionOf(after)
	sub, err := outlet.Subscribe(h, e, r)
	if err != nil {
		return nil, nil, err
	}
	g, cur := outlet.Cursor(sub)
	return g, service.Behind(source{cur, sub}, after, gap), nil
}

// source is a subscription as the source of a flow.
type source struct {
	edge.Cursor
	sub *hub.Subscription
}

// Mark returns the last place before what the reader has not had, so that one who resumes does not ask the journal for what
// nothing of the flow happened in.
func (s source) Mark() service.Mark { return MarkOf(s.sub.Reached()) }
