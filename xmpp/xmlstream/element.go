package xmlstream

import (
	"bytes"
	"iter"
	"unicode/utf8"
)

// Element is an element of a Document. It is a small value, valid until the Document parses again. The zero Element is none:
// it has no name, no attributes and no children, so that calls may be chained.
type Element struct {
	d *Document
	i int32
}

func (e Element) node() *node { return &e.d.nodes[e.i] }

// IsZero reports whether this is no element.
func (e Element) IsZero() bool { return e.d == nil }

// Name returns the local name.
func (e Element) Name() string {
	if e.d == nil {
		return ""
	}
	return e.node().name
}

// Space returns the namespace; "" for none.
func (e Element) Space() string {
	if e.d == nil {
		return ""
	}
	return e.node().space
}

// Is reports whether the element has the namespace and the local name.
func (e Element) Is(space, name string) bool {
	return e.d != nil && e.node().name == name && e.node().space == space
}

func (e Element) attr(space, name string) *attr {
	if e.d == nil {
		return nil
	}
	attrs := e.d.attrs[e.node().attr:e.node().attrs]
	for i := range attrs {
		if attrs[i].name == name && attrs[i].space == space {
			return &attrs[i]
		}
	}
	return nil
}

// Attr returns the value of the attribute without a namespace; "" if it is not there.
func (e Element) Attr(name string) string { return e.AttrNS("", name) }

// AttrNS returns the value of the attribute with the namespace, as SpaceXML and lang; "" if it is not there.
func (e Element) AttrNS(space, name string) string {
	a := e.attr(space, name)
	if a == nil {
		return ""
	}
	b := e.d.valueOf(a)
	if s, ok := known[string(b)]; ok { // get, set, groupchat: most values of type are
		return s
	}
	return string(b)
}

// AttrBytes returns the value of the attribute without a namespace, nil if it is not there. It must not be changed, and is
// valid as long as the Element.
func (e Element) AttrBytes(name string) []byte {
	if a := e.attr("", name); a != nil {
		return e.d.valueOf(a)
	}
	return nil
}

// HasAttr reports whether the attribute without a namespace is there.
func (e Element) HasAttr(name string) bool { return e.attr("", name) != nil }

// Attr is one attribute.
type Attr struct{ Space, Name, Value string }

// Attrs returns the attributes in the order in which they were received, without namespace declarations.
func (e Element) Attrs() iter.Seq[Attr] {
	return func(yield func(Attr) bool) {
		if e.d == nil {
			return
		}
		attrs := e.d.attrs[e.node().attr:e.node().attrs]
		for i := range attrs {
			if a := &attrs[i]; a.space != SpaceXMLNS && !yield(Attr{a.space, a.name, string(e.d.valueOf(a))}) {
				return
			}
		}
	}
}

// First returns the first child element.
func (e Element) First() Element {
	if e.d == nil || e.node().next == e.i+1 {
		return Element{}
	}
	return Element{e.d, e.i + 1}
}

// Next returns the element behind this one in the same parent.
func (e Element) Next() Element {
	if e.d == nil || e.i == 0 || e.node().next == e.d.nodes[e.node().parent].next {
		return Element{}
	}
	return Element{e.d, e.node().next}
}

// Parent returns the element that this one is in; none for the one that was parsed.
func (e Element) Parent() Element {
	if e.d == nil || e.i == 0 {
		return Element{}
	}
	return Element{e.d, e.node().parent}
}

// Children returns the child elements.
func (e Element) Children() iter.Seq[Element] {
	return func(yield func(Element) bool) {
		for c := e.First(); !c.IsZero(); c = c.Next() {
			if !yield(c) {
				return
			}
		}
	}
}

// Child returns the first child element with the namespace and the local name.
func (e Element) Child(space, name string) Element {
	for c := e.First(); !c.IsZero(); c = c.Next() {
		if c.Is(space, name) {
			return c
		}
	}
	return Element{}
}

// Text returns all character data directly in the element, without that of its children.
func (e Element) Text() string {
	if e.d == nil {
		return ""
	}
	n := e.node()
	if inner := e.d.raw[n.open:n.close]; n.next == e.i+1 && bytes.IndexByte(inner, '&') < 0 &&
		bytes.IndexByte(inner, '<') < 0 && bytes.IndexByte(inner, '\r') < 0 {
		return string(inner)
	}
	return string(e.AppendText(nil))
}

// AppendText appends what Text returns.
func (e Element) AppendText(dst []byte) []byte {
	if e.d == nil {
		return dst
	}
	from := e.node().open
	for c := e.First(); !c.IsZero(); c = c.Next() {
		dst = appendData(dst, e.d.raw[from:c.node().start])
		from = c.node().end
	}
	return appendData(dst, e.d.raw[from:e.node().close])
}

// appendData appends what checked character data with CDATA sections means.
func appendData(dst, b []byte) []byte {
	for {
		i := bytes.IndexAny(b, "<&\r")
		if i < 0 {
			return append(dst, b...)
		}
		dst, b = append(dst, b[:i]...), b[i:]
		switch b[0] {
		case '&':
			r, n, err := reference(b)
			if err != nil { // Parse has refused it
				return dst
			}
			dst, b = utf8.AppendRune(dst, r), b[n:]
		case '\r':
			dst, b = lineEnd(dst, b)
		case '<':
			n := bytes.Index(b, []byte("]]>"))
			section := b[len(cdataOpen):n]
			b = b[n+3:]
			for i := bytes.IndexByte(section, '\r'); i >= 0; i = bytes.IndexByte(section, '\r') {
				dst, section = lineEnd(append(dst, section[:i]...), section[i:])
			}
			dst = append(dst, section...)
		}
	}
}

// lineEnd takes the line end that b begins with (XML 1.0 section 2.11).
func lineEnd(dst, b []byte) (_, rest []byte) {
	b = b[1:]
	if len(b) > 0 && b[0] == '\n' {
		b = b[1:]
	}
	return append(dst, '\n'), b
}

// Raw returns the element as it was received. Its prefixes and its namespace may have been declared outside of it.
func (e Element) Raw() []byte {
	if e.d == nil {
		return nil
	}
	n := e.node()
	return e.d.raw[n.start:n.end:n.end]
}

// AppendXML appends the element as it was received, with declarations in its start tag of all that it uses and that was
// declared outside of it: so it means the same inside a parent whose default namespace is space. Prefixes that are used only
// in text or in attribute values are not seen, and an xml:lang that it inherits is not added.
func (e Element) AppendXML(dst []byte, space string) []byte {
	if e.d == nil {
		return dst
	}
	d, n := e.d, e.node()
	dst = append(dst, d.raw[n.start:n.qname]...)
	d.binds = d.binds[:0] // what was declared here; Parse has left it empty
	byDefault := n.def == space
	for i := e.i; i < n.next; i++ {
		m := &d.nodes[i]
		switch {
		case m.bind == noPrefix && m.defaultBy < e.i && !byDefault:
			if byDefault = m.qname-m.start-1 == uint32(len(m.name)); byDefault { // and not of the prefix xml
				dst = append(AppendAttr(append(dst, " xmlns='"...), n.def), '\'')
			}
		case m.bind < e.i && m.bind != noPrefix:
			dst = d.appendPrefix(dst, d.raw[m.start+1:m.qname], m.name, m.space)
		}
		attrs := d.attrs[m.attr:m.attrs]
		for j := range attrs {
			if a := &attrs[j]; a.bind < e.i && a.bind != noPrefix {
				dst = d.appendPrefix(dst, d.raw[a.qname[0]:a.qname[1]], a.name, a.space)
			}
		}
	}
	return append(dst, d.raw[n.qname:n.end]...)
}

// appendPrefix appends the declaration of the prefix of a name unless that was done.
func (d *Document) appendPrefix(dst, qname []byte, local, uri string) []byte {
	prefix := qname[:len(qname)-len(local)-1]
	for _, b := range d.binds {
		if b.prefix == string(prefix) {
			return dst
		}
	}
	d.binds = append(d.binds, binding{d.intern(prefix), uri, 0})
	dst = append(append(append(dst, " xmlns:"...), prefix...), "='"...)
	return append(AppendAttr(dst, uri), '\'')
}
