package dial

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"tidings/xmpp/jid"
)

// names answers queries for SRV records over a connection of its own kind: each message is one read or write.
type names map[string][]dnsmessage.SRVResource

func (n names) resolver(t *testing.T) *net.Resolver {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 2048); ; {
			size, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			if answer := n.answer(b[:size]); answer != nil {
				pc.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

func (n names) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Header.Response, m.Additionals = true, nil
	found := n[q.Name.String()]
	if len(found) == 0 {
		m.Header.RCode = dnsmessage.RCodeNameError
	}
	for i := range found {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, Body: &found[i]})
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

func srv(priority, port uint16, host string) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Priority: priority, Port: port, Target: dnsmessage.MustNewName(host)}
}

func TestTargets(t *testing.T) {
	r := names{
		"_xmpp-client._tcp.example.org.":           {srv(20, 5222, "b.example.org."), srv(5, 5222, "a.example.org.")},
		"_xmpps-client._tcp.example.org.":          {srv(10, 443, "tls.example.org.")},
		"_xmpp-client._tcp.none.example.":          {srv(0, 0, ".")},
		"_xmpp-client._tcp.xn--bcher-kva.example.": {srv(0, 1, "books.example.")},
	}.resolver(t)
	for _, tt := range []struct {
		domain, address string
		direct          bool
		resume          *Session
		want            string
	}{
		{domain: "example.org", want: "a.example.org:5222 tls.example.org:443+ b.example.org:5222"},
		{domain: "example.org", direct: true, want: "tls.example.org:443+"},
		{domain: "example.org", address: "other.example.org", want: "other.example.org:5222"},
		{domain: "example.org", address: "other.example.org:99", direct: true, want: "other.example.org:99+"},
		{domain: "example.org", address: "::1", want: "[::1]:5222"},
		{domain: "example.org", address: "[::1]", want: "[::1]:5222"},
		{domain: "example.org", address: "[::1]:7", want: "[::1]:7"},
		{domain: "example.org", address: "b", resume: &Session{location: "here:1"}, want: "here:1 b:5222"},
		{domain: "bare.example", want: "bare.example:5222"},
		{domain: "bare.example", direct: true, want: "bare.example:5223+"},
		{domain: "none.example", want: "no XMPP service"},
		{domain: "bücher.example", want: "books.example:1"},
		{domain: "localhost", want: "localhost:5222"},
		{domain: "rooms.localhost", want: "rooms.localhost:5222"},
		{domain: "127.0.0.1", want: "127.0.0.1:5222"},
		{domain: "[::1]", want: "[::1]:5222"},
	} {
		j, err := jid.Parse(tt.domain)
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{JID: j, Address: tt.address, DirectTLS: tt.direct, Resume: tt.resume, Resolver: r}
		ts, err := cfg.targets(t.Context())
		var texts []string
		if err != nil {
			texts = append(texts, err.Error())
		}
		for _, tg := range ts {
			text := tg.address
			if tg.direct {
				text += "+"
			}
			texts = append(texts, text)
		}
		if got := strings.Join(texts, " "); got != tt.want && !(err != nil && strings.Contains(got, tt.want)) {
			t.Errorf("%s %s: %s, want %s", tt.domain, tt.address, got, tt.want)
		}
	}
}

// The targets are tried one after the other.
func TestConnect(t *testing.T) {
	r := names{"_xmpp-client._tcp.example.org.": {srv(5, 1, "a.example.org."), srv(20, 2, "b.example.org.")}}.resolver(t)
	ours, theirs := net.Pipe()
	defer theirs.Close()
	var tried []string
	dead := errors.New("nobody is there")
	cfg := Config{JID: jid.MustParse("example.org"), Resolver: r, DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		tried = append(tried, address)
		if len(tried) == 1 {
			return nil, dead
		}
		return ours, nil
	}}
	nc, secure, err := cfg.connect(t.Context())
	if nc != ours || secure || err != nil || !slices.Equal(tried, []string{"a.example.org:1", "b.example.org:2"}) {
		t.Errorf("%v %v %v after %q", nc, secure, err, tried)
	}
	cfg.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, dead }
	if _, _, err := cfg.connect(t.Context()); !errors.Is(err, dead) {
		t.Error(err)
	}
}
