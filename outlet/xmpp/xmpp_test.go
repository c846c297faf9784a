package xmpp_test

import (
	"errors"
	"fmt"
	"testing"

	"tidings"
	"tidings/outlet/xmpp"
	"tidings/xmpp/stanza"
)

// Every kind of error has a condition of its own in the table, and so does a gap's element.
func TestErrors(t *testing.T) {
	for _, k := range tidings.ErrorKinds() {
		e := xmpp.Error(tidings.Errorf(k, "said so"))
		if e.Condition == "internal-server-error" || e.Condition == "undefined-condition" || e.Text != "said so" {
			t.Errorf("%v: %+v", k, e)
		}
	}
	asked, oldest := tidings.Position{Epoch: 1, Offset: 2}, tidings.Position{Epoch: 3, Offset: 4}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{tidings.Errorf(tidings.ErrUnavailable, "later"), `<error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>later</text></error>`},
		{fmt.Errorf("reading: %w", &tidings.GapError{Asked: asked, Oldest: oldest}), `<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>reading: the events after position 00000001-2 are not all kept any more: go on from 00000003-4, the oldest kept position</text><gap xmlns='urn:tidings:0' asked='00000001-2' oldest='00000003-4'/></error>`},
		{errors.New("disk 7 is on fire"), `<error type='cancel'><internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>`},
		{fmt.Errorf("asked: %w", stanza.NotAllowed("no")), `<error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no</text></error>`},
	} {
		if got := string(xmpp.Error(tt.err).Append(nil)); got != tt.want {
			t.Errorf("%v:\ngot  %s\nwant %s", tt.err, got, tt.want)
		}
	}
}
