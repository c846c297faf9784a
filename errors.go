package tidings

import (
	"errors"
	"fmt"
)

// ErrorKind is one of the few ways in which a request can fail. Every outlet owns one table from kinds to its wire
// codes. It is itself an error, so errors.Is(err, tidings.ErrGap) asks for the kind of err.
type ErrorKind uint8

// The kinds of error.
const (
	ErrInvalid         ErrorKind = iota + 1 // the request or the event is malformed
	ErrUnauthenticated                      // nobody said who asks, or the proof is wrong
	ErrForbidden                            // the actor is known and may not
	ErrNotFound                             // no such topic, stream or item
	ErrConflict                             // the state does not allow it, a repeat with another content included
	ErrTooLarge                             // a limit in bytes was passed
	ErrRateLimited                          // too many requests or connections
	ErrGap                                  // the position asked for is no longer kept; see GapError
	ErrUnavailable                          // the journal or an upstream cannot serve now
)

// ErrorKinds returns every kind, for the tests that assert that an outlet's table is total.
func ErrorKinds() []ErrorKind {
	return []ErrorKind{ErrInvalid, ErrUnauthenticated, ErrForbidden, ErrNotFound, ErrConflict, ErrTooLarge,
		ErrRateLimited, ErrGap, ErrUnavailable}
}

// Error returns the kind's name in a few words.
func (k ErrorKind) Error() string {
	switch k {
	case ErrInvalid:
		return "invalid request"
	case ErrUnauthenticated:
		return "not authenticated"
	case ErrForbidden:
		return "forbidden"
	case ErrNotFound:
		return "not found"
	case ErrConflict:
		return "conflict"
	case ErrTooLarge:
		return "too large"
	case ErrRateLimited:
		return "rate limited"
	case ErrGap:
		return "gap in history"
	case ErrUnavailable:
		return "unavailable"
	}
	return "unknown error"
}

// Error is an error with a kind and a sentence that tells the one who asked what was wrong and, where it is not plain,
// what to do.
type Error struct {
	Kind   ErrorKind
	Detail string
	Err    error // the cause, if it is another error
}

// Errorf returns an *Error of the given kind. A %w verb makes its operand the cause; of several, all are.
func Errorf(kind ErrorKind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	cause := errors.Unwrap(err)
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		cause = errors.Join(many.Unwrap()...)
	}
	return &Error{Kind: kind, Detail: err.Error(), Err: cause}
}

// Error returns the detail.
func (e *Error) Error() string { return e.Detail }

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err != nil {
		return []error{e.Kind, e.Err}
	}
	return []error{e.Kind}
}

// GapError says that the events after Asked are not all kept any more. A reader that goes on from Oldest misses nothing
// that is still there.
type GapError struct {
	// Asked is the position the reader wanted to go on from.
	Asked Position
	// Oldest is the position to read after in order to get the oldest kept event first.
	Oldest Position
}

// Error says what was asked for and what is there.
func (e *GapError) Error() string {
	return fmt.Sprintf("the events after position %s are not all kept any more: go on from %s, the oldest kept position", e.Asked, e.Oldest)
}

// Unwrap returns ErrGap.
func (e *GapError) Unwrap() error { return ErrGap }

// KindOf returns the kind of err, or 0 if it is none of ours: a defect or a failure of the machine, which no table maps
// to anything but the protocol's word for an internal error.
func KindOf(err error) ErrorKind {
	var k ErrorKind
	if errors.As(err, &k) {
		return k
	}
	return 0
}
