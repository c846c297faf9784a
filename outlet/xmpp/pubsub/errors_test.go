package pubsub

import (
	"testing"

	"tidings"
	model "tidings/pubsub"
	"tidings/xmpp/stanza"
)

// TestErrors tries every condition of the model, and every kind of error beside them.
func TestErrors(t *testing.T) {
	for _, c := range []model.Stanza{model.BadRequest, model.ConflictError, model.FeatureNotImplemented, model.Forbidden, model.Gone, model.ItemNotFound,
		model.NotAcceptable, model.NotAllowed, model.NotAuthorized, model.PolicyViolation, model.RegistrationRequired, model.UnexpectedRequest} {
		e := errorOf(&model.Error{Stanza: c, Condition: model.Unsupported, Feature: "f", URI: "xmpp:x", Text: "why"})
		if e.Condition != string(c) || e.Type == "" || e.Space != nsErrors || e.Name != "unsupported" || e.Text != "why" || e.URI != "xmpp:x" {
			t.Errorf("%s: got %+v", c, e)
		}
	}
	if len(types) != 12 {
		t.Errorf("the table has %d conditions", len(types))
	}
	for _, k := range tidings.ErrorKinds() {
		if e := errorOf(tidings.Errorf(k, "why")); e.Condition == "internal-server-error" || e.Text != "why" {
			t.Errorf("%v: got %+v", k, e)
		}
	}
	if e := errorOf(stanza.JIDMalformed("x")); e.Condition != "jid-malformed" {
		t.Errorf("got %+v", e)
	}
	if e := errorOf(&model.Error{Stanza: "no-such", Text: "x"}); e.Condition != "internal-server-error" {
		t.Errorf("got %+v", e)
	}
}
