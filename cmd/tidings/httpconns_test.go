package main

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestUnusedConnections: connections that end without a request are counted, and those of use are not.
func TestUnusedConnections(t *testing.T) {
	s := testServer(t)
	for _, tt := range []struct{ send, reason string }{
		{"", closedSilent},
		{"GET / HTTP/1.1\r\nHost: x\r\nX: ", closedHead},
		{"\x16\x03\x01\x02", closedHead},
		{"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", ""},
		{"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{"GET /subscribe?topic=/a HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	} {
		before := s.httpConns.stats()
		nc, err := net.Dial("tcp", s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(nc, tt.send)
		if tt.reason == "" {
			nc.Read(make([]byte, 1)) // the answer is here
		}
		nc.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, nc) // until the server has closed it
		nc.Close()
		limit := time.After(20 * time.Second)
		tick := time.NewTicker(time.Millisecond)
		for open := true; open; {
			open = false
			s.httpConns.phases.Range(func(any, any) bool { open = true; return false })
			select {
			case <-tick.C:
			case <-limit:
				t.Fatalf("%q: the connection is not forgotten", tt.send)
			}
		}
		tick.Stop()
		after := s.httpConns.stats()
		for reason := range after {
			want := before[reason]
			if reason == tt.reason {
				want++
			}
			if after[reason] != want {
				t.Errorf("%q: %s is counted %d times, want %d", tt.send, reason, after[reason], want)
			}
		}
	}
}
