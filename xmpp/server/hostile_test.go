package server

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"tidings/edge"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// hostile is what is sent to a server that has done nothing to deserve it.
var hostile = []struct {
	name, send string
	want       string // the condition of the stream error
}{
	{"billion laughs", "<!DOCTYPE lolz [<!ENTITY lol 'lol'><!ENTITY lol2 '&lol;&lol;&lol;'>]>", "restricted-xml"},
	{"entity", "<message><body>&lol;</body></message>", "restricted-xml"},
	{"attributes", "<message " + manyAttributes() + "/>", "policy-violation"},
	{"levels", strings.Repeat("<a>", 10_000), "policy-violation"},
	{"stanza without end", "<message><body>" + strings.Repeat("a", 1<<20), "policy-violation"},
	{"name without end", "<" + strings.Repeat("a", 1<<20), "policy-violation"},
	{"value without end", "<message to='" + strings.Repeat("a", 1<<20), "policy-violation"},
	{"UTF-8", "<message><body>\xff\xfe</body></message>", "not-well-formed"},
	{"surrogate", "<message><body>\xed\xa0\x80</body></message>", "not-well-formed"},
	{"NUL", "<message><body>\x00</body></message>", "not-well-formed"},
	{"NUL by reference", "<message><body>&#0;</body></message>", "not-well-formed"},
	{"tags that do not match", "<message><body></message></body>", "not-well-formed"},
	{"attribute twice", "<message to='a' to='b'/>", "not-well-formed"},
	{"prefix", "<a:message/>", "bad-namespace-prefix"},
	{"namespace", "<message xmlns='urn:unknown'/>", "unsupported-stanza-type"},
	{"root again", header[len("<?xml version='1.0'?>"):] + "</stream:stream>", "unsupported-stanza-type"},
	{"declaration", "<?xml version='1.0'?>", "restricted-xml"},
	{"text", "hello", "bad-format"},
}

func manyAttributes() string {
	var b strings.Builder
	for i := 0; b.Len() < 1<<20; i++ {
		fmt.Fprintf(&b, "a%d='' ", i)
	}
	return b.String()
}

// TestHostile sends each before and behind the login. Nobody else notices.
func TestHostile(t *testing.T) {
	w := start(t, nil)
	other, full := w.visit()
	other.send("<presence to='pulse.localhost'/>")
	other.until("/>")
	n := 0
	for _, tc := range hostile {
		for _, stage := range []string{"early", "authenticated", "session", "bytes"} {
			t.Run(tc.name+"/"+stage, func(t *testing.T) {
				c := w.dial(NoTLS)
				switch stage {
				case "early":
					c.open()
				case "authenticated":
					c.anonymous()
				default:
					c.anonymous()
					c.bind("r")
				}
				go func() { // the server need not read all of it
					c.nc.SetWriteDeadline(time.Now().Add(patient))
					if stage == "bytes" {
						s := tc.send[:min(len(tc.send), 2000)]
						for i := range s {
							c.nc.Write([]byte{s[i]})
						}
						if len(s) < len(tc.send) {
							c.nc.Write([]byte(tc.send[len(s):]))
						}
						return
					}
					c.nc.Write([]byte(tc.send))
				}()
				got := c.rest()
				if !strings.Contains(got, "<stream:error><"+tc.want+" ") || !strings.HasSuffix(got, "</stream:stream>") {
					t.Errorf("got %.1000q, want %s", got, tc.want)
				}
			})
			n++
			w.pulse.beat(1)
			other.expect(fmt.Sprintf("<message to='%s' from='pulse.localhost'><body>%d</body></message>", full, n))
		}
	}
}

// TestNeverReads has clients ask and never read: the connection is closed, and a flow costs them nothing but their place.
func TestNeverReads(t *testing.T) {
	for _, mode := range []TLSMode{NoTLS, DirectTLS} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			t.Parallel()
			w := start(t, func(o *Options) { o.Edge = slow(t) })
			c := w.dial(mode)
			c.anonymous()
			c.bind("r")
			c.nc.SetWriteDeadline(time.Now().Add(patient))
			block := []byte(strings.Repeat("<message to='pulse.localhost' id='x'><body>y</body></message>", 100))
			for range 100_000 {
				if _, err := c.nc.Write(block); err != nil {
					if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
						t.Fatal("the server neither reads nor closes")
					}
					return
				}
			}
			t.Error("the server goes on")
		})
	}
}

// slow returns an edge that waits a short time for peers that do not read.
func slow(t *testing.T) *edge.Edge {
	e, err := edge.New(edge.Options{WriteTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestNeverAcknowledges has clients that read and do not acknowledge.
func TestNeverAcknowledges(t *testing.T) {
	w := start(t, func(o *Options) { o.MaxUnacked = 4096 })
	c, _ := w.visit()
	c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	c.until("/>")
	c.send(strings.Repeat("<message to='pulse.localhost' id='x'/>", 200))
	if s := c.rest(); !strings.Contains(s, "<stream:error><policy-violation ") || strings.Count(s, "<r ") != 1 && strings.Count(s, "<message") > 64 {
		t.Errorf("%s", s)
	}
	if st := w.s.Stats(); st.Waiting != 0 {
		t.Errorf("%+v", st)
	}
}

// TestWaitsTooLong fills a session that waits: it ends, and what it never acknowledged goes back.
func TestWaitsTooLong(t *testing.T) {
	w := start(t, func(o *Options) { o.MaxUnacked = 10_000 })
	a, b := w.login("alice", "a"), w.login("bob", "b")
	a.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	a.until("/>")
	a.nc.Close()
	w.settle()
	b.send("<message id='first' type='chat' to='alice@localhost/a'><body>x</body></message><iq type='get' id='iq' to='alice@localhost/a'><q xmlns='q'/></iq><presence to='alice@localhost/a'/>")
	b.send(strings.Repeat("<message id='more' to='alice@localhost/a'><body>"+strings.Repeat("y", 1000)+"</body></message>", 20))
	got := ""
	for range 22 { // those behind its end are answered at once
		got += b.until("</error>")
	}
	for _, want := range []string{
		"<message from='alice@localhost/a' to='bob@localhost/b' type='error' id='first'><body>x</body><error type='wait'><recipient-unavailable ",
		"<iq from='alice@localhost/a' to='bob@localhost/b' type='error' id='iq'><q xmlns='q'/><error type='wait'><recipient-unavailable ",
	} {
		if strings.Count(got, want) != 1 {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if n := strings.Count(got, "id='more'"); n != 20 {
		t.Errorf("%d of 20 are returned", n)
	}
	if st := w.s.Stats(); st.Closed[ReasonOverflow] != 1 {
		t.Errorf("%+v", st)
	}
}

// parting is a service that sends something to whoever is gone.
type parting struct{ last string }

func (p parting) Stanza(service.Peer, *stanza.Stanza) {}
func (p parting) Gone(to service.Peer)                { to.Send([]byte(p.last)) }

// What comes for a session while it ends goes back to who sent it; what comes later is not taken, and Deliver says so.
func TestSendBehindTheEnd(t *testing.T) {
	w := start(t, nil)
	if err := w.s.Handle("parting.localhost", parting{"<message from='bob@localhost/b' to='alice@localhost/a' id='last' type='chat'><body>x</body></message>"}); err != nil {
		t.Fatal(err)
	}
	a, b := w.login("alice", "a"), w.login("bob", "b")
	x := w.s.Session(jid.MustParse("alice@localhost/a"))
	a.send("<message to='parting.localhost'/></stream:stream>")
	a.rest()
	b.until("<message from='alice@localhost/a' to='bob@localhost/b' type='error' id='last'><body>x</body><error type='wait'><recipient-unavailable ")
	if err := x.gone(t.Context(), patient, "", func() bool { return x.over }); err != nil {
		t.Fatal(err)
	}
	if x.enqueue(op{b: []byte("<message/>")}) {
		t.Error("a session that is over takes a stanza")
	}
	if st := w.s.Stats(); st.Dropped != 1 || st.Bounced != 1 {
		t.Errorf("%+v", st)
	}
}

// FuzzStream sends anything behind the login. The server answers with something, and serves the next.
func FuzzStream(f *testing.F) {
	for _, tc := range hostile {
		if len(tc.send) < 1000 {
			f.Add([]byte(tc.send))
		}
	}
	for _, s := range []string{"<presence to='pulse.localhost'/>", "<enable xmlns='urn:xmpp:sm:3' resume='true'/><r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='0'/>",
		"<iq type='get' id='1' to='localhost'><a xmlns='b'/></iq>", "<active xmlns='urn:xmpp:csi:0'/>", "<message to='x@localhost/y' type='chat'><body>&lt;</body></message>"} {
		f.Add([]byte(s))
	}
	w := start(f, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		w.t = t
		c := w.dial(NoTLS)
		w.conns = w.conns[:0]
		defer c.nc.Close()
		c.anonymous()
		c.bind("")
		c.nc.Write(b)
		c.nc.Write([]byte("</stream:stream>"))
		c.nc.(*net.TCPConn).CloseWrite() // a tag or a value that does not end has taken the end of the stream
		c.rest()
	})
}

// TestCutStanza cuts what services may write.
func TestCutStanza(t *testing.T) {
	pieces := []string{"<a/>", "<a b='>'/>", "<a><b/></a>", "<a b='/>'><a>x</a>&gt;</a>", "<a><![CDATA[</a><a>]]></a>", `<iq to="'/>"><x y='"'/></iq>`, "<a></a>"}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var want []string
		var all []byte
		for range rnd.IntN(6) {
			p := pieces[rnd.IntN(len(pieces))]
			want = append(want, p)
			all = append(all, p...)
		}
		for _, p := range want {
			first, rest := cutStanza(all)
			if string(first) != p {
				t.Fatalf("%q begins with %q", all, first)
			}
			all = rest
		}
		if len(all) > 0 {
			t.Fatalf("left: %q", all)
		}
	}
	for _, p := range []string{"<", "<a", "<a><![CDATA[", "x", "</a>", "<a>"} { // what no service writes ends somewhere
		if first, rest := cutStanza([]byte(p)); len(first) == 0 || len(rest) > 0 {
			t.Errorf("%q: %q %q", p, first, rest)
		}
	}
}

func TestAppendClientText(t *testing.T) {
	for in, want := range map[string]string{
		"<iq/>":                         "<iq xmlns='jabber:client'/>",
		"<iq>x</iq>":                    "<iq xmlns='jabber:client'>x</iq>",
		"<iq a='b'><c xmlns='d'/></iq>": "<iq xmlns='jabber:client' a='b'><c xmlns='d'/></iq>",
		"<iq xmlns='jabber:client'/>":   "<iq xmlns='jabber:client'/>",
	} {
		if got := appendClientText(nil, []byte(in)); string(got) != string(appendText(nil, []byte(want))) {
			t.Errorf("%s: %q", in, got)
		}
	}
	for _, n := range []int{0, 125, 126, 65535, 65536} {
		if got := appendText(nil, make([]byte, n)); len(got) != n+textHeaderLen(n) {
			t.Errorf("%d: %d bytes", n, len(got))
		}
	}
}
