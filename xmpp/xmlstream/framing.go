package xmlstream

import "bytes"

// state is where a Scanner is in a token.
type state uint8

const (
	inText     state = iota // outside of tags
	afterLT                 // <
	inTag                   // in a start tag, outside of values
	inValue                 // in an attribute value
	afterSlash              // <a/
	inEndTag                // </
	afterBang               // <! of what can only be a CDATA section
	inCDATA                 // behind <![CDATA[
	inDecl                  // <?
	afterEnd                // the stream has ended
)

const cdataOpen = "<![CDATA["

// between skips whitespace and begins a token.
func (s *Scanner) between() *Error {
	for s.pos < len(s.p) {
		switch c := s.p[s.pos]; {
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
			s.decl = true
			s.pos++
		case s.state == afterEnd:
			return malformed("something behind the end of the stream")
		case c == '<':
			s.state, s.inToken, s.start = afterLT, true, s.pos
			s.pos++
			return nil
		case s.depth > 0:
			return &Error{BadFormat, "text between stanzas"}
		case c == 0xfe || c == 0xff || c == 0:
			return &Error{UnsupportedEncoding, "the stream is not in UTF-8"}
		default:
			return malformed("text before the stream header")
		}
	}
	return nil
}

// step reads on in the token until something changes; done says that it is complete.
func (s *Scanner) step() (done bool, err *Error) {
	p, i := s.p, s.pos
	switch s.state {
	case inText:
		n := bytes.IndexByte(p[i:], '<')
		if n < 0 {
			s.pos = len(p)
			return false, nil
		}
		s.pos, s.state = i+n+1, afterLT
	case afterLT:
		s.pos++
		return false, s.begin(p[i])
	case inTag:
		return s.tag()
	case inValue:
		n := bytes.IndexByte(p[i:], s.quote)
		end := i + n
		if n < 0 {
			end = len(p)
		} else {
			s.state = inTag
		}
		if bytes.IndexByte(p[i:end], '<') >= 0 {
			return false, errLTInValue
		}
		s.pos = end
		if n >= 0 {
			s.pos++
		}
	case afterSlash:
		if p[i] != '>' {
			return false, malformed("a / inside a start tag")
		}
		s.pos++
		s.state = inText
		return s.depth <= 1, nil
	case inEndTag:
		n := bytes.IndexByte(p[i:], '>')
		if n < 0 {
			s.pos = len(p)
			return false, nil
		}
		s.pos = i + n + 1
		s.state = inText
		s.depth--
		return s.depth <= 1, nil
	case afterBang:
		return false, s.bang()
	case inCDATA:
		s.cdata()
	case inDecl:
		return s.declaration()
	}
	return false, nil
}

// begin looks at the byte behind a <.
func (s *Scanner) begin(c byte) *Error {
	switch {
	case c == '/':
		s.state = inEndTag
		if s.depth == 0 {
			return malformed("an end tag before the stream header")
		}
	case c == '!':
		s.state, s.match = afterBang, 2
	case c == '?':
		if s.decl {
			return restricted("processing instruction")
		}
		s.state, s.match = inDecl, 0
	case c >= 0x80 || class[c]&nameStart != 0:
		if int(s.depth) > s.Limits.depth() {
			return s.Limits.errDepth()
		}
		if s.count++; int(s.count) > s.Limits.elements() {
			return s.Limits.errElements()
		}
		s.state, s.attrs, s.name = inTag, 0, 1
	case c == 0 && s.depth == 0:
		return &Error{UnsupportedEncoding, "the stream is not in UTF-8"}
	default:
		return malformed("a < that begins no tag")
	}
	return nil
}

// tag reads a start tag outside of attribute values.
func (s *Scanner) tag() (done bool, err *Error) {
	name := int(s.name)
	limit := s.Limits.name()
	for i, c := range s.p[s.pos:] {
		if class[c]&nameByte != 0 {
			if name++; name > limit {
				return false, s.Limits.errName()
			}
			continue
		}
		name = 0
		switch c {
		case '\'', '"':
			if s.attrs++; int(s.attrs) > s.Limits.attrs() {
				return false, s.Limits.errAttrs()
			}
			s.quote, s.state = c, inValue
		case '/':
			s.state = afterSlash
		case '>':
			s.state = inText
			s.depth++
			done = s.depth == 1
		case ' ', '=', '\t', '\n', '\r':
			continue
		default:
			return false, errTag
		}
		s.pos, s.name = s.pos+i+1, 0
		return done, nil
	}
	s.pos, s.name = len(s.p), int32(name)
	return false, nil
}

// bang reads the opening of a CDATA section, the only thing with a ! that may come.
func (s *Scanner) bang() *Error {
	for ; s.pos < len(s.p) && int(s.match) < len(cdataOpen); s.pos++ {
		c := s.p[s.pos]
		switch {
		case c == cdataOpen[s.match]:
			s.match++
		case s.match == 2 && c == '-':
			return restricted("comment")
		case s.match == 2 && c == 'D':
			return restricted("document type declaration")
		default:
			return malformed("a <! that begins nothing")
		}
	}
	if int(s.match) == len(cdataOpen) {
		if s.depth <= 1 {
			return &Error{BadFormat, "text between stanzas"}
		}
		s.state, s.match = inCDATA, 0
	}
	return nil
}

// cdata reads a CDATA section to its end.
func (s *Scanner) cdata() {
	for s.pos < len(s.p) {
		if s.match == 0 {
			n := bytes.IndexByte(s.p[s.pos:], ']')
			if n < 0 {
				s.pos = len(s.p)
				return
			}
			s.pos += n + 1
			s.match = 1
			continue
		}
		c := s.p[s.pos]
		s.pos++
		switch {
		case c == ']':
			s.match = 2
		case c == '>' && s.match == 2:
			s.state, s.match = inText, 0
			return
		default:
			s.match = 0
		}
	}
}

// declaration reads an XML declaration to its end.
func (s *Scanner) declaration() (done bool, err *Error) {
	const maxDecl = 200 // bytes; all that it can say fits in 80
	for ; s.pos < len(s.p); s.pos++ {
		if len(s.buf)+s.pos-s.start > maxDecl {
			return false, restricted("processing instruction")
		}
		switch c := s.p[s.pos]; {
		case c == '?':
			s.match = 1
		case c == '>' && s.match == 1:
			s.pos++
			s.state = inText
			return true, nil
		default:
			s.match = 0
		}
	}
	return false, nil
}
