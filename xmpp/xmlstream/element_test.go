package xmlstream

import (
	"slices"
	"strings"
	"testing"
)

func TestElement(t *testing.T) {
	var d Document
	e, err := d.Parse([]byte("<iq type='get' id='' xml:lang='de' xmlns:p='q' p:r='s&amp;'>one<a/><b xmlns='x'>two<c/>three</b><a>4</a>five</iq>"), client)
	if err != nil {
		t.Fatal(err)
	}
	if e.Name() != "iq" || e.Space() != "jabber:client" || !e.Is("jabber:client", "iq") || e.Is("", "iq") || e.Is("jabber:client", "a") {
		t.Error("names")
	}
	if e.Attr("type") != "get" || !e.HasAttr("id") || e.Attr("id") != "" || e.AttrBytes("id") == nil || e.HasAttr("xmlns") || e.HasAttr("lang") || e.AttrBytes("lang") != nil ||
		e.AttrNS(SpaceXML, "lang") != "de" || e.AttrNS("q", "r") != "s&" || string(e.AttrBytes("type")) != "get" {
		t.Error("attributes")
	}
	if got := slices.Collect(e.Attrs()); !slices.Equal(got, []Attr{{"", "type", "get"}, {"", "id", ""}, {SpaceXML, "lang", "de"}, {"q", "r", "s&"}}) {
		t.Errorf("%q", got)
	}
	for range e.Attrs() {
		break
	}
	var names []string
	for c := range e.Children() {
		names = append(names, c.Name())
		if c.Parent() != e {
			t.Error("the parent of a child is another")
		}
	}
	if !slices.Equal(names, []string{"a", "b", "a"}) || e.First().Next().Next().Next() != (Element{}) || e.Next() != (Element{}) || e.Parent() != (Element{}) {
		t.Errorf("%q", names)
	}
	b := e.Child("x", "b")
	if b.Text() != "twothree" || e.Text() != "onefive" || b.Child("x", "c").IsZero() || e.Child("", "b") != (Element{}) || string(b.Raw()) != "<b xmlns='x'>two<c/>three</b>" {
		t.Error("children")
	}
	if e.Child("jabber:client", "a") != e.First() || string(e.First().AppendText([]byte("x"))) != "x" {
		t.Error("the first child")
	}
	for range e.Children() {
		break
	}

	var none Element
	if !none.IsZero() || none.Name() != "" || none.Space() != "" || none.Is("", "") || none.Attr("a") != "" || none.HasAttr("a") || none.AttrBytes("a") != nil || none.Text() != "" ||
		none.First().Next().Parent().Child("", "") != none || none.Raw() != nil || none.AppendXML(nil, "") != nil || none.AppendText(nil) != nil ||
		slices.Collect(none.Children()) != nil || slices.Collect(none.Attrs()) != nil {
		t.Error("the zero Element is something")
	}
}

// The child named x of each, moved to a parent with another default namespace.
func TestAppendXML(t *testing.T) {
	for _, c := range []struct{ in, space, want string }{
		{"<a><x/></a>", "jabber:client", "<x/>"},
		{"<a><x/></a>", "", "<x xmlns='jabber:client'/>"},
		{"<a><x b='c'>d<e/></x></a>", "y", "<x xmlns='jabber:client' b='c'>d<e/></x>"},
		{"<a xmlns='z'><x/></a>", "jabber:client", "<x xmlns='z'/>"},
		{"<a xmlns='z'><x/></a>", "z", "<x/>"},
		{"<a xmlns=''><x/></a>", "jabber:client", "<x xmlns=''/>"},
		{"<a xmlns='z'><x xmlns='y'/></a>", "jabber:client", "<x xmlns='y'/>"},
		{"<a xmlns='y'><x xmlns='y'/></a>", "y", "<x xmlns='y'/>"},
		{"<a xmlns='&lt;&apos;&amp;&quot;'><x/></a>", "", "<x xmlns='&lt;&apos;&amp;&quot;'/>"},
		{"<a><stream:x/></a>", "jabber:client", "<stream:x xmlns:stream='http://etherx.jabber.org/streams'/>"},
		{"<a><stream:x/></a>", "y", "<stream:x xmlns:stream='http://etherx.jabber.org/streams'/>"},
		{"<a><stream:x><b/></stream:x></a>", "y", "<stream:x xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'><b/></stream:x>"},
		{"<a><stream:x><b xmlns='z'/></stream:x></a>", "y", "<stream:x xmlns:stream='http://etherx.jabber.org/streams'><b xmlns='z'/></stream:x>"},
		{"<a xmlns:p='P' xmlns:q='Q'><x><p:b q:c='' p:d=''/></x></a>", "jabber:client", "<x xmlns:p='P' xmlns:q='Q'><p:b q:c='' p:d=''/></x>"},
		{"<a xmlns:p='P'><x xmlns:p='R'><p:b/></x></a>", "jabber:client", "<x xmlns:p='R'><p:b/></x>"},
		{"<a xmlns:p='P'><x><b xmlns:p='R'><p:b/></b></x></a>", "jabber:client", "<x><b xmlns:p='R'><p:b/></b></x>"},
		{"<a xmlns:p='P'><x><b xmlns:p='R'><p:b/></b><p:c/></x></a>", "jabber:client", "<x xmlns:p='P'><b xmlns:p='R'><p:b/></b><p:c/></x>"},
		{"<a xmlns:p='P'><p:x xml:lang='en' p:b='c'>d</p:x></a>", "jabber:client", "<p:x xmlns:p='P' xml:lang='en' p:b='c'>d</p:x>"},
		{"<a xmlns:p='P' xmlns:pp='P'><p:x pp:b='c'/></a>", "jabber:client", "<p:x xmlns:p='P' xmlns:pp='P' pp:b='c'/>"},
		{"<a><x\n b = 'c\n'\n/></a>", "y", "<x xmlns='jabber:client'\n b = 'c\n'\n/>"},
		{"<a xmlns:p='P'><x><![CDATA[<p:b/>]]></x></a>", "jabber:client", "<x><![CDATA[<p:b/>]]></x>"},
	} {
		var d Document
		e, err := d.Parse([]byte(c.in), client)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := string(e.First().AppendXML([]byte("-"), c.space)); got != "-"+c.want {
			t.Errorf("%s in %q:\n got %s\nwant %s", c.in, c.space, got, c.want)
		}
	}
}

// Every element of every stanza means the same in another stream.
func TestAppendXMLMeansTheSame(t *testing.T) {
	for _, s := range stanzas(t) {
		moved(t, []byte(s), client)
	}
}

// moved moves each element of raw to parents of several default namespaces and parses it there.
func moved(t *testing.T, raw []byte, ctx *Context) {
	t.Helper()
	var d Document
	if _, err := d.Parse(raw, ctx); err != nil {
		return
	}
	limits := Limits{Attrs: 1000, Stanza: 1 << 24}
	for i := range min(len(d.nodes), 100) {
		e := Element{&d, int32(i)}
		for _, space := range []string{"jabber:client", "", "urn:x"} {
			out := e.AppendXML(nil, space)
			again := Document{Limits: limits}
			f, err := again.Parse(out, NewContext(space))
			if err != nil {
				t.Fatalf("%s\nmoved to %q\n%s\n%v", raw, space, out, err)
			}
			if want, got := dump(e), dump(f); got != want {
				t.Fatalf("%s\nmoved to %q\n%s\n got %s\nwant %s", raw, space, out, got, want)
			}
			if string(out) != string(e.Raw()) && len(out) < len(e.Raw()) {
				t.Fatalf("%s\nbecame %s", e.Raw(), out)
			}
		}
	}
}

func FuzzAppendXML(f *testing.F) {
	for _, s := range stanzas(f) {
		f.Add([]byte(s))
	}
	f.Add([]byte("<p:a xmlns:p='x&apos;' xmlns='&#10;'><stream:b p:c='d'/><e xmlns=''><p:f/></e></p:a>"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < 4096 {
			moved(t, raw, client)
		}
	})
}

func TestBuilder(t *testing.T) {
	var d Document
	e, err := d.Parse([]byte("<a xmlns='x'><b/></a>"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var b Builder
	for range 2 {
		b.Reset()
		b.Open("iq", "type", "result", "to", "a&'\"<>\t\n\rb").Open("q", "xmlns", "y").Text("a&'\"<>]]>\t\n\rb").Empty("c", "d", "\u00e9\x00\xff\uffff").
			TextElement("f", "x\x01\xed\xa0\x80y\U0001f600", "g", "h").Close().Element(e.First(), "jabber:client").Element(e, "x").Raw([]byte("<i/>")).Close()
	}
	want := "<iq type='result' to='a&amp;&apos;&quot;&lt;&gt;&#x9;&#xA;&#xD;b'><q xmlns='y'>a&amp;'\"&lt;&gt;]]&gt;\t\n&#xD;b<c d='\u00e9\ufffd\ufffd\ufffd'/>" +
		"<f g='h'>x\ufffd\ufffd\ufffd\ufffdy\U0001f600</f></q><b xmlns='x'/><a xmlns='x'><b/></a><i/></iq>"
	if got := string(b.Bytes()); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if e, err = d.Parse(b.Bytes(), client); err != nil || e.Attr("to") != "a&'\"<>\t\n\rb" || e.Child("y", "q").Text() != "a&'\"<>]]>\t\n\rb" {
		t.Errorf("%s, %v", e.Raw(), err)
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "plain", "a&b<c>d'e\"f", "\r\n\t", "\x00\x1f\x7f", "\xff\xed\xa0\x80", "\ufffe\uffff\ufffd", "]]>", "&amp;&#1;", "\U0010ffff\u0085\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 10_000 {
			return
		}
		var b Builder
		raw := b.Open("a", "b", s).Text(s).Close().Bytes()
		var d Document
		e, err := d.Parse(raw, nil)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		want := strings.Map(func(r rune) rune {
			if !isChar(r) {
				return 0xfffd
			}
			return r
		}, string([]rune(s)))
		if e.Attr("b") != want || e.Text() != want {
			t.Fatalf("%q: %q and %q", want, e.Attr("b"), e.Text())
		}
		if again := AppendText(nil, []byte(s)); string(again) != string(AppendText(nil, s)) {
			t.Fatalf("%q: as bytes %q", s, again)
		}
	})
}
