package sasl

import (
	"context"
	"maps"
	"net/netip"
	"sync"

	"tidings/xmpp/jid"
)

// Server authenticates the streams of one domain. Its fields are set before the first call and not changed after it; its
// methods may be called from many goroutines.
type Server struct {
	// Domain is that of the accounts; an address that a client wants to act for must be in it.
	Domain string
	// Accounts knows the accounts; nil for none.
	Accounts Authenticator
	// AllowAnonymous offers ANONYMOUS.
	AllowAnonymous bool

	nonce func() string // of SCRAM, for tests; random if nil

	mu    sync.Mutex
	stats Stats
}

// Stats are figures of a Server since it began.
type Stats struct {
	Succeeded map[string]uint64    // by mechanism
	Failed    map[Condition]uint64 // by condition
}

// Stats returns figures for metrics.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{maps.Clone(s.stats.Succeeded), maps.Clone(s.stats.Failed)}
}

func (s *Server) count(mechanism string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats.Succeeded == nil {
		s.stats = Stats{map[string]uint64{}, map[Condition]uint64{}}
	}
	if err != nil {
		s.stats.Failed[ConditionOf(err)]++
	} else {
		s.stats.Succeeded[mechanism]++
	}
}

// Conn is what a Server has to know of the connection below a stream.
type Conn struct {
	// TLS says that the stream is encrypted. Without it there is no PLAIN.
	TLS bool
	// NeedsTLS says that nothing is offered until it is.
	NeedsTLS bool
	// Addr is the peer's; failed attempts are counted by it.
	Addr netip.Addr
}

// Mechanisms returns what to offer on the connection, the strongest first; nothing if it needs TLS first.
func (s *Server) Mechanisms(c Conn) []string {
	if c.NeedsTLS && !c.TLS {
		return nil
	}
	var ms []string
	if s.Accounts != nil {
		ms = append(ms, ScramSHA512, ScramSHA256, ScramSHA1)
		if c.TLS {
			ms = append(ms, Plain)
		}
	}
	if s.AllowAnonymous {
		ms = append(ms, Anonymous)
	}
	return ms
}

// Negotiate returns the state of authentication of a new stream.
func (s *Server) Negotiate(c Conn) *Negotiation { return &Negotiation{server: s, conn: c} }

// Negotiation is the authentication of one stream, which may take several attempts. It is used by one goroutine.
type Negotiation struct {
	server    *Server
	conn      Conn
	mechanism string
	exchange  exchange // of the attempt under way
	identity  Identity
	done      bool
	failures  int
}

// exchange is one attempt with one mechanism.
type exchange interface {
	// step takes the client's message; nil where it has sent none. Once done, account is set unless nobody in particular has
	// authenticated.
	step(ctx context.Context, message []byte) (challenge []byte, done bool, err error)
	// account returns who has authenticated and the address that the client wants to act for, each perhaps empty.
	account() (localpart, authzid string)
}

// Start begins an attempt, for which the client has sent <auth/>; one that is under way is dropped. A nil initial is no
// initial response, as opposed to one of no length; see DecodeInitial.
//
// The answer is <challenge/> with the challenge; <success/> with it if done; or <failure/> with the error, which is of type
// *Error, after which the client may start again: see Failures. It may block for several seconds, where attempts have
// failed before; if ctx ends, its error is the cause of the error.
func (n *Negotiation) Start(ctx context.Context, mechanism string, initial []byte) (challenge []byte, done bool, err error) {
	n.exchange = nil
	n.mechanism = mechanism
	s, c := n.server, n.conn
	switch h := hashOf(mechanism); {
	case n.done:
		err = fail(MalformedRequest, "the stream is authenticated")
	case c.NeedsTLS && !c.TLS:
		err = fail(EncryptionRequired, "start TLS first")
	case h != 0 && s.Accounts != nil:
		n.exchange = &scramExchange{accounts: s.Accounts, addr: c.Addr, hash: h, nonce: s.nonce}
	case mechanism == Plain && s.Accounts != nil && c.TLS:
		n.exchange = &plainExchange{accounts: s.Accounts, addr: c.Addr}
	case mechanism == Plain && s.Accounts != nil:
		err = fail(EncryptionRequired, "PLAIN needs TLS")
	case mechanism == Anonymous && s.AllowAnonymous && n.failures > 0:
		// Some clients try every mechanism in turn, and their user would not learn that the password was wrong.
		err = fail(NotAuthorized, "another mechanism has failed on this stream")
	case mechanism == Anonymous && s.AllowAnonymous:
		n.exchange = anonymousExchange{}
	default:
		err = fail(InvalidMechanism, "")
	}
	if err != nil {
		return nil, false, n.failed(err)
	}
	return n.step(ctx, initial)
}

// Next takes the client's <response/>. It returns what Start returns.
func (n *Negotiation) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	if n.exchange == nil {
		return nil, false, n.failed(fail(MalformedRequest, "nothing is under way"))
	}
	if response == nil {
		response = []byte{}
	}
	return n.step(ctx, response)
}

// Fail ends the attempt with an error found before there was a message, such as one of Decode, and returns it.
func (n *Negotiation) Fail(err error) error { return n.failed(err) }

// Abort ends the attempt because the client has sent <abort/>, and returns the error to answer with.
func (n *Negotiation) Abort() error { return n.failed(fail(Aborted, "")) }

// Failures returns how many attempts have failed. At MaxAttempts the stream should be closed.
func (n *Negotiation) Failures() int { return n.failures }

// Identity returns who has authenticated, once done.
func (n *Negotiation) Identity() Identity { return n.identity }

func (n *Negotiation) step(ctx context.Context, message []byte) ([]byte, bool, error) {
	if len(message) > MaxMessage {
		return nil, false, n.failed(fail(MalformedRequest, "the message is too long"))
	}
	challenge, done, err := n.exchange.step(ctx, message)
	if err == nil && done {
		localpart, authzid := n.exchange.account()
		n.identity = Identity{Account: localpart, Mechanism: n.mechanism}
		err = n.server.authorize(localpart, authzid)
	}
	if err != nil {
		n.identity = Identity{}
		return nil, false, n.failed(err)
	}
	if done {
		n.exchange, n.done = nil, true
		n.server.count(n.mechanism, nil)
	}
	return challenge, done, nil
}

func (n *Negotiation) failed(err error) error {
	n.exchange = nil
	n.failures++
	n.server.count(n.mechanism, err)
	if _, ok := err.(*Error); !ok {
		err = &Error{Condition: TemporaryAuthFailure, Err: err}
	}
	return err
}

// authorize says whether the account may act for the address: its own, and for no other (RFC 6120 section 6.3.8).
func (s *Server) authorize(localpart, authzid string) error {
	if authzid == "" {
		return nil
	}
	a, err := jid.Parse(authzid)
	d, derr := jid.New("", s.Domain, "")
	if err != nil || derr != nil || !a.IsBare() || a.Local() != localpart || a.Domain() != d.Domain() {
		return fail(InvalidAuthzid, "an account acts for its own address only")
	}
	return nil
}

// anonymousExchange takes the trace, which is nothing or some text about the client, and does nothing with it (RFC 4505
// section 2). Clients that have none send no initial response and expect to be done (XEP-0175 section 2).
type anonymousExchange struct{}

func (anonymousExchange) step(_ context.Context, message []byte) ([]byte, bool, error) {
	if len(message) > 4*255 || !isText(message) {
		return nil, false, fail(MalformedRequest, "the trace is not a short text")
	}
	return nil, true, nil
}

func (anonymousExchange) account() (string, string) { return "", "" }
