package dataform

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidings/xmpp/xmlstream"
	"tidings/xmpp/xmlstream/xmlstreamtest"
)

func TestForm(t *testing.T) {
	for _, tc := range []struct {
		name string
		form *Form
		want string
	}{
		{"a form to fill in", &Form{Type: TypeForm, Title: "Bot <1>", Instructions: []string{"Fill it in", "please"}, Fields: []Field{
			{Var: FormType, Type: Hidden, Values: []string{"jabber:bot"}},
			{Type: Fixed, Values: []string{"Section 1"}},
			{Var: "public", Type: Boolean, Label: "Public?", Required: true},
			{Var: "maxsubs", Type: ListSingle, Desc: "how many", Values: []string{"20"}, Options: []Option{{"10", "10"}, {"", "none"}}},
			{Var: "invites", Type: JIDMulti, Values: []string{"a@b", "c@d"}},
		}}, `<x xmlns='jabber:x:data' type='form'><title>Bot &lt;1&gt;</title><instructions>Fill it in</instructions><instructions>please</instructions>` +
			`<field var='FORM_TYPE' type='hidden'><value>jabber:bot</value></field><field type='fixed'><value>Section 1</value></field>` +
			`<field var='public' type='boolean' label='Public?'><required/></field>` +
			`<field var='maxsubs' type='list-single'><desc>how many</desc><value>20</value><option label='10'><value>10</value></option><option><value>none</value></option></field>` +
			`<field var='invites' type='jid-multi'><value>a@b</value><value>c@d</value></field></x>`},
		{"a submission", New(TypeSubmit, "urn:x").Add("a", "", "1").Add("b", ""),
			`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:x</value></field><field var='a'><value>1</value></field><field var='b'></field></x>`},
		{"a cancellation", New(TypeCancel, ""), `<x xmlns='jabber:x:data' type='cancel'></x>`},
		{"a table", &Form{Type: TypeResult, Reported: []Field{{Var: "name", Label: "Name"}, {Var: "url"}}, Items: [][]Field{
			{{Var: "name", Values: []string{"A"}}, {Var: "url", Values: []string{"http://a"}}}, {{Var: "name", Values: []string{"B"}}}}},
			`<x xmlns='jabber:x:data' type='result'><reported><field var='name' label='Name'></field><field var='url'></field></reported>` +
				`<item><field var='name'><value>A</value></field><field var='url'><value>http://a</value></field></item><item><field var='name'><value>B</value></field></item></x>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(tc.form.Append(nil)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			got, err := Parse(Find(xmlstreamtest.Element(t, "<query>"+tc.want+"</query>")))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.form, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// Lines of a text are a value each (XEP-0004 section 3.3); in the other types a line end is one.
func TestLines(t *testing.T) {
	f := New(TypeForm, "").Add("text", TextMulti, "a\nb").Add("one", TextSingle, "a\nb")
	got, err := Parse(xmlstreamtest.Element(t, string(f.Append(nil))))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a", "b"}, got.Field("text").Values); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"a\nb"}, got.Field("one").Values); d != "" {
		t.Error(d)
	}
}

func TestParseErrors(t *testing.T) {
	for _, in := range []string{
		`<x/>`, `<x xmlns='jabber:x:data'/>`, `<x xmlns='jabber:x:data' type='wish'/>`, `<y xmlns='jabber:x:data' type='form'/>`,
		`<x xmlns='jabber:x:data' type='submit'><field><value>1</value></field></x>`,
	} {
		if f, err := Parse(xmlstreamtest.Element(t, in)); err == nil || err.Error()[:11] != "bad-request" {
			t.Errorf("%s: %+v, %v", in, f, err)
		}
	}
	if _, err := Parse(Find(xmlstreamtest.Element(t, `<query/>`))); err == nil {
		t.Error("no form is a form")
	}
}

func TestAccess(t *testing.T) {
	f, err := Parse(xmlstreamtest.Element(t, `<x xmlns='jabber:x:data' type='submit'><other xmlns='y'/><field var='FORM_TYPE'><value>urn:x</value></field><field var='a'><value>1</value><value>2</value></field><field var='a'><value>3</value></field></x>`))
	if err != nil {
		t.Fatal(err)
	}
	if f.FormType() != "urn:x" || f.Value("a") != "1" || f.Value("b") != "" || f.Field("b") != nil {
		t.Errorf("%+v", f)
	}
}

func TestParseBool(t *testing.T) {
	for s, want := range map[string][2]bool{"1": {true, true}, "true": {true, true}, "0": {false, true}, "false": {false, true}, "": {}, "yes": {}, "TRUE": {}} {
		if v, ok := ParseBool(s); v != want[0] || ok != want[1] {
			t.Errorf("%q: %v, %v", s, v, ok)
		}
	}
}

// FuzzForm reads anything; what is a form says the same when it is written and read again.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		`<x xmlns='jabber:x:data' type='form'><title>t</title><instructions>i</instructions><field var='a' type='list-multi' label='l'><required/><desc>d</desc><value>1</value><option label='o'><value>1</value></option></field></x>`,
		`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:x</value></field></x>`,
		`<x xmlns='jabber:x:data' type='result'><reported><field var='a'/></reported><item><field var='a'><value>1</value></field></item></x>`,
		`<x xmlns='jabber:x:data' type='cancel'/>`, `<x/>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		el, err := new(xmlstream.Document).Parse([]byte(s), xmlstreamtest.Client)
		if err != nil {
			return
		}
		form, err := Parse(el)
		if err != nil {
			return
		}
		// What is empty is not written, and lines become values: from there on nothing changes.
		once := form.Append(nil)
		again, err := Parse(xmlstreamtest.Element(t, string(once)))
		if err != nil {
			t.Fatalf("%s: %s: %v", s, once, err)
		}
		if twice := again.Append(nil); string(twice) != string(once) {
			t.Fatalf("%s: %s, then %s", s, once, twice)
		}
	})
}
