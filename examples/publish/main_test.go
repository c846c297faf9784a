package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/pubsub"
	model "tidings/pubsub"
	"tidings/xmpp/sasl"
	"tidings/xmpp/server"
)

// ann and bob have accounts, with their names as passwords.
type users struct{}

func (users) Exists(localpart string) bool { return localpart == "ann" || localpart == "bob" }

func (u users) Keys(username string, h sasl.Hash) (sasl.Keys, string) {
	k, err := h.Keys(username, []byte("salt"), sasl.MinIterations)
	if err != nil {
		panic(err)
	}
	if !u.Exists(username) {
		return k, ""
	}
	return k, username
}

func (users) Attempt(context.Context, string, netip.Addr) (func(bool), error) {
	return func(bool) {}, nil
}

func TestRun(t *testing.T) {
	j := journal.NewMemory(outlettest.Options(""))
	t.Cleanup(func() { j.Close() })
	w := outlettest.NewWorld(t, j, hub.Options{Decode: outlet.Decoder(nil)}, edge.Options{})
	bucket, err := j.Bucket(t.Context(), "nodes")
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := model.Open(t.Context(), model.Options{Store: bucket, Log: j, Hub: w.Hub, Policy: w.Policy, Domain: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nodes.Close() })
	ps, err := pubsub.New(pubsub.Options{Model: nodes, Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, Audience: w.Policy.Audience,
		Topics: func(context.Context, tidings.Pattern) ([]tidings.Topic, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ps.Close)
	srv, err := server.New(server.Options{Edge: w.Edge, Domain: "localhost", Users: users{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Handle("pubsub.localhost", ps); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln, server.NoTLS) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})

	at := "@" + ln.Addr().String() + "/pubsub.localhost?;node=garden"
	var ids bytes.Buffer
	if err := run(t.Context(), "xmpp://ann:ann"+at, strings.NewReader("{\"bed\": 1}\nwater & light\n"), &ids); err != nil {
		t.Fatal(err)
	}
	events, _, err := j.Read(t.Context(), j.Oldest(), nil, 10)
	if err != nil || len(events) != 2 || events[0].ID+"\n"+events[1].ID+"\n" != ids.String() {
		t.Fatalf("%+v, %v; printed %q", events, err, &ids)
	}
	if e := events[0]; e.Topic != "/~garden" || e.ContentType != "application/json" || string(e.Payload) != `{"bed": 1}` {
		t.Errorf("%+v", e)
	}
	if e := events[1]; !strings.Contains(string(e.Payload), "<content>water &amp; light</content>") {
		t.Errorf("%s", e.Payload)
	}
	if err := run(t.Context(), "xmpp://bob:bob"+at, strings.NewReader("weeds\n"), io.Discard); tidings.KindOf(err) != tidings.ErrForbidden {
		t.Errorf("%v", err)
	}
	if err := run(t.Context(), "xmpp:", strings.NewReader(""), io.Discard); tidings.KindOf(err) != tidings.ErrInvalid {
		t.Errorf("%v", err)
	}
}
