package websocket

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tidings/edge"
)

// TestHostile: clients that misbehave together do not disturb one that does not.
func TestHostile(t *testing.T) {
	s := serve(t, Options{}, edge.Options{MaxQueue: 1 << 16, WriteTimeout: time.Second, Keepalive: time.Second})
	good := s.dial("")
	<-s.conns
	still := func(what string) {
		t.Helper()
		good.SetDeadline(time.Now().Add(patience))
		good.send(text(what))
		for {
			switch got := good.words(); got {
			case "text " + what:
				return
			case "ping ":
			default:
				t.Fatalf("%s: the good client got %q", what, got)
			}
		}
	}

	// Handshakes that stop halfway, and a thousand that say nothing behind a whole one.
	var idle []net.Conn
	for i := range 200 {
		nc, err := net.Dial("tcp", s.http.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		io.WriteString(nc, handshake[:i%len(handshake)])
		idle = append(idle, nc)
	}
	still("half-open")
	for range 1000 {
		c := s.dial("")
		idle = append(idle, c.Conn)
		<-s.conns
	}
	still("silent")
	for _, nc := range idle {
		nc.Close()
	}

	// A frame a byte at a time.
	slow := s.dial("")
	<-s.conns
	for i, b := range text("a byte at a time") {
		slow.Write([]byte{b})
		if i%5 == 0 {
			still("slow")
		}
	}
	for {
		if got := slow.words(); got == "text a byte at a time" {
			break
		} else if got != "ping " {
			t.Fatalf("got %q", got)
		}
	}

	// Frames that announce more than they bring hold what they brought, not what they announced.
	for range 100 {
		c := s.dial("")
		<-s.conns
		c.send(text(strings.Repeat("x", 65536))[:20])
	}
	still("announced")

	// A client that never reads what it asks for is cut off: its queue is bounded.
	deaf := s.dial("")
	<-s.conns
	deaf.Conn.(*net.TCPConn).SetReadBuffer(4096)
	big := text(strings.Repeat("x", 60000))
	deaf.SetDeadline(time.Now().Add(patience))
	for {
		if _, err := deaf.Write(big); err != nil {
			break
		}
	}
	still("deaf")
	if st := s.edge.Stats().Closed; st[edge.ReasonQueue]+st[edge.ReasonWriteTimeout] == 0 {
		t.Errorf("closed for the reasons %v", st)
	}

	// Pings without end are answered or cut off.
	flood := s.dial("")
	<-s.conns
	pings := strings.Repeat(string(frame(bitFin|opPing, strings.Repeat("p", 125))), 100)
	flood.SetDeadline(time.Now().Add(patience))
	for range 2000 {
		if _, err := io.WriteString(flood, pings); err != nil {
			break
		}
	}
	still("flood")
}
