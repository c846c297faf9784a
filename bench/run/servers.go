//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"tidings/client"
	"tidings/interop/xmpppeer"
)

// A server is this project's or a peer.
type server struct {
	name string
	// prepare finds or builds the program; the error is the reason for leaving the server out.
	prepare func(context.Context, *bench) (string, error)
	// start runs it on a fresh folder and free ports of 127.0.0.1, and returns when it can be used.
	start func(context.Context, *bench, string) (*target, error)
	// once says that it takes too long to be measured -repeat times.
	once bool
}

var servers = []server{
	{name: "rawfan", prepare: prepareRawfan, start: startRawfan},
	{name: "tidings", prepare: prepareTidings, start: startTidings},
	{name: "nchan", prepare: prepareNchan, start: startNchan},
	{name: "mercure", prepare: prepareMercure, start: startMercure},
	{name: "centrifugo", prepare: prepareCentrifugo, start: startCentrifugo},
	{name: "prosody", prepare: prepareProsody, start: startProsody, once: true},
	{name: "ejabberd", prepare: prepareEjabberd, start: startEjabberd},
}

// A target is a running server and how the load generator uses it.
type target struct {
	name      string
	proc      *process
	peer      *xmpppeer.Server // in place of proc
	subscribe []string         // flags of loadgen; {n} stands for the number of the topic
	publish   []string
	url       string   // tidings: base of its HTTP server
	webSocket []string // nchan: as subscribe, for its WebSocket
	xmpp      []string // tidings, prosody, ejabberd: for sessions over XMPP, with one of the next two
	room      []string
	node      []string
	component []string // prosody, ejabberd: to publish as a component to each session
	udp       string   // tidings: address of its UDP source
	irc       string   // tidings: address of its IRC server
	token     string   // tidings: the administrator's
	data      string   // tidings: its data
	c2s       string   // tidings: address of its XMPP server, "" if it has none
}

// stopGrace is what a server has for its shutdown.
const stopGrace = 30 * time.Second

func (t *target) stop() error {
	if t.peer != nil {
		return t.peer.Kill() // prosody takes minutes to say goodbye to a full room
	}
	return t.proc.stop(stopGrace)
}

func (t *target) pid() int {
	if t.peer != nil {
		return t.peer.PID()
	}
	return t.proc.pid()
}

// flags returns the flags to subscribe and publish, followed by more.
func (t *target) flags(more ...string) []string {
	return append(append(append([]string(nil), t.subscribe...), t.publish...), more...)
}

func prepareRawfan(ctx context.Context, b *bench) (string, error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", errors.New("no C compiler (cc)")
	}
	out := filepath.Join(b.bin, "rawfan")
	return out, b.compile(ctx, cc, "-O2", "-o", out, "bench/rawfan/rawfan.c")
}

func startRawfan(ctx context.Context, b *bench, program string) (*target, error) {
	dir, err := b.folder("rawfan")
	if err != nil {
		return nil, err
	}
	p, err := spawn("rawfan", dir, filepath.Join(dir, "log"), program)
	if err != nil {
		return nil, err
	}
	line, err := p.line(ctx, "ready", 5*time.Second)
	sub, err1 := attribute(line, "sub")
	pub, err2 := attribute(line, "pub")
	if err := errors.Join(err, err1, err2); err != nil {
		p.kill()
		return nil, err
	}
	return &target{name: "rawfan", proc: p,
		subscribe: []string{"-proto", "raw", "-addr", "127.0.0.1:" + sub},
		publish:   []string{"-pub", "raw", "-pubto", "127.0.0.1:" + pub}}, nil
}

func prepareTidings(ctx context.Context, b *bench) (string, error) {
	if b.binary != "" {
		return filepath.Abs(b.binary)
	}
	if _, err := os.Stat(filepath.Join(b.root, "cmd", "tidings")); err != nil {
		return "", errors.New("no cmd/tidings in this tree")
	}
	out := filepath.Join(b.bin, "tidings")
	return out, b.compile(ctx, "go", "build", "-trimpath", "-o", out, "./cmd/tidings")
}

// xmppOff keeps the XMPP server from being started where a program has one: another build may not know the flag.
func xmppOff(ctx context.Context, program string) []string {
	usage, err := exec.CommandContext(ctx, program, "serve", "--help").CombinedOutput()
	if err != nil || !strings.Contains(string(usage), "--xmpp") {
		return nil
	}
	return []string{"--xmpp", "off"}
}

// roomConfig has a room for the topic that loadgen publishes on.
const roomConfig = `[[xmpp.rooms]]
name = "bench0"
topics = ["/bench/0"]
`

// xmppOn starts the XMPP server too.
func xmppOn(dir string) ([]string, error) {
	file := filepath.Join(dir, "rooms.toml")
	return []string{"--config", file, "--xmpp", "127.0.0.1:0"}, os.WriteFile(file, []byte(roomConfig), 0o600)
}

func startTidings(ctx context.Context, b *bench, program string) (*target, error) {
	dir, err := b.folder("tidings")
	if err != nil {
		return nil, err
	}
	if b.xmpp {
		flags, err := xmppOn(dir)
		if err != nil {
			return nil, err
		}
		return serveTidings(ctx, program, filepath.Join(dir, "data"), "fsync", flags...)
	}
	return serveTidings(ctx, program, filepath.Join(dir, "data"), "fsync", xmppOff(ctx, program)...)
}

// tidingsReady bounds the start of a server, also on a large journal after a crash.
const tidingsReady = 5 * time.Minute

// serveTidings starts this project's server on a data folder, which may have been used before.
func serveTidings(ctx context.Context, program, data, durability string, more ...string) (*target, error) {
	dir := filepath.Dir(data)
	args := append([]string{"serve", "--data", data, "--http", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--irc", "127.0.0.1:0",
		"--durability", durability, "--log-level", "warn"}, more...)
	p, err := spawn("tidings", dir, filepath.Join(dir, "log"), program, args...)
	if err != nil {
		return nil, err
	}
	line, err := p.line(ctx, "ready", tidingsReady)
	httpAddr, err1 := attribute(line, "http")
	udpAddr, err2 := attribute(line, "udp")
	ircAddr, err4 := attribute(line, "irc")
	token, err3 := os.ReadFile(filepath.Join(data, "admin.token"))
	if err := errors.Join(err, err1, err2, err3, err4); err != nil {
		p.kill()
		return nil, err
	}
	t := &target{name: "tidings", proc: p, url: "http://" + httpAddr, udp: udpAddr, irc: ircAddr, data: data,
		token: strings.TrimSpace(string(token))}
	t.subscribe = []string{"-proto", "sse", "-addr", httpAddr, "-path", "/topics/bench/{n}?format=sse", "-await", ":ok\n\n",
		"-otherpath", "/topics/bench/other/{n}?format=sse"}
	t.publish = []string{"-pub", "http", "-pubto", t.url + "/topics/bench/{n}", "-pubheader", "Authorization: Bearer " + t.token}
	if xmppAddr, err := attribute(line, "xmpp"); err == nil && xmppAddr != "off" { // another build may not have it
		t.c2s = xmppAddr
		t.xmpp = []string{"-proto", "xmpp", "-addr", xmppAddr, "-jid", xmpppeer.Domain}
		t.room = []string{"-topic", "bench{n}@" + xmpppeer.Rooms}
		t.node = []string{"-topic", xmpppeer.PubSub, "-node", "/bench/{n}"}
	}
	return t, nil
}

// publishItems returns flags to publish items with a payload as loadgen gives it to the nodes of others: one element around the text.
func (t *target) publishItems() []string {
	if t.peer != nil {
		return t.publish
	}
	return append(append([]string(nil), t.publish...), "-pubtype", "application/xml", "-body", "<text xmlns='urn:example:bench'>{text}</text>")
}

// speak makes the account that owns nodes, and returns the flags to publish from it.
func (t *target) speak(ctx context.Context) ([]string, error) {
	const password = "of this benchmark only"
	c, err := client.New(t.url, client.WithToken(t.token))
	if err != nil {
		return nil, err
	}
	if _, err := c.AddUser(ctx, xmpppeer.Owner, password); err != nil {
		return nil, err
	}
	return []string{"-pub", "xmpp", "-pubto", t.c2s, "-pubjid", xmpppeer.Owner + "@" + xmpppeer.Domain, "-pubpassword", password}, nil
}

// freePort returns a port of 127.0.0.1 that nobody listens on. Another program could take it before the server does; the
// server then does not start, and the run fails.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// answers waits until a GET of url is answered, whatever the answer.
func answers(ctx context.Context, p *process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			return resp.Body.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s exited: %v\n%s", p.name, p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer at %s: %w\n%s", p.name, url, ctx.Err(), p.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
