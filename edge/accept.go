package edge

import (
	"context"
	"errors"
	"net"
	"time"
)

// acceptPause is how long nothing is accepted after an error that passes.
const acceptPause = 100 * time.Millisecond

// Accept gives the connections of ln to take, one after the other, until ctx ends, which closes ln, or until ln fails, and returns
// its error. Errors that pass, as when there are no descriptors left, are waited out.
func Accept(ctx context.Context, ln net.Listener, take func(net.Conn)) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		nc, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return nil
		}
		var temporary interface{ Temporary() bool }
		switch {
		case err == nil:
			take(nc)
		case errors.As(err, &temporary) && temporary.Temporary():
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
		default:
			return err
		}
	}
}
