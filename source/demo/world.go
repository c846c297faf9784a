package demo

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"tidings/recentchange"
)

// world is every wiki of the demo. It belongs to one goroutine.
type world struct {
	random *rand.Rand
	wikis  []*wiki
	weight int // the sum of theirs
}

// wiki is one of them. Its ids begin at the clock, in tenths of a millisecond, and grow by one: no wiki changes as often
// as that, so that the next run begins above.
type wiki struct {
	site
	rcid, revision, log, user int64
	pages                     []*page
}

// page is a page with its last revision, and its length in bytes.
type page struct {
	title     string
	namespace int64
	revision  int64
	length    int64
}

// How many pages a wiki has at the start, and at most.
const (
	firstPages = 60
	maxPages   = 300
)

func newWorld(random *rand.Rand, now time.Time) *world {
	w := &world{random: random}
	for _, s := range sites {
		start := now.UnixMicro() / 100
		k := &wiki{site: s, rcid: start, revision: start, log: start, user: start}
		for range firstPages {
			p := w.newPage(k)
			p.revision = start - 1 - random.Int64N(1_000_000)
			p.length = 400 + int64(random.ExpFloat64()*6000)
			k.pages = append(k.pages, p)
		}
		w.wikis = append(w.wikis, k)
		w.weight += s.weight
	}
	return w
}

// change makes the next change.
func (w *world) change(now time.Time) *recentchange.RecentChange {
	k := w.wikis[0]
	n := w.random.IntN(w.weight)
	for _, k = range w.wikis {
		if n -= k.weight; n < 0 {
			break
		}
	}
	rc := &recentchange.RecentChange{
		Timestamp:  recentchange.Some(now.Unix()),
		ServerURL:  recentchange.Some("https://" + k.server),
		ServerName: recentchange.Some(k.server), ServerScriptPath: recentchange.Some("/w"), Wiki: recentchange.Some(k.id),
	}
	switch n := w.random.IntN(1000); {
	case n < 720:
		w.edit(k, rc)
	case n < 890:
		w.categorize(k, rc)
	case n < 945:
		w.create(k, rc)
	default:
		w.logEntry(k, rc, now)
	}
	return rc
}

// of returns one of the list, those at its beginning more often than the others.
func (w *world) of(list []string) string {
	n := len(list)
	return list[min(w.random.IntN(n), w.random.IntN(n))]
}

func (w *world) percent(p int) bool { return w.random.IntN(100) < p }

// pick returns a page: a few are edited much more often than the others.
func (w *world) pick(k *wiki) *page {
	n := len(k.pages)
	return k.pages[min(w.random.IntN(n), w.random.IntN(n), w.random.IntN(n))]
}

// author returns who makes an edit, and whether as a bot or without an account.
func (w *world) author(k *wiki) (name string, bot, anonymous bool) {
	switch n := w.random.IntN(100); {
	case n < k.bots:
		return w.of(bots), true, false
	case n < k.bots+k.anonymous:
		return w.address(), false, true
	}
	return w.of(k.users), false, false
}

// address returns an address of the ranges that are kept for documentation (RFC 5737, RFC 3849), as MediaWiki writes it.
func (w *world) address() string {
	if w.percent(35) {
		return fmt.Sprintf("2001:DB8:%X:%X:%X:%X:%X:%X", w.random.IntN(16), w.random.IntN(0x10000), w.random.IntN(0x10000),
			w.random.IntN(0x10000), w.random.IntN(0x10000), w.random.IntN(0x10000))
	}
	return fmt.Sprintf("%s.%d", [...]string{"192.0.2", "198.51.100", "203.0.113"}[w.random.IntN(3)], 1+w.random.IntN(254))
}

// listed gives the change its rcid.
func (k *wiki) listed(rc *recentchange.RecentChange) {
	k.rcid++
	rc.ID = recentchange.Some(k.rcid)
}

func (w *world) edit(k *wiki, rc *recentchange.RecentChange) {
	p := w.pick(k)
	user, bot, anonymous := w.author(k)
	old, before := p.revision, p.length
	k.revision += 1 + w.random.Int64N(2) // a revision may belong to a change that is not shown
	p.revision = k.revision
	p.length = max(20, p.length+w.difference(bot))
	k.listed(rc)
	rc.Type = recentchange.Edit
	w.about(rc, p, user, bot)
	rc.Comment = recentchange.Some(w.summary(k, old, bot))
	rc.Minor = recentchange.Some(!anonymous && (bot && w.percent(60) || w.percent(22)))
	if k.patrol {
		rc.Patrolled = recentchange.Some(bot || !anonymous && w.percent(85))
	}
	rc.Length = recentchange.Some(recentchange.Pair{Old: recentchange.Some(before), New: recentchange.Some(p.length)})
	rc.Revision = recentchange.Some(recentchange.Pair{Old: recentchange.Some(old), New: recentchange.Some(p.revision)})
}

// difference returns by how much an edit lets a page grow: most are small, some are not, and one in five takes away.
func (w *world) difference(bot bool) int64 {
	scale := 70.0
	if !bot && w.percent(8) {
		scale = 1500
	}
	n := int64(w.random.ExpFloat64() * scale)
	if w.percent(22) {
		n = -n
	}
	return n
}

func (w *world) about(rc *recentchange.RecentChange, p *page, user string, bot bool) {
	rc.Namespace, rc.Title = recentchange.Some(p.namespace), recentchange.Some(p.title)
	rc.User, rc.Bot = recentchange.Some(user), recentchange.Some(bot)
}

// summary returns what somebody says of an edit, which may undo the revision before it: nothing at all one time in six.
func (w *world) summary(k *wiki, undone int64, bot bool) string {
	s := w.of(k.summaries)
	switch {
	case k.id == "wikidatawiki":
		s = strings.NewReplacer("$q", w.item(), "$p", strconv.Itoa(1+w.random.IntN(9000))).Replace(w.of(k.summaries))
	case bot:
		s = w.of(botSummaries)
	case w.percent(17):
		s = ""
	case len(k.sections) > 0 && w.percent(35):
		s = strings.TrimSpace("/* " + w.of(k.sections) + " */ " + s)
	}
	return strings.NewReplacer("$1", w.pick(k).title, "$2", w.of(k.users), "$3", strconv.FormatInt(undone, 10)).Replace(s)
}

func (w *world) item() string { return "Q" + strconv.Itoa(1000+w.random.IntN(120_000_000)) }

// newPage returns a page that does not exist yet, without a revision.
func (w *world) newPage(k *wiki) *page {
	for {
		p := &page{title: w.title(k)}
		switch n := w.random.IntN(100); {
		case k.id == "wikidatawiki":
		case k.id == "commonswiki":
			p.namespace, p.title = 6, "File:"+p.title
		case n < 8:
			p.namespace, p.title = 1, k.talk+":"+p.title
		case n < 13:
			p.namespace, p.title = 3, k.userTalk+":"+w.of(k.users)
		case n < 16:
			p.namespace, p.title = 2, k.userNamespace+":"+w.of(k.users)+"/"+p.title
		}
		if !k.has(p.title) {
			return p
		}
	}
}

func (k *wiki) has(title string) bool {
	for _, p := range k.pages {
		if p.title == title {
			return true
		}
	}
	return false
}

// title puts a title together of two parts, or of a part and a number.
func (w *world) title(k *wiki) string {
	if k.id == "wikidatawiki" {
		return w.item()
	}
	t := strings.NewReplacer("$a", k.first[w.random.IntN(len(k.first))], "$b", k.second[w.random.IntN(len(k.second))],
		"$n", strconv.Itoa(1+w.random.IntN(400)), "$y", strconv.Itoa(1800+w.random.IntN(226))).Replace(w.of(k.titles))
	return t
}

func (w *world) create(k *wiki, rc *recentchange.RecentChange) {
	p := w.newPage(k)
	user, bot, anonymous := w.author(k)
	k.revision++
	p.revision = k.revision
	p.length = 30 + int64(w.random.ExpFloat64()*1800)
	if len(k.pages) < maxPages {
		k.pages = append(k.pages, p)
	} else {
		k.pages[w.random.IntN(len(k.pages))] = p // the one before it is never edited again
	}
	k.listed(rc)
	rc.Type = recentchange.New
	w.about(rc, p, user, bot)
	rc.Comment = recentchange.Some(w.of(k.creations))
	if k.id == "wikidatawiki" {
		rc.Comment = recentchange.Some("/* wbeditentity-create:2|en */ " + w.of(labels))
	}
	rc.Minor = recentchange.Some(false)
	if k.patrol || k.patrolNew {
		rc.Patrolled = recentchange.Some(bot || !anonymous && w.percent(50))
	}
	rc.Length = recentchange.Some(recentchange.Pair{Old: recentchange.Null[int64](), New: recentchange.Some(p.length)})
	rc.Revision = recentchange.Some(recentchange.Pair{Old: recentchange.Null[int64](), New: recentchange.Some(p.revision)})
}

func (w *world) categorize(k *wiki, rc *recentchange.RecentChange) {
	user, bot, _ := w.author(k)
	k.listed(rc)
	rc.Type = recentchange.Categorize
	w.about(rc, &page{title: k.category + ":" + w.of(k.categories), namespace: 14}, user, bot)
	text := k.added
	if w.percent(30) {
		text = k.removed
	}
	rc.Comment = recentchange.Some(strings.ReplaceAll(text, "$1", "[[:"+w.pick(k).title+"]]"))
}
