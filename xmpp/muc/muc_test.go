package muc

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
	"tidings/xmpp/xmlstream/xmlstreamtest"
)

var sameJID = cmp.Comparer(func(a, b jid.JID) bool { return a == b })

func parse(t testing.TB, s string) *stanza.Stanza {
	t.Helper()
	st, err := stanza.Parse(xmlstreamtest.Element(t, s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return &st
}

func TestJoin(t *testing.T) {
	since := time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, x string
		want    Join
	}{
		{"plainly", `<x xmlns='http://jabber.org/protocol/muc'></x>`, Join{History: AnyHistory}},
		{"with a password", `<x xmlns='http://jabber.org/protocol/muc'><password>caul&lt;dron</password></x>`, Join{Password: "caul<dron", History: AnyHistory}},
		{"characters", `<x xmlns='http://jabber.org/protocol/muc'><history maxchars='65000'/></x>`, Join{History: History{65000, -1, -1, time.Time{}}}},
		{"messages", `<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='20'/></x>`, Join{History: History{-1, 20, -1, time.Time{}}}},
		{"seconds", `<x xmlns='http://jabber.org/protocol/muc'><history seconds='180'/></x>`, Join{History: History{-1, -1, 180, time.Time{}}}},
		{"since", `<x xmlns='http://jabber.org/protocol/muc'><history since='1970-01-01T00:00:00Z'/></x>`, Join{History: History{-1, -1, -1, since}}},
		{"nothing", `<x xmlns='http://jabber.org/protocol/muc'><history maxchars='0'/></x>`, Join{History: History{0, -1, -1, time.Time{}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := ParseJoin(parse(t, "<presence to='enwiki@conference.localhost/a'>"+tc.x+"</presence>"))
			if !ok {
				t.Fatal("it is no join")
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
			if again := string(got.Append(nil)); again != tc.x {
				t.Errorf("written it is %s", again)
			}
		})
	}
	for _, in := range []string{`<presence/>`, `<presence type='unavailable'><x xmlns='http://jabber.org/protocol/muc'/></presence>`, `<message><x xmlns='http://jabber.org/protocol/muc'/></message>`, `<presence><x xmlns='vcard-temp:x:update'/></presence>`} {
		if _, ok := ParseJoin(parse(t, in)); ok {
			t.Errorf("%s is a join", in)
		}
	}
	// Bounds that are none are none.
	got, ok := ParseJoin(parse(t, `<presence><x xmlns='http://jabber.org/protocol/muc'><history maxchars='-1' maxstanzas='many' seconds='1.5' since='yesterday'/></x></presence>`))
	if !ok || got.History != AnyHistory {
		t.Errorf("%+v", got)
	}
}

func TestHistory(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ago := func(s int) time.Time { return now.Add(-time.Duration(s) * time.Second) }
	for _, tc := range []struct {
		h    History
		from time.Time
		none bool
	}{
		{AnyHistory, time.Time{}, false},
		{History{-1, -1, 60, time.Time{}}, ago(60), false},
		{History{-1, -1, 60, ago(30)}, ago(30), false},
		{History{-1, -1, 60, ago(90)}, ago(60), false},
		{History{-1, 0, -1, time.Time{}}, time.Time{}, true},
		{History{-1, -1, 0, time.Time{}}, now, true},
		{History{-1, -1, 1<<31 - 1, time.Time{}}, ago(1<<31 - 1), false},
	} {
		if got := tc.h.From(now); !got.Equal(tc.from) || tc.h.None() != tc.none {
			t.Errorf("%+v: %v, %v", tc.h, got, tc.h.None())
		}
	}
}

func TestSubject(t *testing.T) {
	room, user := jid.MustParse("enwiki@conference.localhost"), jid.MustParse("a@localhost/b")
	got := string(AppendSubject(nil, room, user, "s1", "A & B"))
	const want = `<message from='enwiki@conference.localhost' to='a@localhost/b' type='groupchat' id='s1'><subject>A &amp; B</subject></message>`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for in, want := range map[string]string{
		got: "A & B",
		string(AppendSubject(nil, room, user, "", "")):                               "",
		`<message type='groupchat'/>`:                                                "no",
		`<message><subject>x</subject></message>`:                                    "no",
		`<message type='groupchat'><subject>x</subject><body>y</body></message>`:     "no",
		`<message type='groupchat'><subject>x</subject><thread>y</thread></message>`: "no",
		`<message type='groupchat'><subject xmlns='urn:other'>x</subject></message>`: "no",
	} {
		s, ok := Subject(parse(t, in))
		if !ok {
			s = "no"
		}
		if s != want {
			t.Errorf("%s: %q", in, s)
		}
	}
}

func TestUser(t *testing.T) {
	crone := jid.MustParse("crone1@shakespeare.lit/desktop")
	for _, tc := range []struct {
		name string
		got  []byte
		want string
		user User
	}{
		{"oneself", AppendUser(nil, &Item{Affiliation: None, Role: Visitor}, StatusNonAnonymousHere, StatusSelf),
			`<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='visitor'/><status code='100'/><status code='110'/></x>`,
			User{Item: Item{Affiliation: None, Role: Visitor}, Status: []int{100, 110}}},
		{"an occupant with an address", AppendUser(nil, &Item{Affiliation: Owner, Role: Moderator, JID: crone}),
			`<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator' jid='crone1@shakespeare.lit/desktop'/></x>`,
			User{Item: Item{Affiliation: Owner, Role: Moderator, JID: crone}}},
		{"kicked", AppendUser(nil, &Item{Affiliation: None, Role: None, ActorNick: "F&l", ActorJID: crone.Bare(), Reason: "Avaunt <you>"}, StatusKicked),
			`<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'><actor jid='crone1@shakespeare.lit' nick='F&amp;l'/><reason>Avaunt &lt;you&gt;</reason></item><status code='307'/></x>`,
			User{Item: Item{Affiliation: None, Role: None, ActorNick: "F&l", ActorJID: crone.Bare(), Reason: "Avaunt <you>"}, Status: []int{307}}},
		{"another nickname", AppendUser(nil, &Item{Affiliation: Member, Role: Participant, Nick: "oldhag"}, StatusNickChange),
			`<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' role='participant' nick='oldhag'/><status code='303'/></x>`,
			User{Item: Item{Affiliation: Member, Role: Participant, Nick: "oldhag"}, Status: []int{303}}},
		{"codes only", AppendUser(nil, nil, StatusConfiguration), `<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>`, User{Status: []int{104}}},
		{"destroyed", AppendDestroyed(nil, jid.MustParse("coven@chat.shakespeare.lit"), "Macbeth"),
			`<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'/><destroy jid='coven@chat.shakespeare.lit'><reason>Macbeth</reason></destroy></x>`,
			User{Item: Item{Affiliation: None, Role: None}, Destroyed: true, Alternate: jid.MustParse("coven@chat.shakespeare.lit"), Reason: "Macbeth"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if string(tc.got) != tc.want {
				t.Errorf("got  %s\nwant %s", tc.got, tc.want)
			}
			u, ok := FindUser(xmlstreamtest.Element(t, "<presence>"+tc.want+"</presence>"))
			if !ok {
				t.Fatal("it is not found")
			}
			if d := cmp.Diff(tc.user, u, sameJID); d != "" {
				t.Error(d)
			}
		})
	}
	if _, ok := FindUser(xmlstreamtest.Element(t, "<presence/>")); ok {
		t.Error("a presence without x has one")
	}
	u, _ := FindUser(xmlstreamtest.Element(t, `<presence><x xmlns='http://jabber.org/protocol/muc#user'><item jid='@'/><status code='110'/><status code='x'/></x></presence>`))
	if !u.Has(StatusSelf) || u.Has(StatusKicked) || !u.Item.JID.IsZero() || len(u.Status) != 1 {
		t.Errorf("%+v", u)
	}
}

func TestItems(t *testing.T) {
	want := []Item{{Nick: "pistol", Role: None, Reason: "Avaunt"}, {Affiliation: Outcast, JID: jid.MustParse("earlofcambridge@shakespeare.lit")}}
	got := ParseItems(xmlstreamtest.Element(t, string(AppendItems(nil, want))))
	if d := cmp.Diff(want, got, sameJID); d != "" {
		t.Error(d)
	}
}

// FuzzPresence reads anything as each of what a room and its occupants send.
func FuzzPresence(f *testing.F) {
	for _, s := range []string{
		`<presence><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='20' since='1970-01-01T00:00:00Z'/><password>p</password></x></presence>`,
		`<presence><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='visitor' jid='a@b/c'><actor nick='n'/><reason>r</reason></item><status code='110'/></x></presence>`,
		`<presence type='unavailable'><x xmlns='http://jabber.org/protocol/muc#user'><item/><destroy jid='r@b'><reason>r</reason></destroy></x></presence>`,
		`<message type='groupchat'><subject>s</subject></message>`, `<iq type='set' id='1'><query xmlns='http://jabber.org/protocol/muc#admin'><item nick='n' role='none'/></query></iq>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		el, err := new(xmlstream.Document).Parse([]byte(s), xmlstreamtest.Client)
		if err != nil {
			return
		}
		ParseItems(el.First())
		if u, ok := FindUser(el); ok && !u.Destroyed {
			again, ok := FindUser(xmlstreamtest.Element(t, "<presence>"+string(AppendUser(nil, &u.Item, u.Status...))+"</presence>"))
			if !ok || again.Item != u.Item || len(again.Status) != len(u.Status) {
				t.Fatalf("%s: %+v, then %+v", s, u, again)
			}
		}
		st, err := stanza.Parse(el)
		if err != nil {
			return
		}
		Subject(&st)
		if j, ok := ParseJoin(&st); ok {
			again, ok := ParseJoin(parse(t, "<presence>"+string(j.Append(nil))+"</presence>"))
			since := j.History.Since.Truncate(time.Millisecond) // what is finer is not written
			j.History.Since = since
			if y := since.Year(); y >= 0 && y <= 9999 && (!ok || again != j) {
				t.Fatalf("%s: %+v, then %+v", s, j, again)
			}
		}
	})
}
