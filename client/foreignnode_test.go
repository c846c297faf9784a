package client_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings"
	"tidings/client"
	"tidings/xmpp/rsm"
	"tidings/xmpp/server"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

const (
	nsPubSub = "http://jabber.org/protocol/pubsub"
	nsEvent  = nsPubSub + "#event"
)

// foreignNodes is another server's PubSub with one node, as Prosody and ejabberd have it: there is no archive, notifications
// carry no id, and the past is the items that are kept, or nothing.
type foreignNodes struct {
	pages  bool // of two items, by ids of their own; else all come at once
	silent bool // items are not kept
	lasts  bool // who subscribes is sent the last item
	down   bool // it cannot be reached

	mu          sync.Mutex
	items       [][2]string // ids and texts, from the first
	subscribers map[service.Peer]string
	subscribed  int // times
	ended       int
	asked       int // for subscriptions
}

func (f *foreignNodes) Gone(service.Peer) {}

func (f *foreignNodes) Stanza(p service.Peer, st *stanza.Stanza) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := st.Payload().First()
	var b xmlstream.Builder
	switch {
	case !st.Request():
		return
	case f.down:
		p.Send(st.AppendError(nil, stanza.RemoteServerNotFound()))
		return
	case !st.Payload().Is(nsPubSub, "pubsub"):
		p.Send(st.AppendError(nil, stanza.ServiceUnavailable()))
		return
	case op.Attr("node") != "n":
		p.Send(st.AppendError(nil, stanza.ItemNotFound()))
		return
	case op.Name() == "subscribe":
		if f.subscribers == nil {
			f.subscribers = map[service.Peer]string{}
		}
		f.subscribers[p] = op.Attr("jid")
		f.subscribed++
		b.Open("pubsub", "xmlns", nsPubSub).Empty("subscription", "node", "n", "jid", op.Attr("jid"), "subscription", "subscribed").Close()
		p.Send(st.AppendResult(nil, b.Bytes()))
		if n := len(f.items); f.lasts && n > 0 {
			p.Send(f.message(p, "<item id='"+f.items[n-1][0]+"'><json xmlns='urn:xmpp:json:0'>"+f.items[n-1][1]+"</json></item>", "<delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/>"))
		}
		return
	case op.Name() == "unsubscribe":
		for q, j := range f.subscribers {
			if j == op.Attr("jid") {
				delete(f.subscribers, q)
				f.ended++
			}
		}
	case op.Name() == "subscriptions":
		f.asked++
		b.Open("pubsub", "xmlns", nsPubSub).Open("subscriptions")
		if j := f.subscribers[p]; j != "" {
			b.Empty("subscription", "jid", j, "subscription", "subscribed")
		}
		b.Close().Close()
	case op.Name() == "items" && f.silent:
		p.Send(st.AppendError(nil, stanza.FeatureNotImplemented().With(nsPubSub+"#errors", "unsupported", "feature", "persistent-items")))
		return
	case op.Name() == "items":
		from, to := 0, len(f.items)
		if page, err := rsm.Parse(rsm.Find(st.Payload())); err == nil && f.pages {
			fmt.Sscanf(page.After, "at %d", &from)
			to = min(to, from+2)
		}
		b.Open("pubsub", "xmlns", nsPubSub).Open("items", "node", "n")
		for _, it := range f.items[from:to] {
			b.Open("item", "id", it[0]).TextElement("json", it[1], "xmlns", "urn:xmpp:json:0").Close()
		}
		b.Close()
		if f.pages {
			r := rsm.Result{Index: -1, Count: len(f.items)}
			if from < to {
				r.First, r.Last, r.Index = "at", fmt.Sprint("at ", to), from
			}
			b.Raw(r.Append(nil))
		}
		b.Close()
	}
	p.Send(st.AppendResult(nil, b.Bytes()))
}

func (f *foreignNodes) message(p service.Peer, items, behind string) []byte {
	return fmt.Appendf(nil, "<message from='nodes.localhost' to='%s' type='headline'><event xmlns='%s'><items node='n'>%s</items></event>%s</message>", p.JID(), nsEvent, items, behind)
}

// publish publishes items whose texts are their ids and a version.
func (f *foreignNodes) publish(items ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, text := range items {
		id, _, _ := strings.Cut(text, ".")
		f.items = slices.DeleteFunc(f.items, func(it [2]string) bool { return it[0] == id })
		f.items = append(f.items, [2]string{id, text})
		for p := range f.subscribers {
			p.Send(f.message(p, "<item id='"+id+"'><json xmlns='urn:xmpp:json:0'>"+text+"</json></item>", ""))
		}
	}
}

func (f *foreignNodes) retract(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items = slices.DeleteFunc(f.items, func(it [2]string) bool { return it[0] == id })
	for p := range f.subscribers {
		p.Send(f.message(p, "<retract id='"+id+"'/>", ""))
	}
}

// away is what is done while nobody is subscribed.
func (f *foreignNodes) away(relay *wire, do func()) {
	f.mu.Lock()
	clear(f.subscribers)
	f.mu.Unlock()
	do()
	relay.cut()
}

const foreignNode = "xmpp://localhost/nodes.localhost?;node=n"

func startForeignNodes(t *testing.T, f *foreignNodes) (*xmppWorld, *wire) {
	w := startXMPP(t, func(o *server.Options) { o.ResumeWindow = -1 }, map[string]service.Service{"nodes.localhost": f})
	return w, newWire(t, w.addr, nil)
}

func (r *reader) texts(want ...string) {
	r.t.Helper()
	for _, text := range want {
		e := r.event()
		got := string(e.Payload)
		if e.Kind == tidings.Retract {
			got = "-" + e.ID
		}
		if id, _, _ := strings.Cut(text, "."); got != text || e.Kind == tidings.Publish && e.ID != id || e.Topic != "/~n" || !e.Position.IsZero() {
			r.t.Fatalf("%+v %q, want %q", e, e.Payload, text)
		}
	}
}

// A digest (pubsub#digest) that another subscription of the account brings is passed over; several items that were published at once
// are not.
func TestNodeDigest(t *testing.T) {
	t.Parallel()
	f := &foreignNodes{}
	_, relay := startForeignNodes(t, f)
	r := readRoom(t, foreignNode, relay.ln.Addr().String(), nil, client.Live, nil)
	r.connected()
	send := func(behind string, ids ...string) {
		var items strings.Builder
		for _, id := range ids {
			fmt.Fprintf(&items, "<item id='%s'><json xmlns='urn:xmpp:json:0'>%s.1</json></item>", id, id)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for p := range f.subscribers {
			p.Send(f.message(p, items.String(), behind))
		}
	}
	send("<stanza-id xmlns='urn:xmpp:sid:0' by='nodes.localhost' id='5f3a9c01-1042'/>", "a", "b")
	send("", "c", "d")
	r.texts("c.1", "d.1")
}

func (r *reader) gap() {
	r.t.Helper()
	if gap, ok := errors.AsType[*tidings.GapError](r.err()); !ok || !gap.Oldest.IsZero() {
		r.t.Fatalf("%v", gap)
	}
}

// Where there is no archive, the items that are new or changed are told after an interruption, each once.
func TestForeignNode(t *testing.T) {
	for name, f := range map[string]*foreignNodes{"all at once": {}, "in pages": {pages: true}, "with the last item": {lasts: true, pages: true}} {
		t.Run(name, func(t *testing.T) {
			w, relay := startForeignNodes(t, f)
			f.publish("1", "2", "3")
			r := readRoom(t, foreignNode, relay.ln.Addr().String(), nil, client.Live, nil)
			r.connected()
			f.publish("4", "4", "1.1")
			r.texts("4", "4", "1.1")
			f.retract("2")
			r.texts("-2")
			f.away(relay, func() { f.publish("5", "1.2", "6", "7", "8") })
			r.texts("5", "1.2", "6", "7", "8")
			r.connected()
			f.publish("8", "9") // as if the notification of what was read were late
			r.texts("9")
			f.publish("9")
			r.texts("9")
			f.away(relay, func() {})
			r.connected()
			f.publish("10")
			r.texts("10")
			// Where nothing is left of what was known, more may have come and gone.
			f.away(relay, func() {
				for _, id := range []string{"1", "3", "4", "5", "6", "7", "8", "9", "10"} {
					f.retract(id)
				}
				f.publish("11")
			})
			r.gap()
			r.texts("11")

			past := readRoom(t, foreignNode, w.addr, nil, client.AfterID("11"), nil)
			past.connected()
			f.publish("12")
			past.texts("12")
			r.texts("12")
			past = readRoom(t, foreignNode, w.addr, nil, client.AfterID("11"), nil)
			past.texts("12")
			past = readRoom(t, foreignNode, w.addr, nil, client.AfterID("nothing"), nil)
			past.gap()
			past.texts("11", "12")
			past = readRoom(t, foreignNode, w.addr, nil, client.Since(time.Now().Add(-time.Hour)), nil)
			if err := past.err(); !errors.Is(err, tidings.ErrInvalid) || !strings.Contains(err.Error(), "no archive") {
				t.Error(err)
			}
		})
	}
}

// Where items are not even kept, an interruption is a gap.
func TestForeignNodeKeepsNothing(t *testing.T) {
	f := &foreignNodes{silent: true, lasts: true}
	w, relay := startForeignNodes(t, f)
	f.publish("1")
	r := readRoom(t, foreignNode, relay.ln.Addr().String(), nil, client.Live, nil)
	r.connected()
	f.publish("2")
	r.texts("2")
	f.away(relay, func() { f.publish("3") })
	r.gap()
	r.texts("3") // as the last item
	r.connected()
	f.publish("4")
	r.texts("4")
	past := readRoom(t, foreignNode, w.addr, nil, client.AfterID("1"), nil)
	if err := past.err(); !errors.Is(err, tidings.ErrInvalid) || !strings.Contains(err.Error(), "nothing to go on from") {
		t.Error(err)
	}
}

// A service that was there and cannot be reached is waited for.
func TestForeignNodeAway(t *testing.T) {
	f := &foreignNodes{}
	_, relay := startForeignNodes(t, f)
	set := func(down bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.down = down
	}
	r := readRoom(t, foreignNode, relay.ln.Addr().String(), nil, client.Live, nil)
	r.connected()
	f.publish("1")
	r.texts("1")
	set(true)
	f.away(relay, func() { f.publish("2") })
	for {
		r.mu.Lock()
		told := slices.ContainsFunc(r.notices, func(n client.Notice) bool {
			return errors.Is(n.Err, tidings.ErrUnavailable) && strings.Contains(n.Err.Error(), "subscribing to n at nodes.localhost: remote-server-not-found")
		})
		r.mu.Unlock()
		if told {
			break
		}
		runtime.Gosched()
	}
	set(false)
	r.texts("2")
}

// A service that has forgotten the subscription without a word is subscribed to again; one that does not forget those of
// sessions that are gone is told to.
func TestForeignNodeForgets(t *testing.T) {
	f := &foreignNodes{}
	_, relay := startForeignNodes(t, f)
	r := readRoom(t, strings.Replace(foreignNode, "//", "//hamlet:hamlet@", 1), relay.ln.Addr().String(), nil, client.Live, nil, client.WithSilence(20*time.Millisecond))
	r.connected()
	count := func() (subscribed, ended, asked, left int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.subscribed, f.ended, f.asked, len(f.subscribers)
	}
	for _, _, asked, _ := count(); asked < 2; _, _, asked, _ = count() {
		runtime.Gosched()
	}
	f.publish("1")
	r.texts("1")
	f.away(&wire{}, func() { f.publish("2") })
	r.texts("2")
	relay.cut()
	r.connected()
	if subscribed, _, _, _ := count(); subscribed < 3 {
		t.Errorf("subscribed %d times", subscribed)
	}
	f.publish("3")
	r.texts("3")
	for _, ended, _, left := count(); ended < 1 || left != 1; _, ended, _, left = count() { // of the lost session
		runtime.Gosched()
	}
	r.cancel()
	for _, _, _, left := count(); left != 0; _, _, _, left = count() {
		runtime.Gosched()
	}
}
