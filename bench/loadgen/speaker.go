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

// A speaker publishes from an XMPP session: into rooms as one of their occupants, or to nodes that it creates where they
// are not there. One is enough for any number of events in flight, because it does not wait for answers.
type speaker struct {
	*session
	place
	refused atomic.Pointer[error] // the first answer that is an error
	leaving atomic.Bool           // so the end of the server's stream is none
	heard   chan struct{}         // closed at that end
	buf     []byte
}

func newSpeaker(o *options) (publisher, error) {
	addr, err1 := netip.ParseAddrPort(o.pubTo)
	if err1 != nil {
		err1 = fmt.Errorf("-pubto %q: %w", o.pubTo, err1)
	}
	l, err2 := newLogin(o.pubJID, o.pubPassword, false)
	where, err3 := newPlace(o)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("publishing over XMPP: %w", err)
	}
	c, err := dial(addr, 0, o.sources, 0)
	if err != nil {
		return nil, err
	}
	s := &speaker{place: where, heard: make(chan struct{})}
	if s.session, err = logIn(c, l); err == nil {
		err = s.take(o.topics)
	}
	if err == nil { // from now on it may be silent for long
		err = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{})
	}
	if err != nil {
		unix.Close(c.fd)
		return nil, fmt.Errorf("publishing over XMPP: %w", err)
	}
	go s.listen()
	return s, nil
}

// take makes the places ready: the rooms are joined, the nodes created.
func (s *speaker) take(topics int) error {
	for n := range topics {
		if s.node == "" {
			if err := s.enter(s.session, "speaker", n); err != nil {
				return err
			}
			continue
		}
		_, err := s.request("create", "<iq type='set' id='create' to='"+expand(s.address, n)+"'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"+
			"<create node='"+expand(s.node, n)+"'/><configure><x xmlns='jabber:x:data' type='submit'>"+
			"<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#node_config</value></field>"+
			"<field var='pubsub#access_model'><value>open</value></field>"+
			"<field var='pubsub#persist_items'><value>0</value></field>"+
			"<field var='pubsub#send_last_published_item'><value>never</value></field>"+
			"</x></configure></pubsub></iq>")
		var r refusal
		if err != nil && !(errors.As(err, &r) && strings.Contains(string(r), "<conflict")) { // it is there already
			return err
		}
	}
	return nil
}

func (s *speaker) publish(topic, seq int, text []byte) error {
	if err := s.refused.Load(); err != nil {
		return *err
	}
	b := s.buf[:0]
	if s.node == "" {
		b = append(b, "<message type='groupchat' to='"+expand(s.address, topic)+"'><body>"...)
		b = append(append(b, text...), "</body></message>"...)
	} else {
		b = append(b, "<iq type='set' id='p"+strconv.Itoa(seq)+"' to='"+expand(s.address, topic)+
			"'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='"+expand(s.node, topic)+
			"'><item><text xmlns='urn:example:bench'>"...)
		b = append(append(b, text...), "</text></item></publish></pubsub></iq>"...)
	}
	s.buf = b
	return s.c.send(string(b))
}

// listen reads what the server sends, as every client has to, and keeps the first error.
func (s *speaker) listen() {
	defer close(s.heard)
	for {
		st, err := s.next("message", "presence", "iq")
		ended := err != nil
		if !ended && st.Type == "error" {
			err = refusal(st.Inner)
		}
		if err != nil && !(ended && s.leaving.Load()) {
			s.refused.CompareAndSwap(nil, &err)
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
func (s *speaker) Close() error {
	s.leaving.Store(true)
	err := s.c.send("</stream:stream>")
	late := time.AfterFunc(goodbye, func() { _ = unix.Shutdown(s.c.fd, unix.SHUT_RDWR) }) // which ends the listening
	<-s.heard
	late.Stop()
	if r := s.refused.Load(); r != nil {
		err = errors.Join(err, *r)
	}
	return errors.Join(err, unix.Close(s.c.fd))
}
