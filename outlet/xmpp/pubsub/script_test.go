package pubsub_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/pubsub"
	model "tidings/pubsub"
	"tidings/recentchange"
	"tidings/xmpp/im"
	"tidings/xmpp/server"
	"tidings/xmpp/xmpptest"
)

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
	var err error
	f.model, err = model.Open(ctx, model.Options{Store: w.Bucket("nodes"), Log: w.Journal, Hub: w.Hub, Policy: w.Policy, Domain: "localhost", Admins: []string{"polonius@localhost"},
		MaxPerNode: 3, MaxSubscriptions: 10, MaxNodes: 14, MaxPayload: 10_000})
	if err != nil {
		w.Fatal(err)
	}
	f.srv, err = pubsub.New(pubsub.Options{Model: f.model, Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, Audience: w.Policy.Audience,
		Topics: w.Topics, Version: "test-1"})
	if err != nil {
		w.Fatal(err)
	}
	all := xmpptest.Users{"hamlet", "bernardo", "francisco", "horatio", "polonius"}
	srv, err := server.New(server.Options{Edge: w.Edge, Users: all, Anonymous: true})
	if err != nil {
		w.Fatal(err)
	}
	accounts, err := im.Open(ctx, im.Options{Server: srv, Store: new(xmpptest.Store), Users: all, Version: "1"})
	if err != nil {
		w.Fatal(err)
	}
	srv.HandleAccounts(f.srv.Follow(accounts))
	if err := srv.Handle("pubsub.localhost", f.srv); err != nil {
		w.Fatal(err)
	}
	addr, stop := xmpptest.Serve(w, func(ln net.Listener) error { return srv.Serve(ln, server.NoTLS) }, srv.Close)
	f.addr = addr
	f.close = sync.OnceFunc(func() {
		stop()
		f.srv.Close()
		accounts.Close()
		f.model.Close()
	})
	w.Cleanup(f.close)
	return f
}

func newWorld(t *testing.T) *outlettest.World {
	return outlettest.NewMemory(t, hubOptions, edgeOptions)
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
		script := outlettest.NewScript(w, nil)
		return &xmpptest.Runner{Dial: func() (net.Conn, error) { return net.Dial("tcp", f.addr) }, Domain: "localhost",
			Do: map[string]func(map[string]string, string) error{"retraction": script.Do["retract"], "time": moment,
				"event": func(vars map[string]string, args string) error { return published(script, vars, args) }}}
	})
}

func published(script *outlettest.Script, vars map[string]string, args string) error {
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
	return script.Event(vars, tidings.Event{Topic: tidings.Topic(a[0]), ID: a[1], ContentType: typ, Payload: []byte(a[3])})
}

func moment(vars map[string]string, args string) error {
	name, ahead, _ := strings.Cut(strings.TrimSpace(args), " ")
	d, err := time.ParseDuration(ahead)
	vars[name] = time.Now().Add(d).UTC().Format(time.RFC3339)
	return err
}
