package mam

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidings/xmpp/jid"
	"tidings/xmpp/rsm"
	"tidings/xmpp/xmlstream"
	"tidings/xmpp/xmlstream/xmlstreamtest"
)

var sameJID = cmp.Comparer(func(a, b jid.JID) bool { return a == b })

func TestQuery(t *testing.T) {
	start := time.Date(2010, 6, 7, 0, 0, 0, 0, time.UTC)
	field := func(name string, values ...string) string {
		return "<field var='" + name + "'><value>" + strings.Join(values, "</value><value>") + "</value></field>"
	}
	form := func(fields ...string) string {
		return `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>` + strings.Join(fields, "") + `</x>`
	}
	for _, tc := range []struct {
		name, in string
		want     Query
	}{
		{"everything", `<query xmlns='urn:xmpp:mam:2' queryid='f27'></query>`, Query{ID: "f27", Page: rsm.Page}},
		{"of somebody", `<query xmlns='urn:xmpp:mam:2'>` + form(field("with", "juliet@capulet.lit")) + `</query>`, Query{With: jid.MustParse("juliet@capulet.lit"), Page: rsm.Page}},
		{"between two times", `<query xmlns='urn:xmpp:mam:2'>` + form(field("start", "2010-06-07T00:00:00Z"), field("end", "2010-07-07T13:23:54Z")) + `</query>`,
			Query{Start: start, End: time.Date(2010, 7, 7, 13, 23, 54, 0, time.UTC), Page: rsm.Page}},
		{"between two ids, a page", `<query xmlns='urn:xmpp:mam:2'>` + form(field("after-id", "28482-98726-73623"), field("before-id", "x")) + `<set xmlns='http://jabber.org/protocol/rsm'><max>10</max></set></query>`,
			Query{AfterID: "28482-98726-73623", BeforeID: "x", Page: rsm.Request{Max: 10, Index: -1}}},
		{"some", `<query xmlns='urn:xmpp:mam:2'>` + form(field("ids", "a", "b")) + `</query>`, Query{IDs: []string{"a", "b"}, Page: rsm.Page}},
		{"the last page of a node, reversed", `<query xmlns='urn:xmpp:mam:2' node='/recentchange/*'><set xmlns='http://jabber.org/protocol/rsm'><max>2</max><before></before></set><flip-page/></query>`,
			Query{Node: "/recentchange/*", FlipPage: true, Page: rsm.Request{Max: 2, Index: -1, Backward: true}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseQuery(xmlstreamtest.Element(t, tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got, sameJID); d != "" {
				t.Error(d)
			}
			if again := string(got.Append(nil)); again != tc.in {
				t.Errorf("written it is %s", again)
			}
		})
	}
	for name, tc := range map[string]struct{ in, want string }{
		"a field of another archive": {form(field("{urn:x}color", "red")), "feature-not-implemented"},
		"a time":                     {form(field("start", "yesterday")), "bad-request"},
		"the other time":             {form(field("end", "")), "bad-request"},
		"an address":                 {form(field("with", "@")), "bad-request"},
		"another form":               {`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:x</value></field></x>`, "bad-request"},
		"a form that asks":           {`<x xmlns='jabber:x:data' type='form'/>`, "bad-request"},
		"no form":                    {`<x xmlns='jabber:x:data'/>`, "bad-request"},
		"a page that contradicts":    {`<set xmlns='http://jabber.org/protocol/rsm'><index>1</index><after>x</after></set>`, "bad-request"},
		"a page of no size":          {`<set xmlns='http://jabber.org/protocol/rsm'><max>x</max></set>`, "bad-request"},
	} {
		if q, err := ParseQuery(xmlstreamtest.Element(t, "<query xmlns='urn:xmpp:mam:2'>"+tc.in+"</query>")); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %+v, %v", name, q, err)
		}
	}
}

// Each field that the form names can be asked for.
func TestFields(t *testing.T) {
	for _, f := range Form().Fields[1:] {
		v := "2010-06-07T00:00:00Z" // a time, an id and an address
		in := "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='" + f.Var + "'><value>" + v + "</value></field></x></query>"
		if f.Var == "with" {
			in = strings.Replace(in, v, "a@b", 1)
		}
		if _, err := ParseQuery(xmlstreamtest.Element(t, in)); err != nil {
			t.Errorf("%s: %v", f.Var, err)
		}
	}
	if el := xmlstreamtest.Element(t, string(AppendFields(nil))); !el.Is(NS, "query") || el.First().IsZero() {
		t.Errorf("%s", el.Raw())
	}
}

func TestResult(t *testing.T) {
	stamp := time.Date(2010, 7, 10, 23, 8, 25, 0, time.UTC)
	got := string(AppendResult(nil, "f27", "28482-98726-73623", stamp, []byte("<message xmlns='jabber:client' from='r@b/n'><body>hail</body></message>")))
	const want = `<result xmlns='urn:xmpp:mam:2' queryid='f27' id='28482-98726-73623'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25Z'/>` +
		`<message xmlns='jabber:client' from='r@b/n'><body>hail</body></message></forwarded></result>`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r, ok := FindResult(xmlstreamtest.Element(t, "<message>"+want+"</message>"))
	if !ok || r.QueryID != "f27" || r.ID != "28482-98726-73623" || !r.Stamp.Equal(stamp) || r.Message.Child("jabber:client", "body").Text() != "hail" {
		t.Errorf("%+v, %v", r, ok)
	}
	for _, in := range []string{"", "<result xmlns='urn:xmpp:mam:2'/>", "<result xmlns='urn:xmpp:mam:2'><forwarded xmlns='urn:xmpp:forward:0'/></result>", "<result><forwarded xmlns='urn:xmpp:forward:0'><message/></forwarded></result>"} {
		if r, ok := FindResult(xmlstreamtest.Element(t, "<message>"+in+"</message>")); ok {
			t.Errorf("%s: %+v", in, r)
		}
	}
}

func TestFin(t *testing.T) {
	for _, tc := range []struct {
		f    Fin
		want string
	}{
		{Fin{Complete: true, Page: rsm.Result{First: "a", Last: "b", Index: -1, Count: -1}}, `<fin xmlns='urn:xmpp:mam:2' complete='true'><set xmlns='http://jabber.org/protocol/rsm'><first>a</first><last>b</last></set></fin>`},
		{Fin{Unstable: true, Page: rsm.Result{Index: -1, Count: 0}}, `<fin xmlns='urn:xmpp:mam:2' stable='false'><set xmlns='http://jabber.org/protocol/rsm'><count>0</count></set></fin>`},
	} {
		if got := string(tc.f.Append(nil)); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
		if got, err := ParseFin(xmlstreamtest.Element(t, tc.want)); got != tc.f || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if _, err := ParseFin(xmlstreamtest.Element(t, "<fin/>")); err == nil {
		t.Error("another element ends a page")
	}
}

func TestMetadata(t *testing.T) {
	m := Metadata{FirstID: "YWxwaGEg", LastID: "b'", First: time.Date(2008, 8, 22, 21, 9, 4, 0, time.UTC), Last: time.Date(2020, 4, 20, 14, 34, 21, 5e6, time.UTC)}
	const want = `<metadata xmlns='urn:xmpp:mam:2'><start id='YWxwaGEg' timestamp='2008-08-22T21:09:04Z'/><end id='b&apos;' timestamp='2020-04-20T14:34:21.005Z'/></metadata>`
	if got := string(m.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, err := ParseMetadata(xmlstreamtest.Element(t, want)); got != m || err != nil {
		t.Error(got, err)
	}
	if got, err := ParseMetadata(xmlstreamtest.Element(t, string(Metadata{}.Append(nil)))); got != (Metadata{}) || err != nil {
		t.Error(got, err)
	}
	for _, in := range []string{"<metadata/>", "<metadata xmlns='urn:xmpp:mam:2'><start id='a'/><end id='b'/></metadata>"} {
		if got, err := ParseMetadata(xmlstreamtest.Element(t, in)); err == nil {
			t.Errorf("%s: %+v", in, got)
		}
	}
}

func TestPrefs(t *testing.T) {
	p := Prefs{Default: Roster, Always: []jid.JID{jid.MustParse("romeo@montague.lit")}, Never: []jid.JID{jid.MustParse("a@b"), jid.MustParse("c@d")}}
	const want = `<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>romeo@montague.lit</jid></always><never><jid>a@b</jid><jid>c@d</jid></never></prefs>`
	if got := string(p.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got, err := ParsePrefs(xmlstreamtest.Element(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, got, sameJID); d != "" {
		t.Error(d)
	}
	if got, err := ParsePrefs(xmlstreamtest.Element(t, `<prefs xmlns='urn:xmpp:mam:2' default='never'/>`)); got.Default != Never || err != nil {
		t.Error(got, err)
	}
	for in, want := range map[string]string{
		`<prefs xmlns='urn:xmpp:mam:2'/>`: "bad-request",
		`<prefs xmlns='urn:xmpp:mam:2' default='always'><always><jid>@</jid></always></prefs>`: "jid-malformed",
		`<prefs xmlns='urn:xmpp:mam:2' default='always'><never><jid/></never></prefs>`:         "jid-malformed",
	} {
		if got, err := ParsePrefs(xmlstreamtest.Element(t, in)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

// FuzzMAM reads anything as each of the elements; a query that can be read is the same when it is written and read again.
func FuzzMAM(f *testing.F) {
	for _, s := range []string{
		`<query xmlns='urn:xmpp:mam:2' queryid='q' node='n'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='start'><value>2010-06-07T00:00:00Z</value></field><field var='ids'><value>a</value><value>b</value></field></x><set xmlns='http://jabber.org/protocol/rsm'><max>10</max><before/></set><flip-page/></query>`,
		`<message><result xmlns='urn:xmpp:mam:2' queryid='q' id='i'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25Z'/><message/></forwarded></result></message>`,
		`<fin xmlns='urn:xmpp:mam:2' complete='true' stable='false'/>`, `<metadata xmlns='urn:xmpp:mam:2'><start id='a' timestamp='2010-07-10T23:08:25Z'/><end id='b' timestamp='2010-07-10T23:08:25Z'/></metadata>`,
		`<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>a@b</jid></always><never/></prefs>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		el, err := new(xmlstream.Document).Parse([]byte(s), xmlstreamtest.Client)
		if err != nil {
			return
		}
		FindResult(el)
		ParseFin(el)
		ParseMetadata(el)
		if p, err := ParsePrefs(el); err == nil {
			if again, err := ParsePrefs(xmlstreamtest.Element(t, string(p.Append(nil)))); err != nil || len(again.Always) != len(p.Always) || len(again.Never) != len(p.Never) {
				t.Fatalf("%s: %+v, then %+v, %v", s, p, again, err)
			}
		}
		q, err := ParseQuery(el)
		if err != nil {
			return
		}
		again, err := ParseQuery(xmlstreamtest.Element(t, string(q.Append(nil))))
		if err != nil {
			t.Fatalf("%s: %+v: %v", s, q, err)
		}
		if string(again.Append(nil)) != string(q.Append(nil)) {
			t.Fatalf("%s: %+v, then %+v", s, q, again)
		}
	})
}
