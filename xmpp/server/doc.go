// Package server is the embedded XMPP server: it accepts the connections of clients, negotiates their streams, and carries
// stanzas between their sessions and the services of its domains.
//
//   - RFC 6120: streams, STARTTLS, SASL, resource binding, stanza routing; RFC 3921 section 3: its session, as a formality
//   - RFC 7395: streams over WebSocket; XEP-0156: how clients find it
//   - RFC 7590, XEP-0368: TLS from the first byte, with ALPN
//   - XEP-0198: stream management with resumption; XEP-0352: client state; XEP-0138: compression with zlib
//
// # Use
//
//	s, err := server.New(server.Options{Edge: e, Domain: "localhost", Users: accounts, Anonymous: true, TLS: conf})
//	s.Handle("conference.localhost", rooms)     // a service.Service
//	s.HandleAccounts(im)                        // an Accounts: the domain itself, bare and full JIDs
//	go s.Serve(ln, server.StartTLS)             // as many listeners as there are
//	mux.Handle("/xmpp-websocket", s.WebSocket(upgrade))
//	mux.Handle("/.well-known/host-meta", s.HostMeta("/xmpp-websocket"))
//	mux.Handle("/.well-known/host-meta.json", s.HostMeta("/xmpp-websocket"))
//	…
//	s.Close()                                   // before the edge's Shutdown, which says goodbye to the sessions
//
// A [Session] is the service.Peer that services are called with. Beside what that interface says:
//
//   - What [Session.Send] was given before the session was bound is written behind the result of binding.
//   - Stanzas of a session reach services with From set to its full JID, whatever the client wrote; another address is the
//     stream error invalid-from.
//   - A service that a session replaces another in (the same resource again) sees Gone for the old one before it sees the new.
//   - What a task returns is dropped when the session has ended meanwhile.
//   - While a session waits for its resumption, what it is sent is kept, and all else that is asked of it (Attach, Detach, Swap,
//     what tasks return) is done when it is back, in order.
//
// [Server.Sessions], [Server.Session] and [Server.Deliver] are for the package that serves accounts, [AppendStanza] for whoever
// passes a stanza on.
//
// # Goroutines
//
// A TCP connection has a goroutine with a deadline until it has bound a resource or resumed a session; then it is at the edge.
// A WebSocket is there from the beginning, and has a goroutine for as long as one step of its negotiation takes. A session
// belongs to the goroutine that owns its connection; everybody else leaves what is to be done in its inbox. While it waits for
// resumption nobody owns it, and whoever ends that, a new connection or the wheel, takes it over with its lock held. One
// goroutine turns the wheel for all sessions, and a few do their tasks.
//
// # What a session keeps
//
// An idle session holds no buffer. With stream management it keeps what it was sent by itself until that is acknowledged,
// bounded by Options.MaxUnacked, and of flows a mark and a count for each run of messages. When it is resumed, all that is not
// acknowledged is written again in the order in which it was written first, flows from where they have their messages, and
// then each flow goes on: every message comes once and in order. Nothing is forgotten by writing it again, so that attempts at
// resumption may fail or overtake each other.
package server
