package pubsub

import (
	"errors"
	"fmt"

	"tidings"
)

// Condition is an error condition of XEP-0060 (section 16.4 and its schema of http://jabber.org/protocol/pubsub#errors).
// The empty Condition is for errors that RFC 6120's own condition says enough of.
type Condition string

// The conditions.
const (
	ClosedNode                   Condition = "closed-node"
	InvalidJID                   Condition = "invalid-jid"
	InvalidOptions               Condition = "invalid-options"
	InvalidPayload               Condition = "invalid-payload"
	InvalidSubID                 Condition = "invalid-subid"
	ItemForbidden                Condition = "item-forbidden"
	ItemRequired                 Condition = "item-required"
	JIDRequired                  Condition = "jid-required"
	NodeFull                     Condition = "node-full"
	MaxItemsExceeded             Condition = "max-items-exceeded"
	MaxNodesExceeded             Condition = "max-nodes-exceeded"
	NodeIDRequired               Condition = "nodeid-required"
	NotSubscribed                Condition = "not-subscribed"
	PayloadRequired              Condition = "payload-required"
	PayloadTooBig                Condition = "payload-too-big"
	PendingSubscription          Condition = "pending-subscription"
	PreconditionNotMet           Condition = "precondition-not-met"
	PresenceSubscriptionRequired Condition = "presence-subscription-required"
	NotInRosterGroup             Condition = "not-in-roster-group"
	SubIDRequired                Condition = "subid-required"
	TooManySubscriptions         Condition = "too-many-subscriptions"
	Unsupported                  Condition = "unsupported"
	UnsupportedAccessModel       Condition = "unsupported-access-model"
)

// Stanza is a defined condition of a stanza error (RFC 6120 section 8.3.3).
type Stanza string

// The stanza conditions that the model uses.
const (
	BadRequest            Stanza = "bad-request"
	ConflictError         Stanza = "conflict"
	FeatureNotImplemented Stanza = "feature-not-implemented"
	Forbidden             Stanza = "forbidden"
	Gone                  Stanza = "gone"
	ItemNotFound          Stanza = "item-not-found"
	NotAcceptable         Stanza = "not-acceptable"
	NotAllowed            Stanza = "not-allowed"
	NotAuthorized         Stanza = "not-authorized"
	PolicyViolation       Stanza = "policy-violation"
	RegistrationRequired  Stanza = "registration-required"
	UnexpectedRequest     Stanza = "unexpected-request"
)

// kinds is the kind of error that each stanza condition is elsewhere in the program.
var kinds = map[Stanza]tidings.ErrorKind{
	BadRequest:            tidings.ErrInvalid,
	ConflictError:         tidings.ErrConflict,
	FeatureNotImplemented: tidings.ErrInvalid,
	Forbidden:             tidings.ErrForbidden,
	Gone:                  tidings.ErrNotFound,
	ItemNotFound:          tidings.ErrNotFound,
	NotAcceptable:         tidings.ErrInvalid,
	NotAllowed:            tidings.ErrForbidden,
	NotAuthorized:         tidings.ErrUnauthenticated,
	PolicyViolation:       tidings.ErrRateLimited,
	RegistrationRequired:  tidings.ErrUnauthenticated,
	UnexpectedRequest:     tidings.ErrConflict,
}

// Error is why a request fails, in the words of XEP-0060. errors.Is(err, tidings.ErrForbidden) and the like ask for its
// kind. Errors of the journal and of package access come as they are, without an Error around them.
type Error struct {
	Stanza    Stanza
	Condition Condition // "" for none
	Feature   string    // of Unsupported: the name without its namespace, such as persistent-items
	URI       string    // of Gone: where the node has gone, such as xmpp:pubsub.example.org?;node=other; "" if nowhere
	Text      string    // for a person
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return kinds[e.Stanza] }

func errorf(s Stanza, c Condition, format string, args ...any) error {
	return &Error{Stanza: s, Condition: c, Text: fmt.Sprintf(format, args...)}
}

func unsupported(feature, format string, args ...any) error {
	return &Error{Stanza: FeatureNotImplemented, Condition: Unsupported, Feature: feature, Text: fmt.Sprintf(format, args...)}
}

// ConditionOf returns the condition of an Error, "" for any other error.
func ConditionOf(err error) Condition {
	var e *Error
	if errors.As(err, &e) {
		return e.Condition
	}
	return ""
}

// RejectedError says that some of the changes of one request were not made; the others were (XEP-0060 sections 8.8.2.4
// and 8.9.2.4). Of Affiliations and Subscriptions it has those that were refused, as they still are.
type RejectedError struct {
	Affiliations  []Affiliated
	Subscriptions []Subscription
	Err           error // why the first of them was refused
}

// Error says how many were refused and why the first one was.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("%d of the changes were refused: %v", len(e.Affiliations)+len(e.Subscriptions), e.Err)
}

// Unwrap returns the error of the first that was refused.
func (e *RejectedError) Unwrap() error { return e.Err }
