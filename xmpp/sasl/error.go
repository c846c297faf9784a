package sasl

import "errors"

// Condition is why authentication failed (RFC 6120 section 6.5).
type Condition string

// The conditions, all that RFC 6120 defines.
const (
	Aborted              Condition = "aborted"                // the client has sent <abort/>
	AccountDisabled      Condition = "account-disabled"       // the account may not be used now
	CredentialsExpired   Condition = "credentials-expired"    // not used by this server
	EncryptionRequired   Condition = "encryption-required"    // the mechanism needs TLS
	IncorrectEncoding    Condition = "incorrect-encoding"     // what was sent is not base64
	InvalidAuthzid       Condition = "invalid-authzid"        // the client may not act for that address
	InvalidMechanism     Condition = "invalid-mechanism"      // not one that was offered
	MalformedRequest     Condition = "malformed-request"      // a message that breaks the mechanism's rules
	MechanismTooWeak     Condition = "mechanism-too-weak"     // not used by this server
	NotAuthorized        Condition = "not-authorized"         // no such account, or the wrong password: nobody is told which
	TemporaryAuthFailure Condition = "temporary-auth-failure" // the same may succeed later
)

// Conditions are all the conditions.
var Conditions = []Condition{Aborted, AccountDisabled, CredentialsExpired, EncryptionRequired, IncorrectEncoding, InvalidAuthzid,
	InvalidMechanism, MalformedRequest, MechanismTooWeak, NotAuthorized, TemporaryAuthFailure}

// Error is a failure: one of this server's, or one that a client was sent.
type Error struct {
	Condition Condition
	// Text says more in English, without what the peer has sent; it may be empty.
	Text string
	// Err is the cause, if there is one; the peer is not told.
	Err error
}

// Error returns the condition and the text.
func (e *Error) Error() string {
	s := "sasl: " + string(e.Condition)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ConditionOf returns the condition to answer err with: that of an *Error, temporary-auth-failure for any other.
func ConditionOf(err error) Condition {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Condition
	}
	return TemporaryAuthFailure
}

func fail(c Condition, text string) error { return &Error{Condition: c, Text: text} }
