package stream

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tidings/xmpp/xmlstream/xmlstreamtest"
)

func TestSM(t *testing.T) {
	for _, tc := range []struct {
		s    SM
		want string
	}{
		{SM{Name: "enable"}, `<enable xmlns='urn:xmpp:sm:3'/>`},
		{SM{Name: "enable", Resume: true, Max: 600}, `<enable xmlns='urn:xmpp:sm:3' max='600' resume='true'/>`},
		{SM{Name: "enabled", ID: "a'b", Resume: true, Location: "[2001:41D0::1]:9222", Max: 300}, `<enabled xmlns='urn:xmpp:sm:3' id='a&apos;b' location='[2001:41D0::1]:9222' max='300' resume='true'/>`},
		{SM{Name: "resume", ID: "x", HasH: true, H: 4294967295}, `<resume xmlns='urn:xmpp:sm:3' previd='x' h='4294967295'/>`},
		{SM{Name: "resumed", ID: "x", HasH: true}, `<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/>`},
		{SM{Name: "r"}, Request},
		{SM{Name: "a", HasH: true, H: 7}, string(AppendAnswer(nil, 7))},
		{SM{Name: "failed", HasH: true, H: 7, Condition: "item-not-found"}, `<failed xmlns='urn:xmpp:sm:3' h='7'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`},
		{SM{Name: "failed", Condition: "unexpected-request"}, `<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>`},
	} {
		if got := string(tc.s.Append(nil)); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
		got, err := ParseSM(xmlstreamtest.Element(t, tc.want))
		if err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(tc.s, got); d != "" {
			t.Error(d)
		}
	}
	for in, want := range map[string]SM{
		`<enable xmlns='urn:xmpp:sm:3' resume='1'/>`:     {Name: "enable", Resume: true},
		`<enable xmlns='urn:xmpp:sm:3' resume='false'/>`: {Name: "enable"},
		`<failed xmlns='urn:xmpp:sm:3'/>`:                {Name: "failed", Condition: "undefined-condition"},
	} {
		if got, err := ParseSM(xmlstreamtest.Element(t, in)); got != want || err != nil {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

func TestSMErrors(t *testing.T) {
	for in, want := range map[string]string{
		`<a xmlns='urn:xmpp:sm:3'/>`:                 "bad-format",
		`<a xmlns='urn:xmpp:sm:3' h=''/>`:            "bad-format",
		`<a xmlns='urn:xmpp:sm:3' h='-1'/>`:          "bad-format",
		`<a xmlns='urn:xmpp:sm:3' h='4294967296'/>`:  "bad-format",
		`<resume xmlns='urn:xmpp:sm:3' h='1'/>`:      "bad-format",
		`<resume xmlns='urn:xmpp:sm:3' previd='x'/>`: "bad-format",
		`<enable xmlns='urn:xmpp:sm:3' max='soon'/>`: "bad-format",
		`<suspend xmlns='urn:xmpp:sm:3'/>`:           "unsupported-stanza-type",
		`<enable xmlns='urn:xmpp:sm:2'/>`:            "unsupported-stanza-type",
	} {
		_, err := ParseSM(xmlstreamtest.Element(t, in))
		var e *Error
		if !errors.As(err, &e) || e.Condition != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}
