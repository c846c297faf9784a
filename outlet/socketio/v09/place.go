package v09

import (
	"context"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/websocket"
)

// place is where a client stands: a subscription and how far it is known to be complete.
//
// A subscription's own position is that of the last event it gave out, which for a quiet topic may be of yesterday. Whoever goes
// on from there with other patterns would get yesterday's events of them too. So a place remembers the head of the log at the
// last moment at which it had nothing to give.
type place struct {
	hub   *hub.Hub
	sub   *hub.Subscription // nil: nothing is subscribed to
	floor tidings.Position
}

func (p *place) next() ([]byte, hub.State) {
	if p.sub == nil {
		return nil, hub.AtHead
	}
	head := p.hub.Head() // before: what is dispatched up to it is in the feed already
	b, st := p.sub.Next()
	if st == hub.AtHead {
		p.floor = head
	}
	return b, st
}

// mark notes the head of the log if the place has nothing to give.
func (p *place) mark() { p.next() }

// position returns the position up to which everything has been given out; zero where nothing is subscribed to.
func (p *place) position() tidings.Position {
	if p.sub == nil {
		return p.floor
	}
	pos := p.sub.Position()
	if p.floor.Epoch == pos.Epoch && p.floor.Offset > pos.Offset {
		return p.floor
	}
	return pos
}

func (p *place) close() {
	if p.sub != nil {
		p.sub.Close()
	}
}

// cursor is a place of a WebSocket in the edge's words. The goroutine that owns the connection owns it.
type cursor struct{ place }

// goodbyeFrames are what a WebSocket is told when the server stops.
var goodbyeFrames = websocket.AppendClose(websocket.AppendText(nil, []byte(packetGoodbye)), websocket.GoingAway, "the server stops: come back")

func (c *cursor) Next() ([]byte, edge.Status) {
	b, st := c.place.next()
	switch st {
	case hub.HasBytes:
		return b, edge.Ready
	case hub.Lagging:
		return nil, edge.Behind
	case hub.Over:
		return websocket.AppendClose(b, websocket.PolicyViolation, ""), edge.Ended
	}
	return nil, edge.Idle
}

func (c *cursor) Advance(n int) []byte      { return c.sub.Advance(n) }
func (c *cursor) Fetch(ctx context.Context) { c.sub.Fetch(ctx) }
func (c *cursor) Goodbye() []byte           { return goodbyeFrames }
func (c *cursor) Close()                    { c.place.close() }
