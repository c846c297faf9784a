package room_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/room"
	model "tidings/pubsub"
	"tidings/xmpp/component"
	"tidings/xmpp/jid"
	"tidings/xmpp/xmpptest"
)

// The domains of the tests: of the component and of the server behind it.
const (
	linked = "rooms.example.org"
	secret = "hush"
)

// process is a server with rooms behind a link.
type process struct {
	*outlettest.World
	srv   *room.Server
	nodes *model.Service
	stop  func() // gracefully
}

func run(w *outlettest.World, h *xmpptest.Host) *process {
	w.Helper()
	ctx := context.Background()
	o := options(w)
	o.Link, o.Domain = true, linked
	p := &process{World: w, srv: newServer(w.T, o)}
	bucket, err := w.Journal.Bucket(ctx, "nodes")
	if err != nil {
		w.Fatal(err)
	}
	p.nodes, err = model.Open(ctx, model.Options{Store: bucket, Log: w.Journal, Hub: w.Hub, Policy: w.Policy, Domain: "localhost"})
	if err != nil {
		w.Fatal(err)
	}
	w.Policy.OnChange(p.srv.Recheck)
	l, err := component.New(component.Options{Edge: w.Edge, Addr: h.Addr(), Domain: linked, Secret: secret})
	if err != nil {
		w.Fatal(err)
	}
	if err := l.Handle(linked, p.srv); err != nil {
		w.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() {
		if err := l.Run(running); err != nil {
			w.Error(err)
		}
	})
	p.stop = sync.OnceFunc(func() {
		if err := w.Hub.Drain(ctx); err != nil {
			w.Error(err)
		}
		within, done := context.WithTimeout(ctx, time.Minute)
		defer done()
		if err := p.srv.Stop(within); err != nil {
			w.Error(err)
		}
		cancel()
		work.Wait()
		h.Gone(linked)
		p.nodes.Close()
	})
	w.Cleanup(p.stop)
	return p
}

// enter has an address enter a room, and waits until it is in.
func enter(h *xmpptest.Host, who, where string) {
	h.Send(linked, "<presence from='"+who+"' to='"+where+"@"+linked+"/nick'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>")
	h.Wait(linked, "<message", "to='"+who+"'", "<subject>")
	h.Wait(linked, "<presence", "to='"+who+"'", "code='110'")
	h.Wait(linked, "<presence", "to='"+who+"'", "/rc'")
}

// drain waits until the hub has what there is: a visitor without a history has none of it.
func drain(w *outlettest.World) {
	w.Helper()
	if err := w.Hub.Drain(context.Background()); err != nil {
		w.Fatal(err)
	}
}

// said returns what was said in rooms, by address.
func said(stanzas []string) map[string]int {
	n := map[string]int{}
	for _, st := range stanzas {
		if strings.HasPrefix(st, "<message") && strings.Contains(st, "type='groupchat'") {
			_, to, _ := strings.Cut(st, "to='")
			to, _, _ = strings.Cut(to, "'")
			n[to]++
		}
	}
	return n
}

// Visitors of other servers share what is written once for each; who goes, or comes back as undeliverable, gets nothing more; a
// stop shows out those who are left.
func TestLink(t *testing.T) {
	t.Parallel()
	w, h := newWorld(t), xmpptest.NewHost(t, secret)
	w.Publish("/sport", 1, 1)
	drain(w)
	p := run(w, h)
	const romeo, juliet, nurse = "romeo@example.org/phone", "juliet@other.lit/balcony", "nurse@example.org/x"
	for _, j := range []string{romeo, juliet, nurse} {
		enter(h, j, "mixed")
	}
	w.Publish("/sport", 2, 2)
	for _, j := range []string{romeo, juliet, nurse} {
		h.Wait(linked, "to='"+j+"'", "type='groupchat'", "stanza-id")
	}
	h.Send(linked, "<presence type='unavailable' from='"+romeo+"' to='mixed@"+linked+"/nick'/>")
	h.Wait(linked, "<presence", "to='"+romeo+"'", "type='unavailable'", "code='110'")
	h.Send(linked, "<message type='error' from='"+nurse+"' to='mixed@"+linked+"'><error type='wait'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
	h.Wait(linked, "<presence", "to='"+nurse+"'", "type='unavailable'", "code='333'")
	w.Publish("/sport", 3, 4)
	p.stop()
	got := h.Take(linked)
	if n := said(got); len(n) != 1 || n[juliet] != 2 {
		t.Errorf("%v", n)
	}
	if last := got[len(got)-1]; !strings.Contains(last, "to='"+juliet+"'") || !strings.Contains(last, "type='unavailable'") || !strings.Contains(last, "code='332'") {
		t.Errorf("shown out by %s", last)
	}
	if st := p.srv.Stats(); st.Occupants != 0 || st.Dropped[room.DropBounced] != 1 {
		t.Errorf("%+v", st)
	}

	// After a restart nobody is there: who asks is told so (XEP-0410), and enters again.
	p = run(w, h)
	h.Send(linked, "<iq type='get' id='self' from='"+juliet+"' to='mixed@"+linked+"/nick'><ping xmlns='urn:xmpp:ping'/></iq>")
	if got := h.Wait(linked, "id='self'"); !strings.Contains(got, "not-acceptable") {
		t.Errorf("a ping of who is not there: %s", got)
	}
	enter(h, juliet, "mixed")
	w.Publish("/sport", 5, 5)
	p.stop()
	if n := said(h.Take(linked)); len(n) != 1 || n[juliet] != 1 {
		t.Errorf("%v", n)
	}
}

// Who loses a right that everybody has is shown out of what it would be read in before the request is answered; nobody else is.
func TestLinkRevocation(t *testing.T) {
	t.Parallel()
	w, h := newWorld(t), xmpptest.NewHost(t, secret)
	p := run(w, h)
	ctx := context.Background()
	system := model.Entity{Actor: tidings.Actor{Kind: tidings.System}}
	for _, node := range []string{"/news/open", "/news/closed"} {
		if _, err := p.nodes.Create(ctx, system, node, nil); err != nil {
			t.Fatal(err)
		}
		w.Publish(node, 1, 1)
	}
	affiliate := func(node, j string, is model.Affiliation) {
		t.Helper()
		if err := p.nodes.SetAffiliations(ctx, system, node, []model.Affiliated{{JID: jid.MustParse(j).Bare().String(), Affiliation: is}}); err != nil {
			t.Fatal(err)
		}
	}
	drain(w)
	const romeo, juliet, nurse, tybalt = "romeo@example.org/phone", "juliet@other.lit/balcony", "nurse@example.org/x", "tybalt@example.org/x"
	affiliate("/news/closed", nurse, model.Member)
	affiliate("/news/closed", tybalt, model.Member)
	if err := p.nodes.Configure(ctx, system, "/news/closed", model.Values{"access_model": {"whitelist"}}); err != nil {
		t.Fatal(err)
	}
	for _, j := range []string{romeo, juliet, nurse, tybalt} {
		enter(h, j, "mixed")
	}
	w.Publish("/news/open", 2, 2)
	w.Publish("/news/closed", 2, 2)
	for _, j := range []string{romeo, juliet, nurse, tybalt} {
		h.Wait(linked, "to='"+j+"'", "type='groupchat'", "topic='/news/open'")
	}
	for _, j := range []string{nurse, tybalt} {
		h.Wait(linked, "to='"+j+"'", "type='groupchat'", "topic='/news/closed'")
	}
	affiliate("/news/open", romeo, model.Outcast)
	affiliate("/news/closed", tybalt, model.None)
	w.Publish("/news/open", 3, 3)
	w.Publish("/news/closed", 3, 3)
	for _, j := range []string{romeo, tybalt} {
		h.Wait(linked, "<presence", "to='"+j+"'", "type='unavailable'", "code='321'")
	}
	p.stop()
	if n := said(h.Take(linked)); len(n) != 2 || n[juliet] != 1 || n[nurse] != 2 {
		t.Errorf("%v", n)
	}
}
