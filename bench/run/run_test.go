//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/bench/internal/measure"
	"tidings/config"
	"tidings/interop/xmpppeer"
	"tidings/journal"
	"tidings/pubsub"
)

func TestOptions(t *testing.T) {
	tests := []struct {
		args string
		ok   bool
	}{
		{"", true},
		{"-quick -scenario start,fanout", true},
		{"-scenario marathon", false},
		{"-servers nchan,apache", false},
		{"-small 100 -large 50", false},
		{"-million 0", false},
		{"extra", false},
	}
	for _, tt := range tests {
		if _, err := parseOptions(strings.Fields(tt.args), io.Discard); (err == nil) != tt.ok {
			t.Errorf("%q: error %v, want none: %v", tt.args, err, tt.ok)
		}
	}
	o, err := parseOptions([]string{"-quick", "-small", "50", "-scenario", "start, fanout"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.small != 50 || o.large == 15000 || o.repeat != 1 {
		t.Errorf("-quick has to shrink what is not given, and only that: %+v", o)
	}
	if !slices.Equal(o.servers, []string{"rawfan", "tidings"}) {
		t.Errorf("servers %v, want a quick run to need no peers", o.servers)
	}
	if !slices.Equal(o.scenarios, []string{"fanout", "start"}) {
		t.Errorf("scenarios %v, want them in the order of the program", o.scenarios)
	}
}

// The expressions have to survive the query string, with the number of the wiki still to be put in.
func TestExpressionPath(t *testing.T) {
	path := expressionPath(`wiki == "w{n}wiki" && user.matches("^a+%$")`)
	q, ok := strings.CutPrefix(strings.ReplaceAll(path, "{n}", "7"), "/topics/recentchange/*?")
	values, err := url.ParseQuery(q)
	if !ok || err != nil || values.Get("filter") != `wiki == "w7wiki" && user.matches("^a+%$")` || values.Get("format") != "sse" {
		t.Errorf("%s: %v, %v", path, values, err)
	}
}

func TestAttribute(t *testing.T) {
	const line = "ready http=127.0.0.1:8080 udp=off data=./d durability=fsync"
	for key, want := range map[string]string{"http": "127.0.0.1:8080", "udp": "off", "durability": "fsync"} {
		if got, err := attribute(line, key); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", key, got, err, want)
		}
	}
	if _, err := attribute(line, "irc"); err == nil {
		t.Error("an attribute that is not there gave no error")
	}
}

func TestSumEvents(t *testing.T) {
	got, err := sumEvents([]byte(`{"topics":[{"topic":"/a","events":12,"url":"/topics/a"},{"topic":"/b","events":30}]}`))
	if err != nil || got != 42 {
		t.Errorf("%d, %v; want 42", got, err)
	}
	if got, err := sumEvents([]byte(`{"topics":[]}`)); err != nil || got != 0 {
		t.Errorf("%d, %v; want 0", got, err)
	}
	if _, err := sumEvents([]byte(`<html>`)); err == nil {
		t.Error("a page gave no error")
	}
}

func TestSumDrops(t *testing.T) {
	const metrics = `# HELP tidings_dropped_total What was dropped.
# TYPE tidings_dropped_total counter
tidings_dropped_total{reason="kernel-buffer",source="udp"} 900
tidings_dropped_total{reason="malformed",source="udp"} 3
tidings_dropped_total{reason="truncated",source="udp"} 0
tidings_udp_drops_total{source="udp",reason="queue-full"} 1e+02
tidings_appended_total{reason="x"} 5
tidings_dropped_connections 7
go_gc_drops_total{reason="y"} 5
`
	sum, reasons, err := sumDrops(metrics)
	if err != nil || sum != 103 {
		t.Errorf("%d, %v; want 103", sum, err)
	}
	if !strings.Contains(reasons, "malformed") || strings.Contains(reasons, "truncated") || strings.Contains(reasons, "kernel") {
		t.Errorf("reasons %q, want those above zero that are not the kernel's", reasons)
	}
	if _, _, err := sumDrops(`tidings_dropped_total{reason="x"} many` + "\n"); err == nil {
		t.Error("a value that is no number gave no error")
	}
}

// The example of jwt.io: header and claims as there.
func TestToken(t *testing.T) {
	got := token("your-256-bit-secret", `{"sub":"1234567890","name":"John Doe","iat":1516239022}`)
	const want = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." +
		"eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ." +
		"SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestReport(t *testing.T) {
	var r report
	r.begin("empty", "nothing was measured")
	r.begin("fanout", "one event in flight")
	r.add(row{what: "2000", server: "rawfan", figure: "7.00 µs"})
	r.add(row{what: "2000", server: "tidings", figure: "8.00 µs", ratio: "1.14 × rawfan", target: "≤ 1.2", met: true})
	r.add(row{what: "15000", server: "tidings", figure: "9.00 µs", ratio: "1.30 × rawfan", target: "≤ 1.2"})
	r.fail(context.Canceled)
	r.end()
	text := r.text.String()
	for _, want := range []string{
		"## fanout: one event in flight",
		"| 2000 | rawfan | 7.00 µs |  |  |  |  |",
		"| 2000 | tidings | 8.00 µs | 1.14 × rawfan | ≤ 1.2 | pass |  |",
		"| 15000 | tidings | 9.00 µs | 1.30 × rawfan | ≤ 1.2 | **MISS** |  |",
		"**failed**: context canceled",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if r.missed != 1 || r.failures != 1 {
		t.Errorf("%d missed and %d failed, want 1 and 1", r.missed, r.failures)
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[float64]string{950: "950", 12345: "12.3k", 152_000: "152k", 1_670_000: "1.67M"} {
		if got := count(n); got != want {
			t.Errorf("count(%g) = %s, want %s", n, got, want)
		}
	}
	for n, want := range map[float64]string{0: "0.0 KB", 2048: "2.0 KB", -512: "-0.5 KB", 64 << 20: "64 MB"} {
		if got := size(n); got != want {
			t.Errorf("size(%g) = %s, want %s", n, got, want)
		}
	}
}

func TestProcess(t *testing.T) {
	dir := t.TempDir()
	shell := func(script string) *process {
		t.Helper()
		p, err := spawn("shell", dir, filepath.Join(dir, "log"), "/bin/sh", "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ctx := context.Background()

	p := shell("echo noise; echo ready port=7; exec cat /dev/zero >/dev/null")
	line, err := p.line(ctx, "ready", 10*time.Second)
	if err != nil || line != "ready port=7" {
		t.Errorf("line %q, %v", line, err)
	}
	if err := p.stop(10 * time.Second); err != nil {
		t.Error(err)
	}
	if err := p.stop(time.Second); err != nil {
		t.Errorf("stopping what has stopped: %v", err)
	}

	p = shell("echo 'no such folder' >&2; exit 3")
	if _, err := p.line(ctx, "ready", 10*time.Second); err == nil || !strings.Contains(err.Error(), "no such folder") {
		t.Errorf("error %v, want one that quotes the log", err)
	}

	p = shell("trap '' TERM; echo ready; while :; do read line || :; done")
	if _, err := p.line(ctx, "ready", 10*time.Second); err != nil {
		t.Error(err)
	}
	if err := p.stop(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("error %v for a process that ignores SIGTERM", err)
	}

	p = shell("exec cat /dev/zero >/dev/null")
	if _, err := p.line(ctx, "ready", 20*time.Millisecond); err == nil || !strings.Contains(err.Error(), "not ready") {
		t.Errorf("error %v for a process that says nothing", err)
	}
	p.kill()

	if _, err := spawn("none", dir, filepath.Join(dir, "log"), filepath.Join(dir, "none")); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestEntered(t *testing.T) {
	linear := measure.Result{ConnectS: 6, ConnectSteps: []float64{0.6, 5.4}}
	growing := measure.Result{ConnectS: 8, ConnectSteps: []float64{0.2, 7.8}}
	slow := measure.Result{ConnectS: 12, ConnectSteps: []float64{1.2, 10.8}}
	tests := []struct {
		name, server, over string
		r                  measure.Result
		judge              bool
		ratio, more        string
		target, met        bool
	}{
		{"linear", "tidings", "", linear, true, "1.00 × the first", "0.60 ms each of the first 1000, 0.60 ms after them; in one room", true, true},
		{"growing", "tidings", "", growing, true, "4.33 × the first", "in one room", true, false},
		{"slow", "tidings", "", slow, true, "1.00 × the first", "in one room", true, false},
		{"quick", "tidings", "", slow, false, "1.00 × the first", "in one room", false, false},
		{"over TLS", "tidings", " over TLS", slow, true, "1.00 × the first", "in one room", false, false},
		{"peer", "prosody", "", slow, true, "1.00 × the first", "in 250 rooms", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := inRooms.entered(tt.server, 1000, 10000, tt.over, tt.r, tt.judge)
			if got.ratio != tt.ratio || !strings.HasSuffix(got.more, tt.more) || (got.target != "") != tt.target || got.met != tt.met {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestComponentRows(t *testing.T) {
	tests := []struct {
		name           string
		r              float64
		plain, notices float64
		judged         bool
		ratio, more    string
		target, ok     bool
	}{
		{"as fast", 18_400, 20_000, 16_000, true, "0.92 × plain", "; 1.15 × notifications", true, true},
		{"slower", 17_800, 20_000, 16_000, true, "0.89 × plain", "; 1.11 × notifications", true, false},
		{"not judged", 17_800, 20_000, 16_000, false, "0.89 × plain", "; 1.11 × notifications", false, false},
		{"without plain messages", 15_000, 0, 15_000, true, "", "; 1.00 × notifications", false, false},
		{"without notifications", 20_000, 20_000, 0, true, "1.00 × plain", " ms", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := deliveredBy("ejabberd", "a node", 1000, measure.Result{PerSecond: tt.r}, tt.plain, tt.notices, tt.judged)
			if got.ratio != tt.ratio || (got.target != "") != tt.target || got.met != tt.ok || !strings.HasSuffix(got.more, tt.more) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// What this project's server is told as a component has to be what it understands.
func TestBehindConfig(t *testing.T) {
	dir := t.TempDir()
	flags, err := asComponent(&target{peer: &xmpppeer.Server{Component: "127.0.0.1:5347"}}, multicastLine, dir)
	if err != nil || len(flags) != 2 {
		t.Fatalf("%v, %v", flags, err)
	}
	text, err := os.ReadFile(flags[1])
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(flags[1], text, nil)
	if err == nil {
		err = c.Validate()
	}
	if err != nil || c.EmbeddedXMPP() || len(c.Component) != 1 || c.Component[0].Host != xmpppeer.Domain || !c.Component[0].Multicast {
		t.Errorf("%+v, %v", c.Component, err)
	}
}

// The subscriptions of a folder that was filled are there when it is opened again, and are those of the component.
func TestFillNodes(t *testing.T) {
	dir := t.TempDir()
	if err := fillNodes(t.Context(), dir, 20, nodesDomain); err != nil {
		t.Fatal(err)
	}
	var there *pubsub.Error
	if err := fillNodes(t.Context(), dir, 20, nodesDomain); !errors.As(err, &there) {
		t.Errorf("filling the folder again: error %v, want one that says that the nodes are there", err)
	}
	j, err := journal.OpenJetStream(t.Context(), journal.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	bucket, err := j.Bucket(t.Context(), "nodes")
	if err != nil {
		t.Fatal(err)
	}
	nodes, subscriptions := 0, 0
	err = bucket.Watch(t.Context(), func(key string, value []byte) {
		if strings.HasPrefix(key, "n:/bench/") {
			nodes++
		}
		subscriptions += strings.Count(string(value), "\t"+nodesDomain)
	})
	if err != nil || nodes != 20 || subscriptions != 20*perNode {
		t.Errorf("%d nodes, %d subscriptions, %v", nodes, subscriptions, err)
	}
}

func TestPeersOverXMPP(t *testing.T) {
	all := []string{"rawfan", "tidings", "prosody", "ejabberd"}
	if got := able(1000, slices.Clone(all)...); !slices.Equal(got, all) {
		t.Errorf("with 1,000 sessions %v", got)
	}
	if got := able(10000, slices.Clone(all)...); !slices.Equal(got, []string{"rawfan", "tidings", "ejabberd"}) {
		t.Errorf("with 10,000 sessions %v", got)
	}
	b := &bench{options: &options{volume: 600_000}}
	tests := []struct {
		t                target
		sessions, window int
		want             string
	}{
		{target{}, 1000, 1, "600"},
		{target{}, 1000, 32, "3000"},
		{target{}, 1_000_000, 1, "5"},
		{target{peer: &xmpppeer.Server{}}, 1000, 1, "100"},
		{target{peer: &xmpppeer.Server{}}, 10000, 32, "64"},
	}
	for _, tt := range tests {
		if got := b.events(&tt.t, tt.sessions, tt.window); got != tt.want {
			t.Errorf("%d sessions, %d in flight: %s events, want %s", tt.sessions, tt.window, got, tt.want)
		}
	}
}

// A build that does not know the flag must not be given it.
func TestXMPPOff(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	for usage, want := range map[string]int{"--irc ADDR": 0, "--irc ADDR --xmpp ADDR": 2} {
		if err := os.WriteFile(program, []byte("#!/bin/sh\necho '"+usage+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := xmppOff(t.Context(), program); len(got) != want {
			t.Errorf("%s: %v", usage, got)
		}
	}
}

func TestFreePort(t *testing.T) {
	p, err := freePort()
	if err != nil || p < 1024 {
		t.Errorf("port %d, %v", p, err)
	}
}
