package xmlstream

import "unicode/utf8"

// Builder writes XML. Names are written as they are given: they are constants of the program, never input. Values and text
// are escaped. The zero Builder is empty.
type Builder struct {
	b    []byte
	open []string
}

// Open writes a start tag with pairs of the name and the value of an attribute, of which xmlns may be one.
func (b *Builder) Open(name string, attrs ...string) *Builder {
	b.b = AppendTag(b.b, name, attrs...)
	b.b = append(b.b, '>')
	b.open = append(b.open, name)
	return b
}

// Empty writes an empty element.
func (b *Builder) Empty(name string, attrs ...string) *Builder {
	b.b = AppendTag(b.b, name, attrs...)
	b.b = append(b.b, "/>"...)
	return b
}

// TextElement writes an element that holds text.
func (b *Builder) TextElement(name, text string, attrs ...string) *Builder {
	b.b = AppendTextElement(b.b, name, text, attrs...)
	return b
}

// Close writes the end tag of the element opened last that is not closed. It panics if there is none.
func (b *Builder) Close() *Builder {
	last := len(b.open) - 1
	b.end(b.open[last])
	b.open = b.open[:last]
	return b
}

// Text writes character data.
func (b *Builder) Text(s string) *Builder {
	b.b = AppendText(b.b, s)
	return b
}

// Raw writes XML as it is.
func (b *Builder) Raw(x []byte) *Builder {
	b.b = append(b.b, x...)
	return b
}

// Element writes a received element with Element.AppendXML; space is the default namespace where it is written.
func (b *Builder) Element(e Element, space string) *Builder {
	b.b = e.AppendXML(b.b, space)
	return b
}

// Bytes returns what was written. It is valid until the next call of another method.
func (b *Builder) Bytes() []byte { return b.b }

// Reset empties the Builder and keeps its memory.
func (b *Builder) Reset() { b.b, b.open = b.b[:0], b.open[:0] }

func (b *Builder) end(name string) {
	b.b = append(append(append(b.b, "</"...), name...), '>')
}

// AppendTag appends the beginning of a tag, up to what closes it, with pairs of the name and the value of an attribute.
func AppendTag(dst []byte, name string, attrs ...string) []byte {
	return AppendPairs(append(append(dst, '<'), name...), attrs...)
}

// AppendPairs appends attributes to a tag, given as pairs of name and value, each behind a space.
func AppendPairs(dst []byte, attrs ...string) []byte {
	for i := 0; i+1 < len(attrs); i += 2 {
		dst = append(append(append(dst, ' '), attrs[i]...), "='"...)
		dst = append(AppendAttr(dst, attrs[i+1]), '\'')
	}
	return dst
}

// AppendOptional is AppendPairs without the attributes that have an empty value.
func AppendOptional(dst []byte, attrs ...string) []byte {
	for i := 0; i+1 < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			dst = AppendPairs(dst, attrs[i:i+2]...)
		}
	}
	return dst
}

// AppendTextElement appends an element that holds text.
func AppendTextElement(dst []byte, name, text string, attrs ...string) []byte {
	dst = AppendText(append(AppendTag(dst, name, attrs...), '>'), text)
	return append(append(append(dst, "</"...), name...), '>')
}

// AppendText appends s as character data. Characters that XML 1.0 forbids and bytes that are not UTF-8 become U+FFFD.
func AppendText[T ~string | ~[]byte](dst []byte, s T) []byte { return escape(dst, s, false) }

// AppendAttr appends s as the inside of an attribute value in quotes of either kind. Characters that XML 1.0 forbids and
// bytes that are not UTF-8 become U+FFFD.
func AppendAttr[T ~string | ~[]byte](dst []byte, s T) []byte { return escape(dst, s, true) }

func escape[T ~string | ~[]byte](dst []byte, s T, attr bool) []byte {
	const replacement = "\ufffd"
	first := 0
	for i := 0; i < len(s); {
		c, n := s[i], 1
		var as string
		switch {
		case c == '&':
			as = "&amp;"
		case c == '<':
			as = "&lt;"
		case c == '>':
			as = "&gt;"
		case c == '\r': // a plain one would be taken for a line end
			as = "&#xD;"
		case attr && c == '\'':
			as = "&apos;"
		case attr && c == '"':
			as = "&quot;"
		case attr && c == '\t':
			as = "&#x9;"
		case attr && c == '\n':
			as = "&#xA;"
		case c < ' ' && c != '\t' && c != '\n':
			as = replacement
		case c >= utf8.RuneSelf:
			var r rune
			end := min(len(s), i+utf8.UTFMax)
			if r, n = utf8.DecodeRuneInString(string(s[i:end])); r == utf8.RuneError && n == 1 || !isChar(r) {
				as = replacement
			}
		}
		if as != "" {
			dst = append(append(dst, s[first:i]...), as...)
			first = i + n
		}
		i += n
	}
	return append(dst, s[first:]...)
}
