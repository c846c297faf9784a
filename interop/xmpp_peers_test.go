//go:build interop && linux

package interop_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidings/interop/xmpppeer"
)

// peer starts a server of others. It is stopped when the test ends.
func peer(t *testing.T, name string, o xmpppeer.Options) *xmpppeer.Server {
	t.Helper()
	s, err := xmpppeer.Starters[name](t.Context(), o)
	if errors.Is(err, xmpppeer.ErrNotInstalled) {
		need(t, name, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of %s ends:\n%s", s.Name, s.Log())
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// eachPeer runs a test with each kind of server of others, all at once and for at most so long.
func eachPeer(t *testing.T, most time.Duration, test func(ctx context.Context, t *testing.T, name string)) {
	t.Helper()
	for name := range xmpppeer.Starters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			need(t, "slixmpp", debianPython("slixmpp")())
			ctx, cancel := context.WithTimeout(t.Context(), most)
			defer cancel()
			test(ctx, t, name)
		})
	}
}

// TestXMPPClientsElsewhere: the client programs do against Prosody and ejabberd what they have to do against Tidings, so
// that what they say of Tidings is no matter of the programs.
func TestXMPPClientsElsewhere(t *testing.T) {
	eachPeer(t, 3*time.Minute, func(ctx context.Context, t *testing.T, name string) {
		s := peer(t, name, xmpppeer.Options{Accounts: map[string]string{"anna": "pa ss", "bot": "pa ss", xmpppeer.Owner: "pa ss"}})
		host := xmppHost{s.C2S, s.WebSocket}
		for i, c := range xmppClients {
			t.Run(c.name, func(t *testing.T) {
				need(t, c.name, c.missing())
				room := fmt.Sprintf("room%d@%s", i, xmpppeer.Rooms)
				said := newSpeaker(t, host, "speak", "bot@localhost/speaker", "pa ss", room)
				said.until(ctx, "joined", "online")
				reader := c.start(t, host, "room", "anna@localhost/reader", "pa ss", room, "3")
				online := reader.until(ctx, "online")
				if !strings.HasPrefix(online.Mechanism, c.mechanism) || online.TLS == c.webSocket {
					t.Errorf("it logged in with %q, TLS %v", online.Mechanism, online.TLS)
				}
				reader.until(ctx, "joined")
				for n := range 3 {
					said.say(`<rc type="edit" ns="0" title="Gärten &amp; Wege %d" comment="&lt;b&gt; %[1]d" minor=""/>`, n)
					m := reader.until(ctx, "message")
					if m.Body == nil || *m.Body != fmt.Sprintf("<b> %d", n) || m.RC["title"] != fmt.Sprintf("Gärten & Wege %d", n) || m.RC["type"] != "edit" || m.StanzaID == "" {
						t.Errorf("message %d came as %+v", n, m)
					}
				}
				reader.ended(ctx)
				refusedXMPP(ctx, t, c, host, "anna@localhost")
				refusedXMPP(ctx, t, c, host, "nobody@localhost")
			})
		}
	})
}

// refusedXMPP logs in with a wrong password.
func refusedXMPP(ctx context.Context, t *testing.T, c *xmppClient, host xmppHost, user string) {
	t.Helper()
	s := c.start(t, host, "login", user, "wrong")
	if r := s.until(ctx, "error"); r.Condition != "not-authorized" {
		t.Errorf("%s with a wrong password is told %+v", user, r)
	}
	s.ended(ctx)
}

// TestXMPPResumesElsewhere: the clients that can resume a session do, and have every message once.
func TestXMPPResumesElsewhere(t *testing.T) {
	eachPeer(t, 3*time.Minute, func(ctx context.Context, t *testing.T, name string) {
		s := peer(t, name, xmpppeer.Options{Accounts: map[string]string{"anna": "pa ss", "bot": "pa ss"}})
		for i, c := range xmppClients {
			if !c.resumes {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				need(t, c.name, c.missing())
				room := fmt.Sprintf("room%d@%s", i, xmpppeer.Rooms)
				host := xmppHost{s.C2S, s.WebSocket}
				said := newSpeaker(t, host, "speak", "bot@localhost/speaker", "pa ss", room)
				said.until(ctx, "joined", "online")
				follow := followRoom(ctx, t, c, host, "anna@localhost/reader", "pa ss", room, 30)
				for round := range 3 {
					if round > 0 {
						follow.untilResumed(ctx, round-1) // a cut while it resumes is more than some of them bear
						follow.proxy.cut()
					}
					for n := range 10 {
						said.say(`<rc type="edit" title="%d"/>`, round*10+n)
					}
					follow.untilSeen(ctx, (round+1)*10)
				}
				follow.ended(ctx)
			})
		}
	})
}

// roomFollower is a client in a room, over a proxy that cuts its connections, which is to see each message once.
type roomFollower struct {
	*xmppSession
	proxy   *cutter
	seen    int                            // messages
	resumed int                            // times
	is      func(m xmppReport, n int) bool // whether it is message n, from 0 on
}

func followRoom(ctx context.Context, t *testing.T, c *xmppClient, host xmppHost, user, password, room string, count int) *roomFollower {
	t.Helper()
	f := &roomFollower{is: func(r xmppReport, n int) bool { return r.RC["title"] == fmt.Sprint(n) }}
	if c.webSocket {
		addr, path, _ := strings.Cut(strings.TrimPrefix(host.webSocket, "ws://"), "/")
		f.proxy = newCutter(t, addr)
		host.webSocket = "ws://" + f.proxy.Addr().String() + "/" + path
	} else {
		f.proxy = newCutter(t, host.c2s)
		host.c2s = f.proxy.Addr().String()
	}
	f.xmppSession = c.start(t, host, "room", user, password, room, fmt.Sprint(count))
	f.until(ctx, "joined", "online")
	return f
}

// untilSeen reads until so many messages have come, each once and in order.
func (f *roomFollower) untilSeen(ctx context.Context, n int) {
	f.t.Helper()
	for f.seen < n {
		f.read(ctx)
	}
}

// untilResumed reads until the session has been resumed so often.
func (f *roomFollower) untilResumed(ctx context.Context, n int) {
	f.t.Helper()
	for f.resumed < n {
		f.read(ctx)
	}
}

func (f *roomFollower) read(ctx context.Context) {
	f.t.Helper()
	r, err := f.next(ctx)
	switch {
	case err != nil:
		f.t.Fatalf("after %d messages: %v", f.seen, err)
	case r.Event == "offline":
	case r.Event == "resumed":
		f.resumed++
	case r.Event == "message" && f.is(r, f.seen):
		f.seen++
	default:
		f.t.Fatalf("after %d messages it says %+v", f.seen, r)
	}
}
