package pubsub_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/pubsub"
	model "tidings/pubsub"
	"tidings/recentchange"
	"tidings/xmpp/im"
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

// store is what im keeps, in memory.
type store struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (s *store) Put(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[key] = slices.Clone(value)
	return nil
}

func (s *store) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, key)
	return nil
}

func (s *store) Watch(_ context.Context, f func(string, []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(s.m)) {
		f(k, s.m[k])
	}
	return nil
}

// fixture is the service on a server with a listener.
type fixture struct {
	*outlettest.World
	model *model.Service
	srv   *pubsub.Server
	addr  string
	close func()
}

// serve serves the world's nodes at pubsub.localhost. polonius administers them.
func serve(w *outlettest.World) *fixture {
	w.Helper()
	ctx := context.Background()
	f := &fixture{World: w}
	nodes, err := w.Journal.Bucket(ctx, "nodes")
	if err != nil {
		w.Fatal(err)
	}
	f.model, err = model.Open(ctx, model.Options{Store: nodes, Log: w.Journal, Hub: w.Hub, Policy: w.Policy, Domain: "localhost", Admins: []string{"polonius@localhost"},
		MaxPerNode: 3, MaxSubscriptions: 10, MaxNodes: 14, MaxPayload: 10_000})
	if err != nil {
		w.Fatal(err)
	}
	f.srv, err = pubsub.New(pubsub.Options{Model: f.model, Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, Audience: w.Policy.Audience,
		Topics: func(ctx context.Context, p tidings.Pattern) (ts []tidings.Topic, err error) {
			infos, err := w.Journal.Topics(ctx, p)
			for _, i := range infos {
				ts = append(ts, i.Topic)
			}
			return ts, err
		}, Version: "test-1"})
	if err != nil {
		w.Fatal(err)
	}
	all := users{"hamlet", "bernardo", "francisco", "horatio", "polonius"}
	srv, err := server.New(server.Options{Edge: w.Edge, Users: all, Anonymous: true})
	if err != nil {
		w.Fatal(err)
	}
	accounts, err := im.Open(ctx, im.Options{Server: srv, Store: &store{m: map[string][]byte{}}, Users: all, Version: "1"})
	if err != nil {
		w.Fatal(err)
	}
	srv.HandleAccounts(f.srv.Follow(accounts))
	if err := srv.Handle("pubsub.localhost", f.srv); err != nil {
		w.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	f.addr = ln.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(ln, server.NoTLS); err != nil {
			w.Error("serving:", err)
		}
	})
	f.close = sync.OnceFunc(func() {
		srv.Close()
		serving.Wait()
		f.srv.Close()
		accounts.Close()
		f.model.Close()
	})
	w.Cleanup(f.close)
	return f
}

func newWorld(t *testing.T) *outlettest.World {
	j := journal.NewMemory(outlettest.Options(""))
	t.Cleanup(func() { j.Close() })
	return outlettest.NewWorld(t, j, hubOptions, edgeOptions)
}

var (
	hubOptions  = hub.Options{Decode: outlet.Decoder(nil)}
	edgeOptions = edge.Options{}
)

// TestScripts runs testdata/*.txt, which are named by the sections of XEP-0060 that they show. Beside what package xmpptest
// has, there is
//
//	! event TOPIC ID TYPE PAYLOAD   an event that did not come over XMPP; ID may be -, and PAYLOAD quoted as in Go
//	! retraction TOPIC ID
//
// which set {{position}} and wait until the hub has dispatched it, and
//
//	! time NAME DURATION            a time so far ahead, as XEP-0082 writes it
func TestScripts(t *testing.T) {
	xmpptest.Files(t, "testdata/*.txt", func(t *testing.T) *xmpptest.Runner {
		t.Parallel()
		w := newWorld(t)
		f := serve(w)
		return &xmpptest.Runner{Dial: func() (net.Conn, error) { return net.Dial("tcp", f.addr) }, Domain: "localhost",
			Do: map[string]func(map[string]string, string) error{"event": f.event, "retraction": f.retraction, "time": moment}}
	})
}

func (f *fixture) append(vars map[string]string, e tidings.Event) error {
	e.Time = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	r, err := f.Journal.Append(context.Background(), e)
	if err != nil {
		return err
	}
	vars["position"] = r[0].Position.String()
	return f.Hub.Drain(context.Background())
}

func (f *fixture) event(vars map[string]string, args string) error {
	a := strings.SplitN(strings.TrimSpace(args), " ", 4)
	if len(a) < 4 {
		return fmt.Errorf("want a topic, an ID, a type and a payload")
	}
	if a[1] == "-" {
		a[1] = ""
	}
	if a[3][0] == '"' {
		s, err := strconv.Unquote(a[3])
		if err != nil {
			return err
		}
		a[3] = s
	}
	typ := map[string]string{"json": recentchange.TypeJSON, "rc": recentchange.TypeRC}[a[2]]
	if typ == "" {
		typ = a[2]
	}
	return f.append(vars, tidings.Event{Topic: tidings.Topic(a[0]), ID: a[1], ContentType: typ, Payload: []byte(a[3])})
}

func (f *fixture) retraction(vars map[string]string, args string) error {
	topic, id, _ := strings.Cut(strings.TrimSpace(args), " ")
	return f.append(vars, tidings.Event{Topic: tidings.Topic(topic), ID: id, Kind: tidings.Retract})
}

func moment(vars map[string]string, args string) error {
	name, ahead, _ := strings.Cut(strings.TrimSpace(args), " ")
	d, err := time.ParseDuration(ahead)
	vars[name] = time.Now().Add(d).UTC().Format(time.RFC3339)
	return err
}
