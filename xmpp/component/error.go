package component

import (
	"errors"
	"fmt"

	"tidings/xmpp/stream"
)

// The conditions with which servers refuse a component (XEP-0114 section 3), for errors.Is.
var (
	ErrHostUnknown      = errors.New("the server has no such component")
	ErrConflict         = errors.New("another connection has the domain")
	ErrNotAuthorized    = errors.New("the secret is not the server's")
	ErrInvalidFrom      = errors.New("the server does not take stanzas from that domain over this link")
	ErrInvalidNamespace = errors.New("this is no port for components")
)

// Other ends of a connection.
var (
	ErrClosed    = errors.New("the server has closed the stream")
	ErrLost      = errors.New("the connection is lost")
	ErrSilent    = errors.New("the server does not answer, or does not read")
	ErrBacklog   = errors.New("too much waits for the server")
	ErrLeaseLost = errors.New("another process has the link")
	ErrMulticast = errors.New("the server does not distribute messages for many addresses")
)

// Error is a stream error with which the server refused or ended the link, or which it was told.
type Error struct{ Stream *stream.Error }

// conditions are the errors by their conditions, each with what to change.
var conditions = map[string]struct {
	err  error
	hint string
}{
	"host-unknown": {ErrHostUnknown, `make the domain known to the server: in Prosody Component "DOMAIN" with component_secret, ` +
		`in ejabberd under hosts of an ejabberd_service listener, in Openfire a subdomain of the server's own domain`},
	"conflict": {ErrConflict, `a standby waits for the other one to end; if there is none, the server serves the domain itself, ` +
		`or has not noticed yet that an earlier connection is gone`},
	"not-authorized": {ErrNotAuthorized, `set the same secret here and in the server: component_secret of the Component in Prosody, ` +
		`password of the host in ejabberd, the shared secret of the subdomain in Openfire`},
	"invalid-from": {ErrInvalidFrom, `let the server take every domain that is served over this link: under hosts of the listener in ejabberd, ` +
		`or check_from: false; Prosody takes one domain for each link unless validate_from_addresses is off`},
	"invalid-namespace": {ErrInvalidNamespace, `connect to the port for components: component_ports of Prosody (5347), the port of ` +
		`ejabberd_service in ejabberd (5275), the external component port of Openfire (5275)`},
}

// Error implements error.
func (e *Error) Error() string {
	if c, ok := conditions[e.Stream.Condition]; ok {
		return fmt.Sprintf("%v: %v", c.err, e.Stream)
	}
	return e.Stream.Error()
}

// Hint says what to change in the configuration, or nothing.
func (e *Error) Hint() string { return conditions[e.Stream.Condition].hint }

// Unwrap returns the stream error and, if there is one, the error of its condition.
func (e *Error) Unwrap() []error {
	if c, ok := conditions[e.Stream.Condition]; ok {
		return []error{e.Stream, c.err}
	}
	return []error{e.Stream}
}

// reasonClosed is how the edge counts connections that were closed here.
const reasonClosed = "component-closed"

// The reasons for which stanzas are dropped.
const (
	ReasonAddress     = "component-address"     // from or to is missing or no address
	ReasonDomain      = "component-domain"      // for a domain that nothing serves here
	ReasonInvalid     = "component-invalid"     // against RFC 6120 section 8, and no request
	ReasonUnsupported = "component-unsupported" // no stanza
	ReasonPeers       = "component-peers"       // from one address more than Options.MaxPeers
	ReasonGone        = "component-gone"        // sent to a peer that has been forgotten
	ReasonOffline     = "component-offline"     // sent while there was no connection, beyond Options.MaxBacklog
	ReasonBacklog     = "component-backlog"     // waited for a connection that was closed because of how much waited
	ReasonLateAnswer  = "component-unasked"     // a result or an error of a request for a domain that nothing serves here
	ReasonStopped     = "component-stopped"     // sent after Run
)
