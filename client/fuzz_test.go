package client

import (
	"net/url"
	"testing"

	"tidings"
	"tidings/xmpp/dial"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// messageOf reads a message.
func messageOf(raw []byte) (st stanza.Stanza, ok bool) {
	var d xmlstream.Document
	el, err := d.Parse(raw, nil)
	if err == nil {
		st, err = stanza.Parse(el)
	}
	return st, err == nil && st.Kind == stanza.Message
}

// counting returns a stream that counts what it tells.
func counting(t *testing.T, told *int) *xmppStream {
	return &xmppStream{c: &Client{notify: func(Notice) {}}, yield: func(e Event, err error) bool {
		if err != nil && (e.Topic != "" || e.ID != "" || e.ContentType != "" || e.Payload != nil || e.Kind != tidings.Publish) {
			t.Errorf("%+v with %v", e, err)
		}
		_, _ = e.RecentChange()
		*told++
		return true
	}}
}

// FuzzMessage reads any message as one of a room, live or from the archive.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		"<message xmlns='jabber:client' from='a@b/rc' type='groupchat'><body>[[A]]</body><rc type='edit' rcid='7' timestamp='2010-10-12T08:57:03Z'/><stanza-id xmlns='urn:xmpp:sid:0' by='a@b' id='5f3a9c01-1042'/></message>",
		"<message xmlns='jabber:client' from='a@b/rc' type='groupchat'><body>x</body><json xmlns='urn:xmpp:json:0'>{&quot;a&quot;:1}</json><event xmlns='urn:tidings:0' topic='/a' item='i' type='application/json' time='2026-03-04T05:06:07Z'/></message>",
		"<message xmlns='jabber:client' from='a@b/rc' type='groupchat'><body>[3 bytes of image/png, item i]</body><event xmlns='urn:tidings:0' topic='/a' item='i' type='image/png' time=''/></message>",
		"<message xmlns='jabber:client' from='a@b/rc' type='groupchat'><body>retracted i</body><retract xmlns='urn:tidings:0' item='i' topic='/a'/></message>",
		"<message xmlns='jabber:client' from='a@b' type='groupchat'><gap xmlns='urn:tidings:0' asked='5f3a9c01-1' oldest='5f3a9c01-3'/><body>Events</body></message>",
		"<message xmlns='jabber:client' from='a@b' type='groupchat'><gap xmlns='urn:tidings:0'/></message>",
		"<message xmlns='jabber:client' from='a@b'><result xmlns='urn:xmpp:mam:2' queryid='q' id='5f3a9c01-4'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-03-04T05:06:07Z'/><message xmlns='jabber:client' from='a@b/rc'><body>four</body><entry xmlns='http://www.w3.org/2005/Atom'/><event xmlns='urn:tidings:0' topic='/a' item='i' type='application/xml'/></message></forwarded></result></message>",
		"<message xmlns='jabber:client' from='a@b' type='groupchat'><subject>s</subject></message>",
		"<message xmlns='jabber:client' from='a@b/ann' type='groupchat'><body>hello</body><delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/></message>",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, isLive bool) {
		st, ok := messageOf(raw)
		if !ok {
			return
		}
		told := 0
		s := counting(t, &told)
		r := newRoom(s, jid.MustParse("a@b"))
		r.subject, r.state, r.query = true, asking, "q"
		if isLive {
			r.state = live
		}
		if err := r.message(&st); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		once := told + len(r.held)
		if err := r.message(&st); err != nil || once > 1 {
			t.Errorf("%s: %v, told %d", raw, err, told)
		}
		if again := told + len(r.held); r.last != "" && isLive && again > once {
			t.Errorf("%s: told twice", raw)
		}
	})
}

// FuzzItem reads any message as one of a node, live, held or from the archive, with and without a service that has one.
func FuzzItem(f *testing.F) {
	const event = "<message xmlns='jabber:client' from='p.b'><event xmlns='http://jabber.org/protocol/pubsub#event'>"
	for _, s := range []string{
		event + "<items node='/n'><item id='i'><json xmlns='urn:xmpp:json:0'>{&quot;a&quot;:1}</json></item></items></event><stanza-id xmlns='urn:xmpp:sid:0' by='p.b' id='5f3a9c01-1042'/></message>",
		event + "<items node='/n'><item id='i'><entry xmlns='http://www.w3.org/2005/Atom'><id>xmpp:p.b?;node=%2Fn;item=i</id><updated>2026-03-04T05:06:07Z</updated><rc xmlns='' type='edit' rcid='7' timestamp='2010-10-12T08:57:03Z'/></entry></item></items></event></message>",
		event + "<items node='/n'><item id='i'><entry xmlns='http://www.w3.org/2005/Atom'><id>xmpp:p.b?;node=%2Fn;item=i</id><updated>x</updated><content type='image/png'>iVBO</content></entry></item></items></event></message>",
		event + "<items node='/n'><item id='i'><entry xmlns='http://www.w3.org/2005/Atom'><id>xmpp:p.b?;node=%2Fn;item=i</id><content>text</content></entry></item><retract id='j'/></items></event><delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/></message>",
		event + "<items node='/n'/></event><stanza-id xmlns='urn:xmpp:sid:0' by='p.b' id='5f3a9c01-1042'/></message>",
		event + "<purge node='/n'/></event></message>", event + "<delete node='/n'><redirect uri='xmpp:p.b?;node=m'/></delete></event></message>",
		event + "<subscription node='/n' jid='a@b/c' subscription='none'/></event></message>", event + "<configuration node='/n'/></event></message>",
		"<message xmlns='jabber:client' from='p.b'><gap xmlns='urn:tidings:0' asked='5f3a9c01-1' oldest='5f3a9c01-3'/></message>",
		"<message xmlns='jabber:client' from='p.b'><gap xmlns='urn:tidings:0'/></message>",
		"<message xmlns='jabber:client' from='p.b'><result xmlns='urn:xmpp:mam:2' queryid='q' id='5f3a9c01-4'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2026-03-04T05:06:07Z'/>" + event + "<items node='/n'><item id='i'><a xmlns='b'/></item></items></event></message></forwarded></result></message>",
	} {
		for mode := range uint8(4) {
			f.Add([]byte(s), mode)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, mode uint8) {
		st, ok := messageOf(raw)
		if !ok {
			return
		}
		told := 0
		s := counting(t, &told)
		s.conn = new(dial.Conn)
		n := newNode(s, jid.MustParse("p.b"), "/n", tidings.Pattern{})
		s.parts = []part{n}
		n.state, n.query, n.known = asking, "q", true
		if mode&1 != 0 {
			n.state = live
		}
		if mode&2 != 0 {
			n.list = &list{}
			n.list.clear()
		}
		if _, err := n.take(&st); err != nil && tidings.KindOf(err) != tidings.ErrNotFound && tidings.KindOf(err) != tidings.ErrForbidden {
			t.Errorf("%s: %v", raw, err)
		}
		once, last := told+len(n.held), n.at
		if _, err := n.take(&st); err != nil && tidings.KindOf(err) != tidings.ErrNotFound && tidings.KindOf(err) != tidings.ErrForbidden {
			t.Errorf("%s: %v", raw, err)
		}
		if again := told + len(n.held); !last.IsZero() && mode&1 != 0 && once == 1 && again > once {
			t.Errorf("%s: told twice", raw)
		}
	})
}

// FuzzAddress takes any URL for the address of a room or a node.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"xmpp://localhost/enwiki@conference.localhost", "xmpps://ann:secret@example.org:443/a@b/nick", "xmpp:a@b?join;password=x%20y",
		`xmpp://127.0.0.1:5222/\2fnews\2f*@conference.localhost`, "xmpp://[::1]:7/a@b", "xmpp://localhost", "xmpp:a@b?remove",
		"xmpp:pubsub.example.org?;node=princely_musings", "xmpp://ann:x@localhost:7/pubsub.localhost?pubsub;action=subscribe;node=/a/*", "xmpp:ann@example.org?;node=urn:xmpp:avatar:data", "xmpp://localhost?;node=%2Fa%3Bb",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		s, err := parseXMPP(u)
		if err != nil {
			return
		}
		if s.account.Domain() == "" || !s.room.IsZero() && (s.room.Local() == "" || !s.room.IsBare()) || !s.account.IsBare() {
			t.Errorf("%s is %+v", address, s)
		}
		if s.pubsub() && (!s.room.IsZero() || s.secret != "" || !s.service.IsBare() && !s.service.IsZero()) {
			t.Errorf("%s is %+v", address, s)
		}
		if topic := topicOf(s.room.Local()); topic != "" {
			if _, err := tidings.ParseTopic(string(topic)); err != nil {
				t.Error(err)
			}
			if local, err := RoomAddress(tidings.PatternOf(topic)); err == nil && topicOf(local) != topic {
				t.Errorf("%s has the room %s, which is of %s", topic, local, topicOf(local))
			}
		}
	})
}
