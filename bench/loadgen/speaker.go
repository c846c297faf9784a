//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A voice is a session that publishes. What the server answers is read beside it, as every client has to.
type voice struct {
	*session
	refused atomic.Pointer[error] // the first answer that is an error
	leaving atomic.Bool           // so the end of the server's stream is none
	heard   chan struct{}         // closed at that end
	buf     []byte
}

// dialVoice connects and begins the session.
func dialVoice(o *options, begin func(*conversation) (*session, error)) (*voice, error) {
	addr, err := netip.ParseAddrPort(o.pubTo)
	if err != nil {
		return nil, fmt.Errorf("-pubto %q: %w", o.pubTo, err)
	}
	c, err := dial(addr, 0, o.sources, 0)
	if err != nil {
		return nil, err
	}
	v := &voice{heard: make(chan struct{})}
	if v.session, err = begin(c); err == nil { // from now on it may be silent for long
		err = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{})
	}
	if err != nil {
		unix.Close(c.fd)
		return nil, fmt.Errorf("publishing over XMPP: %w", err)
	}
	go v.listen()
	return v, nil
}

// say sends what has been put into v.buf. It does not wait for answers; an earlier one that is an error is its error.
func (v *voice) say() error {
	if err := v.refused.Load(); err != nil {
		return *err
	}
	return v.c.send(string(v.buf))
}

// listen reads what the server sends and keeps the first error.
func (v *voice) listen() {
	defer close(v.heard)
	for {
		st, err := v.next("message", "presence", "iq")
		ended := err != nil
		if !ended && st.Type == "error" {
			err = refusal(st.Inner)
		}
		if err != nil && !(ended && v.leaving.Load()) {
			v.refused.CompareAndSwap(nil, &err)
		}
		if ended {
			return
		}
	}
}

// goodbye is the time that a server has to end its stream.
const goodbye = 5 * time.Second

// Close ends the session and returns the first refusal. The server ends its stream when it has taken everything that was
// published.
func (v *voice) Close() error {
	v.leaving.Store(true)
	err := v.c.send("</stream:stream>")
	late := time.AfterFunc(goodbye, func() { _ = unix.Shutdown(v.c.fd, unix.SHUT_RDWR) }) // which ends the listening
	<-v.heard
	late.Stop()
	if r := v.refused.Load(); r != nil {
		err = errors.Join(err, *r)
	}
	return errors.Join(err, unix.Close(v.c.fd))
}

// A speaker publishes into rooms as one of their occupants, or to nodes that it creates where they are not there. One is
// enough for any number of events in flight.
type speaker struct {
	*voice
	place
}

func newSpeaker(o *options) (publisher, error) {
	l, err1 := newLogin(o.pubJID, o.pubPassword, false)
	where, err2 := newPlace(o)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("publishing over XMPP: %w", err)
	}
	s := &speaker{place: where}
	var err error
	s.voice, err = dialVoice(o, func(c *conversation) (*session, error) {
		own, err := logIn(c, l)
		for n := 0; n < o.topics && err == nil; n++ {
			err = s.take(own, n)
		}
		return own, err
	})
	return s, err
}

// take makes the place of a topic ready: the room is joined, the node created.
func (p place) take(s *session, topic int) error {
	if p.node == "" {
		return p.enter(s, "speaker", topic)
	}
	_, err := s.request("create", "<iq type='set' id='create' to='"+expand(p.address, topic)+"'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"+
		"<create node='"+expand(p.node, topic)+"'/><configure><x xmlns='jabber:x:data' type='submit'>"+
		"<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#node_config</value></field>"+
		"<field var='pubsub#access_model'><value>open</value></field>"+
		"<field var='pubsub#persist_items'><value>0</value></field>"+
		"<field var='pubsub#send_last_published_item'><value>never</value></field>"+
		"</x></configure></pubsub></iq>")
	var r refusal
	if errors.As(err, &r) && strings.Contains(string(r), "<conflict") { // it is there already
		return nil
	}
	return err
}

// An item's payload is one element around the text.
const (
	itemBegin = "<text xmlns='urn:example:bench'>"
	itemEnd   = "</text>"
)

func (s *speaker) publish(topic, seq int, text []byte) error {
	b := s.buf[:0]
	if s.node == "" {
		b = append(b, "<message type='groupchat' to='"+expand(s.address, topic)+"'><body>"...)
		b = append(append(b, text...), "</body></message>"...)
	} else {
		b = append(b, "<iq type='set' id='p"+strconv.Itoa(seq)+"' to='"+expand(s.address, topic)+
			"'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='"+expand(s.node, topic)+
			"'><item>"+itemBegin...)
		b = append(append(b, text...), itemEnd+"</item></publish></pubsub></iq>"...)
	}
	s.buf = b
	return s.say()
}
