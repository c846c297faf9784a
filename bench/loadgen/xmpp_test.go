//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

// options parses flags for the server; the speaker is ann.
func (f *fakeXMPP) options(t *testing.T, flags string) *options {
	t.Helper()
	addr := f.Addr().String()
	o, err := parseTest(append(strings.Fields("-proto xmpp -addr "+addr+" -pub xmpp -pubto "+addr+
		" -pubjid ann@localhost -pubpassword secret -settle 0 -patience 1s"), strings.Fields(flags)...))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestXMPP(t *testing.T) {
	tests := []struct{ name, features, flags string }{
		{"room", allMechanisms, "-topic r{n}@conference -window 1"},
		{"rooms", allMechanisms, "-topic r{n}@conference -topics 3 -window 8"},
		{"room over TLS", allMechanisms, "-topic r@conference -window 8 -tls -size 3000"},
		{"node", allMechanisms, "-topic pubsub -node n{n} -topics 2 -window 8"},
		{"node of bare JIDs", allMechanisms, "-topic pubsub -node bare -bare"},
		{"node over TLS", allMechanisms, "-topic pubsub -node n -window 1 -tls"},
		{"accounts", allMechanisms, "-topic r@conference -jid ann@localhost -password secret"},
		{"component", allMechanisms, "-pub component -pubjid c.localhost -topics 3 -window 8"},
		{"component to bare JIDs", allMechanisms, "-pub component -pubjid c.localhost -bare"},
		{"component of a node", allMechanisms, "-pub component -pubjid c.localhost -node n{n} -topics 3"},
		{"client", allMechanisms, "-pub client -topics 3 -window 8"},
		{"client to bare JIDs", allMechanisms, "-pub client -bare"},
		{"accounts with PLAIN", plainOnly, "-topic r@conference -jid ann@localhost -password secret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := startFakeXMPP(t, tt.features)
			for range 2 { // the nodes are there the second time
				o := f.options(t, tt.flags+" -conns 12 -events 50 -patience 30s")
				r, err := deliver(o)
				if err != nil || !r.Complete() || r.Expected != int64(50*12/o.topics) || r.WireBytes < o.size+60 {
					t.Fatalf("%+v, %v", r, err)
				}
				if all := o.addresses.get(0); o.bare && slices.ContainsFunc(all, func(jid string) bool { return strings.Contains(jid, "/") }) {
					t.Fatalf("addresses %v, want bare ones", all)
				}
			}
		})
	}
}

func TestXMPPRefused(t *testing.T) {
	tests := []struct{ name, features, flags, want string }{
		{"room", allMechanisms, "-topic closed@conference", "forbidden"},
		{"node", allMechanisms, "-topic pubsub -node closed", "forbidden"},
		{"message", allMechanisms, "-topic mute@conference", "not-allowed"},
		{"item", allMechanisms, "-topic pubsub -node mute", "not-allowed"},
		{"password", allMechanisms, "-topic r@conference -pubpassword wrong", "not-authorized"},
		{"password with PLAIN", plainOnly, "-topic r@conference -jid ann@localhost -password wrong", "not-authorized"},
		{"anonymous", plainOnly, "-topic r@conference", "does not offer ANONYMOUS but PLAIN"},
		{"TLS", anonymousOnly, "-topic r@conference -tls", "does not offer STARTTLS"},
		{"no topic", allMechanisms, "", "-topic is missing"},
		{"no domain", allMechanisms, "-topic r@conference -jid ann@", "no user@domain"},
		{"publisher's address", allMechanisms, "-topic r@conference -pubto nowhere", "nowhere"},
		{"publisher's account", allMechanisms, "-topic r@conference -pubjid ann@", "no user@domain"},
		{"client's password", allMechanisms, "-pub client -pubpassword wrong", "not-authorized"},
		{"component's secret", allMechanisms, "-pub component -pubjid c.localhost -pubpassword wrong", "not-authorized"},
		{"publisher's port", allMechanisms, "-topic r@conference -pubto 127.0.0.1:1", "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := startFakeXMPP(t, tt.features)
			if r, err := deliver(f.options(t, tt.flags+" -conns 2 -events 3")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v, error %v; want %q", r, err, tt.want)
			}
		})
	}
}

func TestXMPPMemory(t *testing.T) {
	f := startFakeXMPP(t, allMechanisms)
	r, err := memory(f.options(t, fmt.Sprintf("-topic r@conference -tls -memory 3,8 -pid %d", os.Getpid())))
	if err != nil || len(r.ConnectSteps) != 2 || r.ConnectSteps[0]+r.ConnectSteps[1] > r.ConnectS+0.001 || len(f.in["r@conference"]) != 8 {
		t.Errorf("%+v, %v, %d in the room", r, err, len(f.in["r@conference"]))
	}
}

// A server that ends the speaker's stream in the middle is found.
func TestSpeakerIsThrownOut(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := &fakeXMPP{Listener: ln, features: plainOnly, in: map[string][]*fakeSession{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := f.Accept()
		if err != nil {
			return
		}
		s := &fakeSession{fakeXMPP: f, conn: cut{conn, "<body>"}}
		s.run()
		conn.Close()
	}()
	o := f.options(t, "-topic r@conference -conns 0 -events 1")
	p, err := newPublisher(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.publish(0, 0, []byte("text")); err != nil {
		t.Fatal(err)
	}
	<-done
	<-p.(*speaker).heard
	if err := p.publish(0, 1, []byte("text")); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a publish into the closed stream: error %v", err)
	}
	if err := p.Close(); err == nil {
		t.Error("the end of the stream went unnoticed")
	}
}

// A cut connection ends when the client has sent a text.
type cut struct {
	net.Conn
	at string
}

func (c cut) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if strings.Contains(string(b[:n]), c.at) {
		return 0, io.EOF
	}
	return n, err
}
