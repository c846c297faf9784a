package client_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/client"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/pubsub"
	"tidings/outlet/xmpp/room"
	model "tidings/pubsub"
	"tidings/recentchange"
	"tidings/xmpp/server"
	"tidings/xmpp/service"
	"tidings/xmpp/xmpptest"
)

// patience bounds every wait; passing it is a failure.
const patience = time.Minute

// wire is a TCP relay that can be cut.
type wire struct {
	t     *testing.T
	ln    net.Listener
	to    string
	mu    sync.Mutex
	fuse  func(n int) int // how many bytes the n-th connection carries to the client
	conns []net.Conn
	n     int
	down  bool
	wg    sync.WaitGroup
}

func newWire(t *testing.T, to string, fuse func(n int) int) *wire {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, ln: ln, to: to, fuse: fuse}
	w.wg.Go(w.serve)
	t.Cleanup(func() {
		ln.Close()
		w.cut()
		w.wg.Wait()
	})
	return w
}

func (w *wire) serve() {
	for {
		in, err := w.ln.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		down, to := w.down, w.to
		w.mu.Unlock()
		if down {
			in.Close()
			continue
		}
		out, err := net.Dial("tcp", to)
		if err != nil { // the server is being restarted
			in.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, in, out)
		limit := 1 << 40
		if w.fuse != nil {
			limit = w.fuse(w.n)
		}
		w.n++
		w.mu.Unlock()
		w.wg.Go(func() {
			io.Copy(out, in)
			out.Close()
		})
		w.wg.Go(func() {
			io.CopyN(in, out, int64(limit))
			in.Close()
			out.Close()
		})
	}
}

// cut breaks all connections and returns how many there have been.
func (w *wire) cut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
	return w.n
}

// refuse says whether connections are refused from now on.
func (w *wire) refuse(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

// xmppWorld is a Tidings server with rooms and nodes.
type xmppWorld struct {
	*outlettest.World
	rooms  *room.Server
	nodes  *model.Service
	pubsub *pubsub.Server
	srv    *server.Server
	addr   string
	stop   func()
	again  func()
}

// startXMPP serves the rooms of a world, and what the test adds.
func startXMPP(t *testing.T, change func(*server.Options), services map[string]service.Service) *xmppWorld {
	t.Helper()
	w := &xmppWorld{World: outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(recentchange.Wikis{})}, edge.Options{})}
	var err error
	w.rooms, err = room.New(room.Options{
		Hub: w.Hub, Edge: w.Edge, Authenticate: w.Policy.Authenticate, May: w.Policy.May, Audience: w.Policy.Audience, Topics: w.Topics,
		Wikis: recentchange.Wikis{"enwiki": {ServerName: "en.wikipedia.org", ServerURL: "https://en.wikipedia.org"}},
		Rooms: map[string]room.Room{"brief": {Patterns: []tidings.Pattern{tidings.MustPattern("/brief/**")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.nodes, err = model.Open(t.Context(), model.Options{Store: w.Bucket("nodes"), Log: w.Journal, Hub: w.Hub, Policy: w.Policy, Domain: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.nodes.Close() })
	w.again = func() { w.serve(change, services) }
	w.again()
	return w
}

// serve starts the server.
func (w *xmppWorld) serve(change func(*server.Options), services map[string]service.Service) {
	w.Helper()
	var err error
	w.pubsub, err = pubsub.New(pubsub.Options{Model: w.nodes, Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, Audience: w.Policy.Audience, Topics: w.Topics})
	if err != nil {
		w.Fatal(err)
	}
	so := server.Options{Edge: w.Edge, Domain: "localhost", Anonymous: true, Users: xmpptest.Users{"hamlet", "bernardo", "yorick"}}
	if change != nil {
		change(&so)
	}
	if w.srv, err = server.New(so); err != nil {
		w.Fatal(err)
	}
	w.srv.HandleAccounts(w.pubsub.Follow(domain{w.srv}))
	if services == nil {
		services = map[string]service.Service{"conference.localhost": w.rooms, "pubsub.localhost": w.pubsub}
	}
	for name, s := range services {
		if err := w.srv.Handle(name, s); err != nil {
			w.Fatal(err)
		}
	}
	mode := server.NoTLS
	if so.TLS != nil {
		mode = server.StartTLS
	}
	srv, ps := w.srv, w.pubsub
	w.addr, w.stop = xmpptest.Serve(w, func(ln net.Listener) error { return srv.Serve(ln, mode) }, func() {
		srv.Close()
		ps.Close()
	})
}

// restart starts another server in the place of this one, which knows nothing of its sessions, behind the relay.
func (w *xmppWorld) restart(relay *wire) {
	w.Helper()
	relay.refuse(true)
	relay.cut()
	w.stop()
	w.again()
	relay.mu.Lock()
	relay.to = w.addr
	relay.mu.Unlock()
	relay.refuse(false)
}

// change publishes a change of en.wikipedia.org.
func (w *xmppWorld) change(id int) tidings.Position {
	w.Helper()
	return w.Append(tidings.Event{Topic: "/recentchange/en.wikipedia.org", ContentType: recentchange.TypeJSON, Payload: fmt.Appendf(nil,
		`{"id":%d,"type":"edit","namespace":4,"title":"Title \u003c%[1]d>","comment":"a & b","timestamp":%d,"user":"Ann","bot":false,"minor":true,`+
			`"length":{"old":10,"new":25},"revision":{"old":7,"new":8},"server_url":"https://en.wikipedia.org","server_name":"en.wikipedia.org","server_script_path":"/w","wiki":"enwiki"}`, id, 1772600767)})
}

// reader reads events in the background.
type reader struct {
	t       *testing.T
	up      chan struct{} // of one for each connection
	got     chan any      // client.Event or error
	cancel  context.CancelFunc
	mu      sync.Mutex
	notices []client.Notice
}

// readRoom begins to read.
func readRoom(t *testing.T, url, address string, patterns []tidings.Pattern, from client.From, filters []client.Filter, opts ...client.Option) *reader {
	t.Helper()
	r := &reader{t: t, up: make(chan struct{}, 1000), got: make(chan any)}
	c, err := client.New(url, append([]client.Option{client.WithAddress(address), client.WithBackoff(time.Millisecond, time.Millisecond), client.WithTimeout(patience),
		client.WithNotify(func(n client.Notice) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.notices = append(r.notices, n)
			if n.Err == nil {
				r.up <- struct{}{}
			}
		})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range c.Events(ctx, patterns, from, filters...) {
			var v any = e
			if err != nil {
				v = err
			}
			select {
			case r.got <- v:
			case <-ctx.Done():
				return
			}
		}
	}()
	r.cancel = func() { cancel(); <-done }
	t.Cleanup(r.cancel)
	return r
}

// connected waits until the rooms have been entered.
func (r *reader) connected() {
	r.t.Helper()
	select {
	case <-r.up:
	case v := <-r.got:
		r.t.Fatalf("%v came before there was a connection", v)
	case <-time.After(patience):
		r.t.Fatal("there is no connection")
	}
}

// next returns an event or an error.
func (r *reader) next() any {
	r.t.Helper()
	select {
	case v := <-r.got:
		return v
	case <-time.After(patience):
		r.t.Fatal("nothing comes")
		return nil
	}
}

func (r *reader) event() client.Event {
	r.t.Helper()
	e, ok := r.next().(client.Event)
	if !ok {
		r.t.Fatalf("not an event")
	}
	return e
}

func (r *reader) err() error {
	r.t.Helper()
	v := r.next()
	err, ok := v.(error)
	if !ok {
		r.t.Fatalf("%v is not an error", v)
	}
	return err
}
