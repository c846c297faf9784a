//go:build linux

package main

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"strconv"
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

// A sender sends each event to all sessions of its topic by their addresses: what a server delivers when nothing is asked of it
// but to route. With a node the events come as notifications of it, in as few elements as they can have (XEP-0060 section
// 7.1.2), and else in the body of a message.
type sender struct {
	*voice
	head string // of each message, up to the address
	node string
	to   *addresses
}

// newComponent returns a sender that is a component (XEP-0114).
func newComponent(o *options) (publisher, error) {
	p := &sender{head: "<message from='" + o.pubJID + "' to='", node: o.node, to: o.addresses}
	var err error
	p.voice, err = dialVoice(o, func(c *conversation) (*session, error) { return handshake(c, o.pubJID, o.pubPassword) })
	return p, err
}

// newClient returns a sender that is an ordinary client, in whose messages the server says who they are from.
func newClient(o *options) (publisher, error) {
	l, err := newLogin(o.pubJID, o.pubPassword, false)
	if err != nil {
		return nil, fmt.Errorf("publishing over XMPP: %w", err)
	}
	p := &sender{head: "<message to='", node: o.node, to: o.addresses}
	p.voice, err = dialVoice(o, func(c *conversation) (*session, error) { return logIn(c, l) })
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

func (p *sender) publish(topic, seq int, text []byte) error {
	before, behind := "' type='headline'><body>", "</body>"
	if p.node != "" {
		before = "'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='" + expand(p.node, topic) + "'><item id='" + strconv.Itoa(seq) + "'>" + itemBegin
		behind = itemEnd + "</item></items></event>"
	}
	b := p.buf[:0]
	for _, jid := range p.to.get(topic) {
		b = append(append(append(b, p.head...), jid...), before...)
		b = append(append(append(b, text...), behind...), "</message>"...)
	}
	p.buf = b
	return p.say()
}
