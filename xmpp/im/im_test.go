package im_test

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"tidings/edge"
	"tidings/xmpp/disco"
	"tidings/xmpp/im"
	"tidings/xmpp/jid"
	"tidings/xmpp/sasl"
	"tidings/xmpp/server"
	"tidings/xmpp/xmpptest"
)

// users are accounts whose password is their name.
type users []string

func (u users) Exists(localpart string) bool { return slices.Contains(u, localpart) }

func (u users) Keys(username string, h sasl.Hash) (sasl.Keys, string) {
	k, err := h.Keys(username, []byte("salt"), sasl.MinIterations)
	if err != nil {
		panic(err)
	}
	if !u.Exists(username) {
		return k, ""
	}
	return k, username
}

func (users) Attempt(context.Context, string, netip.Addr) (func(bool), error) {
	return func(bool) {}, nil
}

// store is a Store in memory, which several services may share.
type store struct {
	mu sync.Mutex
	m  map[string][]byte
	fs []func(string, []byte)
}

func (s *store) change(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == nil {
		delete(s.m, key)
	} else {
		s.m[key] = slices.Clone(value)
	}
	for _, f := range s.fs {
		f(key, s.m[key])
	}
	return nil
}

func (s *store) Put(_ context.Context, key string, value []byte) error { return s.change(key, value) }
func (s *store) Delete(_ context.Context, key string) error            { return s.change(key, nil) }

func (s *store) Watch(_ context.Context, f func(string, []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(s.m)) {
		f(k, s.m[k])
	}
	s.fs = append(s.fs, f)
	return nil
}

// start runs a server with the store until the test ends.
func start(t *testing.T, st *store) (*im.Service, *xmpptest.Runner) {
	t.Helper()
	e, err := edge.New(edge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := users{"alice", "bob", "carol"}
	var svc *im.Service
	s, err := server.New(server.Options{Edge: e, Users: all, Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	svc, err = im.Open(t.Context(), im.Options{Server: s, Store: st, Users: all, Version: "1.0", Contact: []string{"mailto:ops@example.org"}, MaxRoster: 4, MaxStored: 512,
		Services: func() []disco.Item {
			return []disco.Item{{JID: jid.MustParse("conference.localhost"), Name: "Rooms"}}
		}})
	if err != nil {
		t.Fatal(err)
	}
	s.HandleAccounts(svc)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(ln, server.NoTLS); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		serving.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
		svc.Close()
	})
	return svc, &xmpptest.Runner{Dial: func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) }, Domain: "localhost"}
}

func TestScripts(t *testing.T) {
	xmpptest.Files(t, "testdata/*.txt", func(t *testing.T) *xmpptest.Runner {
		st := &store{m: map[string][]byte{}}
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
