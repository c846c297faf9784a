//go:build linux

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/xdg-go/scram"
)

// A fakeXMPP is a server with rooms and nodes, of which those named closed let nobody in and those named mute take no
// message. It has the account ann with the password secret.
type fakeXMPP struct {
	net.Listener
	features string // before the login
	certs    []tls.Certificate
	accounts *scram.Server

	mu   sync.Mutex
	next int
	in   map[string][]*fakeSession // by room or node
}

type fakeSession struct {
	*fakeXMPP
	conn  net.Conn
	jid   string
	write sync.Mutex
}

const (
	anonymousOnly = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms>"
	allMechanisms = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" +
		"<mechanism>PLAIN</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>ANONYMOUS</mechanism></mechanisms>"
	plainOnly = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
)

func startFakeXMPP(t *testing.T, features string) *fakeXMPP {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := scram.SHA1.NewClient("ann", "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "salt", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := scram.SHA1.NewServer(func(user string) (scram.StoredCredentials, error) {
		if user != "ann" {
			return scram.StoredCredentials{}, errors.New("no such user")
		}
		return stored, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeXMPP{Listener: ln, features: features, accounts: accounts, in: map[string][]*fakeSession{},
		certs: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := f.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				s := &fakeSession{fakeXMPP: f, conn: conn}
				defer conn.Close()
				s.run()
			})
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return f
}

func (s *fakeSession) say(format string, args ...any) {
	s.write.Lock()
	defer s.write.Unlock()
	fmt.Fprintf(s.conn, format, args...)
}

// is reports whether the JID, full or bare, is the session's.
func (s *fakeSession) is(jid string) bool {
	bare, _, _ := strings.Cut(s.jid, "/")
	return jid == s.jid || jid == bare
}

// An uttered is one element that a client sends.
type uttered struct {
	XMLName   xml.Name
	Type      string `xml:"type,attr"`
	ID        string `xml:"id,attr"`
	To        string `xml:"to,attr"`
	Mechanism string `xml:"mechanism,attr"`
	Text      string `xml:",chardata"`
	Inner     string `xml:",innerxml"`
	Body      string `xml:"body"`
	Node      struct {
		Name string `xml:"node,attr"`
		JID  string `xml:"jid,attr"`
	} `xml:"pubsub>subscribe"`
	Publish struct {
		Name string `xml:"node,attr"`
		Item struct {
			Inner string `xml:",innerxml"`
		} `xml:"item"`
	} `xml:"pubsub>publish"`
}

// component serves the stream of a component with the secret "secret".
func (s *fakeSession) component(in *xml.Decoder) {
	s.say("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='3BF96D32'>")
	for {
		t, err := in.Token()
		if err != nil {
			return
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			if _, ok := t.(xml.EndElement); ok {
				s.say("</stream:stream>")
				return
			}
			continue
		}
		var u uttered
		if err := in.DecodeElement(&u, &start); err != nil {
			return
		}
		switch {
		case u.XMLName.Local == "handshake" && u.Text == "b09ea9b3b7f586be8a08d0a3dd7466f110aeb136":
			s.say("<handshake/>")
		case u.XMLName.Local == "handshake":
			s.say("<stream:error><not-authorized/></stream:error>")
			return
		default:
			s.mu.Lock()
			s.route("c.localhost", &u)
			s.mu.Unlock()
		}
	}
}

// route hands a message to the sessions that it is to. The caller holds mu.
func (s *fakeSession) route(from string, u *uttered) {
	for _, other := range s.in["online"] {
		if other.is(u.To) {
			other.say("<message from='%s' to='%s'>%s</message>", from, u.To, u.Inner)
		}
	}
}

// run serves one connection until the client's stream ends.
func (s *fakeSession) run() {
	features := s.features
	for { // one turn for each stream
		in := xml.NewDecoder(s.conn)
		for {
			t, err := in.Token()
			if err != nil {
				return
			}
			if e, ok := t.(xml.StartElement); ok {
				if e.Name.Space == "http://etherx.jabber.org/streams" && hasSpace(e, "jabber:component:accept") {
					s.component(in)
					return
				}
				break
			}
		}
		s.say("<?xml version='1.0'?><stream:stream from='x' id='1' version='1.0' xmlns='jabber:client' "+
			"xmlns:stream='http://etherx.jabber.org/streams'><stream:features>%s</stream:features>", features)
		if features = s.stream(in); features == "" {
			return
		}
	}
}

// hasSpace says whether an element declares a default namespace.
func hasSpace(e xml.StartElement, space string) bool {
	return slices.Contains(e.Attr, xml.Attr{Name: xml.Name{Local: "xmlns"}, Value: space})
}

// stream serves one stream and returns the features of the next, or "" if it was the last.
func (s *fakeSession) stream(in *xml.Decoder) string {
	const bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
	for {
		t, err := in.Token()
		if err != nil {
			return ""
		}
		if _, ok := t.(xml.EndElement); ok {
			s.say("</stream:stream>")
			return ""
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		var u uttered
		if err := in.DecodeElement(&u, &start); err != nil {
			return ""
		}
		switch u.XMLName.Local {
		case "starttls":
			s.say("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			s.conn = tls.Server(s.conn, &tls.Config{Certificates: s.certs})
			return anonymousOnly
		case "auth":
			if !s.authenticate(in, &u) {
				s.say("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>")
				continue
			}
			return bind
		default:
			s.stanza(&u)
		}
	}
}

// authenticate answers with the success too.
func (s *fakeSession) authenticate(in *xml.Decoder, u *uttered) bool {
	const success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>%s</success>"
	b, err := base64.StdEncoding.DecodeString(u.Text)
	if err != nil {
		return false
	}
	switch u.Mechanism {
	case "PLAIN":
		if string(b) != "\x00ann\x00secret" {
			return false
		}
	case "SCRAM-SHA-1":
		c := s.accounts.NewConversation()
		challenge, err := c.Step(string(b))
		if err != nil {
			return false
		}
		s.say("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>%s</challenge>", base64.StdEncoding.EncodeToString([]byte(challenge)))
		var answer uttered
		if in.Decode(&answer) != nil {
			return false
		}
		if b, err = base64.StdEncoding.DecodeString(answer.Text); err != nil {
			return false
		}
		last, err := c.Step(string(b))
		if err != nil {
			return false
		}
		s.say(success, base64.StdEncoding.EncodeToString([]byte(last)))
		return true
	}
	s.say(success, "")
	return true
}

func (s *fakeSession) stanza(u *uttered) {
	const failed = "<%s type='error' id='%s' from='%s'><error type='cancel'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></%[1]s>"
	name := u.XMLName.Local
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case name == "presence" && u.To == "":
		s.in["online"] = append(s.in["online"], s)
		s.say("<presence from='%s'/>", s.jid)
	case strings.HasPrefix(u.To, "closed") || strings.HasPrefix(u.Node.Name, "closed"):
		s.say(failed, name, u.ID, u.To, "forbidden")
	case name == "presence":
		room, _, _ := strings.Cut(u.To, "/")
		s.in[room] = append(s.in[room], s)
		s.say("<presence from='%s'><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x></presence>"+
			"<message type='groupchat' from='%s'><subject/></message>", u.To, room)
	case strings.HasPrefix(u.To, "mute") || strings.HasPrefix(u.Publish.Name, "mute"):
		s.say(failed, name, u.ID, u.To, "not-allowed")
	case name == "message" && u.Type != "groupchat":
		s.route(s.jid, u)
	case name == "message":
		for _, other := range s.in[u.To] {
			other.say("<message type='groupchat' from='%s/speaker' to='%s'><body>%s</body></message>", u.To, other.jid, u.Body)
		}
	case strings.Contains(u.Inner, "<bind"):
		s.next++
		s.jid = fmt.Sprintf("u%d@localhost/r", s.next)
		s.say("<iq type='result' id='%s'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>%s</jid></bind></iq>", u.ID, s.jid)
	case strings.Contains(u.Inner, "<create"):
		if s.in["created"] != nil {
			s.say(failed, name, u.ID, u.To, "conflict")
			return
		}
		s.in["created"] = []*fakeSession{}
		s.say("<iq type='result' id='%s'/>", u.ID)
	case u.Node.Name != "" && s.is(u.Node.JID) && !(u.Node.Name == "bare" && u.Node.JID == s.jid):
		s.in[u.Node.Name] = append(s.in[u.Node.Name], s)
		s.say("<iq type='result' id='%s'/>", u.ID)
	case u.Publish.Name != "":
		for _, other := range s.in[u.Publish.Name] {
			other.say("<message from='%s' to='%s'><event><items><item>%s</item></items></event></message>", u.To, other.jid, u.Publish.Item.Inner)
		}
		s.say("<iq type='result' id='%s'/>", u.ID)
	default:
		s.say(failed, name, u.ID, u.To, "bad-request")
	}
}
