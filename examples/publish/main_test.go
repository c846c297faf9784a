package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/pubsub"
	model "tidings/pubsub"
	"tidings/xmpp/server"
	"tidings/xmpp/xmpptest"
)

func TestRun(t *testing.T) {
	w := outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(nil)}, edge.Options{})
	nodes, err := model.Open(t.Context(), model.Options{Store: w.Bucket("nodes"), Log: w.Journal, Hub: w.Hub, Policy: w.Policy, Domain: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nodes.Close() })
	ps, err := pubsub.New(pubsub.Options{Model: nodes, Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, Audience: w.Policy.Audience, Topics: w.Topics})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ps.Close)
	srv, err := server.New(server.Options{Edge: w.Edge, Domain: "localhost", Users: xmpptest.Users{"ann", "bob"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Handle("pubsub.localhost", ps); err != nil {
		t.Fatal(err)
	}
	addr, _ := xmpptest.Serve(t, func(ln net.Listener) error { return srv.Serve(ln, server.NoTLS) }, srv.Close)

	at := "@" + addr + "/pubsub.localhost?;node=garden"
	var ids bytes.Buffer
	if err := run(t.Context(), "xmpp://ann:ann"+at, strings.NewReader("{\"bed\": 1}\nwater & light\n"), &ids); err != nil {
		t.Fatal(err)
	}
	events, _, err := w.Journal.Read(t.Context(), w.Journal.Oldest(), nil, 10)
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
