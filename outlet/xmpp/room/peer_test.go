package room_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/outlet/xmpp/room"
	"tidings/recentchange"
	"tidings/xmpp/jid"
	"tidings/xmpp/server"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// wikis are those of the configuration; f1 and f2 are two on one host.
var wikis = recentchange.Wikis{
	"w1":    {ServerName: "w1.example.org", ServerURL: "https://w1.example.org", ScriptPath: "/w"},
	"f1":    {ServerName: "farm.example.org", ScriptPath: "/f1"},
	"f2":    {ServerName: "farm.example.org", ScriptPath: "/f2"},
	"Upper": {ServerName: "upper.example.org"},
}

// newWorld returns a world whose events below /recentchange and /brief are removed by Trim.
func newWorld(t *testing.T) *outlettest.World {
	o := outlettest.Options("")
	o.Retention = append(o.Retention, journal.Retention{Prefix: "/recentchange", Age: time.Hour})
	j := journal.NewMemory(o)
	t.Cleanup(func() { j.Close() })
	return outlettest.NewWorld(t, j, hub.Options{Decode: outlet.Decoder(wikis)}, edge.Options{})
}

func options(w *outlettest.World) room.Options {
	return room.Options{
		Hub: w.Hub, Edge: w.Edge, Authenticate: w.Policy.Authenticate, May: w.Policy.May, Audience: w.Policy.Audience,
		Topics: func(ctx context.Context, p tidings.Pattern) (ts []tidings.Topic, err error) {
			infos, err := w.Journal.Topics(ctx, p)
			for _, i := range infos {
				ts = append(ts, i.Topic)
			}
			return ts, err
		},
		WikiOf: func(ctx context.Context, t tidings.Topic) (string, error) {
			e, err := w.Journal.Last(ctx, t)
			if err != nil {
				return "", err
			}
			rc, _ := outlet.Decoder(nil)(&e).(*recentchange.RecentChange)
			if rc == nil {
				return "", nil
			}
			return rc.Wiki.Value(), nil
		},
		Wikis: wikis,
		Rooms: map[string]room.Room{
			"mixed":  {Title: "News & sport", Patterns: []tidings.Pattern{tidings.MustPattern("/news/**"), tidings.MustPattern("/sport")}},
			"secret": {Patterns: []tidings.Pattern{tidings.MustPattern("/private/x")}},
			"brief":  {Patterns: []tidings.Pattern{tidings.MustPattern("/brief/**")}},
		},
		Domain:  "conference.localhost",
		Version: "test-1",
	}
}

func newServer(t testing.TB, o room.Options) *room.Server {
	t.Helper()
	s, err := room.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// peer is a carrier of one address without a network: everything happens on the goroutine that reads. It checks that all it
// is sent is stanzas.
type peer struct {
	t       testing.TB
	svc     service.Service
	jid     jid.JID
	account string
	refuse  bool // tasks and flows
	mute    bool // nobody reads
	onTask  func()
	ops     []func()
	flows   []*attached
	used    bool
	out     [][]byte // stanzas
	split   xmlstream.Scanner
}

func newPeer(t testing.TB, svc service.Service, address string) *peer {
	p := &peer{t: t, svc: svc, jid: jid.MustParse(address)}
	if !strings.HasPrefix(address, "anonymous") {
		p.account = p.jid.Local()
	}
	p.split.Feed([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"))
	if kind, _, err := p.split.Next(); kind != xmlstream.Open || err != nil {
		t.Fatal(kind, err)
	}
	return p
}

func (p *peer) JID() jid.JID    { return p.jid }
func (p *peer) Account() string { return p.account }
func (p *peer) Anonymous() bool { return p.account == "" }

func (p *peer) Send(b []byte) {
	if len(b) == 0 {
		p.t.Error("nothing is sent")
	}
	p.split.Feed(bytes.Clone(b))
	for {
		kind, st, err := p.split.Next()
		if err != nil {
			p.t.Fatalf("what is sent is no XML: %v\n%s", err, b)
		}
		if kind == xmlstream.None {
			return
		}
		var d xmlstream.Document
		el, err := d.Parse(st, xmlstream.NewContext("jabber:client"))
		if err != nil {
			p.t.Fatalf("what is sent is not well-formed: %v\n%s", err, st)
		}
		parsed, err := stanza.Parse(el)
		if err != nil || parsed.To != p.jid || parsed.From.Domain() != "conference.localhost" {
			p.t.Fatalf("what is sent is no stanza for %s: %v\n%s", p.jid, err, st)
		}
		p.out = append(p.out, bytes.Clone(st))
	}
}

func (p *peer) Task(f func(ctx context.Context) func()) bool {
	if p.refuse {
		return false
	}
	if p.onTask != nil {
		p.onTask()
	}
	p.ops = append(p.ops, func() {
		if then := f(context.Background()); then != nil {
			then()
		}
	})
	return true
}

// attached is a flow of a peer.
type attached struct {
	p    *peer
	flow service.Flow
	src  service.Source
	gone bool
}

func (p *peer) Attach(f service.Flow) service.Handle {
	a := &attached{p: p, flow: f}
	p.ops = append(p.ops, func() {
		if a.gone {
			return
		}
		if p.refuse {
			a.gone = true
			f.Ended(server.ErrTooManyFlows)
			return
		}
		p.flows = append(p.flows, a)
		a.open(f.Mark())
	})
	return a
}

func (a *attached) open(m service.Mark) {
	_, src, err := a.flow.Open(m)
	if err != nil {
		a.remove()
		a.flow.Ended(err)
		return
	}
	a.src = src
}

func (a *attached) remove() {
	a.gone = true
	a.p.flows = slices.DeleteFunc(a.p.flows, func(b *attached) bool { return a == b })
	if a.src != nil {
		a.src.Close()
	}
}

func (a *attached) Detach() {
	if !a.gone {
		a.remove()
	}
}

func (a *attached) Swap(func(service.Mark) service.Flow) { a.p.t.Error("Swap is not expected") }

// run does everything that can be done.
func (p *peer) run() {
	for !p.mute && p.step() {
	}
}

// step does what waits and takes one message of each flow; it reports whether there was something to do.
func (p *peer) step() (again bool) {
	again = len(p.ops) > 0
	ops := p.ops
	p.ops = nil
	for _, f := range ops {
		f()
	}
	for _, a := range slices.Clone(p.flows) {
		if a.gone || a.src == nil {
			continue
		}
		b, st := a.src.Next()
		switch st {
		case edge.Idle:
			continue
		case edge.Behind:
			a.src.Fetch(context.Background())
		case edge.Ready:
			m, rest := service.Cut(b)
			if len(a.src.Advance(len(b)-len(rest))) > 0 {
				p.t.Error("Advance at the end of a message returns a rest")
			}
			p.Send(fmt.Appendf(nil, "<message to='%s'%s", p.jid, m))
		case edge.Ended:
			a.remove()
			a.flow.Ended(nil)
		}
		again = true
	}
	return again
}

// resume lets every flow go on after its mark, as after a resumption.
func (p *peer) resume() {
	for _, a := range slices.Clone(p.flows) {
		m := a.src.Mark()
		a.src.Close()
		a.src = nil
		a.open(m)
	}
}

// say gives the service a stanza of the peer.
func (p *peer) say(text string) {
	if _, ok := p.try(text); !ok {
		p.t.Fatalf("no stanza: %s", text)
	}
}

// try is say for what may be no stanza.
func (p *peer) try(text string) (st stanza.Stanza, ok bool) {
	var d xmlstream.Document
	el, err := d.Parse([]byte(strings.TrimSpace(text)), xmlstream.NewContext("jabber:client"))
	if err != nil {
		return st, false
	}
	st, err = stanza.Parse(el)
	st.From = p.jid
	if err != nil || st.To.Domain() != "conference.localhost" { // the carrier answers
		return st, false
	}
	p.used = true
	p.svc.Stanza(p, &st)
	copied := st
	// What the call was given is valid no more.
	d.Parse([]byte("<gone/>"), nil)
	return copied, true
}

// parse reads a stanza that the peer was sent.
func (p *peer) parse(b []byte) stanza.Stanza {
	var d xmlstream.Document
	el, err := d.Parse(b, xmlstream.NewContext("jabber:client"))
	if err != nil {
		p.t.Fatal(err)
	}
	st, err := stanza.Parse(el)
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

func (p *peer) gone() {
	for _, a := range p.flows {
		a.gone = true
		if a.src != nil {
			a.src.Close()
		}
	}
	p.flows, p.ops = nil, nil
	if p.used {
		p.svc.Gone(p)
	}
}

// conn is a peer as a connection of lines, for transcripts: one stanza to a line.
type conn struct {
	*peer
	pending []byte
}

func (c *conn) Write(b []byte) (int, error) {
	if text := strings.TrimSpace(string(b)); text != "" {
		c.say(text)
	}
	return len(b), nil
}

func (c *conn) Read(b []byte) (int, error) {
	if len(c.pending) == 0 {
		c.run()
		for _, st := range c.out {
			c.pending = append(append(c.pending, bytes.ReplaceAll(st, []byte("\n"), []byte("&#xA;"))...), "\r\n"...)
		}
		c.out = nil
	}
	if len(c.pending) == 0 {
		return 0, fmt.Errorf("nothing more is said: %w", io.ErrNoProgress)
	}
	n := copy(b, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

func (c *conn) Close() error                     { c.gone(); return nil }
func (c *conn) LocalAddr() net.Addr              { return nil }
func (c *conn) RemoteAddr() net.Addr             { return nil }
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
