// Package service is what a service, such as the rooms of a domain, and the carrier of its stanzas know of each other. The
// carrier is the embedded server (RFC 6120), for which each session is a [Peer], or a component link (XEP-0114), for which
// each address that has written over the link is one.
//
// A service answers with stanzas of its own ([Peer].Send), and pushes what happens on a topic as a [Flow]: bytes that all
// its readers share, at which each reader stands somewhere. A reader that goes away and resumes its session (XEP-0198) is
// sent again what it has not acknowledged from the flow itself, so that a carrier keeps a [Mark] and no copies.
package service

import (
	"bytes"
	"context"

	"tidings/edge"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
)

// Service serves the stanzas of one domain. Its methods are called on the goroutine that owns the peer, which serves many
// others: they must not block. Stanzas of one peer come in order; those of two peers may come at once.
type Service interface {
	// Stanza is called for each stanza sent to the domain or an address in it; its From is the peer's JID. st and what it
	// leads to are valid during the call only. Every IQ of type get or set has to be answered, then or later.
	Stanza(p Peer, st *stanza.Stanza)

	// Gone says that the peer's session has ended for good: it is not merely waiting to be resumed. It is called once, and
	// only for peers whose stanzas the service was given, or that it has asked a link for; nothing is called with the peer
	// after it. Its flows are detached already, without a call of Ended, and what is sent to it is dropped. Behind a component
	// link, where nobody tells of sessions, it says no more than that the link has forgotten an address: one that had no flow
	// and was not heard of, or one whose server has been away for long.
	Gone(p Peer)
}

// Peer is one address that a service talks to and the way there. It is comparable and stays the same value until Gone.
// Methods other than Attach and Task may be called from any goroutine; Attach and Task as well, if the service orders its
// calls itself. They take effect in the order of the calls, and do nothing after Gone.
type Peer interface {
	// JID returns the full JID of a session; behind a component link, whatever address the stanza came from.
	JID() jid.JID

	// Account returns the localpart of the account of this server, in its prepared form. It is empty for anonymous sessions
	// and for the addresses of other servers.
	Account() string

	// Anonymous reports whether the session was authenticated by SASL ANONYMOUS (RFC 4505).
	Anonymous() bool

	// Send queues a copy of b: complete stanzas with from and to, in order with what flows write. Where more waits than the
	// carrier holds for a peer, it ends the session.
	Send(b []byte)

	// Attach pushes what the flow has from its Mark on, behind what has been sent. It calls f.Open on the goroutine that
	// owns the peer, not before Attach is called but perhaps after it returned.
	Attach(f Flow) Handle

	// Task runs f on a goroutine where it may block, after the peer's earlier tasks; ctx ends with the peer or the server.
	// What f returns, if not nil, then runs on the goroutine that calls Stanza. If too many tasks wait, Task returns false
	// and f is not run; the service answers resource-constraint.
	Task(f func(ctx context.Context) (then func())) bool
}

// Handle is a flow that is attached to a peer. Its methods may be called from any goroutine and do nothing after Gone or
// Ended.
type Handle interface {
	// Detach ends the flow: nothing of it is written behind what the peer is sent after the call, but a message that has
	// begun is finished. It is not sent again when the session is resumed. Ended is not called.
	Detach()

	// Swap puts another flow in the place of this one. next is called on the goroutine that owns the peer, with the source's
	// Mark where it stands; the flow it returns says by its own Mark where it begins. If it returns nil, the old flow stays.
	// The carrier keeps the old flow for as long as messages of it are not acknowledged.
	Swap(next func(at Mark) Flow)
}

// Flow is what a peer is pushed. Its methods are called on the goroutine that owns the peer and must not block.
type Flow interface {
	// Key is comparable. From the same Mark, flows with equal keys have the same bytes for the same time, whoever reads
	// them: a link with many addresses opens one of them for all that stand at the same Mark, and a flow that begins
	// elsewhere goes on alone until its Mark is theirs. What depends on the reader (its rights) belongs in the key. What a
	// [Gathering] source puts into one message may differ, and what the messages say in all does not.
	Key() any

	// Mark returns where the flow begins.
	Mark() Mark

	// Open returns a source of what follows after, in the order and number in which it was given out before; after is Mark,
	// or where the reader stood: a Mark that a source of this flow, or of one with the same key, returned, perhaps with
	// messages added. It asks again whether the peer may read, and returns the reason if not. Where what follows is not kept
	// any more, the source begins with what tells the reader of the gap, and nothing is skipped.
	Open(after Mark) (*edge.Group, Source, error)

	// Ended says that the flow has ended by itself and is detached: with the error of Open, or with nil after a Source's
	// Next returned edge.Ended, for example because of a revocation. The last bytes have been queued, so a stanza that Ended
	// sends comes after them. A session that waits to be resumed has no open source: it learns of a revocation from Open.
	Ended(err error)
}

// Source is an edge.Cursor whose bytes begin each message with [To] and hold no other byte 0. An event may be several
// messages: Advance at the end of the first of them returns the others, each of which begins with To.
//
// edge.Ended ends the flow and not the connection. Goodbye is not called.
type Source interface {
	edge.Cursor

	// Mark returns a place such that everything up to it has been given out (returned by Next and taken by Advance) and
	// nothing behind it. It may lie behind the last message, where nothing of the flow is between: two sources with equal
	// keys that are both Idle have equal Marks unless the journal moved between the calls. It is called when the cursor
	// stands: not while Fetch runs nor between Next and Advance.
	Mark() Mark
}

// Gathering is a Source that puts into one message what several would say, as many as wait when it is asked. Where its messages end
// is not the same a second time, so that they cannot be counted: between two of them there is no place but the source's Mark. Next
// returns one message at a time.
type Gathering interface {
	Source

	// Limit has Next return Idle in the place of what lies behind the mark, until it is called again: with a later mark, or with
	// the zero Mark for no limit. It is for who gives out again a message that ended there, and gets the same as long as all is
	// kept. It is called when the cursor stands.
	Limit(until Mark)
}

// Mark is a place in a flow: after everything up to Offset in the life Epoch of the journal, and after Skip messages of the
// flow behind that. A carrier reads Epoch and Offset only to compare them.
type Mark struct {
	Epoch  uint32
	Skip   uint32
	Offset uint64
}

// Plus returns the mark that lies n messages further in the flow.
func (m Mark) Plus(n int) Mark {
	m.Skip += uint32(n)
	return m
}

// To is what every message in a flow's bytes begins with. A carrier writes in its place the start of the tag with what
// differs between readers, `<message to='ADDRESS'`, and the namespace where its transport needs one (RFC 7395); the shared
// bytes go on with a space and the attribute from. The byte cannot occur in XML, so that it counts and parts messages too.
const To = 0

// Count returns the number of messages in a flow's bytes.
func Count(shared []byte) int { return bytes.Count(shared, []byte{To}) }

// Cut returns the first message of a flow's bytes, without the To it begins with, and the messages behind it. shared must
// not be empty.
func Cut(shared []byte) (message, rest []byte) {
	if i := bytes.IndexByte(shared[1:], To); i >= 0 {
		return shared[1 : 1+i], shared[1+i:]
	}
	return shared[1:], nil
}
