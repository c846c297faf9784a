// Package im serves the accounts of the embedded server: what clients ask of their own address, of the domain and of each
// other.
//
//   - RFC 6121: roster with versions, presence, subscriptions, messages between accounts
//   - XEP-0030, XEP-0115: service discovery of the domain and of accounts, with caps
//   - XEP-0012, 0092, 0199, 0202: last activity, version, ping, time
//   - XEP-0049: private XML, in which clients keep bookmarks (XEP-0048); XEP-0054: vcard-temp
//   - XEP-0157: contact addresses; XEP-0191: blocking; XEP-0280: carbons
//
// There is no server-to-server federation here and no store of offline messages: a message that finds nobody goes back to its
// sender with an error. Every IQ gets an answer.
//
// # State
//
// What outlives a session is in a store of named values, one for each account and kind: roster/, block/, private/ and vcard/
// with the account's localpart. Memory is built by watching the store, and whatever the watch brings is pushed to the account's
// sessions here, so that processes on one store agree. Changes are made by tasks of the session that asks for them.
package im

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/server"
	"tidings/xmpp/service"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
)

// Store keeps the state of accounts. What each method promises is what a bucket of the journal promises: Watch returns when f
// was called for all that is there, and a change has reached f when Put or Delete returns.
type Store interface {
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
	Watch(ctx context.Context, f func(key string, value []byte)) error
}

// Users knows which accounts there are, by localpart.
type Users interface{ Exists(localpart string) bool }

// Options configure a Service; Server and Store are needed.
type Options struct {
	Server *server.Server
	Store  Store
	// Users knows the accounts; nil for none.
	Users Users
	// Name and Version are of the software, as XEP-0092 tells them.
	Name, Version string
	// Services are listed as the domain's items (XEP-0030), beside the domains that the server has services for.
	Services func() []disco.Item
	// Contact are URIs of who runs the server (XEP-0157); none if empty.
	Contact []string
	// MaxRoster bounds the contacts of an account (1,000), MaxStored what an account keeps of each kind in bytes (64 KiB).
	MaxRoster, MaxStored int
	Log                  *slog.Logger
}

// Service implements server.Accounts.
type Service struct {
	opt    Options
	domain jid.JID
	info   *disco.Info // of the domain
	caps   disco.Caps  // the same
	began  time.Time
	stop   context.CancelFunc

	writing sync.Mutex // held from reading state that is to be changed until the store has taken the change; before mu

	mu       sync.Mutex
	accounts map[string]*account  // what the store has, by localpart
	sessions map[jid.JID]*session // by full JID
	users    map[jid.JID][]*session
}

// session is what is known of a session here. All of it is guarded by Service.mu.
type session struct {
	peer       service.Peer
	jid, bare  jid.JID
	local      string // of the account; empty for an anonymous session
	interested bool   // it has asked for the roster, and is told of changes
	blocklist  bool   // the same of the block list
	carbons    bool
	available  bool
	priority   int8
	presence   []byte               // the content of its last presence
	directed   map[jid.JID]struct{} // who has been sent presence directly, beside the roster
}

// Open returns a Service with what the store has.
func Open(ctx context.Context, o Options) (*Service, error) {
	if o.Name == "" {
		o.Name = "Tidings"
	}
	if o.MaxRoster <= 0 {
		o.MaxRoster = 1000
	}
	if o.MaxStored <= 0 {
		o.MaxStored = 64 << 10
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{opt: o, domain: o.Server.Domain(), began: time.Now(),
		accounts: map[string]*account{}, sessions: map[jid.JID]*session{}, users: map[jid.JID][]*session{}}
	s.info = s.domainInfo()
	s.caps = disco.CapsOf(capsNode, s.info)
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	if err := o.Store.Watch(run, s.stored); err != nil {
		stop()
		return nil, err
	}
	return s, nil
}

// Close ends the watch of the store.
func (s *Service) Close() { s.stop() }

// Features are what the service adds to the stream features: roster versions and the domain's caps.
func (s *Service) Features() stream.Features {
	return stream.Features{RosterVer: true, Caps: s.caps}
}

// Bound implements server.Accounts.
func (s *Service) Bound(p *server.Session) {
	x := &session{peer: p, jid: p.JID(), bare: p.JID().Bare(), local: p.Account()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[x.jid] = x
	s.users[x.bare] = append(s.users[x.bare], x)
}

// Gone implements service.Service: whoever knew that the session was there is told that it is not.
func (s *Service) Gone(p service.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[p.JID()]
	if x == nil || x.peer != p {
		return
	}
	delete(s.sessions, x.jid)
	all := slices.DeleteFunc(slices.Clone(s.users[x.bare]), func(y *session) bool { return y == x })
	if len(all) == 0 {
		delete(s.users, x.bare)
	} else {
		s.users[x.bare] = all
	}
	s.leave(x, nil)
}

// Stanza implements service.Service.
func (s *Service) Stanza(p service.Peer, st *stanza.Stanza) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[p.JID()]
	if x == nil {
		return
	}
	own := st.To.IsZero() || st.To == x.bare
	if err := s.refusedByBlock(x, st); err != nil {
		s.answer(x, st, err)
		return
	}
	switch st.Kind {
	case stanza.IQ:
		switch {
		case !st.To.IsZero() && !st.To.IsBare():
			s.relay(x, st)
		case !st.Request():
			// An answer to a push, or to nothing.
		case own:
			s.serve(x, st, ownHandlers)
		case st.To == s.domain:
			s.serve(x, st, domainHandlers)
		default:
			s.serve(x, st, otherHandlers)
		}
	case stanza.Message:
		s.message(x, st)
	case stanza.Presence:
		s.presenceStanza(x, st)
	}
}

// handler answers a request. s.mu is held.
type handler func(s *Service, x *session, st *stanza.Stanza)

// request is what a handler is for: the namespace and the name of an IQ's child.
type request struct{ space, name string }

func (s *Service) serve(x *session, st *stanza.Stanza, handlers map[request]handler) {
	el := st.Payload()
	if h := handlers[request{el.Space(), el.Name()}]; h != nil {
		h(s, x, st)
		return
	}
	s.answer(x, st, stanza.ServiceUnavailable())
}

// relay passes an IQ on to a session.
func (s *Service) relay(x *session, st *stanza.Stanza) {
	if y := s.sessions[st.To]; y != nil {
		y.peer.Send(server.AppendStanza(nil, st))
		return
	}
	s.answer(x, st, stanza.ServiceUnavailable())
}

// answer returns an error for a stanza that may have one.
func (s *Service) answer(x *session, st *stanza.Stanza, err *stanza.Error) {
	if st.Type != stanza.TypeError && (st.Kind != stanza.IQ || st.Request()) {
		x.peer.Send(st.AppendError(nil, err))
	}
}

// result answers a request; payload may be nil.
func result(x *session, st *stanza.Stanza, payload []byte) {
	x.peer.Send(st.AppendResult(nil, payload))
}

// exists reports whether a bare JID is that of an account.
func (s *Service) exists(bare jid.JID) bool {
	return bare.Domain() == s.domain.Domain() && bare.Local() != "" && s.opt.Users != nil && s.opt.Users.Exists(bare.Local())
}

// later does something to stored state that a session asked for, where it may block, and answers the request: with an error
// of type *stanza.Error, with internal-server-error for any other, or with an empty result.
func (s *Service) later(x *session, st *stanza.Stanza, f func(ctx context.Context) error) {
	p := x.peer
	reply := stanza.Stanza{Kind: st.Kind, Type: st.Type, ID: st.ID, From: st.From, To: st.To} // the element is valid in this call only
	if !p.Task(func(ctx context.Context) func() {
		err := f(ctx)
		var refusal *stanza.Error
		switch {
		case errors.As(err, &refusal):
		case err != nil:
			refusal = stanza.InternalServerError("the server's store does not take it now")
			s.opt.Log.Error("xmpp: the state of an account was not stored", "account", p.Account(), "error", err)
		case reply.Kind == stanza.IQ:
			p.Send(reply.AppendResult(nil, nil))
		}
		if refusal != nil {
			p.Send(reply.AppendError(nil, refusal))
		}
		return nil
	}) {
		s.answer(x, st, stanza.ResourceConstraint("too many requests wait for their answer"))
	}
}
