package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/access"
	"tidings/config"
	"tidings/hub"
	"tidings/internal/lease"
	"tidings/journal"
	"tidings/outlet/xmpp/bridge"
	xmppdial "tidings/xmpp/dial"
	"tidings/xmpp/jid"
)

func TestBridgeOptions(t *testing.T) {
	dir := t.TempDir()
	write := filesOf(t, dir)
	good := config.Bridge{JID: "bot@example.org", Name: "b", Nick: "n", Rate: 2, Window: 3, MaxAge: config.Duration(time.Hour), MaxStanza: 4096,
		PasswordFile: write("password", "pa ss\r\n", 0o600), Addr: "x:1", TLSName: "y", UnsafePlaintext: true, DirectTLS: true,
		Rooms: []config.BridgeRoom{{Room: "r@c.example.org", Topics: []string{"/x"}, Filter: "bot == false", Password: "secret"}}}
	o, err := bridgeOptions(good)
	if err != nil {
		t.Fatal(err)
	}
	d := o.Dial
	if o.Name != "b" || o.Nick != "n" || o.Rate != 2 || o.Window != 3 || o.MaxAge != time.Hour || o.MaxStanza != 4096 ||
		d.Password != "pa ss" || d.Address != "x:1" || !d.Plaintext || !d.DirectTLS || d.TLS.ServerName != "y" || d.TLS.RootCAs != nil || d.JID.String() != "bot@example.org" ||
		len(o.Rooms) != 1 || o.Rooms[0].Filter == nil || o.Rooms[0].Password != "secret" || o.Rooms[0].Address != "r@c.example.org" || o.Rooms[0].Patterns[0].String() != "/x" {
		t.Errorf("%+v", o)
	}
	for _, tt := range []struct {
		name   string
		change func(*config.Bridge)
		want   string
	}{
		{"no file of the password", func(b *config.Bridge) { b.PasswordFile = dir + "/none" }, "no such file"},
		{"a password for all", func(b *config.Bridge) { b.PasswordFile = write("open", "p", 0o644) }, "others than its owner"},
		{"no password", func(b *config.Bridge) { b.PasswordFile = write("empty", "\n", 0o600) }, "the password is empty"},
		{"no file of certificates", func(b *config.Bridge) { b.TLSCA = dir + "/none" }, "no such file"},
		{"no certificates", func(b *config.Bridge) { b.TLSCA = b.PasswordFile }, "has no certificate"},
		{"no address", func(b *config.Bridge) { b.JID = "a@b@c d" }, "jid"},
		{"no filter", func(b *config.Bridge) {
			b.Rooms = []config.BridgeRoom{{Room: "r@c", Topics: []string{"/x"}, Filter: "bot =="}}
		}, "the filter of r@c"},
		{"no pattern", func(b *config.Bridge) { b.Rooms = []config.BridgeRoom{{Room: "r@c", Topics: []string{"x"}}} }, "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			if _, err := bridgeOptions(c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// A topic that is private is an error of the start, with what to do about it.
func TestBridgePrivate(t *testing.T) {
	cfg := config.Defaults()
	cfg.Data, cfg.HTTP.Addr, cfg.UDP.Addr, cfg.IRC.Addr, cfg.XMPP.Addr, cfg.Durability = t.TempDir(), "127.0.0.1:0", config.Off, config.Off, config.Off, "interval"
	cfg.Access.Private = []string{"/staff"}
	cfg.Bridge = []config.Bridge{{JID: "bot@example.org", Password: "p", Name: "b", Nick: "n", Addr: "127.0.0.1:1",
		Rooms: []config.BridgeRoom{{Room: "r@c.example.org", Topics: []string{"/staff"}}}}}
	s, err := open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err == nil {
		s.close()
		t.Fatal("it has started")
	}
	if h, ok := errors.AsType[hintError](err); !ok || !strings.Contains(h.hint, "[[bridge.rooms]]") {
		t.Errorf("%v", err)
	}
	cfg.Access.Private = nil
	if s, err = open(t.Context(), cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if r := s.report(); len(r.Bridges) != 1 || r.Bridges[0].Name != "b" || r.Bridges[0].Connected || r.Bridges[0].Rooms[0].State != "out" {
		t.Errorf("%+v", r.Bridges)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// Of two processes on one journal one has the bridge; the other takes over when that ends.
func TestBridgeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := journal.NewMemory(journal.Options{TrimInterval: -1})
		defer j.Close()
		bucket := func(name string) journal.Bucket {
			b, err := j.Bucket(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		policy, err := access.Open(t.Context(), bucket("tokens"), access.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer policy.Close()
		h := hub.New(j, policy, hub.Options{})
		defer h.Close()
		dials := 0
		o := bridge.Options{Hub: h, Store: bucket("bridges"), Name: "b", Log: slog.New(slog.DiscardHandler),
			Rooms: []bridge.Room{{Address: "r@c.example.org", Patterns: []tidings.Pattern{tidings.MustPattern("/x")}}},
			Dial: xmppdial.Config{JID: jid.MustParse("bot@example.org"), Address: "x", DialContext: func(context.Context, string, string) (net.Conn, error) {
				dials++ // one process at a time
				return nil, errors.New("nobody is there")
			}}}
		var processes []*serverBridge
		for range 3 {
			b := &serverBridge{name: "b"}
			b.begin(t.Context(), lease.New(bucket("leases"), "b"), o)
			processes = append(processes, b)
			time.Sleep(time.Minute) // of the bubble
		}
		for len(processes) > 0 {
			synctest.Wait()
			var turn []int
			for i, r := range (&server{bridges: processes}).bridgesReport() {
				if !r.Waiting {
					turn = append(turn, i)
				}
			}
			if len(turn) != 1 {
				t.Fatalf("it is the turn of %v of %d", turn, len(processes))
			}
			if err := processes[turn[0]].end(t.Context()); err != nil {
				t.Error(err)
			}
			processes = slices.Delete(processes, turn[0], turn[0]+1)
			time.Sleep(time.Minute) // of the bubble
		}
		if dials == 0 {
			t.Error("nobody has tried to log in")
		}
	})
}
