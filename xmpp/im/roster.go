package im

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

const nsRoster = "jabber:iq:roster"

// Bounds of a roster item (RFC 6121 section 2.1.2), in bytes and in number.
const (
	maxName   = 1023
	maxGroups = 32
)

// rosterIQ is the request of the roster and its change (RFC 6121 section 2).
func rosterIQ(s *Service, x *session, st *stanza.Stanza) {
	query := st.Payload()
	if st.Type == stanza.TypeSet {
		s.rosterSet(x, st, query)
		return
	}
	x.interested = true
	r := s.of(x.local).roster
	if x.local == "" {
		r = nil
	}
	if r == nil {
		r = &roster{}
	}
	ver := strconv.FormatUint(r.Ver, 10)
	if query.HasAttr("ver") && query.Attr("ver") == ver {
		result(x, st, nil)
		return
	}
	var b xmlstream.Builder
	b.Open("query", "xmlns", nsRoster, "ver", ver)
	for i := range r.Items {
		if !r.Items[i].Hidden {
			appendContact(&b, &r.Items[i])
		}
	}
	b.Close()
	result(x, st, b.Bytes())
}

func appendContact(b *xmlstream.Builder, c *contact) {
	attrs := []string{"jid", c.JID, "subscription", c.subscription()}
	if c.Name != "" {
		attrs = append(attrs, "name", c.Name)
	}
	if c.Ask {
		attrs = append(attrs, "ask", "subscribe")
	}
	b.Open("item", attrs...)
	for _, g := range c.Groups {
		b.TextElement("group", g)
	}
	b.Close()
}

// rosterSet adds, changes or removes one contact (RFC 6121 sections 2.3 to 2.5).
func (s *Service) rosterSet(x *session, st *stanza.Stanza, query xmlstream.Element) {
	item := query.Child(nsRoster, "item")
	if item.IsZero() || !item.Next().IsZero() {
		s.answer(x, st, stanza.BadRequest("a roster set has one item"))
		return
	}
	address, err := jid.Parse(item.Attr("jid"))
	if err != nil {
		s.answer(x, st, stanza.JIDMalformed())
		return
	}
	address = address.Bare()
	switch {
	case x.local == "":
		s.answer(x, st, stanza.NotAllowed("an anonymous session has no roster"))
		return
	case address == x.bare:
		s.answer(x, st, stanza.NotAllowed("nobody is a contact of his own"))
		return
	}
	if item.Attr("subscription") == "remove" {
		s.removeContact(x, st, address)
		return
	}
	name := item.Attr("name")
	var groups []string
	for g := range item.Children() {
		if !g.Is(nsRoster, "group") {
			continue
		}
		t := g.Text()
		if t == "" || len(t) > maxName || len(groups) == maxGroups {
			s.answer(x, st, stanza.NotAcceptable("the name of a group is empty or too long, or there are too many groups"))
			return
		}
		if slices.Contains(groups, t) {
			s.answer(x, st, stanza.BadRequest("a group is named twice"))
			return
		}
		groups = append(groups, t)
	}
	if len(name) > maxName {
		s.answer(x, st, stanza.NotAcceptable(fmt.Sprintf("a name may have %d bytes", maxName)))
		return
	}
	local := x.local
	s.later(x, st, func(ctx context.Context) error {
		s.writing.Lock()
		defer s.writing.Unlock()
		return s.changeRoster(ctx, local, func(r *roster) error {
			c := r.contactFor(address)
			c.Name, c.Groups, c.Hidden = name, groups, false
			return nil
		})
	})
}

// removeContact removes a contact, and the subscriptions in both directions (RFC 6121 section 2.5.1).
func (s *Service) removeContact(x *session, st *stanza.Stanza, address jid.JID) {
	if i := s.of(x.local).roster.find(address); i < 0 || s.of(x.local).roster.Items[i].Hidden {
		s.answer(x, st, stanza.ItemNotFound())
		return
	}
	local, own := x.local, x.bare
	s.later(x, st, func(ctx context.Context) error {
		s.writing.Lock()
		defer s.writing.Unlock()
		s.mu.Lock()
		c := s.of(local).roster.get(address)
		s.mu.Unlock()
		if err := s.changeRoster(ctx, local, func(r *roster) error {
			r.Items = slices.DeleteFunc(r.Items, func(c contact) bool { return c.address == address })
			return nil
		}); err != nil {
			return err
		}
		if c.To || c.Ask {
			if err := s.unsubscribed(ctx, own, address, stanza.TypeUnsubscribe); err != nil {
				return err
			}
		}
		if c.From {
			return s.unsubscribed(ctx, own, address, stanza.TypeUnsubscribed)
		}
		return nil
	})
}

// pushRoster tells the account's sessions what has changed (RFC 6121 section 2.1.6). The caller holds mu.
func (s *Service) pushRoster(local string, old, next *roster) {
	bare, err := jid.New(local, s.domain.Domain(), "")
	if err != nil || len(s.users[bare]) == 0 {
		return
	}
	push := func(c *contact, removed bool) {
		var b xmlstream.Builder
		b.Open("query", "xmlns", nsRoster, "ver", strconv.FormatUint(next.Ver, 10))
		if removed {
			b.Empty("item", "jid", c.JID, "subscription", "remove")
		} else {
			appendContact(&b, c)
		}
		b.Close()
		for _, x := range s.users[bare] {
			if x.interested {
				x.push(bare, b.Bytes())
			}
		}
	}
	for i := range next.Items {
		c := &next.Items[i]
		was := old.get(c.address)
		switch {
		case c.Hidden && (was.JID == "" || was.Hidden):
		case c.Hidden:
			push(c, true)
		case was.JID == "" || was.Hidden || !was.equal(c):
			push(c, false)
		}
	}
	if old != nil {
		for i := range old.Items {
			if c := &old.Items[i]; !c.Hidden && next.find(c.address) < 0 {
				push(c, true)
			}
		}
	}
}

// push sends a session an IQ that asks for nothing: what it answers is not looked at.
func (x *session) push(from jid.JID, payload []byte) {
	b := stanza.AppendStart(nil, stanza.IQ, stanza.TypeSet, "push-"+stream.NewID(), from, x.jid)
	x.peer.Send(stanza.AppendEnd(append(b, payload...), stanza.IQ))
}
