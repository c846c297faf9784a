// Package recentchange is the one payload type that Tidings knows by name: a change on a MediaWiki wiki, in one model
// with a codec for every form in which wikis announce changes.
//
//   - core JSON and core XML: what MediaWiki's JSONRCFeedFormatter and XMLRCFeedFormatter send ($wgRCFeeds), in and out
//     for JSON, in for XML
//   - <rc>: what the XMLRC extension sends, the element of the API's list=recentchanges with a wikiid, in and out
//   - the coloured line of IRCColourfulRCFeedFormatter, in and out
//   - a row of the API's list=recentchanges in JSON, in
//   - EventStreams: the event mediawiki/recentchange 1.0.0 as stream.wikimedia.org serves it, in and out
//
// No dialect tells everything. [Wikis] supplies what one of them cannot know of its wiki. What a dialect leaves out of
// the model is told apart from what it states to be null, because some outputs differ in that: see [Opt].
package recentchange

import (
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// The media types of the dialects, the content types of events that carry a change.
const (
	TypeJSON         = "application/vnd.mediawiki.recentchange+json"
	TypeXML          = "application/vnd.mediawiki.recentchange+xml"
	TypeRC           = "application/vnd.mediawiki.rc+xml"
	TypeIRC          = "text/vnd.mediawiki.irc"
	TypeEventStreams = "application/vnd.mediawiki.eventstreams.recentchange+json"
	// TypeAPI has parameters that say which wiki the row is of: see APIType.
	TypeAPI = "application/vnd.mediawiki.api.recentchange+json"
)

// IsRecentChange reports whether contentType, parameters aside, is one of the types of this package.
func IsRecentChange(contentType string) bool { return dialect(contentType) != "" }

// dialect returns the constant that contentType names, or "".
func dialect(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.TrimSpace(t)
	for _, d := range [...]string{TypeJSON, TypeEventStreams, TypeXML, TypeRC, TypeIRC, TypeAPI} {
		if strings.EqualFold(t, d) {
			return d
		}
	}
	return ""
}

// The types of change that MediaWiki core makes. Extensions make others, whose type is a number in decimal, such as 142.
const (
	Edit       = "edit"
	New        = "new"
	Log        = "log"
	Categorize = "categorize"
)

// RecentChange is one change on a wiki. The names of its fields are those of EventStreams; a field that only some
// dialects have is absent after decoding another one.
//
// Strings share memory with each other, never with the payload they were decoded from.
type RecentChange struct {
	// Dialect is the content type it was decoded from; empty for one made by a program.
	Dialect string

	ID               Opt[int64] // rcid; null for a log entry that the wiki does not list under recent changes
	Type             string     // never empty after decoding
	Namespace        Opt[int64]
	Title            Opt[string] // with the namespace's name, and with blanks
	TitleURL         Opt[string]
	Comment          Opt[string]
	Timestamp        Opt[int64] // seconds since 1970
	User             Opt[string]
	Bot              Opt[bool]
	NotifyURL        Opt[string]
	Minor            Opt[bool]
	Patrolled        Opt[bool] // absent where the wiki does not patrol changes of this type
	Length           Opt[Pair] // bytes
	Revision         Opt[Pair]
	LogID            Opt[int64]
	LogType          Opt[string]
	LogAction        Opt[string]
	LogParams        Opt[JSON]
	LogActionComment Opt[string] // as MediaWiki sends it, HTML character references included
	ServerURL        Opt[string]
	ServerName       Opt[string]
	ServerScriptPath Opt[string] // "/" for an empty one
	Wiki             Opt[string] // the wiki's id, such as enwiki
	ParsedComment    Opt[string]
	// Extra are the members of a JSON object that are not listed above, in order.
	Extra []Member
	// Meta is the meta of an EventStreams event.
	Meta *Meta

	// Channel is what stood before an IRC line, such as #en.wikipedia.
	Channel string
	// LengthDiff is what an IRC line tells of the lengths: the difference.
	LengthDiff Opt[int64]

	// These are in <rc> and in rows of the API only.
	PageID       Opt[int64]
	UserID       Opt[int64]
	Anon         Opt[bool]
	Redirect     Opt[bool]
	NewNamespace Opt[int64]  // of very old type="move" rows
	NewTitle     Opt[string] // of very old type="move" rows
	Tags         []string
	rcChildren   string // the child elements but <tags>, as AppendRC writes them
	rcRevision   Pair   // for every type
	rcLength     Pair   // for every type

	articlePath string          // from Wikis
	order       [maxOrder]uint8 // the fields in the order of the JSON object
	orderLen    uint8
}

// Pair holds the two members of length and of revision.
type Pair struct{ Old, New Opt[int64] }

// JSON is the text of one valid JSON value without white space between its tokens.
type JSON string

// Member is a member of a JSON object.
type Member struct {
	Name  string
	Value JSON
}

// Opt is a value that may be absent, or null. The zero Opt is absent.
type Opt[T any] struct {
	v     T
	state state
}

type state uint8

const (
	absent state = iota
	null
	set
)

// Some returns an Opt with the value v.
func Some[T any](v T) Opt[T] { return Opt[T]{v: v, state: set} }

// Null returns an Opt that is present and null.
func Null[T any]() Opt[T] { return Opt[T]{state: null} }

// Get returns the value and whether there is one.
func (o Opt[T]) Get() (T, bool) { return o.v, o.state == set }

// Value returns the value, or the zero one if there is none.
func (o Opt[T]) Value() T { return o.v }

// IsSet reports whether there is a value.
func (o Opt[T]) IsSet() bool { return o.state == set }

// IsNull reports whether o is present and null.
func (o Opt[T]) IsNull() bool { return o.state == null }

// IsAbsent reports whether o is neither set nor null.
func (o Opt[T]) IsAbsent() bool { return o.state == absent }

// Topic returns the topic that the change belongs to: /recentchange/ and the server's name, or the wiki's id where the
// server is not known or has a name that no topic can have. The error is of kind ErrInvalid with the reason UnknownWiki.
func (rc *RecentChange) Topic() (tidings.Topic, error) {
	const prefix = "/recentchange/"
	for _, name := range [...]string{rc.ServerName.Value(), rc.Wiki.Value()} {
		if name == "" {
			continue
		}
		if t, err := tidings.ParseTopic(prefix + name); err == nil && strings.Count(string(t), "/") == 2 {
			return t, nil
		}
	}
	return "", fail(UnknownWiki, "the change names neither a server nor a wiki that a topic can be named after")
}

// Key returns the name by which a repeat of the change is recognised, the same in every dialect: rc/WIKI/RCID, or
// log/WIKI/LOGID/TIMESTAMP/HASH-OF-USER for a log entry without an rcid. It is empty if the change tells neither.
func (rc *RecentChange) Key() string {
	wiki := rc.Wiki.Value()
	if wiki == "" || len(wiki) > 128 {
		return ""
	}
	b := make([]byte, 0, 64)
	switch {
	case rc.ID.Value() > 0:
		b = append(append(append(b, "rc/"...), wiki...), '/')
		b = strconv.AppendInt(b, rc.ID.Value(), 10)
	case rc.LogID.Value() > 0 && rc.Timestamp.IsSet():
		b = append(append(append(b, "log/"...), wiki...), '/')
		b = append(strconv.AppendInt(b, rc.LogID.Value(), 10), '/')
		b = append(strconv.AppendInt(b, rc.Timestamp.Value(), 10), '/')
		h := fnv.New32a()
		h.Write([]byte(rc.User.Value()))
		b = strconv.AppendUint(b, uint64(h.Sum32()), 16)
	}
	return string(b)
}

// Time returns when the change was made, or the zero Time if that is not known.
func (rc *RecentChange) Time() time.Time {
	if ts, ok := rc.Timestamp.Get(); ok {
		return time.Unix(ts, 0).UTC()
	}
	return time.Time{}
}

// Diff returns by how many bytes the page has grown, and whether that is known.
func (rc *RecentChange) Diff() (int64, bool) {
	if l, ok := rc.Length.Get(); ok && l.New.IsSet() && (l.Old.IsSet() || rc.Type == New) {
		return l.New.Value() - l.Old.Value(), true
	}
	return rc.LengthDiff.Get()
}
