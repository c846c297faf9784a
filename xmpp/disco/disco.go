// Package disco reads and writes service discovery (XEP-0030) and entity capabilities (XEP-0115).
package disco

import (
	"tidings/xmpp/dataform"
	"tidings/xmpp/jid"
	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// Namespaces.
const (
	NSInfo  = "http://jabber.org/protocol/disco#info"
	NSItems = "http://jabber.org/protocol/disco#items"
	NSCaps  = "http://jabber.org/protocol/caps"
)

// Identity says what an entity is (XEP-0030 section 3.1).
type Identity struct {
	Category, Type string // of the registry, such as conference and text
	Lang, Name     string // may be empty
}

// Info is the answer to a query for information.
type Info struct {
	Node       string
	Identities []Identity
	Features   []string
	Forms      []*dataform.Form // extensions (XEP-0128)
}

// Has reports whether the entity has the feature.
func (i *Info) Has(feature string) bool {
	for _, f := range i.Features {
		if f == feature {
			return true
		}
	}
	return false
}

// Append appends the query element of the answer.
func (i *Info) Append(dst []byte) []byte {
	dst = append(dst, "<query xmlns='"+NSInfo+"'"...)
	dst = xmlstream.AppendOptional(dst, "node", i.Node)
	dst = append(dst, '>')
	for _, id := range i.Identities {
		dst = append(dst, "<identity"...)
		dst = xmlstream.AppendOptional(dst, "category", id.Category, "type", id.Type, "name", id.Name, "xml:lang", id.Lang)
		dst = append(dst, "/>"...)
	}
	for _, f := range i.Features {
		dst = append(dst, "<feature"...)
		dst = xmlstream.AppendOptional(dst, "var", f)
		dst = append(dst, "/>"...)
	}
	for _, f := range i.Forms {
		dst = f.Append(dst)
	}
	return append(dst, "</query>"...)
}

// AppendInfoQuery appends the query element that asks for information; node may be empty.
func AppendInfoQuery(dst []byte, node string) []byte {
	return append(xmlstream.AppendOptional(append(dst, "<query xmlns='"+NSInfo+"'"...), "node", node), "/>"...)
}

// AppendItemsQuery appends the query element that asks for items; node may be empty.
func AppendItemsQuery(dst []byte, node string) []byte {
	return append(xmlstream.AppendOptional(append(dst, "<query xmlns='"+NSItems+"'"...), "node", node), "/>"...)
}

// ParseInfo reads the query element of an answer. The error is a *stanza.Error, bad-request, for another element and for a
// form that cannot be read.
func ParseInfo(query xmlstream.Element) (*Info, error) {
	if !query.Is(NSInfo, "query") {
		return nil, stanza.BadRequest("the information is missing")
	}
	i := &Info{Node: query.Attr("node")}
	for c := range query.Children() {
		switch {
		case c.Is(NSInfo, "identity"):
			i.Identities = append(i.Identities, Identity{Category: c.Attr("category"), Type: c.Attr("type"), Lang: c.AttrNS(xmlstream.SpaceXML, "lang"), Name: c.Attr("name")})
		case c.Is(NSInfo, "feature"):
			i.Features = append(i.Features, c.Attr("var"))
		case c.Is(dataform.NS, "x"):
			f, err := dataform.Parse(c)
			if err != nil {
				return nil, err
			}
			i.Forms = append(i.Forms, f)
		}
	}
	return i, nil
}

// Item is an entity, or a node of one, that belongs to another (XEP-0030 section 4).
type Item struct {
	JID        jid.JID
	Node, Name string // may be empty
}

// AppendItems appends the query element of the answer that lists items. What end appends, such as the set of a page
// (XEP-0059), comes behind them; it may be nil.
func AppendItems(dst []byte, node string, items []Item, end func([]byte) []byte) []byte {
	dst = append(dst, "<query xmlns='"+NSItems+"'"...)
	dst = xmlstream.AppendOptional(dst, "node", node)
	dst = append(dst, '>')
	for _, it := range items {
		dst = append(dst, "<item"...)
		dst = xmlstream.AppendOptional(dst, "jid", it.JID.String(), "node", it.Node, "name", it.Name)
		dst = append(dst, "/>"...)
	}
	if end != nil {
		dst = end(dst)
	}
	return append(dst, "</query>"...)
}

// ParseItems reads the query element of an answer; items whose address is none are left out. The error is a *stanza.Error,
// bad-request, for another element.
func ParseItems(query xmlstream.Element) (items []Item, err error) {
	if !query.Is(NSItems, "query") {
		return nil, stanza.BadRequest("the items are missing")
	}
	for c := range query.Children() {
		if !c.Is(NSItems, "item") {
			continue
		}
		j, err := jid.Parse(c.Attr("jid"))
		if err != nil {
			continue
		}
		items = append(items, Item{JID: j, Node: c.Attr("node"), Name: c.Attr("name")})
	}
	return items, nil
}
