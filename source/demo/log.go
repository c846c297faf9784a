package demo

import (
	"strconv"
	"strings"
	"time"

	"tidings/recentchange"
)

// logEntry makes an entry of one of the logs that are written most.
func (w *world) logEntry(k *wiki, rc *recentchange.RecentChange, now time.Time) {
	k.log++
	rc.Type = recentchange.Log
	rc.LogID = recentchange.Some(k.log)
	p, user := w.pick(k), w.of(k.users)
	n := w.random.IntN(100)
	switch {
	case k.id == "commonswiki" && n < 40:
		w.upload(k, rc, user, now)
	case n < 45:
		w.account(k, rc)
	case n < 60 && k.patrol:
		w.patrolled(k, rc, p, user)
	case n < 72:
		w.thanks(k, rc, user)
	case n < 82 && p.namespace == 0 && k.id != "wikidatawiki":
		w.move(k, rc, p, user)
	case n < 92 && len(k.pages) > firstPages/2:
		w.remove(k, rc, user)
	default:
		w.block(k, rc, user)
	}
}

// entry fills in what all log entries have. The action is told in English on every wiki, with the summary after it.
func entry(rc *recentchange.RecentChange, logType, action, params, comment, told string) {
	rc.LogType, rc.LogAction = recentchange.Some(logType), recentchange.Some(action)
	rc.LogParams = recentchange.Some(recentchange.JSON(params))
	rc.Comment = recentchange.Some(comment)
	if comment != "" {
		told += ": " + comment
	}
	rc.LogActionComment = recentchange.Some(told)
}

// quote returns s as MediaWiki writes it in JSON.
func quote(s string) string {
	rc := recentchange.RecentChange{Title: recentchange.Some(s)}
	_, value, _ := strings.Cut(string(rc.AppendJSON(nil)), `"title":`)
	return strings.TrimSuffix(value, "}")
}

func (w *world) upload(k *wiki, rc *recentchange.RecentChange, user string, now time.Time) {
	p := w.newPage(k)
	k.revision++
	p.revision, p.length = k.revision, 300+int64(w.random.ExpFloat64()*900)
	k.pages[w.random.IntN(len(k.pages))] = p
	k.listed(rc)
	w.about(rc, p, user, false)
	var sha [31]byte
	for i := range sha {
		sha[i] = "0123456789abcdefghijklmnopqrstuvwxyz"[w.random.IntN(36)]
	}
	entry(rc, "upload", "upload", `{"img_sha1":"`+string(sha[:])+`","img_timestamp":"`+now.UTC().Format("20060102150405")+`"}`,
		w.of(k.creations), "uploaded &quot;[["+p.title+"]]&quot;")
}

func (w *world) account(k *wiki, rc *recentchange.RecentChange) {
	k.user++
	name := w.of(newcomers) + strconv.Itoa(w.random.IntN(10_000))
	k.listed(rc)
	w.about(rc, &page{title: k.userNamespace + ":" + name, namespace: 2}, name, false)
	entry(rc, "newusers", "create", `{"userid":`+strconv.FormatInt(k.user, 10)+`}`, "", "New user account")
}

// patrolled is not listed: it has no rcid.
func (w *world) patrolled(k *wiki, rc *recentchange.RecentChange, p *page, user string) {
	rc.ID = recentchange.Null[int64]()
	w.about(rc, p, user, false)
	revision := strconv.FormatInt(p.revision, 10)
	entry(rc, "patrol", "patrol", `{"curid":"`+revision+`","previd":"`+strconv.FormatInt(p.revision-2, 10)+`","auto":0}`,
		"", "marked revision "+revision+" of [["+p.title+"]] patrolled ")
}

func (w *world) thanks(k *wiki, rc *recentchange.RecentChange, user string) {
	other := w.of(k.users)
	k.listed(rc)
	w.about(rc, &page{title: k.userNamespace + ":" + other, namespace: 2}, user, false)
	entry(rc, "thanks", "thank", "[]", "", user+" thanked "+other)
}

func (w *world) move(k *wiki, rc *recentchange.RecentChange, p *page, user string) {
	k.listed(rc)
	w.about(rc, p, user, false)
	from := p.title
	for {
		if to := w.title(k); !k.has(to) {
			p.title = to
			break
		}
	}
	entry(rc, "move", "move", `{"target":`+quote(p.title)+`,"noredir":"0"}`, w.of(moves),
		"moved [["+from+"]] to [["+p.title+"]]")
}

func (w *world) remove(k *wiki, rc *recentchange.RecentChange, user string) {
	i := w.random.IntN(len(k.pages))
	p := k.pages[i]
	k.pages[i] = k.pages[len(k.pages)-1]
	k.pages = k.pages[:len(k.pages)-1]
	k.listed(rc)
	w.about(rc, p, user, false)
	entry(rc, "delete", "delete", "[]", w.of(deletions), "deleted &quot;[["+p.title+"]]&quot;")
}

func (w *world) block(k *wiki, rc *recentchange.RecentChange, user string) {
	who := k.userNamespace + ":" + w.address()
	k.listed(rc)
	w.about(rc, &page{title: who, namespace: 2}, user, false)
	d := w.of(durations)
	entry(rc, "block", "block", `{"duration":`+quote(d)+`,"flags":"anononly,nocreate","sitewide":true}`, w.of(blocks),
		"blocked [["+who+"]] with an expiration time of "+d+" (anonymous users only, account creation disabled)")
}
