package room

import (
	"net/url"
	"slices"
	"strings"

	"tidings"
	"tidings/hub"
	"tidings/recentchange"
	"tidings/xmpp/jid"
)

// wikiTopics begins the topics of wikis.
const wikiTopics = "/recentchange/"

// Room is a room of the configuration.
type Room struct {
	Patterns []tidings.Pattern
	Title    string // for people; empty for the patterns
}

// target is what a room stands for.
type target struct {
	local    string // localpart of its address
	title    string
	patterns []tidings.Pattern
	topic    tidings.Topic // if it is one topic
	filter   hub.Filter    // of its own: the wiki, where several share the topic
}

// names says which room a topic has and what a room stands for. It never changes.
//
//   - a wiki of the configuration has its id and its host: enwiki and en.wikipedia.org
//   - any other wiki has its host; its id is learnt from its changes, see [Server.learn]
//   - any other topic has itself, escaped (XEP-0106): \2fnews\2flocal. Capitals, which a localpart cannot hold, and percent
//     signs are percent-encoded before that. So has a pattern: \2frecentchange\2f*.wikivoyage.org
//   - the configuration gives a room to any set of patterns
type names struct {
	domain     string
	configured map[string]target        // by localpart: they exist without an event
	wikis      map[tidings.Topic]string // the localparts of topics of one configured wiki
	hosts      map[tidings.Topic]bool   // topics of configured wikis, whose rooms by host exist too
}

func newNames(domain string, wikis recentchange.Wikis, rooms map[string]Room) (*names, error) {
	n := &names{domain: domain, configured: map[string]target{}, wikis: map[tidings.Topic]string{}, hosts: map[tidings.Topic]bool{}}
	ids := make([]string, 0, len(wikis))
	topics := map[string]tidings.Topic{}
	shared := map[tidings.Topic]int{}
	for id, w := range wikis {
		rc := recentchange.RecentChange{Wiki: recentchange.Some(id)}
		recentchange.Wikis{id: w}.Fill(&rc, rc.Time())
		t, err := rc.Topic()
		if err != nil {
			continue // it has no events that anybody could read
		}
		ids = append(ids, id)
		topics[id] = t
		shared[t]++
	}
	slices.Sort(ids)
	for _, id := range ids {
		t := topics[id]
		n.hosts[t] = true
		local, err := jid.EscapeLocal(id)
		if err == nil {
			local, err = n.local(local)
		}
		if err != nil {
			return nil, tidings.Errorf(tidings.ErrInvalid, "rooms: the wiki %q cannot be the name of a room: %w", id, err)
		}
		tg := topicTarget(local, t)
		if shared[t] > 1 {
			if tg.filter, err = hub.NewFieldFilter(map[string][]string{"wiki": {id}}); err != nil {
				return nil, err
			}
			tg.title += " (" + id + ")"
		} else {
			n.wikis[t] = local
		}
		if err := n.configure(tg); err != nil {
			return nil, err
		}
	}
	for name, r := range rooms {
		local, err := n.local(name)
		if err != nil || local != name {
			return nil, tidings.Errorf(tidings.ErrInvalid, "rooms: %q is no name of a room: want small letters, digits and hyphens, such as news", name)
		}
		tg := patternTarget(local, r.Patterns)
		if r.Title != "" {
			tg.title = r.Title
		}
		if len(tg.patterns) == 0 {
			return nil, tidings.Errorf(tidings.ErrInvalid, "rooms: the room %q stands for no topic", name)
		}
		if err := n.configure(tg); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// local returns the localpart as it stands in addresses.
func (n *names) local(s string) (string, error) {
	j, err := jid.New(s, n.domain, "")
	return j.Local(), err
}

func (n *names) configure(t target) error {
	if other, ok := n.configured[t.local]; ok {
		return tidings.Errorf(tidings.ErrInvalid, "rooms: the room %s is configured twice, for %s and for %s", t.local, other.patterns[0], t.patterns[0])
	}
	n.configured[t.local] = t
	return nil
}

func topicTarget(local string, t tidings.Topic) target {
	tg := target{local: local, title: "Changes of " + string(t), patterns: []tidings.Pattern{tidings.PatternOf(t)}, topic: t}
	if host, ok := strings.CutPrefix(string(t), wikiTopics); ok && !strings.Contains(host, "/") {
		tg.title = "Recent changes of " + host
	}
	return tg
}

func patternTarget(local string, ps []tidings.Pattern) target {
	tg := target{local: local, patterns: tidings.Patterns(ps...)}
	if len(tg.patterns) == 1 {
		if t, ok := tg.patterns[0].Topic(); ok {
			return topicTarget(local, t)
		}
	}
	var texts []string
	for _, p := range tg.patterns {
		texts = append(texts, p.String())
	}
	tg.title = "Changes of " + strings.Join(texts, " ")
	return tg
}

// candidates returns what a room may stand for, of which the first that exists counts. sure is set for what exists without
// an event.
func (n *names) candidates(local string) (ts []target, sure bool) {
	if t, ok := n.configured[local]; ok {
		return []target{t}, true
	}
	if strings.HasPrefix(local, `\2f`) {
		path, err := url.PathUnescape(jid.UnescapeLocal(local))
		if err != nil {
			return nil, false
		}
		if t, err := tidings.ParseTopic(path); err == nil {
			return []target{topicTarget(local, t)}, false
		}
		if p, err := tidings.ParsePattern(path); err == nil {
			return []target{patternTarget(local, []tidings.Pattern{p})}, true
		}
		return nil, false
	}
	if t, err := tidings.ParseTopic(wikiTopics + local); err == nil && !strings.Contains(local, "/") {
		return []target{topicTarget(local, t)}, n.hosts[t]
	}
	return nil, false
}

// localOf returns the localpart of the room under which a topic is listed, "" if it has none: one whose name is too long.
func (n *names) localOf(t tidings.Topic) string {
	if local, ok := n.wikis[t]; ok {
		return local
	}
	if host, ok := strings.CutPrefix(string(t), wikiTopics); ok && !strings.Contains(host, "/") {
		local, err := n.local(host)
		if _, taken := n.configured[host]; err == nil && local == host && !taken {
			return host
		}
	}
	return n.escape(string(t))
}

// escape returns the localpart for a path, "" if there is none.
func (n *names) escape(path string) string {
	for _, all := range []bool{false, true} {
		local, err := jid.EscapeLocal(percentEncode(path, all))
		if err != nil {
			continue
		}
		if prepared, err := n.local(local); err == nil && prepared == local {
			return local
		}
	}
	return ""
}

// percentEncode encodes what a localpart would not give back: percent signs, capitals and, where told so, everything that is
// not ASCII.
func percentEncode(s string, nonASCII bool) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, len(s)+16)
	for i := range len(s) {
		c := s[i]
		if c == '%' || 'A' <= c && c <= 'Z' || c >= 0x80 && nonASCII || c == ' ' && i == len(s)-1 {
			b = append(b, '%', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}
