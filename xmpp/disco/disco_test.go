package disco

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidings/xmpp/dataform"
	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
	"tidings/xmpp/xmlstream/xmlstreamtest"
)

func TestInfo(t *testing.T) {
	i := &Info{Node: "/recentchange/en.wikipedia.org", Identities: []Identity{{Category: "conference", Type: "text", Name: "A & B", Lang: "en"}, {Category: "pubsub", Type: "leaf"}},
		Features: []string{NSInfo, "urn:xmpp:mam:2"}, Forms: []*dataform.Form{dataform.New(dataform.TypeResult, "urn:x").Add("n", "", "1")}}
	const want = `<query xmlns='http://jabber.org/protocol/disco#info' node='/recentchange/en.wikipedia.org'><identity category='conference' type='text' name='A &amp; B' xml:lang='en'/>` +
		`<identity category='pubsub' type='leaf'/><feature var='http://jabber.org/protocol/disco#info'/><feature var='urn:xmpp:mam:2'/>` +
		`<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:x</value></field><field var='n'><value>1</value></field></x></query>`
	if got := string(i.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got, err := ParseInfo(xmlstreamtest.Element(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(i, got); d != "" {
		t.Error(d)
	}
	if !got.Has("urn:xmpp:mam:2") || got.Has("urn:xmpp:mam:1") {
		t.Error("Has is wrong")
	}
	for _, in := range []string{`<query/>`, `<query xmlns='http://jabber.org/protocol/disco#items'/>`, `<query xmlns='http://jabber.org/protocol/disco#info'><x xmlns='jabber:x:data'/></query>`} {
		if _, err := ParseInfo(xmlstreamtest.Element(t, in)); err == nil {
			t.Errorf("%s was read", in)
		}
	}
}

func TestItems(t *testing.T) {
	items := []Item{{JID: jid.MustParse("conference.localhost"), Name: "Rooms"}, {JID: jid.MustParse("pubsub.localhost"), Node: "/a'b"}}
	got := string(AppendItems(nil, "n", items, func(b []byte) []byte { return append(b, "<set/>"...) }))
	const want = `<query xmlns='http://jabber.org/protocol/disco#items' node='n'><item jid='conference.localhost' name='Rooms'/><item jid='pubsub.localhost' node='/a&apos;b'/><set/></query>`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back, err := ParseItems(xmlstreamtest.Element(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(items, back, cmp.Comparer(func(a, b jid.JID) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if back, err := ParseItems(xmlstreamtest.Element(t, `<query xmlns='http://jabber.org/protocol/disco#items'><item/><item jid='@'/><item jid='a'/></query>`)); len(back) != 1 || err != nil {
		t.Error(back, err)
	}
	if _, err := ParseItems(xmlstreamtest.Element(t, `<query/>`)); err == nil {
		t.Error("another element was read")
	}
	if got := string(AppendItems(nil, "", nil, nil)); got != `<query xmlns='http://jabber.org/protocol/disco#items'></query>` {
		t.Error(got)
	}
}

func TestQueries(t *testing.T) {
	if got := string(AppendInfoQuery(nil, "a'b")); got != `<query xmlns='http://jabber.org/protocol/disco#info' node='a&apos;b'/>` {
		t.Error(got)
	}
	if got := string(AppendItemsQuery(nil, "")); got != `<query xmlns='http://jabber.org/protocol/disco#items'/>` {
		t.Error(got)
	}
}

// The two examples of XEP-0115 section 5.
var (
	exodus = &Info{Identities: []Identity{{Category: "client", Type: "pc", Name: "Exodus 0.9.1"}},
		Features: []string{"http://jabber.org/protocol/muc", NSItems, NSInfo, NSCaps}}
	psi = &Info{
		Identities: []Identity{{Category: "client", Type: "pc", Lang: "en", Name: "Psi 0.11"}, {Category: "client", Type: "pc", Lang: "el", Name: "Ψ 0.11"}},
		Features:   []string{"http://jabber.org/protocol/muc", NSInfo, NSItems, NSCaps},
		Forms: []*dataform.Form{dataform.New(dataform.TypeResult, "urn:xmpp:dataforms:softwareinfo").Add("software_version", "", "0.11").
			Add("ip_version", dataform.TextMulti, "ipv6", "ipv4").Add("os", "", "Mac").Add("os_version", "", "10.5.1").Add("software", "", "Psi")},
	}
)

func TestVer(t *testing.T) {
	for want, i := range map[string]*Info{"QgayPKawpkPSDYmwT/WM94uAlu0=": exodus, "q07IKJEyjvHSyhy//CH0CxmKi8w=": psi} {
		if got := i.Ver(); got != want {
			t.Errorf("%s, want %s: %s", got, want, i.verification())
		}
	}
	// A form that does not hide its type is no part of the string.
	with := *exodus
	with.Forms = []*dataform.Form{{Type: dataform.TypeResult, Fields: []dataform.Field{{Var: dataform.FormType, Values: []string{"urn:x"}}}}}
	if with.Ver() != exodus.Ver() {
		t.Error("a form without a hidden type counts")
	}
}

func TestCaps(t *testing.T) {
	c := CapsOf("http://code.google.com/p/exodus", exodus)
	const want = `<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://code.google.com/p/exodus' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>`
	if got := string(c.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, ok := FindCaps(xmlstreamtest.Element(t, "<presence>"+want+"</presence>")); got != c || !ok {
		t.Error(got, ok)
	}
	if got := c.QueryNode(); got != "http://code.google.com/p/exodus#QgayPKawpkPSDYmwT/WM94uAlu0=" {
		t.Error(got)
	}
	for _, in := range []string{`<presence/>`, `<presence><c xmlns='http://jabber.org/protocol/caps' node='n' ver='v'/></presence>`, `<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n'/></presence>`} {
		if _, ok := FindCaps(xmlstreamtest.Element(t, in)); ok {
			t.Errorf("%s has caps", in)
		}
	}
}

func TestVerify(t *testing.T) {
	twice := func(change func(*Info)) *Info {
		i := *psi
		change(&i)
		return &i
	}
	for _, tc := range []struct {
		name string
		caps Caps
		info *Info
		want error
	}{
		{"right", Caps{Hash: "sha-1", Ver: "q07IKJEyjvHSyhy//CH0CxmKi8w="}, psi, nil},
		{"sha-256", Caps{Hash: "sha-256", Ver: "VyRoCfkwN7Q9lxZhqOI+mxfSpo/MsaCF4hBufCzfCpI="}, psi, nil},
		{"another's", Caps{Hash: "sha-1", Ver: "QgayPKawpkPSDYmwT/WM94uAlu0="}, psi, ErrMismatch},
		{"an unknown hash", Caps{Hash: "md5", Ver: "x"}, psi, ErrUnknownHash},
		{"an identity twice", Caps{Hash: "sha-1"}, twice(func(i *Info) { i.Identities = append(i.Identities, i.Identities[0]) }), ErrIllFormed},
		{"a feature twice", Caps{Hash: "sha-1"}, twice(func(i *Info) { i.Features = append(i.Features, i.Features[0]) }), ErrIllFormed},
		{"a form type twice", Caps{Hash: "sha-1"}, twice(func(i *Info) { i.Forms = append(i.Forms, i.Forms[0]) }), ErrIllFormed},
		{"two form types in one", Caps{Hash: "sha-1"}, &Info{Forms: []*dataform.Form{dataform.New(dataform.TypeResult, "").Add(dataform.FormType, dataform.Hidden, "a", "b")}}, ErrIllFormed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.caps.Verify(tc.info); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
}

// FuzzInfo reads anything; information that can be read has the same hash when it is written and read again.
func FuzzInfo(f *testing.F) {
	f.Add(string(exodus.Append(nil)))
	f.Add(string(psi.Append(nil)))
	f.Add(`<query xmlns='http://jabber.org/protocol/disco#items'><item jid='a' node='n'/></query>`)
	f.Add(`<query xmlns='http://jabber.org/protocol/disco#info'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/></query>`)
	f.Fuzz(func(t *testing.T, s string) {
		el, err := new(xmlstream.Document).Parse([]byte(s), xmlstreamtest.Client)
		if err != nil {
			return
		}
		FindCaps(el)
		if items, err := ParseItems(el); err == nil {
			again, err := ParseItems(xmlstreamtest.Element(t, string(AppendItems(nil, "", items, nil))))
			if err != nil || len(again) != len(items) {
				t.Fatalf("%s: %v, then %v, %v", s, items, again, err)
			}
		}
		i, err := ParseInfo(el)
		if err != nil {
			return
		}
		again, err := ParseInfo(xmlstreamtest.Element(t, string(i.Append(nil))))
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if string(again.Append(nil)) != string(i.Append(nil)) {
			t.Fatalf("%s: %s, then %s", s, i.Append(nil), again.Append(nil))
		}
		CapsOf("n", again).Verify(i)
	})
}
