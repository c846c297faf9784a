package xmlstream

import (
	"bytes"
	"unicode/utf8"
)

// parse parses the whole of raw: one element, with nothing but whitespace around it.
func (d *Document) parse() *Error {
	if len(d.raw) > d.Limits.stanza() {
		return d.Limits.errStanza()
	}
	d.skipSpace()
	if d.pos == len(d.raw) {
		return malformed("no element")
	}
	for {
		if d.raw[d.pos] != '<' {
			return malformed("text outside of the element")
		}
		if d.pos+1 == len(d.raw) {
			return errCut
		}
		var err *Error
		switch d.raw[d.pos+1] {
		case '/':
			err = d.endTag()
		case '!':
			err = d.section()
		case '?':
			err = restricted("processing instruction")
		default:
			err = d.startTag()
		}
		if err != nil {
			return err
		}
		if d.cur < 0 {
			break
		}
		if err := d.text(); err != nil {
			return err
		}
	}
	d.skipSpace()
	if d.pos < len(d.raw) {
		return malformed("something behind the element")
	}
	return nil
}

// skipSpace reports whether there was whitespace.
func (d *Document) skipSpace() bool {
	i := d.pos
	for i < len(d.raw) && class[d.raw[i]]&space != 0 {
		i++
	}
	moved := i > d.pos
	d.pos = i
	return moved
}

// text checks character data up to the next <.
func (d *Document) text() *Error {
	raw, i := d.raw, d.pos
	for i < len(raw) {
		c := raw[i]
		if class[c]&plainText != 0 {
			i++
			continue
		}
		switch {
		case c == '<':
			d.pos = i
			return nil
		case c == '&':
			_, n, err := reference(raw[i:])
			if err != nil {
				return err
			}
			i += n
		case c == ']':
			if i+2 < len(raw) && raw[i+1] == ']' && raw[i+2] == '>' {
				return malformed("]]> in text")
			}
			i++
		default:
			n, err := char(raw[i:])
			if err != nil {
				return err
			}
			i += n
		}
	}
	return errCut
}

// char checks the character that b begins with, which is a control character or outside ASCII.
func char(b []byte) (n int, err *Error) {
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n <= 1 {
		return 0, errUTF8
	}
	if !isChar(r) {
		return 0, errChar
	}
	return n, nil
}

// section checks a CDATA section.
func (d *Document) section() *Error {
	rest := d.raw[d.pos:]
	switch {
	case bytes.HasPrefix(rest, []byte("<!-")):
		return restricted("comment")
	case bytes.HasPrefix(rest, []byte("<!D")):
		return restricted("document type declaration")
	case !bytes.HasPrefix(rest, []byte(cdataOpen)):
		return malformed("a <! that begins nothing")
	case d.cur < 0:
		return malformed("text outside of the element")
	}
	n := bytes.Index(rest, []byte("]]>"))
	if n < 0 {
		return errCut
	}
	for i := len(cdataOpen); i < n; {
		if rest[i] < utf8.RuneSelf && class[rest[i]]&plainText != 0 || rest[i] == '<' || rest[i] == '&' || rest[i] == ']' {
			i++
			continue
		}
		size, err := char(rest[i:n])
		if err != nil {
			return err
		}
		i += size
	}
	d.pos += n + 3
	return nil
}

func (d *Document) endTag() *Error {
	if d.cur < 0 {
		return errEndTag
	}
	n := &d.nodes[d.cur]
	n.close = uint32(d.pos)
	name := d.raw[n.start+1 : n.qname]
	d.pos += 2
	if !bytes.HasPrefix(d.raw[d.pos:], name) {
		return errEndTag
	}
	d.pos += len(name)
	d.skipSpace()
	if d.pos == len(d.raw) || d.raw[d.pos] != '>' {
		return errEndTag
	}
	d.pos++
	d.leave(n)
	return nil
}

// leave closes the open node, which ends at pos.
func (d *Document) leave(n *node) {
	n.end, n.next = uint32(d.pos), int32(len(d.nodes))
	d.binds = d.binds[:n.binds]
	d.cur = n.parent
	d.depth--
}

// startTag parses a start tag or an empty element and resolves its namespaces.
func (d *Document) startTag() *Error {
	if d.depth++; d.depth > d.Limits.depth() {
		return d.Limits.errDepth()
	}
	if len(d.nodes) >= d.Limits.elements() {
		return d.Limits.errElements()
	}
	i := int32(len(d.nodes))
	d.nodes = append(d.nodes, node{
		start: uint32(d.pos), attr: uint32(len(d.attrs)), parent: d.cur, binds: int32(len(d.binds)), def: d.ctx.Default(),
		defaultBy: outside,
	})
	n := &d.nodes[i]
	if d.cur >= 0 {
		n.def, n.defaultBy = d.nodes[d.cur].def, d.nodes[d.cur].defaultBy
	}
	if d.pos >= len(d.raw) || d.raw[d.pos] != '<' {
		return errTag
	}
	d.pos++
	prefix, local, err := d.name()
	if err != nil {
		return err
	}
	n.qname = uint32(d.pos)
	empty, err := d.attributes(n, i)
	if err != nil {
		return err
	}
	n.attrs, n.open = uint32(len(d.attrs)), uint32(d.pos)
	if err := d.resolve(n, prefix, local); err != nil {
		return err
	}
	if d.cur = i; empty {
		n.close = n.open
		d.leave(n)
	}
	return nil
}

// name parses a qualified name.
func (d *Document) name() (prefix, local []byte, err *Error) {
	rest := d.raw[d.pos:]
	n := ncName(rest)
	local = rest[:n]
	if n > 0 && n < len(rest) && rest[n] == ':' {
		m := ncName(rest[n+1:])
		prefix, local = local, rest[n+1:n+1+m]
		n += 1 + m
	}
	if len(local) == 0 {
		return nil, nil, malformed("a name that is not right")
	}
	if n > d.Limits.name() {
		return nil, nil, d.Limits.errName()
	}
	d.pos += n
	return prefix, local, nil
}

// attributes parses all up to the end of the start tag, and takes the declarations among it.
func (d *Document) attributes(n *node, index int32) (empty bool, err *Error) {
	for count := 0; ; {
		separated := d.skipSpace()
		if d.pos == len(d.raw) {
			return false, errCut
		}
		switch d.raw[d.pos] {
		case '>':
			d.pos++
			return false, nil
		case '/':
			if d.pos+1 == len(d.raw) || d.raw[d.pos+1] != '>' {
				return false, malformed("a / inside a start tag")
			}
			d.pos += 2
			return true, nil
		}
		if !separated {
			return false, errTag
		}
		if count++; count > d.Limits.attrs() {
			return false, d.Limits.errAttrs()
		}
		a := attr{bind: noPrefix}
		a.qname[0] = uint32(d.pos)
		prefix, local, err := d.name()
		if err != nil {
			return false, err
		}
		a.qname[1] = uint32(d.pos)
		d.skipSpace()
		if d.pos == len(d.raw) || d.raw[d.pos] != '=' {
			return false, malformed("an attribute without a value")
		}
		d.pos++
		d.skipSpace()
		if err := d.value(&a); err != nil {
			return false, err
		}
		a.name = d.intern(local)
		if isDecl := len(prefix) == 0 && a.name == "xmlns" || string(prefix) == "xmlns"; isDecl {
			if err := d.declare(n, index, &a, len(prefix) > 0); err != nil {
				return false, err
			}
		}
		d.attrs = append(d.attrs, a)
	}
}

// value parses an attribute value with its quotes. It is normalised (XML 1.0 section 3.3.3): references are replaced, and
// each of tab and line end is a blank. Where nothing changes it stays where it was received.
func (d *Document) value(a *attr) *Error {
	raw := d.raw
	if d.pos == len(raw) || raw[d.pos] != '\'' && raw[d.pos] != '"' {
		return malformed("an attribute value without quotes")
	}
	quote := raw[d.pos]
	d.pos++
	first, i := d.pos, d.pos
	for i < len(raw) {
		c := raw[i]
		if class[c]&plainAttr != 0 {
			i++
			continue
		}
		var n int
		var r rune
		var err *Error
		switch {
		case c == quote:
			d.pos = i + 1
			if a.inArena {
				d.arena = append(d.arena, raw[first:i]...)
				a.value[1] = uint32(len(d.arena))
			} else {
				a.value = [2]uint32{uint32(first), uint32(i)}
			}
			return nil
		case c == '<':
			return errLTInValue
		case c == '\'' || c == '"':
			i++
			continue
		case c == '&':
			r, n, err = reference(raw[i:])
		case c == '\t' || c == '\n':
			r, n = ' ', 1
		case c == '\r':
			r, n = ' ', 1
			if i+1 < len(raw) && raw[i+1] == '\n' {
				n = 2
			}
		default:
			if n, err = char(raw[i:]); err == nil {
				i += n
				continue
			}
		}
		if err != nil {
			return err
		}
		if !a.inArena {
			a.inArena, a.value[0] = true, uint32(len(d.arena))
		}
		d.arena = utf8.AppendRune(append(d.arena, raw[first:i]...), r)
		i += n
		first = i
	}
	return errCut
}

func (d *Document) valueOf(a *attr) []byte {
	if a.inArena {
		return d.arena[a.value[0]:a.value[1]:a.value[1]]
	}
	return d.raw[a.value[0]:a.value[1]:a.value[1]]
}
