// Package sasl authenticates XMPP streams, as the server and as the client.
//
//   - RFC 4422: SASL; RFC 6120 section 6: how a stream carries it, and its failure conditions
//   - RFC 5802 and RFC 7677: SCRAM-SHA-1 and SCRAM-SHA-256; SCRAM-SHA-512 is made in the same way
//   - RFC 4616: PLAIN, over TLS only
//   - RFC 4505 and XEP-0175: ANONYMOUS
//   - RFC 8265: user names and passwords
//
// Channel binding (the mechanisms -PLUS) is not offered: the clients that know it do not agree on a binding, and some which
// have tried one in vain cannot go on without. A client that could have bound and sees no such mechanism says so by the flag
// y, which is then right (RFC 5802 section 6).
//
// The package does what is inside the elements of a stream and writes those of a server and a client; who reads them
// takes their text through [Decode] or [DecodeInitial].
package sasl

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"net/netip"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

// The mechanisms, by their registered names.
const (
	ScramSHA1   = "SCRAM-SHA-1"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
	Plain       = "PLAIN"
	Anonymous   = "ANONYMOUS"
)

// Limits.
const (
	// MinIterations is the least iteration count of keys, for those that are made and those that a server asks a client for
	// (RFC 7677 section 4).
	MinIterations = 4096
	// MaxIterations is the greatest that a client works for: about a second and a half. A server that asks for more wastes
	// its time.
	MaxIterations = 5_000_000
	// MaxMessage is the length of a message in bytes, decoded.
	MaxMessage = 4096
	// MaxPassword is the length of a password in bytes of UTF-8.
	MaxPassword = 1024
	// MaxAttempts is after how many failures on one stream a server should close it with policy-violation. There are
	// clients that go on with another mechanism after a failure; RFC 6120 section 6.4.5 recommends 2 to 5.
	MaxAttempts = 5
)

// Hash is the hash function of a SCRAM mechanism.
type Hash uint8

// The hash functions.
const (
	SHA1 Hash = iota + 1
	SHA256
	SHA512
)

// Hashes are all of them; an account has keys for each.
var Hashes = []Hash{SHA1, SHA256, SHA512}

// String returns the name as in a mechanism, such as SHA-256.
func (h Hash) String() string {
	switch h {
	case SHA1:
		return "SHA-1"
	case SHA256:
		return "SHA-256"
	case SHA512:
		return "SHA-512"
	}
	return "unknown hash"
}

// Size returns the length of a key in bytes.
func (h Hash) Size() int { return h.new()().Size() }

func (h Hash) new() func() hash.Hash {
	switch h {
	case SHA1:
		return sha1.New
	case SHA512:
		return sha512.New
	}
	return sha256.New
}

// hashOf returns the hash of a SCRAM mechanism, 0 for another one.
func hashOf(mechanism string) Hash {
	switch mechanism {
	case ScramSHA1:
		return SHA1
	case ScramSHA256:
		return SHA256
	case ScramSHA512:
		return SHA512
	}
	return 0
}

// Keys are what a server keeps of a password for one hash (RFC 5802 section 3). They tell whether a client has the password,
// and are not enough to log in with; guessing the password from them costs Iterations of the hash for each guess.
type Keys struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// Keys derives the keys of a password that has gone through [PreparePassword].
func (h Hash) Keys(password string, salt []byte, iterations int) (Keys, error) {
	salted, err := pbkdf2.Key(h.new(), password, salt, iterations, h.Size())
	if err != nil {
		return Keys{}, err
	}
	client := h.mac(salted, "Client Key")
	stored := h.new()()
	stored.Write(client)
	return Keys{Salt: salt, Iterations: iterations, StoredKey: stored.Sum(nil), ServerKey: h.mac(salted, "Server Key")}, nil
}

func (h Hash) mac(key []byte, text string) []byte {
	m := hmac.New(h.new(), key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// PreparePassword returns the password in the form from which keys are made (RFC 8265 section 4.2, OpaqueString). It is an
// error if the password is empty, is not UTF-8 or has a control character.
func PreparePassword(password string) (string, error) {
	if !utf8.ValidString(password) { // which precis lets through
		return "", errors.New("sasl: the password is not UTF-8")
	}
	return precis.OpaqueString.String(password)
}

// Authenticator knows the accounts; package account has one. Its methods are called from many goroutines.
type Authenticator interface {
	// Keys returns the keys for the hash of the account that the user name stands for, and the account's localpart in its
	// prepared form. The name is as the client sent it. Where there is no such account, the localpart is empty and the keys
	// are ones that no password has: with a salt that is always the same for one name, with the iteration count that new
	// accounts get, and after the same time, so that nobody learns which accounts there are.
	Keys(username string, h Hash) (k Keys, account string)

	// Attempt is called before a proof of the password is looked at. It waits for as long as failed attempts have earned
	// this name and this address; names without an account included. done has to be called once with the outcome, unless
	// there is an error: that of ctx, or one of type *Error, usually temporary-auth-failure.
	Attempt(ctx context.Context, username string, from netip.Addr) (done func(ok bool), err error)
}

// Identity is who has authenticated.
type Identity struct {
	// Account is the localpart of the account in its prepared form; empty after ANONYMOUS, where the server makes one up.
	Account string
	// Mechanism is the one that was used.
	Mechanism string
}

// Anonymous reports whether nobody in particular has authenticated.
func (i Identity) Anonymous() bool { return i.Mechanism == Anonymous }
