package client

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/xmpp/xmlstream"
)

// RecentChange is a change on a wiki, as far as every form tells it in which MediaWiki announces changes. A number that was
// not told is 0. Event.Payload has the whole of it.
type RecentChange struct {
	ID        int64  // rcid; 0 for a log entry that the wiki does not list under recent changes
	Type      string // edit, new, log or categorize; extensions make others
	Namespace int64
	Title     string // with the namespace's name
	User      string
	Comment   string
	Time      time.Time

	Bot, Minor, New, Anonymous, Patrolled bool

	Revision, OldRevision int64
	Length, OldLength     int64 // bytes
	PageID, UserID        int64

	LogID              int64 // of a log entry, as are the next ones
	LogType, LogAction string

	Wiki   string   // the wiki's id, such as enwiki
	Server string   // its host; empty in <rc>
	Tags   []string // of the change
}

// Flags returns the letters by which wikis show what kind of change it is: N for a new page, m for a minor edit and b for a
// bot's.
func (rc RecentChange) Flags() string {
	var b []byte
	for i, set := range []bool{rc.New, rc.Minor, rc.Bot} {
		if set {
			b = append(b, "Nmb"[i])
		}
	}
	return string(b)
}

// RecentChange returns the change that the event announces. ok is false if it announces none, or in a form that is not read
// here: a line of IRC, or core's XML. Rooms and nodes have every change as <rc>, whatever it came as; an Atom entry may hold one.
func (e Event) RecentChange() (rc RecentChange, ok bool) {
	typ, params, err := mime.ParseMediaType(e.ContentType)
	if err != nil || e.Kind != tidings.Publish {
		return rc, false
	}
	switch typ {
	case typeRC:
		return parseRC(e.Payload)
	case "application/atom+xml": // of a node whose service did not make the entry itself
		var d xmlstream.Document
		if entry, err := d.Parse(bytes.TrimSpace(e.Payload), nil); err == nil {
			return changeOf(entry.Child("", "rc"))
		}
	case "application/vnd.mediawiki.recentchange+json", "application/vnd.mediawiki.eventstreams.recentchange+json":
		return parseChange(e.Payload, nil)
	case "application/vnd.mediawiki.api.recentchange+json":
		return parseChange(e.Payload, params)
	}
	return rc, false
}

// parseRC reads the element <rc>.
func parseRC(payload []byte) (rc RecentChange, ok bool) {
	var d xmlstream.Document
	el, err := d.Parse(bytes.TrimSpace(payload), nil)
	if err != nil {
		return rc, false
	}
	return changeOf(el)
}

func changeOf(el xmlstream.Element) (rc RecentChange, ok bool) {
	if el.Name() != "rc" || el.Attr("type") == "" {
		return rc, false
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(el.Attr(name), 10, 64) // 0 is not told
		return n
	}
	rc = RecentChange{
		ID: number("rcid"), Type: el.Attr("type"), Namespace: number("ns"), Title: el.Attr("title"), User: el.Attr("user"), Comment: el.Attr("comment"),
		Bot: el.HasAttr("bot"), Minor: el.HasAttr("minor"), New: el.HasAttr("new") || el.Attr("type") == "new", Anonymous: el.HasAttr("anon"),
		Patrolled: el.HasAttr("patrolled") || el.HasAttr("autopatrolled"),
		Revision:  number("revid"), OldRevision: number("old_revid"), Length: number("newlen"), OldLength: number("oldlen"),
		PageID: number("pageid"), UserID: number("userid"), LogID: number("logid"), LogType: el.Attr("logtype"), LogAction: el.Attr("logaction"),
		Wiki: el.Attr("wikiid"),
	}
	rc.Time, _ = time.Parse(time.RFC3339, el.Attr("timestamp")) // zero is not told
	for c := range el.Child("", "tags").Children() {
		rc.Tags = append(rc.Tags, c.Text())
	}
	return rc, true
}

// flag is true for true, and for the empty text that the API's first format has in its place.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	*f = string(b) != "false" && string(b) != "null"
	return nil
}

// text is a text, or a number as one.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var n json.Number // of a number, or of a text that is one
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(t))
	}
	err := json.Unmarshal(b, &n)
	*t = text(n)
	return err
}

// parseChange reads a change in JSON: core's and EventStreams', or a row of the API, with the parameters of its type.
func parseChange(payload []byte, row map[string]string) (rc RecentChange, ok bool) {
	var in struct {
		ID         int64  `json:"id"`
		Type       text   `json:"type"`
		Title      string `json:"title"`
		User       text   `json:"user"`
		Comment    string `json:"comment"`
		Timestamp  text   `json:"timestamp"`
		Bot        flag   `json:"bot"`
		Minor      flag   `json:"minor"`
		Patrolled  flag   `json:"patrolled"`
		Wiki       string `json:"wiki"`
		ServerName string `json:"server_name"`
		Namespace  int64  `json:"namespace"`
		Length     struct {
			Old, New int64
		} `json:"length"`
		Revision struct {
			Old, New int64
		} `json:"revision"`
		CoreLogID     int64  `json:"log_id"`
		CoreLogType   string `json:"log_type"`
		CoreLogAction string `json:"log_action"`

		// of the API
		RCID      int64    `json:"rcid"`
		NS        int64    `json:"ns"`
		New       flag     `json:"new"`
		Anon      flag     `json:"anon"`
		Auto      flag     `json:"autopatrolled"`
		RevID     int64    `json:"revid"`
		OldRevID  int64    `json:"old_revid"`
		NewLen    int64    `json:"newlen"`
		OldLen    int64    `json:"oldlen"`
		PageID    int64    `json:"pageid"`
		UserID    int64    `json:"userid"`
		LogID     int64    `json:"logid"`
		LogType   string   `json:"logtype"`
		LogAction string   `json:"logaction"`
		Tags      []string `json:"tags"`
	}
	if err := json.Unmarshal(payload, &in); err != nil || in.Type == "" {
		return rc, false
	}
	rc = RecentChange{
		ID: in.ID + in.RCID, Type: string(in.Type), Namespace: in.Namespace + in.NS, Title: in.Title, User: string(in.User), Comment: in.Comment,
		Bot: bool(in.Bot), Minor: bool(in.Minor), New: bool(in.New) || in.Type == "new", Anonymous: bool(in.Anon), Patrolled: bool(in.Patrolled || in.Auto),
		Revision: in.Revision.New + in.RevID, OldRevision: in.Revision.Old + in.OldRevID, Length: in.Length.New + in.NewLen, OldLength: in.Length.Old + in.OldLen,
		PageID: in.PageID, UserID: in.UserID, LogID: in.CoreLogID + in.LogID, LogType: in.CoreLogType + in.LogType, LogAction: in.CoreLogAction + in.LogAction,
		Wiki: in.Wiki, Server: in.ServerName, Tags: in.Tags,
	}
	if row != nil {
		rc.Wiki = row["wiki"]
		if u, err := url.Parse(row["server"]); err == nil {
			rc.Server = u.Hostname()
		}
	}
	if n, err := strconv.ParseInt(string(in.Timestamp), 10, 64); err == nil {
		rc.Time = time.Unix(n, 0).UTC()
	} else if t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(in.Timestamp))); err == nil {
		rc.Time = t
	}
	return rc, true
}
