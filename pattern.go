package tidings

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Pattern is a topic with globs. Within a segment * matches any run of characters (none included), ? one character, and
// [...] one of a set: characters, ranges such as a-z, and a leading ! (or ^) for "none of these". A segment that is **
// matches any number of segments, none included. Matching is by Unicode code point and case-sensitive, as fnmatch was in
// RCStream.
//
// A pattern has the limits of a topic, and at most four ** segments. The zero Pattern matches nothing.
type Pattern struct {
	text string
	segs []string
}

const maxDoubleStars = 4

// ParsePattern returns s as a Pattern, or an Error of kind ErrInvalid that says what is wrong with it.
func ParsePattern(s string) (Pattern, error) {
	stars := 0
	if err := checkPath("pattern", s, func(seg string) string {
		if seg == "**" {
			if stars++; stars > maxDoubleStars {
				return "it may have four segments ** at the most"
			}
			return ""
		}
		return checkGlob(seg)
	}); err != nil {
		return Pattern{}, err
	}
	return Pattern{text: s, segs: strings.Split(s[1:], "/")}, nil
}

// MustPattern is ParsePattern for constants; it panics where that returns an error.
func MustPattern(s string) Pattern {
	p, err := ParsePattern(s)
	if err != nil {
		panic(err)
	}
	return p
}

// PatternOf returns the pattern that matches the topic and nothing else.
func PatternOf(t Topic) Pattern {
	return Pattern{text: string(t), segs: t.Segments()}
}

// String returns the text it was parsed from.
func (p Pattern) String() string { return p.text }

// IsZero reports whether p is the zero Pattern.
func (p Pattern) IsZero() bool { return p.text == "" }

// Segments returns the pattern's segments; the caller must not change them.
func (p Pattern) Segments() []string { return p.segs }

// Topic returns the one topic that p matches, if it has no glob.
func (p Pattern) Topic() (Topic, bool) {
	if p.text == "" || strings.ContainsAny(p.text, "*?[") {
		return "", false
	}
	return Topic(p.text), true
}

// Match reports whether the pattern matches the topic.
func (p Pattern) Match(t Topic) bool {
	if p.text == "" || t == "" {
		return false
	}
	if p.text == string(t) { // a topic has no glob characters, so a pattern that is equal to one has none either
		return true
	}
	return matchSegs(p.segs, string(t))
}

// matchSegs matches the segments against a path that is empty or begins with a slash. It goes back to the last ** only:
// every other segment takes exactly one of the path's, so what an earlier ** could take instead leads nowhere new. Each
// segment of the pattern therefore meets each of the path at most once, and the whole costs at most the product of the
// two lengths, whatever the pattern.
func matchSegs(segs []string, path string) bool {
	star, mark := -1, "" // where to go on after a mismatch: behind the last **, at the path it has not yet taken
	gi := 0
	for path != "" {
		if gi < len(segs) {
			if segs[gi] == "**" {
				if gi == len(segs)-1 {
					return true
				}
				gi++
				star, mark = gi, path
				continue
			}
			if seg, rest := cutSeg(path); segs[gi] == seg || matchGlob(segs[gi], seg) {
				gi, path = gi+1, rest
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, mark = cutSeg(mark)
		gi, path = star, mark
	}
	for gi < len(segs) && segs[gi] == "**" {
		gi++
	}
	return gi == len(segs)
}

// cutSeg splits "/a/b" into "a" and "/b".
func cutSeg(path string) (seg, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// matchGlob matches one segment. It goes back to the last * only, so its cost is at most the product of the lengths.
func matchGlob(g, s string) bool {
	star, mark := -1, 0 // where to go on after a mismatch: behind the last *, at the text it has not yet taken
	gi, si := 0, 0
	for si < len(s) {
		if gi < len(g) {
			c := g[gi]
			if c == '*' {
				if gi++; gi == len(g) {
					return true
				}
				if c = g[gi]; isPlain(c) { // go to where the text may go on
					i := strings.IndexByte(s[si:], c)
					if i < 0 {
						return false
					}
					si += i
				}
				star, mark = gi, si
				continue
			}
			if isPlain(c) {
				if c == s[si] {
					gi, si = gi+1, si+1
					continue
				}
			} else {
				r, n := utf8.DecodeRuneInString(s[si:])
				if ok, next := matchOne(g, gi, r); ok {
					gi, si = next, si+n
					continue
				}
			}
		}
		if star < 0 {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[mark:])
		mark += n
		gi, si = star, mark
	}
	for gi < len(g) && g[gi] == '*' {
		gi++
	}
	return gi == len(g)
}

// isPlain reports whether c stands for itself: an ASCII character that begins no element of a glob.
func isPlain(c byte) bool { return c < utf8.RuneSelf && c != '*' && c != '?' && c != '[' }

// matchOne matches one character against the element of g at gi and returns where the next element begins.
func matchOne(g string, gi int, r rune) (ok bool, next int) {
	switch g[gi] {
	case '?':
		return true, gi + 1
	case '[':
		end := classEnd(g, gi)
		return inClass(g[gi+1:end], r), end + 1
	}
	gr, n := utf8.DecodeRuneInString(g[gi:])
	return gr == r, gi + n
}

// classEnd returns the index of the ] that ends the class beginning at gi, or -1. As in fnmatch, a ] directly behind
// the opening bracket (or behind its !) is a member.
func classEnd(g string, gi int) int {
	i := gi + 1
	if i < len(g) && (g[i] == '!' || g[i] == '^') {
		i++
	}
	if i < len(g) && g[i] == ']' {
		i++
	}
	if j := strings.IndexByte(g[min(i, len(g)):], ']'); j >= 0 {
		return i + j
	}
	return -1
}

// inClass reports whether r is in the class, which is given without its brackets.
func inClass(class string, r rune) bool {
	not := false
	if class[0] == '!' || class[0] == '^' {
		not, class = true, class[1:]
	}
	in := false
	for class != "" {
		lo, n := utf8.DecodeRuneInString(class)
		class = class[n:]
		hi := lo
		if len(class) > 1 && class[0] == '-' {
			hi, n = utf8.DecodeRuneInString(class[1:])
			class = class[1+n:]
		}
		if lo <= r && r <= hi {
			in = true
		}
	}
	return in != not
}

// checkGlob returns what is wrong with a segment of a pattern.
func checkGlob(g string) string {
	if strings.Contains(g, "**") {
		return "** is only allowed as a whole segment"
	}
	for i := 0; i < len(g); i++ {
		switch g[i] {
		case '[':
			end := classEnd(g, i)
			if end < 0 {
				return "a [ has no ] in its segment"
			}
			i = end
		case ']':
			return "a ] has no [ in its segment"
		}
	}
	return ""
}

// Patterns returns the patterns sorted by text and without repeats, so that the same set has one form.
func Patterns(ps ...Pattern) []Pattern {
	ps = slices.Clone(ps)
	slices.SortFunc(ps, func(a, b Pattern) int { return strings.Compare(a.text, b.text) })
	return slices.CompactFunc(ps, func(a, b Pattern) bool { return a.text == b.text })
}
