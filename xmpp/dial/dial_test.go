package dial_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/edge"
	"tidings/xmpp/dial"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/sasl"
	"tidings/xmpp/server"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmpptest"
)

// patience bounds every wait; passing it is a failure.
const patience = 60 * time.Second

// echo is a service. It answers a request with what it asks: by a result, by nothing for <later/>, and by an error for
// <no/>. It says a message back with its body three times.
type echo struct {
	mu    sync.Mutex
	peers []service.Peer
}

func (e *echo) Stanza(p service.Peer, st *stanza.Stanza) {
	switch {
	case st.Kind == stanza.Message:
		for range 3 {
			p.Send(stanza.AppendEnd(append(stanza.AppendStart(nil, stanza.Message, "", "", st.To, p.JID()), st.Payload().AppendXML(nil, stanza.NSClient)...), stanza.Message))
		}
	case st.Kind == stanza.Presence: // watches
		e.mu.Lock()
		defer e.mu.Unlock()
		e.peers = append(e.peers, p)
	case st.Request() && st.Payload().Name() == "no":
		p.Send(st.AppendError(nil, stanza.NotAllowed("no means no")))
	case st.Request() && st.Payload().Name() != "later":
		p.Send(st.AppendResult(nil, st.Payload().AppendXML(nil, stanza.NSClient)))
	}
}

func (e *echo) Gone(service.Peer) {}

// peer returns the first session that watches.
func (e *echo) peer(t *testing.T) service.Peer {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.peers) == 0 {
		t.Fatal("nobody watches")
	}
	return e.peers[0]
}

// world is a server.
type world struct {
	echo  *echo
	srv   *server.Server
	addrs map[server.TLSMode]string
	roots *x509.CertPool
}

func start(t *testing.T, change func(*server.Options)) *world {
	t.Helper()
	e, err := edge.New(edge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	own, trust := xmpptest.Certificate(t)
	w := &world{echo: &echo{}, addrs: map[server.TLSMode]string{}, roots: trust.RootCAs}
	o := server.Options{Edge: e, Users: xmpptest.Users{}, Anonymous: true, TLS: own}
	if change != nil {
		change(&o)
	}
	if w.srv, err = server.New(o); err != nil {
		t.Fatal(err)
	}
	if err := w.srv.Handle("echo.localhost", w.echo); err != nil {
		t.Fatal(err)
	}
	w.srv.HandleAccounts(accounts{w.srv})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
	})
	for _, mode := range []server.TLSMode{server.NoTLS, server.StartTLS, server.DirectTLS} {
		w.addrs[mode], _ = xmpptest.Serve(t, func(ln net.Listener) error { return w.srv.Serve(ln, mode) }, w.srv.Close)
	}
	return w
}

var (
	localhost = jid.MustParse("localhost")
	echoJID   = jid.MustParse("echo.localhost")
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// connect dials, with what the test changes.
func connect(t *testing.T, w *world, mode server.TLSMode, change func(*dial.Config)) *dial.Conn {
	t.Helper()
	cfg := dial.Config{JID: localhost, Address: w.addrs[mode], DirectTLS: mode == server.DirectTLS}
	if change != nil {
		change(&cfg)
	}
	c, err := dial.Dial(deadline(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDial(t *testing.T) {
	w := start(t, nil)
	ann := jid.MustParse("ann@localhost/desk")
	for _, tt := range []struct {
		name     string
		mode     server.TLSMode
		jid      jid.JID
		password string
		tls      *tls.Config
		manage   bool
		err      any // a target of errors.As, or an error
		text     string
	}{
		{name: "anonymous", jid: localhost},
		{name: "account", jid: ann, password: "ann"},
		{name: "account over StartTLS", mode: server.StartTLS, jid: ann, password: "ann", tls: &tls.Config{RootCAs: w.roots}},
		{name: "loopback needs no TLS", mode: server.StartTLS, jid: ann, password: "ann"},
		{name: "anonymous over DirectTLS", mode: server.DirectTLS, jid: localhost, tls: &tls.Config{RootCAs: w.roots}, manage: true},
		{name: "nobody checks", mode: server.DirectTLS, jid: localhost, tls: &tls.Config{InsecureSkipVerify: true}},
		{name: "wrong password", jid: ann, password: "bob", err: new(*sasl.Error), text: "not-authorized"},
		{name: "no password", jid: ann, text: "password"},
		{name: "unknown authority", mode: server.StartTLS, jid: ann, password: "ann", tls: &tls.Config{}, err: new(*tls.CertificateVerificationError), text: "authority"},
		{name: "unknown authority, direct", mode: server.DirectTLS, jid: ann, password: "ann", err: new(*tls.CertificateVerificationError), text: "authority"},
		{name: "wrong name", mode: server.StartTLS, jid: ann, password: "ann", tls: &tls.Config{RootCAs: w.roots, ServerName: "example.org"}, err: new(*tls.CertificateVerificationError), text: "example.org"},
		{name: "another domain", jid: jid.MustParse("ann@example.org"), password: "ann", err: new(*stream.Error), text: "host-unknown"},
		{name: "nobody", err: nil, text: "no address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := dial.Dial(deadline(t), dial.Config{JID: tt.jid, Password: tt.password, Address: w.addrs[tt.mode],
				DirectTLS: tt.mode == server.DirectTLS, TLS: tt.tls, Manage: tt.manage})
			if tt.text != "" {
				if err == nil || !strings.Contains(err.Error(), tt.text) || tt.err != nil && !errors.As(err, tt.err) {
					t.Fatalf("%v, want a %T that says %q", err, tt.err, tt.text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.JID(); got.Domain() != "localhost" || got.IsBare() || tt.password != "" && got != ann || c.Resumed() {
				t.Errorf("bound as %s", got)
			}
			if !c.Features().Bind {
				t.Errorf("features %+v", c.Features())
			}
			ans, err := c.Request(deadline(t), stanza.TypeGet, echoJID, []byte("<what xmlns='urn:x'>so</what>"))
			if err != nil || ans.Payload().Text() != "so" || ans.From != echoJID {
				t.Errorf("%v, %v", ans, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if _, err := c.Next(deadline(t)); err != dial.ErrClosed && err != dial.ErrDone {
				t.Errorf("after the end: %v", err)
			}
			if err := c.Send([]byte("<presence/>")); err == nil {
				t.Error("a stream that is closed takes stanzas")
			}
		})
	}
}

// The session ends with the stream: nothing is left to be resumed.
func TestCloseEndsSession(t *testing.T) {
	w := start(t, nil)
	c := connect(t, w, server.NoTLS, func(cfg *dial.Config) { cfg.Manage = true })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if s := c.Drop(); s != nil {
		t.Error("a session is left")
	}
	for ctx := deadline(t); ; runtime.Gosched() { // the server answers first and forgets then
		st := w.srv.Stats()
		if st.Waiting == 0 && st.Closed[server.ReasonClosed] == 1 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("%+v", st)
		}
	}
}

func TestRequests(t *testing.T) {
	w := start(t, nil)
	c := connect(t, w, server.NoTLS, nil)
	ctx := deadline(t)
	_, err := c.Request(ctx, stanza.TypeSet, echoJID, []byte("<no xmlns='urn:x'/>"))
	if e, ok := errors.AsType[*stanza.Error](err); !ok || e.Condition != "not-allowed" || e.Text != "no means no" {
		t.Errorf("%v", err)
	}
	// Who waits in vain leaves in time, and the connection is as good as before.
	short, cancel := context.WithTimeoutCause(ctx, time.Millisecond, errors.New("long enough"))
	defer cancel()
	if _, err := c.Request(short, stanza.TypeGet, echoJID, []byte("<later xmlns='urn:x'/>")); err == nil || err.Error() != "long enough" {
		t.Errorf("%v", err)
	}

	// Many ask at once while one reads messages: every answer finds its request, every message the reader.
	const n = 40
	if err := c.Send([]byte("<message to='echo.localhost'><body>first</body></message>")); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			text := fmt.Sprint("text ", i)
			ans, err := c.Request(ctx, stanza.TypeGet, echoJID, []byte("<q xmlns='urn:x'>"+text+"</q>"))
			if err != nil || ans.Payload().Text() != text {
				t.Errorf("%s: %v, %v", text, ans, err)
			}
			if err := c.Send([]byte("<message to='echo.localhost'><body>" + text + "</body></message>")); err != nil {
				t.Error(err)
			}
		})
	}
	got := map[string]int{}
	for range 3 * (n + 1) {
		st, err := c.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got[st.Child("body").Text()]++
	}
	wg.Wait()
	for text, times := range got {
		if times != 3 || len(got) != n+1 {
			t.Errorf("%q came %d times, of %d texts", text, times, len(got))
		}
	}
}

// Others are told what this client is, and every request is answered.
func TestAnswers(t *testing.T) {
	w := start(t, nil)
	handled := 0
	asked := connect(t, w, server.NoTLS, func(cfg *dial.Config) {
		cfg.JID, cfg.Password = jid.MustParse("ann@localhost/desk"), "ann"
		cfg.Software = dial.Software{Name: "test", Version: "7", Features: []string{"urn:y"}}
		cfg.Handle = func(c *dial.Conn, st *stanza.Stanza) bool {
			if st.Payload().Space() != "urn:mine" {
				return false
			}
			handled++
			if err := c.Send(st.AppendResult(nil, []byte("<mine xmlns='urn:mine'/>"))); err != nil {
				t.Error(err)
			}
			return true
		}
	})
	ctx, cancel := context.WithCancelCause(deadline(t))
	done := make(chan error)
	go func() {
		_, err := asked.Next(ctx)
		done <- err
	}()
	c := connect(t, w, server.NoTLS, nil)
	for _, tt := range []struct{ typ, payload, want string }{
		{"get", dial.Ping, "<iq"},
		{"get", "<query xmlns='jabber:iq:version'/>", "<name>test</name><version>7</version>"},
		{"get", "<time xmlns='urn:xmpp:time'/>", "<utc>"},
		{"get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", "urn:y"},
		{"get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", "disco#items"},
		{"get", "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>", "item-not-found"},
		{"set", dial.Ping, "service-unavailable"},
		{"get", "<x xmlns='urn:x'/>", "service-unavailable"},
		{"set", "<x xmlns='urn:mine'/>", "urn:mine"},
	} {
		ans, err := c.Request(deadline(t), tt.typ, asked.JID(), []byte(tt.payload))
		got := fmt.Sprint(err)
		if err == nil {
			got = string(ans.Element.Raw())
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s %s: %s", tt.typ, tt.payload, got)
		}
	}
	if handled != 1 {
		t.Errorf("handled %d", handled)
	}
	enough := errors.New("enough")
	cancel(enough)
	if err := <-done; err != enough {
		t.Error(err)
	}
	ans, err := asked.Request(deadline(t), stanza.TypeGet, echoJID, []byte("<x xmlns='urn:x'/>")) // it goes on
	if err != nil || !ans.Payload().Is("urn:x", "x") {
		t.Error(err)
	}
	if _, err := disco.ParseInfo(ans.Payload()); err == nil {
		t.Error("an echo is no disco")
	}
}

// accounts passes on what is sent to a full address.
type accounts struct{ srv *server.Server }

func (a accounts) Stanza(p service.Peer, st *stanza.Stanza) { a.srv.Deliver(st) }
func (a accounts) Gone(service.Peer)                        {}
func (a accounts) Bound(*server.Session)                    {}

func TestOrder(t *testing.T) {
	w := start(t, nil)
	c := connect(t, w, server.NoTLS, nil)
	ctx := deadline(t)
	if err := c.Send([]byte("<message to='echo.localhost'><body>a</body></message>")); err != nil {
		t.Fatal(err)
	}
	// What comes while an answer is waited for comes later, in its order.
	if _, err := c.Request(ctx, stanza.TypeGet, echoJID, []byte("<x xmlns='urn:x'/>")); err != nil {
		t.Fatal(err)
	}
	if err := c.Send([]byte("<message to='echo.localhost'><body>b</body></message>")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 6 {
		st, err := c.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, st.Child("body").Text())
	}
	if want := []string{"a", "a", "a", "b", "b", "b"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
