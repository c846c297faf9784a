package xmlstream

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"<a/>", `{jabber:client}a[] ""()`},
		{" \n<a></a >\r\n", `{jabber:client}a[] ""()`},
		{"<a xmlns=''/>", `{}a[] ""()`},
		{"<a xmlns='x'><b/><c xmlns=''><d/></c><e/></a>", `{x}a[] ""({x}b[] ""(){}c[] ""({}d[] ""()){x}e[] ""())`},
		{"<p:a xmlns:p='x' p:b='1' b='2'><p:c xmlns:p='y'/><p:d/></p:a>", `{x}a[{x}b="1" {}b="2"] ""({y}c[] ""(){x}d[] ""())`},
		{"<stream:a stream:b='c'/>", `{http://etherx.jabber.org/streams}a[{http://etherx.jabber.org/streams}b="c"] ""()`},
		{"<a xml:lang='de' lang='x'/>", `{jabber:client}a[{http://www.w3.org/XML/1998/namespace}lang="de" {}lang="x"] ""()`},
		{"<xml:a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>", `{http://www.w3.org/XML/1998/namespace}a[] ""()`},
		{"<a b = \"'x'\"\n\tc='\"'/>", `{jabber:client}a[{}b="'x'" {}c="\""] ""()`},
		{"<a b='&lt;&gt;&amp;&apos;&quot;&#65;&#x1F600;&#x000041;'/>", `{jabber:client}a[{}b="<>&'\"A😀A"] ""()`},
		{"<a b='1\n2\r\n3\r4\t5&#10;6&#13;&#xA;&#9;'/>", `{jabber:client}a[{}b="1 2 3 4 5\n6\r\n\t"] ""()`},
		{"<a b='>' c='x]]>'>]]&gt; ]] ></a>", `{jabber:client}a[{}b=">" {}c="x]]>"] "]]> ]] >"()`},
		{"<a>1\r\n2\r3\n4&#13;5\r</a>", `{jabber:client}a[] "1\n2\n3\n4\r5\n"()`},
		{"<a>x<b>y</b>z<![CDATA[<&]] ]]\r\n>\r]]]><c/>&amp;</a>", `{jabber:client}a[] "xz<&]] ]]\n>\n]&"({jabber:client}b[] "y"(){jabber:client}c[] ""())`},
		{"<a><![CDATA[]]></a>", `{jabber:client}a[] ""()`},
		{"<\u00e9t\u00e9 \u4e2d-.7='\u00b7'>\u007f\u0080\ufffd\U0010ffff</\u00e9t\u00e9>", "{jabber:client}\u00e9t\u00e9[{}\u4e2d-.7=\"\u00b7\"] \"\\x7f\\u0080\ufffd\\U0010ffff\"()"},
		{"<\u0370\u200c\u200d\u2070\u0300\u203f\u3001\uf900\ufdf0\U00010000/>", "{jabber:client}\u0370\u200c\u200d\u2070\u0300\u203f\u3001\uf900\ufdf0\U00010000[] \"\"()"},
		{"<_a._-1/>", `{jabber:client}_a._-1[] ""()`},
	} {
		var d Document
		e, err := d.Parse([]byte(c.in), client)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
		} else if got := dump(e); got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
	var d Document
	for _, s := range stanzas(t) {
		if _, err := d.Parse([]byte(s), client); err != nil {
			t.Errorf("%s\n%v", s, err)
		}
	}
}

func TestIllFormed(t *testing.T) {
	for condition, docs := range map[string][]string{
		NotWellFormed: {
			"", " ", "x", "<", "<a", "<a>", "<a><", "<a></", "<a></a", "<a b", "<a b=", "<a b='", "<a b='c", "<a b='c'", "<a/", "<a></b>", "<a></A>",
			"<a/><b/>", "<a/>x", "x<a/>", "</a>", "<a></a ", "<a></ a>", "<a></aa>", "<aa></a>", "<a></a b='c'>", "<a></a/>",
			"<1/>", "<-a/>", "<.a/>", "< a/>", "<:a/>", "<a:/>", "<a:b:c/>", "<:/>", "<a\u00d7/>", "<\u00b7/>", "<\u0300a/>", "<\u0340/>", "<\u037e/>", "<\u2000/>", "<\u2190/>", "<\u3000/>", "<\ue000/>", "<\U000f0000/>", "<a\ufffe/>", "<\xc3/>", "<a \xff=''/>",
			"<stream:1/>", "<a stream:='x'/>", "<a =''/>", "<a b/>", "<a b c='d'/>", "<a b=c/>", "<a b='c\"/>", "<a b='c'd='e'/>", "<a'b'/>", "<a / >", "<a b='<'/>",
			"<a b='1' b='2'/>", "<a xmlns='x' xmlns='y'/>", "<a xmlns:p='x' xmlns:p='x'/>", "<a xmlns:p='x' xmlns:q='x' p:b='' q:b=''/>", "<a xml:lang='' xml:lang=''/>",
			"<xmlns:a/>", "<a xmlns:xmlns='x'/>", "<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
			"<a xmlns:xml='x'/>", "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", "<a xmlns='http://www.w3.org/XML/1998/namespace'/>", "<a xmlns:p=''/>", "<a xmlns:='x'/>",
			"<a>&</a>", "<a>& </a>", "<a>&amp</a>", "<a>&amp ;</a>", "<a>&;</a>", "<a>&#;</a>", "<a>&#x;</a>", "<a>&#X41;</a>", "<a>&#0;</a>", "<a>&#1;</a>", "<a>&#xD800;</a>", "<a>&#xFFFE;</a>",
			"<a>&#x110000;</a>", "<a>&#99999999999999999999;</a>", "<a>&#65</a>", "<a>&#6a;</a>", "<a b='&#x0;'/>", "<a b='&'/>", "<a>&#", "<a>&#6", "<a>&#x",
			"<a>\x00</a>", "<a>\x01</a>", "<a>\x0b</a>", "<a>\x1f</a>", "<a b='\x00'/>", "<a b='\x1f'/>", "<a>\xff</a>", "<a>\xc3</a>", "<a>\xc0\x80</a>", "<a>\xed\xa0\x80</a>", "<a>\xf4\x90\x80\x80</a>",
			"<a>\ufffe</a>", "<a>\uffff</a>", "<a b='\xff'/>", "<a b='\uffff'/>", "<a><![CDATA[\x00]]></a>", "<a><![CDATA[\xff]]></a>", "<a><![CDATA[\uffff]]></a>", "<a><![CDATA[\xe2\x82]]></a>",
			"<a>]]></a>", "<a>x]]]></a>", "<a><![CDATA[x</a>", "<a><![CDATA[x]]</a>", "<a><![cdata[x]]></a>", "<a><![INCLUDE[x]]></a>", "<![CDATA[x]]>", "<a/><![CDATA[x]]>", "<a><!></a>",
		},
		BadNamespacePrefix: {"<p:a/>", "<a p:b=''/>", "<a><b xmlns:p='x'/><p:c/></a>", "<stream2:a/>"},
		RestrictedXML: {
			"<a>&nbsp;</a>", "<a b='&x;'/>", "<a>&Amp;</a>", "<a>&lol9;</a>", "<a><!-- x --></a>", "<!-- x --><a/>", "<a><?x y?></a>", "<?xml version='1.0'?><a/>", "<!DOCTYPE a><a/>", "<a><!DOCTYPE b></a>",
		},
	} {
		for _, in := range docs {
			var d Document
			e, err := d.Parse([]byte(in), client)
			var bad *Error
			if !errors.As(err, &bad) || bad.Condition != condition || bad.Text == "" || !e.IsZero() {
				t.Errorf("%q: %v, want %s", in, err, condition)
			}
		}
	}
	// A Document is as good as new after an error.
	var d Document
	for _, in := range []string{"<a xmlns:p='x'><p:b c='&lt;'>", "<p:a/>"} {
		if _, err := d.Parse([]byte(in), nil); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
	if e, err := d.Parse([]byte("<a b='&lt;'/>"), nil); err != nil || dump(e) != `{}a[{}b="<"] ""()` {
		t.Error(err)
	}
}

func TestParseLimits(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{strings.Repeat("<a>", 64) + strings.Repeat("</a>", 64), ""},
		{strings.Repeat("<a>", 65) + strings.Repeat("</a>", 65), "more than 64 elements within each other"},
		{strings.Repeat("<a>", 10_000), "more than 64 elements within each other"},
		{"<a " + strings.Repeat("b='' ", 65) + "/>", "more than 64 attributes in one element"},
		{"<a " + strings.Repeat("b='' ", 200_000) + "/>", "a stanza longer than 262144 bytes"},
		{"<" + strings.Repeat("a", 257) + "/>", "a name longer than 256 bytes"},
		{"<a " + strings.Repeat("a", 257) + "=''/>", "a name longer than 256 bytes"},
		{"<a xmlns:" + strings.Repeat("a", 250) + "='x'/>", ""},
		{"<a>" + strings.Repeat("x", 256<<10) + "</a>", "a stanza longer than 262144 bytes"},
		{"<a>" + strings.Repeat("<b/>", DefaultElements-1) + "</a>", ""},
		{"<a>" + strings.Repeat("<b/>", DefaultElements) + "</a>", "more than 16384 elements in one stanza"},
		{nested(64, 1), ""},
		{nested(32, 2), ""},
		{nested(33, 2), "more than 64 namespace prefixes declared at one place"},
	} {
		var d Document
		_, err := d.Parse([]byte(c.in), nil)
		if c.want == "" && err == nil {
			continue
		}
		var bad *Error
		if !errors.As(err, &bad) || bad.Condition != PolicyViolation || bad.Text != c.want {
			t.Errorf("%.50q: %v", c.in, err)
		}
	}
	// Memory that one large stanza needed is given back.
	var d Document
	if _, err := d.Parse([]byte("<a b='"+strings.Repeat("&lt;", 20_000)+"'>"+strings.Repeat("<a b=''/>", 10_000)+"</a>"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Parse([]byte("<a/>"), nil); err != nil || cap(d.nodes) > keepNodes || cap(d.attrs) > keepNodes || cap(d.arena) > keepArena {
		t.Errorf("%v: %d nodes, %d attributes, %d bytes", err, cap(d.nodes), cap(d.attrs), cap(d.arena))
	}
	for i := range 5000 {
		if _, err := d.Parse([]byte("<a"+strings.Repeat("b", i%200)+strings.Repeat("c", i/200)+"/>"), nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.names) > keepNames {
		t.Errorf("%d names are kept", len(d.names))
	}
}

// nested returns elements within each other, each of which declares as many prefixes.
func nested(levels, prefixes int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString("<a")
		for j := range prefixes {
			b.WriteString(" xmlns:p" + strings.Repeat("x", j) + strings.Repeat("y", i) + "='z'")
		}
		b.WriteString(">")
	}
	return b.String() + strings.Repeat("</a>", levels)
}

func TestParseHeader(t *testing.T) {
	var d Document
	e, ctx, err := d.ParseHeader([]byte(header[strings.Index(header, "<stream"):]))
	if err != nil || !e.Is(SpaceStream, "stream") || e.Attr("to") != "localhost" || e.Attr("version") != "1.0" || e.Text() != "" || !e.First().IsZero() {
		t.Fatal(e, err)
	}
	if ctx != common[0] || ctx.Default() != "jabber:client" || ctx.Space("stream") != SpaceStream || ctx.Space("xml") != SpaceXML || ctx.Space("x") != "" {
		t.Errorf("%#v", ctx)
	}
	_, ctx, err = d.ParseHeader([]byte("<x:stream xmlns:x='http://etherx.jabber.org/streams' xmlns='jabber:server' xmlns:y='&lt;y'>"))
	if err != nil || ctx.Default() != "jabber:server" || ctx.Space("x") != SpaceStream || ctx.Space("y") != "<y" {
		t.Fatalf("%#v, %v", ctx, err)
	}
	e, err = d.Parse([]byte("<y:a><b/></y:a>"), ctx)
	if err != nil || !e.Is("<y", "a") || !e.First().Is("jabber:server", "b") {
		t.Error(e, err)
	}
	if out := e.AppendXML(nil, "jabber:client"); string(out) != "<y:a xmlns:y='&lt;y' xmlns='jabber:server'><b/></y:a>" {
		t.Errorf("%s", out)
	}
	for in, want := range map[string]string{
		"<stream:stream>": BadNamespacePrefix,
		"<s/>":            NotWellFormed,
		"<s":              NotWellFormed,
		"":                NotWellFormed,
		"x":               NotWellFormed,
		"<s><t>":          NotWellFormed,
		"<s a='" + strings.Repeat("x", 10_000) + "'>": PolicyViolation,
	} {
		var bad *Error
		if e, ctx, err := d.ParseHeader([]byte(in)); !errors.As(err, &bad) || bad.Condition != want || ctx != nil || !e.IsZero() {
			t.Errorf("%.20q: %v", in, err)
		}
	}
	var none *Context
	if none.Default() != "" || none.Space("stream") != "" || none.Space("xml") != SpaceXML {
		t.Error("the Context that declares nothing declares something")
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	var d Document
	var sc Scanner
	scan(t, &sc, []byte(header))
	dst := make([]byte, 0, 1<<16)
	for _, s := range stanzas(t) {
		fed := []byte(s)
		if n := testing.AllocsPerRun(10, func() {
			sc.Feed(fed)
			kind, raw, err := sc.Next()
			if kind != Stanza || err != nil {
				t.Fatal(kind, err)
			}
			e, err := d.Parse(raw, client)
			if err != nil {
				t.Fatal(err)
			}
			dst = e.AppendXML(dst[:0], "")
		}); n > 0 {
			t.Errorf("%v allocations in\n%s", n, s)
		}
	}
}
