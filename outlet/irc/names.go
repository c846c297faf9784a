package irc

import (
	"net/url"
	"slices"
	"strings"

	"tidings"
	wire "tidings/irc"
	"tidings/recentchange"
)

// wikiTopics begins the topics of wikis.
const wikiTopics = "/recentchange/"

// legacy are the channels of those wikis of Wikimedia whose names do not follow from their hosts ($wmgRC2UDPPrefix).
var legacy = map[string]string{
	"advisory.wikimedia.org":      "#advisory.wikipedia",
	"donate.wikimedia.org":        "#donate.wikimedia.org",
	"foundation.wikimedia.org":    "#wikimediafoundation.org",
	"login.wikimedia.org":         "#login.wikipedia",
	"outreach.wikimedia.org":      "#outreach.wikipedia",
	"quality.wikimedia.org":       "#quality.wikipedia",
	"test.wikidata.org":           "#testwikidata.wikipedia",
	"vote.wikimedia.org":          "#vote.wikipedia",
	"wikimania2005.wikimedia.org": "#wikimania.wikimedia",
	"wikimania2010.wikimedia.org": "#wikimania2010.wikipedia",
	"wikimania2011.wikimedia.org": "#wikimania2011.wikipedia",
	"wikimania2012.wikimedia.org": "#wikimania2012.wikipedia",
	"wikimania2013.wikimedia.org": "#wikimania2013.wikipedia",
	"wikimania2014.wikimedia.org": "#wikimania2014.wikipedia",
	"www.mediawiki.org":           "#mediawiki.wikipedia",
	"www.wikidata.org":            "#wikidata.wikipedia",
}

// names says which channel a topic has and what a channel stands for. It never changes.
//
//   - a wiki has its irc_channel, its channel at Wikimedia where that does not follow from its host, or # and its host
//     without .org; a wiki known by its id only has # and the id
//   - any other topic has # and itself: #/news/local; blanks, commas and percent signs are percent-encoded
//   - the configuration gives a channel to any set of patterns
type names struct {
	configured map[string]target // by folded name: they exist without an event
	old        map[string]target // by folded name: legacy, with the wiki's events
	byTopic    map[tidings.Topic]string
}

// target is what a channel stands for.
type target struct {
	name     string
	patterns []tidings.Pattern
	topic    tidings.Topic // if it is one topic
}

// targetOf returns a channel of one topic.
func targetOf(name string, t tidings.Topic) target {
	return target{name: name, patterns: []tidings.Pattern{tidings.PatternOf(t)}, topic: t}
}

func newNames(wikis recentchange.Wikis, channels map[string][]tidings.Pattern) (*names, error) {
	n := &names{configured: map[string]target{}, old: map[string]target{}, byTopic: map[tidings.Topic]string{}}
	for host, name := range legacy {
		t := tidings.Topic(wikiTopics + host)
		n.old[wire.Fold(name)] = targetOf(name, t)
		n.byTopic[t] = name
	}
	for id, w := range wikis {
		rc := recentchange.RecentChange{Wiki: recentchange.Some(id)}
		recentchange.Wikis{id: w}.Fill(&rc, rc.Time())
		t, err := rc.Topic()
		if err != nil {
			continue // it has no events that anybody could read
		}
		name := w.IRCChannel
		if name == "" {
			name = n.channelOf(t)
		}
		if err := n.configure(targetOf(name, t)); err != nil {
			return nil, err
		}
		n.byTopic[t] = name
	}
	for name, ps := range channels {
		tg := target{name: name, patterns: tidings.Patterns(ps...)}
		if len(tg.patterns) == 1 {
			tg.topic, _ = tg.patterns[0].Topic()
		}
		if len(tg.patterns) == 0 {
			return nil, tidings.Errorf(tidings.ErrInvalid, "irc: the channel %q stands for no topic", name)
		}
		if err := n.configure(tg); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *names) configure(t target) error {
	if !wire.ValidChannel(t.name) {
		return tidings.Errorf(tidings.ErrInvalid, "irc: %q is no name of a channel: want # and at most %d characters without blanks and commas", t.name, wire.MaxChannel-1)
	}
	if other, ok := n.configured[wire.Fold(t.name)]; ok && !slices.EqualFunc(other.patterns, t.patterns, func(a, b tidings.Pattern) bool { return a.String() == b.String() }) {
		return tidings.Errorf(tidings.ErrInvalid, "irc: the channel %s is configured twice, for %s and for %s", t.name, other.patterns[0], t.patterns[0])
	}
	n.configured[wire.Fold(t.name)] = t
	return nil
}

// channelOf returns the channel of a topic, which may be none that a client can join: one that is too long.
func (n *names) channelOf(t tidings.Topic) string {
	if name, ok := n.byTopic[t]; ok {
		return name
	}
	if host, ok := strings.CutPrefix(string(t), wikiTopics); ok && !strings.Contains(host, "/") && wire.ValidChannel("#"+host) {
		return "#" + strings.TrimSuffix(host, ".org")
	}
	return "#" + escape(string(t))
}

// candidates returns what a channel may stand for, the first that exists wins. sure is set for what the configuration
// says to exist.
func (n *names) candidates(channel string) (ts []target, sure bool) {
	if !wire.ValidChannel(channel) {
		return nil, false
	}
	folded := wire.Fold(channel)
	if t, ok := n.configured[folded]; ok {
		return []target{t}, true
	}
	if t, ok := n.old[folded]; ok {
		ts = append(ts, t)
	}
	add := func(topic string) {
		t, err := tidings.ParseTopic(topic)
		if err != nil {
			return
		}
		name := n.channelOf(t)
		if !wire.Same(name, channel) {
			name = channel // another name for it: a client knows what it asked for
		}
		ts = append(ts, targetOf(name, t))
	}
	rest := channel[1:]
	if rest[0] == '/' {
		if topic, err := url.PathUnescape(rest); err == nil {
			add(topic)
		}
		return ts, false
	}
	host := strings.ToLower(rest)
	add(wikiTopics + host + ".org")
	add(wikiTopics + host)
	return ts, false
}

// key is the name under which a channel is found. Topics, other than hosts, are told apart by case.
func key(channel string) string {
	if strings.HasPrefix(channel, "#/") {
		return channel
	}
	return wire.Fold(channel)
}

// escape writes a topic as the name of a channel.
func escape(topic string) string {
	if !strings.ContainsAny(topic, " ,%") {
		return topic
	}
	return strings.NewReplacer(" ", "%20", ",", "%2C", "%", "%25").Replace(topic)
}
