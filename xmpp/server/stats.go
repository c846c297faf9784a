package server

import (
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"tidings/xmpp/sasl"
	"tidings/xmpp/stream"
)

// The reasons for which this package closes a connection or ends a session. Stream errors of the client's making count as
// "xmpp-" and their condition.
const (
	ReasonClosed    = "xmpp-closed"            // the client has closed its stream
	ReasonLost      = "xmpp-lost"              // the connection is gone, and the session cannot be resumed
	ReasonConflict  = "xmpp-replaced"          // another connection has bound the resource
	ReasonResumed   = "xmpp-resumed-elsewhere" // another connection has resumed the session
	ReasonAccount   = "xmpp-account-ended"     // the account has been removed or has another password
	ReasonAck       = "xmpp-ack-timeout"       // the client owes an acknowledgement; the session may be resumed
	ReasonOverflow  = "xmpp-overflow"          // too much waits for the connection, or for its resumption
	ReasonUnacked   = "xmpp-unacknowledged"    // too much has been sent that is not acknowledged
	ReasonExpired   = "xmpp-expired"           // nobody has resumed the session
	ReasonShutdown  = "xmpp-shutdown"          // the server stops
	ReasonHandshake = "xmpp-handshake-timeout" // no resource within Options.HandshakeTimeout
	ReasonTLS       = "xmpp-tls"               // the TLS handshake has failed
	ReasonFull      = "xmpp-full"              // Options.MaxHandshakes are under way
	ReasonPeer      = "xmpp-peer-closed"       // the peer has gone before it had a resource
)

// reasonOf returns the reason for a stream error of the client's making.
func reasonOf(e *stream.Error) string { return "xmpp-" + e.Condition }

// figures are what is counted.
type figures struct {
	handshakes  atomic.Int64
	bound       atomic.Int64 // sessions
	overSocket  atomic.Int64 // of them, those online over WebSocket
	overTLS     atomic.Int64
	waits       atomic.Int64
	flows       atomic.Int64
	stanzasIn   atomic.Uint64
	stanzasOut  atomic.Uint64
	bounced     atomic.Uint64
	dropped     atomic.Uint64
	resumptions atomic.Uint64
	refused     atomic.Uint64 // resumptions that failed

	reasons struct {
		sync.Mutex
		n      map[string]uint64
		logged map[string]time.Time
	}
}

// Stats are figures of a Server at one moment.
type Stats struct {
	Handshakes    int64             // connections without a resource
	Sessions      int64             // those that wait for resumption included
	WebSocket     int64             // sessions over WebSocket
	TLS           int64             // sessions over TCP with TLS
	Waiting       int64             // sessions that wait for resumption
	Resumable     int64             // sessions that could
	Flows         int64             // attached
	StanzasIn     uint64            // from clients
	StanzasOut    uint64            // to clients
	Bounced       uint64            // stanzas that their session never acknowledged
	Dropped       uint64            // what was asked of sessions that had ended
	Resumed       uint64            // sessions, each time
	ResumeFailed  uint64            // attempts
	Closed        map[string]uint64 // sessions and connections before there was one, by reason
	Authenticated sasl.Stats
}

// Stats returns the figures. Connections that the edge has closed are counted there too, by the same reasons.
func (s *Server) Stats() Stats {
	st := Stats{Handshakes: s.handshakes.Load(), Sessions: s.bound.Load(), WebSocket: s.overSocket.Load(), TLS: s.overTLS.Load(),
		Waiting: s.waits.Load(), Flows: s.flows.Load(), StanzasIn: s.stanzasIn.Load(), StanzasOut: s.stanzasOut.Load(),
		Bounced: s.bounced.Load(), Dropped: s.dropped.Load(), Resumed: s.resumptions.Load(), ResumeFailed: s.refused.Load(), Authenticated: s.sasl.Stats()}
	s.mu.RLock()
	st.Resumable = int64(len(s.ids))
	s.mu.RUnlock()
	s.reasons.Lock()
	st.Closed = maps.Clone(s.reasons.n)
	s.reasons.Unlock()
	return st
}

// logEvery is how often one reason is logged at most.
const logEvery = 10 * time.Second

// count counts an ended session or a connection closed before there was one.
func (s *Server) count(reason string, args ...any) {
	r := &s.reasons
	r.Lock()
	if r.n == nil {
		r.n, r.logged = map[string]uint64{}, map[string]time.Time{}
	}
	r.n[reason]++
	n, now := r.n[reason], time.Now()
	quiet := now.Sub(r.logged[reason]) < logEvery
	if !quiet {
		r.logged[reason] = now
	}
	r.Unlock()
	if !quiet {
		s.opt.Log.Debug("xmpp: closed", append([]any{slog.String("reason", reason), slog.Uint64("count", n)}, args...)...)
	}
}
