package journal

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"tidings"
)

// The headers of a stored event.
const (
	hdrKey         = "Nats-Msg-Id"
	hdrContentType = "Content-Type"
	hdrID          = "Tidings-Id"
	hdrKind        = "Tidings-Kind"
	hdrTime        = "Tidings-Time"
	hdrPublisher   = "Tidings-Publisher"
	hdrMark        = "Tidings-Mark"
)

const (
	topicEnd   = "_"
	maxFilters = 16 // patterns that are read one by one; more share one wide filter
)

// subjects knows the subjects of one stream.
type subjects struct{ events, marks, lost string }

func subjectsOf(stream string) subjects {
	return subjects{events: stream + ".t.", marks: stream + ".m.", lost: stream + ".r.lost"}
}

// topic returns the subject of a topic.
func (s subjects) topic(t tidings.Topic) string {
	b := make([]byte, 0, len(s.events)+len(t)+16)
	b = append(b, s.events...)
	b = appendTopic(b, t)
	return string(append(b, topicEnd...))
}

// below returns the filter for the topic and all below it; "" is every topic.
func (s subjects) below(prefix tidings.Topic) string {
	if prefix == "" {
		return s.events + ">"
	}
	return string(append(appendTopic([]byte(s.events), prefix), '>'))
}

// filter returns the narrowest subject filter that selects all a pattern matches.
func (s subjects) filter(p tidings.Pattern) string {
	b := []byte(s.events)
	for _, seg := range p.Segments() {
		switch {
		case seg == "**":
			return string(append(b, '>'))
		case strings.ContainsAny(seg, "*?["):
			b = append(b, '*')
		default:
			b = appendToken(b, seg)
		}
		b = append(b, '.')
	}
	return string(append(b, topicEnd...))
}

// filters returns the filters to read for the patterns. A single "" stands for reading everything.
func (s subjects) filters(patterns []tidings.Pattern) []string {
	if len(patterns) == 0 || len(patterns) > maxFilters {
		return []string{""}
	}
	var fs []string
	for _, p := range patterns {
		f := s.filter(p)
		if f == s.events+">" {
			return []string{""}
		}
		dup := false
		for _, g := range fs {
			dup = dup || g == f
		}
		if !dup {
			fs = append(fs, f)
		}
	}
	return fs
}

// topicOf returns the topic of a subject, or false if it is not an event's.
func (s subjects) topicOf(subject string) (tidings.Topic, bool) {
	rest, ok := strings.CutPrefix(subject, s.events)
	if !ok {
		return "", false
	}
	rest, ok = strings.CutSuffix(rest, "."+topicEnd)
	if !ok {
		return "", false
	}
	var b strings.Builder
	b.Grow(len(rest) + 1)
	for tok := range strings.SplitSeq(rest, ".") {
		seg, ok := parseToken(tok)
		if !ok {
			return "", false
		}
		b.WriteByte('/')
		b.WriteString(seg)
	}
	return tidings.Topic(b.String()), true
}

// mark returns the subject of a publisher's mark.
func (s subjects) mark(publisher string) string {
	return string(appendToken([]byte(s.marks), publisher))
}

// appendTopic appends the topic's tokens, each with a dot behind it.
func appendTopic(b []byte, t tidings.Topic) []byte {
	for seg := range strings.SplitSeq(string(t)[1:], "/") {
		b = append(appendToken(b, seg), '.')
	}
	return b
}

const upperHex = "0123456789ABCDEF"

func appendToken(b []byte, seg string) []byte {
	if seg == "" {
		return append(b, '%')
	}
	for i := range len(seg) {
		switch c := seg[i]; c {
		case '%', '.', '*', '>', ' ':
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

// parseToken is the inverse of appendToken. It accepts any escape, so that a later version may escape more.
func parseToken(tok string) (string, bool) {
	if tok == "%" {
		return "", true
	}
	if tok == "" {
		return "", false
	}
	return unescape(tok, '%')
}

// unescape replaces each lead byte and the two hexadecimal digits behind it by the byte they stand for.
func unescape(s string, lead byte) (string, bool) {
	if strings.IndexByte(s, lead) < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != lead {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b = append(b, byte(hi<<4|lo))
		i += 2
	}
	return string(b), true
}

// headerValue escapes what a header parser would change.
func headerValue(v string) string {
	if strings.IndexByte(v, '%') >= 0 {
		v = strings.ReplaceAll(v, "%", "%25")
	}
	if v != "" && v[0] == ' ' {
		v = "%20" + v[1:]
	}
	if v != "" && v[len(v)-1] == ' ' {
		v = v[:len(v)-1] + "%20"
	}
	return v
}

// encode returns the message that stores the event.
func (s subjects) encode(e *tidings.Event) *nats.Msg {
	h := make(nats.Header, 6)
	set := func(name, v string) {
		if v != "" {
			h[name] = []string{headerValue(v)}
		}
	}
	set(hdrKey, e.Key)
	set(hdrContentType, e.ContentType)
	set(hdrID, e.ID)
	if e.Kind != tidings.Publish {
		set(hdrKind, e.Kind.String())
	}
	h[hdrTime] = []string{e.Time.Format(time.RFC3339Nano)}
	set(hdrPublisher, e.Publisher)
	set(hdrMark, e.Mark)
	return &nats.Msg{Subject: s.topic(e.Topic), Header: h, Data: e.Payload}
}

// decode returns the event that a stored message holds; subject must be an event's.
func (s subjects) decode(subject string, h nats.Header, data []byte, pos tidings.Position) (tidings.Event, error) {
	var failed error
	fail := func(what string) {
		failed = fmt.Errorf("journal: message %d on %q has a malformed %s", pos.Offset, subject, what)
	}
	get := func(name string) string {
		vs := h[name]
		if len(vs) == 0 {
			return ""
		}
		v, ok := unescape(vs[0], '%')
		if !ok {
			fail(name)
		}
		return v
	}
	t, ok := s.topicOf(subject)
	if !ok {
		fail("subject")
	}
	e := tidings.Event{
		Position: pos, Topic: t, ID: get(hdrID), Key: get(hdrKey), ContentType: get(hdrContentType),
		Payload: data, Publisher: get(hdrPublisher), Mark: get(hdrMark),
	}
	var err error
	if e.Kind, err = tidings.ParseKind(get(hdrKind)); err != nil {
		fail(hdrKind)
	}
	if e.Time, err = time.Parse(time.RFC3339Nano, get(hdrTime)); err != nil {
		fail(hdrTime)
	}
	e.Time = e.Time.UTC()
	return e, failed
}

// storedSize is what an event takes in the store, near enough for rules in bytes.
func storedSize(e *tidings.Event) int64 {
	return int64(len(e.Topic)+len(e.Payload)+len(e.ID)+len(e.Key)+len(e.ContentType)+len(e.Publisher)+len(e.Mark)) + 128
}

// matches reports whether one of the patterns, or there being none, selects the topic.
func matches(patterns []tidings.Pattern, t tidings.Topic) bool {
	if len(patterns) == 0 {
		return true
	}
	for i := range patterns {
		if patterns[i].Match(t) {
			return true
		}
	}
	return false
}
