package edge

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
)

// listener accepts what it is given: connections and errors.
type listener struct {
	next   chan any
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case v := <-l.next:
		if err, ok := v.(error); ok {
			return nil, err
		}
		return v.(net.Conn), nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	close(l.closed)
	return nil
}

func (l *listener) Addr() net.Addr { return nil }

// TestAccept: errors that pass are waited out, others are returned, and the end of the context closes the listener and what comes
// too late.
func TestAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := func(ctx context.Context) (l *listener, taken chan net.Conn, ran chan error) {
			l, taken, ran = &listener{make(chan any), make(chan struct{})}, make(chan net.Conn), make(chan error)
			go func() { ran <- Accept(ctx, l, func(nc net.Conn) { taken <- nc }) }()
			return l, taken, ran
		}
		a, b := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		l, taken, ran := run(ctx)
		l.next <- error(&net.OpError{Op: "accept", Err: syscall.EMFILE})
		l.next <- a
		if nc := <-taken; nc != a {
			t.Errorf("took %v", nc)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error("at the end of the context:", err)
		}
		<-l.closed

		l, _, ran = run(t.Context())
		broken := errors.New("broken")
		l.next <- broken
		if err := <-ran; err != broken {
			t.Errorf("of a broken listener: %v", err)
		}

		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		late := &listener{make(chan any, 1), make(chan struct{})}
		late.next <- b
		if err := Accept(ctx, lateListener{late}, func(net.Conn) { t.Error("took what came too late") }); err != nil {
			t.Error(err)
		}
		if _, err := a.Write([]byte("x")); err == nil {
			t.Error("what came too late is open")
		}
	})
}

// lateListener accepts although it is closed.
type lateListener struct{ *listener }

func (l lateListener) Accept() (net.Conn, error) { return (<-l.next).(net.Conn), nil }
