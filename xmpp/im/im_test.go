package im_test

import (
	"context"
	"net"
	"testing"

	"tidings/edge"
	"tidings/xmpp/disco"
	"tidings/xmpp/im"
	"tidings/xmpp/jid"
	"tidings/xmpp/server"
	"tidings/xmpp/xmpptest"
)

// start runs a server with the store until the test ends.
func start(t *testing.T, st *xmpptest.Store) (*im.Service, *xmpptest.Runner) {
	t.Helper()
	e, err := edge.New(edge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := xmpptest.Users{"alice", "bob", "carol"}
	s, err := server.New(server.Options{Edge: e, Users: all, Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	svc, err := im.Open(t.Context(), im.Options{Server: s, Store: st, Users: all, Version: "1.0", Contact: []string{"mailto:ops@example.org"}, MaxRoster: 4, MaxStored: 512,
		Services: func() []disco.Item {
			return []disco.Item{{JID: jid.MustParse("conference.localhost"), Name: "Rooms"}}
		}})
	if err != nil {
		t.Fatal(err)
	}
	s.HandleAccounts(svc)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
		svc.Close()
	})
	addr, _ := xmpptest.Serve(t, func(ln net.Listener) error { return s.Serve(ln, server.NoTLS) }, s.Close)
	return svc, &xmpptest.Runner{Dial: func() (net.Conn, error) { return net.Dial("tcp", addr) }, Domain: "localhost"}
}

func TestScripts(t *testing.T) {
	xmpptest.Files(t, "testdata/*.txt", func(t *testing.T) *xmpptest.Runner {
		st := new(xmpptest.Store)
		svc, r := start(t, st)
		r.Do = map[string]func(map[string]string, string) error{
			// The server is another one from now on, with the same store.
			"restart": func(map[string]string, string) error {
				var next *xmpptest.Runner
				svc, next = start(t, st)
				r.Dial = next.Dial
				return nil
			},
			"forget": func(_ map[string]string, local string) error { return svc.Forget(t.Context(), local) },
		}
		return r
	})
}
