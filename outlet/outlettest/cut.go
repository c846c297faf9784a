package outlettest

import (
	"context"
	"errors"
	"net"
)

// Cut makes connections that break when After bytes have come, in the middle of whatever that is. After may be changed between
// two connections.
type Cut struct{ After int }

// DialContext connects as net.Dialer does.
func (c *Cut) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &cutConn{nc, c.After}, nil
}

type cutConn struct {
	net.Conn
	left int
}

var errCut = errors.New("the line is cut")

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.left -= n; c.left < 0 {
		c.Conn.Close()
		return max(0, n+c.left), errCut
	}
	return n, err
}
