package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"tidings"
	"tidings/client"
	"tidings/recentchange"
)

var (
	noon  = time.Date(2026, 1, 31, 12, 0, 0, 0, time.Local)
	atTen = time.Date(2026, 1, 31, 10, 30, 0, 0, time.Local)
)

func change(fields string) []byte {
	return []byte(`{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"domain":"en.wikipedia.org","stream":"mediawiki.recentchange","dt":"2026-01-31T10:30:00Z"},"timestamp":1769855400,"wiki":"enwiki","server_name":"en.wikipedia.org",` + fields + `}`)
}

func TestEventLine(t *testing.T) {
	const rc = "/recentchange/en.wikipedia.org"
	for _, tc := range []struct {
		name string
		e    client.Event
		want string
	}{
		{"text", client.Event{Topic: "/news", ContentType: "text/plain", Payload: []byte("Bridge\tclosed\r\nagain\n")}, "/news Bridge closed again"},
		{"json", client.Event{Topic: "/a", ContentType: "application/json", Payload: []byte("{\n  \"a\": [1, 2]\n}")}, `/a {"a":[1,2]}`},
		{"empty", client.Event{Topic: "/a"}, "/a "},
		{"binary", client.Event{Topic: "/a", ContentType: "image/png", Payload: []byte("\x89PNG\xff")}, "/a (image/png, 5 bytes)"},
		{"long", client.Event{Topic: "/a", Payload: []byte(strings.Repeat("é", 400))}, "/a " + strings.Repeat("é", 300) + "…"},
		{"escape sequences", client.Event{Topic: "/a", Payload: []byte("\x1b]0;title\x07\x1b[2Jx\u009b31m\u202ey")}, "/a \ufffd]0;title\ufffd\ufffd[2Jx\ufffd31m\ufffdy"},
		{"retraction", client.Event{Topic: "/a", ID: "item\x1b", Kind: tidings.Retract}, "/a retracted item\ufffd"},
		{"edit", client.Event{Topic: rc, ContentType: "application/json", Payload: change(`"type":"edit","title":"Main Page","user":"Ann","comment":"fix\n it","bot":false,"minor":false,"length":{"old":100,"new":112},"revision":{"old":1,"new":2}`)},
			rc + " [[Main Page]] Ann (+12) fix it"},
		{"minor bot edit", client.Event{Topic: rc, Payload: change(`"type":"edit","title":"A","user":"B","comment":"","bot":true,"minor":true,"length":{"old":100,"new":30},"revision":{"old":1,"new":2}`)},
			rc + " MB [[A]] B (-70)"},
		{"new page", client.Event{Topic: rc, Payload: change(`"type":"new","title":"A","user":"B","comment":"c","bot":false,"minor":false,"length":{"old":null,"new":30},"revision":{"old":null,"new":2}`)},
			rc + " N [[A]] B (+30) c"},
		{"log", client.Event{Topic: rc, Payload: change(`"type":"log","title":"User:X","user":"B","comment":"why","bot":false,"log_id":7,"log_type":"block","log_action":"block","log_params":[],"log_action_comment":"blocked X"`)},
			rc + " [[User:X]] block/block B blocked X"},
		{"log that names the user", client.Event{Topic: rc, Payload: change(`"type":"log","title":"User:X","user":"B","comment":"","bot":false,"log_id":7,"log_type":"thanks","log_action":"thank","log_params":[],"log_action_comment":"B thanked &quot;X&quot;"`)},
			rc + ` [[User:X]] thanks/thank B thanked "X"`},
		{"change that does not decode", client.Event{Topic: rc, ContentType: "application/json", Payload: []byte(`{"$schema":"/mediawiki/recentchange/1.0.0"}`)},
			rc + ` {"$schema":"/mediawiki/recentchange/1.0.0"}`},
	} {
		tc.e.Time = atTen
		p := painter{now: func() time.Time { return noon }}
		if got := p.event(tc.e); got != "10:30:00 "+tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, "10:30:00 "+tc.want)
		}
		p.colour = true
		coloured := p.event(tc.e)
		if !strings.HasPrefix(coloured, "\x1b[2m10:30:00\x1b[0m \x1b[36m"+string(tc.e.Topic)+"\x1b[0m") || strings.Count(coloured, "\x1b")%2 != 0 {
			t.Errorf("%s in colour: %q", tc.name, coloured)
		}
	}
}

func TestWhen(t *testing.T) {
	p := painter{now: func() time.Time { return noon }}
	for _, tc := range []struct {
		t    time.Time
		want string
	}{
		{atTen, "10:30:00"},
		{atTen.AddDate(0, 0, -1), "2026-01-30 10:30:00"},
		{atTen.AddDate(-1, 0, 0), "2025-01-31 10:30:00"},
		{time.Time{}, "--:--:--"},
	} {
		if got := p.when(tc.t); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.t, got, tc.want)
		}
	}
}

func TestForeignLine(t *testing.T) {
	p := painter{now: func() time.Time { return noon }}
	for _, tc := range []struct {
		e    client.Event
		want string
	}{
		{client.Event{Payload: []byte("a\nb")}, "a b"},
		{client.Event{Time: noon, Payload: []byte("a\nb")}, p.when(noon) + " #c a b"},
		{client.Event{Time: noon, Kind: tidings.Retract, ID: "item"}, p.when(noon) + " #c retracted item"},
		{client.Event{Kind: tidings.Retract, Payload: []byte("item")}, "retracted item"},
		{client.Event{Time: noon, ContentType: recentchange.TypeIRC, Payload: []byte("\x0314[[\x0307A\x0314]]\x034 M\x0310 \x0302https://en.wikipedia.org/w/index.php?diff=2&oldid=1\x03 \x035*\x03 \x0303B\x03 \x035*\x03 (+2) \x0310c\x03")},
			p.when(noon) + " en.wikipedia.org M [[A]] B (+2) c"},
		{client.Event{Time: noon, ContentType: recentchange.TypeIRC, Payload: []byte("\x0314[[\x0307Special:Log/newusers\x0314]]\x034 create\x0310 \x0302\x03 \x035*\x03 \x0303B\x03 \x035*\x03  \x0310created\x03")},
			p.when(noon) + " #c [[]] newusers/create B created"},
		{client.Event{Payload: change(`"type":"edit","title":"A","user":"B","comment":"c","length":{"old":1,"new":1},"revision":{"old":1,"new":2}`)},
			p.when(time.Unix(1769855400, 0)) + " en.wikipedia.org [[A]] B (+0) c"},
	} {
		if got := p.line(received{Event: tc.e, where: "#c"}); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.e.Payload, got, tc.want)
		}
	}
}

func TestNoColourInFiles(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if wantsColour(f) || wantsColour(&strings.Builder{}) {
		t.Error("a file gets colours")
	}
	t.Setenv("NO_COLOR", "1")
	if null, err := os.Open(os.DevNull); err == nil {
		defer null.Close()
		if wantsColour(null) {
			t.Error("NO_COLOR does not count")
		}
	}
}

func TestParsePoint(t *testing.T) {
	for in, want := range map[string]client.From{
		"":                     client.Live,
		"5f3a9c01-1042":        client.After(tidings.Position{Epoch: 0x5f3a9c01, Offset: 1042}),
		"15m":                  client.Since(noon.Add(-15 * time.Minute)),
		"0s":                   client.Since(noon),
		"2026-01-31T12:00:00Z": client.Since(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)),
		"2026-01-31T12:00":     client.Since(noon),
		"2026-01-31 12:00:00":  client.Since(noon),
		"2026-01-31":           client.Since(noon.Add(-12 * time.Hour)),
	} {
		if got, err := parsePoint("tail", in, noon); err != nil || fmt.Sprint(got.from()) != fmt.Sprint(want) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"x", "-15m", "5f3a9c01", "12:00", "2026-13-01"} {
		if got, err := parsePoint("tail", in, noon); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"a b", "a\tb\r\n", "\x1b[31mred", "\u202e\u2066\u0085\u009b", "\xff\xfe", "日本\u00a0語"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		if strings.ContainsFunc(got, unicode.IsControl) || strings.ContainsAny(got, "\u2028\u202e\u2066") || printable(got) != got {
			t.Errorf("printable(%q) = %q", s, got)
		}
	})
}
