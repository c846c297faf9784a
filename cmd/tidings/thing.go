package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/recentchange"
)

// thing is what two servers may both have sent: a change, or whatever else is published.
type thing struct {
	Wiki    string    `json:"wiki,omitempty"`
	Server  string    `json:"server_name,omitempty"`
	Channel string    `json:"channel,omitempty"`
	Topic   string    `json:"topic,omitempty"`
	ID      int64     `json:"id,omitempty"` // rcid
	LogID   int64     `json:"log_id,omitempty"`
	Type    string    `json:"type,omitempty"`
	Log     string    `json:"log,omitempty"` // type and action
	Title   string    `json:"title,omitempty"`
	User    string    `json:"user,omitempty"`
	Old     int64     `json:"old,omitempty"` // revisions
	New     int64     `json:"new,omitempty"`
	Text    string    `json:"text,omitempty"` // of what is no change, shortened
	made    time.Time // by the server's clock, or the wiki's; zero if not known
	digest  string    // of what is no change
}

// thingOf returns what was sent; ok is false for what says nothing, such as a canary.
func thingOf(r received) (t thing, ok bool) {
	e := outOfEntry(r.Event)
	t = thing{Topic: string(e.Topic), made: e.Time}
	if strings.HasPrefix(r.where, "#") {
		t.Channel = r.where
	}
	var rc *recentchange.RecentChange
	if e.Kind == tidings.Publish {
		typ := e.ContentType
		if !recentchange.IsRecentChange(typ) {
			typ, _ = recentchange.Detect(e.Payload)
			if typ == recentchange.TypeJSON && !bytes.Contains(e.Payload, []byte(`"wiki":`)) {
				typ = "" // any JSON is taken for that
			}
		}
		var err error
		if typ != "" {
			if rc, err = recentchange.Decode(typ, e.Payload); recentchange.ReasonOf(err) == recentchange.Canary {
				return t, false
			}
		}
	}
	if rc == nil {
		t.Text = text(e.ContentType, e.Payload)
		t.digest = digest(e.Payload)
		if e.Kind == tidings.Retract {
			t.Type, t.Text = "retract", e.ID
			t.digest = "of " + e.ID + string(e.Payload)
		}
		return t, true
	}
	if t.made.IsZero() {
		t.made = rc.Time()
	}
	// Cloned, because the fields share the memory of all that was decoded.
	clone := func(o recentchange.Opt[string]) string { return strings.Clone(o.Value()) }
	t.Topic = ""
	t.Wiki, t.Server, t.Title, t.User = clone(rc.Wiki), clone(rc.ServerName), clone(rc.Title), clone(rc.User)
	t.ID, t.Type = rc.ID.Value(), strings.Clone(rc.Type)
	if rev, ok := rc.Revision.Get(); ok {
		t.Old, t.New = rev.Old.Value(), rev.New.Value()
	}
	if rc.Type == recentchange.Log {
		t.LogID = rc.LogID.Value()
		t.Log = rc.LogType.Value() + "/" + rc.LogAction.Value()
	}
	return t, true
}

// digest names a payload by its content; JSON is the same however it is written.
func digest(p []byte) string {
	p = bytes.TrimSpace(p)
	d := json.NewDecoder(bytes.NewReader(p))
	d.UseNumber()
	var v any
	if d.Decode(&v) == nil && !d.More() {
		if b, err := json.Marshal(v); err == nil {
			p = b
		}
	}
	sum := sha256.Sum256(p)
	return string(sum[:16])
}

// isChange reports whether it is a change on a wiki.
func (t *thing) isChange() bool { return t.digest == "" }

// learn remembers which names belong to one wiki.
func (t *thing) learn(n *wikiNames) { n.learn(t.Wiki, t.Server, t.Channel) }

// wheres returns the names of the wiki.
func (t *thing) wheres(n *wikiNames) []string {
	if !t.isChange() {
		return nil
	}
	return n.of(t.Wiki, t.Server, t.Channel)
}

// keys returns the names of the thing, the strongest first.
func (t *thing) keys(n *wikiNames) (ks []key) {
	if !t.isChange() {
		return []key{{byPayload, "", t.Type + "\x00" + t.digest}}
	}
	add := func(class keyClass, id string) {
		for _, where := range t.wheres(n) {
			ks = append(ks, key{class, where, id})
		}
	}
	switch {
	case t.ID > 0:
		add(byID, "rc"+strconv.FormatInt(t.ID, 10))
	case t.LogID > 0:
		add(byID, "log"+strconv.FormatInt(t.LogID, 10))
	}
	if t.New > 0 && (t.Type == recentchange.Edit || t.Type == recentchange.New) {
		add(byRevision, strconv.FormatInt(t.New, 10)+"\x00"+t.Title)
	}
	if t.Log != "" {
		add(byLog, t.Log+"\x00"+t.User)
	}
	if len(ks) == 0 {
		add(byLog, t.Type+"\x00"+t.Title+"\x00"+t.User)
	}
	return ks
}

// line returns the thing as a line for a person.
func (t *thing) line(p painter) string {
	where := t.Server
	for _, name := range []string{t.Wiki, t.Channel, t.Topic} {
		if where == "" {
			where = name
		}
	}
	var words []string
	if !t.made.IsZero() {
		words = append(words, p.paint(dim, p.when(t.made)))
	}
	if where != "" {
		words = append(words, p.paint(cyan, printable(where)))
	}
	if !t.isChange() {
		if t.Type != "" {
			words = append(words, p.paint(yellow, t.Type))
		}
		return strings.Join(append(words, t.Text), " ")
	}
	kind := t.Type
	if t.Log != "" {
		kind = t.Log
	}
	words = append(words, p.paint(yellow, printable(kind)), p.paint(bold, "[["+printable(t.Title)+"]]"), printable(t.User))
	for _, number := range []struct {
		name string
		n    int64
	}{{"rcid", t.ID}, {"logid", t.LogID}, {"revision", t.New}} {
		if number.n > 0 {
			words = append(words, number.name+"="+strconv.FormatInt(number.n, 10))
		}
	}
	return strings.Join(words, " ")
}

// wikiNames is what has been learned of which id, host and channel are of one wiki: dialects have some of them only. It
// holds maxWikis of each, more than there are at Wikimedia.
type wikiNames struct {
	host    map[string]string // by id
	id      map[string]string // by host
	channel map[string]string // the host, by channel
}

const maxWikis = 10_000

func newWikiNames() *wikiNames {
	return &wikiNames{map[string]string{}, map[string]string{}, map[string]string{}}
}

func (n *wikiNames) learn(id, host, channel string) {
	put := func(m map[string]string, k, v string) {
		if _, ok := m[k]; k != "" && v != "" && (ok || len(m) < maxWikis) {
			m[k] = v
		}
	}
	put(n.host, id, host)
	put(n.id, host, id)
	put(n.channel, channel, host)
}

// of returns the names of a wiki that is known by some of them. A channel whose wiki has not been seen yet is taken to be
// named as MediaWiki names it, after the host without .org or after the id.
func (n *wikiNames) of(id, host, channel string) (names []string) {
	if host == "" && id == "" && len(channel) > 1 {
		if host = n.channel[channel]; host == "" {
			host = channel[1:] + ".org"
			if id = n.id[host]; id == "" {
				id = channel[1:]
			}
		}
	}
	if host == "" {
		host = n.host[id]
	}
	if id == "" {
		id = n.id[host]
	}
	for _, s := range []string{host, id} {
		if s != "" {
			names = append(names, s)
		}
	}
	return names
}

// both reports whether the wiki is known by its id and by its host.
func (n *wikiNames) both(name string) bool { return n.host[name] != "" || n.id[name] != "" }
