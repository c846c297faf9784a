package xmpp_test

import (
	"testing"
	"time"

	"tidings"
	"tidings/hub"
	"tidings/outlet"
	wire "tidings/outlet/xmpp"
	"tidings/recentchange"
	"tidings/xmpp/xmlstream"
)

func TestAppendPayload(t *testing.T) {
	const (
		head = "<entry xmlns='http://www.w3.org/2005/Atom'><id>u:1</id><title>"
		then = "</title><updated>2026-03-04T05:06:07Z</updated>"
		rc   = `<rc type="new" title="T" user="Ann"/>`
	)
	for _, tc := range []struct {
		name string
		e    tidings.Event
		want string
	}{
		{"atom", tidings.Event{ContentType: wire.TypeEntry, Payload: []byte("<?xml version='1.0'?>\n<entry xmlns='http://www.w3.org/2005/Atom'><title>é</title></entry>")},
			"<entry xmlns='http://www.w3.org/2005/Atom'><title>é</title></entry>"},
		{"xml without a namespace", tidings.Event{ContentType: "text/xml", Payload: []byte("<a><b/></a>")}, "<a xmlns=''><b/></a>"},
		{"json", tidings.Event{ContentType: wire.TypeJSON, Payload: []byte(`{"a":"<&"}`)}, `<json xmlns='urn:xmpp:json:0'>{"a":"&lt;&amp;"}</json>`},
		{"text", tidings.Event{ContentType: "text/plain; charset=utf-8", Payload: []byte("1 < 2"), ID: "x"}, head + "x" + then + "<content>1 &lt; 2</content></entry>"},
		{"bytes", tidings.Event{ContentType: "image/png", Payload: []byte{0x89, 'P'}, ID: "x"}, head + "x" + then + "<content type='image/png'>iVA=</content></entry>"},
		{"what only says that it is xml", tidings.Event{ContentType: "application/xml", Payload: []byte("<a>"), ID: "x"}, head + "x" + then + "<content type='application/xml'>PGE+</content></entry>"},
		{"what only says that it is json", tidings.Event{ContentType: wire.TypeJSON, Payload: []byte("{"), ID: "x"}, head + "x" + then + "<content type='application/json'>ew==</content></entry>"},
		{"nothing", tidings.Event{ID: "x"}, ""},
		{"a recent change", tidings.Event{ContentType: recentchange.TypeRC, Payload: []byte(rc), ID: "x"},
			head + "T" + then + "<author><name>Ann</name></author><summary>[[T]] N  * Ann *  </summary>" + `<rc xmlns='' type="new" title="T" user="Ann"/></entry>`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.e.Topic, tc.e.Time = "/t", time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
			got := string(wire.AppendPayload(nil, hub.NewItem(&tc.e, outlet.Decoder(nil)), "urn:parent", "u:1"))
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if got == "" {
				return
			}
			if _, err := new(xmlstream.Document).Parse([]byte(got), xmlstream.NewContext("urn:parent")); err != nil {
				t.Error("the payload is no XML:", err)
			}
			if wire.Body(hub.NewItem(&tc.e, outlet.Decoder(nil))) == "" {
				t.Error("the body is empty")
			}
		})
	}
}

func TestPayload(t *testing.T) {
	for _, tc := range []struct{ in, contentType, want string }{
		{"<entry xmlns='http://www.w3.org/2005/Atom'><title>é</title></entry>", wire.TypeEntry, "<entry xmlns='http://www.w3.org/2005/Atom'><title>é</title></entry>"},
		{"<json xmlns='urn:xmpp:json:0'>{&quot;a&quot;:1}</json>", wire.TypeJSON, `{"a":1}`},
		{"<rc xmlns='' title='T'/>", recentchange.TypeRC, "<rc xmlns='' title='T'/>"},
		{"<a/>", wire.TypeXML, "<a xmlns='urn:parent'/>"},
		{"<p:a/>", wire.TypeXML, "<p:a xmlns:p='urn:p'/>"},
	} {
		el, err := new(xmlstream.Document).Parse([]byte(tc.in), xmlstream.NewContext("urn:parent", "p", "urn:p"))
		if err != nil {
			t.Fatal(err)
		}
		typ, b := wire.Payload(el)
		if typ != tc.contentType || string(b) != tc.want {
			t.Errorf("%s: got %s %s, want %s %s", tc.in, typ, b, tc.contentType, tc.want)
		}
	}
}
