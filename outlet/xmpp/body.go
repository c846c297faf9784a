package xmpp

import (
	"fmt"
	"mime"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"tidings"
	"tidings/hub"
	"tidings/recentchange"
	"tidings/xmpp/xmlstream"
)

// maxSummary bounds the text for people, in bytes, where the payload itself stands beside it.
const maxSummary = 1024

// body returns the text for people of an event; it is never empty. A recent change is told as the XMLRC bridge told it, text
// is itself, and of what stands beside it as an element there is the beginning. el is the payload if it is XML.
func body(it *hub.Item, rc *recentchange.RecentChange, el xmlstream.Element) string {
	text := ""
	switch {
	case it.Kind == tidings.Retract:
		return "retracted " + it.ItemID()
	case rc != nil:
		return string(AppendChange(nil, rc))
	case !el.IsZero() && !reserved(el.Space()):
		if text = summary(el); text == "" {
			text = shorten(string(el.Raw()))
		}
	case utf8.Valid(it.Payload):
		text = strings.TrimSpace(string(it.Payload))
		if carriesJSON(it) {
			text = shorten(text)
		}
	}
	if text == "" {
		return fmt.Sprintf("[%d bytes of %s, item %s]", len(it.Payload), it.ContentType, it.ItemID())
	}
	return text
}

// shorten cuts a text on a rune boundary.
func shorten(s string) string {
	if len(s) <= maxSummary {
		return s
	}
	n := maxSummary
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func isJSON(contentType string) bool { return isMedia(contentType, "json") }
func isXML(contentType string) bool  { return isMedia(contentType, "xml") }

// isMedia reports whether a content type is application/NAME, text/NAME or has the suffix +NAME (RFC 6839).
func isMedia(contentType, name string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	_, sub, _ := strings.Cut(t, "/")
	return sub == name || strings.HasSuffix(sub, "+"+name)
}

// AppendChange appends a change as udp2xmpp, the bridge of the XMLRC extension, wrote it:
//
//	[[TARGET]] FLAGS URL * USER * SIZE COMMENT
//
// with single blanks, so that an empty part leaves two of them.
//
//   - TARGET is the title, and for a log entry Special:Log/ and its type
//   - FLAGS are N (new), M (minor), B (bot) and A (nobody was logged in), and for a log entry its action
//   - URL is the script's with the parameters in the order in which the bridge's always came out: diff, rcid, oldid, title;
//     for a new page rcid, oldid, title; for a log entry page, title. It is empty where the wiki's server is not known
//   - SIZE is (+N) or (-N), and empty for a log entry
//
// One thing is other: the oldid of a new page is its revision, where the bridge wrote 0.
func AppendChange(dst []byte, rc *recentchange.RecentChange) []byte {
	target, flags, comment := rc.Title.Value(), changeFlags(rc), rc.Comment.Value()
	if rc.Type == recentchange.Log {
		target = "Special:Log/" + rc.LogType.Value()
		flags = rc.LogAction.Value()
		if !rc.Comment.IsSet() {
			comment = rc.LogActionComment.Value()
		}
	}
	dst = append(append(append(dst, "[["...), target...), "]] "...)
	dst = append(append(dst, flags...), ' ')
	dst = appendURL(dst, rc, target)
	dst = append(append(append(dst, " * "...), rc.User.Value()...), " * "...)
	if n, ok := rc.Diff(); ok && rc.Type != recentchange.Log {
		sign := "("
		if n >= 0 {
			sign = "(+"
		}
		dst = append(strconv.AppendInt(append(dst, sign...), n, 10), ')')
	}
	return append(append(dst, ' '), comment...)
}

func changeFlags(rc *recentchange.RecentChange) string {
	var b []byte
	for _, f := range [...]struct {
		on   bool
		flag byte
	}{{rc.Type == recentchange.New, 'N'}, {rc.Minor.Value(), 'M'}, {rc.Bot.Value(), 'B'}, {anonymous(rc), 'A'}} {
		if f.on {
			b = append(b, f.flag)
		}
	}
	return string(b)
}

// anonymous reports whether nobody was logged in: told by <rc>, else by a user that is an address.
func anonymous(rc *recentchange.RecentChange) bool {
	if a, ok := rc.Anon.Get(); ok {
		return a
	}
	_, err := netip.ParseAddr(rc.User.Value())
	return err == nil
}

func appendURL(dst []byte, rc *recentchange.RecentChange, target string) []byte {
	server := rc.ServerURL.Value()
	if server == "" {
		return dst
	}
	dst = append(dst, server...)
	dst = append(dst, strings.TrimSuffix(rc.ServerScriptPath.Value(), "/")...)
	dst = append(dst, "/index.php"...)
	sep := byte('?')
	param := func(name, value string) {
		dst = append(append(append(dst, sep), name...), '=')
		dst = append(dst, url.QueryEscape(value)...)
		sep = '&'
	}
	number := func(name string, n recentchange.Opt[int64]) {
		if v, ok := n.Get(); ok {
			param(name, strconv.FormatInt(v, 10))
		}
	}
	revision := rc.Revision.Value()
	switch rc.Type {
	case recentchange.Log:
		param("page", rc.Title.Value())
	case recentchange.New:
		number("rcid", rc.ID)
		number("oldid", revision.New)
	default:
		number("diff", revision.New)
		number("rcid", rc.ID)
		number("oldid", revision.Old)
	}
	param("title", target)
	return dst
}
