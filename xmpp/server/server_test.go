package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/edge"
	"tidings/xmpp/service"
	"tidings/xmpp/xmpptest"
)

// patient is how long a test waits for what has to come.
const patient = 30 * time.Second

// world is a server with a listener for each mode.
type world struct {
	t      testing.TB
	s      *Server
	e      *edge.Edge
	addrs  map[TLSMode]string
	client *tls.Config
	pulse  *pulse
	pulses []*pulse
	http   *httptest.Server
	conns  []net.Conn
	stop   func()
}

// start runs a server until the test ends.
func start(t testing.TB, change func(o *Options)) *world {
	t.Helper()
	server, client := xmpptest.Certificate(t)
	client.ServerName = "localhost"
	o := Options{Users: xmpptest.Users{}, Anonymous: true, TLS: server}
	if change != nil {
		change(&o)
	}
	e := o.Edge
	if e == nil {
		var err error
		if e, err = edge.New(edge.Options{}); err != nil {
			t.Fatal(err)
		}
		o.Edge = e
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, s: s, e: e, addrs: map[TLSMode]string{}, client: client}
	w.pulse = w.service("pulse.localhost")
	var stops []func()
	for _, mode := range []TLSMode{NoTLS, StartTLS, DirectTLS} {
		addr, stop := xmpptest.Serve(t, func(ln net.Listener) error { return s.Serve(ln, mode) }, s.Close)
		w.addrs[mode], stops = addr, append(stops, stop)
	}
	w.http = httptest.NewServer(w.mux())
	w.stop = sync.OnceFunc(func() {
		for _, stop := range stops {
			stop()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		e.Shutdown(ctx)
	})
	t.Cleanup(func() {
		for _, c := range w.conns {
			c.Close()
		}
		w.http.Close()
		w.stop()
		if st := s.Stats(); st.Sessions != 0 || st.Waiting != 0 || st.Flows != 0 || st.Handshakes != 0 || st.WebSocket != 0 || st.TLS != 0 || st.Resumable != 0 {
			t.Errorf("left behind: %+v", st)
		}
		for _, p := range w.pulses {
			p.empty(t)
		}
	})
	return w
}

// service adds one.
func (w *world) service(domain string) *pulse {
	p := &pulse{e: w.e, g: w.e.NewGroup(), name: domain, peers: map[service.Peer]service.Handle{}}
	if err := w.s.Handle(domain, p); err != nil {
		w.t.Fatal(err)
	}
	w.pulses = append(w.pulses, p)
	return p
}

// client is one that says what it is told.
type client struct {
	t  testing.TB
	nc net.Conn
	in []byte
}

func (w *world) dial(mode TLSMode) *client {
	w.t.Helper()
	if mode == webSocketMode {
		return w.dialWebSocket()
	}
	nc, err := net.Dial("tcp", w.addrs[mode])
	if err != nil {
		w.t.Fatal(err)
	}
	w.conns = append(w.conns, nc)
	c := &client{t: w.t, nc: nc}
	if mode == DirectTLS {
		c.tls(w.client)
	}
	return c
}

// dialFar connects from an address that the server takes for one on the Internet.
func (w *world) dialFar() *client {
	a, b := net.Pipe()
	w.conns = append(w.conns, a)
	w.s.handshakes.Add(1)
	w.s.running.Go(func() {
		defer w.s.handshakes.Add(-1)
		w.s.receive(farConn{b}, StartTLS)
	})
	return &client{t: w.t, nc: a}
}

type farConn struct{ net.Conn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5222} }

func (c *client) tls(conf *tls.Config) {
	c.t.Helper()
	tc := tls.Client(c.nc, conf)
	tc.SetDeadline(time.Now().Add(patient))
	if err := tc.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	c.nc = tc
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	c.nc.SetWriteDeadline(time.Now().Add(patient))
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	if _, err := io.WriteString(c.nc, format); err != nil {
		c.t.Fatal(err)
	}
}

// until reads up to and with end, and returns what it read.
func (c *client) until(end string) string {
	c.t.Helper()
	s, err := c.read(end)
	if err != nil {
		c.t.Fatalf("waiting for %q: %v after %.2000q", end, err, s)
	}
	return s
}

func (c *client) read(end string) (string, error) {
	buf := make([]byte, 16<<10)
	for {
		if i := bytes.Index(c.in, []byte(end)); i >= 0 && end != "" {
			s := string(c.in[:i+len(end)])
			c.in = c.in[i+len(end):]
			return s, nil
		}
		c.nc.SetReadDeadline(time.Now().Add(patient))
		n, err := c.nc.Read(buf)
		c.in = append(c.in, buf[:n]...)
		if err != nil && !bytes.Contains(c.in, []byte(end)) || err != nil && end == "" {
			s := string(c.in)
			c.in = nil
			return s, err
		}
	}
}

// rest reads to the end of the connection.
func (c *client) rest() string {
	c.t.Helper()
	s, err := c.read("")
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatalf("the connection is open after %.2000q", s)
	}
	return s
}

// expect reads up to the end of want and fails if that is not all that came.
func (c *client) expect(want string) {
	c.t.Helper()
	if got := c.until(want[len(want)-1:]); got != want {
		for len(got) < len(want) && strings.HasPrefix(want, got) {
			got += c.until(want[len(want)-1:])
		}
		if got != want {
			c.t.Fatalf("got  %q\nwant %q", got, want)
		}
	}
}

const header = "<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"

func (c *client) open() string {
	c.t.Helper()
	c.send(header)
	return c.until("</stream:features>")
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// anonymous logs in as nobody in particular.
func (c *client) anonymous() string {
	c.t.Helper()
	c.open()
	c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>")
	c.until("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	return c.open()
}

// plain logs in over TLS.
func (c *client) plain(user string) string {
	c.t.Helper()
	c.open()
	c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>", b64("\x00"+user+"\x00"+user))
	c.until("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
	return c.open()
}

// bind binds a resource and returns the full JID.
func (c *client) bind(resource string) string {
	c.t.Helper()
	c.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>%s</resource></bind></iq>", resource)
	s := c.until("</iq>")
	_, s, _ = strings.Cut(s, "<jid>")
	s, _, ok := strings.Cut(s, "</jid>")
	if !ok {
		c.t.Fatal("no JID")
	}
	return s
}

// login is a session of an account, over TLS.
func (w *world) login(user, resource string) *client {
	w.t.Helper()
	c := w.dial(DirectTLS)
	c.plain(user)
	c.bind(resource)
	return c
}

// visit is an anonymous session without TLS.
func (w *world) visit() (c *client, full string) {
	w.t.Helper()
	c = w.dial(NoTLS)
	c.anonymous()
	return c, c.bind("r")
}

// TestExchange is a first look at most of it.
func TestExchange(t *testing.T) {
	w := start(t, nil)
	c, full := w.visit()
	c.send("<presence to='pulse.localhost'/>")
	c.expect("<presence from='pulse.localhost' to='" + full + "'/>")
	w.pulse.beat(2)
	c.expect("<message to='" + full + "' from='pulse.localhost'><body>1</body></message><message to='" + full + "' from='pulse.localhost'><body>2</body></message>")
	c.send("<iq type='get' id='1' to='pulse.localhost'><x xmlns='y'/></iq>")
	c.expect("<iq from='pulse.localhost' to='" + full + "' type='result' id='1'/>")
	c.send("<iq type='get' id='1' to='elsewhere'><x xmlns='y'/></iq>")
	c.until("remote-server-not-found")
	c.until("</iq>")
	c.send("</stream:stream>")
	if s := c.rest(); s != "</stream:stream>" {
		t.Fatal(s)
	}
	l := w.login("alice", "home")
	l.send("<message to='alice@localhost/home'><body>x</body></message>")
	l.expect("<message from='alice@localhost/home' to='alice@localhost/home'><body>x</body></message>")
}
