package tidings

import (
	"strings"
	"unicode/utf8"
)

// Limits of a topic.
const (
	MaxTopicBytes   = 1023 // of the whole path, so that it fits a PubSub node (RFC 7622 section 3.4)
	MaxSegments     = 16
	MaxSegmentBytes = 255
)

// Topic is the path an event is published on: 1 to MaxSegments segments, each a slash and 1 to MaxSegmentBytes bytes of
// UTF-8 without control characters and without / * ? [ ]. The segments "." and ".." are refused, because an HTTP client
// would resolve them away (RFC 3986 section 5.2.4). The same path is the HTTP resource below /topics, the PubSub node
// and the key of a subscription everywhere else. Topics compare byte by byte.
type Topic string

// ParseTopic returns s as a Topic, or an Error of kind ErrInvalid that says what is wrong with it.
func ParseTopic(s string) (Topic, error) {
	if err := checkPath("topic", s, func(seg string) string {
		if i := strings.IndexAny(seg, "*?[]"); i >= 0 {
			return "the character " + seg[i:i+1] + " belongs to patterns"
		}
		return ""
	}); err != nil {
		return "", err
	}
	return Topic(s), nil
}

// Segments returns the parts between the slashes.
func (t Topic) Segments() []string {
	return strings.Split(string(t), "/")[1:]
}

// TopicOfNode returns the topic that stands for a PubSub node (XEP-0060 section 4.2, any string): the node itself where
// it is a topic's path, else the one-segment topic /~ followed by the node's percent-encoding. No two nodes share a
// topic: a path that is already the encoding of another node is encoded once more. It returns an Error of kind
// ErrInvalid for a node that is empty, is not UTF-8 or whose encoding passes the limits of a topic.
func TopicOfNode(node string) (Topic, error) {
	if t, err := ParseTopic(node); err == nil {
		if _, encoded := t.encodedNode(); !encoded {
			return t, nil
		}
	}
	if node == "" || !utf8.ValidString(node) {
		return "", Errorf(ErrInvalid, "a node name is not empty and is valid UTF-8")
	}
	if len(node) >= MaxSegmentBytes {
		return "", Errorf(ErrInvalid, "a node name that is no topic has %d bytes and may have %d when percent-encoded", len(node), MaxSegmentBytes-1)
	}
	return ParseTopic(encodeNode(node))
}

// Node returns the PubSub node that the topic stands for; the inverse of TopicOfNode.
func (t Topic) Node() string {
	if node, ok := t.encodedNode(); ok {
		return node
	}
	return string(t)
}

// encodedNode returns the node whose encoding t is. A topic that only looks like one is no encoding: one that encodeNode
// would have written otherwise, and the encoding of a path that stands for itself.
func (t Topic) encodedNode() (node string, ok bool) {
	enc, ok := strings.CutPrefix(string(t), "/~")
	if !ok || enc == "" || strings.Contains(enc, "/") {
		return "", false
	}
	b := make([]byte, 0, len(enc))
	for i := 0; i < len(enc); i++ {
		if enc[i] != '%' {
			b = append(b, enc[i])
			continue
		}
		if i+2 >= len(enc) {
			return "", false
		}
		hi, lo := unhex(enc[i+1]), unhex(enc[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	node = string(b)
	if !utf8.ValidString(node) || encodeNode(node) != string(t) {
		return "", false
	}
	if p, err := ParseTopic(node); err == nil {
		if _, encoded := p.encodedNode(); !encoded {
			return "", false
		}
	}
	return node, true
}

// encodeNode returns /~ and the percent-encoding of the node: every byte but the unreserved characters of RFC 3986
// section 2.3.
func encodeNode(node string) string {
	const hex = "0123456789ABCDEF"
	b := append(make([]byte, 0, 2+3*len(node)), "/~"...)
	for i := range len(node) {
		c := node[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// checkPath checks what topics and patterns have in common, and each segment by its own rule, which returns what is
// wrong with it.
func checkPath(what, s string, segment func(string) string) error {
	show := s
	if len(show) > 80 {
		show = strings.ToValidUTF8(show[:80], "") + "…"
	}
	bad := func(why string) error { return Errorf(ErrInvalid, "%s %q: %s", what, show, why) }
	if s == "" || s[0] != '/' {
		return bad("it has to begin with a slash, such as /recentchange/en.wikipedia.org")
	}
	if len(s) > MaxTopicBytes {
		return Errorf(ErrInvalid, "%s %q: it has %d bytes and may have %d", what, show, len(s), MaxTopicBytes)
	}
	if invalidText(s) >= 0 {
		return bad("it has a control character or invalid UTF-8")
	}
	segs := strings.Split(s[1:], "/")
	if len(segs) > MaxSegments {
		return Errorf(ErrInvalid, "%s %q: it has %d segments and may have %d", what, show, len(segs), MaxSegments)
	}
	for _, seg := range segs {
		switch {
		case seg == "":
			return bad("it has an empty segment (a double slash, or one at the end)")
		case len(seg) > MaxSegmentBytes:
			return Errorf(ErrInvalid, "%s %q: a segment has %d bytes and may have %d", what, show, len(seg), MaxSegmentBytes)
		case seg == "." || seg == "..":
			return bad("a segment may not be . or ..")
		}
		if why := segment(seg); why != "" {
			return bad(why)
		}
	}
	return nil
}

// invalidText returns the index of the first control character (C0, DEL, C1) or invalid byte in s, or -1.
func invalidText(s string) int {
	for i, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return i
		}
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n <= 1 {
				return i
			}
		}
	}
	return -1
}
