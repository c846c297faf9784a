//go:build interop && linux

package interop_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/interop/xmpppeer"
	"tidings/xmpp/dataform"
	"tidings/xmpp/dial"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/muc"
	"tidings/xmpp/rsm"
	"tidings/xmpp/stanza"
)

// bridgeTopic is the topic of the wiki that is bridged.
const bridgeTopic = "/recentchange/garden.example.org"

// TestXMPPBridge: a wiki that sends UDP is told in a room of Prosody and in one of ejabberd, by bridges that log in as
// ordinary clients. Readers there see text and <rc>. Connections are cut, the servers are restarted and Tidings is killed, all
// while changes flow: the rooms have each of them, in order; what is there twice has the same id.
func TestXMPPBridge(t *testing.T) {
	t.Parallel()
	reader := xmppClients[0]
	need(t, reader.name, reader.missing())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	names := []string{"prosody", "ejabberd"}
	peers := map[string]*xmpppeer.Server{}
	proxies := map[string]*cutter{}
	var config strings.Builder
	for _, name := range names {
		p := peer(t, name, xmpppeer.Options{Accounts: map[string]string{"anna": "pa ss", "bot": "pa ss"}})
		peers[name], proxies[name] = p, newCutter(t, p.C2S)
		makeRoom(ctx, t, p)
		fmt.Fprintf(&config, "[[bridge]]\njid = \"bot@localhost\"\npassword = \"pa ss\"\nname = %q\naddr = %q\ntls_ca = %q\nnick = \"rc\"\nrate = 300.0\n"+
			"[[bridge.rooms]]\nroom = \"{wiki}@%s\"\n", name, proxies[name].Addr(), p.Certificate, xmpppeer.Rooms)
	}
	s := newServer(t, config.String())
	ch := newChanges(t, s)

	// Others see what is said, as text and as an element.
	for _, name := range names {
		p := peers[name]
		session := reader.start(t, xmppHost{p.C2S, p.WebSocket}, "room", "anna@localhost/reader", "pa ss", gardenRoom, "20")
		session.until(ctx, "joined", "online")
		for range 20 {
			ch.send(t, 1)
			checkChange(t, session.until(ctx, "message"), ch.sent)
		}
		session.ended(ctx)
	}

	// Changes flow on, whatever happens.
	sending, stop := context.WithCancel(ctx)
	defer stop()
	sent := newProgress()
	sent.set(ch.sent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for sending.Err() == nil {
			select {
			case <-tick.C:
			case <-sending.Done():
				return
			}
			if s.await(sending) != nil {
				return
			}
			ch.sent++
			if ch.again() == nil { // while the server is away there is nobody to send to
				sent.set(ch.sent)
			}
		}
	}()
	more := func() {
		t.Helper()
		if err := sent.wait(ctx, sent.get()+60); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		more()
		proxies[name].cut()
		s.bridgesUntil(ctx, t, "resume", func(bs []bridgeReport) bool {
			return slices.ContainsFunc(bs, func(b bridgeReport) bool { return b.Name == name && b.Resumed == 1 })
		})
		more()
		p := peers[name]
		if err := errors.Join(p.Halt(), p.Start(ctx)); err != nil {
			t.Fatal(err)
		}
		more()
		s.kill()
		s.start()
	}
	more()
	stop()
	<-done

	said := inOrder(ctx, t, s)
	for tick := time.NewTicker(100 * time.Millisecond); said[len(said)-1].Data.ID != ch.sent; said = inOrder(ctx, t, s) {
		if err := ch.again(); err != nil { // what was sent before it has been taken in when it is there
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("of %d changes the server has %d, but not the last", ch.sent, len(said))
		}
	}
	t.Logf("%d changes were sent, %d were taken in", ch.sent, len(said))
	if len(said) < 300 {
		t.Fatal("they are too few")
	}
	last := said[len(said)-1].Position
	for _, b := range s.bridgesUntil(ctx, t, last, func(bs []bridgeReport) bool {
		return !slices.ContainsFunc(bs, func(b bridgeReport) bool { return !b.told(last) })
	}) {
		t.Logf("since the last start: %+v", b)
	}
	s.stop()
	for _, name := range names {
		checkRoom(t, name, said, roomArchive(ctx, t, peers[name]))
	}
}

// TestXMPPBridgeSlowed: servers that read 3 KB a second of each client, as ejabberd does as it comes, get everything once: a
// bridge that has to wait does not take messages for lost.
func TestXMPPBridgeSlowed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, file, from, to string }{
		{"prosody", "prosody.cfg.lua", "limits = {}", `limits = { c2s = { rate = "3kb/s", burst = "2s" } }`},
		{"ejabberd", "ejabberd.yml", "shaper: {}\nshaper_rules:\n", "shaper:\n  normal:\n    rate: 3000\n    burst_size: 20000\nshaper_rules:\n  c2s_shaper: normal\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			config, err := os.ReadFile("xmpppeer/" + tt.file)
			if err != nil {
				t.Fatal(err)
			}
			slow := strings.Replace(string(config), tt.from, tt.to, 1)
			slow = strings.Replace(slow, `"roster", "saslauth"`, `"limits", "roster", "saslauth"`, 1)
			slow = strings.Replace(slow, "    starttls: true\n", "    starttls: true\n    shaper: c2s_shaper\n", 1)
			if slow == string(config) {
				t.Fatal("the configuration has no limits to set")
			}
			p := peer(t, tt.name, xmpppeer.Options{Accounts: map[string]string{"anna": "pa ss", "bot": "pa ss"}, Config: slow})
			makeRoom(ctx, t, p)
			s := newServer(t, fmt.Sprintf("[[bridge]]\njid = \"bot@localhost\"\npassword = \"pa ss\"\naddr = %q\nnick = \"rc\"\nrate = 1000.0\nwindow = 200\n"+
				"[[bridge.rooms]]\nroom = %q\ntopics = [%q]\n", p.C2S, gardenRoom, bridgeTopic))
			ch := newChanges(t, s)
			begun := time.Now()
			ch.send(t, 100)
			s.settles(t, time.Minute, "all changes taken in", func(st statusReport) bool { return st.UDP.Appended == 100 })
			said := inOrder(ctx, t, s)
			last := said[len(said)-1].Position
			b := s.bridgesUntil(ctx, t, last, func(bs []bridgeReport) bool { return bs[0].told(last) })[0]
			t.Logf("it took %s: %+v", time.Since(begun).Round(time.Second/10), b)
			if b.Sent != 100 || b.Repeated != 0 || len(b.Errors) > 0 {
				t.Error("that is more often than once, or with errors")
			}
			s.stop()
			checkRoom(t, tt.name, said, roomArchive(ctx, t, p))
		})
	}
}

// annaIn returns a session of anna that has entered the room.
func annaIn(ctx context.Context, t *testing.T, p *xmpppeer.Server) (*dial.Conn, jid.JID) {
	t.Helper()
	room := jid.MustParse(gardenRoom)
	c, err := dial.Dial(ctx, dial.Config{JID: jid.MustParse("anna@localhost/archivist"), Password: "pa ss", Address: p.C2S})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	self, err := room.WithResource("anna")
	if err != nil {
		t.Fatal(err)
	}
	b := stanza.AppendStart(nil, stanza.Presence, stanza.TypeAvailable, "", jid.JID{}, self)
	b = muc.Join{History: muc.History{MaxChars: -1, MaxStanzas: 0, Seconds: -1}}.Append(b)
	if err := c.Send(stanza.AppendEnd(b, stanza.Presence)); err != nil {
		t.Fatal(err)
	}
	for {
		st, err := c.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if st.Kind != stanza.Presence || st.From != self {
			continue
		}
		if st.Type != stanza.TypeAvailable {
			t.Fatalf("entering the room: %s", st.Element.Raw())
		}
		return c, room
	}
}

// makeRoom makes the room, to stay.
func makeRoom(ctx context.Context, t *testing.T, p *xmpppeer.Server) {
	t.Helper()
	c, room := annaIn(ctx, t, p)
	form := dataform.New(dataform.TypeSubmit, "http://jabber.org/protocol/muc#roomconfig").Add("muc#roomconfig_persistentroom", "", "1")
	payload := append(form.Append([]byte("<query xmlns='"+muc.NSOwner+"'>")), "</query>"...)
	if _, err := c.Request(ctx, stanza.TypeSet, room, payload); err != nil {
		t.Fatal(err)
	}
	ans, err := c.Request(ctx, stanza.TypeGet, room, disco.AppendInfoQuery(nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	info, err := disco.ParseInfo(ans.Payload())
	if err != nil || !info.Has("muc_persistent") || !info.Has(mam.NS) {
		t.Fatalf("the room of %s does not stay, or has no archive: %v, %v", p.Name, info, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// inRoom is a message of a room.
type inRoom struct{ id, rcid, title, body string }

// roomArchive returns what the bot has said in the room, as its archive has it.
func roomArchive(ctx context.Context, t *testing.T, p *xmpppeer.Server) (messages []inRoom) {
	t.Helper()
	c, room := annaIn(ctx, t, p)
	kept, cancel := context.WithCancel(ctx)
	cancel() // nothing is waited for: what Request has passed over is there
	for after := ""; ; {
		q := mam.Query{ID: "q", Page: rsm.Request{Max: 50, After: after, Index: -1}}
		ans, err := c.Request(ctx, stanza.TypeSet, room, q.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
		fin, err := mam.ParseFin(ans.Payload())
		if err != nil {
			t.Fatal(err)
		}
		after = fin.Page.Last
		for {
			st, err := c.Next(kept)
			if err != nil {
				break
			}
			r, ok := mam.FindResult(st.Element)
			if !ok || !strings.HasSuffix(r.Message.Attr("from"), "/rc") {
				continue
			}
			m := inRoom{id: r.Message.Attr("id")}
			for child := range r.Message.Children() {
				switch child.Name() {
				case "body":
					m.body = child.Text()
				case "rc":
					m.rcid, m.title = child.Attr("rcid"), child.Attr("title")
				}
			}
			messages = append(messages, m)
		}
		if fin.Complete || after == "" {
			return messages
		}
	}
}

// inJournal is a change as the server has it.
type inJournal struct {
	Position string `json:"position"`
	Data     struct {
		ID    int    `json:"id"`
		Title string `json:"title"`
	} `json:"data"`
}

// inOrder returns the changes that the server has.
func inOrder(ctx context.Context, t *testing.T, s *server) (all []inJournal) {
	t.Helper()
	for since := "1970-01-01"; ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/topics"+bridgeTopic+"?format=json&limit=500&since="+since, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := visitor.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			Events   []inJournal
			Position string
			More     bool
		}
		err = json.NewDecoder(resp.Body).Decode(&list)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", resp.Status, err)
		}
		all = append(all, list.Events...)
		if since = list.Position; !list.More {
			return all
		}
	}
}

// bridgeReport is what the tests read of a bridge in /status.
type bridgeReport struct {
	Name                    string
	Resumed, Sent, Repeated int
	LastError               string `json:"last_error"`
	Errors                  map[string]int
	Rooms                   []struct {
		Room, State, Position string
		LastError             string `json:"last_error"`
	}
}

// bridgesUntil waits until the bridges are as they should be.
func (s *server) bridgesUntil(ctx context.Context, t *testing.T, what string, is func([]bridgeReport) bool) []bridgeReport {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var st struct{ Bridges []bridgeReport }
		resp, err := visitor.Get(s.url + "/status")
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(resp.Body).Decode(&st)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if is(st.Bridges) {
			return st.Bridges
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the bridges do not come to %s: %+v", what, st)
		}
	}
}

// told reports whether the room has acknowledged the change at the position.
func (b bridgeReport) told(position string) bool {
	for _, r := range b.Rooms {
		if r.Room == gardenRoom {
			return r.Position == position
		}
	}
	return false
}

// checkRoom holds what is in a room against what the server has.
func checkRoom(t *testing.T, name string, want []inJournal, got []inRoom) {
	t.Helper()
	first := map[string]inRoom{}
	var order []string
	repeats := 0
	for _, m := range got {
		if m.rcid == "" || !strings.HasPrefix(m.body, "[["+m.title+"]] ") {
			t.Errorf("%s: the room has %+v", name, m)
			continue
		}
		if before, ok := first[m.id]; ok {
			repeats++
			if before != m {
				t.Errorf("%s: %+v and %+v have one id", name, before, m)
			}
			continue
		}
		first[m.id] = m
		order = append(order, m.id)
	}
	t.Logf("%s: the room has %d messages, %d of them repeated", name, len(got), repeats)
	var positions []string
	for _, w := range want {
		positions = append(positions, w.Position)
		if m, ok := first[w.Position]; !ok {
			t.Errorf("%s: change %d at %s is not in the room", name, w.Data.ID, w.Position)
		} else if m.rcid != fmt.Sprint(w.Data.ID) || m.title != w.Data.Title {
			t.Errorf("%s: change %d is %+v in the room", name, w.Data.ID, m)
		}
	}
	if !slices.Equal(order, positions) {
		t.Errorf("%s: the changes are not in the order of the journal", name)
	}
}
