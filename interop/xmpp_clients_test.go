//go:build interop && linux

package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// xmppHost is a server that XMPP clients log in to.
type xmppHost struct {
	c2s       string // address
	webSocket string // URL of RFC 7395
}

// xmppClients are XMPP clients of others, one small program for each library in xmpp/ and node/. They all take the same
// arguments and report in the same JSON lines, which xmpp/README.md lists.
var xmppClients = []*xmppClient{
	{name: "slixmpp", missing: debianPython("slixmpp"), command: script("/usr/bin/python3", "xmpp/slixmpp_client.py"), mechanism: "SCRAM-SHA-", resumes: true},
	{name: "aioxmpp", missing: debianPython("aioxmpp"), command: script("/usr/bin/python3", "xmpp/aioxmpp_client.py"), mechanism: "SCRAM-SHA-", resumes: true},
	// It knows nothing better.
	{name: "xmpp4r", missing: xmpp4r, command: script("/usr/bin/ruby", "xmpp/xmpp4r_client.rb"), mechanism: "PLAIN"},
	{name: "strophe.js over WebSocket", missing: nodeModules, command: script("node", "node/strophe.mjs"), webSocket: true, mechanism: "SCRAM-SHA-", resumes: true},
	{name: "@xmpp/client", missing: nodeModules, command: script("node", "node/xmpp-client.mjs"), mechanism: "SCRAM-SHA-1", resumes: true},
	{name: "@xmpp/client over WebSocket", missing: nodeModules, command: script("node", "node/xmpp-client.mjs"), webSocket: true, mechanism: "SCRAM-SHA-1", resumes: true},
	{name: "mellium", missing: func() error { _, err := mellium(); return err }, command: melliumCommand, mechanism: "SCRAM-SHA-"},
}

type xmppClient struct {
	name      string
	missing   func() error // why it cannot be started, or nil
	command   func(arguments ...string) *exec.Cmd
	webSocket bool
	mechanism string // what the name of the SASL mechanism that it chooses begins with
	resumes   bool   // by XEP-0198
}

// debianPython looks for a Python library where Debian's Python finds it.
func debianPython(module string) func() error {
	return sync.OnceValue(func() error {
		if out, err := exec.Command("/usr/bin/python3", "-c", "import "+module).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %.200s", err, out)
		}
		return nil
	})
}

var xmpp4r = sync.OnceValue(func() error {
	if out, err := exec.Command("/usr/bin/ruby", "-e", "require 'xmpp4r'").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.200s", err, out)
	}
	return nil
})

func script(program, file string) func(...string) *exec.Cmd {
	return func(arguments ...string) *exec.Cmd {
		return exec.Command(program, append([]string{file}, arguments...)...)
	}
}

// mellium is the client in xmpp/mellium, a module of its own because the server is to have none of what it needs.
var mellium = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(scratch, "mellium")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Dir = "xmpp/mellium"
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %.500s", err, out)
	}
	return bin, nil
})

func melliumCommand(arguments ...string) *exec.Cmd {
	bin, _ := mellium()
	return exec.Command(bin, arguments...)
}

// xmppReport is a line of a client.
type xmppReport struct {
	Event     string            // online, resumed, offline, joined, message, error and those of PubSub
	Mechanism string            // online: the SASL mechanism
	TLS       bool              // online
	Condition string            // error: of SASL or of a stanza
	Body      *string           // message
	RC        map[string]string // message: the attributes of <rc/>
	StanzaID  string            `json:"stanza_id"`
	Archive   bool              // message: it came from the archive
	Node, ID  string
	Of        int // item: so many are in the notification
	IDs       []string
	Pages     int
	Action    string
	MaxItems  string `json:"max_items"`
}

// xmppSession is a client that runs.
type xmppSession struct {
	t *testing.T
	follower
}

// start runs the client in a mode, as a user of host.
func (c *xmppClient) start(t *testing.T, host xmppHost, mode, user, password string, more ...string) *xmppSession {
	t.Helper()
	arguments := []string{mode, host.webSocket, "-", user, password}
	if !c.webSocket {
		h, port, err := net.SplitHostPort(host.c2s)
		if err != nil {
			t.Fatal(err)
		}
		arguments = []string{mode, h, port, user, password}
	}
	return &xmppSession{t, follower{lines: run(t, c.command(append(arguments, more...)...))}}
}

// next returns the next report.
func (s *xmppSession) next(ctx context.Context) (r xmppReport, err error) {
	line, err := s.line(ctx)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return r, fmt.Errorf("%w: %q", err, line)
	}
	return r, nil
}

// until returns the next report of an event. What it passes over may be of the kinds given only.
func (s *xmppSession) until(ctx context.Context, event string, over ...string) xmppReport {
	s.t.Helper()
	allowed := map[string]bool{}
	for _, e := range over {
		allowed[e] = true
	}
	for {
		r, err := s.next(ctx)
		if err != nil {
			s.t.Fatalf("waiting for %q: %v", event, err)
		}
		if r.Event == event {
			return r
		}
		if !allowed[r.Event] {
			s.t.Fatalf("waiting for %q, it says %+v", event, r)
		}
	}
}

// ended waits until the client has ended by itself.
func (s *xmppSession) ended(ctx context.Context) {
	s.t.Helper()
	for {
		r, err := s.next(ctx)
		switch {
		case errors.Is(err, errEnded):
			return
		case err != nil:
			s.t.Fatalf("waiting for its end: %v", err)
		case r.Event == "message" || r.Event == "error":
			s.t.Fatalf("it goes on to say %+v", r)
		}
	}
}

// speaker says things in a room of a server of others, as a program of slixmpp.
type speaker struct {
	*xmppSession
	in io.WriteCloser
}

func newSpeaker(t *testing.T, host xmppHost, mode, user, password, target string) *speaker {
	t.Helper()
	h, port, err := net.SplitHostPort(host.c2s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := script("/usr/bin/python3", "xmpp/slixmpp_client.py")(mode, h, port, user, password, target)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &speaker{&xmppSession{t, follower{lines: run(t, cmd)}}, in}
}

// say writes an element for the program to send.
func (s *speaker) say(format string, arguments ...any) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, format+"\n", arguments...); err != nil {
		s.t.Fatal(err)
	}
}

// cutter is a proxy in front of a server, which can cut all connections that it carries.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		l.Close()
		c.cut()
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			c.mu.Lock()
			c.conns[in], c.conns[out] = true, true
			c.mu.Unlock()
			for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
				go func() {
					io.Copy(to, from)
					c.mu.Lock()
					delete(c.conns, from)
					c.mu.Unlock()
					to.Close()
					from.Close()
				}()
			}
		}
	}()
	return c
}

// cut closes what is open, without a word.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
}
