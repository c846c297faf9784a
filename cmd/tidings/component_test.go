package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"tidings"
	"tidings/config"
	"tidings/journal"
	"tidings/xmpp/service"
	"tidings/xmpp/xmpptest"
)

const (
	nodesDomain = "pubsub.example.org"
	roomsDomain = "rooms.example.org"
)

// linked returns the configuration of a server that serves nodes and rooms over one link, and nothing else but HTTP.
func linked(t *testing.T, h *xmpptest.Host, data string) config.Config {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Defaults()
	cfg.Data, cfg.HTTP.Addr, cfg.UDP.Addr, cfg.IRC.Addr = data, "127.0.0.1:0", config.Off, config.Off
	cfg.XMPP.Addr, cfg.XMPP.WebSocket = config.Off, false
	cfg.Component = []config.Component{
		{Addr: h.Addr(), Domain: nodesDomain, Serves: config.ServesPubSub, SecretFile: secret, Host: "example.org", CreateNodes: true},
		{Domain: roomsDomain, Serves: config.ServesRooms, Over: nodesDomain, Host: "example.org"},
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func openServer(t *testing.T, cfg config.Config) (s *server, stop func()) {
	t.Helper()
	s, err := open(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	stop = func() {
		t.Helper()
		if !closed {
			closed = true
			if err := s.close(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// get returns what a server answers.
func get(t *testing.T, s *server, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + s.listener.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func componentsOf(t *testing.T, s *server) []componentStatus {
	t.Helper()
	var r struct {
		XMPP struct{ Components []componentStatus }
	}
	if err := json.Unmarshal([]byte(get(t, s, "/status")), &r); err != nil {
		t.Fatal(err)
	}
	return r.XMPP.Components
}

// say publishes an event with an item id.
func say(t *testing.T, s *server, id string) {
	t.Helper()
	if _, err := s.append(context.Background(), tidings.Event{Topic: "/news", ID: id, Time: time.Now(), ContentType: "text/plain", Payload: []byte(id)}); err != nil {
		t.Fatal(err)
	}
}

func subscribe(h *xmpptest.Host, id, who string) {
	bare, _, _ := strings.Cut(who, "/")
	h.Send(nodesDomain, fmt.Sprintf("<iq type='set' id='%s' from='%s' to='%s'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='/news' jid='%s'/></pubsub></iq>",
		id, who, nodesDomain, bare))
}

// Nodes and rooms go over one link; who has subscribed gets what was published while the program was not there.
func TestComponents(t *testing.T) {
	h, data := xmpptest.NewHost(t, "hush"), t.TempDir()
	cfg := linked(t, h, data)
	s, stop := openServer(t, cfg)
	if got := s.readyLine(); !strings.Contains(got, " components="+nodesDomain+","+roomsDomain+" ") || strings.Contains(got, "xmpp=") {
		t.Error(got)
	}
	say(t, s, "0")
	subscribe(h, "sub", "romeo@example.org/phone")
	h.Wait(nodesDomain, "id='sub'", "type='result'")
	say(t, s, "1")
	h.Wait(nodesDomain, "to='romeo@example.org'", "<item id='1'")
	h.Send(nodesDomain, `<presence from='romeo@example.org/phone' to='\2fnews@`+roomsDomain+`/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	h.Wait(nodesDomain, "<message", "@"+roomsDomain+"/rc'", "<subject>")
	st := componentsOf(t, s)
	if len(st) != 1 || !st[0].Connected || st[0].Domain != nodesDomain || st[0].Flows != 2 || len(st[0].Serves) != 2 ||
		st[0].Serves[0].PubSub.Accounts != 1 || st[0].Serves[1].Rooms.Occupants != 1 || st[0].WaitingForLease {
		t.Errorf("%+v", st)
	}
	metrics := get(t, s, "/metrics")
	for _, want := range []string{`tidings_xmpp_component_connected{domain="pubsub.example.org"} 1`, `tidings_xmpp_component_flows{domain="pubsub.example.org"} 2`} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	stop()
	h.Gone(nodesDomain)
	h.Wait(nodesDomain, "<presence", "type='unavailable'", "code='332'")
	h.Take(nodesDomain)

	// Another process publishes meanwhile.
	alone := cfg
	alone.Component = nil
	s, stop = openServer(t, alone)
	say(t, s, "2")
	say(t, s, "3")
	stop()
	s, stop = openServer(t, cfg)
	h.Wait(nodesDomain, "to='romeo@example.org'", "<item id='2'")
	say(t, s, "4")
	stop()
	h.Gone(nodesDomain)
	var ids []string
	for _, st := range h.Take(nodesDomain) {
		if _, rest, ok := strings.Cut(st, "<item id='"); ok {
			ids = append(ids, rest[:1])
		}
	}
	if strings.Join(ids, "") != "34" {
		t.Errorf("behind 2 there were %q", ids)
	}
}

// The other server does not speak for the accounts of this one.
func TestComponentBesideEmbedded(t *testing.T) {
	h := xmpptest.NewHost(t, "hush")
	cfg := linked(t, h, t.TempDir())
	cfg.XMPP.Addr, cfg.Domain = "127.0.0.1:0", "elsinore.lit"
	s, _ := openServer(t, cfg)
	if got := s.readyLine(); !strings.Contains(got, " xmpp=127.0.0.1:") {
		t.Error(got)
	}
	say(t, s, "0")
	subscribe(h, "sub", "hamlet@elsinore.lit/phone")
	h.Wait(nodesDomain, "id='sub'", "<forbidden")
	subscribe(h, "sub2", "romeo@example.org/phone")
	h.Wait(nodesDomain, "id='sub2'", "type='result'")
	if st := componentsOf(t, s); len(st) != 1 || st[0].Dropped[dropFrom] != 1 {
		t.Errorf("%+v", st)
	}
	if got := get(t, s, "/metrics"); !strings.Contains(got, `tidings_xmpp_component_dropped_total{domain="pubsub.example.org",reason="invalid-from"} 1`) {
		t.Error("the figure is missing")
	}
}

// Of two processes on one journal one has the link. The other takes over when it stops.
func TestComponentStandby(t *testing.T) {
	srv, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, MaxPayload: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server is not ready")
	}
	h := xmpptest.NewHost(t, "hush")
	cfg := linked(t, h, t.TempDir())
	cfg.NATSURL = srv.ClientURL()
	one, stop := openServer(t, cfg)
	h.Connected(nodesDomain)
	other := cfg
	other.Data = t.TempDir()
	two, _ := openServer(t, other)
	say(t, one, "0")
	subscribe(h, "sub", "romeo@example.org/phone")
	h.Wait(nodesDomain, "id='sub'", "type='result'")
	say(t, two, "1")
	h.Wait(nodesDomain, "to='romeo@example.org'", "<item id='1'")
	if a, b := componentsOf(t, one)[0], componentsOf(t, two)[0]; !a.Connected || b.Connected || !b.WaitingForLease || b.Flows != 0 {
		t.Errorf("the first %+v\nthe second %+v", a, b)
	}
	stop()
	h.Take(nodesDomain)
	say(t, two, "2")
	h.Wait(nodesDomain, "to='romeo@example.org'", "<item id='2'")
	if got := h.Take(nodesDomain); len(got) != 0 {
		t.Errorf("besides: %q", got)
	}
}

func TestComponentFiles(t *testing.T) {
	dir := t.TempDir()
	write := filesOf(t, dir)
	for _, tt := range []struct{ file, want, fails string }{
		{write("good", "hu sh\r\n", 0o600), "hu sh", ""},
		{write("read-only", "hush", 0o400), "hush", ""},
		{write("open", "hush", 0o644), "", "others than its owner may use the secret in it"},
		{write("empty", "\n", 0o600), "", "has no secret in it"},
		{write("long", strings.Repeat("x", 5000), 0o600), "", "has no secret in it"},
		{write("lines", "a\nb\n", 0o600), "", "has no secret in it"},
		{filepath.Join(dir, "none"), "", "no such file"},
	} {
		got, err := componentSecret(config.Component{Domain: nodesDomain, SecretFile: tt.file})
		if got != tt.want || (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%s: %q, %v", tt.file, got, err)
		}
	}
	if got, err := componentSecret(config.Component{Secret: "hush"}); got != "hush" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if c, err := componentTLS(config.Component{Addr: "127.0.0.1:1"}); c != nil || err != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := componentTLS(config.Component{Addr: "xmpp.example.org:1", TLS: true}); err != nil || c.ServerName != "xmpp.example.org" || c.RootCAs != nil {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := componentTLS(config.Component{Addr: "127.0.0.1:1", TLS: true, TLSName: "example.org"}); err != nil || c.ServerName != "example.org" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, file := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "good")} {
		if _, err := componentTLS(config.Component{Addr: "127.0.0.1:1", TLS: true, TLSCA: file}); err == nil {
			t.Errorf("%s has certificates", file)
		}
	}
}

func TestLinkPosition(t *testing.T) {
	ctx := context.Background()
	j := journal.NewMemory(journal.Options{})
	defer j.Close()
	bucket, err := j.Bucket(ctx, "links")
	if err != nil {
		t.Fatal(err)
	}
	p := linkPosition{bucket, "position:x", j}
	if m, ok, err := p.Load(ctx); ok || err != nil {
		t.Fatalf("%v, %t, %v", m, ok, err)
	}
	for range 3 {
		if _, err := j.Append(ctx, tidings.Event{Topic: "/x", Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	epoch := j.Head().Epoch
	at := func(offset uint64) service.Mark { return service.Mark{Epoch: epoch, Offset: offset} }
	for _, step := range []struct{ save, load service.Mark }{
		{at(2), at(2)},
		{at(1), at(2)}, // it never goes back
		{at(3).Plus(1), at(3)},
		{service.Mark{Epoch: epoch + 1, Offset: 1}, service.Mark{Epoch: epoch + 1, Offset: 1}},
		{at(2), at(2)},
	} {
		if err := p.Save(ctx, step.save); err != nil {
			t.Fatal(err)
		}
		if m, ok, err := p.Load(ctx); m != step.load || !ok || err != nil {
			t.Errorf("after %v: %v, %t, %v", step.save, m, ok, err)
		}
	}
	// What another process has appended is waited for.
	if err := p.Save(ctx, at(4)); err != nil {
		t.Fatal(err)
	}
	loaded := make(chan service.Mark)
	go func() {
		m, _, _ := p.Load(ctx)
		loaded <- m
	}()
	if _, err := j.Append(ctx, tidings.Event{Topic: "/x", Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if m := <-loaded; m != at(4) {
		t.Errorf("%v", m)
	}
	if err := bucket.Put(ctx, p.key, []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Load(ctx); err == nil {
		t.Error("nonsense is a position")
	}
}
