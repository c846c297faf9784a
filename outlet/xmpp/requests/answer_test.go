package requests_test

import (
	"regexp"
	"testing"

	"tidings"
	"tidings/outlet/xmpp/requests"
	"tidings/xmpp/service/servicetest"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

func parse(t *testing.T, text string) *stanza.Stanza {
	var d xmlstream.Document
	el, err := d.Parse([]byte(text), xmlstream.NewContext("jabber:client"))
	if err != nil {
		t.Fatal(err)
	}
	st, err := stanza.Parse(el)
	if err != nil {
		t.Fatal(err)
	}
	return &st
}

func TestAbout(t *testing.T) {
	for _, x := range []struct {
		asked, want string
		ok          bool
	}{
		{"<ping xmlns='urn:xmpp:ping'/>", "", true},
		{"<query xmlns='jabber:iq:version'/>", "<query xmlns='jabber:iq:version'><name>Tidings</name><version>1.2</version></query>", true},
		{"<time xmlns='urn:xmpp:time'/>", `<time xmlns='urn:xmpp:time'><tzo>\+00:00</tzo><utc>20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z</utc></time>`, true},
		{"<pong xmlns='urn:xmpp:ping'/>", "", false},
		{"<query xmlns='jabber:iq:last'/>", "", false},
	} {
		got, ok := requests.About(parse(t, "<iq type='get' id='1'>"+x.asked+"</iq>").Payload(), "1.2")
		if ok != x.ok || !regexp.MustCompile("^"+x.want+"$").Match(got) {
			t.Errorf("%s: the answer is %q (%t)", x.asked, got, ok)
		}
	}
}

func TestActorOf(t *testing.T) {
	user := tidings.Actor{Kind: tidings.User, Name: "hamlet@localhost"}
	for _, x := range []struct {
		anonymous, linked bool
		want              tidings.Actor
	}{
		{false, false, user},
		{true, false, tidings.Actor{}},
		{true, true, user}, // who comes over a link has no account here
	} {
		p := servicetest.New(t, nil, "service.localhost", "hamlet@localhost/x", x.anonymous)
		if got := requests.ActorOf(p, x.linked); got.Kind != x.want.Kind || got.Name != x.want.Name {
			t.Errorf("anonymous: %t, linked: %t: it is %v", x.anonymous, x.linked, got)
		}
	}
}

func TestAppendUnsubscribed(t *testing.T) {
	st := parse(t, "<presence type='subscribe' id='7' from='a@localhost' to='service.localhost/x'/>")
	want := "<presence from='service.localhost' to='a@localhost' type='unsubscribed' id='7'/>"
	if got := string(requests.AppendUnsubscribed(nil, st)); got != want {
		t.Errorf("the answer is %s", got)
	}
}

func TestUndeliverable(t *testing.T) {
	for text, want := range map[string]bool{
		"<message type='error'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>": true,
		"<message type='error'><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>":   false,
		"<message type='error'/>": false,
		"<message/>":              false,
	} {
		if got := requests.Undeliverable(parse(t, text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}
