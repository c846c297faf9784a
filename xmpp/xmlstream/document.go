package xmlstream

// Document is a parsed element with all that is in it. It may be used again and again: once its arrays have grown and the
// names are known, parsing allocates nothing. A Document is for one goroutine at a time. The zero Document is ready.
type Document struct {
	Limits Limits

	raw   []byte
	ctx   *Context
	nodes []node // in the order of their start tags, so that what is in an element follows it
	attrs []attr
	arena []byte    // attribute values that are not as they were received
	binds []binding // prefixes declared where the parser is
	names map[string]string

	pos   int
	cur   int32 // the node that is open
	depth int
}

type node struct {
	space, name string
	def         string // the default namespace inside of the element
	start, open uint32 // raw[start:open] is the start tag
	close, end  uint32 // raw[close:end] is the end tag; both are open for an empty element
	qname       uint32 // where the name ends in raw
	attr, attrs uint32 // attrs[attr:attrs]
	parent      int32
	next        int32 // the node behind all that is in this one
	bind        int32 // the node that declares the prefix; noPrefix
	binds       int32 // prefixes that were declared outside
	defaultBy   int32 // the node that declares the default namespace; outside
}

type attr struct {
	space, name string // of a namespace declaration: SpaceXMLNS, and the prefix or "xmlns"
	qname       [2]uint32
	value       [2]uint32
	bind        int32
	inArena     bool
}

// noPrefix is in place of a node for names that have no prefix, or one that nobody need declare.
const noPrefix = -2

// What a Document holds from one Parse to the next: beyond it, memory is given back at the next one.
const (
	keepNodes = 1024
	keepArena = 16 << 10
	keepNames = 1024 // names that were learnt, each of at most maxName bytes
	maxName   = 128
)

// Parse parses one complete element, as Scanner.Next returns it or as a WebSocket message holds it (RFC 7395), with the
// declarations of the stream header; ctx is nil where there is no header. The Element and what it returns are valid until the
// next Parse, and as long as raw is unchanged. The error is an *Error.
func (d *Document) Parse(raw []byte, ctx *Context) (Element, error) {
	d.reset(raw, ctx)
	if err := d.parse(); err != nil {
		d.reset(nil, nil)
		return Element{}, err
	}
	return Element{d, 0}, nil
}

// ParseHeader parses the start tag of a stream, as Scanner.Next returns it with Open. The Context is what it declares, for
// Parse; it stays valid.
func (d *Document) ParseHeader(raw []byte) (Element, *Context, error) {
	d.reset(raw, nil)
	var err *Error
	if len(raw) > MaxHeader {
		err = errHeader
	} else {
		err = d.startTag()
	}
	if err == nil && (d.pos != len(raw) || d.cur != 0) {
		err = errTag
	}
	if err != nil {
		d.reset(nil, nil)
		return Element{}, nil, err
	}
	n := &d.nodes[0]
	n.close, n.end, n.next = n.open, n.open, 1
	ctx := &Context{def: n.def}
	for _, b := range d.binds {
		ctx.prefixes = append(ctx.prefixes, binding{b.prefix, b.space, outside})
	}
	for _, c := range common {
		if c.equal(ctx) {
			ctx = c
		}
	}
	return Element{d, 0}, ctx, nil
}

func (d *Document) reset(raw []byte, ctx *Context) {
	if cap(d.nodes) > keepNodes || cap(d.attrs) > keepNodes || cap(d.arena) > keepArena {
		d.nodes, d.attrs, d.arena = nil, nil, nil
	}
	d.raw, d.ctx, d.pos, d.cur, d.depth = raw, ctx, 0, -1, 0
	d.nodes, d.attrs, d.arena, d.binds = d.nodes[:0], d.attrs[:0], d.arena[:0], d.binds[:0]
}

// intern returns b as a string that shares memory with no input.
func (d *Document) intern(b []byte) string {
	if s, ok := known[string(b)]; ok {
		return s
	}
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(s) <= maxName {
		if len(d.names) >= keepNames {
			clear(d.names)
		}
		if d.names == nil {
			d.names = make(map[string]string)
		}
		d.names[s] = s
	}
	return s
}

// known are names, namespaces and values of attributes that nearly every stream has.
var known = func() map[string]string {
	m := make(map[string]string)
	for _, s := range []string{
		"", "xml", "xmlns", "stream", "db", SpaceXML, SpaceXMLNS, SpaceStream,
		"jabber:client", "jabber:server", "jabber:component:accept", "urn:ietf:params:xml:ns:xmpp-stanzas",
		"http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/pubsub#event", "http://jabber.org/protocol/pubsub#owner",
		"http://jabber.org/protocol/muc", "http://jabber.org/protocol/muc#user", "http://jabber.org/protocol/disco#info",
		"http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/caps", "http://jabber.org/protocol/rsm",
		"jabber:x:data", "jabber:iq:roster", "urn:xmpp:mam:2", "urn:xmpp:sm:3", "urn:xmpp:ping", "urn:xmpp:json:0", "urn:xmpp:sid:0",
		"http://www.w3.org/2005/Atom",
		"message", "presence", "iq", "error", "body", "subject", "thread", "query", "item", "items", "pubsub", "publish", "subscribe",
		"unsubscribe", "event", "x", "c", "r", "a", "field", "value", "json", "rc", "delay", "history", "status", "show", "priority",
		"entry", "title", "link", "id", "updated", "author", "name", "summary", "content", "ping", "set", "max", "after", "before",
		"type", "from", "to", "lang", "node", "jid", "ver", "hash", "ext", "h", "by", "stamp", "var", "label", "code", "affiliation", "role",
		"subscription", "publish-options", "href", "rel", "version",
		"get", "result", "chat", "groupchat", "headline", "normal", "unavailable", "available", "subscribed", "unsubscribed", "probe",
		"form", "submit", "cancel", "hidden", "cancel", "true", "false", "0", "1", "en",
	} {
		m[s] = s
	}
	return m
}()
