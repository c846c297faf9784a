package recentchange

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"path/filepath"
	"testing"
	"unicode/utf8"
)

// fuzz runs a decoder on the capture and what the fuzzer makes of it.
func fuzz(f *testing.F, name, ct string, more ...string) {
	for _, d := range datagrams(f, filepath.Join("testdata", "capture", name+".datagrams")) {
		f.Add(d)
	}
	for _, s := range more {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		Detect(payload)
		for p := range Split(payload) {
			Detect(p)
		}
		before := bytes.Clone(payload)
		rc, err := Decode(ct, payload)
		if !bytes.Equal(payload, before) {
			t.Fatal("the payload has changed")
		}
		if err != nil {
			if ReasonOf(err) == "" || !utf8.ValidString(err.Error()) {
				t.Fatalf("%q has no reason, or no text", err)
			}
			return
		}
		check(t, rc)
	})
}

// check encodes rc in every form that there is and asks that each be well formed.
func check(t *testing.T, rc *RecentChange) {
	t.Helper()
	if rc.Type == "" {
		t.Fatal("there is no type")
	}
	event := rc.AppendEventStreams(nil, Meta{Topic: "t", Offset: 1})
	if !json.Valid(event) || bytes.ContainsAny(event, "\r\n") || !utf8.Valid(event) {
		t.Fatalf("the event is no line of JSON: %q", event)
	}
	core := rc.AppendJSON(nil)
	if !json.Valid(core) {
		t.Fatalf("the core JSON is none: %q", core)
	}
	for ct, b := range map[string][]byte{TypeEventStreams: event, TypeJSON: core} {
		back, err := Decode(ct, b)
		if err != nil {
			t.Fatalf("%v in %q", err, b)
		}
		back.Dialect = rc.Dialect
		if again := back.AppendEventStreams(nil, Meta{Topic: "t", Offset: 1}); ct == TypeEventStreams && !bytes.Equal(again, event) {
			t.Fatalf("the event of the event\n got %s\nwant %s", again, event)
		}
	}
	rcElement := rc.AppendRC(nil)
	for d := xml.NewDecoder(bytes.NewReader(rcElement)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in %q", err, rcElement)
		}
	}
	if line, ok := rc.AppendIRC(nil, Wiki{}); ok && bytes.IndexByte(line, '\n') != len(line)-1 {
		t.Fatalf("the line has another line feed: %q", line)
	}
	if topic, err := rc.Topic(); (err == nil) != (topic != "") {
		t.Fatalf("topic %q, %v", topic, err)
	}
	rc.Key()
	for _, name := range append(fieldNames[:], "length.new", "meta.domain", "meta.uri", "nothing") {
		rc.Field(name)
	}
}

func FuzzJSON(f *testing.F) {
	fuzz(f, "json", TypeJSON,
		`{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"uri":"https://x.example/wiki/A","request_id":"r","id":"i","dt":"2021-08-27T13:20:17Z","domain":"x.example","stream":"mediawiki.recentchange","topic":"t","partition":0,"offset":441362975},"id":5,"type":"edit","extra":{"a":[null,{"b":null}]}}`)
}

func FuzzXML(f *testing.F) { fuzz(f, "xml", TypeXML) }

func FuzzRC(f *testing.F) { fuzz(f, "rc", TypeRC) }

func FuzzIRC(f *testing.F) { fuzz(f, "irc", TypeIRC) }
