package component

import (
	"context"
	"hash/fnv"
	"io"
	"sync/atomic"
	"time"

	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/xmlstream"
)

// peer is an address that a service talks to. It implements service.Peer.
type peer struct {
	l      *Link
	served *served
	addr   jid.JID
	head   string       // what stands in the place of service.To
	lane   uint8        // that all which is sent to its account goes over, so that it stays in order
	heard  atomic.Int64 // when something was heard of it, or asked for it, in seconds of Unix time

	flows []*attached // of the link's owner

	// Guarded by Link.mu.
	gone    bool
	lasting bool // Link.Peer was asked for it
	told    bool // the service was given stanzas of it
	jobs    *jobs
}

var _ service.Peer = (*peer)(nil)

// newPeerLocked makes a peer known. mu is held.
func (l *Link) newPeerLocked(v *served, addr jid.JID) *peer {
	p := &peer{l: l, served: v, addr: addr, head: headFor(addr), lane: l.laneOf(addr)}
	v.peers[addr] = p
	l.peers++
	return p
}

// headFor returns what stands in the place of service.To in a message for an address.
func headFor(addr jid.JID) string {
	return string(append(xmlstream.AppendAttr([]byte(messageBegin+"'"), addr.String()), '\''))
}

// laneOf returns which connection has what is sent to an address: the same for all addresses of an account.
func (l *Link) laneOf(addr jid.JID) uint8 {
	if len(l.pieces) == 1 {
		return 0
	}
	h := fnv.New32a()
	io.WriteString(h, addr.Bare().String())
	return uint8(uint64(h.Sum32()) * uint64(len(l.pieces)) >> 32)
}

func (p *peer) touch() { p.heard.Store(time.Now().Unix()) }

// JID implements service.Peer.
func (p *peer) JID() jid.JID { return p.addr }

// Account implements service.Peer: the address is of another server.
func (p *peer) Account() string { return "" }

// Anonymous implements service.Peer.
func (p *peer) Anonymous() bool { return false }

// Send implements service.Peer.
func (p *peer) Send(b []byte) {
	if len(b) > 0 {
		p.l.enqueue(op{p: p, b: b})
	}
}

// Attach implements service.Peer.
func (p *peer) Attach(f service.Flow) service.Handle {
	a := &attached{p: p, flow: f}
	p.l.post(p, func() { p.l.attach(a) })
	return a
}

// Task implements service.Peer. What a task returns is dropped when the peer has been forgotten meanwhile.
func (p *peer) Task(f func(ctx context.Context) (then func())) bool {
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || p.gone {
		return false
	}
	p.touch()
	return l.addTask(p, f)
}

func (l *Link) isGone(p *peer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return p.gone
}

// heardFrom returns the peer that an address is for a domain, and its service; no peer where there are too many.
func (l *Link) heardFrom(addr jid.JID, domain string) (p *peer, svc service.Service) {
	for range 2 {
		l.mu.Lock()
		v := l.services[domain]
		if v == nil || v.service == nil {
			l.mu.Unlock()
			return nil, nil
		}
		if p = v.peers[addr]; p == nil && l.peers < l.opt.MaxPeers {
			p = l.newPeerLocked(v, addr)
		}
		if p != nil {
			p.told = true
			p.touch()
			l.mu.Unlock()
			return p, v.service
		}
		svc = v.service
		l.mu.Unlock()
		if time.Since(l.swept) < crowdedEvery {
			break
		}
		l.sweep(crowdedIdle)
	}
	return nil, svc
}

// Of a link that knows as many addresses as it may: those that nothing was heard of for a while make place.
const (
	crowdedEvery = time.Second
	crowdedIdle  = 10 * time.Second
)

// sweep forgets the peers that have had nothing to do for a time. The owner calls it.
func (l *Link) sweep(idle time.Duration) {
	l.swept = time.Now()
	before := l.swept.Add(-idle).Unix()
	l.forget(func(p *peer) bool { return p.heard.Load() <= before && len(p.flows) == 0 && p.jobs == nil })
}

// forget ends the peers that the function, which is called with mu held, is true for.
func (l *Link) forget(which func(*peer) bool) {
	var gone []*peer
	l.mu.Lock()
	for _, v := range l.services {
		for addr, p := range v.peers {
			if which(p) {
				delete(v.peers, addr)
				l.peers--
				p.gone = true
				if p.jobs != nil {
					l.tasks.Add(-int64(len(p.jobs.queue)))
					p.jobs.cancel()
					p.jobs = nil
				}
				gone = append(gone, p)
			}
		}
	}
	l.mu.Unlock()
	for _, p := range gone {
		for len(p.flows) > 0 {
			p.flows[0].remove()
		}
		if (p.told || p.lasting) && p.served.service != nil {
			p.served.service.Gone(p)
		}
	}
}
