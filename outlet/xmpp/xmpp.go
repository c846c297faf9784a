// Package xmpp holds what the XMPP outlets share: events as the content of messages, hub subscriptions as the sources of
// flows, and our errors as stanza errors. The services are in the packages below it: room has the rooms (XEP-0045).
package xmpp

import (
	"errors"

	"tidings"
	"tidings/xmpp/stanza"
)

// NS is the namespace of elements that no specification has: gap, event, retract and filter.
const NS = "urn:tidings:0"

// conditions is what each kind of error is to a client (RFC 6120 section 8.3.3). A position that is no longer kept is an
// item that is not found, as XEP-0313 section 3.4.3 wants it. What may be tried again later is of the type wait.
var conditions = map[tidings.ErrorKind]struct{ condition, typ string }{
	tidings.ErrInvalid:         {"bad-request", stanza.Modify},
	tidings.ErrUnauthenticated: {"not-authorized", stanza.Auth},
	tidings.ErrForbidden:       {"forbidden", stanza.Auth},
	tidings.ErrNotFound:        {"item-not-found", stanza.Cancel},
	tidings.ErrConflict:        {"conflict", stanza.Cancel},
	tidings.ErrTooLarge:        {"policy-violation", stanza.Modify},
	tidings.ErrRateLimited:     {"policy-violation", stanza.Wait},
	tidings.ErrGap:             {"item-not-found", stanza.Cancel},
	tidings.ErrUnavailable:     {"resource-constraint", stanza.Wait},
}

// Error returns err as a stanza error: itself if it is one, else by its kind, with its text. A gap carries the element gap
// with the position asked for and the oldest one that is kept. An error that is none of ours is an internal-server-error
// without a text, since nobody wrote that for clients.
func Error(err error) *stanza.Error {
	var se *stanza.Error
	if errors.As(err, &se) {
		return se
	}
	c, ok := conditions[tidings.KindOf(err)]
	if !ok {
		return stanza.InternalServerError()
	}
	e := stanza.NewError(c.condition, err.Error()).WithType(c.typ)
	var gap *tidings.GapError
	if errors.As(err, &gap) {
		e = e.With(NS, "gap", "asked", gap.Asked.String(), "oldest", gap.Oldest.String())
	}
	return e
}
