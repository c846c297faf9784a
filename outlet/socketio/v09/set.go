package v09

import (
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"tidings"
	"tidings/hub"
	"tidings/recentchange"
)

// prefix is where recent changes are published, by the name of their server.
const prefix = "/recentchange/"

// maxPattern bounds a pattern in bytes: a server's name has no more.
const maxPattern = tidings.MaxSegmentBytes

// set is what a client has subscribed to. Clients with the same patterns share one; it does not change.
type set struct {
	key      string
	patterns []string // sorted, as the client gave them
	query    hub.Query
	refs     int // guarded by sets.mu
}

// list returns the patterns, which the caller may change.
func (s *set) list() []string {
	if s == nil {
		return nil
	}
	return slices.Clone(s.patterns)
}

// empty reports whether no event can belong to the set.
func (s *set) empty() bool { return s == nil || len(s.query.Patterns) == 0 }

// sets are those in use.
type sets struct {
	mu sync.Mutex
	m  map[string]*set
}

// get returns the set of the patterns, which are sorted and without repeats; nil for none. put gives it back.
func (ss *sets) get(patterns []string) *set {
	if len(patterns) == 0 {
		return nil
	}
	key := strings.Join(patterns, "\n") // which no pattern has
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.m[key]
	if s == nil {
		s = &set{key: key, patterns: patterns, query: queryOf(patterns, key)}
		if ss.m == nil {
			ss.m = map[string]*set{}
		}
		ss.m[key] = s
	}
	s.refs++
	return s
}

func (ss *sets) put(s *set) {
	if s == nil {
		return
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s.refs--; s.refs == 0 {
		delete(ss.m, s.key)
	}
}

// validPattern reports whether a pattern is text that a set can hold.
func validPattern(p string) bool {
	return p != "" && len(p) <= maxPattern && utf8.ValidString(p) && !strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// queryOf returns the query for the patterns. One that no server can have is no part of it: RCStream took any text.
func queryOf(patterns []string, key string) hub.Query {
	var hosts []tidings.Pattern
	var wikis []string
	for _, p := range patterns {
		if strings.HasPrefix(p, "/") { // a topic of ours, which no server's name can be
			if tp, err := tidings.ParsePattern(p); err == nil {
				hosts = append(hosts, tp)
			}
			continue
		}
		if tp, ok := hostPattern(p); ok {
			hosts = append(hosts, tp)
		}
		if !strings.ContainsAny(p, ".*?[") {
			wikis = append(wikis, p)
		}
	}
	hosts = tidings.Patterns(hosts...)
	if len(wikis) == 0 {
		return hub.Query{Patterns: hosts}
	}
	f := &wikiFilter{text: "rcstream\n" + key, patterns: hosts, wikis: wikis}
	return hub.Query{Patterns: tidings.Patterns(append(slices.Clone(hosts), tidings.MustPattern(prefix+"*"))...), Filter: f}
}

// hostPattern returns the pattern of topics for a pattern of Python's fnmatch on the server's name, if any server can match it.
// What the two notations have in common is taken as it is.
func hostPattern(p string) (tidings.Pattern, bool) {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '*' && strings.HasSuffix(b.String(), "*"): // ** is one *
		case c == '/':
			return tidings.Pattern{}, false
		case c == '[':
			class, ok := classOf(p[i+1:])
			if !ok {
				return tidings.Pattern{}, false // fnmatch takes the bracket as such, and no name has one
			}
			i += len(class) + 1
			if strings.HasPrefix(class, "^") { // in fnmatch only ! means none of these
				class = class[1:] + "^"
			}
			b.WriteString("[" + class + "]")
		default:
			b.WriteByte(c)
		}
	}
	tp, err := tidings.ParsePattern(prefix + b.String())
	return tp, err == nil
}

// classOf returns the class that ends in s; a ] at its beginning is a member.
func classOf(s string) (class string, ok bool) {
	i := 0
	if strings.HasPrefix(s, "!") {
		i++
	}
	if strings.HasPrefix(s[i:], "]") {
		i++
	}
	j := strings.IndexByte(s[i:], ']')
	if j < 0 {
		return "", false
	}
	return s[:i+j], true
}

// wikiFilter lets the events pass that match one of the patterns or are changes of one of the wikis.
type wikiFilter struct {
	text     string
	patterns []tidings.Pattern
	wikis    []string
}

func (f *wikiFilter) String() string { return f.text }

func (f *wikiFilter) Match(it *hub.Item) bool {
	if rc, ok := it.Value().(*recentchange.RecentChange); ok && rc != nil && slices.Contains(f.wikis, rc.Wiki.Value()) {
		return true
	}
	return slices.ContainsFunc(f.patterns, func(p tidings.Pattern) bool { return p.Match(it.Topic) })
}
