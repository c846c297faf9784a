package xmpp

import (
	"context"
	"strings"
	"testing"

	"tidings/xmpp/jid"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// desk notes what it is given, and what its peers are sent.
type desk struct{ got, sent []string }

func (d *desk) Stanza(_ service.Peer, st *stanza.Stanza) { d.got = append(d.got, st.From.String()) }
func (d *desk) Gone(service.Peer)                        {}

type writer struct {
	desk *desk
	jid  jid.JID
}

func (w writer) JID() jid.JID                                { return w.jid }
func (writer) Account() string                               { return "" }
func (writer) Anonymous() bool                               { return false }
func (w writer) Send(b []byte)                               { w.desk.sent = append(w.desk.sent, string(b)) }
func (writer) Attach(service.Flow) service.Handle            { return nil }
func (writer) Task(func(context.Context) (then func())) bool { return false }

// Nobody else's server speaks for accounts of the embedded one.
func TestOutsiders(t *testing.T) {
	for _, tt := range []struct {
		stanza  string
		refused bool
		answer  string
	}{
		{"<iq type='set' id='1' from='hamlet@elsinore.lit/x' to='pubsub.example.org'><x xmlns='y'/></iq>", true, "<forbidden"},
		{"<iq type='set' id='1' from='HAMLET@Elsinore.LIT/x' to='pubsub.example.org'><x xmlns='y'/></iq>", true, "<forbidden"},
		{"<iq type='get' id='1' from='elsinore.lit' to='pubsub.example.org'><x xmlns='y'/></iq>", true, "<forbidden"},
		{"<iq type='result' id='1' from='hamlet@elsinore.lit/x' to='pubsub.example.org'/>", true, ""},
		{"<message id='1' from='hamlet@elsinore.lit/x' to='pubsub.example.org'><x xmlns='y'/></message>", true, "<forbidden"},
		{"<message id='1' type='error' from='hamlet@elsinore.lit/x' to='pubsub.example.org'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>", true, ""},
		{"<presence id='1' from='hamlet@elsinore.lit/x' to='room@rooms.example.org/nick'/>", true, "<forbidden"},
		{"<presence id='1' type='unavailable' from='hamlet@elsinore.lit/x' to='room@rooms.example.org/nick'/>", true, ""},
		{"<iq type='set' id='1' from='hamlet@example.org/x' to='pubsub.example.org'><x xmlns='y'/></iq>", false, ""},
		{"<iq type='set' id='1' from='hamlet@other.elsinore.lit/x' to='pubsub.example.org'><x xmlns='y'/></iq>", false, ""},
	} {
		var d desk
		refused := 0
		s := Outsiders(&d, "elsinore.lit", func(jid.JID) { refused++ })
		var doc xmlstream.Document
		el, err := doc.Parse([]byte(tt.stanza), xmlstream.NewContext("jabber:client"))
		if err != nil {
			t.Fatal(err)
		}
		st, err := stanza.Parse(el)
		if err != nil {
			t.Fatal(err)
		}
		s.Stanza(writer{&d, st.From}, &st)
		answer := strings.Join(d.sent, "")
		if (refused == 1) != tt.refused || (len(d.got) == 1) == tt.refused || !strings.Contains(answer, tt.answer) || (answer == "") != (tt.answer == "") {
			t.Errorf("%s: refused %d times, passed on %q, answered %q", tt.stanza, refused, d.got, answer)
		}
	}
}
