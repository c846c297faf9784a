package media

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"tidings"
)

func TestClassOf(t *testing.T) {
	for ct, want := range map[string]Class{
		"application/json":                   JSON,
		"Application/JSON; charset=utf-8":    JSON,
		"application/geo+json":               JSON,
		"application/cloudevents+JSON":       JSON,
		"text/json":                          JSON,
		"application/xml":                    XML,
		"text/xml":                           XML,
		"application/atom+xml;type=entry":    XML,
		"image/svg+xml ; x=y":                XML,
		"text/plain":                         Text,
		"TEXT/html;charset=utf-8":            Text,
		"application/octet-stream":           Other,
		"application/json-seq":               Other,
		"application/cloudevents-batch+json": JSON,
		"+json":                              Other,
		"text/":                              Other,
		"":                                   Other,
		"image/png;x=+json":                  Other,
		"application/x; charset=utf-8+json":  Other,
	} {
		if got := ClassOf(ct); got != want {
			t.Errorf("ClassOf(%q) = %v, want %v", ct, got, want)
		}
	}
}

func TestIsUTF8(t *testing.T) {
	for ct, want := range map[string]bool{
		"text/plain": true, "text/plain; charset=utf-8": true, `text/plain; charset="UTF-8"`: true, "text/plain; charset=US-ASCII": true,
		"text/plain; format=flowed": true, "text/plain; charset=iso-8859-1": false, "text/plain; charset": false, "text/plain; charset=utf-16": false,
	} {
		if got := IsUTF8(ct); got != want {
			t.Errorf("IsUTF8(%q) = %v, want %v", ct, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	deepJSON := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	deepXML := strings.Repeat("<a>", MaxDepth) + strings.Repeat("</a>", MaxDepth)
	for _, tt := range []struct {
		name, contentType, body string
		err                     string // part of the message; "" for none
	}{
		{"object", "application/json", `{"a":[1,2,{"b":null}]}`, ""},
		{"scalar with space", "application/json", " \n\"x\" \n", ""},
		{"number", "application/json", "0", ""},
		{"lone surrogate", "application/json", `"\ud800"`, "byte"},
		{"duplicate name", "application/json", `{"a":1,"a":2}`, "duplicate"},
		{"broken UTF-8", "application/json", "\"\xff\"", "UTF-8"},
		{"cut off", "application/json", "{\"a\":\n[1,", "line 2"},
		{"two values", "application/json", "1 2", "more than one"},
		{"value and rubbish", "application/json", "{} x", "not JSON"},
		{"empty", "application/json", "", "empty"},
		{"white space", "application/json", " \n ", "empty"},
		{"single quotes", "application/vnd.x+json", "{'a':1}", "not JSON"},
		{"deep enough", "application/json", deepJSON, ""},
		{"too deep", "application/json", "[" + deepJSON + "]", "nested"},
		{"json in latin 1", "application/json; charset=latin1", "{}", "charset"},

		{"element", "application/xml", "<a/>", ""},
		{"declaration, comment, instruction", "application/xml", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><?x y?><a b='1'>t<![CDATA[<]]>&amp;</a>\n", ""},
		{"byte order mark", "text/xml", "\ufeff<?xml version='1.0'?><a/>", ""},
		{"namespaces", "application/atom+xml", `<entry xmlns="http://www.w3.org/2005/Atom" xmlns:x="urn:x" x:a="1" xml:lang="en"><x:b x:c="1" c="2"/></entry>`, ""},
		{"prefix declared again", "application/xml", `<x:a xmlns:x="urn:1"><x:a xmlns:x="urn:2"/><x:b/></x:a>`, ""},
		{"deep elements", "application/xml", deepXML, ""},
		{"too deep elements", "application/xml", "<a>" + deepXML + "</a>", "nested"},
		{"document type", "application/xml", `<!DOCTYPE a [<!ENTITY b "c">]><a/>`, "DOCTYPE"},
		{"entity", "application/xml", `<a>&b;</a>`, "entity"},
		{"html entity", "application/xml", `<a>&nbsp;</a>`, "entity"},
		{"control character", "application/xml", "<a>\x01</a>", "character"},
		{"other encoding", "application/xml", `<?xml version="1.0" encoding="ISO-8859-1"?><a/>`, "not UTF-8"},
		{"other version", "application/xml", `<?xml version="1.1"?><a/>`, "version"},
		{"second declaration", "application/xml", `<?xml version="1.0"?><?xml version="1.0"?><a/>`, "beginning"},
		{"declaration after space", "application/xml", ` <?xml version="1.0"?><a/>`, "beginning"},
		{"no element", "application/xml", "<!-- -->", "no element"},
		{"no bytes", "application/xml", "", "no element"},
		{"only text", "application/xml", "hello", "outside"},
		{"two elements", "application/xml", "<a/><b/>", "second"},
		{"text after it", "application/xml", "<a/>x", "outside"},
		{"not closed", "application/xml", "<a><b></b>", "</a>"},
		{"wrongly closed", "application/xml", "<a>\n<b></a></b>", "line 2"},
		{"closed by another prefix", "application/xml", `<x:a xmlns:x="urn:1" xmlns:y="urn:1"></y:a>`, "does not end"},
		{"end alone", "application/xml", "</a>", "does not end"},
		{"attribute twice", "application/xml", `<a b="1" b="2"/>`, "twice"},
		{"attribute twice by prefixes", "application/xml", `<r xmlns:x="urn:1"><a xmlns:y="urn:1" x:b="1" y:b="2"/></r>`, "twice"},
		{"undeclared prefix", "application/xml", `<x:a/>`, "not declared"},
		{"undeclared prefix of an attribute", "application/xml", `<a x:b="1"/>`, "not declared"},
		{"prefix out of its scope", "application/xml", `<r><a xmlns:x="urn:1"/><x:b/></r>`, "not declared"},
		{"prefix undeclared", "application/xml", `<a xmlns:x=""/>`, "prefix x"},
		{"xml declared as another", "application/xml", `<a xmlns:xml="urn:1"/>`, "prefix xml"},
		{"xmlns declared", "application/xml", `<a xmlns:xmlns="urn:1"/>`, "prefix xmlns"},
		{"xml namespace as default", "application/xml", `<a xmlns="http://www.w3.org/XML/1998/namespace"/>`, "cannot be declared"},
		{"two colons", "application/xml", `<a:b:c xmlns:a="urn:1"/>`, ""},
		{"no quotes", "application/xml", `<a b=1/>`, "quoted"},
		{"utf-16", "application/xml", "\xff\xfe<\x00a\x00/\x00>\x00", "UTF-8"},

		{"text", "text/plain", "grüß\n", ""},
		{"no text", "text/plain", "", ""},
		{"text not UTF-8", "text/plain", "a\nbc\xfc", "byte 4, in line 2"},
		{"bytes", "application/octet-stream", "\xff\x00", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(tt.contentType, []byte(tt.body))
			if tt.name == "two colons" {
				// encoding/xml may refuse it in its own words; it must not pass.
				if tidings.KindOf(err) != tidings.ErrInvalid {
					t.Errorf("got %v", err)
				}
				return
			}
			if tt.err == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if tidings.KindOf(err) != tidings.ErrInvalid || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want one with %q", err, tt.err)
			}
		})
	}
}

// What passes is accepted by another parser as well.
func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{}`, `[1,"a",null,{"b":[true]}]`, "1 2", `"\ud800"`, "{\"a\":1,\"a\":2}", "[[", " ", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := Check("application/json", b)
		if err == nil && !json.Valid(b) {
			t.Errorf("%q passed", b)
		}
		if err != nil && tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("error %v", err)
		}
	})
}

func FuzzCheckXML(f *testing.F) {
	for _, s := range []string{"<a/>", "<?xml version='1.0'?><a b='1'>t</a>", "<x:a xmlns:x='urn:1'/>", "<!DOCTYPE a><a/>", "<a><b></a>", "<a b='1' b='2'/>", "<a>&#1;</a>", "\ufeff<a/>", "x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := Check("application/xml", b)
		if err != nil {
			if tidings.KindOf(err) != tidings.ErrInvalid {
				t.Errorf("error %v", err)
			}
			return
		}
		d := xml.NewDecoder(strings.NewReader(string(b)))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				t.Fatalf("%q passed: %v", b, err)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for _, bb := range []struct{ name, contentType, unit string }{
		{"json", "application/json", `{"a":"bcd","e":[1,2,3]},`},
		{"xml", "application/xml", `<e a="1">text</e>`},
	} {
		b.Run(bb.name, func(b *testing.B) {
			body := strings.Repeat(bb.unit, 512/len(bb.unit))
			if bb.name == "json" {
				body = "[" + strings.TrimSuffix(body, ",") + "]"
			} else {
				body = "<r>" + body + "</r>"
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Check(bb.contentType, []byte(body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
