package main

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
)

func TestSIO4Wire(t *testing.T) {
	event := func(n string) string {
		return `42["event",{"specversion":"1.0","id":"i","topic":"/a","type":"tidings.publish","datacontenttype":"application/json","data":` + n + `,"position":"00000001-` + n + `"},"00000001-` + n + `?topic=%2Fa"]`
	}
	begin := func(subscribe string) []string {
		return []string{`0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":65536}`, "> 40", `40{"sid":"y","pid":"z"}`, `> 420["subscribe",{"topics":["/a"]` + subscribe + "}]"}
	}
	// The position of the subscription, then that of the last event, and a gap.
	u, seen := sockets(t,
		slices.Concat(begin(`,"filter":["has(n.m)",{"bot":["false"]}],"since":"2026-01-31T12:00:00Z"`), []string{`42["subscribed",{"topics":["/a"],"position":"00000001-3"},"00000001-3?topic=%2Fa"]`,
			`430[{"topics":["/a"],"position":"00000001-3"}]`, "2", "> 3", "1"}),
		slices.Concat(begin(`,"filter":["has(n.m)",{"bot":["false"]}],"after":"00000001-3"`), []string{event("4"), "6", "41"}),
		slices.Concat(begin(`,"filter":["has(n.m)",{"bot":["false"]}],"after":"00000001-4"`), []string{`42["gap",{"asked":"00000001-4","oldest":"00000001-9"},"00000001-9?topic=%2Fa"]`}),
		slices.Concat(begin(`,"filter":["has(n.m)",{"bot":["false"]}],"after":"00000001-9"`), []string{event("10"), `42["error",{"code":"forbidden","status":403,"detail":"withdrawn"}]`, "41", "> never"}))
	u.Scheme, u.RawQuery = "sio4", "topic=/a&filter=has(n.m)&bot=false"
	w, err := newSIO4("tail", u, "", point{since: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"4", "gap 00000001-4 00000001-9", "10", "error: the server says forbidden: withdrawn"}
	if got, notices := readWire(t, w, 4); !slices.Equal(got, want) || notices != 7 { // a connection and a loss each
		t.Errorf("got %q, %d notices", got, notices)
	}
	if s := seen(); len(s) != 4 || s[0] != "/socket.io/?EIO=4&transport=websocket" {
		t.Errorf("requests %q", s)
	}

	// Changes, of a server that tells no positions, and one that refuses.
	rc := []string{`0{"sid":"x"}`, "> 40/rc,", `40/rc,{"sid":"y"}`, `> 42/rc,0["subscribe",{"topics":["enwiki","*.org"]}]`}
	u, _ = sockets(t,
		slices.Concat(rc, []string{`42/rc,["change",{"a":1}]`, `42/rc,["other"]`, `42/rc,[7]`}),
		slices.Concat(rc, []string{`42/rc,["change",{"a":2},"00000001-8?topic=x"]`, `41/rc,`}),
		[]string{`0{"sid":"x"}`, "> 40/rc,", `44/rc,{"message":"Invalid namespace"}`, "> never"})
	u.Scheme, u.Path, u.RawQuery = "sio4", "/rc/", "subscribe=enwiki&subscribe=*.org"
	if w, err = newSIO4("tail", u, "", point{}); err != nil {
		t.Fatal(err)
	}
	if got, _ := readWire(t, w, 2); !slices.Equal(got, []string{`{"a":1}`, `error: the server sent an event that is none: "[7]"`}) {
		t.Errorf("got %q", got)
	}
	if got, _ := readWire(t, w, 3); !slices.Equal(got, []string{"lost", `{"a":2}`, "error: the server refuses: Invalid namespace"}) {
		t.Errorf("got %q", got)
	}
	if w.last.String() != "00000001-8" {
		t.Errorf("stands at %s", w.last)
	}

	// What is no Socket.IO 4, and a subscription that is refused.
	for _, tt := range []struct {
		says []string
		want string
	}{
		{[]string{"0hello", "> never"}, `"hello"`},
		{slices.Concat(begin(""), []string{`430[{"error":{"request":"subscribe","code":"rate-limited","status":429,"detail":"later"}}]`, "> never"}), "rate-limited: later"},
	} {
		u, _ = sockets(t, tt.says)
		u.Scheme, u.RawQuery = "sio4", "topic=/a"
		if w, err = newSIO4("tail", u, "", point{}); err != nil {
			t.Fatal(err)
		}
		emit := func(received, error) bool { return true }
		if err := w.connect(t.Context(), func() {}, emit); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v", tt.says, err)
		}
	}
}

// Whatever a server sends, the reader gets what is whole and goes on or ends.
func FuzzSIO4Packet(f *testing.F) {
	for _, s := range []string{"", "0", `0{"sid":"x","pingInterval":25000,"pingTimeout":20000}`, "1", "2", "3", "40", `40/rc,{"sid":"y","pid":"z"}`, "41", "41/rc,", `42["event",{"specversion":"1.0","topic":"/a","type":"tidings.publish","position":"00000001-1","data":1},"00000001-1?topic=%2Fa"]`,
		`42/rc,["change",{"a":1},"00000001-8?topic=*"]`, `42["gap",{"asked":"00000001-8","oldest":"00000001-9"},"00000001-9"]`, `42["error",{"code":"forbidden","detail":"x"}]`, `42["subscribed",{"topics":[],"position":"00000001-9"},"00000001-9"]`,
		`430[{"topics":["/a"],"position":"00000001-5"}]`, `430[{"error":{"code":"invalid","detail":"x"}}]`, `44{"message":"Invalid namespace"}`, `44/rc,{"message":"x","data":{"code":"unauthenticated"}}`, `451-["x",{"_placeholder":true,"num":0}]`, "6"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, packet string) {
		w := &sio4Wire{url: &url.URL{Scheme: "sio4", Host: "h"}, wanted: sio4Wanted{Topics: []string{"/a"}}}
		events := 0
		s := &sio4Session{w: w, silence: time.Minute, up: func() {}, send: func(p string) error {
			if p != "3" && p != "40" && !strings.HasPrefix(p, `420["subscribe",{"topics":["/a"]`) {
				t.Errorf("it answers %q", p)
			}
			return nil
		}, emit: func(r received, err error) bool {
			if events++; err == nil && (len(r.record) == 0 || strings.ContainsAny(string(r.record), "\r\n")) {
				t.Errorf("%q: the record %q", packet, r.record)
			}
			return true
		}}
		if err := s.packet([]byte(packet)); err != nil && tidings.KindOf(err) == 0 || events > 1 || s.silence <= 0 {
			t.Errorf("%q: %d events, %v", packet, events, err)
		}
	})
}
