package sasl

import (
	"bytes"
	"context"
	"crypto/subtle"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"
)

// scramExchange is RFC 5802, the server's side.
type scramExchange struct {
	accounts  Authenticator
	addr      netip.Addr
	hash      Hash
	nonce     func() string
	conv      *scram.ServerConversation // nil until client-first has come
	localpart string                    // of the account whose keys are used; empty if there is none
}

func (e *scramExchange) step(ctx context.Context, message []byte) ([]byte, bool, error) {
	switch {
	case message == nil: // RFC 4422 section 5: an empty challenge asks for what should have come with the request
		return nil, false, nil
	case !isText(message):
		return nil, false, fail(MalformedRequest, "the message is not text")
	case e.conv == nil:
		return e.first(string(message))
	}
	return e.final(ctx, string(message))
}

func (e *scramExchange) first(message string) ([]byte, bool, error) {
	if !isClientFirst(message) {
		return nil, false, fail(MalformedRequest, "not a client-first-message")
	}
	server, err := scram.HashGeneratorFcn(e.hash.new()).NewServer(func(username string) (scram.StoredCredentials, error) {
		k, localpart := e.accounts.Keys(username, e.hash)
		e.localpart = localpart
		return scram.StoredCredentials{KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations},
			StoredKey: k.StoredKey, ServerKey: k.ServerKey}, nil
	})
	if err != nil {
		return nil, false, &Error{Condition: TemporaryAuthFailure, Err: err}
	}
	if e.nonce != nil {
		server.WithNonceGenerator(e.nonce)
	}
	e.conv = server.NewConversation()
	challenge, err := e.conv.Step(message)
	if err != nil { // a bad name, or channel binding, which was not offered
		return nil, false, &Error{Condition: MalformedRequest, Err: err}
	}
	return []byte(challenge), false, nil
}

func (e *scramExchange) final(ctx context.Context, message string) ([]byte, bool, error) {
	outcome, err := e.accounts.Attempt(ctx, e.conv.Username(), e.addr)
	if err != nil {
		return nil, false, err
	}
	answer, err := e.conv.Step(message)
	ok := err == nil && e.conv.Valid() && e.localpart != ""
	outcome(ok)
	switch {
	case ok:
		return []byte(answer), true, nil
	case answer == "": // it could not be read
		return nil, false, &Error{Condition: MalformedRequest, Text: "not a client-final-message", Err: err}
	}
	return nil, false, &Error{Condition: NotAuthorized, Err: err}
}

func (e *scramExchange) account() (string, string) { return e.localpart, e.conv.AuthzID() }

// isClientFirst checks what the parser behind it lets through: a nonce that is empty or has what a nonce may not have (RFC
// 5802 section 7).
func isClientFirst(message string) bool {
	fields := strings.Split(message, ",")
	if len(fields) < 4 || !strings.HasPrefix(fields[3], "r=") || len(fields[3]) == len("r=") {
		return false
	}
	return !strings.ContainsFunc(fields[3], func(r rune) bool { return r < '!' || r > '~' })
}

// plainExchange is RFC 4616. The password is compared by its keys, so that it takes as long for a name without an account.
type plainExchange struct {
	accounts  Authenticator
	addr      netip.Addr
	localpart string
	authzid   string
}

// plainHash is the hash whose keys a password is compared with.
const plainHash = SHA256

func (e *plainExchange) step(ctx context.Context, message []byte) ([]byte, bool, error) {
	if message == nil {
		return nil, false, nil
	}
	parts := bytes.Split(message, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 || len(parts[2]) > MaxPassword || !utf8.Valid(message) {
		return nil, false, fail(MalformedRequest, "not of the form authzid NUL authcid NUL password")
	}
	username, password := string(parts[1]), string(parts[2])
	outcome, err := e.accounts.Attempt(ctx, username, e.addr)
	if err != nil {
		return nil, false, err
	}
	k, localpart := e.accounts.Keys(username, plainHash)
	prepared, err := PreparePassword(password)
	if err != nil { // no account has it; it is worked on all the same
		prepared, localpart = password, ""
	}
	got, err := plainHash.Keys(prepared, k.Salt, k.Iterations)
	same := err == nil && subtle.ConstantTimeCompare(got.StoredKey, k.StoredKey) == 1
	ok := same && localpart != ""
	outcome(ok)
	if !ok {
		return nil, false, &Error{Condition: NotAuthorized, Err: err}
	}
	e.localpart, e.authzid = localpart, string(parts[0])
	return nil, true, nil
}

func (e *plainExchange) account() (string, string) { return e.localpart, e.authzid }

// isText reports whether b is UTF-8 without NUL.
func isText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }
