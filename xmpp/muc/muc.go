// Package muc reads and writes what rooms need (XEP-0045): joins with their wishes for history, presence with items and
// status codes, and subjects.
package muc

import (
	"strconv"
	"time"

	"tidings/xmpp/delay"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Namespaces.
const (
	NS         = "http://jabber.org/protocol/muc"
	NSUser     = NS + "#user"
	NSAdmin    = NS + "#admin"
	NSOwner    = NS + "#owner"
	NSRequest  = NS + "#request"
	NSRoomInfo = NS + "#roominfo"
	NSStableID = NS + "#stable_id"
	NSSelfPing = NS + "#self-ping-optimization" // XEP-0410
	NSDirect   = "jabber:x:conference"          // XEP-0249
	NSOccupant = "urn:xmpp:occupant-id:0"       // XEP-0421
)

// TrafficNode and NickNode are nodes of service discovery (XEP-0045 sections 6.6 and 7.1).
const (
	TrafficNode = "http://jabber.org/protocol/muc#traffic"
	NickNode    = "x-roomuser-item"
)

// Status codes (XEP-0045 section 15.6.2).
const (
	StatusNonAnonymousHere  = 100 // all occupants see full addresses
	StatusAffiliation       = 101 // changed while away
	StatusShowsUnavailable  = 102
	StatusHidesUnavailable  = 103
	StatusConfiguration     = 104 // a configuration change that is no matter of privacy
	StatusSelf              = 110 // the presence is the occupant's own
	StatusLogging           = 170 // the room is logged now
	StatusNoLogging         = 171
	StatusNonAnonymous      = 172
	StatusSemiAnonymous     = 173
	StatusCreated           = 201
	StatusNick              = 210 // the service has assigned or changed the nickname
	StatusBanned            = 301
	StatusNickChange        = 303
	StatusKicked            = 307
	StatusAffiliationLost   = 321
	StatusMembersOnly       = 322
	StatusShutdown          = 332
	StatusTechnicalProblems = 333
)

// Affiliations and roles (XEP-0045 section 5).
const (
	Owner   = "owner"
	Admin   = "admin"
	Member  = "member"
	Outcast = "outcast"

	Moderator   = "moderator"
	Participant = "participant"
	Visitor     = "visitor"

	None = "none" // either
)

// Join is what a presence says that enters a room (XEP-0045 section 7.2).
type Join struct {
	Password string
	History  History
}

// History bounds the messages that somebody who enters is sent (XEP-0045 section 7.2.14). The bounds hold together: the
// smallest decides.
type History struct {
	MaxChars   int       // characters of the whole stanzas; -1 for no bound
	MaxStanzas int       // -1 for no bound
	Seconds    int       // messages of the last seconds; -1 for no bound
	Since      time.Time // zero for no bound
}

// AnyHistory has no bounds: the room decides.
var AnyHistory = History{MaxChars: -1, MaxStanzas: -1, Seconds: -1}

// None reports whether the history asked for is empty.
func (h History) None() bool { return h.MaxChars == 0 || h.MaxStanzas == 0 || h.Seconds == 0 }

// From returns the time before which nothing is wanted; zero where there is no such bound.
func (h History) From(now time.Time) time.Time {
	t := h.Since
	if h.Seconds >= 0 {
		if s := now.Add(-time.Duration(h.Seconds) * time.Second); s.After(t) {
			t = s
		}
	}
	return t
}

// ParseJoin returns what a presence says about entering. ok is false for one that has no element x of XEP-0045: a change of
// presence or nickname by an occupant, or a client of the protocol before it. Bounds that cannot be read are left out, as a
// room may send less or more than was asked for.
func ParseJoin(st *stanza.Stanza) (j Join, ok bool) {
	j.History = AnyHistory
	if st.Kind != stanza.Presence || st.Type != stanza.TypeAvailable {
		return j, false
	}
	x := st.Element.Child(NS, "x")
	if x.IsZero() {
		return j, false
	}
	j.Password = x.Child(NS, "password").Text()
	if h := x.Child(NS, "history"); !h.IsZero() {
		j.History.MaxChars = bound(h.Attr("maxchars"))
		j.History.MaxStanzas = bound(h.Attr("maxstanzas"))
		j.History.Seconds = bound(h.Attr("seconds"))
		if t, err := delay.ParseTime(h.Attr("since")); err == nil {
			j.History.Since = t
		}
	}
	return j, true
}

func bound(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}

// Append appends the element x of a presence that enters a room.
func (j Join) Append(dst []byte) []byte {
	dst = append(dst, "<x xmlns='"+NS+"'>"...)
	if h := j.History; h != AnyHistory {
		dst = append(dst, "<history"...)
		dst = appendBound(dst, "maxchars", h.MaxChars)
		dst = appendBound(dst, "maxstanzas", h.MaxStanzas)
		dst = appendBound(dst, "seconds", h.Seconds)
		if !h.Since.IsZero() {
			dst = xmlstream.AppendOptional(dst, "since", delay.FormatTime(h.Since))
		}
		dst = append(dst, "/>"...)
	}
	if j.Password != "" {
		dst = append(dst, "<password>"...)
		dst = xmlstream.AppendText(dst, j.Password)
		dst = append(dst, "</password>"...)
	}
	return append(dst, "</x>"...)
}

func appendBound(dst []byte, name string, n int) []byte {
	if n < 0 {
		return dst
	}
	return xmlstream.AppendOptional(dst, name, strconv.Itoa(n))
}

// AppendSubject appends the message that tells one occupant the room's subject (XEP-0045 section 7.2.15): it has no body, and
// comes behind the history even if the subject is empty. from is the room, or the occupant who set it.
func AppendSubject(dst []byte, from, to jid.JID, id, subject string) []byte {
	dst = stanza.AppendStart(dst, stanza.Message, stanza.TypeGroupchat, id, from, to)
	dst = append(dst, "<subject>"...)
	dst = xmlstream.AppendText(dst, subject)
	dst = append(dst, "</subject>"...)
	return stanza.AppendEnd(dst, stanza.Message)
}

// Subject returns the subject that a message of a room sets. A message with a body or a thread talks about a subject and does
// not set it (XEP-0045 section 8.1).
func Subject(st *stanza.Stanza) (subject string, ok bool) {
	el := st.Child("subject")
	if st.Kind != stanza.Message || st.Type != stanza.TypeGroupchat || el.IsZero() || !st.Child("body").IsZero() || !st.Child("thread").IsZero() {
		return "", false
	}
	return el.Text(), true
}
