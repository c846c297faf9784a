//go:build linux

package main

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"sync"
)

// addresses are the full JIDs of the sessions that only log in, by topic.
type addresses struct {
	mu sync.Mutex
	of map[int][]string
}

func (a *addresses) add(topic int, jid string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[int][]string{}
	}
	a.of[topic] = append(a.of[topic], jid)
}

func (a *addresses) get(topic int) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of[topic]
}

// A component (XEP-0114) sends each event to all sessions of its topic by their addresses: what a server delivers when
// nothing is asked of it but to route.
type component struct {
	*voice
	domain string
	to     *addresses
}

func newComponent(o *options) (publisher, error) {
	p := &component{domain: o.pubJID, to: o.addresses}
	var err error
	p.voice, err = dialVoice(o, func(c *conversation) (*session, error) { return handshake(c, o.pubJID, o.pubPassword) })
	return p, err
}

// handshake opens the stream of a component and proves that it knows the secret (XEP-0114 section 3).
func handshake(c *conversation, domain, secret string) (*session, error) {
	err := c.send("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='" + domain + "'>")
	if err != nil {
		return nil, err
	}
	s := &session{c: c, in: xml.NewDecoder(octets{c}), jid: domain}
	id := ""
	for id == "" {
		t, err := s.in.Token()
		if err != nil {
			return nil, fmt.Errorf("waiting for the stream: %w", err)
		}
		if e, ok := t.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if a.Name.Local == "id" {
					id = a.Value
				}
			}
		}
	}
	sum := sha1.Sum([]byte(id + secret))
	if err := c.send("<handshake>" + hex.EncodeToString(sum[:]) + "</handshake>"); err != nil {
		return nil, err
	}
	_, err = s.next("handshake")
	return s, err
}

func (p *component) publish(topic, _ int, text []byte) error {
	b := p.buf[:0]
	for _, jid := range p.to.get(topic) {
		b = append(append(append(b, "<message from='"...), p.domain...), "' to='"...)
		b = append(append(b, jid...), "' type='headline'><body>"...)
		b = append(append(b, text...), "</body></message>"...)
	}
	p.buf = b
	return p.say()
}
