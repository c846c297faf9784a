// Package irc is the wire of IRC: messages and their tags, the splitting of what arrives into lines, numerics, the case
// mapping, and the negotiation of capabilities. It knows no server, no client and no event.
//
//   - RFC 1459 and RFC 2812 section 2.3: messages; RFC 2812 section 5: numerics
//   - IRCv3 message-tags: tags, their escapes and their limits
//   - IRCv3 capability-negotiation: CAP up to version 302
//   - IRCv3 server-time, batch, standard-replies, chathistory: the names of their tags, commands and capabilities
package irc

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

// Limits of one message in bytes.
const (
	MaxLine       = 512          // without tags, with CR LF (RFC 1459 section 2.3)
	MaxText       = MaxLine - 2  // without CR LF
	MaxClientTags = 4096         // of a client, with @ and the blank (message-tags)
	MaxTags       = 8191         // of a server, with @ and the blank
	MaxParams     = 15           // the last of which takes whatever follows
	maxInput      = 4096 + 512   // of a client's line altogether
	maxTagBytes   = MaxTags - 50 // of one value written; what else a server puts there is short
)

// Message is one message. Its strings share no memory with what they were parsed from.
type Message struct {
	Tags    []Tag
	Source  string // who sends it, without the colon; servers and clients leave their own out towards each other
	Command string // in capitals, or three digits
	Params  []string
	// Colon makes Append put a colon before the last parameter even where it needs none. Parse sets it as it was.
	Colon bool
}

// Tag is one tag. A tag without a value has the value "".
type Tag struct{ Key, Value string }

// Errors of Parse.
var (
	ErrEmpty     = errors.New("irc: the line is empty")
	ErrMalformed = errors.New("irc: the line is no message")
)

// Tag returns the value of the tag, the last one if it is given more than once.
func (m *Message) Tag(key string) (value string, ok bool) {
	for i := len(m.Tags) - 1; i >= 0; i-- {
		if m.Tags[i].Key == key {
			return m.Tags[i].Value, true
		}
	}
	return "", false
}

// Param returns the parameter with the index, or "".
func (m *Message) Param(i int) string {
	if i < len(m.Params) {
		return m.Params[i]
	}
	return ""
}

// Parse parses a line, without its CR LF. It takes more than one blank between the parts, as servers do. Limits of length
// are for Lines to judge.
func Parse(line string) (Message, error) {
	var m Message
	if strings.ContainsAny(line, "\x00\r\n") {
		return m, ErrMalformed
	}
	line = strings.TrimLeft(line, " ")
	if line == "" {
		return m, ErrEmpty
	}
	if line[0] == '@' {
		tags, rest, ok := strings.Cut(line[1:], " ")
		if !ok {
			return m, ErrMalformed
		}
		m.Tags = parseTags(tags)
		line = strings.TrimLeft(rest, " ")
	}
	if strings.HasPrefix(line, ":") {
		source, rest, ok := strings.Cut(line[1:], " ")
		if !ok || source == "" {
			return m, ErrMalformed
		}
		m.Source = strings.Clone(source)
		line = strings.TrimLeft(rest, " ")
	}
	command, rest, _ := strings.Cut(line, " ")
	if !isCommand(command) {
		return m, ErrMalformed
	}
	m.Command = strings.Clone(strings.ToUpper(command))
	for rest = strings.TrimLeft(rest, " "); rest != ""; {
		if rest[0] == ':' || len(m.Params) == MaxParams-1 {
			m.Colon = rest[0] == ':'
			m.Params = append(m.Params, strings.Clone(strings.TrimPrefix(rest, ":")))
			break
		}
		var p string
		p, rest, _ = strings.Cut(rest, " ")
		m.Params = append(m.Params, strings.Clone(p))
		rest = strings.TrimLeft(rest, " ")
	}
	return m, nil
}

// isCommand reports whether s is letters only, or three digits.
func isCommand(s string) bool {
	letters, digits := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			letters++
		case '0' <= c && c <= '9':
			digits++
		default:
			return false
		}
	}
	return letters > 0 && digits == 0 || letters == 0 && digits == 3
}

// Append appends the message with CR LF. What follows the tags is cut to MaxText bytes, at the boundary of a character. No
// parameter can break the line: NUL, CR and LF become blanks, and a parameter before the last that is empty, has a blank
// or begins with a colon is written as an asterisk.
func (m *Message) Append(dst []byte) []byte {
	if len(m.Tags) > 0 {
		dst = append(dst, '@')
		for i, t := range m.Tags {
			if i > 0 {
				dst = append(dst, ';')
			}
			dst = AppendTag(dst, t.Key, t.Value)
		}
		dst = append(dst, ' ')
	}
	start := len(dst)
	if m.Source != "" {
		dst = append(append(append(dst, ':'), m.Source...), ' ')
	}
	dst = append(dst, m.Command...)
	for i, p := range m.Params {
		dst = append(dst, ' ')
		last := i == len(m.Params)-1
		awkward := p == "" || p[0] == ':' || strings.IndexByte(p, ' ') >= 0
		switch {
		case last && (awkward || m.Colon):
			dst = append(append(dst, ':'), p...)
		case awkward:
			dst = append(dst, '*')
		default:
			dst = append(dst, p...)
		}
	}
	return EndLine(dst, start)
}

// EndLine makes what dst has from start on the text of one message, and appends CR LF: NUL, CR and LF become blanks, and
// it is cut to MaxText bytes.
func EndLine(dst []byte, start int) []byte {
	text := Cut(dst[start:], MaxText)
	for i, c := range text {
		if c == 0 || c == '\r' || c == '\n' {
			text[i] = ' '
		}
	}
	return append(dst[:start+len(text)], '\r', '\n')
}

// Cut returns the first n bytes of b, less what would be the beginning of a character only.
func Cut(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	for i := n; i >= 0 && i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			return b[:i]
		}
	}
	return b[:n] // no UTF-8
}

// parseTags parses what stands between the @ and the blank.
func parseTags(s string) []Tag {
	var tags []Tag
	for s != "" {
		var one string
		one, s, _ = strings.Cut(s, ";")
		key, value, _ := strings.Cut(one, "=")
		if key != "" {
			tags = append(tags, Tag{strings.Clone(key), unescape(value)})
		}
	}
	return tags
}

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return strings.Clone(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		i++
		if i == len(s) { // a backslash alone at the end goes
			break
		}
		switch s[i] {
		case ':':
			b = append(b, ';')
		case 's':
			b = append(b, ' ')
		case 'r':
			b = append(b, '\r')
		case 'n':
			b = append(b, '\n')
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

// AppendTag appends one tag, its value escaped; no = where it has no value.
func AppendTag(dst []byte, key, value string) []byte {
	dst = append(dst, key...)
	if value == "" {
		return dst
	}
	dst = append(dst, '=')
	if len(value) > maxTagBytes {
		value = string(Cut([]byte(value), maxTagBytes))
	}
	for i := range len(value) {
		switch c := value[i]; c {
		case ';':
			dst = append(dst, '\\', ':')
		case ' ':
			dst = append(dst, '\\', 's')
		case '\\':
			dst = append(dst, '\\', '\\')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\n':
			dst = append(dst, '\\', 'n')
		case 0: // has no escape
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// Lines splits what arrives on a connection into lines. The zero Lines is ready; while no line is incomplete it holds no
// memory.
type Lines struct {
	buf  []byte
	seen int  // of buf, in which no line ends
	skip bool // until the end of a line that was too long
}

// Push takes what has arrived; it keeps a copy.
func (l *Lines) Push(p []byte) { l.buf = append(l.buf, p...) }

// Len returns how many bytes wait.
func (l *Lines) Len() int { return len(l.buf) }

// Next returns the next line that is complete, which ends at CR or LF and is not empty; ok is false if there is none. A
// line over the limits is told once, by tooLong, and left out. The line is valid until Push is called.
func (l *Lines) Next() (line []byte, tooLong, ok bool) {
	for {
		i := bytes.IndexAny(l.buf[l.seen:], "\r\n")
		if i < 0 {
			l.seen = len(l.buf)
			most := MaxText
			if len(l.buf) > 0 && l.buf[0] == '@' {
				most = maxInput
			}
			if l.skip || len(l.buf) > most {
				tooLong = !l.skip
				l.buf, l.seen, l.skip = nil, 0, true
				return nil, tooLong, tooLong
			}
			if len(l.buf) == 0 {
				l.buf = nil
			} else if cap(l.buf) > 4*maxInput {
				l.buf = bytes.Clone(l.buf)
			}
			return nil, false, false
		}
		i += l.seen
		line, l.buf, l.seen = l.buf[:i], l.buf[i+1:], 0
		if l.skip {
			l.skip = false
			continue
		}
		if len(line) == 0 {
			continue
		}
		return line, over(line), true
	}
}

// over reports whether a client's line is longer than it may be.
func over(line []byte) bool {
	if line[0] == '@' {
		n := bytes.IndexByte(line, ' ') + 1
		if n == 0 {
			n = len(line)
		}
		if n > MaxClientTags {
			return true
		}
		line = line[n:]
	}
	return len(line) > MaxText
}
