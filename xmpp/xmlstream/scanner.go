package xmlstream

import "bytes"

// Kind is what Scanner.Next has found.
type Kind uint8

// Kinds of tokens.
const (
	None   Kind = iota // nothing is complete
	Open               // the stream header: a start tag, for Document.ParseHeader
	Stanza             // a complete element below the stream header, for Document.Parse
	End                // the end tag of the stream
)

// Scanner cuts a stream into its header, the complete elements below it, and its end. It looks at each byte once, however
// small the pieces are that bytes come in. While nothing is incomplete it holds no memory but its own. The zero Scanner is
// ready for the beginning of a stream. It checks the end tag of the stream; the inside of a stanza is for Document.Parse.
type Scanner struct {
	Limits Limits

	p     []byte // what was fed
	pos   int    // of it, this much has been looked at
	start int    // of it, here the token that is being read begins; with something in buf, 0
	buf   []byte // the beginning of that token, from earlier feeds

	state   state
	quote   byte  // that ends the attribute value
	match   uint8 // bytes of the opening or closing of a CDATA section seen
	given   bool  // buf belongs to the token that was returned last
	inToken bool
	decl    bool  // an XML declaration cannot come any more
	depth   int32 // elements open, the stream included
	count   int32 // elements of the stanza
	attrs   int32 // of the start tag that is being read
	name    int32 // bytes of the name that is being read
	root    string
	err     *Error
}

// Feed gives the Scanner what came next. p must stay unchanged until Next has returned None or an error.
func (s *Scanner) Feed(p []byte) {
	s.release()
	if rest := s.p[s.pos:]; len(rest) > 0 { // not all that was fed has been asked for
		p = append(bytes.Clone(rest), p...)
	}
	s.p, s.pos, s.start = p, 0, 0
}

// Rest returns what was fed and is not part of a token returned so far. Whoever starts TLS must refuse it, as it came before
// the handshake and nothing protects it (RFC 6120 section 5.4.3.3). It is valid as long as a token.
func (s *Scanner) Rest() []byte {
	s.release()
	if s.inToken { // Next has said None, so all that there is lies in the buffer
		return s.buf
	}
	return s.p[s.pos:]
}

// Restart makes the Scanner ready for the header of a new stream, which follows SASL (RFC 6120 section 6.4.6). What was fed
// behind the last token is the beginning of that stream.
func (s *Scanner) Restart() { *s = Scanner{Limits: s.Limits, p: s.Rest()} }

// Reset makes the Scanner ready for a new connection, or for the stream inside TLS: nothing that was fed is left.
func (s *Scanner) Reset() { *s = Scanner{Limits: s.Limits} }

// release forgets the buffer of a token that was returned.
func (s *Scanner) release() {
	if s.given {
		s.buf, s.given = nil, false
	}
}

// Next returns the next complete token: its kind and its bytes. They lie in what was fed if they came in one piece, so they
// are valid until the next Feed and while that is unchanged. With None the Scanner has kept what is incomplete, and waits for Feed. Whitespace between
// stanzas and the XML declaration are skipped. After an error, which is an *Error, it returns that error again.
func (s *Scanner) Next() (Kind, []byte, error) {
	s.release()
	if s.err == nil {
		kind, token, err := s.next()
		if err == nil {
			return kind, token, nil
		}
		s.err = err
		s.buf, s.p, s.pos, s.start, s.inToken = nil, nil, 0, 0, false
	}
	return None, nil, s.err
}

func (s *Scanner) next() (Kind, []byte, *Error) {
	for s.pos < len(s.p) {
		if s.state == inText && !s.inToken || s.state == afterEnd {
			if err := s.between(); err != nil {
				return None, nil, err
			}
			continue
		}
		done, err := s.step()
		if err != nil {
			return None, nil, err
		}
		if done {
			token, err := s.take()
			if err != nil {
				return None, nil, err
			}
			kind, err := s.classify(token)
			if err != nil || kind != None {
				return kind, token, err
			}
			s.release() // the XML declaration
		}
	}
	if s.inToken && s.start < len(s.p) {
		if err := s.keep(s.p[s.start:]); err != nil {
			return None, nil, err
		}
	}
	s.p, s.pos, s.start = nil, 0, 0
	return None, nil, nil
}

// take returns the token that is complete.
func (s *Scanner) take() ([]byte, *Error) {
	token := s.p[s.start:s.pos]
	if len(s.buf) > 0 {
		if err := s.keep(token); err != nil {
			return nil, err
		}
		token, s.given = s.buf, true
	} else if len(token) > s.limit() {
		return nil, s.tooLong()
	}
	s.inToken, s.start, s.count = false, s.pos, 0
	return token, nil
}

// limit returns the length that the token may have.
func (s *Scanner) limit() int {
	if s.root == "" {
		return MaxHeader
	}
	return s.Limits.stanza()
}

func (s *Scanner) tooLong() *Error {
	if s.root == "" {
		return errHeader
	}
	return s.Limits.errStanza()
}

// keep puts b behind what is buffered.
func (s *Scanner) keep(b []byte) *Error {
	need, limit := len(s.buf)+len(b), s.limit()
	if need > limit {
		return s.tooLong()
	}
	if need > cap(s.buf) {
		grown := make([]byte, len(s.buf), min(max(need, 2*cap(s.buf), 256), limit))
		copy(grown, s.buf)
		s.buf = grown
	}
	s.buf = append(s.buf, b...)
	return nil
}

// classify says what a complete token is; None for the XML declaration.
func (s *Scanner) classify(token []byte) (Kind, *Error) {
	s.decl = true
	switch {
	case token[1] == '?':
		return None, declared(token)
	case token[1] == '/' && s.depth == 0:
		s.state = afterEnd
		if name := bytes.TrimRight(token[2:len(token)-1], " \t\r\n"); string(name) != s.root {
			return None, malformed("the end tag of the stream has another name")
		}
		return End, nil
	case s.depth == 0:
		return None, &Error{BadFormat, "the stream header is an empty element"}
	case s.root == "":
		s.root = rootName(token)
		return Open, nil
	}
	return Stanza, nil
}

func rootName(tag []byte) string {
	n := 1
	for n < len(tag) && class[tag[n]]&nameByte != 0 {
		n++
	}
	if string(tag[1:n]) == "stream:stream" {
		return "stream:stream" // shared by all streams
	}
	return string(tag[1:n])
}
