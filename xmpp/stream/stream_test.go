package stream

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
	"tidings/xmpp/xmlstream/xmlstreamtest"
)

// header parses a header as each framing has it: for a stream without what comes before its start tag, which the scanner takes.
func header(t testing.TB, s string) (Header, error) {
	t.Helper()
	var sc xmlstream.Scanner
	sc.Feed([]byte(s))
	kind, raw, err := sc.Next()
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	var d xmlstream.Document
	if kind != xmlstream.Open {
		t.Fatalf("%s: the scanner says %v", s, kind)
	}
	el, ctx, err := d.ParseHeader(raw)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return ParseHeader(el, ctx)
}

var sameJID = cmp.Comparer(func(a, b jid.JID) bool { return a == b })

func TestHeader(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    Header
		want string
	}{
		{"a client's", Header{Space: stanza.NSClient, From: jid.MustParse("juliet@im.example.com"), To: jid.MustParse("im.example.com"), Lang: "en", Major: 1},
			`<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='juliet@im.example.com' to='im.example.com' version='1.0' xml:lang='en'>`},
		{"a server's", Header{Space: stanza.NSClient, From: jid.MustParse("im.example.com"), ID: "++TR84Sm6A3hnt3Q065SnAbbk3Y=", Lang: "en", Major: 1},
			`<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='im.example.com' id='++TR84Sm6A3hnt3Q065SnAbbk3Y=' version='1.0' xml:lang='en'>`},
		{"a component's", Header{Space: stanza.NSComponent, To: jid.MustParse("plays.shakespeare.lit")},
			`<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='plays.shakespeare.lit'>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(tc.h.Append(nil)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			got, err := header(t, tc.want)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.h, got, sameJID); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestHeaderOverWebSocket(t *testing.T) {
	h := Header{Framing: WebSocket, Space: stanza.NSClient, To: jid.MustParse("example.com"), Lang: "en", Major: 1}
	const want = `<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.com' version='1.0' xml:lang='en'/>`
	if got := string(h.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	el, err := new(xmlstream.Document).Parse([]byte(want), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseHeader(el, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h, got, sameJID); d != "" {
		t.Error(d)
	}
}

func TestHeaderErrors(t *testing.T) {
	const stream = "xmlns:stream='http://etherx.jabber.org/streams'"
	for _, tc := range []struct{ name, in, want string }{
		{"no content namespace", "<stream:stream " + stream + ">", "invalid-namespace"},
		{"a server's", "<stream:stream xmlns='jabber:server' " + stream + ">", "invalid-namespace"},
		{"another streams namespace", "<stream xmlns='jabber:client'>", "invalid-namespace"},
		{"no stream", "<html xmlns='jabber:client'>", "bad-format"},
		{"to", "<stream:stream xmlns='jabber:client' to='a@@b' " + stream + ">", "improper-addressing"},
		{"from", "<stream:stream xmlns='jabber:client' from='@b' " + stream + ">", "improper-addressing"},
		{"version", "<stream:stream xmlns='jabber:client' version='one' " + stream + ">", "unsupported-version"},
		{"major only", "<stream:stream xmlns='jabber:client' version='1' " + stream + ">", "unsupported-version"},
		{"too large", "<stream:stream xmlns='jabber:client' version='1.70000' " + stream + ">", "unsupported-version"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := header(t, tc.in)
			var e *Error
			if !errors.As(err, &e) || e.Condition != tc.want {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
	// Another prefix says the same; what was later than 1.0 is for the server to answer.
	if h, err := header(t, "<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' version='1.12'>"); err != nil || h.Major != 1 || h.Minor != 12 {
		t.Error(h, err)
	}
}

func TestClose(t *testing.T) {
	if got := string(AppendClose(nil, TCP)); got != "</stream:stream>" {
		t.Error(got)
	}
	if uri, ok := IsClose(xmlstreamtest.Element(t, string(AppendClose(nil, WebSocket)))); uri != "" || !ok {
		t.Error(uri, ok)
	}
	if uri, ok := IsClose(xmlstreamtest.Element(t, "<close xmlns='"+NSFraming+"' see-other-uri='wss://example.net/xmpp'/>")); uri != "wss://example.net/xmpp" || !ok {
		t.Error(uri, ok)
	}
	if _, ok := IsClose(xmlstreamtest.Element(t, "<close/>")); ok {
		t.Error("another element closes the stream")
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if seen[id] || len(id) < 26 {
			t.Fatal(id)
		}
		seen[id] = true
	}
}

func TestErrors(t *testing.T) {
	for _, c := range conditions {
		for _, f := range []Framing{TCP, WebSocket} {
			e := NewError(c, "why <not>")
			e.Space, e.Name, e.Attrs = "urn:example", "more", []string{"a", "'"}
			if c == "see-other-host" {
				e.Host = "[2001:41D0:1:A49b::1]:9222"
			}
			ctx := xmlstreamtest.Client
			if f == WebSocket {
				ctx = nil
			}
			el, err := new(xmlstream.Document).Parse(e.Append(nil, f), ctx)
			if err != nil {
				t.Fatal(err)
			}
			if !IsError(el) {
				t.Fatalf("%s is no stream error", el.Raw())
			}
			want := *e
			want.Lang = "en"
			if d := cmp.Diff(&want, ParseError(el)); d != "" {
				t.Error(d)
			}
		}
	}
	if e := ParseError(xmlstreamtest.Element(t, `<stream:error><xml-not-well-formed xmlns='`+NSErrors+`'/></stream:error>`)); e.Condition != "undefined-condition" {
		t.Error(e)
	}
	if got := NewError("reset", "soon").Error(); got != "stream error reset: soon" {
		t.Error(got)
	}
}

func TestAsError(t *testing.T) {
	var d xmlstream.Document
	_, err := d.Parse([]byte("<!DOCTYPE x>"), nil)
	if e := AsError(fmt.Errorf("reading: %w", err)); e.Condition != "restricted-xml" || e.Text == "" {
		t.Error(e)
	}
	if e := AsError(fmt.Errorf("x: %w", NewError("conflict"))); e.Condition != "conflict" {
		t.Error(e)
	}
	if e := AsError(errors.New("secret")); e.Condition != "internal-server-error" || e.Text != "" {
		t.Error(e)
	}
	for _, c := range []string{xmlstream.BadFormat, xmlstream.BadNamespacePrefix, xmlstream.NotWellFormed, xmlstream.PolicyViolation, xmlstream.RestrictedXML, xmlstream.UnsupportedEncoding} {
		if find(c) != c {
			t.Errorf("the condition %s is not known", c)
		}
	}
}

func TestFeatures(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    Features
		want string
	}{
		{"before TLS", Features{StartTLS: true, StartTLSRequired: true},
			`<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>`},
		{"before authentication", Features{Mechanisms: []string{"SCRAM-SHA-256", "PLAIN"}, Bindings: []string{"tls-exporter"}, Register: true},
			`<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism><mechanism>PLAIN</mechanism></mechanisms><sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding><register xmlns='http://jabber.org/features/iq-register'/></stream:features>`},
		{"behind authentication", Features{Compression: []string{"zlib"}, Bind: true, Session: true, SM: true, RosterVer: true, PreApproval: true, CSI: true, Caps: disco.Caps{Hash: "sha-1", Node: "urn:n", Ver: "v="}},
			`<stream:features><compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session><sm xmlns='urn:xmpp:sm:3'/><ver xmlns='urn:xmpp:features:rosterver'/><sub xmlns='urn:xmpp:features:pre-approval'/><csi xmlns='urn:xmpp:csi:0'/><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:n' ver='v='/></stream:features>`},
		{"none", Features{}, `<stream:features></stream:features>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(tc.f.Append(nil, TCP)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			for f, ctx := range map[Framing]*xmlstream.Context{TCP: xmlstreamtest.Client, WebSocket: nil} {
				el, err := new(xmlstream.Document).Parse(tc.f.Append(nil, f), ctx)
				if err != nil {
					t.Fatal(err)
				}
				if !IsFeatures(el) {
					t.Fatalf("%s are no features", el.Raw())
				}
				if d := cmp.Diff(tc.f, ParseFeatures(el)); d != "" {
					t.Error(d)
				}
			}
		})
	}
	if f := ParseFeatures(xmlstreamtest.Element(t, `<stream:features><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/><bind/></stream:features>`)); !f.SessionRequired || f.Bind {
		t.Errorf("%+v", f)
	}
}

func TestBind(t *testing.T) {
	for _, resource := range []string{"", "balcony", "a<b&'"} {
		got, ok := ParseBind(xmlstreamtest.Element(t, string(AppendBind(nil, resource))))
		if got != resource || !ok {
			t.Errorf("%q, %v", got, ok)
		}
	}
	if _, ok := ParseBind(xmlstreamtest.Element(t, "<bind/>")); ok {
		t.Error("an element of another namespace binds")
	}
	want := jid.MustParse("juliet@im.example.com/a<b")
	if got, err := ParseBound(xmlstreamtest.Element(t, string(AppendBound(nil, want)))); got != want || err != nil {
		t.Error(got, err)
	}
	if _, err := ParseBound(xmlstreamtest.Element(t, "<bind xmlns='"+NSBind+"'/>")); err == nil {
		t.Error("no address is an address")
	}
}

// FuzzHeader parses any start tag; a header that is accepted says the same when it is written and parsed again.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{
		"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' from='a@b' to='b' version='1.0' xml:lang='en' id='x'>",
		"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='p.b'>",
		"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='@' version='x'>",
		"<flash:stream xmlns:flash='http://www.jabber.com/streams/flash'>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		read := func(s []byte) (Header, bool) {
			var sc xmlstream.Scanner
			sc.Feed(s)
			kind, raw, err := sc.Next()
			if err != nil || kind != xmlstream.Open {
				return Header{}, false
			}
			el, ctx, err := new(xmlstream.Document).ParseHeader(raw)
			if err != nil {
				return Header{}, false
			}
			h, err := ParseHeader(el, ctx)
			return h, err == nil
		}
		h, ok := read([]byte(s))
		if !ok {
			return
		}
		again, ok := read(h.Append(nil))
		if !ok || again != h {
			t.Fatalf("%s was read as %+v and then as %+v", s, h, again)
		}
	})
}

// FuzzElements parses any element as each of those that a stream has beside stanzas.
func FuzzElements(f *testing.F) {
	for _, s := range []string{
		"<enable xmlns='urn:xmpp:sm:3' resume='true' max='60'/>", "<enabled xmlns='urn:xmpp:sm:3' id='x' location='h:1'/>",
		"<resume xmlns='urn:xmpp:sm:3' previd='x' h='3'/>", "<failed xmlns='urn:xmpp:sm:3' h='3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
		"<a xmlns='urn:xmpp:sm:3' h='4294967295'/>", "<r xmlns='urn:xmpp:sm:3'/>",
		"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>t</text></stream:error>",
		"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>",
		"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>x</resource></bind>", "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var d xmlstream.Document
		el, err := d.Parse([]byte(s), xmlstreamtest.Client)
		if err != nil {
			return
		}
		if sm, err := ParseSM(el); err == nil {
			again, err := ParseSM(xmlstreamtest.Element(t, string(sm.Append(nil))))
			if err != nil || again != sm {
				t.Fatalf("%s was read as %+v and then as %+v: %v", s, sm, again, err)
			}
		}
		ParseFeatures(el)
		ParseBind(el)
		ParseBound(el)
		ParseCompress(el)
		e := ParseError(el)
		if e.Name == "" { // else its names are those of the peer, which are not written
			again := ParseError(xmlstreamtest.Element(t, string(e.Append(nil, TCP))))
			if again.Condition != e.Condition || again.Text != e.Text || again.Host != e.Host {
				t.Fatalf("%s was read as %+v and then as %+v", s, e, again)
			}
		}
	})
}
