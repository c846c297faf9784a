package client_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/client"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/muc"
	"tidings/xmpp/rsm"
	"tidings/xmpp/server"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
)

// domain answers what the server itself is asked.
type domain struct{ srv *server.Server }

func (d domain) Bound(*server.Session) {}
func (d domain) Gone(service.Peer)     {}
func (d domain) Stanza(p service.Peer, st *stanza.Stanza) {
	var items []disco.Item
	for _, name := range d.srv.Domains() {
		items = append(items, disco.Item{JID: mustJID(name)})
	}
	switch {
	case st.Request() && st.Payload().Is(disco.NSItems, "query"):
		p.Send(st.AppendResult(nil, disco.AppendItems(nil, "", items, nil)))
	case st.Request():
		p.Send(st.AppendError(nil, stanza.ServiceUnavailable()))
	}
}

// foreign is another server's service of rooms: its ids are no positions, and it may keep an archive or not. The archive
// gives out pages of two messages.
type foreign struct {
	archive bool
	mu      sync.Mutex
	said    []string
	kept    int // from here on
	inside  map[service.Peer]string
	taken   string // a nick that somebody has
	joins   int
	pings   int // of occupants
}

func (f *foreign) Gone(p service.Peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.inside, p)
}

func (f *foreign) Stanza(p service.Peer, st *stanza.Stanza) {
	f.mu.Lock()
	defer f.mu.Unlock()
	bare := st.To.Bare()
	switch {
	case st.Kind == stanza.Presence && st.Type == stanza.TypeAvailable:
		f.joins++
		nick := st.To.Resource()
		if f.joins == 1 {
			f.taken = nick
		}
		if nick == f.taken {
			p.Send(st.AppendError(nil, stanza.Conflict()))
			return
		}
		if f.inside == nil {
			f.inside = map[service.Peer]string{}
		}
		f.inside[p] = st.To.String()
		b := stanza.AppendStart(nil, stanza.Presence, "", "", st.To, p.JID())
		p.Send(stanza.AppendEnd(muc.AppendUser(b, &muc.Item{Affiliation: "none", Role: "participant"}, muc.StatusSelf), stanza.Presence))
		p.Send([]byte("<message type='groupchat' from='" + bare.String() + "/old' to='" + p.JID().String() + "'><body>history that nobody asked for</body><delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/></message>"))
		p.Send(muc.AppendSubject(nil, bare, p.JID(), "", "anything"))
	case st.Request() && st.Payload().Is(mam.NS, "query") && f.archive:
		q, err := mam.ParseQuery(st.Payload())
		if err != nil {
			p.Send(st.AppendError(nil, stanza.BadRequest()))
			return
		}
		from, to := f.kept, len(f.said)
		if q.Page.After != "" {
			n := -1
			fmt.Sscanf(q.Page.After, "id.%d", &n)
			if n < f.kept || n >= len(f.said) {
				p.Send(st.AppendError(nil, stanza.ItemNotFound()))
				return
			}
			from = n + 1
		}
		if q.Page.Backward {
			from = max(from, to-q.Page.Max)
		}
		to = min(to, from+2)
		fin := mam.Fin{Complete: to == len(f.said), Page: rsm.Result{Index: -1, Count: -1}}
		for i := from; i < to; i++ {
			if fin.Page.Last = fmt.Sprintf("id.%d", i); i == from {
				fin.Page.First = fin.Page.Last
			}
			b := stanza.AppendStart(nil, stanza.Message, "", "", bare, p.JID())
			b = mam.AppendResult(b, q.ID, fin.Page.Last, time.Unix(int64(i), 0), f.message(bare.String(), "", i))
			p.Send(stanza.AppendEnd(b, stanza.Message))
		}
		p.Send(st.AppendResult(nil, fin.Append(nil)))
	case st.Request() && !st.To.IsBare() && f.inside[p] == "":
		f.pings++
		p.Send(st.AppendError(nil, stanza.NotAcceptable()))
	case st.Request() && !st.To.IsBare():
		f.pings++
		p.Send(st.AppendResult(nil, nil))
	case st.Request():
		p.Send(st.AppendError(nil, stanza.ServiceUnavailable()))
	}
}

// out shows everybody out.
func (f *foreign) out(x string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, nick := range f.inside {
		p.Send([]byte("<presence type='unavailable' from='" + nick + "' to='" + p.JID().String() + "'><x xmlns='http://jabber.org/protocol/muc#user'>" + x + "<status code='110'/></x></presence>"))
	}
	clear(f.inside)
}

// counts returns how many joins and pings there have been.
func (f *foreign) counts() (joins, pings int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.joins, f.pings
}

func (f *foreign) message(room, to string, i int) []byte {
	if to != "" {
		to = " to='" + to + "'"
	}
	return fmt.Appendf(nil, "<message xmlns='jabber:client' type='groupchat' from='%s/ann'%s><body>%s</body><stanza-id xmlns='urn:xmpp:sid:0' by='%s' id='id.%d'/><stanza-id xmlns='urn:xmpp:sid:0' by='elsewhere' id='forged'/></message>", room, to, f.said[i], room, i)
}

// say says something in all rooms, one is enough here.
func (f *foreign) say(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, text)
	for p, self := range f.inside {
		room, _, _ := strings.Cut(self, "/")
		p.Send(f.message(room, p.JID().String(), len(f.said)-1))
	}
}

const foreignRoom = "xmpp://localhost/room@foreign.localhost"

// A room of another server is read in the same way, by the ids that it gives.
func TestForeignArchive(t *testing.T) {
	f := &foreign{archive: true}
	w := startXMPP(t, func(o *server.Options) { o.ResumeWindow = -1 }, map[string]service.Service{"foreign.localhost": f})
	f.say("before")
	relay := newWire(t, w.addr, nil)
	r := readRoom(t, foreignRoom, relay.ln.Addr().String(), nil, client.Live, nil)
	r.connected()
	want := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if e := r.event(); string(e.Payload) != text || e.ContentType != "text/plain" || !e.Position.IsZero() || !strings.HasPrefix(e.ID, "id.") {
				t.Fatalf("%+v %q, want %q", e, e.Payload, text)
			}
		}
	}
	f.say("one")
	f.say("two")
	want("one", "two")
	f.mu.Lock()
	clear(f.inside)
	f.mu.Unlock()
	for i := range 5 {
		f.say(fmt.Sprint("away ", i))
	}
	relay.cut()
	want("away 0", "away 1", "away 2", "away 3", "away 4")
	f.say("back")
	want("back")

	// What it has thrown away is a gap.
	f.mu.Lock()
	clear(f.inside)
	f.mu.Unlock()
	f.say("lost")
	f.say("kept")
	f.mu.Lock()
	f.kept = len(f.said) - 1
	f.mu.Unlock()
	relay.cut()
	if gap, ok := errors.AsType[*tidings.GapError](r.err()); !ok || !gap.Asked.IsZero() {
		t.Fatalf("%v", gap)
	}
	want("kept")
}

// Where there is no archive, a lost connection is a gap.
func TestForeignWithoutArchive(t *testing.T) {
	f := &foreign{}
	w := startXMPP(t, func(o *server.Options) { o.ResumeWindow = -1 }, map[string]service.Service{"foreign.localhost": f})
	relay := newWire(t, w.addr, nil)
	r := readRoom(t, foreignRoom, relay.ln.Addr().String(), nil, client.Live, nil)
	r.connected()
	f.say("one")
	if e := r.event(); string(e.Payload) != "one" {
		t.Errorf("%+v", e)
	}
	relay.cut()
	if err := r.err(); !errors.Is(err, tidings.ErrGap) {
		t.Fatal(err)
	}
	r.connected()
	f.say("two")
	if e := r.event(); string(e.Payload) != "two" {
		t.Errorf("%+v", e)
	}
	past := readRoom(t, foreignRoom, w.addr, nil, client.AfterID("id.0"), nil)
	if err := past.err(); tidings.KindOf(err) != tidings.ErrNotFound && tidings.KindOf(err) != tidings.ErrInvalid {
		t.Errorf("%v: %v", tidings.KindOf(err), err)
	}
}

func mustJID(s string) jid.JID { return jid.MustParse(s) }

// A room that has forgotten us without a word is entered again, and read on (XEP-0410).
func TestForeignForgets(t *testing.T) {
	f := &foreign{archive: true}
	w := startXMPP(t, nil, map[string]service.Service{"foreign.localhost": f})
	r := readRoom(t, foreignRoom, w.addr, nil, client.Live, nil, client.WithSilence(20*time.Millisecond))
	r.connected()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for joins, pings := f.counts(); pings < 2; joins, pings = f.counts() {
		if ctx.Err() != nil || joins != 2 { // one was refused because of the nick
			t.Fatalf("%d joins and %d pings", joins, pings)
		}
		runtime.Gosched()
	}
	f.mu.Lock()
	clear(f.inside)
	f.mu.Unlock()
	f.say("missed")
	if e := r.event(); string(e.Payload) != "missed" {
		t.Errorf("%+v", e)
	}
	f.say("heard")
	if e := r.event(); string(e.Payload) != "heard" {
		t.Errorf("%+v", e)
	}
}

// Being shown out ends the stream if it is meant for good, and is mended otherwise.
func TestForeignShowsOut(t *testing.T) {
	for name, tt := range map[string]struct {
		x    string
		kind tidings.ErrorKind
		text string
	}{
		"banned":    {"<item affiliation='outcast' role='none'><reason>enough of you</reason></item><status code='301'/>", tidings.ErrForbidden, "enough of you"},
		"members":   {"<item affiliation='none' role='none'/><status code='322'/>", tidings.ErrForbidden, "no reason given"},
		"destroyed": {"<item affiliation='none' role='none'/><destroy><reason>moved</reason></destroy>", tidings.ErrNotFound, "moved"},
		"kicked":    {"<item affiliation='none' role='none'/><status code='307'/>", 0, ""},
		"stopped":   {"<item affiliation='none' role='none'/><status code='332'/>", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := &foreign{archive: true}
			w := startXMPP(t, nil, map[string]service.Service{"foreign.localhost": f})
			r := readRoom(t, foreignRoom, w.addr, nil, client.Live, nil)
			r.connected()
			f.out(tt.x)
			f.say("meanwhile")
			if tt.kind == 0 {
				if e := r.event(); string(e.Payload) != "meanwhile" {
					t.Errorf("%+v", e)
				}
				return
			}
			if err := r.err(); tidings.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v", err)
			}
		})
	}
}
