package v09

import (
	"context"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/websocket"
)

// place is where a client stands: a subscription, or only a position while it has none.
type place struct {
	sub *hub.Subscription
	at  tidings.Position // without a subscription: where the next one begins; zero is when it is made
}

// position returns the last position before what the client has not had.
func (p *place) position() tidings.Position {
	if p.sub == nil {
		return p.at
	}
	return p.sub.Reached()
}

func (p *place) next() ([]byte, hub.State) {
	if p.sub == nil {
		return nil, hub.AtHead
	}
	return p.sub.Next()
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

func (c *cursor) Complete() bool            { return c.sub.Complete() }
func (c *cursor) Advance(n int) []byte      { return c.sub.Advance(n) }
func (c *cursor) Fetch(ctx context.Context) { c.sub.Fetch(ctx) }
func (c *cursor) Goodbye() []byte           { return goodbyeFrames }
func (c *cursor) Close()                    { c.place.close() }
