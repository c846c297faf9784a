package edge

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

func TestLimitListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var dropped []netip.Addr
	ln := LimitListener(inner, 2, nil, func(a netip.Addr) { dropped = append(dropped, a) })
	e, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := &lines{g: e.NewGroup()}
	added := make(chan *lineCursor)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			c, err := e.Add(nc, nil, proto)
			if err != nil {
				t.Error(err)
				return
			}
			cur := l.cursor(0)
			c.Attach(l.g, cur)
			added <- cur
		}
	}()
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	first := dial()
	gone := <-added
	dial()
	<-added
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("a third connection was let in")
	}
	first.Close()
	<-gone.closed
	// The count is released right after the cursor; a listener that has not seen it yet refuses once more.
	for range 100 {
		nc := dial()
		select {
		case <-added:
		case <-readEnd(nc):
			continue
		}
		inner.Close()
		<-done
		if ln.Refused() == 0 || len(dropped) == 0 || dropped[0] != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("refused %d, dropped %v", ln.Refused(), dropped)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
		return
	}
	t.Error("no connection was let in after one had closed")
}

func readEnd(nc net.Conn) <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		nc.Read(make([]byte, 1))
		close(ch)
	}()
	return ch
}
