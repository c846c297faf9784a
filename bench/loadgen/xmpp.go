//go:build linux

package main

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/xdg-go/scram"
)

// A login says how an XMPP session begins: as user@domain with a password, or without user by SASL ANONYMOUS
// (RFC 4505); with STARTTLS first if tls is set.
type login struct {
	user, domain, password string
	tls                    bool
}

func newLogin(jid, password string, tls bool) (login, error) {
	user, domain, ok := strings.Cut(jid, "@")
	if !ok {
		user, domain = "", jid
	}
	if domain == "" {
		return login{}, fmt.Errorf("%q is no domain and no user@domain", jid)
	}
	return login{user, domain, password, tls}, nil
}

// A session is an XMPP session after resource binding.
type session struct {
	c   *conversation
	in  *xml.Decoder // takes from c what it needs and not an octet more
	jid string       // full
}

// address is where what the session subscribes to is sent.
func (s *session) address(bare bool) string {
	if bare {
		jid, _, _ := strings.Cut(s.jid, "/")
		return jid
	}
	return s.jid
}

// stanza is what is looked at in whatever a server sends.
type stanza struct {
	XMLName    xml.Name
	Type       string    `xml:"type,attr"`
	ID         string    `xml:"id,attr"`
	From       string    `xml:"from,attr"`
	Inner      string    `xml:",innerxml"`
	Text       string    `xml:",chardata"`
	Mechanisms []string  `xml:"mechanisms>mechanism"`
	StartTLS   *struct{} `xml:"starttls"`
	JID        string    `xml:"bind>jid"`
	Subject    *struct{} `xml:"subject"`
}

// octets reads a conversation octet by octet, so that a decoder does not read ahead.
type octets struct{ c *conversation }

func (o octets) ReadByte() (byte, error) {
	for len(o.c.buf) == 0 {
		if err := o.c.more(); err != nil {
			return 0, err
		}
	}
	b := o.c.buf[0]
	o.c.buf = o.c.buf[1:]
	return b, nil
}

func (o octets) Read([]byte) (int, error) { return 0, errors.ErrUnsupported } // never called beside ReadByte

// open opens a stream, or opens it again, and returns the features (RFC 6120 section 4.3).
func (s *session) open(domain string) (stanza, error) {
	err := s.c.send("<?xml version='1.0'?><stream:stream to='" + domain +
		"' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>")
	if err != nil {
		return stanza{}, err
	}
	s.in = xml.NewDecoder(octets{s.c})
	for {
		t, err := s.in.Token()
		if err != nil {
			return stanza{}, fmt.Errorf("waiting for the stream: %w", err)
		}
		if e, ok := t.(xml.StartElement); ok && e.Name.Local == "stream" {
			return s.next("features")
		}
	}
}

// next reads an element that has to have one of the names.
func (s *session) next(names ...string) (stanza, error) {
	var st stanza
	if err := s.in.Decode(&st); err != nil {
		return st, fmt.Errorf("waiting for %s: %w", strings.Join(names, " or "), err)
	}
	if !slices.Contains(names, st.XMLName.Local) {
		return st, fmt.Errorf("the server answered <%s>%.300s", st.XMLName.Local, st.Inner)
	}
	return st, nil
}

// request sends an IQ with the given id and waits for its result; what else comes meanwhile is not looked at.
func (s *session) request(id, text string) (stanza, error) {
	if err := s.c.send(text); err != nil {
		return stanza{}, err
	}
	for {
		st, err := s.next("iq", "message", "presence")
		if err != nil || st.XMLName.Local != "iq" || st.ID != id || st.Type != "result" && st.Type != "error" {
			if err != nil {
				return st, err
			}
			continue
		}
		if st.Type == "error" {
			return st, refusal(st.Inner)
		}
		return st, nil
	}
}

// A refusal is an error stanza's content.
type refusal string

func (r refusal) Error() string { return fmt.Sprintf("the server refused: %.300s", string(r)) }

// logIn negotiates a session and sends its first presence.
func logIn(c *conversation, l login) (*session, error) {
	s := &session{c: c}
	features, err := s.open(l.domain)
	if err != nil {
		return nil, err
	}
	if l.tls {
		if features.StartTLS == nil {
			return nil, errors.New("the server does not offer STARTTLS")
		}
		if err := c.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
			return nil, err
		}
		if _, err := s.next("proceed"); err != nil {
			return nil, err
		}
		if err := c.startTLS(l.domain); err != nil {
			return nil, err
		}
		if features, err = s.open(l.domain); err != nil {
			return nil, err
		}
	}
	if err := s.authenticate(l, features.Mechanisms); err != nil {
		return nil, err
	}
	if _, err := s.open(l.domain); err != nil {
		return nil, err
	}
	bound, err := s.request("bind", "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	if err != nil {
		return nil, err
	}
	s.jid = bound.JID
	return s, c.send("<presence/>")
}

func (s *session) authenticate(l login, offered []string) error {
	const auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>"
	var mechanism, first string
	var exchange *scram.ClientConversation
	switch {
	case l.user == "":
		mechanism = "ANONYMOUS"
	case slices.Contains(offered, "SCRAM-SHA-1"):
		mechanism = "SCRAM-SHA-1"
		client, err := scram.SHA1.NewClient(l.user, l.password, "")
		if err != nil {
			return err
		}
		exchange = client.NewConversation()
		if first, err = exchange.Step(""); err != nil {
			return err
		}
	default:
		mechanism, first = "PLAIN", "\x00"+l.user+"\x00"+l.password
	}
	if !slices.Contains(offered, mechanism) {
		return fmt.Errorf("the server does not offer %s but %s", mechanism, strings.Join(offered, ", "))
	}
	if err := s.c.send(fmt.Sprintf(auth, mechanism, base64.StdEncoding.EncodeToString([]byte(first)))); err != nil {
		return err
	}
	for {
		st, err := s.next("success", "challenge")
		if err != nil || exchange == nil {
			return err
		}
		heard, err := base64.StdEncoding.DecodeString(st.Text)
		if err != nil {
			return fmt.Errorf("%s: %w", mechanism, err)
		}
		answer, err := exchange.Step(string(heard))
		if err != nil {
			return fmt.Errorf("%s: %w", mechanism, err)
		}
		if st.XMLName.Local == "success" {
			return nil
		}
		err = s.c.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + base64.StdEncoding.EncodeToString([]byte(answer)) + "</response>")
		if err != nil {
			return err
		}
	}
}

// A place is where XMPP delivers one message to many: a room (XEP-0045), or with a node one of a PubSub service
// (XEP-0060). {n} is the number of the topic.
type place struct {
	address, node string
	digest        bool
	bare          bool // subscriptions are those of bare JIDs
}

func newPlace(o *options) (place, error) {
	if o.topic == "" {
		return place{bare: o.bare}, errNoTopic
	}
	return place{o.topic, o.node, o.digest, o.bare}, nil
}

// enter joins the room, and returns at its subject, which is the last of what a join brings (XEP-0045 section 7.1); or
// subscribes to the node.
func (p place) enter(s *session, nick string, topic int) error {
	address, node := expand(p.address, topic), expand(p.node, topic)
	if node != "" {
		options := ""
		if p.digest {
			options = "<options><x xmlns='jabber:x:data' type='submit'><field var='pubsub#digest'><value>1</value></field></x></options>"
		}
		_, err := s.request("subscribe", "<iq type='set' id='subscribe' to='"+address+"'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"+
			"<subscribe node='"+node+"' jid='"+s.address(p.bare)+"'/>"+options+"</pubsub></iq>")
		return err
	}
	err := s.c.send("<presence to='" + address + "/" + nick + "'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>")
	if err != nil {
		return err
	}
	for {
		st, err := s.next("message", "presence", "iq")
		if err != nil {
			return err
		}
		if st.Type == "error" {
			return refusal(st.Inner)
		}
		if room, _, _ := strings.Cut(st.From, "/"); st.Subject != nil && room == address {
			return nil
		}
	}
}

// xmpp subscribes as a session in a place, or where there is none by its address becoming known.
type xmpp struct {
	login
	place
	sessions *atomic.Int64
	known    *addresses
}

// xmppSessions numbers the sessions of all subscribers, and so the nicks in rooms.
var xmppSessions atomic.Int64

func newXMPP(o *options) (protocol, error) {
	l, err1 := newLogin(o.jid, o.password, o.tls)
	p, err2 := newPlace(o)
	if (o.pub == "component" || o.pub == "client") && o.topic == "" { // the publisher sends to addresses
		err2 = nil
	}
	return &xmpp{l, p, &xmppSessions, o.addresses}, errors.Join(err1, err2)
}

func (p *xmpp) subscribe(c *conversation, topic int) error {
	s, err := logIn(c, p.login)
	if err != nil {
		return err
	}
	if p.address == "" {
		p.known.add(topic, s.address(p.bare))
		_, err := s.next("presence") // its own, so the server has taken it
		return err
	}
	return p.enter(s, fmt.Sprintf("b%d", p.sessions.Add(1)), topic)
}

// beat is a white space, which keeps a stream alive (RFC 6120 section 4.6.1).
func (p *xmpp) beat() string { return " " }
