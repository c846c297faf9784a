package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/room"
	"tidings/recentchange"
	"tidings/xmpp/server"
	"tidings/xmpp/xmpptest"
)

func TestRun(t *testing.T) {
	w := outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(nil)}, edge.Options{})
	rooms, err := room.New(room.Options{Hub: w.Hub, Edge: w.Edge, May: w.Policy.May, Audience: w.Policy.Audience, Topics: w.Topics,
		Wikis: recentchange.Wikis{"enwiki": {ServerName: "en.wikipedia.org"}}})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := server.New(server.Options{Edge: w.Edge, Domain: "localhost", Anonymous: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Handle("conference.localhost", rooms); err != nil {
		t.Fatal(err)
	}
	addr, _ := xmpptest.Serve(t, func(ln net.Listener) error { return srv.Serve(ln, server.NoTLS) }, srv.Close)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, lines := io.Pipe()
	var errs bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, "xmpp://"+addr+"/enwiki@conference.localhost", lines, &errs)
		lines.Close()
	}()
	for rooms.Stats().Joins == 0 || rooms.Stats().Pages == 0 { // it reads behind the end of the archive that it was told
		if ctx.Err() != nil {
			t.Fatal("it does not enter the room")
		}
		runtime.Gosched()
	}
	change := func(typ, title string, bot bool) {
		w.Append(tidings.Event{Topic: "/recentchange/en.wikipedia.org", ContentType: recentchange.TypeJSON, Payload: fmt.Appendf(nil,
			`{"id":42,"type":%q,"namespace":1,"title":%q,"comment":"a\nb <c>","timestamp":1772600767,"user":"Ann","bot":%v,"minor":true,"length":{"old":10,"new":25},`+
				`"revision":{"old":7,"new":8},"server_url":"https://en.wikipedia.org","server_name":"en.wikipedia.org","server_script_path":"/w","wiki":"enwiki"}`, typ, title, bot)})
	}
	change("edit", "Talk:One & two", false)
	change("new", "Talk:Three", true)
	r := bufio.NewReader(out)
	for _, want := range []string{
		"42\t2026-03-04T05:06:07Z\tedit\t1\tTalk:One & two\t8\tAnn\t10>25\tm\ta b <c>\n",
		"42\t2026-03-04T05:06:07Z\tnew\t1\tTalk:Three\t8\tAnn\t10>25\tNmb\ta b <c>\n",
	} {
		got, err := r.ReadString('\n')
		if err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
	if errs.Len() > 0 {
		t.Errorf("on stderr: %s", errs.String())
	}
}

func TestBadAddress(t *testing.T) {
	if err := run(t.Context(), "xmpp:nowhere", io.Discard, io.Discard); tidings.KindOf(err) != tidings.ErrInvalid {
		t.Error(err)
	}
}
