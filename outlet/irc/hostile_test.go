package irc_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/irc"
	"tidings/outlet/outlettest"
)

// TestMalformedInput: whatever a client sends, it is answered or closed, and somebody else on the server is served all
// the same.
func TestMalformedInput(t *testing.T) {
	t.Parallel()
	f := newFeed(t, nil)
	f.w.Publish("/t", 1, 1)
	good := f.mustClient("CAP REQ message-tags")
	good.send("JOIN #/t")
	if _, err := good.until(" 366 "); err != nil {
		t.Fatal(err)
	}
	n := 1
	for name, c := range map[string]struct {
		input string
		want  []string // texts that come in this order
		eof   bool
	}{
		"a byte at a time":      {"NICK a\r\nUSER a 0 * a\r\nJOIN #/t\r\n", []string{" 001 ", " 366 "}, false},
		"a line of 10 KB":       {strings.Repeat("x", 10_000) + "\r\nPING 1\r\n", []string{" 417 ", "PONG"}, false},
		"a line without an end": {strings.Repeat("x", 1_000_000) + "\nPING 1\r\n", []string{" 417 ", "PONG"}, false},
		"tags without an end":   {"@" + strings.Repeat("x;", 400_000) + "\nPING 1\r\n", []string{" 417 ", "PONG"}, false},
		"no UTF-8":              {"NICK a\r\nUSER \xff\xfe 0 * \xc3\x28\r\nJOIN #\xe2\x82\r\nPRIVMSG \xf0\x28 :\x80\r\nQUIT \xff\r\n", []string{" 001 ", " 403 ", " 401 ", "ERROR :Closing Link: (Quit: "}, true},
		"NUL and controls":      {"NICK \x00\r\nNI\x01CK a\r\n\x02\r\nPING \x07\r\n", []string{" 421 ", " 421 ", " 421 ", "PONG"}, false},
		"HTTP":                  {"GET / HTTP/1.1\r\nHost: x\r\n\r\nPING 1\r\n", []string{" 451 ", " 421 ", "PONG"}, false},
		"a TLS hello":           {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\nPING 1\r\n", []string{" 421 ", "PONG"}, false},
		"too many lines":        {strings.Repeat("PING 1\n", 6000), []string{"PONG", "ERROR :Closing Link: (Excess Flood)"}, true},
		"commands that pile up": {"NICK a\r\nUSER a 0 * a\r\n" + strings.Repeat("CHATHISTORY AFTER #/t timestamp=2020-01-01T00:00:00Z 200\n", 1000), []string{" 001 ", "ERROR :Closing Link: (Excess Flood)"}, true},
		"only line ends":        {strings.Repeat("\r\n", 10_000) + "PING 1\r\n", []string{"PONG"}, false},
		"many parameters":       {"PING" + strings.Repeat(" x", 200) + "\r\n", []string{"PONG irc.example.org :x"}, false},
		"CAP for ever":          {strings.Repeat("CAP REQ :a -b\r\n", 50) + "CAP END\r\nPING 1\r\n", []string{"NAK", "PONG"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := f.dial(0)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			go func() { // what is not taken any more is no error here
				if name == "a byte at a time" {
					for i := range len(c.input) {
						io.WriteString(nc, c.input[i:i+1])
					}
					return
				}
				io.WriteString(nc, c.input)
			}()
			cl := &client{nc, bufio.NewReader(nc)}
			for _, want := range c.want {
				for {
					l, err := cl.line()
					if err != nil {
						t.Fatalf("waiting for %q: %v", want, err)
					}
					if !utf8.ValidString(l) || len(l) > 510 {
						t.Fatalf("the answer %q", l)
					}
					if strings.Contains(l, want) {
						break
					}
				}
			}
			if c.eof {
				if l, err := cl.line(); err != io.EOF {
					t.Errorf("after the end: %q, %v", l, err)
				}
			}
		})
		n++
		f.w.Publish("/t", n, n)
		if _, err := good.until(fmt.Sprintf(`{"n":%d}`, n)); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
	}
	if s := f.Stats(); s.Dropped[irc.DropLine] < 3 || s.Dropped[irc.DropMalformed] < 4 {
		t.Errorf("counted: %+v", s)
	}
	closed := f.w.Edge.Stats().Closed
	if closed[irc.ReasonFlood] != 2 || closed[irc.ReasonQuit] != 1 {
		t.Errorf("closed: %v", closed)
	}
}

// TestNeverReading: clients that ask and do not read cost a bounded number of bytes, and come to an end when they have
// asked too much.
func TestNeverReading(t *testing.T) {
	t.Parallel()
	f := newFeed(t, nil)
	for i := range 20 {
		f.w.Publish(fmt.Sprint("/t/", i), 1, 200)
	}
	c, err := f.client(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Each answer is some 14 KB; the client may wait with one, and with 64 KiB of commands.
	for range 400 {
		c.send("CHATHISTORY LATEST #/t/1 * 200")
	}
	other := f.mustClient()
	other.send("JOIN #/t/1")
	if _, err := other.until(" 366 "); err != nil {
		t.Fatal(err)
	}
	f.w.Publish("/t/1", 201, 201)
	if _, err := other.until(`{"n":201}`); err != nil {
		t.Fatal(err)
	}
	// What it asked for is there when it reads, as far as it was not too much.
	answers := 0
	for {
		l, err := c.line()
		if err != nil || strings.HasPrefix(l, "ERROR") {
			break
		}
		if strings.Contains(l, `{"n":200}`) {
			answers++
		}
	}
	if answers == 0 || answers == 400 {
		t.Errorf("%d answers", answers)
	}
}

// TestManyChannels: a client on as many channels as it may have gets what is said on each, and LIST is whole however long.
func TestManyChannels(t *testing.T) {
	t.Parallel()
	f := newFeed(t, nil)
	const topics = 2001
	var events []tidings.Event
	for i := range topics {
		events = append(events, tidings.Event{Topic: tidings.Topic(fmt.Sprintf("/recentchange/w%d.example.org", i)), ContentType: "text/plain", Payload: []byte("x")})
	}
	for len(events) > 0 {
		n := min(500, len(events))
		if _, err := f.w.Journal.Append(context.Background(), events[:n]...); err != nil {
			t.Fatal(err)
		}
		events = events[n:]
	}
	c := f.mustClient("CAP REQ message-tags")
	var b strings.Builder
	for i := 0; i < topics; i += 20 {
		var names []string
		for j := i; j < min(i+20, topics); j++ {
			names = append(names, fmt.Sprintf("#w%d.example", j))
		}
		b.WriteString("JOIN " + strings.Join(names, ",") + "\r\n")
	}
	io.WriteString(c, b.String()+"PING done\r\n")
	joined, refused := 0, 0
	for {
		l, err := c.line()
		if err != nil {
			t.Fatalf("after %d channels: %v", joined, err)
		}
		if strings.Contains(l, " 366 ") {
			joined++
		}
		if strings.Contains(l, " 405 ") {
			refused++
		}
		if strings.Contains(l, "PONG") {
			break
		}
	}
	if joined != 2000 || refused != 1 || f.Stats().Channels != 2000 {
		t.Errorf("%d channels joined, %d refused, %+v", joined, refused, f.Stats())
	}
	for _, i := range []int{0, 1999, 700} {
		f.w.Publish(fmt.Sprintf("/recentchange/w%d.example.org", i), i, i)
		if l, err := c.until(fmt.Sprintf(`{"n":%d}`, i)); err != nil || !strings.Contains(l, fmt.Sprintf("PRIVMSG #w%d.example :", i)) {
			t.Errorf("on channel %d: %q, %v", i, l, err)
		}
	}
	c.send("LIST", "PING done")
	listed := 0
	for {
		l, err := c.line()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(l, " 322 ") {
			listed++
		}
		if strings.Contains(l, "PONG") {
			break
		}
	}
	if listed != topics {
		t.Errorf("%d channels listed, want %d", listed, topics)
	}
	c.Close()
	second := f.mustClient()
	second.send("PING x")
	if _, err := second.until("PONG"); err != nil {
		t.Fatal(err)
	}
}

// selfSigned returns a certificate for 127.0.0.1.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestTLS: the same over TLS, and a connection that never finishes its handshake is closed.
func TestTLS(t *testing.T) {
	t.Parallel()
	w := outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(nil)}, edge.Options{})
	s, err := irc.New(irc.Options{Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, RegisterTimeout: time.Second,
		Topics: func(context.Context, tidings.Pattern) ([]tidings.Topic, error) { return []tidings.Topic{"/t"}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	cert := selfSigned(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	f := start(w, s, ln)
	silent, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	nc, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := &client{nc, bufio.NewReader(nc)}
	c.send("NICK a", "USER a 0 * :a", "JOIN #/t")
	if _, err := c.until(" 366 "); err != nil {
		t.Fatal(err)
	}
	w.Publish("/t", 1, 3)
	for i := range 3 {
		if _, err := c.until(fmt.Sprintf(`{"n":%d}`, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	silent.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(silent); err != nil || len(b) > 0 {
		t.Errorf("the silent one got %q, %v", b, err)
	}
	f.Close()
	w.Shutdown()
	if l, err := c.line(); !strings.HasPrefix(l, "ERROR ") {
		t.Errorf("at the end: %q, %v", l, err)
	}
	if n := f.Stats().Dropped[irc.DropHandshake]; n != 1 {
		t.Errorf("%d handshakes are counted", n)
	}
}
