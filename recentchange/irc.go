package recentchange

import (
	"bytes"
	"html"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decodeIRC reads one line of IRCColourfulRCFeedFormatter. Nothing of it is optional but the interwiki prefix, and the
// colour codes tell the parts from each other; colours below 10 may have one digit or two.
func (rc *RecentChange) decodeIRC(prefix, body []byte) error {
	rc.Channel = strings.TrimSpace(string(prefix))
	if !utf8.Valid(body) {
		return fail(InvalidUTF8, "the line is not valid UTF-8")
	}
	body = bytes.TrimRight(bytes.TrimLeft(body, " \t"), "\r\n")
	if bytes.ContainsAny(body, "\r\n") {
		return fail(Malformed, "there is more than one line")
	}
	l := ircLine{rest: string(body)}
	l.want("\x0314[[")
	if l.want("\x0307", "\x037", "\x0303", "\x033") >= 2 {
		l.until(":\x0307", ":\x037")
	}
	title := l.until("\x0314]]")
	l.want("\x034 ", "\x0304 ")
	flags := l.until("\x0310 ")
	l.want("\x0302", "\x032")
	address := l.until("\x03 ")
	l.want("\x035*\x03 ", "\x0305*\x03 ")
	l.want("\x0303", "\x033")
	user := l.until("\x03 ")
	l.want("\x035*\x03 ", "\x0305*\x03 ")
	size := l.until(" \x0310")
	comment, ended := strings.CutSuffix(l.rest, "\x03")
	switch {
	case l.failed && l.rest == "":
		return fail(Truncated, "the line ends too early")
	case l.failed:
		return fail(Malformed, "the line has not the colours of MediaWiki's")
	case !ended && len(body) >= 65000:
		return fail(Truncated, "the line ends after %d bytes", len(body))
	}
	rc.User = Some(user)
	if address == "" {
		return rc.ircLog(title, flags, comment)
	}
	rc.Title, rc.Comment = Some(title), Some(comment)
	rc.Type = Edit
	if strings.Contains(flags, "N") {
		rc.Type = New
	}
	rc.Minor, rc.Bot = Some(strings.Contains(flags, "M")), Some(strings.Contains(flags, "B"))
	if strings.Trim(flags, "!NMB") != "" {
		return fail(BadField, "the flags are not of !NMB")
	}
	if err := rc.ircURL(address, strings.Contains(flags, "!")); err != nil {
		return err
	}
	return rc.ircSize(size)
}

// ircLine is what is left of a line. Once something did not match, failed stays set; rest is empty if the line had ended.
type ircLine struct {
	rest   string
	failed bool
}

// want goes on after the first of the given texts that the rest begins with, and returns its index.
func (l *ircLine) want(texts ...string) int {
	if l.failed {
		return -1
	}
	for i, s := range texts {
		if rest, ok := strings.CutPrefix(l.rest, s); ok {
			l.rest = rest
			return i
		}
	}
	l.failed = true
	for _, s := range texts {
		if strings.HasPrefix(s, l.rest) {
			l.rest = ""
		}
	}
	return -1
}

// until returns what stands before the first of the given texts and goes on after it.
func (l *ircLine) until(ends ...string) string {
	if l.failed {
		return ""
	}
	for _, end := range ends {
		if before, after, ok := strings.Cut(l.rest, end); ok {
			l.rest = after
			return before
		}
	}
	l.failed, l.rest = true, ""
	return ""
}

// ircLog fills in a log entry, whose title is Special:Log/TYPE in the wiki's language and whose comment holds the action's
// and the summary in one.
func (rc *RecentChange) ircLog(title, action, comment string) error {
	_, logType, ok := strings.Cut(title, ":Log/")
	if !ok {
		return fail(BadField, "the line has no address and is no log entry")
	}
	rc.Type = Log
	rc.LogType, rc.LogAction = Some(logType), Some(action)
	const open, end = "[[\x0302", "\x0310]]"
	if _, rest, ok := strings.Cut(comment, open); ok {
		if target, _, ok := strings.Cut(rest, end); ok {
			rc.Title = Some(target)
		}
	}
	comment = strings.ReplaceAll(strings.ReplaceAll(comment, open, "[["), end, "]]")
	rc.LogActionComment = Some(comment)
	return nil
}

// ircURL takes the server, the revisions and the rcid from the address of a change.
func (rc *RecentChange) ircURL(address string, unpatrolled bool) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return fail(BadField, "the address of the change is none")
	}
	rc.ServerURL = Some(u.Scheme + "://" + u.Host)
	rc.ServerName = Some(u.Hostname())
	path := strings.TrimSuffix(u.Path[:strings.LastIndexByte(u.Path, '/')+1], "/")
	if path == "" {
		path = "/"
	}
	rc.ServerScriptPath = Some(path)
	q := u.Query()
	get := func(name string) (n Opt[int64]) {
		if v, err := strconv.ParseInt(q.Get(name), 10, 64); err == nil {
			return Some(v)
		}
		return n
	}
	switch {
	case rc.Type == New && get("oldid").IsSet():
		rc.Revision = Some(Pair{Null[int64](), get("oldid")})
	case get("diff").IsSet():
		rc.Revision = Some(Pair{get("oldid"), get("diff")})
	}
	rc.ID = get("rcid")
	switch { // the address has an rcid where the wiki patrols changes of this type
	case unpatrolled:
		rc.Patrolled = Some(false)
	case rc.ID.IsSet():
		rc.Patrolled = Some(true)
	}
	return nil
}

// ircSize reads (+N), (-N) and, for large removals, the latter in bold.
func (rc *RecentChange) ircSize(s string) error {
	s = strings.ReplaceAll(s, "\x02", "")
	if s == "" {
		return nil
	}
	inner, ok := strings.CutPrefix(s, "(")
	inner, ok2 := strings.CutSuffix(inner, ")")
	n, err := strconv.ParseInt(inner, 10, 64)
	if !ok || !ok2 || err != nil {
		return fail(BadField, "the difference in size is no number")
	}
	rc.LengthDiff = Some(n)
	return nil
}

// AppendIRC appends the line that MediaWiki's IRCColourfulRCFeedFormatter sends for the change, byte for byte, with the
// line feed and without a channel. There is none for categorize, and none for a change that is known too little of: no
// server, no revision or, for a log entry, no action.
func (rc *RecentChange) AppendIRC(dst []byte, w Wiki) (line []byte, ok bool) {
	title, flags, comment := rc.Title.Value(), "", rc.Comment.Value()
	var address string
	switch {
	case rc.Type == Log:
		if !rc.LogAction.IsSet() {
			return dst, false
		}
		special := w.Special
		if special == "" {
			special = "Special"
		}
		link := "[[" + title + "]]"
		comment = strings.ReplaceAll(rc.LogActionComment.Value(), link, "[[\x0302"+title+"\x0310]]")
		if title == "" {
			comment = rc.LogActionComment.Value()
		}
		title = special + ":Log/" + rc.LogType.Value()
		flags = rc.LogAction.Value()
	default:
		if address, ok = rc.ircAddress(); !ok {
			return dst, false
		}
		if p, known := rc.Patrolled.Get(); known && !p {
			flags = "!"
		}
		for _, f := range [...]struct {
			on   bool
			flag string
		}{{rc.Type == New, "N"}, {rc.Minor.Value(), "M"}, {rc.Bot.Value(), "B"}} {
			if f.on {
				flags += f.flag
			}
		}
	}
	dst = append(dst, "\x0314[["...)
	if w.InterwikiPrefix != "" {
		dst = append(append(append(dst, "\x0303"...), w.InterwikiPrefix...), ':')
	}
	dst = appendIRCText(append(dst, "\x0307"...), title)
	dst = appendOneLine(append(dst, "\x0314]]\x034 "...), flags)
	dst = appendOneLine(append(dst, "\x0310 \x0302"...), address)
	dst = appendIRCText(append(dst, "\x03 \x035*\x03 \x0303"...), rc.User.Value())
	dst = append(dst, "\x03 \x035*\x03 "...)
	if n, known := rc.Diff(); known {
		switch {
		case n < -500:
			dst = append(strconv.AppendInt(append(dst, "(\x02"...), n, 10), "\x02)"...)
		case n < 0:
			dst = append(strconv.AppendInt(append(dst, '('), n, 10), ')')
		default:
			dst = append(strconv.AppendInt(append(dst, "(+"...), n, 10), ')')
		}
	}
	dst = appendIRCText(append(dst, " \x0310"...), comment)
	return append(dst, "\x03\n"...), true
}

// appendOneLine appends s without what would end the line: a sender's log_action or server_url is not to be trusted.
func appendOneLine(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c != '\n' && c != '\r' && c != 0 {
			dst = append(dst, c)
		}
	}
	return dst
}

// ircAddress returns the address in the line: the wiki patrols changes of this type if the change says whether it was.
func (rc *RecentChange) ircAddress() (string, bool) {
	server, script := rc.ServerURL.Value(), strings.TrimSuffix(rc.ServerScriptPath.Value(), "/")
	rev, ok := rc.Revision.Get()
	if server == "" || !ok || rc.Type == Categorize {
		return "", false
	}
	b := append([]byte(server), script...)
	b = append(b, "/index.php?"...)
	if rc.Type == New {
		b = strconv.AppendInt(append(b, "oldid="...), rev.New.v, 10)
	} else {
		b = strconv.AppendInt(append(b, "diff="...), rev.New.v, 10)
		b = strconv.AppendInt(append(b, "&oldid="...), rev.Old.v, 10)
	}
	if rc.Patrolled.IsSet() {
		b = strconv.AppendInt(append(b, "&rcid="...), rc.ID.v, 10)
	}
	return string(b), true
}

// appendIRCText appends s as IRCColourfulRCFeedFormatter::cleanupForIRC does: HTML character references decoded, a line
// feed as a blank, no carriage return.
func appendIRCText(dst []byte, s string) []byte {
	for s != "" {
		i := strings.IndexAny(s, "&\r\n")
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		switch s[i] {
		case '\n':
			dst = append(dst, ' ')
			s = s[i+1:]
		case '\r':
			s = s[i+1:]
		default:
			ref := reference(s[i:])
			text := html.UnescapeString(ref)
			// A name that only begins with one of HTML's keeps its semicolon, and is no reference to MediaWiki.
			if text != ref && (text == ";" || !strings.HasSuffix(text, ";")) {
				dst = append(dst, strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "\r", "")...)
				s = s[i+len(ref):]
			} else {
				dst = append(dst, '&')
				s = s[i+1:]
			}
		}
	}
	return dst
}

// reference returns the character reference that s begins with, its semicolon included, or "&".
func reference(s string) string {
	for i := 1; i < len(s) && i < 40; i++ {
		switch c := s[i]; {
		case c == ';':
			return s[:i+1]
		case c == '#' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9':
		default:
			return "&"
		}
	}
	return "&"
}
