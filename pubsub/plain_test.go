package pubsub

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

var plainEntries = []struct {
	text  string
	plain bool
}{
	{`{"node":"/a"}`, true},
	{`{"node":"/ü","life":81985529216486895,"created":"2026-01-02T03:04:05Z","creator":"ann@example.org","config":{"access_model":["whitelist"],"contact":["a@b","c@d"]},` +
		`"affiliations":{"owner":["ann@example.org"],"member":["b@c","d@e"]},"floor":1042,"deleted":true,"redirect":"xmpp:a?b"}`, true},
	{`{"node":"/a","created":"2026-01-02T03:04:05.25+02:00"}`, true},
	{`{"node":"/a","config":{"title":["a \u003cb\u003e"]}}`, false},
	{`{"node":"/a","config":{"contact":[]}}`, false},
	{`{"node":"/a","config":{}}`, false},
	{`{"node":"/a","config":null}`, false},
	{`{"node": "/a"}`, false},
	{`{"Node":"/a"}`, false},
	{`{"node":"/a","node":"/b"}`, false},
	{`{"node":"/a","later":{"x":1}}`, false},
	{`{"node":"/a","life":0}`, false},
	{`{"node":"/a","life":007}`, false},
	{`{"node":"/a","life":18446744073709551616}`, false},
	{`{"node":"/a","life":1.5}`, false},
	{`{"node":"/a","created":"yesterday"}`, false},
	{`{"node":"/a","deleted":false}`, false},
	{"{\"node\":\"/a\tb\"}", false},
	{"{\"node\":\"/\xff\"}", false},
	{`{"node":"/a"}x`, false},
	{`{"node":"/a"`, false},
	{`{}`, false},
	{``, false},
}

func TestPlain(t *testing.T) {
	for _, c := range plainEntries {
		var e nodeEntry
		if got := e.parsePlain([]byte(c.text)); got != c.plain {
			t.Errorf("%s is plain: %t", c.text, got)
		}
	}
}

// What is read the short way is what encoding/json makes of it.
func FuzzPlain(f *testing.F) {
	for _, c := range plainEntries {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, want nodeEntry
		if !e.parsePlain(b) {
			return
		}
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if !e.Created.Equal(want.Created) {
			t.Fatalf("%q: created %s, want %s", b, e.Created, want.Created)
		}
		e.Created, want.Created = time.Time{}, time.Time{}
		if !reflect.DeepEqual(e, want) {
			t.Fatalf("%q: %+v, want %+v", b, e, want)
		}
	})
}
