package xmpptest

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/xmpp/component"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Host is an XMPP server as its components see it (XEP-0114), for tests: it takes their links, answers their pings and keeps what
// they send. Its methods may be called from any goroutine.
type Host struct {
	t      testing.TB
	ln     net.Listener
	secret string
	work   sync.WaitGroup

	mu    sync.Mutex
	moved chan struct{}       // closed when something of what follows has changed
	conns map[string]net.Conn // by the domain of the component
	all   map[string][]string // stanzas of a component, pings left out
	deaf  bool                // pings are not answered
	ended bool
}

// hostWait bounds the wait for a stanza.
const hostWait = time.Minute

// NewHost returns a server that ends with the test.
func NewHost(t testing.TB, secret string) *Host {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{t: t, ln: ln, secret: secret, moved: make(chan struct{}), conns: map[string]net.Conn{}, all: map[string][]string{}}
	h.work.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			h.work.Go(func() { h.serve(nc) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		h.mu.Lock()
		h.ended = true
		for _, nc := range h.conns {
			nc.Close()
		}
		h.mu.Unlock()
		h.work.Wait()
	})
	return h
}

// Addr returns where components connect.
func (h *Host) Addr() string { return h.ln.Addr().String() }

// change calls f with the lock held, and wakes who waits.
func (h *Host) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.moved)
	h.moved = make(chan struct{})
}

func (h *Host) serve(nc net.Conn) {
	defer nc.Close()
	var scan xmlstream.Scanner
	var doc xmlstream.Document
	ns := xmlstream.NewContext("jabber:component:accept", "stream", xmlstream.SpaceStream)
	id, domain := stream.NewID(), ""
	var buf [16 << 10]byte
	for {
		kind, b, err := scan.Next()
		if err != nil || kind == xmlstream.End {
			fmt.Fprint(nc, "</stream:stream>")
			break
		}
		if kind == xmlstream.None {
			n, err := nc.Read(buf[:])
			if n == 0 && err != nil {
				break
			}
			scan.Feed(bytes.Clone(buf[:n]))
			continue
		}
		if kind == xmlstream.Open {
			_, rest, _ := bytes.Cut(b, []byte("to="))
			if i := bytes.IndexAny(rest[1:], `'"`); i > 0 {
				domain = string(rest[1 : 1+i])
			}
			fmt.Fprintf(nc, "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='%s' from='%s' id='%s'>", xmlstream.SpaceStream, domain, id)
			continue
		}
		el, err := doc.Parse(b, ns)
		if err != nil {
			h.t.Errorf("%s sends what is not XML: %v\n%s", domain, err, b)
			break
		}
		switch {
		case el.Name() == "handshake":
			if el.Text() != component.Digest(id, h.secret) {
				fmt.Fprint(nc, "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
				return
			}
			fmt.Fprint(nc, "<handshake/>")
			h.change(func() {
				if h.ended {
					nc.Close()
				}
				h.conns[domain] = nc
			})
		case el.Name() == "iq" && el.Attr("type") == "get" && el.First().Is("urn:xmpp:ping", "ping"):
			h.mu.Lock()
			deaf := h.deaf
			h.mu.Unlock()
			if !deaf {
				fmt.Fprintf(nc, "<iq type='result' id='%s' from='%s' to='%s'/>", el.Attr("id"), el.Attr("to"), el.Attr("from"))
			}
		default:
			h.change(func() { h.all[domain] = append(h.all[domain], string(b)) })
		}
	}
	h.change(func() {
		if h.conns[domain] == nc {
			delete(h.conns, domain)
		}
	})
}

// wait waits until f, which is called with the lock held, is true.
func (h *Host) wait(what string, f func() bool) {
	h.t.Helper()
	late := time.NewTimer(hostWait)
	defer late.Stop()
	for {
		h.mu.Lock()
		ok, moved := f(), h.moved
		h.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-moved:
		case <-late.C:
			h.mu.Lock()
			defer h.mu.Unlock()
			h.t.Fatalf("no %s; there is %q", what, h.all)
		}
	}
}

// Connected waits until the component is there.
func (h *Host) Connected(domain string) {
	h.t.Helper()
	h.wait("connection of "+domain, func() bool { return h.conns[domain] != nil })
}

// Gone waits until the component's connection has ended: then all that it has sent is here.
func (h *Host) Gone(domain string) {
	h.t.Helper()
	h.wait("end of the connection of "+domain, func() bool { return h.conns[domain] == nil })
}

// Send sends stanzas to a component, when it is there.
func (h *Host) Send(domain, stanzas string) {
	h.t.Helper()
	h.Connected(domain)
	h.mu.Lock()
	nc := h.conns[domain]
	h.mu.Unlock()
	if nc == nil {
		return
	}
	if _, err := fmt.Fprint(nc, stanzas); err != nil {
		h.t.Errorf("%s: %v", domain, err)
	}
}

// Wait waits for a stanza of the component that has all the texts in it, and returns it. Every stanza is found once.
func (h *Host) Wait(domain string, texts ...string) (found string) {
	h.t.Helper()
	h.wait(fmt.Sprintf("stanza of %s with %q", domain, texts), func() bool {
		i := slices.IndexFunc(h.all[domain], func(st string) bool {
			return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(st, text) })
		})
		if i < 0 {
			return false
		}
		found = h.all[domain][i]
		h.all[domain] = slices.Delete(h.all[domain], i, i+1)
		return true
	})
	return found
}

// Take returns what has come from a component and was not found by Wait.
func (h *Host) Take(domain string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.all[domain]
	delete(h.all, domain)
	return all
}

// Deaf has the server answer no ping, as if it were slow, or answer them again.
func (h *Host) Deaf(yes bool) { h.change(func() { h.deaf = yes }) }

// Cut cuts the connection of a component, and waits until it is gone.
func (h *Host) Cut(domain string) {
	h.t.Helper()
	h.mu.Lock()
	nc := h.conns[domain]
	h.mu.Unlock()
	if nc == nil {
		return
	}
	nc.Close()
	h.wait("end of the connection of "+domain, func() bool { return h.conns[domain] != nc })
}
