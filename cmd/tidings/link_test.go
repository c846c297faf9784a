package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tidings"
	"tidings/client"
)

// readWire reads n events and gaps of the wire, which reconnects without waiting, and returns them as texts: payloads, gaps
// as gap ASKED OLDEST, and lost.
func readWire(t *testing.T, w wire, n int) (got []string, notices int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l := newLink("test://host", func(client.Notice) { notices++ })
	l.backoff, l.most = time.Millisecond, time.Millisecond
	for r, err := range l.stream(ctx, w) {
		if gap, ok := errors.AsType[*tidings.GapError](err); ok {
			got = append(got, "gap "+gap.Asked.String()+" "+gap.Oldest.String())
		} else if _, ok := errors.AsType[*lostError](err); ok {
			got = append(got, "lost")
		} else if err != nil {
			return append(got, "error: "+err.Error()), notices
		} else {
			got = append(got, string(r.Payload))
		}
		if len(got) == n {
			break
		}
	}
	return got, notices
}

// ircServer plays a transcript for each connection: a line that begins with > is waited for (a prefix of what the client
// says, other lines are passed over), any other is sent. The connection ends with the transcript.
func ircServer(t *testing.T, transcripts ...string) *url.URL {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, transcript := range transcripts {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			in := bufio.NewScanner(conn)
			for line := range strings.Lines(transcript) {
				line = strings.TrimSpace(line)
				want, wait := strings.CutPrefix(line, "> ")
				if !wait {
					fmt.Fprintf(conn, "%s\r\n", line)
					continue
				}
				for found := false; !found; {
					if !in.Scan() {
						break
					}
					found = strings.HasPrefix(in.Text(), want)
				}
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return &url.URL{Scheme: "irc", Host: ln.Addr().String(), Path: "/a"}
}

// The beginning of a connection to a server without IRCv3, and to one with it.
const (
	plainHello = "> CAP LS\n:s 421 * CAP :Unknown command\n> USER\n:s 001 me :Welcome\n> JOIN #a\n:me!u@h JOIN #a\n"
	modernCaps = "> CAP LS\n:s CAP * LS * :sasl message-tags server-time\n:s CAP * LS :batch chathistory\n> CAP REQ :message-tags server-time batch chathistory\n" +
		":s CAP * ACK :message-tags server-time batch chathistory\n> CAP END\n:s 001 me :Welcome\n"
)

func TestIRCWire(t *testing.T) {
	page := func(from, to int) (s string) {
		for i := from; i <= to; i++ {
			s += fmt.Sprintf("@batch=x;msgid=m%d :b!b@s PRIVMSG #a :%d\n", i, i)
		}
		return s
	}
	numbers := func(from, to int) (s []string) {
		for i := from; i <= to; i++ {
			s = append(s, fmt.Sprint(i))
		}
		return s
	}
	for name, tc := range map[string]struct {
		transcripts []string
		from        point
		want        []string
	}{
		"no history: what was missed cannot be known": {
			transcripts: []string{plainHello + ":b!b@s PRIVMSG #a :1\n", plainHello + ":b!b@s PRIVMSG #a :2\n> never"}, want: []string{"1", "lost", "2"}},
		"history goes on behind the last message, live messages wait and come once": {
			transcripts: []string{
				modernCaps + "> CHATHISTORY LATEST #a * 1\n:s BATCH +x chathistory #a\n@batch=x;msgid=m0 :b!b@s PRIVMSG #a :0\n:s BATCH -x\n> JOIN #a\n:me!u@h JOIN #a\n@msgid=m1 :b!b@s PRIVMSG #a :1\n",
				modernCaps + "> JOIN #a\n:me!u@h JOIN #a\n@msgid=m3 :b!b@s PRIVMSG #a :3\n> CHATHISTORY AFTER #a msgid=m1 100\n:s BATCH +x chathistory #a\n" + page(2, 3) + "@msgid=m4 :b!b@s PRIVMSG #a :4\n:s BATCH -x\n@msgid=m3 :b!b@s PRIVMSG #a :3\n@msgid=m5 :b!b@s PRIVMSG #a :5\n> never"},
			want: []string{"1", "2", "3", "4", "5"}},
		"nothing came before the connection was lost": {
			transcripts: []string{
				modernCaps + "> CHATHISTORY LATEST #a * 1\n:s BATCH +x chathistory #a\n@batch=x;msgid=m0 :b!b@s PRIVMSG #a :0\n:s BATCH -x\n> JOIN #a\n:me!u@h JOIN #a\n",
				modernCaps + "> JOIN #a\n:me!u@h JOIN #a\n> CHATHISTORY AFTER #a msgid=m0 100\n:s BATCH +x chathistory #a\n" + page(1, 1) + ":s BATCH -x\n> never"},
			want: []string{"1"}},
		"history of several pages": {from: point{after: tidings.Position{Epoch: 1, Offset: 7}},
			transcripts: []string{modernCaps + "> JOIN #a\n:me!u@h JOIN #a\n> CHATHISTORY AFTER #a msgid=00000001-7 100\n:s BATCH +x chathistory #a\n" + page(1, 100) + ":s BATCH -x\n" +
				"> CHATHISTORY AFTER #a msgid=m100 100\n:s BATCH +x chathistory #a\n" + page(101, 102) + ":s BATCH -x\n@msgid=m103 :b!b@s PRIVMSG #a :103\n> never"},
			want: numbers(1, 103)},
		"a gap in history": {from: point{after: tidings.Position{Epoch: 1, Offset: 7}},
			transcripts: []string{modernCaps + "> JOIN #a\n:me!u@h JOIN #a\n> CHATHISTORY AFTER\n:s WARN CHATHISTORY GAP AFTER #a 00000002-9 :Not all kept\n:s BATCH +x chathistory #a\n" + page(10, 10) + ":s BATCH -x\n> never"},
			want:        []string{"gap 00000001-7 00000002-9", "10"}},
		"a gap while it reads": {
			transcripts: []string{plainHello + "@msgid=00000002-9 :s NOTICE #a :Events after 00000002-3 are not all kept any more.\n:s NOTICE #a :hello\n:b!b@s PRIVMSG #other :0\n:b!b@s PRIVMSG #A :1\n> never"},
			want:        []string{"gap 00000002-3 00000002-9", "1"}},
		"history fails": {from: point{since: time.Unix(1769855400, 0)},
			transcripts: []string{modernCaps + "> JOIN #a\n:me!u@h JOIN #a\n@msgid=m1 :b!b@s PRIVMSG #a :1\n> CHATHISTORY AFTER #a timestamp=2026-01-31T10:30:00.000Z 100\n:s FAIL CHATHISTORY MESSAGE_ERROR AFTER :no\n> never"},
			want:        []string{"lost", "1"}},
		"no history to begin in": {from: point{since: time.Unix(1769855400, 0)}, transcripts: []string{plainHello + "> never"}, want: []string{"error: the server keeps no history that --from could begin in"}},
		"no such channel":        {transcripts: []string{"> USER\n:s 001 me :Welcome\n> JOIN #a\n:s 403 me #a :No such channel\n> never"}, want: []string{"error: #a: No such channel"}},
		"the nick is taken": {transcripts: []string{"> USER\n:s 433 * tidings :Nickname is already in use\n> NICK tidings\n:s 001 other :Welcome\n> JOIN #a\n:other!u@h JOIN #a\nPING :x\n> PONG x\n:b!b@s PRIVMSG #a :1\n> never"},
			want: []string{"1"}},
	} {
		t.Run(name, func(t *testing.T) {
			u := ircServer(t, tc.transcripts...)
			w, err := newIRC("tail", u, "", tc.from)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := readWire(t, w, len(tc.want)); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestNewIRC(t *testing.T) {
	for address, want := range map[string]string{
		"irc://h/en.wikipedia,%23de.wikipedia,EN.wikipedia": "#en.wikipedia #de.wikipedia",
		"irc://h//news/local":                               "#/news/local",
		"ircs://ann:secret@h/#a,b":                          "#a #b",
		"irc://h":                                           "",
		"irc://h/a,":                                        "",
		"irc://h/a%20b":                                     "",
		"irc://a%20b@h/a":                                   "",
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		w, err := newIRC("tail", u, "", point{})
		var names []string
		if err == nil {
			for _, c := range w.channels {
				names = append(names, c.name)
			}
		}
		if got := strings.Join(names, " "); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", address, got, err)
		}
	}
}

// sockets answers WebSockets with texts, one connection after the other; a text that begins with > is waited for.
func sockets(t *testing.T, connections ...[]string) (*url.URL, func() []string) {
	t.Helper()
	var seen []string
	i := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/socket.io/1/" {
			fmt.Fprint(w, "sid:60:60:websocket,xhr-polling")
			return
		}
		seen = append(seen, r.URL.RequestURI())
		c, err := websocket.Accept(w, r, nil)
		if err != nil || i >= len(connections) {
			t.Errorf("connection %d: %v", i, err)
			return
		}
		defer c.CloseNow()
		i++
		for _, text := range connections[i-1] {
			if want, wait := strings.CutPrefix(text, "> "); wait {
				_, got, err := c.Read(r.Context())
				if err == nil && string(got) != want {
					t.Errorf("the client says %s, want %s", got, want)
				}
			} else if err := c.Write(r.Context(), websocket.MessageText, []byte(text)); err != nil {
				t.Error(err)
			}
		}
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, func() []string { return seen }
}

func TestSIOWire(t *testing.T) {
	// RCStream as it was: no positions, so that what was missed cannot be known.
	begin := []string{"1::", "> 1::/rc", "1::/rc", `> 5:1+:/rc:{"args":null,"name":"resume"}`, `> 5:2+:/rc:{"args":[["*"]],"name":"subscribe"}`}
	u, _ := sockets(t,
		slices.Concat(begin, []string{`5::/rc:{"args":["no_such_method","x"],"name":"error"}`, "2::", "> 2::", `5::/rc:{"args":[{"a":1}],"name":"change"}`, "0::"}),
		slices.Concat(begin, []string{`5::/rc:{"args":[{"a":2}],"name":"change"}`, "> never"}))
	u.Scheme, u.Path, u.RawQuery = "sio", "/rc", "subscribe=*"
	w, err := newSIO("tail", u, "", point{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := readWire(t, w, 3); !slices.Equal(got, []string{`{"a":1}`, "lost", `{"a":2}`}) {
		t.Errorf("got %q", got)
	}
	// Tidings: the position of the subscription, then that of the last change, and a gap.
	again := slices.Clone(begin)
	again[3] = `> 5:1+:/rc:{"args":["00000001-5"],"name":"resume"}`
	third := slices.Clone(begin)
	third[3] = `> 5:1+:/rc:{"args":["00000001-8"],"name":"resume"}`
	u, _ = sockets(t,
		slices.Concat(begin, []string{"6::/rc:1+[null]", `6::/rc:2+["00000001-5"]`, "7:::+0"}),
		slices.Concat(again, []string{`5::/rc:{"args":[{"a":1},"00000001-8"],"name":"change"}`, "7:::+0"}),
		slices.Concat(third, []string{`5::/rc:{"args":[{"asked":"00000001-8","oldest":"00000001-9"}],"name":"gap"}`, `5::/rc:{"args":["subscribe_error","Too many subscriptions"],"name":"error"}`, "> never"}))
	u.Scheme, u.Path, u.RawQuery = "sio", "/rc", "subscribe=*"
	if w, err = newSIO("tail", u, "", point{}); err != nil {
		t.Fatal(err)
	}
	want := []string{`{"a":1}`, "gap 00000001-8 00000001-9", "error: the server says subscribe_error: Too many subscriptions"}
	if got, _ := readWire(t, w, 3); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestWSWire(t *testing.T) {
	event := func(n int) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":"i","topic":"/a","type":"tidings.publish","datacontenttype":"application/json","data":%d,"position":"00000001-%d"}`, n, n)
	}
	u, seen := sockets(t,
		[]string{`{"type":"subscribed","id":"","topics":["/a"],"position":"00000001-3"}`},
		[]string{event(4), `{"type":"gap","asked":"00000001-4","oldest":"00000001-7"}`},
		[]string{event(8), `{"type":"error","code":"forbidden","status":403,"detail":"withdrawn"}`})
	u.Scheme, u.Path = "ws", "/topics/a"
	got, _ := readWire(t, &wsWire{url: u}, 4)
	want := []string{"4", "gap 00000001-4 00000001-7", "8", "error: the server says forbidden: withdrawn"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if !slices.Equal(seen(), []string{"/topics/a", "/topics/a?since=00000001-3", "/topics/a?since=00000001-7"}) {
		t.Errorf("requests %q", seen())
	}
	// A server that knows no positions.
	u, _ = sockets(t, []string{"1"}, []string{"2", "> never"})
	u.Scheme = "ws"
	if got, _ := readWire(t, &wsWire{url: u}, 3); !slices.Equal(got, []string{"1", "lost", "2"}) {
		t.Errorf("got %q", got)
	}
}

// Whatever a server sends, the reader gets what is whole and goes on or ends.
func FuzzSIOPacket(f *testing.F) {
	for _, s := range []string{"1::", "1::/rc", "2::", "8::", "0::", "7:::1+0", "7:::+0", `5::/rc:{"args":[{"a":1},"00000001-8"],"name":"change"}`, `5::/rc:{"args":[{"asked":"00000001-8","oldest":"00000001-9"}],"name":"gap"}`,
		`5::/rc:{"args":["subscribe_error","x"],"name":"error"}`, `6::/rc:2+["00000001-5"]`, "6::/rc:2+[null]", "5", "", ":::", `5::/rc:{"args":[{"specversion":"1.0","topic":"/a","type":"tidings.publish","position":"00000001-1","data":1}],"name":"publish"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, packet string) {
		w := &sioWire{url: &url.URL{Scheme: "sio", Host: "h"}, patterns: []string{"*"}}
		events := 0
		s := &sioSession{w: w, up: func() {}, send: func(p string) error {
			if !strings.HasPrefix(p, "1::") && !strings.HasPrefix(p, "2::") && !strings.HasPrefix(p, "5:") {
				t.Errorf("it answers %q", p)
			}
			return nil
		}, emit: func(r received, err error) bool {
			if events++; err == nil && (len(r.record) == 0 || strings.ContainsAny(string(r.record), "\r\n")) {
				t.Errorf("%q: the record %q", packet, r.record)
			}
			return true
		}}
		if err := s.packet([]byte(packet)); err != nil && tidings.KindOf(err) == 0 || events > 1 {
			t.Errorf("%q: %d events, %v", packet, events, err)
		}
	})
}
