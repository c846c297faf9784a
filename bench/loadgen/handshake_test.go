//go:build linux

package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A step is what a scripted server hears, and what it answers.
type step struct {
	hear   func(*bufio.Reader) (string, error)
	want   string
	answer string // {accept} is the answer to the key of the request heard last
}

// request hears a request over HTTP and returns its first line.
func request(r *bufio.Reader) (string, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return "", err
	}
	line := req.Method + " " + req.RequestURI
	if key := req.Header.Get("Sec-WebSocket-Key"); key != "" {
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		line += " " + base64.StdEncoding.EncodeToString(sum[:])
	}
	return line, nil
}

// frame hears a frame of a client (RFC 6455 section 5.2) and returns its first octet in hex and its payload.
func frame(r *bufio.Reader) (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	n := int(head[1] & 0x7f)
	if head[1]&0x80 == 0 || n == 127 {
		return "", errors.New("the frame is not masked, or too long for this test")
	}
	if n == 126 {
		var long [2]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return "", err
		}
		n = int(long[0])<<8 | int(long[1])
	}
	b := make([]byte, 4+n)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", err
	}
	for i := range n {
		b[4+i] ^= b[i%4]
	}
	return fmt.Sprintf("%x %s", head[0], b[4:]), nil
}

func line(r *bufio.Reader) (string, error) {
	s, err := r.ReadString('\n')
	return strings.TrimSuffix(s, "\r\n"), err
}

func octet(r *bufio.Reader) (string, error) {
	b, err := r.ReadByte()
	return string(b), err
}

// play serves one connection by a script and closes it when the client does, or at once after hangUp.
func play(t *testing.T, script []step) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	played := make(chan error, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			played <- err
			return
		}
		defer nc.Close()
		r := bufio.NewReader(nc)
		for _, s := range script {
			heard, err := s.hear(r)
			if err != nil {
				played <- err
				return
			}
			heard, accept, _ := strings.Cut(heard, " "+upgradeAck)
			if accept != "" || heard != s.want {
				played <- fmt.Errorf("heard %q, want %q", heard, s.want)
				return
			}
			if _, err := io.WriteString(nc, strings.ReplaceAll(s.answer, "{accept}", upgradeAck)); err != nil {
				played <- err
				return
			}
		}
		played <- nil
		_, _ = io.Copy(io.Discard, r) // until the client closes
	}()
	t.Cleanup(func() {
		ln.Close()
		if err := <-played; err != nil {
			t.Error(err)
		}
	})
	return netip.MustParseAddrPort(ln.Addr().String())
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"

func TestHandshakes(t *testing.T) {
	long := strings.Repeat("x", 300)
	handshake09 := step{request, "GET /socket.io/1/", "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n4d4f:60:60:websocket,"}
	tests := []struct {
		name, flags string
		script      []step
		left, err   string
	}{
		{"websocket", "-proto ws -path /topics/{n} -await }", []step{
			{request, "GET /topics/7", switching + `{"type":"subscribed"}left`}}, "left", ""},
		{"websocket without a message", "-proto ws -path /x", []step{{request, "GET /x", switching}}, "", ""},
		{"websocket refused", "-proto ws -path /x", []step{
			{request, "GET /x", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"}}, "", "403 Forbidden"},
		{"websocket of another key", "-proto ws -path /x", []step{
			{request, "GET /x", strings.Replace(switching, "{accept}", "eA==", 1)}}, "", "another key"},
		{"socket.io 0.9", "-proto sio09 -topic w{n}.example.org", []step{
			handshake09,
			{request, "GET /socket.io/1/websocket/4d4f", switching + "\x81\x031::"},
			{frame, "81 1::/rc", "\x81\x061::/rc"},
			{frame, `81 5:1+:/rc:{"name":"subscribe","args":["w7.example.org"]}`, "6::/rc:1+[null]"}}, "[null]", ""},
		{"socket.io 0.9, a long frame", "-proto sio09 -topic " + long, []step{
			handshake09,
			{request, "GET /socket.io/1/websocket/4d4f", switching},
			{frame, "81 1::/rc", ""},
			{frame, `81 5:1+:/rc:{"name":"subscribe","args":["` + long + `"]}`, "6::/rc:1+"}}, "", ""},
		{"socket.io 0.9, no session", "-proto sio09 -topic x", []step{
			{request, "GET /socket.io/1/", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"}}, "", `is "no"`},
		{"socket.io 0.9, no length", "-proto sio09 -topic x", []step{
			{request, "GET /socket.io/1/", "HTTP/1.1 200 OK\r\n\r\n"}}, "", "does not say how long"},
		{"socket.io 4", "-proto sio4 -topic /t/{n}", []step{
			{request, "GET /socket.io/?EIO=4&transport=websocket", switching + `0{"sid":"a"}`},
			{frame, "81 40", `40{"sid":"b"}`},
			{frame, `81 420["subscribe",{"topics":["/t/7"]}]`, `430[{"topics":[]}]`}}, "[]}]", ""},
		{"irc", "-proto irc -topic #w{n}", []step{
			{line, "NICK b1", ""}, {line, "USER bench 0 * :benchmark", ""},
			{line, "JOIN #w7", ":s 001 b1 :Welcome\r\n:s 422 b1 :MOTD File is missing\r\nPING :abc\r\n"},
			{line, "PONG :abc", ":b1!b@h JOIN #w7\r\n:s 366 b1 #w7 :End of NAMES list\r\nleft"}}, "left", ""},
		{"irc without the channel", "-proto irc -topic #w", []step{
			{line, "NICK b1", ""}, {line, "USER bench 0 * :benchmark", ""},
			{line, "JOIN #w", ":s 001 b1 :Welcome\r\n:s 403 b1 #w :No such channel\r\n"}}, "", "No such channel"},
		{"irc closed", "-proto irc -topic #w", []step{
			{line, "NICK b1", ""}, {line, "USER bench 0 * :benchmark", ""}, {line, "JOIN #w", "ERROR :Closing Link\r\n"}}, "", "Closing Link"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ircNicks.Store(0)
			addr := play(t, tt.script)
			o, err := parseTest(append(strings.Fields(tt.flags), "-addr", addr.String(), "-pubto", "x"))
			if err != nil {
				t.Fatal(err)
			}
			p, err := newProtocol(o)
			if err != nil {
				t.Fatal(err)
			}
			c, err := dial(addr, 0, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(c.fd)
			err = p.subscribe(c, 7)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if err == nil && string(c.buf) != tt.left {
				t.Errorf("%q is left for the sink, want %q", c.buf, tt.left)
			}
		})
	}
	for _, name := range []string{"sio09", "sio4", "irc"} {
		if _, err := newProtocol(&options{proto: name}); !errors.Is(err, errNoTopic) {
			t.Errorf("%s without a topic: error %v", name, err)
		}
	}
}

func TestKeepAlive(t *testing.T) {
	tests := []struct {
		name, flags, want string
		hear              func(*bufio.Reader) (string, error)
	}{
		{"websocket", "-proto ws", "8a ", frame},
		{"socket.io 0.9", "-proto sio09 -topic x", "81 2::", frame},
		{"socket.io 4", "-proto sio4 -topic x", "81 3", frame},
		{"irc", "-proto irc -topic x", "PING bench", line},
		{"xmpp", "-proto xmpp -topic x", " ", octet},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, err := parseTest(append(strings.Fields(tt.flags), "-pubto", "x"))
			if err != nil {
				t.Fatal(err)
			}
			addr := play(t, []step{{tt.hear, tt.want, ""}, {tt.hear, tt.want, "done"}})
			c, err := dial(addr, 0, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			all, err := gather(o, time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			defer all.disperse()
			all.opened(c.fd)
			all.subscribed(c)
			if _, err := c.until("done"); err != nil {
				t.Error(err)
			}
		})
	}
}
