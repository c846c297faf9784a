package xmlstream

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// publish is a publish request of 456 bytes.
var publish = func() string {
	head := "<iq type='set' id='pub1' from='feeder@localhost/bot' to='pubsub.localhost'><pubsub xmlns='http://jabber.org/protocol/pubsub'>" +
		"<publish node='/recentchange/en.wikipedia.org'><item id='1'><json xmlns='urn:xmpp:json:0'>"
	tail := "</json></item></publish></pubsub></iq>"
	json := `{"type":"edit","ns":0,"title":"Main Page","user":"Alice","bot":false,"comment":"Bob &amp; Carol","wiki":"enwiki"`
	return head + json + strings.Repeat(" ", 456-len(head)-len(json)-len(tail)-1) + "}" + tail
}()

// BenchmarkPublish frames and parses a publish request and copies its payload.
func BenchmarkPublish(b *testing.B) {
	var s Scanner
	var d Document
	s.Feed([]byte(header))
	if kind, _, err := s.Next(); kind != Open || err != nil {
		b.Fatal(kind, err)
	}
	in := []byte(publish)
	dst := make([]byte, 0, 1024)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		s.Feed(in)
		kind, raw, err := s.Next()
		if kind != Stanza || err != nil {
			b.Fatal(kind, err)
		}
		e, err := d.Parse(raw, client)
		if err != nil {
			b.Fatal(err)
		}
		item := e.Child("http://jabber.org/protocol/pubsub", "pubsub").First().First()
		dst = item.First().AppendXML(dst[:0], "jabber:client")
		if _, _, err := s.Next(); err != nil {
			b.Fatal(err)
		}
	}
	if !strings.HasPrefix(string(dst), "<json xmlns='urn:xmpp:json:0'>{") {
		b.Fatalf("%s", dst)
	}
}

// BenchmarkFraming is the Scanner's share of it.
func BenchmarkFraming(b *testing.B) {
	var s Scanner
	s.Feed([]byte(header))
	if kind, _, err := s.Next(); kind != Open || err != nil {
		b.Fatal(kind, err)
	}
	in := []byte(publish)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		s.Feed(in)
		if kind, _, err := s.Next(); kind != Stanza || err != nil {
			b.Fatal(kind, err)
		}
	}
}

// BenchmarkEncodingXML reads the tokens of the same request with the standard library.
func BenchmarkEncodingXML(b *testing.B) {
	b.SetBytes(int64(len(publish)))
	b.ReportAllocs()
	for b.Loop() {
		dec := xml.NewDecoder(strings.NewReader(publish))
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
