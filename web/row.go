package web

import (
	"bytes"
	"encoding/json"
	"html"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"tidings"
	"tidings/hub"
	"tidings/internal/media"
	"tidings/outlet"
)

// maxExcerpt bounds what a row shows of a payload or a summary, in characters.
const maxExcerpt = 240

// row is one event in the list. The function row in assets/page.js makes the same of what the stream sends; a test in
// interop holds the two together.
type row struct {
	Position  tidings.Position
	Time      time.Time
	Topic     tidings.Topic
	TopicPage string
	Place     string // the wiki's id, or the topic
	Title     string // of a change; else empty
	Link      string // http or https, or empty
	Kind      string // what is not an edit: a log entry's type and action, or the type
	Flags     []flag
	Diff      string // such as +113
	DiffLink  string
	Sign      string // up, down or same
	User      string
	Text      string // the summary, or an excerpt of the payload
}

type flag struct{ Letter, Name string }

// change is what a row shows of a recent change as EventStreams has it (mediawiki/recentchange 1.0).
type change struct {
	Schema string `json:"$schema"`
	Meta   struct {
		URI string `json:"uri"`
	} `json:"meta"`
	Type      string  `json:"type"`
	Title     string  `json:"title"`
	Comment   string  `json:"comment"`
	User      string  `json:"user"`
	Bot       bool    `json:"bot"`
	Minor     bool    `json:"minor"`
	Patrolled *bool   `json:"patrolled"`
	Length    numbers `json:"length"`
	Revision  numbers `json:"revision"`
	Server    string  `json:"server_url"`
	Script    string  `json:"server_script_path"`
	Wiki      string  `json:"wiki"`
	LogType   string  `json:"log_type"`
	LogAction string  `json:"log_action"`
	LogText   string  `json:"log_action_comment"`
}

type numbers struct {
	Old *int64 `json:"old"`
	New *int64 `json:"new"`
}

const changeSchema = "/mediawiki/recentchange/"

func rowOf(it *hub.Item, v view) row {
	r := row{Position: it.Position, Time: it.Time.UTC(), Topic: it.Topic, TopicPage: v.TopicPage(it.Topic), Place: string(it.Topic)}
	typ, data := outlet.Payload(nil, it)
	if it.Kind == tidings.Retract {
		r.Kind, r.Text = "withdrawn", it.ItemID()
		return r
	}
	if media.ClassOf(typ) == media.JSON && bytes.Contains(data, []byte(changeSchema)) {
		var c change
		if json.Unmarshal(data, &c) == nil && strings.HasPrefix(c.Schema, changeSchema) && c.Title != "" {
			r.change(c)
			return r
		}
	}
	r.Text = excerptOf(typ, data)
	return r
}

func (r *row) change(c change) {
	if c.Wiki != "" {
		r.Place = c.Wiki
	}
	r.Title, r.Link, r.User, r.Text = c.Title, webLink(c.Meta.URI), c.User, excerpt(c.Comment)
	switch {
	case c.Type == "log" && c.LogType != "":
		r.Kind = c.LogType + "/" + c.LogAction
		if c.LogText != "" {
			// Newer kinds of log entry begin with the user, who stands before it already.
			r.Text = excerpt(strings.TrimPrefix(html.UnescapeString(c.LogText), c.User+" "))
		}
	case c.Type != "edit" && c.Type != "new":
		r.Kind = c.Type
	}
	if c.Type == "new" {
		r.Flags = append(r.Flags, flag{"N", "new page"})
	}
	if c.Minor {
		r.Flags = append(r.Flags, flag{"m", "minor edit"})
	}
	if c.Bot {
		r.Flags = append(r.Flags, flag{"b", "by a bot"})
	}
	if c.Patrolled != nil && !*c.Patrolled {
		r.Flags = append(r.Flags, flag{"!", "not yet patrolled"})
	}
	if c.Length.New != nil && (c.Length.Old != nil || c.Type == "new") {
		n := *c.Length.New
		if c.Length.Old != nil {
			n -= *c.Length.Old
		}
		switch {
		case n > 0:
			r.Diff, r.Sign = "+"+numberText(n), "up"
		case n < 0:
			r.Diff, r.Sign = "\u2212"+numberText(uint64(-n)), "down"
		default:
			r.Diff, r.Sign = "0", "same"
		}
		if c.Type == "edit" && c.Revision.New != nil && c.Revision.Old != nil {
			script := c.Script
			if script == "/" {
				script = ""
			}
			r.DiffLink = webLink(c.Server + script + "/index.php?diff=" + strconv.FormatInt(*c.Revision.New, 10) + "&oldid=" + strconv.FormatInt(*c.Revision.Old, 10))
		}
	}
}

// webLink returns the address if it is one of the Web. What strangers send may be anything, javascript: included.
func webLink(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return s
}

// excerptOf returns a payload as one line, or what it is where it is no text.
func excerptOf(contentType string, data []byte) string {
	class := media.ClassOf(contentType)
	if class == media.Other || !utf8.Valid(data) {
		if contentType == "" {
			contentType = "application/octet-stream"
		}
		return contentType + ", " + strconv.Itoa(len(data)) + " bytes"
	}
	if class == media.JSON {
		// Without white space, and with characters instead of escapes for them.
		if b, err := jsontext.AppendFormat(nil, data, jsontext.AllowDuplicateNames(true)); err == nil {
			data = b
		}
	}
	return excerpt(string(data))
}

// excerpt returns the beginning of the text as one line.
func excerpt(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	n := 0
	for i := range s {
		if n++; n > maxExcerpt {
			return s[:i] + "…"
		}
	}
	return s
}
