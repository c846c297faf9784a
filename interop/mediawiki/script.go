//go:build linux

package mediawiki

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strconv"
	"strings"
	"time"
)

// Script makes varied changes, the same ones each round but for a number in their titles. A round is about sixty
// changes of every kind the wiki has without extensions.
type Script struct {
	wiki  *Wiki
	admin *session
	robot *session // an account in the group bot
	round int
	err   error
}

// NewScript prepares the accounts the script works with, which makes some changes of its own.
func (w *Wiki) NewScript(ctx context.Context) (*Script, error) {
	s := &Script{wiki: w}
	var err error
	if s.admin, err = w.login(ctx, admin, password); err != nil {
		return nil, err
	}
	if err := s.account(ctx, "Weeder", "keeps the paths clean"); err != nil {
		return nil, err
	}
	if err := s.rights(ctx, "Weeder", params{"add": "bot", "reason": "does the same work every night"}); err != nil {
		return nil, err
	}
	s.robot, err = w.login(ctx, "Weeder", password)
	return s, err
}

// Round makes one round of changes, job queue included, and stops at the first that fails.
func (s *Script) Round(ctx context.Context) error {
	s.round++
	for _, part := range []func(context.Context){
		s.visitors, s.pages, s.languages, s.categories, s.moves, s.protection, s.deletion, s.accounts, s.files, s.upkeep,
	} {
		if part(ctx); s.err != nil {
			return fmt.Errorf("mediawiki: round %d: %w", s.round, s.err)
		}
	}
	return s.wiki.RunJobs(ctx)
}

// Page makes one page.
func (s *Script) Page(ctx context.Context, title string) error {
	s.edit(ctx, s.admin, title, "", "That is all.")
	return s.err
}

// title gives a page of this round a name of its own.
func (s *Script) title(name string) string { return fmt.Sprintf("%s %d", name, s.round) }

// call makes a call with the edit token unless an earlier one failed.
func (s *Script) call(ctx context.Context, who *session, action string, p params) reply {
	if s.err != nil {
		return nil
	}
	var r reply
	r, s.err = who.do(ctx, action, p)
	return r
}

// edit saves a page and returns the id of the new revision; further parameters come as name, value.
func (s *Script) edit(ctx context.Context, who *session, title, summary, text string, more ...string) string {
	p := params{"title": title, "summary": summary, "text": text}
	for i := 0; i < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	return s.call(ctx, who, "edit", p).text("edit", "newrevid")
}

// visitors edit without an account, so that their changes are not patrolled until the admin does it.
func (s *Script) visitors(ctx context.Context) {
	title := s.title("Where the hedgehog sleeps")
	v4 := s.wiki.anonymous("192.0.2." + strconv.Itoa(s.round%250+1))
	v6 := s.wiki.anonymous("2001:db8::" + strconv.Itoa(s.round))
	s.edit(ctx, v4, title, "seen behind the shed", "Under the leaves.")
	s.edit(ctx, v6, title, "a second one", "Under the leaves, two of them.")
	vandal := s.wiki.anonymous("203.0.113." + strconv.Itoa(s.round%250+1))
	s.edit(ctx, vandal, title, "", "nothing to see here")
	if s.err != nil {
		return
	}
	r, err := s.admin.call(ctx, "query", params{"list": "recentchanges", "rcprop": "ids", "rctitle": title,
		"rcshow": "!patrolled", "rcdir": "newer", "rclimit": "2"})
	if err != nil {
		s.err = err
		return
	}
	for i := range 2 {
		rcid, err := r.need("query", "recentchanges", i, "rcid")
		if err != nil {
			s.err = err
			return
		}
		s.withToken(ctx, "patrol", "patrol", params{"rcid": rcid})
	}
	s.withToken(ctx, "rollback", "rollback", params{"title": title, "user": vandal.address})
}

// withToken makes a call of the admin's that has a kind of token of its own.
func (s *Script) withToken(ctx context.Context, kind, action string, p params) reply {
	if s.err != nil {
		return nil
	}
	if p["token"], s.err = s.admin.tokenOf(ctx, kind); s.err != nil {
		return nil
	}
	var r reply
	r, s.err = s.admin.call(ctx, action, p)
	return r
}

// pages are made and edited in the ways that differ in a feed: minor, by a bot, with no summary, growing and shrinking
// a lot, undone, as a section, as a redirect.
func (s *Script) pages(ctx context.Context) {
	title := s.title("Compost heap")
	s.edit(ctx, s.admin, title, "how to begin", "Start with twigs.")
	s.edit(ctx, s.admin, title, "then [[leaves]], see [[Compost heap/Layers|the layers]]", "Start with twigs, then leaves.")
	s.edit(ctx, s.admin, title, "spelling", "Start with twigs, then with leaves.", "minor", "1")
	s.edit(ctx, s.admin, title, "", strings.Repeat("Turn it every month. ", 80))
	rev := s.edit(ctx, s.admin, title, "shorter again", "Turn it.")
	s.call(ctx, s.admin, "edit", params{"title": title, "undo": rev})
	s.edit(ctx, s.robot, title, "nightly: <!-- marker --> & \"quotes\" 'single' <b>bold</b> \\ back\\slash", "Turn it, said the robot.", "bot", "1")
	s.edit(ctx, s.robot, title, "nightly, minor", "Turn it, said the robot twice.", "bot", "1", "minor", "1")
	// The same text again is no change and gives no event.
	s.edit(ctx, s.robot, title, "nothing new", "Turn it, said the robot twice.", "bot", "1")
	s.edit(ctx, s.admin, title, strings.Repeat("A long story about worms, told twice — ", 20), "Worms.")
	s.edit(ctx, s.admin, title, "references as text: &amp; &quot; &lt;i&gt;", "Worms!")
	s.edit(ctx, s.admin, "Talk:"+title, "", "How many? ~~~~", "section", "new", "sectiontitle", "Worms?")
	s.edit(ctx, s.admin, "Template:"+s.title("Seed"), "a template", "{{{name|?}}}")
	s.edit(ctx, s.admin, "Project:"+s.title("About the paths"), "project page", "Gravel.")
	s.edit(ctx, s.admin, s.title("Heap"), "short name", "#REDIRECT [["+title+"]]")
	s.edit(ctx, s.admin, s.title(`"Quoted" & 'apostrophe' * 50% (a+b) a\b ~ !`), "title with *, (+1) and :colon: * x", "Odd.")
}

// languages fill titles and summaries with scripts of one to four bytes a character, and from right to left.
func (s *Script) languages(ctx context.Context) {
	for _, p := range []struct{ title, summary, text string }{
		{"Łąka i źródło", "nowa strona: żółć, gęś, jaźń", "Zażółć."},
		{"Огород у реки", "создана страница о грядках", "Морковь."},
		{"庭の手入れ", "春の仕事をまとめた", "剪定と水やり。"},
		{"حديقة الدار", "صفحة عن الماء والظل", "ماء."},
		{"גינה קטנה", "\u200fכיוון הפוך, עם סימן\u200e", "עגבניות."},
		{"🌻 Sunflower 🌱", "emoji: 👩🏽‍🌾 🐝 𝔊𝔞𝔯𝔡𝔢𝔫", "Yellow."},
		{"ÀÉÎÕÜ ßþð ñ", "Latin-1: ¡¿«»§ and a soft\u00adhyphen, an nbsp\u00a0here", "Letters."},
	} {
		s.edit(ctx, s.admin, s.title(p.title), p.summary, p.text)
	}
	// The wiki cuts a summary after 500 characters, a title after 255 bytes.
	s.edit(ctx, s.admin, s.title("庭の手入れ"), strings.Repeat("長い要約、", 110), "もっと。")
	long := s.title("ж")
	s.edit(ctx, s.admin, strings.Repeat("ж", (255-len(long))/2)+long, strings.Repeat("𝔶", 480), "Length.")
}

// categories change the membership of pages, which the job queue reports.
func (s *Script) categories(ctx context.Context) {
	bean := s.title("Runner bean")
	s.edit(ctx, s.admin, "Category:Climbers", "a category, touched "+strconv.Itoa(s.round), "Plants that climb, "+strconv.Itoa(s.round))
	s.edit(ctx, s.admin, bean, "in two categories", "Red flowers. [[Category:Climbers]] [[Category:Растения]]")
	s.edit(ctx, s.admin, bean, "in one now", "Red flowers. [[Category:Climbers]]")
}

func (s *Script) moves(ctx context.Context) {
	bean, heap := s.title("Runner bean"), s.title("Compost heap")
	s.call(ctx, s.admin, "move", params{"from": bean, "to": s.title("Scarlet bean"), "reason": "its name in [[the shop]]", "noredirect": "1"})
	s.call(ctx, s.admin, "move", params{"from": heap, "to": s.title("Compost"), "reason": "", "movetalk": "1"})
	// Back over the redirect: a deletion and a move_redir.
	s.call(ctx, s.admin, "move", params{"from": s.title("Compost"), "to": heap, "reason": "no, it was right", "movetalk": "1"})
}

func (s *Script) protection(ctx context.Context) {
	heap := s.title("Compost heap")
	s.call(ctx, s.admin, "protect", params{"title": heap, "protections": "edit=sysop|move=sysop", "expiry": "infinite|2039-01-01T00:00:00Z", "reason": "badgers", "cascade": "1"})
	s.call(ctx, s.admin, "protect", params{"title": heap, "protections": "edit=autoconfirmed", "expiry": "infinite", "reason": "fewer badgers"})
	s.call(ctx, s.admin, "move", params{"from": heap, "to": s.title("Heap of compost"), "reason": "moves its protection too"})
	s.call(ctx, s.admin, "protect", params{"title": s.title("Heap of compost"), "protections": "edit=all|move=all", "reason": "no badgers"})
	s.call(ctx, s.admin, "protect", params{"title": s.title("Never to be made"), "protections": "create=sysop", "expiry": "infinite", "reason": ""})
}

func (s *Script) deletion(ctx context.Context) {
	garden, heap := s.title("庭の手入れ"), s.title("Heap of compost")
	s.call(ctx, s.admin, "delete", params{"title": garden, "reason": "枯れた \"枝\" & 葉"})
	s.call(ctx, s.admin, "undelete", params{"title": garden, "reason": "また芽が出た"})
	s.call(ctx, s.admin, "delete", params{"title": s.title("حديقة الدار"), "reason": ""})
	if s.err != nil {
		return
	}
	r, err := s.admin.call(ctx, "query", params{"prop": "revisions", "titles": heap, "rvprop": "ids", "rvlimit": "5"})
	if err != nil {
		s.err = err
		return
	}
	rev, err := r.need("query", "pages", 0, "revisions", 4, "revid")
	if err != nil {
		s.err = err
		return
	}
	s.call(ctx, s.admin, "revisiondelete", params{"type": "revision", "target": heap, "ids": rev, "hide": "comment|user", "reason": "a neighbour's name"})
	if r, s.err = s.admin.call(ctx, "query", params{"list": "logevents", "leprop": "ids", "letype": "delete", "lelimit": "4"}); s.err != nil {
		return
	}
	logID, err := r.need("query", "logevents", 3, "logid")
	if err != nil {
		s.err = err
		return
	}
	s.call(ctx, s.admin, "revisiondelete", params{"type": "logging", "ids": logID, "hide": "comment", "reason": "and in the log"})
}

// accounts are made, given rights and blocked.
func (s *Script) accounts(ctx context.Context) {
	if s.err != nil {
		return
	}
	name := s.title("Gärtner Ünal")
	if s.err = s.account(ctx, name, "helps on Sundays"); s.err != nil {
		return
	}
	guest, err := s.wiki.login(ctx, name, password)
	if err != nil {
		s.err = err
		return
	}
	s.edit(ctx, guest, "User:"+name, "about me", "I plant.")
	if s.err != nil {
		return
	}
	if s.err = s.rights(ctx, name, params{"add": "bot|sysop", "expiry": "infinite", "reason": "trusted [[Project:Rota|rota]]"}); s.err != nil {
		return
	}
	if s.err = s.rights(ctx, name, params{"remove": "sysop", "reason": ""}); s.err != nil {
		return
	}
	s.call(ctx, s.admin, "block", params{"user": name, "expiry": "1 week", "reason": "cut the wrong tree", "nocreate": "1", "autoblock": "1"})
	s.call(ctx, s.admin, "block", params{"user": name, "expiry": "infinite", "reason": "and another", "reblock": "1", "allowusertalk": "1"})
	s.call(ctx, s.admin, "unblock", params{"user": name, "reason": "planted two new ones"})
	net := fmt.Sprintf("198.51.%d.0/24", 100+s.round%50)
	s.call(ctx, s.admin, "block", params{"user": net, "expiry": "3 days", "reason": "a whole street", "anononly": "1", "partial": "1", "allowusertalk": "1", "pagerestrictions": s.title("Scarlet bean")})
	s.call(ctx, s.admin, "unblock", params{"user": net, "reason": ""})
}

// account makes an account with the script's password.
func (s *Script) account(ctx context.Context, name, reason string) error {
	token, err := s.admin.tokenOf(ctx, "createaccount")
	if err != nil {
		return err
	}
	r, err := s.admin.call(ctx, "createaccount", params{"username": name, "password": password, "retype": password,
		"reason": reason, "createreturnurl": Server + "/", "createtoken": token})
	if err == nil && r.text("createaccount", "status") != "PASS" {
		err = fmt.Errorf("mediawiki: account %s: %s", name, r.text("createaccount", "message"))
	}
	return err
}

func (s *Script) rights(ctx context.Context, name string, p params) error {
	token, err := s.admin.tokenOf(ctx, "userrights")
	if err != nil {
		return err
	}
	p["user"], p["token"] = name, token
	_, err = s.admin.call(ctx, "userrights", p)
	return err
}

// files are uploaded, replaced and put back.
func (s *Script) files(ctx context.Context) {
	name := s.title("Rosenbogen größer") + ".png"
	upload := func(comment string, shade uint8) {
		if s.err != nil {
			return
		}
		var picture []byte
		if picture, s.err = s.picture(shade); s.err != nil {
			return
		}
		_, s.err = s.admin.send(ctx, "upload", params{"filename": name, "comment": comment, "text": "An arch.",
			"ignorewarnings": "1", "token": s.admin.token}, name, picture)
	}
	upload("the arch in June", 40)
	upload("a sharper one", 200)
	// MediaWiki names what it archives after the second: an archive made within the same one would replace the first.
	second := time.Now().Truncate(time.Second).Add(time.Second)
	s.edit(ctx, s.admin, "File talk:"+name, "whose roses?", "Whose?")
	if s.err != nil {
		return
	}
	r, err := s.admin.call(ctx, "query", params{"prop": "imageinfo", "titles": "File:" + name, "iiprop": "archivename", "iilimit": "2"})
	if err != nil {
		s.err = err
		return
	}
	old, err := r.need("query", "pages", 0, "imageinfo", 1, "archivename")
	if err != nil {
		s.err = err
		return
	}
	select {
	case <-time.After(time.Until(second)):
	case <-ctx.Done():
		s.err = ctx.Err()
	}
	s.call(ctx, s.admin, "filerevert", params{"filename": name, "archivename": old, "comment": "the first was better"})
}

// picture draws a small picture that no other upload equals.
func (s *Script) picture(shade uint8) ([]byte, error) {
	m := image.NewGray(image.Rect(0, 0, 8, 8))
	for i := range m.Pix {
		m.SetGray(i%8, i/8, color.Gray{Y: shade + uint8(i)})
	}
	m.SetGray(0, 0, color.Gray{Y: uint8(s.round)})
	var b bytes.Buffer
	err := png.Encode(&b, m)
	return b.Bytes(), err
}

// upkeep makes the rarer entries of the log.
func (s *Script) upkeep(ctx context.Context) {
	tag := s.title("spring-clean")
	s.call(ctx, s.admin, "managetags", params{"operation": "create", "tag": tag, "reason": "for the season"})
	page := s.title("Scarlet bean")
	rev := s.edit(ctx, s.admin, page, "tagged by hand", "Red flowers, tagged.", "tags", tag)
	s.call(ctx, s.admin, "tag", params{"revid": rev, "remove": tag, "reason": "season over"})
	s.call(ctx, s.admin, "setpagelanguage", params{"title": page, "lang": "de", "reason": "it is in German"})
	notes := "User:" + admin + "/" + s.title("notes")
	s.edit(ctx, s.admin, notes, "user page", "{}")
	s.call(ctx, s.admin, "changecontentmodel", params{"title": notes, "model": "json", "summary": "as data"})
	a, b := s.title("Old bed"), s.title("New bed")
	s.edit(ctx, s.admin, a, "first", "One.")
	s.edit(ctx, s.admin, b, "second", "Two.")
	s.edit(ctx, s.admin, b, "third", "Three.")
	s.call(ctx, s.admin, "mergehistory", params{"from": a, "to": b, "reason": "the same bed"})
	s.call(ctx, s.admin, "managetags", params{"operation": "delete", "tag": tag, "ignorewarnings": "1", "reason": ""})
}
