package muc

import (
	"strconv"

	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

// Item says who an occupant is in a room (XEP-0045 section 15.5.2), or what an administrator makes of one.
type Item struct {
	Affiliation string
	Role        string
	JID         jid.JID // where the receiver may know it
	Nick        string  // the new one of a change
	ActorNick   string  // who did it
	ActorJID    jid.JID
	Reason      string
}

func (it *Item) append(dst []byte) []byte {
	dst = append(dst, "<item"...)
	dst = xmlstream.AppendOptional(dst, "affiliation", it.Affiliation, "role", it.Role, "jid", it.JID.String(), "nick", it.Nick)
	actor := it.ActorNick != "" || !it.ActorJID.IsZero()
	if !actor && it.Reason == "" {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	if actor {
		dst = append(dst, "<actor"...)
		dst = xmlstream.AppendOptional(dst, "jid", it.ActorJID.String(), "nick", it.ActorNick)
		dst = append(dst, "/>"...)
	}
	if it.Reason != "" {
		dst = append(dst, "<reason>"...)
		dst = xmlstream.AppendText(dst, it.Reason)
		dst = append(dst, "</reason>"...)
	}
	return append(dst, "</item>"...)
}

func parseItem(el xmlstream.Element) Item {
	it := Item{Affiliation: el.Attr("affiliation"), Role: el.Attr("role"), Nick: el.Attr("nick")}
	it.JID = address(el.Attr("jid"))
	space := el.Space()
	actor := el.Child(space, "actor")
	if !actor.IsZero() {
		it.ActorNick, it.ActorJID = actor.Attr("nick"), address(actor.Attr("jid"))
	}
	it.Reason = el.Child(space, "reason").Text()
	return it
}

// address returns the zero JID for a text that is none.
func address(s string) jid.JID {
	if s == "" {
		return jid.JID{}
	}
	j, err := jid.Parse(s)
	if err != nil {
		return jid.JID{}
	}
	return j
}

// AppendUser appends the element x in the namespace NSUser: an item, if it is not nil, and status codes in the order given.
func AppendUser(dst []byte, it *Item, codes ...int) []byte {
	dst = append(dst, "<x xmlns='"+NSUser+"'>"...)
	if it != nil {
		dst = it.append(dst)
	}
	for _, c := range codes {
		dst = append(dst, "<status code='"...)
		dst = strconv.AppendInt(dst, int64(c), 10)
		dst = append(dst, "'/>"...)
	}
	return append(dst, "</x>"...)
}

// AppendDestroyed appends the element x of the presence with which a room that is destroyed takes leave (XEP-0045 section
// 10.9). alternate and reason may be empty.
func AppendDestroyed(dst []byte, alternate jid.JID, reason string) []byte {
	dst = append(dst, "<x xmlns='"+NSUser+"'><item affiliation='none' role='none'/><destroy"...)
	dst = xmlstream.AppendOptional(dst, "jid", alternate.String())
	dst = append(dst, '>')
	if reason != "" {
		dst = append(dst, "<reason>"...)
		dst = xmlstream.AppendText(dst, reason)
		dst = append(dst, "</reason>"...)
	}
	return append(dst, "</destroy></x>"...)
}

// User is what a room says in the element x in the namespace NSUser.
type User struct {
	Item      Item // zero if there is none
	Status    []int
	Destroyed bool
	Alternate jid.JID // of a destroyed room
	Reason    string  // the same
}

// Has reports whether the status code was given.
func (u *User) Has(code int) bool {
	for _, c := range u.Status {
		if c == code {
			return true
		}
	}
	return false
}

// FindUser reads the element x in the namespace NSUser among a stanza's children; ok is false if there is none.
func FindUser(parent xmlstream.Element) (u User, ok bool) {
	x := parent.Child(NSUser, "x")
	if x.IsZero() {
		return u, false
	}
	for c := range x.Children() {
		switch {
		case c.Is(NSUser, "item") && u.Item == (Item{}):
			u.Item = parseItem(c)
		case c.Is(NSUser, "status"):
			if n := bound(c.Attr("code")); n >= 0 {
				u.Status = append(u.Status, n)
			}
		case c.Is(NSUser, "destroy"):
			u.Destroyed = true
			u.Alternate, u.Reason = address(c.Attr("jid")), c.Child(NSUser, "reason").Text()
		}
	}
	return u, true
}

// ParseItems reads the items of a query in the namespace NSAdmin (XEP-0045 section 9).
func ParseItems(query xmlstream.Element) (items []Item) {
	for c := range query.Children() {
		if c.Is(NSAdmin, "item") {
			items = append(items, parseItem(c))
		}
	}
	return items
}

// AppendItems appends a query element in the namespace NSAdmin with items.
func AppendItems(dst []byte, items []Item) []byte {
	dst = append(dst, "<query xmlns='"+NSAdmin+"'>"...)
	for i := range items {
		dst = items[i].append(dst)
	}
	return append(dst, "</query>"...)
}
