package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestLinger: a peer that is still sending when it is told goodbye gets that whole, and no reset.
func TestLinger(t *testing.T) {
	const much = 1 << 20
	kinds(t, Options{}, func(t *testing.T, s *server) {
		closed := make(chan struct{})
		p := &Protocol{Name: "strict", Closed: func(*Conn) { close(closed) }, Input: func(c *Conn, p []byte) error {
			c.Close("strict", []byte("goodbye\n"))
			return nil
		}}
		nc, _ := s.dial(p, 0)
		sent := make(chan error, 1)
		go func() {
			_, err := nc.Write(make([]byte, much))
			sent <- err
		}()
		<-closed // before the peer has closed its side
		if err := <-sent; err != nil {
			t.Error("sending:", err)
		}
		if b, err := io.ReadAll(nc); err != nil || string(b) != "goodbye\n" {
			t.Errorf("got %q, %v", b, err)
		}
		if n := s.e.Stats().Closed["strict"]; n != 1 {
			t.Errorf("counted %v", s.e.Stats().Closed)
		}
	})
}

// TestLingerIsBounded: the socket of a peer that does not close its side is closed, by the bytes that it sends and by the time.
func TestLingerIsBounded(t *testing.T) {
	p := &Protocol{Name: "strict", Input: func(c *Conn, p []byte) error {
		c.Close("strict", []byte("goodbye\n"))
		return nil
	}}
	for name, send := range map[string]func(nc net.Conn) error{
		"bytes": func(nc net.Conn) error {
			_, err := nc.Write(make([]byte, 100*lingerBytes))
			return err
		},
		"time": func(nc net.Conn) error {
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			for {
				if _, err := nc.Write([]byte("x")); err != nil {
					return err
				}
				<-pace.C
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kinds(t, Options{}, func(t *testing.T, s *server) {
				nc, _ := s.dial(p, 0)
				nc.SetDeadline(time.Now().Add(time.Minute))
				err := send(nc)
				var timeout net.Error
				if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
					t.Errorf("everything was taken: %v", err)
				}
			})
		})
	}
}

// TestShutdownLeavesLingerers: a server that stops does not wait for peers that were told goodbye.
func TestShutdownLeavesLingerers(t *testing.T) {
	kinds(t, Options{}, func(t *testing.T, s *server) {
		closed := make(chan struct{})
		nc, c := s.dial(&Protocol{Name: "strict", Closed: func(*Conn) { close(closed) }}, 0)
		c.Close("strict", []byte("goodbye\n"))
		<-closed
		begun := time.Now()
		if err := s.e.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if d := time.Since(begun); d >= lingerTime-time.Second {
			t.Errorf("the shutdown took %s", d)
		}
		if b, err := io.ReadAll(nc); err != nil || string(b) != "goodbye\n" {
			t.Errorf("got %q, %v", b, err)
		}
	})
}
