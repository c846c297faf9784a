// Package servicetest has a carrier of services for tests: one address, without a network and without another goroutine.
package servicetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidings/edge"
	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Peer is a service.Peer whose tasks and flows go on when Step is called. It checks that all it is sent is stanzas of the service
// to its address. One goroutine uses it.
type Peer struct {
	// Broadcast is given presence that is sent to nobody by an account; nil: the service is not told of it.
	Broadcast func(p service.Peer, st *stanza.Stanza)
	// Mute is set while nobody reads: nothing goes on.
	Mute bool
	// Refuse has no task taken, and flows ended with it.
	Refuse error

	Tasks int             // that were given
	Out   []stanza.Stanza // that were sent

	t       testing.TB
	svc     service.Service
	domain  string
	jid     jid.JID
	account string
	ops     []func()
	flows   []*attached
	said    bool
	split   xmlstream.Scanner
}

// New returns a peer of the service of a domain. address is its full JID, of an account unless it is anonymous.
func New(t testing.TB, svc service.Service, domain, address string, anonymous bool) *Peer {
	p := &Peer{t: t, svc: svc, domain: domain, jid: jid.MustParse(address)}
	if !anonymous {
		p.account = p.jid.Local()
	}
	p.split.Feed([]byte("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"))
	if kind, _, err := p.split.Next(); kind != xmlstream.Open || err != nil {
		t.Fatal(kind, err)
	}
	return p
}

// JID implements service.Peer.
func (p *Peer) JID() jid.JID { return p.jid }

// Account implements service.Peer.
func (p *Peer) Account() string { return p.account }

// Anonymous implements service.Peer.
func (p *Peer) Anonymous() bool { return p.account == "" }

// Send implements service.Peer.
func (p *Peer) Send(b []byte) {
	if len(b) == 0 {
		p.t.Error("nothing is sent")
	}
	p.split.Feed(bytes.Clone(b))
	for {
		kind, raw, err := p.split.Next()
		if err != nil {
			p.t.Fatalf("what is sent is no XML: %v\n%.2000s", err, b)
		}
		if kind == xmlstream.None {
			return
		}
		var d xmlstream.Document
		el, err := d.Parse(bytes.Clone(raw), xmlstream.NewContext("jabber:client"))
		if err != nil {
			p.t.Fatalf("what is sent is not well-formed: %v\n%.2000s", err, raw)
		}
		st, err := stanza.Parse(el)
		if err != nil || st.To != p.jid || st.From.Domain() != p.domain {
			p.t.Fatalf("what is sent is no stanza of the service for %s: %v\n%.2000s", p.jid, err, raw)
		}
		p.Out = append(p.Out, st)
	}
}

// Task implements service.Peer.
func (p *Peer) Task(f func(ctx context.Context) func()) bool {
	if p.Refuse != nil {
		return false
	}
	p.Tasks++
	p.ops = append(p.ops, func() {
		if then := f(context.Background()); then != nil {
			then()
		}
	})
	return true
}

// attached is a flow of a peer.
type attached struct {
	p    *Peer
	flow service.Flow
	src  service.Source
	gone bool
}

// Attach implements service.Peer.
func (p *Peer) Attach(f service.Flow) service.Handle {
	a := &attached{p: p, flow: f}
	p.ops = append(p.ops, func() {
		switch {
		case a.gone:
		case p.Refuse != nil:
			a.gone = true
			f.Ended(p.Refuse)
		default:
			p.flows = append(p.flows, a)
			a.open(f.Mark())
		}
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
	a.close()
}

func (a *attached) close() {
	if a.src != nil {
		a.src.Close()
		a.src = nil
	}
}

// Detach implements service.Handle.
func (a *attached) Detach() {
	a.p.ops = append(a.p.ops, func() {
		if !a.gone {
			a.remove()
		}
	})
}

// Swap implements service.Handle.
func (a *attached) Swap(next func(at service.Mark) service.Flow) {
	a.p.ops = append(a.p.ops, func() {
		if a.gone {
			return
		}
		if f := next(a.src.Mark()); f != nil {
			a.close()
			a.flow = f
			a.open(f.Mark())
		}
	})
}

// Step does what waits and takes one message of each flow. It reports whether there was something to do.
func (p *Peer) Step() (again bool) {
	if p.Mute {
		return false
	}
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

// maxSteps is more than any test has to do at once.
const maxSteps = 1_000_000

// Run does all that the peers have to do.
func Run(peers ...*Peer) {
	for steps, again := 0, true; again; {
		again = false
		for _, p := range peers {
			for p.Step() {
				if again = true; steps > maxSteps {
					p.t.Fatal("it goes on and on")
				}
				steps++
			}
		}
	}
}

// Resume lets every flow go on behind its mark, as after a resumption of the session.
func (p *Peer) Resume() {
	for _, a := range slices.Clone(p.flows) {
		m := a.src.Mark()
		a.close()
		a.open(m)
	}
}

// Say gives the service a stanza of the peer.
func (p *Peer) Say(text string) {
	p.t.Helper()
	if _, ok := p.Try(text); !ok {
		p.t.Fatalf("no stanza for the service: %.500s", text)
	}
}

// Try is Say for what may be no stanza, or none for the service: then ok is false. It returns the stanza without its element.
func (p *Peer) Try(text string) (st stanza.Stanza, ok bool) {
	var d xmlstream.Document
	el, err := d.Parse([]byte(strings.TrimSpace(text)), xmlstream.NewContext("jabber:client"))
	if err != nil {
		return st, false
	}
	if st, err = stanza.Parse(el); err != nil {
		return st, false
	}
	st.From = p.jid
	said := st
	said.Element = xmlstream.Element{}
	switch {
	case st.To.Domain() == p.domain:
		p.said = true
		p.svc.Stanza(p, &st)
	case st.To.IsZero() && st.Kind == stanza.Presence && p.account != "" && p.Broadcast != nil:
		p.said = true
		p.Broadcast(p, &st)
	default:
		return said, false // the carrier answers
	}
	d.Parse([]byte("<gone/>"), nil) // what the call was given is valid no more
	return said, true
}

// Gone ends the peer's session.
func (p *Peer) Gone() {
	for _, a := range p.flows {
		a.gone = true
		a.close()
	}
	p.flows, p.ops = nil, nil
	if p.said {
		p.svc.Gone(p)
	}
	p.said = false
}
