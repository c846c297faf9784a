//go:build interop && linux

package interop_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tidings/interop/mediawiki"
)

// The room of the wiki that the tests use, and a password.
const (
	gardenRoom   = mediawiki.ID + "@conference.localhost"
	xmppPassword = "pa ss"
)

// host is the server as a host of XMPP clients.
func (s *server) host() xmppHost {
	return xmppHost{s.xmpp, "ws://" + s.http + "/xmpp-websocket"}
}

// accounts makes accounts by the command line, all with xmppPassword.
func (s *server) accounts(t *testing.T, names ...string) {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		cmd := exec.CommandContext(t.Context(), bin, "user", "add", "--server", s.url, "--data", s.data, name)
		cmd.Stdin = strings.NewReader(xmppPassword + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("making the account %s: %v: %s", name, err, out)
		}
	}
}

// checkChange holds a message against the change with the rcid n that changes has sent.
func checkChange(t *testing.T, m xmppReport, n int) {
	t.Helper()
	title := fmt.Sprintf("Bed %d", n%500)
	if m.Event != "message" || m.Body == nil || m.RC["rcid"] != fmt.Sprint(n) || m.RC["title"] != title || m.RC["type"] != "edit" || m.RC["user"] != "Gardener" ||
		!strings.HasPrefix(*m.Body, "[["+title+"]] ") || !strings.Contains(*m.Body, "* Gardener *") || m.StanzaID == "" {
		t.Fatalf("change %d came as %+v", n, m)
	}
}

// TestXMPPRooms: programs of others log in, join the room of a wiki and see each change as text and as <rc/>, come back
// when the server was killed, and are refused with a wrong password.
func TestXMPPRooms(t *testing.T) {
	t.Parallel()
	for _, c := range xmppClients {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.name, c.missing())
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			s := newServer(t, "")
			s.accounts(t, "anna")
			ch := newChanges(t, s)
			stored(ctx, t, s, func() { ch.send(t, 50) })
			reader := c.start(t, s.host(), "room", "anna@localhost/reader", xmppPassword, gardenRoom, "20")
			online := reader.until(ctx, "online")
			if !strings.HasPrefix(online.Mechanism, c.mechanism) || online.TLS == c.webSocket {
				t.Errorf("it logged in with %q, TLS %v", online.Mechanism, online.TLS)
			}
			reader.until(ctx, "joined")
			expect := func(n int) {
				t.Helper()
				for range n {
					ch.send(t, 1)
					checkChange(t, reader.until(ctx, "message"), ch.sent)
				}
			}
			expect(10)
			s.kill()
			s.start()
			reader.until(ctx, "joined", "offline", "online")
			expect(10)
			reader.ended(ctx)
			refusedXMPP(ctx, t, c, s.host(), "anna@localhost")
			refusedXMPP(ctx, t, c, s.host(), "nobody@localhost")
		})
	}
}

// TestXMPPResumes: a session whose connection is cut goes on with XEP-0198 and has each change once.
func TestXMPPResumes(t *testing.T) {
	t.Parallel()
	for _, c := range xmppClients {
		if !c.resumes {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			need(t, c.name, c.missing())
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			s := newServer(t, "")
			s.accounts(t, "anna")
			ch := newChanges(t, s)
			const rounds, each = 5, 40
			follow := followRoom(ctx, t, c, s.host(), "anna@localhost/reader", xmppPassword, gardenRoom, rounds*each)
			follow.is = func(r xmppReport, n int) bool { return r.RC["rcid"] == fmt.Sprint(n+1) }
			for round := range rounds {
				if round > 0 {
					follow.untilResumed(ctx, round-1)
					follow.proxy.cut()
				}
				ch.send(t, each)
				follow.untilSeen(ctx, (round+1)*each)
			}
			follow.ended(ctx)
		})
	}
}

// TestXMPPArchive: a reader whose session is lost with the server asks the archive of the room for what came after the
// last it had seen, and has each change once and in order.
func TestXMPPArchive(t *testing.T) {
	t.Parallel()
	c := xmppClients[0] // slixmpp, the one that reads archives
	need(t, c.name, c.missing())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := newServer(t, "")
	s.accounts(t, "anna")
	ch := newChanges(t, s)
	const rounds, each = 4, 60
	reader := c.start(t, s.host(), "room", "anna@localhost/reader", xmppPassword, gardenRoom, fmt.Sprint(rounds*each))
	reader.until(ctx, "joined", "online")
	seen, archived := 0, 0
	for round := range rounds {
		stored(ctx, t, s, func() { ch.send(t, 50) })
		for seen < round*each+30 {
			m := reader.until(ctx, "message", "closed", "offline", "online", "joined", "resumed")
			if seen++; m.Archive {
				archived++
			}
			checkChange(t, m, seen)
		}
		if round%2 == 0 {
			s.kill()
		} else {
			s.stop()
		}
		s.start()
		ch.send(t, each-50)
		for seen < (round+1)*each {
			m := reader.until(ctx, "message", "closed", "offline", "online", "joined", "resumed")
			if seen++; m.Archive {
				archived++
			}
			checkChange(t, m, seen)
		}
	}
	reader.ended(ctx)
	if archived == 0 {
		t.Error("nothing came from the archive")
	}
	t.Logf("%d changes came, %d of them from the archive", seen, archived)
}

// TestXMPPMediaWiki: a real wiki's changes arrive in every client. From the feed in JSON and from the feed of the
// extension XMLRC the messages are the same.
func TestXMPPMediaWiki(t *testing.T) {
	need(t, "MediaWiki", mediawiki.Installed())
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	inJSON, inRC := newServer(t, ""), newServer(t, "")
	for _, s := range []*server{inJSON, inRC} {
		s.accounts(t, "anna")
	}
	dir, err := os.MkdirTemp(scratch, "wiki-")
	if err != nil {
		t.Fatal(err)
	}
	wiki, err := mediawiki.Start(ctx, dir, mediawiki.Feed{Dialect: mediawiki.JSON, Addr: inJSON.udp}, mediawiki.Feed{Dialect: mediawiki.RC, Addr: inRC.udp})
	if err != nil {
		t.Fatal(err)
	}
	defer wiki.Stop()
	script, err := wiki.NewScript(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const first = "Beds & \"borders\""
	// The room is there from the wiki's first change on.
	if err := script.Page(ctx, "Compost"); err != nil {
		t.Fatal(err)
	}
	var readers []*xmppSession
	var names []string
	join := func(c *xmppClient, s *server) *xmppSession {
		r := c.start(t, s.host(), "room", fmt.Sprintf("anna@localhost/reader%d", len(readers)), xmppPassword, gardenRoom, "1000000")
		r.until(ctx, "joined", "online")
		readers, names = append(readers, r), append(names, c.name)
		return r
	}
	for _, c := range xmppClients {
		if err := c.missing(); err != nil {
			t.Run(c.name, func(t *testing.T) { need(t, c.name, err) })
			continue
		}
		join(c, inJSON)
	}
	if len(readers) == 0 {
		t.Skip("no XMPP client is installed")
	}
	var other *xmppSession
	if c := xmppClients[0]; c.missing() == nil {
		other = join(c, inRC)
	}
	if err := script.Page(ctx, first); err != nil {
		t.Fatal(err)
	}
	for i, r := range readers {
		m := r.until(ctx, "message")
		if m.RC["title"] != first || m.RC["type"] != "new" || m.RC["wikiid"] != mediawiki.ID || m.Body == nil || !strings.HasPrefix(*m.Body, "[["+first+"]]") {
			t.Errorf("%s has got %+v", names[i], m)
		}
	}
	if other == nil {
		return
	}
	if err := script.Round(ctx); err != nil {
		t.Fatal(err)
	}
	if err := script.Page(ctx, lastPage); err != nil {
		t.Fatal(err)
	}
	all := [2][]xmppReport{}
	for i, r := range []*xmppSession{readers[0], other} {
		for len(all[i]) == 0 || all[i][len(all[i])-1].RC["title"] != lastPage {
			all[i] = append(all[i], r.until(ctx, "message"))
		}
	}
	compareXMPP(t, all[0], all[1])
}

// compareXMPP holds the messages made from JSON against those whose <rc/> the wiki made itself. The JSON has changes that
// the others have not (patrols), and does not say a page's id, that it redirects, and the revision of a log entry; else all
// is the same, in the same order.
func compareXMPP(t *testing.T, fromJSON, fromRC []xmppReport) {
	t.Helper()
	i := 0
	for _, want := range fromRC {
		for i < len(fromJSON) && fromJSON[i].RC["rcid"] != want.RC["rcid"] {
			i++
		}
		if i == len(fromJSON) {
			t.Fatalf("of the messages from <rc>, one has no like among those from JSON: %+v", want)
		}
		got := fromJSON[i]
		if *got.Body != *want.Body {
			t.Errorf("body %d:\nfrom JSON %q\nfrom <rc> %q", i, *got.Body, *want.Body)
		}
		for _, lost := range []string{"pageid", "redirect"} {
			delete(want.RC, lost)
		}
		if want.RC["type"] == "log" || want.RC["type"] == "categorize" {
			want.RC["revid"], want.RC["old_revid"] = got.RC["revid"], got.RC["old_revid"]
		}
		if !maps.Equal(got.RC, want.RC) {
			t.Errorf("element %d:\nfrom JSON %v\nfrom <rc> %v", i, got.RC, want.RC)
		}
	}
	t.Logf("%d messages from JSON, %d from <rc>", len(fromJSON), len(fromRC))
}
