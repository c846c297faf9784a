// Package xmlstreamtest reads elements for the tests of the formats that are made of them.
package xmlstreamtest

import (
	"testing"

	"tidings/xmpp/xmlstream"
)

// Client is what the header of a client's stream declares.
var Client = xmlstream.NewContext("jabber:client", "stream", xmlstream.SpaceStream)

// Element returns an element as it comes in a client's stream. It is an error of the test if s is none.
func Element(t testing.TB, s string) xmlstream.Element {
	t.Helper()
	el, err := new(xmlstream.Document).Parse([]byte(s), Client)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return el
}
