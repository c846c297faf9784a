package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/config"
	"tidings/recentchange"
)

// TestIRC: a server with IRC says where, serves it, tells its figures and says goodbye.
func TestIRC(t *testing.T) {
	cfg := config.Defaults()
	cfg.Data, cfg.HTTP.Addr, cfg.UDP.Addr, cfg.IRC.Addr, cfg.XMPP.Addr = t.TempDir(), "127.0.0.1:0", config.Off, "127.0.0.1:0", config.Off
	cfg.Domain, cfg.IRC.Channels = "feed.example.org", map[string][]string{"#all": {"/recentchange/*"}}
	s, err := open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	stop := func() {
		if !closed {
			closed = true
			if err := s.close(); err != nil {
				t.Error(err)
			}
		}
	}
	defer stop()
	if line := s.readyLine(); !strings.Contains(line, " irc="+s.ircListener.Addr().String()+" ") {
		t.Errorf("ready line %q", line)
	}
	nc, err := net.Dial("tcp", s.ircListener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(nc)
	until := func(want string) string {
		t.Helper()
		for {
			l, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("waiting for %q: %v", want, err)
			}
			if strings.Contains(l, want) {
				return l
			}
		}
	}
	fmt.Fprint(nc, "NICK ann\r\nUSER ann 0 * :Ann\r\nJOIN #all\r\n")
	until(":feed.example.org 001 ann ")
	until(":feed.example.org 366 ann #all ")
	_, err = s.journal.Append(t.Context(), tidings.Event{Topic: "/recentchange/en.wikipedia.org", ContentType: recentchange.TypeJSON, Payload: []byte(
		`{"id":7,"type":"edit","namespace":0,"title":"Bird","comment":"c","timestamp":1772600767,"user":"Ann","bot":false,"minor":false,"length":{"old":1,"new":9},` +
			`"revision":{"old":1,"new":2},"server_url":"https://en.wikipedia.org","server_name":"en.wikipedia.org","server_script_path":"/w","wiki":"enwiki"}`)})
	if err != nil {
		t.Fatal(err)
	}
	want := ":rc-pmtpa!rc-pmtpa@feed.example.org PRIVMSG #all :\x0314[[\x0307Bird\x0314]]\x034 \x0310 \x0302https://en.wikipedia.org/w/index.php?diff=2&oldid=1\x03 \x035*\x03 \x0303Ann\x03 \x035*\x03 (+8) \x0310c\x03\r\n"
	if got := until("PRIVMSG"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if i := s.report().IRC; i == nil || i.Clients != 1 || i.Channels != 1 {
		t.Errorf("status: %+v", i)
	}
	resp, err := http.Get("http://" + s.listener.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	seen := false
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		seen = seen || sc.Text() == "tidings_irc_clients 1"
	}
	if !seen {
		t.Error("the metrics do not have tidings_irc_clients 1")
	}
	stop()
	until("ERROR :Closing Link: (Server is stopping")
}

// TestIRCRefuses: a port that is taken is told with what to do about it.
func TestIRCRefuses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := config.Defaults()
	cfg.Data, cfg.HTTP.Addr, cfg.UDP.Addr, cfg.IRC.Addr, cfg.XMPP.Addr = t.TempDir(), config.Off, config.Off, ln.Addr().String(), config.Off
	if s, err := open(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "listening for IRC") {
		t.Errorf("%v, %v", s, err)
	}
	cfg.IRC.Addr, cfg.IRC.TLSCert, cfg.IRC.TLSKey = "127.0.0.1:0", "none.pem", "none.pem"
	if s, err := open(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "certificate for IRC") {
		t.Errorf("%v, %v", s, err)
	}
}
