//go:build interop && linux

package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidings/interop/xmpppeer"
)

// The domains of doc/component.md.
const (
	hostDomain  = "example.org"
	nodesDomain = "pubsub.example.org"
	roomsDomain = "rooms.example.org"
)

// documented returns the n-th block of configuration below a heading of doc/component.md, counted from 0.
func documented(t *testing.T, heading string, n int) string {
	t.Helper()
	b, err := os.ReadFile("../doc/component.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "\n## "+heading+"\n")
	if heading == "" {
		text, ok = string(b), true
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var blocks []string
	inside := false
	for line := range strings.Lines(text) {
		line, code := strings.CutPrefix(line, "    ")
		switch {
		case code && !inside:
			blocks = append(blocks, line)
		case code:
			blocks[len(blocks)-1] += line
		case inside && strings.TrimSpace(line) == "":
			blocks[len(blocks)-1] += line
			continue
		}
		inside = code
	}
	if !ok || n >= len(blocks) {
		t.Fatalf("doc/component.md has no block %d below %q", n, heading)
	}
	return blocks[n]
}

// link is the section of a server's configuration in which the components are, as it is documented.
func link(t *testing.T, name string, n int) string {
	if name == "prosody" {
		return documented(t, "Prosody", n)
	}
	text := strings.NewReplacer("5275", "{{port .Component}}", "/etc/ejabberd/ejabberd.pem", "{{.Certificate}}").Replace(documented(t, "ejabberd", n))
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ")
}

// componentHost is a server of others with accounts, and Tidings as its components.
type componentHost struct {
	*xmpppeer.Server
	xmppHost
	tidings *server
}

// behind starts a server of others and Tidings, with the configuration of doc/component.md and what goes before it.
func behind(ctx context.Context, t *testing.T, name string, o xmpppeer.Options, config ...string) *componentHost {
	t.Helper()
	if o.Link == "" {
		o.Link = link(t, name, 0)
	}
	return behindAs(ctx, t, name, o, strings.Join(config, "")+documented(t, "", 0), 2)
}

// behindAs is behind with the configuration given, by which Tidings has so many links.
func behindAs(ctx context.Context, t *testing.T, name string, o xmpppeer.Options, config string, links int) *componentHost {
	t.Helper()
	need(t, "slixmpp", debianPython("slixmpp")())
	o.Domain = hostDomain
	if o.Accounts == nil {
		o.Accounts = map[string]string{"anna": xmppPassword, "bert": xmppPassword}
	}
	o.Accounts[xmpppeer.Owner] = xmppPassword
	o.Components = map[string]string{nodesDomain: "as documented", roomsDomain: "as documented"}
	s := peer(t, name, o)
	h := &componentHost{Server: s, xmppHost: xmppHost{s.C2S, s.WebSocket}}
	h.tidings = newServer(t, h.config(config))
	h.tidings.linked(ctx, links)
	return h
}

// config is a documented configuration for this server.
func (h *componentHost) config(text string) string {
	return strings.NewReplacer("127.0.0.1:5347", h.Component, "127.0.0.1:5275", h.Component, "/etc/tidings/ejabberd.pem", h.Certificate).Replace(text)
}

// linked waits until so many links of the server are up.
func (s *server) linked(ctx context.Context, want int) {
	s.t.Helper()
	s.untilLinks(ctx, "are up", func(l []linkStatus) bool { return up(l) >= want })
}

// linkStatus is what /status says of a link.
type linkStatus struct {
	Connected bool
	Multicast bool
	Waiting   bool   `json:"waiting_for_lease"`
	Error     string `json:"last_error"`
}

func up(links []linkStatus) (n int) {
	for _, l := range links {
		if l.Connected {
			n++
		}
	}
	return n
}

func (s *server) untilLinks(ctx context.Context, what string, ok func([]linkStatus) bool) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		links, err := s.links(ctx)
		if err == nil && ok(links) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("waiting until links %s: %+v, %v", what, links, errors.Join(ctx.Err(), err))
		}
	}
}

// links returns the status of the server's links.
func (s *server) links(ctx context.Context) ([]linkStatus, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/status", nil)
	if err != nil {
		return nil, err
	}
	resp, err := visitor.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var status struct {
		XMPP struct{ Components []linkStatus }
	}
	err = json.NewDecoder(resp.Body).Decode(&status)
	return status.XMPP.Components, err
}

// TestXMPPComponent: the programs go through the round of PubSub with Tidings as a component of Prosody and of ejabberd, as they
// do with Tidings itself, and join its rooms there.
func TestXMPPComponent(t *testing.T) {
	t.Parallel()
	eachPeer(t, 4*time.Minute, func(ctx context.Context, t *testing.T, name string) {
		h := behind(ctx, t, name, xmpppeer.Options{})
		ch := newChanges(t, h.tidings)
		stored(ctx, t, h.tidings, func() { ch.send(t, 50) })
		for i, c := range xmppClients {
			t.Run(c.name, func(t *testing.T) {
				need(t, c.name, c.missing())
				pubSubRounds(ctx, t, c, h.xmppHost, hostDomain, fmt.Sprintf("/garden/%d-", i), must(t, h.tidings.publishOver(ctx)), tidingsRound)
				reader := c.start(t, h.xmppHost, "room", "anna@"+hostDomain+"/reader", xmppPassword, "gardenwiki@"+roomsDomain, "3")
				reader.until(ctx, "joined", "online")
				for range 3 {
					ch.send(t, 1)
					checkChange(t, reader.until(ctx, "message"), ch.sent)
				}
				reader.ended(ctx)
			})
		}
	})
}

// TestXMPPComponentThroughStops: a reader of a node behind Prosody and behind ejabberd gets each item in order, while Tidings and
// the server are killed and stopped. What comes again has the same id.
func TestXMPPComponentThroughStops(t *testing.T) {
	t.Parallel()
	eachPeer(t, 4*time.Minute, func(ctx context.Context, t *testing.T, name string) {
		h := behind(ctx, t, name, xmpppeer.Options{})
		throughStops(ctx, t, h.tidings.publishOver(ctx), h.xmppHost, []string{"anna@" + hostDomain + "/reader", "bert@" + hostDomain + digests}, hostDomain,
			amid(func() { h.tidings.kill(); h.tidings.start() }),
			amid(func() { h.tidings.stop(); h.tidings.start() }),
			amid(func() { h.restart(ctx, t, h.Kill) }),
			amid(func() { h.restart(ctx, t, h.Halt) }),
			amid(func() { h.tidings.kill(); h.restart(ctx, t, h.Kill); h.tidings.start() }),
		)
	})
}

// TestXMPPComponentRoomThroughStops: a visitor of a room behind Prosody and behind ejabberd, who asks now and then whether it is
// still there, gets each message once and in order, what it has missed from the archive, while Tidings and the server are killed and
// stopped.
func TestXMPPComponentRoomThroughStops(t *testing.T) {
	t.Parallel()
	eachPeer(t, 4*time.Minute, func(ctx context.Context, t *testing.T, name string) {
		h := behind(ctx, t, name, xmpppeer.Options{})
		publish := must(t, h.tidings.publishOver(ctx))
		const topic, room, each = "/garden/visited", `\2fgarden\2fvisited@` + roomsDomain, 60
		published, seen, archived := 0, 0, 0
		say := func(n int) {
			for range n {
				published++
				publish(topic, published)
			}
		}
		say(1)
		stops := []func(){
			func() { h.tidings.kill(); h.tidings.start() },
			func() { h.restart(ctx, t, h.Kill) },
			func() { h.tidings.stop(); h.tidings.start() },
			func() { h.restart(ctx, t, h.Halt) },
		}
		r := xmppClients[0].start(t, h.xmppHost, "visit", "anna@"+hostDomain+"/reader", xmppPassword, room, fmt.Sprint(len(stops)*each))
		r.until(ctx, "joined", "online", "waiting")
		until := func(n int) {
			t.Helper()
			for seen < n {
				m := r.until(ctx, "message", "closed", "offline", "online", "joined", "waiting")
				if seen++; m.RC["title"] != fmt.Sprintf("Bed %d", seen+1) || m.StanzaID == "" {
					t.Fatalf("message %d came as %+v", seen, m)
				}
				if m.Archive {
					archived++
				}
			}
		}
		for i, stop := range stops {
			say(each / 2)
			until(i*each + each/3) // the others may be under way
			stop()
			say(each / 2)
			until((i + 1) * each)
		}
		r.ended(ctx)
		if archived == 0 {
			t.Error("nothing came from the archive")
		}
		t.Logf("%d messages came, %d of them from the archive", seen, archived)
	})
}

// restart ends the server of others and starts it again.
func (h *componentHost) restart(ctx context.Context, t *testing.T, end func() error) {
	t.Helper()
	if err := end(); err != nil {
		t.Error(err)
	}
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestXMPPComponentOneLink: two domains over one link with TLS, as ejabberd routes them.
func TestXMPPComponentOneLink(t *testing.T) {
	t.Parallel()
	c := xmppClients[0]
	need(t, c.name, c.missing())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	h := behindAs(ctx, t, "ejabberd", xmpppeer.Options{Link: link(t, "ejabberd", 1)}, documented(t, "ejabberd", 2), 1)
	publish := must(t, h.tidings.publishOver(ctx))
	publish("/garden/bed", 1)
	r := followNode(ctx, t, h.xmppHost, "anna@"+hostDomain+"/nodes", xmppPassword, nodesDomain+"//garden/bed", 2)
	ch := newChanges(t, h.tidings)
	stored(ctx, t, h.tidings, func() { ch.send(t, 50) })
	room := c.start(t, h.xmppHost, "room", "anna@"+hostDomain+"/rooms", xmppPassword, "gardenwiki@"+roomsDomain, "1")
	room.until(ctx, "joined", "online")
	ch.send(t, 1)
	checkChange(t, room.until(ctx, "message"), ch.sent)
	room.ended(ctx)
	publish("/garden/bed", 2)
	r.untilSeen(ctx, 2)
	r.ended(ctx)
}

// manner is a way that doc/component.md has of being a server's components.
type manner struct {
	peer         string
	link, config func(t *testing.T) string // the blocks of the server's configuration, and of that of Tidings
	multicast    bool
}

var (
	sending = manner{peer: "ejabberd", link: func(t *testing.T) string { return link(t, "ejabberd", 4) },
		config: func(t *testing.T) string { return documented(t, "ejabberd", 3) }}
	multicasting = manner{peer: "prosody", link: func(t *testing.T) string { return link(t, "prosody", 0) + documented(t, "Prosody", 3) },
		config: func(t *testing.T) string { return documented(t, "Prosody", 4) }, multicast: true}
)

// behind starts the server and Tidings. Without blocks of its own the manner is that of behind.
func (m manner) behind(ctx context.Context, t *testing.T, o xmpppeer.Options) *componentHost {
	t.Helper()
	if m.link == nil {
		return behind(ctx, t, m.peer, o)
	}
	dir, err := filepath.Abs("../doc") // where Prosody's module is
	if err != nil {
		t.Fatal(err)
	}
	o.Link, o.Modules = m.link(t), dir
	h := behindAs(ctx, t, m.peer, o, m.config(t), 2)
	h.tidings.untilLinks(ctx, "know whether messages are distributed", func(links []linkStatus) bool {
		return len(links) == 2 && links[0].Multicast == m.multicast && links[1].Multicast == m.multicast
	})
	return h
}

// TestXMPPComponentMany: what is for several accounts goes over several connections to ejabberd, and is sent to Prosody once. Each
// account has every item in order, while Tidings and the server are killed.
func TestXMPPComponentMany(t *testing.T) {
	t.Parallel()
	need(t, "slixmpp", debianPython("slixmpp")())
	for name, m := range map[string]manner{"senders": sending, "multicast": multicasting} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			accounts := []string{"anna", "bert", "carl", "fred"} // of two connections, anna and carl have the one
			o := xmpppeer.Options{Accounts: map[string]string{}}
			for _, a := range accounts {
				o.Accounts[a] = xmppPassword
			}
			manyThroughStops(ctx, t, m.behind(ctx, t, o), accounts)
		})
	}
}

// manyThroughStops has accounts read one node while Tidings and the server of others end.
func manyThroughStops(ctx context.Context, t *testing.T, h *componentHost, accounts []string) {
	t.Helper()
	publish := h.tidings.publishOver(ctx)
	const node, each = "/garden/shared", 30
	n := 0
	more := func(to int) {
		for n < to {
			n++
			if err := publish(node, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	more(1)
	stops := []func(){
		func() { h.tidings.kill(); h.tidings.start() },
		func() { h.restart(ctx, t, h.Kill) },
		func() { h.tidings.stop(); h.tidings.start() },
	}
	var readers []*nodeReader
	for _, a := range accounts {
		readers = append(readers, followNode(ctx, t, h.xmppHost, a+"@"+hostDomain+"/reader", xmppPassword, nodesDomain+"/"+node, len(stops)*each))
	}
	seen := func(n int) {
		t.Helper()
		for _, r := range readers {
			r.untilSeen(ctx, n)
		}
	}
	for i, stop := range stops {
		more(i*each + each/2)
		seen(n - 5) // the others may be under way
		stop()
		more((i + 1) * each)
		seen(n)
	}
	for _, r := range readers {
		r.ended(ctx)
	}
}

// TestXMPPComponentRefused: what is wrong with the configuration of either side is in /status, in the server's words.
func TestXMPPComponentRefused(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"prosody":  {"not-authorized", "host-unknown", "host-unknown"},
		"ejabberd": {"not-authorized", "not-authorized", "conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			s := peer(t, name, xmpppeer.Options{Domain: hostDomain, Components: map[string]string{nodesDomain: "hush"}})
			var config strings.Builder
			for _, c := range [][2]string{{nodesDomain, "wrong"}, {"unknown." + hostDomain, "hush"}, {"anon." + hostDomain, "hush"}} {
				fmt.Fprintf(&config, "[[component]]\naddr = %q\ndomain = %q\nserves = \"pubsub\"\nsecret = %q\n", s.Component, c[0], c[1])
			}
			tidings := newServer(t, config.String())
			tidings.untilLinks(ctx, "are refused", func(l []linkStatus) bool {
				for i, condition := range want {
					if l[i].Connected || !strings.Contains(l[i].Error, condition) {
						return false
					}
				}
				return true
			})
		})
	}
}
