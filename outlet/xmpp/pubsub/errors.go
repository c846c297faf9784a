package pubsub

import (
	"errors"

	wire "tidings/outlet/xmpp"
	model "tidings/pubsub"
	"tidings/xmpp/stanza"
)

// nsErrors is the namespace of XEP-0060's own conditions.
const nsErrors = model.NS + "#errors"

// types are the types of the model's errors, by condition, as RFC 6120 section 8.3.3 has them, and XEP-0060 in most of its examples.
var types = map[model.Stanza]string{
	model.BadRequest:            stanza.Modify,
	model.ConflictError:         stanza.Cancel,
	model.FeatureNotImplemented: stanza.Cancel,
	model.Forbidden:             stanza.Auth,
	model.Gone:                  stanza.Cancel,
	model.ItemNotFound:          stanza.Cancel,
	model.NotAcceptable:         stanza.Modify,
	model.NotAllowed:            stanza.Cancel,
	model.NotAuthorized:         stanza.Auth,
	model.PolicyViolation:       stanza.Wait,
	model.RegistrationRequired:  stanza.Auth,
	model.UnexpectedRequest:     stanza.Cancel,
}

// errorOf returns an error as a stanza error: the model's in the words of XEP-0060, others as every XMPP outlet has them.
func errorOf(err error) *stanza.Error {
	var e *model.Error
	if !errors.As(err, &e) {
		return wire.Error(err)
	}
	typ, ok := types[e.Stanza]
	if !ok {
		return stanza.InternalServerError()
	}
	se := stanza.NewError(string(e.Stanza), e.Text).WithType(typ)
	se.URI = e.URI
	switch {
	case e.Feature != "":
		se = se.With(nsErrors, string(e.Condition), "feature", e.Feature)
	case e.Condition != "":
		se = se.With(nsErrors, string(e.Condition))
	}
	return se
}

// condition returns an error of a stanza condition with one of XEP-0060's own, which may be empty.
func condition(s model.Stanza, c model.Condition, text string) error {
	return &model.Error{Stanza: s, Condition: c, Text: text}
}
