package im

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"tidings/xmpp/dataform"
	"tidings/xmpp/delay"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/mam"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

const (
	nsPing    = "urn:xmpp:ping"
	nsTime    = "urn:xmpp:time"
	nsVersion = "jabber:iq:version"
	nsLast    = "jabber:iq:last"
	nsPrivate = "jabber:iq:private"
	nsVCard   = "vcard-temp"

	capsNode = "urn:tidings"
)

// What is answered for the session's own account, for the domain, and for other accounts in their name.
var (
	ownHandlers = map[request]handler{
		{nsRoster, "query"}:           rosterIQ,
		{nsPrivate, "query"}:          privateXML,
		{nsVCard, "vCard"}:            vcard,
		{nsBlocking, "blocklist"}:     blocklist,
		{nsBlocking, "block"}:         block,
		{nsBlocking, "unblock"}:       unblock,
		{nsCarbons, "enable"}:         carbons(true),
		{nsCarbons, "disable"}:        carbons(false),
		{disco.NSInfo, "query"}:       get(ownInfo),
		{disco.NSItems, "query"}:      get(noItems),
		{mam.NS, "query"}:             archive,
		{mam.NS, "prefs"}:             archivePrefs,
		{nsPing, "ping"}:              get(pong),
		{nsLast, "query"}:             get(ownLast),
		{nsTime, "time"}:              get(clock),
		{nsVersion, "query"}:          get(version),
		{stream.NSSession, "session"}: func(_ *Service, x *session, st *stanza.Stanza) { result(x, st, nil) },
	}
	domainHandlers = map[request]handler{
		{disco.NSInfo, "query"}:  get(domainInfo),
		{disco.NSItems, "query"}: get(domainItems),
		{nsPing, "ping"}:         get(pong),
		{nsLast, "query"}:        get(uptime),
		{nsTime, "time"}:         get(clock),
		{nsVersion, "query"}:     get(version),
		{nsCarbons, "enable"}:    carbons(true), // some clients write the domain's address
		{nsCarbons, "disable"}:   carbons(false),
		{nsVCard, "vCard"}:       get(domainVCard),
	}
	otherHandlers = map[request]handler{
		{disco.NSInfo, "query"}:  get(otherInfo),
		{disco.NSItems, "query"}: get(otherItems),
		{nsVCard, "vCard"}:       get(otherVCard),
		{nsLast, "query"}:        get(otherLast),
	}
)

// get returns a handler that refuses a set.
func get(h handler) handler {
	return func(s *Service, x *session, st *stanza.Stanza) {
		if st.Type != stanza.TypeGet {
			s.answer(x, st, stanza.NotAllowed())
			return
		}
		h(s, x, st)
	}
}

func pong(_ *Service, x *session, st *stanza.Stanza) { result(x, st, nil) }

func version(s *Service, x *session, st *stanza.Stanza) {
	var b xmlstream.Builder
	b.Open("query", "xmlns", nsVersion).TextElement("name", s.opt.Name)
	if s.opt.Version != "" {
		b.TextElement("version", s.opt.Version)
	}
	b.TextElement("os", runtime.GOOS).Close()
	result(x, st, b.Bytes())
}

func clock(_ *Service, x *session, st *stanza.Stanza) {
	var b xmlstream.Builder
	b.Open("time", "xmlns", nsTime).TextElement("tzo", "+00:00").TextElement("utc", delay.FormatTime(time.Now())).Close()
	result(x, st, b.Bytes())
}

// uptime is the last activity of a server (XEP-0012 section 3).
func uptime(s *Service, x *session, st *stanza.Stanza) {
	answerLast(x, st, int(time.Since(s.began).Seconds()))
}

func answerLast(x *session, st *stanza.Stanza, seconds int) {
	var b xmlstream.Builder
	result(x, st, b.Empty("query", "xmlns", nsLast, "seconds", strconv.Itoa(seconds)).Bytes())
}

func ownLast(_ *Service, x *session, st *stanza.Stanza) { answerLast(x, st, 0) }

// otherLast says that an account is here now; when one was here last is not kept (XEP-0012 section 4).
func otherLast(s *Service, x *session, st *stanza.Stanza) {
	if !s.maySee(x.bare, st.To.Bare()) {
		s.answer(x, st, stanza.Forbidden())
		return
	}
	for _, y := range s.users[st.To.Bare()] {
		if y.available {
			answerLast(x, st, 0)
			return
		}
	}
	s.answer(x, st, stanza.ServiceUnavailable())
}

// domainInfo is what the domain is and can do.
func (s *Service) domainInfo() *disco.Info {
	i := &disco.Info{
		Identities: []disco.Identity{{Category: "server", Type: "im", Name: s.opt.Name}},
		Features: []string{disco.NSCaps, disco.NSInfo, disco.NSItems, nsLast, nsPrivate, nsRoster, nsVersion, nsBlocking, nsCarbons, nsPing, nsTime,
			nsVCard},
	}
	if len(s.opt.Contact) > 0 {
		f := dataform.New(dataform.TypeResult, "http://jabber.org/network/serverinfo")
		f.Fields = append(f.Fields, dataform.Field{Var: "admin-addresses", Type: dataform.ListMulti, Values: s.opt.Contact})
		i.Forms = append(i.Forms, f)
	}
	return i
}

func domainInfo(s *Service, x *session, st *stanza.Stanza) {
	i := *s.info
	switch node := st.Payload().Attr("node"); node {
	case "":
	case s.caps.QueryNode():
		i.Node = node
	default:
		s.answer(x, st, stanza.ItemNotFound())
		return
	}
	result(x, st, i.Append(nil))
}

func domainItems(s *Service, x *session, st *stanza.Stanza) {
	var items []disco.Item
	if node := st.Payload().Attr("node"); node == "" {
		if s.opt.Services != nil {
			items = s.opt.Services()
		}
	listing:
		for _, d := range s.opt.Server.Domains() {
			j, err := jid.Parse(d)
			if err != nil || j == s.domain {
				continue
			}
			for _, it := range items {
				if it.JID == j {
					continue listing
				}
			}
			items = append(items, disco.Item{JID: j})
		}
	}
	result(x, st, disco.AppendItems(nil, st.Payload().Attr("node"), items, nil))
}

func ownInfo(s *Service, x *session, st *stanza.Stanza) {
	if st.Payload().Attr("node") != "" {
		s.answer(x, st, stanza.ItemNotFound())
		return
	}
	typ := "registered"
	if x.local == "" {
		typ = "anonymous"
	}
	i := disco.Info{Identities: []disco.Identity{{Category: "account", Type: typ}},
		Features: []string{disco.NSInfo, disco.NSItems, nsPrivate, nsRoster, nsBlocking, nsCarbons, nsPing, nsVCard, mam.NS}}
	result(x, st, i.Append(nil))
}

// archive answers queries to the account's own archive, in which nothing is kept (XEP-0313 section 4). There is one because
// clients ask it before they ask that of a room, and Dino 0.4 crashes where only the room has one.
func archive(_ *Service, x *session, st *stanza.Stanza) {
	if st.Type == stanza.TypeGet {
		result(x, st, mam.AppendFields(nil))
		return
	}
	result(x, st, mam.Fin{Complete: true}.Append(nil))
}

// archivePrefs says that the archive keeps nothing, whatever a client would have it keep (XEP-0441).
func archivePrefs(_ *Service, x *session, st *stanza.Stanza) {
	result(x, st, mam.Prefs{Default: "never"}.Append(nil))
}

func noItems(_ *Service, x *session, st *stanza.Stanza) {
	result(x, st, disco.AppendItems(nil, st.Payload().Attr("node"), nil, nil))
}

// otherInfo tells of an account what those may know who see its presence; others cannot tell it from one that is not there
// (XEP-0030 section 8).
func otherInfo(s *Service, x *session, st *stanza.Stanza) {
	if !s.exists(st.To) || !s.maySee(x.bare, st.To) || st.Payload().Attr("node") != "" {
		s.answer(x, st, stanza.ServiceUnavailable())
		return
	}
	i := disco.Info{Identities: []disco.Identity{{Category: "account", Type: "registered"}}, Features: []string{disco.NSInfo, disco.NSItems, nsVCard}}
	result(x, st, i.Append(nil))
}

// otherItems lists the available resources of an account, for those who see its presence anyway.
func otherItems(s *Service, x *session, st *stanza.Stanza) {
	if !s.exists(st.To) || !s.maySee(x.bare, st.To) {
		s.answer(x, st, stanza.ServiceUnavailable())
		return
	}
	var items []disco.Item
	for _, y := range s.users[st.To] {
		if y.available {
			items = append(items, disco.Item{JID: y.jid})
		}
	}
	result(x, st, disco.AppendItems(nil, "", items, nil))
}

func domainVCard(s *Service, x *session, st *stanza.Stanza) {
	var b xmlstream.Builder
	result(x, st, b.Open("vCard", "xmlns", nsVCard).TextElement("FN", s.opt.Name).Close().Bytes())
}

// privateXML keeps what a client wants to find again, by namespace and name (XEP-0049).
func privateXML(s *Service, x *session, st *stanza.Stanza) {
	el := st.Payload().First()
	switch {
	case el.IsZero() || !el.Next().IsZero() || el.Space() == "" || el.Space() == nsPrivate:
		s.answer(x, st, stanza.BadRequest("private XML is one element with a namespace of its own"))
		return
	case x.local == "" && st.Type == stanza.TypeSet:
		s.answer(x, st, stanza.NotAllowed("an anonymous session keeps nothing"))
		return
	}
	name := el.Space() + " " + el.Name()
	if st.Type == stanza.TypeSet {
		local, value := x.local, string(el.AppendXML(nil, nsPrivate))
		s.later(x, st, func(ctx context.Context) error {
			s.writing.Lock()
			defer s.writing.Unlock()
			return s.changePrivate(ctx, local, name, value)
		})
		return
	}
	var b xmlstream.Builder
	b.Open("query", "xmlns", nsPrivate)
	if value := s.of(x.local).private[name]; x.local != "" && value != "" {
		b.Raw([]byte(value))
	} else {
		b.Empty(el.Name(), "xmlns", el.Space())
	}
	result(x, st, b.Close().Bytes())
}

// vcard is the session's own card (XEP-0054 sections 3.1 and 3.2).
func vcard(s *Service, x *session, st *stanza.Stanza) {
	el := st.Payload()
	if st.Type == stanza.TypeGet {
		answerVCard(s, x, st, x.local)
		return
	}
	value := el.AppendXML(nil, stanza.NSClient)
	switch {
	case x.local == "":
		s.answer(x, st, stanza.NotAllowed("an anonymous session has no card"))
		return
	case len(value) > s.opt.MaxStored:
		s.answer(x, st, stanza.ResourceConstraint(fmt.Sprintf("a card may have %d bytes", s.opt.MaxStored)))
		return
	}
	local := x.local
	s.later(x, st, func(ctx context.Context) error {
		s.writing.Lock()
		defer s.writing.Unlock()
		return s.opt.Store.Put(ctx, vcardKey+local, value)
	})
}

func otherVCard(s *Service, x *session, st *stanza.Stanza) {
	if !s.exists(st.To) {
		s.answer(x, st, stanza.ServiceUnavailable())
		return
	}
	answerVCard(s, x, st, st.To.Local())
}

func answerVCard(s *Service, x *session, st *stanza.Stanza, local string) {
	card := "<vCard xmlns='" + nsVCard + "'/>"
	if local != "" && s.of(local).vcard != "" {
		card = s.of(local).vcard
	}
	result(x, st, []byte(card))
}
