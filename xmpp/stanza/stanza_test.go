package stanza

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
	"tidings/xmpp/xmlstream/xmlstreamtest"
)

// parse parses a stanza that has no error.
func parse(t testing.TB, s string) *Stanza {
	t.Helper()
	st, err := Parse(xmlstreamtest.Element(t, s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return &st
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		kind     Kind
		typ      string
		id, lang string
		from, to string
		err      string // the condition
	}{
		{name: "message without a type", in: `<message from='romeo@example.net/orchard' to='juliet@example.com' id='m1' xml:lang='en'><body>hi</body></message>`,
			typ: TypeNormal, id: "m1", lang: "en", from: "romeo@example.net/orchard", to: "juliet@example.com"},
		{name: "message of an unknown type", in: `<message type='shout'/>`, typ: TypeNormal},
		{name: "groupchat", in: `<message type='groupchat' to='room@conference.localhost'/>`, typ: TypeGroupchat, to: "room@conference.localhost"},
		{name: "message error", in: `<message type='error'/>`, typ: TypeError},
		{name: "available", in: `<presence/>`, kind: Presence, typ: TypeAvailable},
		{name: "unavailable", in: `<presence type='unavailable'/>`, kind: Presence, typ: TypeUnavailable},
		{name: "subscribe", in: `<presence type='subscribe' to='juliet@example.com'/>`, kind: Presence, typ: TypeSubscribe, to: "juliet@example.com"},
		{name: "presence of type available", in: `<presence type='available'/>`, kind: Presence, err: "bad-request"},
		{name: "presence of an unknown type", in: `<presence type='dancing'/>`, kind: Presence, err: "bad-request"},
		{name: "get", in: `<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>`, kind: IQ, typ: TypeGet, id: "1"},
		{name: "get with white space", in: "<iq type='get' id='1'>\n  <query xmlns='jabber:iq:roster'/>\n</iq>", kind: IQ, typ: TypeGet, id: "1"},
		{name: "empty result", in: `<iq type='result' id='1'/>`, kind: IQ, typ: TypeResult, id: "1"},
		{name: "error with the request in it", in: `<iq type='error' id='1'><query xmlns='x'/><error type='cancel'/></iq>`, kind: IQ, typ: TypeError, id: "1"},
		{name: "component", in: `<iq xmlns='jabber:component:accept' type='set' id='1'><a/></iq>`, kind: IQ, typ: TypeSet, id: "1"},

		{name: "iq without id", in: `<iq type='get'><a xmlns='x'/></iq>`, kind: IQ, typ: TypeGet, err: "bad-request"},
		{name: "iq with an empty id", in: `<iq type='get' id=''><a xmlns='x'/></iq>`, kind: IQ, typ: TypeGet, err: "bad-request"},
		{name: "iq without type", in: `<iq id='1'><a xmlns='x'/></iq>`, kind: IQ, id: "1", err: "bad-request"},
		{name: "iq of an unknown type", in: `<iq id='1' type='put'><a xmlns='x'/></iq>`, kind: IQ, id: "1", err: "bad-request"},
		{name: "get without a child", in: `<iq id='1' type='get'/>`, kind: IQ, typ: TypeGet, id: "1", err: "bad-request"},
		{name: "set with text only", in: `<iq id='1' type='set'>text</iq>`, kind: IQ, typ: TypeSet, id: "1", err: "bad-request"},
		{name: "set with two children", in: `<iq id='1' type='set'><a xmlns='x'/><b xmlns='x'/></iq>`, kind: IQ, typ: TypeSet, id: "1", err: "bad-request"},
		{name: "result with two children", in: `<iq id='1' type='result'><a xmlns='x'/><b xmlns='x'/></iq>`, kind: IQ, typ: TypeResult, id: "1", err: "bad-request"},
		{name: "malformed to", in: `<message from='a@b' to='@@'/>`, typ: TypeNormal, from: "a@b", err: "jid-malformed"},
		{name: "malformed from", in: `<message from='/x' to='a@b'/>`, typ: TypeNormal, err: "jid-malformed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st, err := Parse(xmlstreamtest.Element(t, tc.in))
			condition := ""
			if err != nil {
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("the error is %v", err)
				}
				condition = e.Condition
			}
			if condition != tc.err {
				t.Errorf("the condition is %q (%v), want %q", condition, err, tc.err)
			}
			got := []string{st.Kind.String(), st.Type, st.ID, st.Lang, st.From.String(), st.To.String()}
			want := []string{tc.kind.String(), tc.typ, tc.id, tc.lang, tc.from, tc.to}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNotAStanza(t *testing.T) {
	for _, in := range []string{`<features/>`, `<message xmlns='x'/>`, `<stream:message/>`, `<r xmlns='urn:xmpp:sm:3'/>`} {
		if _, err := Parse(xmlstreamtest.Element(t, in)); !errors.Is(err, ErrNotStanza) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestRequest(t *testing.T) {
	for in, want := range map[string]bool{
		`<iq type='get' id='1'><a/></iq>`: true, `<iq type='set' id='1'><a/></iq>`: true,
		`<iq type='result' id='1'/>`: false, `<iq type='error' id='1'/>`: false, `<message/>`: false,
	} {
		if got := parse(t, in).Request(); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func TestAppend(t *testing.T) {
	from, to := jid.MustParse("enwiki@conference.localhost/rc"), jid.MustParse("oneill@localhost/a'<b")
	for _, tc := range []struct {
		got  []byte
		want string
	}{
		{AppendEmpty(nil, Presence, TypeAvailable, "", from, to), `<presence from='enwiki@conference.localhost/rc' to='oneill@localhost/a&apos;&lt;b'/>`},
		{AppendEmpty(nil, Message, TypeNormal, "1", jid.JID{}, jid.JID{}), `<message id='1'/>`},
		{AppendEnd(AppendStart(nil, Message, TypeGroupchat, "x&y", from, jid.JID{}), Message), `<message from='enwiki@conference.localhost/rc' type='groupchat' id='x&amp;y'></message>`},
	} {
		if string(tc.got) != tc.want {
			t.Errorf("got  %s\nwant %s", tc.got, tc.want)
		}
	}
}

func TestAppendResult(t *testing.T) {
	st := parse(t, `<iq type='get' id='r&amp;1' from='juliet@example.com/balcony' to='example.com'><query xmlns='jabber:iq:version'/></iq>`)
	for payload, want := range map[string]string{
		"":                                   `<iq from='example.com' to='juliet@example.com/balcony' type='result' id='r&amp;1'/>`,
		"<query xmlns='jabber:iq:version'/>": `<iq from='example.com' to='juliet@example.com/balcony' type='result' id='r&amp;1'><query xmlns='jabber:iq:version'/></iq>`,
	} {
		if got := string(st.AppendResult(nil, []byte(payload))); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestAppendError(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		err      *Error
		want     string
	}{
		{"iq with what was asked", `<iq type='get' id='1' from='a@b/c' to='pubsub.b'><query xmlns='x' node='n'/></iq>`, ItemNotFound(),
			`<iq from='pubsub.b' to='a@b/c' type='error' id='1'><query xmlns='x' node='n'/><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`},
		{"text, who and an application condition", `<message from='a@b/c' to='r@b' id='2'><body>1&lt;2</body></message>`,
			&Error{Type: Modify, Condition: "not-acceptable", Text: "a<b", By: jid.MustParse("r@b"), Space: "urn:example:app", Name: "too-long", Attrs: []string{"limit", "'5'"}},
			`<message from='r@b' to='a@b/c' type='error' id='2'><body>1&lt;2</body><error by='r@b' type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>a&lt;b</text><too-long xmlns='urn:example:app' limit='&apos;5&apos;'/></error></message>`},
		{"new address", `<presence from='a@b/c' to='r@b' type='subscribe'/>`, Gone("xmpp:r@c"),
			`<presence from='r@b' to='a@b/c' type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>xmpp:r@c</gone></error></presence>`},
		{"large", `<message from='a@b/c' to='r@b'><body>` + strings.Repeat("x", maxEcho) + `</body></message>`, PolicyViolation(),
			`<message from='r@b' to='a@b/c' type='error'><error type='modify'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`},
		{"unknown condition", `<message from='a@b/c' to='r@b'/>`, &Error{Condition: "<x>"},
			`<message from='r@b' to='a@b/c' type='error'><error type='cancel'><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`},
		{"never to an error", `<message type='error' from='a@b/c' to='r@b'/>`, ServiceUnavailable(), ``},
		{"never to a result", `<iq type='result' id='1' from='a@b/c' to='r@b'/>`, ServiceUnavailable(), ``},
		{"never to an iq error", `<iq type='error' id='1' from='a@b/c' to='r@b'/>`, ServiceUnavailable(), ``},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(parse(t, tc.in).AppendError(nil, tc.err)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// A prefix that the stream declares is declared in what is sent back, which goes to another stream.
func TestAppendErrorMovesNamespaces(t *testing.T) {
	st := parse(t, `<message from='a@b/c' to='r@b'><stream:x/><body/></message>`)
	reply, err := new(xmlstream.Document).Parse(st.AppendError(nil, NotAllowed()), xmlstream.NewContext(NSComponent))
	if err != nil {
		t.Fatal(err)
	}
	if reply.Child(xmlstream.SpaceStream, "x").IsZero() {
		t.Errorf("%s", reply.Raw())
	}
}

func TestConditions(t *testing.T) {
	made := []*Error{BadRequest("t"), Conflict("t"), FeatureNotImplemented("t"), Forbidden("t"), Gone("", "t"), InternalServerError("t"),
		ItemNotFound("t"), JIDMalformed("t"), NotAcceptable("t"), NotAllowed("t"), NotAuthorized("t"), PolicyViolation("t"),
		RecipientUnavailable("t"), Redirect("", "t"), RegistrationRequired("t"), RemoteServerNotFound("t"), RemoteServerTimeout("t"),
		ResourceConstraint("t"), ServiceUnavailable("t"), SubscriptionRequired("t"), UndefinedCondition("t"), UnexpectedRequest("t")}
	if len(made) != len(conditions) {
		t.Fatalf("%d functions for %d conditions", len(made), len(conditions))
	}
	for i, c := range conditions {
		want := &Error{Type: c.typ, Condition: c.name, Text: "t", Lang: "en"}
		got := parse(t, string(parse(t, `<message from='a@b/c' to='r@b'/>`).AppendError(nil, made[i]))).Err()
		if d := cmp.Diff(want, got, cmp.Comparer(func(a, b jid.JID) bool { return a == b })); d != "" {
			t.Error(d)
		}
	}
}

func TestErr(t *testing.T) {
	const ns = " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
	for _, tc := range []struct {
		name, in string
		want     *Error
	}{
		{"no error", `<message/>`, nil},
		{"nothing said", `<message type='error'/>`, &Error{Type: Cancel, Condition: "undefined-condition"}},
		{"a type of its own", `<message type='error'><error type='wait'><not-acceptable` + ns + `/></error></message>`, &Error{Type: Wait, Condition: "not-acceptable"}},
		{"an unknown type", `<message type='error'><error type='now'><forbidden` + ns + `/></error></message>`, &Error{Type: Auth, Condition: "forbidden"}},
		{"an unknown condition", `<message type='error'><error type='modify'><payment-required` + ns + `/></error></message>`, &Error{Type: Modify, Condition: "undefined-condition"}},
		{"an application condition", `<iq id='1' type='error'><error type='cancel'><closed-node xmlns='http://jabber.org/protocol/pubsub#errors' a='1'/><gone` + ns + `>xmpp:x</gone></error></iq>`,
			&Error{Type: Cancel, Condition: "gone", URI: "xmpp:x", Space: "http://jabber.org/protocol/pubsub#errors", Name: "closed-node", Attrs: []string{"a", "1"}}},
		{"who and text", `<message type='error'><error type='auth' by='r@b'><text` + ns + ` xml:lang='de'>nein</text><forbidden` + ns + `/></error></message>`,
			&Error{Type: Auth, Condition: "forbidden", Text: "nein", Lang: "de", By: jid.MustParse("r@b")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := parse(t, tc.in).Err()
			if d := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b jid.JID) bool { return a == b })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	if got := ItemNotFound("no such node").With("urn:x", "gap").WithType(Wait).Error(); got != "item-not-found (gap): no such node" {
		t.Error(got)
	}
	e := Forbidden()
	if e.With("urn:x", "y"); e.Name != "" {
		t.Error("With changed its receiver")
	}
}

// FuzzStanza parses what it can and answers it: the answer is a stanza again, of type error, that goes back.
func FuzzStanza(f *testing.F) {
	for _, s := range []string{
		`<message from='a@b/c' to='r@b' id='1' type='chat' xml:lang='en'><body>hi</body></message>`,
		`<iq type='get' id='1' to='b'><query xmlns='jabber:iq:roster'/></iq>`,
		`<iq type='set'><q xmlns:p='u'><p:x/></q></iq>`,
		`<presence type='unavailable' to='r@b/n'><status>bye</status><stream:z/></presence>`,
		`<message type='error'><error type='cancel' by='x'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>u</gone></error></message>`,
		`<presence to='@'/>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		el, err := new(xmlstream.Document).Parse([]byte(s), xmlstreamtest.Client)
		if err != nil {
			return
		}
		st, err := Parse(el)
		if errors.Is(err, ErrNotStanza) {
			return
		}
		want := ServiceUnavailable("text")
		if err != nil {
			want = err.(*Error)
		}
		st.Err()
		reply := st.AppendError(nil, want)
		if len(reply) == 0 {
			if st.Type != TypeError && st.Type != TypeResult {
				t.Fatalf("%s is not answered", s)
			}
			return
		}
		back, err := new(xmlstream.Document).Parse(reply, xmlstreamtest.Client)
		if err != nil {
			t.Fatalf("%s is answered by %s: %v", s, reply, err)
		}
		got, err := Parse(back)
		if err != nil && st.ID != "" {
			t.Fatalf("%s is answered by %s: %v", s, reply, err)
		}
		if got.Type != TypeError || got.ID != st.ID || got.From != st.To || got.To != st.From {
			t.Fatalf("%s is answered by %s", s, reply)
		}
		if e := got.Err(); e.Condition != want.Condition || e.Type != want.Type {
			t.Fatalf("%s is answered by %s", s, reply)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	raw := []byte(`<iq type='set' id='pub1' from='bot@localhost/rc' to='pubsub.localhost'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='/recentchange/en.wikipedia.org'><item id='1'><json xmlns='urn:xmpp:json:0'>{}</json></item></publish></pubsub></iq>`)
	var d xmlstream.Document
	b.ReportAllocs()
	for b.Loop() {
		el, err := d.Parse(raw, xmlstreamtest.Client)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := Parse(el); err != nil {
			b.Fatal(err)
		}
	}
}
