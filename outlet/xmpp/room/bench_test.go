package room_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"

	"tidings"
	"tidings/access"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp"
	"tidings/outlet/xmpp/room"
	"tidings/recentchange"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// BenchmarkContent is what one change costs in one room, once for all its visitors.
func BenchmarkContent(b *testing.B) {
	e := tidings.Event{Topic: "/recentchange/en.wikipedia.org", ContentType: recentchange.TypeRC, Position: tidings.Position{Epoch: 1, Offset: 2},
		Payload: []byte(`<rc type="edit" ns="0" title="Foo &amp; Bar" rcid="42" pageid="7" revid="101" old_revid="100" user="Alice" minor="" oldlen="10" newlen="25" timestamp="2010-10-12T08:57:03Z" comment="typo" wikiid="enwiki" />`)}
	it := hub.NewItem(&e, outlet.Decoder(nil))
	it.Value()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = xmpp.AppendContent(dst[:0], it)
	}
	b.SetBytes(int64(len(dst)))
}

// idle is a peer that takes everything and keeps nothing.
type idle struct{ jid jid.JID }

func (p *idle) JID() jid.JID                         { return p.jid }
func (p *idle) Account() string                      { return "" }
func (p *idle) Anonymous() bool                      { return true }
func (p *idle) Send(b []byte)                        { io.Discard.Write(b) }
func (p *idle) Attach(f service.Flow) service.Handle { return handle{} }
func (p *idle) Task(f func(ctx context.Context) func()) bool {
	if then := f(context.Background()); then != nil {
		then()
	}
	return true
}

type handle struct{}

func (handle) Detach()                              {}
func (handle) Swap(func(service.Mark) service.Flow) {}

// BenchmarkJoin is what a visitor costs who enters a room without its history, and what it keeps here: its subscription to
// the hub and what its session keeps come on top.
func BenchmarkJoin(b *testing.B) {
	j := journal.NewMemory(outlettest.Options(""))
	defer j.Close()
	bucket, err := j.Bucket(b.Context(), "tokens")
	if err != nil {
		b.Fatal(err)
	}
	policy, err := access.Open(b.Context(), bucket, access.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer policy.Close()
	h := hub.New(j, policy, hub.Options{Decode: outlet.Decoder(nil)})
	defer h.Close()
	e, err := edge.New(edge.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
	}()
	for range 30 {
		if _, err := j.Append(b.Context(), tidings.Event{Topic: "/recentchange/en.wikipedia.org", ContentType: recentchange.TypeRC,
			Payload: []byte(`<rc type="edit" title="A" user="B" wikiid="enwiki"/>`)}); err != nil {
			b.Fatal(err)
		}
	}
	s := newServer(b, room.Options{Hub: h, Edge: e, May: policy.May, Audience: policy.Audience,
		Topics: func(context.Context, tidings.Pattern) ([]tidings.Topic, error) {
			return []tidings.Topic{"/recentchange/en.wikipedia.org"}, nil
		}})
	var d xmlstream.Document
	el, err := d.Parse([]byte("<presence to='en.wikipedia.org@conference.localhost/n'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>"),
		xmlstream.NewContext("jabber:client"))
	if err != nil {
		b.Fatal(err)
	}
	st, err := stanza.Parse(el)
	if err != nil {
		b.Fatal(err)
	}
	peers := make([]*idle, b.N)
	for i := range peers {
		p := jid.MustParse(fmt.Sprintf("u%d@localhost/x", i))
		peers[i] = &idle{p}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ReportAllocs()
	b.ResetTimer()
	for _, p := range peers {
		st.From = p.jid
		s.Stanza(p, &st)
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/float64(b.N), "kept-B/op")
	if got := s.Stats().Occupants; got != int64(b.N) {
		b.Fatalf("%d of %d are in", got, b.N)
	}
	runtime.KeepAlive(peers)
}
