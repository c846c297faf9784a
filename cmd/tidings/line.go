package main

import (
	"bytes"
	"encoding/json"
	"html"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tidings"
	"tidings/client"
	"tidings/recentchange"
)

// maxLine bounds what a line for a person shows of a payload, in characters.
const maxLine = 300

// painter writes events as lines for a person.
type painter struct {
	colour bool
	now    func() time.Time
}

// The colours, as SGR parameters (ECMA-48 section 8.3.117).
const (
	dim    = "2"
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// wantsColour reports whether w is a terminal that may be given colours.
func wantsColour(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// paint returns s in the colour.
func (p painter) paint(colour, s string) string {
	if !p.colour || s == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// event returns the event as one line, without its end.
func (p painter) event(e client.Event) string {
	line := p.paint(dim, p.when(e.Time)) + " " + p.paint(cyan, printable(string(e.Topic))) + " "
	switch rc := changeOf(e); {
	case e.Kind == tidings.Retract:
		return line + p.paint(red, "retracted ") + printable(e.ID)
	case rc != nil:
		return line + p.change(rc)
	default:
		return line + text(e.ContentType, e.Payload)
	}
}

// when returns the time of day here, with the date if it is not today's.
func (p painter) when(t time.Time) string {
	if t.IsZero() {
		return "--:--:--"
	}
	t, now := t.Local(), p.now().Local()
	if t.Year() == now.Year() && t.YearDay() == now.YearDay() {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// changeOf returns the recent change that the event announces, or nil.
func changeOf(e client.Event) *recentchange.RecentChange {
	e = outOfEntry(e)
	typ := e.ContentType
	if !recentchange.IsRecentChange(typ) {
		// Streams have changes as EventStreams does, whose media type is plain JSON.
		if !bytes.Contains(e.Payload[:min(len(e.Payload), 200)], []byte(`"/mediawiki/recentchange/`)) {
			return nil
		}
		typ = recentchange.TypeEventStreams
	}
	rc, err := recentchange.Decode(typ, e.Payload)
	if err != nil {
		return nil // it is shown as what it is, JSON
	}
	return rc
}

// change returns a recent change as [[Title]] user (+12) summary, with the flags that wikis put before the title.
func (p painter) change(rc *recentchange.RecentChange) string {
	var b strings.Builder
	flags := ""
	if rc.Type == recentchange.New {
		flags += "N"
	}
	if rc.Minor.Value() {
		flags += "M"
	}
	if rc.Bot.Value() {
		flags += "B"
	}
	if flags != "" {
		b.WriteString(p.paint(yellow, flags) + " ")
	}
	b.WriteString(p.paint(bold, "[["+printable(rc.Title.Value())+"]]"))
	if rc.Type == recentchange.Log {
		b.WriteString(" " + p.paint(yellow, printable(rc.LogType.Value()+"/"+rc.LogAction.Value())))
	}
	if user, ok := rc.User.Get(); ok {
		b.WriteString(" " + printable(user))
	}
	if diff, ok := rc.Diff(); ok {
		colour, s := green, "(+"+strconv.FormatInt(diff, 10)+")"
		if diff < 0 {
			colour, s = red, "("+strconv.FormatInt(diff, 10)+")"
		}
		b.WriteString(" " + p.paint(colour, s))
	}
	comment := rc.Comment.Value()
	if c := rc.LogActionComment.Value(); c != "" {
		// Newer kinds of log entry begin with the user, who stands here already.
		comment = strings.TrimPrefix(html.UnescapeString(c), rc.User.Value()+" ")
	}
	if comment = printable(comment); comment != "" {
		b.WriteString(" " + cut(comment))
	}
	return b.String()
}

// text returns a payload as one line, or what it is where it is no text.
func text(contentType string, payload []byte) string {
	if !utf8.Valid(payload) {
		if contentType == "" {
			contentType = "of no known type"
		}
		return "(" + printable(contentType) + ", " + strconv.Itoa(len(payload)) + " bytes)"
	}
	var compact bytes.Buffer
	if json.Compact(&compact, payload) == nil {
		payload = compact.Bytes()
	}
	return cut(printable(string(payload)))
}

// cut shortens s to maxLine characters.
func cut(s string) string {
	n := 0
	for i := range s {
		if n++; n > maxLine {
			return s[:i] + "…"
		}
	}
	return s
}

// printable makes s safe for a terminal and one line long: white space of any kind is one blank, and other control
// characters, invisible changes of writing direction included, are U+FFFD.
func printable(s string) string {
	clean := func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
	}
	if utf8.ValidString(s) && strings.IndexFunc(s, clean) < 0 {
		return s
	}
	var b strings.Builder
	blank := false
	for _, r := range s {
		if unicode.IsSpace(r) && r != ' ' && r != '\u00a0' {
			blank = true
			continue
		}
		if blank {
			if r == ' ' {
				continue
			}
			if !strings.HasSuffix(b.String(), " ") {
				b.WriteByte(' ')
			}
			blank = false
		}
		if clean(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}
