package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/edge"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
)

// TestHeld: a client that reads many turns and acknowledges none is given no more until it does.
func TestHeld(t *testing.T) {
	w := start(t, nil)
	other := w.service("other.localhost")
	c, full := w.visit()
	c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/><presence to='pulse.localhost'/><presence to='other.localhost'/>")
	c.until("from='other.localhost' to='" + full + "'/>")
	n, stood := 0, false
	x := w.s.Session(jid.MustParse(full))
	for !stood && n < 2*maxRuns {
		n++
		w.pulse.beat(1)
		other.beat(1)
		done := make(chan struct{})
		x.enqueue(op{f: func() {
			x.link.conn.Do(func() { // behind the turns
				stood = x.sm.full
				close(done)
			})
		}})
		<-done
	}
	if !stood {
		t.Fatal("it never stands still")
	}
	w.pulse.beat(1)
	c.send("<a xmlns='urn:xmpp:sm:3' h='100'/>")
	c.send("<a xmlns='urn:xmpp:sm:3' h='%d'/>", maxRuns-2)
	c.until(fmt.Sprintf("from='pulse.localhost'><body>%d</body></message>", n+1))
}

// TestLimits of connections, sessions and flows.
func TestLimits(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *Options) {
		o.MaxResources, o.MaxHandshakes, o.MaxFlows, o.HandshakeTimeout = 1, 2, 1, 5*time.Second
	})
	first := w.login("alice", "a")
	c := w.dial(DirectTLS)
	c.plain("alice")
	c.send("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	c.until("<resource-constraint ")
	c.until("</iq>")
	silent := w.dial(NoTLS)
	for range 5 {
		nc, err := net.Dial("tcp", w.addrs[NoTLS])
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(patient))
		io.Copy(io.Discard, nc) // closed at once, or after the time that the first has used up
		nc.Close()
	}
	if s := silent.rest(); !strings.HasPrefix(s, "<?xml version='1.0'?><stream:stream ") || !strings.Contains(s, "<connection-timeout ") {
		t.Error(s)
	}
	if s := c.rest(); !strings.Contains(s, "<connection-timeout ") {
		t.Error(s)
	}
	st := w.s.Stats()
	if st.Closed[ReasonFull] == 0 || st.Closed[ReasonHandshake] < 2 {
		t.Errorf("%+v", st)
	}
	s := w.script()
	s.on(first, func(p service.Peer, _ *stanza.Stanza) {
		p.Attach(&beats{p: w.pulse, peer: p})
		p.Attach(&beats{p: w.pulse, peer: p})
	})
	first.until("<presence type='unavailable' from='pulse.localhost'")
	w.s.EndAccount("alice")
	if s := first.rest(); !strings.Contains(s, "<stream:error><not-authorized ") {
		t.Error(s)
	}
}

// TestSilentWebSocket: the handshake of HTTP is not enough.
func TestSilentWebSocket(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *Options) { o.HandshakeTimeout = 5 * time.Second })
	silent, slow := w.dial(webSocketMode), w.dial(webSocketMode)
	slow.open()
	for _, c := range []*client{silent, slow} {
		if s := c.rest(); !strings.Contains(s, "<connection-timeout ") {
			t.Error(s)
		}
	}
}

func TestALPN(t *testing.T) {
	w := start(t, nil)
	for _, tc := range []struct {
		offer []string
		ok    bool
	}{{nil, true}, {[]string{"xmpp-client"}, true}, {[]string{"http/1.1"}, false}} {
		conf := w.client.Clone()
		conf.NextProtos = tc.offer
		nc, err := tls.Dial("tcp", w.addrs[DirectTLS], conf)
		if (err == nil) != tc.ok {
			t.Errorf("%v: %v", tc.offer, err)
		}
		if err == nil {
			nc.Close()
		}
	}
}

func TestHostMeta(t *testing.T) {
	w := start(t, nil)
	get := func(path string) (string, http.Header) {
		resp, err := http.Get(w.http.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b), resp.Header
	}
	url := "ws" + strings.TrimPrefix(w.http.URL, "http") + "/xmpp-websocket"
	body, h := get("/.well-known/host-meta")
	if !strings.Contains(body, "<Link rel='urn:xmpp:alt-connections:websocket' href='"+url+"'/>") || h.Get("Access-Control-Allow-Origin") != "*" {
		t.Error(body, h)
	}
	body, h = get("/.well-known/host-meta.json")
	var meta struct{ Links []struct{ Rel, Href string } }
	if err := json.Unmarshal([]byte(body), &meta); err != nil || len(meta.Links) != 1 || meta.Links[0].Href != url || h.Get("Content-Type") != "application/json" {
		t.Error(body, h, err)
	}
	resp, err := http.Post(w.http.URL+"/.well-known/host-meta", "text/plain", nil)
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Error(resp, err)
	}
	resp.Body.Close()
}

// TestCompress: XEP-0138, off unless it is wanted.
func TestCompress(t *testing.T) {
	w := start(t, nil)
	c := w.dial(NoTLS)
	if f := c.anonymous(); strings.Contains(f, "compression") {
		t.Error(f)
	}
	c.send("<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>")
	c.until("<setup-failed/></failure>")

	w = start(t, func(o *Options) { o.Compress = true })
	c = w.dial(NoTLS)
	if f := c.anonymous(); !strings.Contains(f, "<method>zlib</method>") {
		t.Error(f)
	}
	c.send("<compress xmlns='http://jabber.org/protocol/compress'><method>lzw</method></compress>")
	c.until("<unsupported-method/></failure>")
	c.send("<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>")
	c.until(stream.Compressed)
	c.nc = stream.NewZlib(c.nc, nil)
	if f := c.open(); strings.Contains(f, "compression") || !strings.Contains(f, "bind") {
		t.Error(f)
	}
	c.bind("r")
	c.send("<presence to='pulse.localhost'/>")
	c.until("/>")
	w.pulse.beat(1000)
	c.until("<body>1000</body></message>")
	io.WriteString(c.nc, "</stream:stream>") // in two writes, of which the first may be enough
	c.rest()
}

// TestShutdown: flows are written to their end before the goodbye, and a negotiation is told too.
func TestShutdown(t *testing.T) {
	w := start(t, func(o *Options) {
		e, err := edge.New(edge.Options{})
		if err != nil {
			t.Fatal(err)
		}
		o.Edge = e
	})
	c, _ := w.visit()
	c.send("<presence to='pulse.localhost'/>")
	c.until("/>")
	waits, _ := w.visit()
	waits.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	waits.until("/>")
	waits.nc.Close()
	w.settle()
	early := w.dial(StartTLS)
	early.open()
	w.pulse.beat(100_000)
	var reading sync.WaitGroup
	reading.Go(func() {
		if s := c.rest(); !strings.Contains(s, "<body>100000</body>") || !strings.HasSuffix(s, string(tcpGoodbye)) {
			t.Errorf("%d bytes, %q", len(s), s[max(0, len(s)-300):])
		}
	})
	reading.Go(func() {
		if s := early.rest(); s != string(tcpGoodbye) {
			t.Error(s)
		}
	})
	w.s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := w.e.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	reading.Wait()
}
