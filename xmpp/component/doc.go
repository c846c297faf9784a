// Package component is a link to an XMPP server as one of its external components (XEP-0114): the carrier of services whose
// domains another server routes to us.
//
//   - XEP-0114: jabber:component:accept, the component dials; the handshake
//   - XEP-0033: extended stanza addressing, of messages for many
//   - XEP-0199: ping, the link's own acknowledgement
//   - RFC 6120: streams without version and features, stanza errors
//
// # Use
//
//	l, err := component.New(component.Options{Edge: e, Addr: "127.0.0.1:5347", Domain: "pubsub.example.org", Secret: "…"})
//	err = l.Handle("pubsub.example.org", service)  // as many domains as the server routes over this link
//	mark, known := l.Acknowledged()                // where what was stored before goes on
//	p := l.Peer(subscriber, "pubsub.example.org")  // who need not have written
//	err = l.Run(ctx)
//
// Each address that writes to a domain is a service.Peer, and so is each that Peer was asked for.
//
// # What is acknowledged
//
// The protocol has no acknowledgements. So the link sends the server a ping behind what it has written, one at a time; servers
// route the stanzas of a connection in order, so that the answer, an error too, says that all before it has been routed. What
// flows had up to there is acknowledged. After the loss of a connection each flow is opened again at its acknowledged mark,
// and goes on: every address gets every message at least once, in order and without a gap, and what was acknowledged is not
// repeated. A message counts as acknowledged when it is for every address that shares its source. What Send was given is
// written once: what is lost with a connection is not repeated, and what waits while there is no connection is kept up to
// Options.MaxBacklog. A flow that was detached, or has ended, is not repeated.
//
// The acknowledged position is the least mark that a flow would be opened at, without its Skip; where nothing is owed it moves on with what
// idle flows tell. Where there are senders, each has a ping of its own, and all have to be answered. It is saved at most every
// 100 ms. It goes back where a flow begins behind it. Flows that begin at the zero Mark do not count.
//
// # Peers
//
// A peer is forgotten, and its service told by Gone, when it has had no flow and no task for Options.Idle and nothing was
// heard of or asked for it. The address may come back as another peer. The loss of the connection alone ends no peer. When it has
// lasted for Options.Keep, the peers that have only written are gone, with their flows: occupants of rooms, which would be
// ghosts. Those that Peer was asked for stay however long it takes: they are of subscriptions that are stored. Peers are
// not told Gone when Run returns: the process ends, they do not.
//
// # Flows
//
// Flows with equal keys that stand at the same mark share one source, and each of its messages is written for each of their
// addresses, with a head of the address's own. Every flow has asked for its rights by Open before it joins others. When a
// shared source ends, the flow that opened it ends with it, and the others open theirs.
//
// # Senders
//
// A server may have a process for each connection, which is then as much as a core can do. So the link may have more connections,
// to domains at which nothing is served, over which it sends in the name of the component (Options.Senders). An account's address
// says which: all that is for the account keeps its order. What comes over any of them is served. They begin together, and the end of one is
// the end of all.
//
// # Multicast
//
// A server may take a message for many addresses once, and send each a copy (Options.Multicast). It is asked on each connection
// whether it does. What flows have for several addresses then goes to a resource of the server's domain, with the addresses
// (XEP-0033) as the last thing in it. Where such a message comes back as an error, the connection ends, as what it was for has to
// come again; on the next one, where the server is not asked, each address has its own.
//
// # What waits
//
// Flows wait in their sources: what is put together for a socket is at most a few pieces of 64 KiB. Where Sends wait for more
// than Options.MaxBacklog, nothing more is read from the server and no task begins until half of it is gone, so that the server
// waits too; services that send without being asked may go on up to four times that, where the connection is closed as broken.
// While there is no connection, what is beyond MaxBacklog is dropped, counted and logged.
//
// # Goroutines
//
// A connection is at the edge as one of those with goroutines of their own, not on a loop with others, which it would keep busy
// for long; a third one writes, so that what comes is read while the server does not read. A sender's connection has one that reads
// and one that writes. All that belongs to the link is
// owned by the connection's goroutine, and by Run's while there is none; everybody else leaves what is to be done in an inbox.
package component
