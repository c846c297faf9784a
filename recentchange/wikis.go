package recentchange

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"tidings"
)

// Wiki is what has to be known of a wiki beside what its feed says. Every field is optional.
type Wiki struct {
	ServerName  string `toml:"server_name"`  // such as en.wikipedia.org; default: the host of ServerURL
	ServerURL   string `toml:"server_url"`   // $wgCanonicalServer, without a slash at its end; default: https:// and ServerName
	ScriptPath  string `toml:"script_path"`  // $wgScriptPath, such as /w; "/" for an empty one
	ArticlePath string `toml:"article_path"` // $wgArticlePath; default /wiki/$1
	// IRCChannel is the channel that stands before the wiki's lines, such as #en.wikipedia.
	IRCChannel string `toml:"irc_channel"`
	// Special is the name of the Special namespace in the wiki's language, for IRC lines; default Special.
	Special string `toml:"special_namespace"`
	// InterwikiPrefix is the feed's add_interwiki_prefix, for IRC lines; default none.
	InterwikiPrefix string `toml:"interwiki_prefix"`
}

// Wikis are the configured wikis by id. A nil Wikis knows none.
type Wikis map[string]Wiki

// Validate returns an error of kind ErrInvalid for a wiki that cannot be told from another one, or with a server_url
// that is none.
func (ws Wikis) Validate() error {
	hosts, channels := map[string]string{}, map[string]string{}
	for _, id := range ws.ids() {
		w := ws[id]
		if w.ServerURL != "" {
			u, err := url.Parse(w.ServerURL)
			if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" {
				return tidings.Errorf(tidings.ErrInvalid, "wikis.%s: server_url %q is not of the form https://en.wikipedia.org", id, w.ServerURL)
			}
		}
		if w.ArticlePath != "" && !strings.Contains(w.ArticlePath, "$1") {
			return tidings.Errorf(tidings.ErrInvalid, "wikis.%s: article_path %q has no $1", id, w.ArticlePath)
		}
		if c := w.IRCChannel; c != "" {
			if other, ok := channels[c]; ok {
				return tidings.Errorf(tidings.ErrInvalid, "wikis.%s: wikis.%s has the irc_channel %q too", id, other, c)
			}
			channels[c] = id
		}
		if h := w.serverName() + w.ScriptPath; h != "" {
			if other, ok := hosts[h]; ok {
				return tidings.Errorf(tidings.ErrInvalid, "wikis.%s: wikis.%s has the same server_name and script_path", id, other)
			}
			hosts[h] = id
		}
	}
	return nil
}

// ids returns the ids in order, so that what depends on several wikis does not depend on chance.
func (ws Wikis) ids() []string {
	ids := make([]string, 0, len(ws))
	for id := range ws {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (w Wiki) serverName() string {
	if w.ServerName != "" || w.ServerURL == "" {
		return w.ServerName
	}
	return hostOf(w.ServerURL)
}

func (w Wiki) serverURL() string {
	if w.ServerURL != "" || w.ServerName == "" {
		return w.ServerURL
	}
	return "https://" + w.ServerName
}

// hostOf returns the host of a server's URL without its port, or "".
func hostOf(serverURL string) string {
	u, err := url.Parse(serverURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// ByHost returns the wiki with that server name.
func (ws Wikis) ByHost(serverName string) (id string, w Wiki, ok bool) {
	return ws.find(serverName, Wiki.serverName)
}

// ByChannel returns the wiki whose lines have that IRC channel before them.
func (ws Wikis) ByChannel(channel string) (id string, w Wiki, ok bool) {
	return ws.find(channel, func(w Wiki) string { return w.IRCChannel })
}

// find looks at each wiki: only IRC lines need it, and they are few a second on any wiki there is.
func (ws Wikis) find(key string, of func(Wiki) string) (id string, w Wiki, ok bool) {
	if key == "" {
		return "", Wiki{}, false
	}
	for i, candidate := range ws {
		if of(candidate) == key && (!ok || i < id) {
			id, w, ok = i, candidate, true
		}
	}
	return id, w, ok
}

// Fill sets the fields that the dialect of rc cannot know and that are known from the configuration or from the time of
// receipt. It changes no field that has a value.
//
// The wiki is found by rc.Wiki; else by the channel or the server of an IRC line; and a line that tells neither is taken
// as the only configured wiki's, if there is just one.
func (ws Wikis) Fill(rc *RecentChange, received time.Time) {
	if !rc.Timestamp.IsSet() {
		rc.Timestamp = Some(received.Unix())
	}
	if len(ws) == 0 {
		return
	}
	var w Wiki
	var ok bool
	id := rc.Wiki.Value()
	switch {
	case id != "":
		w, ok = ws[id]
	default:
		if id, w, ok = ws.ByChannel(rc.Channel); !ok {
			if id, w, ok = ws.ByHost(rc.ServerName.Value()); !ok {
				if len(ws) == 1 && !rc.ServerName.IsSet() && rc.Channel == "" {
					for id, w = range ws {
						ok = true
					}
				}
			}
		}
	}
	if !ok {
		return
	}
	if !rc.Wiki.IsSet() {
		rc.Wiki = Some(id)
	}
	fill(&rc.ServerURL, w.serverURL())
	fill(&rc.ServerName, w.serverName())
	fill(&rc.ServerScriptPath, w.ScriptPath)
	rc.articlePath = w.ArticlePath
}

func fill(o *Opt[string], v string) {
	if !o.IsSet() && v != "" {
		*o = Some(v)
	}
}

// domain returns the host that meta.domain names.
func (rc *RecentChange) domain() (string, bool) {
	if rc.Meta != nil && rc.Meta.Domain != "" {
		return rc.Meta.Domain, true
	}
	return rc.ServerName.Get()
}

// appendURI appends the page's address: title_url where it was given, else made of the server, the article path and the
// title; nothing without a server or a title.
func (rc *RecentChange) appendURI(dst []byte) []byte {
	if u, ok := rc.TitleURL.Get(); ok {
		return append(dst, u...)
	}
	title := rc.Title.Value()
	if title == "" || rc.ServerURL.Value() == "" {
		return dst
	}
	dst = append(dst, rc.ServerURL.Value()...)
	if rc.articlePath == "" {
		return AppendTitle(append(dst, "/wiki/"...), title)
	}
	before, after, _ := strings.Cut(rc.articlePath, "$1")
	return append(AppendTitle(append(dst, before...), title), after...)
}

// titleSafe are the bytes that MediaWiki leaves as they are in the address of a page (wfUrlencode).
var titleSafe = func() (safe [256]bool) {
	for c := range safe {
		b := byte(c)
		safe[c] = 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-_.;@$!*(),/~:", b) >= 0
	}
	return safe
}()

// AppendTitle appends a title as MediaWiki writes it in an address: blanks as underscores, the rest percent-encoded as
// wfUrlencode does.
func AppendTitle(dst []byte, title string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(title) {
		switch c := title[i]; {
		case c == ' ':
			dst = append(dst, '_')
		case titleSafe[c]:
			dst = append(dst, c)
		default:
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}
