//go:build interop && linux

package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// spy runs in the page before anything else. It notes the id of every event that the page's EventSource gets, as the
// browser's own code hands it out, and it can keep the page from asking for figures, which is how it begins to reconnect.
const spy = `
window.seen = []
window.gaps = 0
window.blocked = false
const Native = window.EventSource
window.EventSource = class extends Native {
  constructor(...args) {
    super(...args)
    this.addEventListener('message', (e) => seen.push(e.lastEventId))
    this.addEventListener('gap', () => { gaps++ })
  }
}
const nativeFetch = window.fetch
window.fetch = (...args) => blocked ? Promise.reject(new TypeError('blocked by the test')) : nativeFetch(...args)
`

const (
	pageIsLive = `document.querySelector('#link').dataset.state === 'live'`
	pageIsLost = `document.querySelector('#link').dataset.state === 'lost'`
)

// pagePublisher publishes with a token and remembers the positions.
type pagePublisher struct {
	t         *testing.T
	s         *server
	token     string
	n         int
	positions []string
}

func newPagePublisher(t *testing.T, s *server) *pagePublisher {
	t.Helper()
	return &pagePublisher{t: t, s: s, token: s.token("publish:/**")}
}

// publish returns the position once the event is stored.
func (p *pagePublisher) publish(topic, contentType, body string) string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.s.url+"/topics"+topic, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Content-Type", contentType)
	resp, err := visitor.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	at := resp.Header.Get("Position")
	if resp.StatusCode != http.StatusCreated || at == "" {
		p.t.Fatalf("publishing: %s: %s", resp.Status, answer)
	}
	p.positions = append(p.positions, at)
	return at
}

const gardenTopic = "/recentchange/garden.example.org"

// changes publishes n changes of the garden's wiki; every second one is a bot's.
func (p *pagePublisher) changes(n int) {
	p.t.Helper()
	for range n {
		p.n++
		p.publish(gardenTopic, "application/vnd.mediawiki.recentchange+json", gardenChange(p.n, fmt.Sprintf("Bed %d", p.n), "weeding", p.n%2 == 0))
	}
}

func gardenChange(id int, title, comment string, bot bool) string {
	b, _ := json.Marshal(map[string]any{
		"id": id, "type": "edit", "namespace": 0, "title": title, "comment": comment, "timestamp": 1795298131, "user": "Gardener",
		"bot": bot, "minor": true, "patrolled": false, "length": map[string]int{"old": 1000, "new": 1000 + id - 5}, "revision": map[string]int{"old": id, "new": id + 1},
		"server_url": "http://garden.example.org", "server_name": "garden.example.org", "server_script_path": "/w", "wiki": "gardenwiki",
	})
	return string(b)
}

// seen returns the ids that the page's EventSource has got.
func (p *tab) seen() (ids []string) {
	p.t.Helper()
	p.eval(`seen`, &ids)
	return ids
}

// saw waits until the page has had the position, and checks that it has had these and nothing else.
func (p *tab) saw(positions []string) {
	p.t.Helper()
	p.until(fmt.Sprintf(`seen.includes(%q)`, positions[len(positions)-1]))
	if got := p.seen(); !slices.Equal(got, positions) {
		p.t.Fatalf("the page has had %d events and should have had %d, each once and in order\n got %q\nwant %q", len(got), len(positions), got, positions)
	}
}

// listed returns the positions of the rows, the oldest first.
func (p *tab) listed() (ids []string) {
	p.t.Helper()
	p.eval(`[...document.querySelectorAll('#list .row')].map((r) => r.dataset.position)`, &ids)
	slices.Reverse(ids)
	return ids
}

func pageContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestPageResumes: the page shows what is there when it is loaded and what comes, and is without a hole or a repeat through
// the load itself, a kill and a stop of the server. It says that it is away, what it has caught up, and a gap.
func TestPageResumes(t *testing.T) {
	s := newServer(t, "")
	pub := newPagePublisher(t, s)
	p := newBrowser(t).open(pageContext(t), spy)
	p.window(1280, 900, false, "light")
	p.goTo(s.url + "/")
	p.until(pageIsLive)
	p.until(`document.querySelector('#empty').checkVisibility()`)
	p.shot("empty")

	pub.changes(10)
	p.saw(pub.positions)
	p.until(`document.querySelectorAll('#list .row').length === 10`)
	if got := p.listed(); !slices.Equal(got, pub.positions) {
		t.Errorf("the list shows %q, published were %q", got, pub.positions)
	}

	// Loaded again, the HTML has those, and the stream goes on behind them.
	p.goTo(s.url + "/?loaded=again")
	p.goTo(s.url + "/")
	p.until(pageIsLive)
	if got := p.listed(); !slices.Equal(got, pub.positions) {
		t.Errorf("loaded again, the list shows %q, published were %q", got, pub.positions)
	}
	pub.positions = nil
	pub.changes(5)
	p.saw(pub.positions)

	away := func(end func(), n int) {
		t.Helper()
		p.eval(`blocked = true`, nil)
		end()
		p.until(pageIsLost)
		s.start()
		pub.changes(n)
		p.until(`!document.querySelector('#link-now').hidden`) // the attempts become rare
		p.shot("lost")
		p.eval(`blocked = false`, nil)
		p.click("#link-now")
		p.until(pageIsLive)
		p.saw(pub.positions)
		p.until(fmt.Sprintf(`document.querySelector('#list .mark')?.textContent.includes('%d events caught up')`, n))
	}
	away(s.kill, 20)
	away(s.stop, 8)
	p.shot("caught-up")
	// Without help, too: the first attempts fail, as nobody listens.
	s.kill()
	p.until(pageIsLost)
	s.start()
	pub.changes(3)
	p.until(pageIsLive)
	p.saw(pub.positions)

	// The journal is lost: what comes is told as a gap, not taken for what was missed.
	p.eval(`blocked = true`, nil)
	s.stop()
	if err := os.RemoveAll(s.dir + "/data"); err != nil {
		t.Fatal(err)
	}
	p.until(pageIsLost)
	s.start()
	pub = newPagePublisher(t, s)
	pub.changes(2)
	p.eval(`seen.length = 0; blocked = false`, nil)
	p.until(`gaps === 1`)
	p.saw(pub.positions)
	p.until(`document.querySelector('#list .mark.gap')?.textContent.includes('begun anew')`)
	p.shot("gap")
	p.quiet("net::ERR_", "favicon")
}

// TestPagePauses: a page that is paused, or that somebody points at or scrolls in, stands still, counts what waits, and
// shows it afterwards.
func TestPagePauses(t *testing.T) {
	s := newServer(t, "")
	pub := newPagePublisher(t, s)
	p := newBrowser(t).open(pageContext(t), spy)
	p.window(1280, 900, false, "light")
	p.goTo(s.url + "/")
	p.until(pageIsLive)
	pub.changes(4)
	p.until(`document.querySelectorAll('#list .row').length === 4`)
	rows := func() int { return len(p.listed()) }

	p.click("#pause")
	pub.changes(7)
	p.until(`document.querySelector('#waiting').textContent === 'Paused: 7 waiting' && !document.querySelector('#waiting').hidden`)
	if n := rows(); n != 4 || p.text(`document.querySelector('#pause').getAttribute('aria-pressed')`) != "true" {
		t.Errorf("paused, the list has %d rows", n)
	}
	p.shot("paused")
	p.click("#pause")
	p.until(`document.querySelectorAll('#list .row').length === 11 && document.querySelector('#waiting').hidden`)

	var at struct{ X, Y float64 }
	p.eval(`(() => { const r = document.querySelector('#list').getBoundingClientRect(); return {x: r.x + 200, y: r.y + 20} })()`, &at)
	p.point(at.X, at.Y)
	pub.changes(3)
	p.until(`document.querySelector('#waiting').textContent === 'Standing still while you read: 3 waiting'`)
	if n := rows(); n != 11 {
		t.Errorf("pointed at, the list has %d rows", n)
	}
	p.point(5, 5)
	p.until(`document.querySelectorAll('#list .row').length === 14`)

	p.eval(`document.querySelector('#list').scrollTop = 100`, nil)
	pub.changes(2)
	p.until(`document.querySelector('#waiting').textContent.endsWith('2 waiting')`)
	p.click("#waiting")
	p.until(`document.querySelectorAll('#list .row').length === 16 && document.querySelector('#list').scrollTop === 0`)

	// More than it can hold while it stands: the newest are shown, and the others are counted.
	p.click("#pause")
	p.eval(`seen.length = 0`, nil)
	c := newChanges(t, s)
	for c.sent < 700 {
		c.send(t, 100)
		p.until(fmt.Sprintf(`seen.length >= %d`, c.sent))
	}
	p.until(`document.querySelector('#waiting').textContent === 'Paused: 700 waiting'`)
	p.click("#pause")
	p.until(`document.querySelector('#list .fold button')?.textContent === '640 more'`)
	p.click("#list .fold button")
	p.until(`document.querySelector('#list .fold p')?.textContent.startsWith('540 earlier ones')`)
	if got := p.text(`document.querySelector('#list .row').querySelector('.title').textContent`); got != "Bed 200" {
		t.Errorf("the newest row is of %q, sent last was Bed 200", got)
	}
	p.quiet()
}

// TestPageFilters: the form takes topics, expressions and fields; a mistake is shown at its place; and a browser that is
// led to a topic comes to the page of it.
func TestPageFilters(t *testing.T) {
	s := newServer(t, "")
	pub := newPagePublisher(t, s)
	pub.publish("/news/local", "text/plain", "Bridge closed")
	pub.changes(6)
	p := newBrowser(t).open(pageContext(t), spy)
	p.window(1280, 900, false, "light")
	p.goTo(s.url + "/topics" + gardenTopic)
	p.until(pageIsLive)
	if got := p.text(`location.pathname + location.search`); got != "/?topic="+gardenTopic {
		t.Errorf("a browser at the topic is led to %s", got)
	}
	enter := func(box, text string) {
		t.Helper()
		p.eval(fmt.Sprintf(`(() => { const b = document.querySelector(%q); b.focus(); b.select() })()`, box), nil)
		p.do("Input.insertText", object{"text": text}, nil)
		p.loads(func() { p.key("Enter", 13, "\r") })
	}

	enter("#filter", "wiki = 1")
	p.until(`document.querySelector('#complaint mark')?.textContent === '='`)
	if got := p.text(`document.activeElement.id + ' ' + document.activeElement.selectionStart`); got != "filter 5" {
		t.Errorf("after a mistake the keyboard is at %q", got)
	}
	if n := len(p.listed()); n != 0 {
		t.Errorf("with a mistake in the form the list shows %d rows", n)
	}
	p.shot("complaint")

	enter("#filter", "!bot && revision.new < 100000")
	p.until(pageIsLive)
	if got, want := p.listed(), pub.positions[1:]; len(got) != 3 || got[0] != want[0] {
		t.Errorf("the list of people's changes shows %q of %q", got, want)
	}
	pub.positions = nil
	pub.changes(4)
	p.until(`document.querySelectorAll('#list .row').length === 5`)
	p.until(fmt.Sprintf(`seen.includes(%q)`, pub.positions[2]))
	if got := p.seen(); !slices.Equal(got, []string{pub.positions[0], pub.positions[2]}) {
		t.Errorf("the stream has had %q, people's changes were 1 and 3 of %q", got, pub.positions)
	}

	enter("#fields", "wiki=gardenwiki & bot=true & bot=false & type=log")
	p.until(pageIsLive)
	q, err := url.Parse(p.text(`location.href`))
	if err != nil {
		t.Fatal(err)
	}
	if got := q.Query().Encode(); got != "bot=true&bot=false&filter=%21bot+%26%26+revision.new+%3C+100000&topic=%2Frecentchange%2Fgarden.example.org&type=log&wiki=gardenwiki" {
		t.Errorf("the form leads to %s", got)
	}
	p.until(`document.querySelector('#empty').checkVisibility()`)
	p.quiet("status of 400")
}

// hostile is what a page made of strangers' strings has to live with.
const hostile = `"'><img src=x onerror=pwned=1><script>pwned=1</script>{{.}}</title></textarea> &lt;b&gt; ` + "\u202e" + `rtl`

// TestPageShowsText: what strangers sent stands there as text, the same from the server and from the module, and runs
// nothing.
func TestPageShowsText(t *testing.T) {
	s := newServer(t, "")
	pub := newPagePublisher(t, s)
	p := newBrowser(t).open(pageContext(t), spy)
	p.goTo(s.url + "/?type=edit&type=log")
	p.goTo(s.url + "/")
	p.until(pageIsLive)
	quoted, _ := json.Marshal(hostile)
	evil := string(quoted)
	pub.changes(3)
	pub.publish("/notes/~x&y<b>", "text/plain", hostile+strings.Repeat(" long ünïcode 𝒳", 40))
	pub.publish("/notes/json", "application/json", `{"a": `+evil+`, "b": [1, 2, {"c": null}], "ü": true}`)
	pub.publish("/notes/json", "application/json", `"just `+strings.Trim(evil, `"`)+`"`)
	pub.publish("/notes/xml", "application/xml", `<a href="javascript:pwned=1"><script>pwned=1</script> x </a>`)
	pub.publish("/notes/bad", "application/json", `{"$schema":"/mediawiki/recentchange/1.0.0","title":{"x":1},"comment":7}`)
	pub.publish("/notes/link", "application/json", `{"$schema":"/mediawiki/recentchange/1.0.0","meta":{"uri":"javascript:pwned=1"},"type":"edit","title":`+evil+`,"comment":`+evil+`,"user":`+evil+
		`,"wiki":`+evil+`,"length":{"old":3,"new":1},"revision":{"old":1,"new":2},"server_url":"javascript:pwned=1//x","server_script_path":"/w"}`)
	pub.publish(gardenTopic, "application/vnd.mediawiki.recentchange+json", gardenChange(77, hostile, hostile, true))
	pub.publish(gardenTopic, "application/vnd.mediawiki.recentchange+json", `{"id":78,"type":"log","namespace":0,"title":"Gate","comment":"","timestamp":1795298131,"user":"Gardener","bot":false,"log_id":5,"log_type":"move","log_action":"move_redir","log_params":{},"log_action_comment":"Gardener moved [[Gate]] to &quot;Door&quot; &amp; Co","server_url":"http://garden.example.org","server_name":"garden.example.org","server_script_path":"/w","wiki":"gardenwiki"}`)
	pub.publish(gardenTopic, "application/vnd.mediawiki.recentchange+json", `{"id":79,"type":"new","namespace":0,"title":"Pond","comment":"","timestamp":1795298131,"user":"Gardener","bot":false,"minor":false,"length":{"old":null,"new":12},"revision":{"old":null,"new":9},"server_url":"http://garden.example.org","server_name":"garden.example.org","server_script_path":"/w","wiki":"gardenwiki"}`)
	const all = `JSON.stringify(Object.fromEntries([...document.querySelectorAll('#list .row')].map((r) => { r.classList.remove('fresh'); return [r.dataset.position, r.outerHTML] })))`
	rows := func() map[string]string {
		t.Helper()
		m := map[string]string{}
		p.check(json.Unmarshal([]byte(p.text(all)), &m))
		return m
	}
	p.until(fmt.Sprintf(`document.querySelectorAll('#list .row').length === %d`, len(pub.positions)))
	byModule := rows()
	p.goTo(s.url + "/?again=")
	p.goTo(s.url + "/")
	p.until(pageIsLive)
	byServer := rows()
	for i, at := range pub.positions {
		if byModule[at] != byServer[at] || byServer[at] == "" {
			t.Errorf("event %d is shown differently\nby the module: %s\nby the server: %s", i, byModule[at], byServer[at])
		}
	}
	if got := p.text(`typeof pwned + document.querySelectorAll('#list img, #list script, #list b, #list [href^="javascript"]').length`); got != "undefined0" {
		t.Errorf("a stranger's string has become part of the page: %s", got)
	}
	if got := p.text(`document.querySelector('#list .row .title').textContent + document.querySelector('#list .row .diff').textContent`); got != "Pond+12" {
		t.Errorf("the newest row shows %q", got)
	}
	p.quiet("status of 404")
}

// TestPageForEverybody: the page is of use without JavaScript, by keyboard, on a phone and in the dark.
func TestPageForEverybody(t *testing.T) {
	s := newServer(t, "")
	pub := newPagePublisher(t, s)
	pub.changes(3)
	pub.publish("/news/local", "text/plain", "Bridge closed")
	b := newBrowser(t)
	plain := b.open(pageContext(t), "")
	plain.do("Emulation.setScriptExecutionDisabled", object{"value": true}, nil)
	plain.goTo(s.url + "/?topic=/recentchange/*")
	if got := plain.listed(); !slices.Equal(got, pub.positions[:3]) {
		t.Errorf("without JavaScript the list shows %q of %q", got, pub.positions)
	}
	if got := plain.text(`document.querySelector('#pause').checkVisibility() + ' ' + document.querySelector('#way-sse code').textContent`); got != "false curl -N '"+s.url+"/subscribe?topic=/recentchange/*'" {
		t.Errorf("without JavaScript the page shows %s", got)
	}
	plain.quiet()

	p := b.open(pageContext(t), spy)
	for _, scheme := range []string{"light", "dark"} {
		p.window(360, 740, true, scheme)
		p.goTo(s.url + "/?topic=/**&topic=/news/**")
		p.until(pageIsLive)
		if got := p.text(`document.documentElement.scrollWidth`); got != "360" {
			t.Errorf("on a phone the page is %s wide", got)
		}
		p.shot("phone-" + scheme)
	}
	p.window(1280, 900, false, "light")
	p.key("Tab", 9, "")
	p.until(`document.activeElement.className === 'skip' && document.activeElement.getBoundingClientRect().top >= 0`)
	p.key("Enter", 13, "\r")
	p.until(`document.activeElement.id === 'flow'`)
	var order []string
	for range 4 {
		p.key("Tab", 9, "")
		order = append(order, p.text(`document.activeElement.id || document.activeElement.className`))
	}
	if want := []string{"pause", "list", "place", "diff"}; !slices.Equal(order[:3], want[:3]) {
		t.Errorf("from the list's beginning the keyboard goes to %q", order)
	}
	// With the keyboard in it, the list does not take a row away from under it.
	pub.changes(1)
	p.until(`document.querySelector('#waiting').textContent === 'Standing still while you read: 1 waiting'`)
	if got := p.text(`[...document.querySelectorAll('input, button, [role=img], section, nav, form')].filter((e) => !(e.labels?.length || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim())).map((e) => e.outerHTML).join()`); got != "" {
		t.Errorf("without a name: %s", got)
	}
	if got := p.text(`(() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id); return ids.filter((id, i) => ids.indexOf(id) !== i).join() })()`); got != "" {
		t.Errorf("ids that two elements have: %s", got)
	}
	p.quiet()
}

// TestPageKeepsUp: at a hundred changes a second the page stays small, and its main thread has much time left. What is
// judged is the thread's own time, which a busy machine does not change; the share of a core that the whole browser takes
// is told.
func TestPageKeepsUp(t *testing.T) {
	s := newServer(t, "[demo]\nenabled = true\nrate = 100\n")
	b := newBrowser(t)
	p := b.open(pageContext(t), spy)
	p.window(1280, 900, false, "light")
	p.goTo(s.url + "/")
	p.until(`seen.length > 300`)
	p.eval(`window.seenBefore = seen.length; window.mostNodes = 0; performance.mark('begin')`, nil)
	p.eval(`new MutationObserver(() => { mostNodes = Math.max(mostNodes, document.querySelector('#list').childElementCount) }).observe(document.querySelector('#list'), {childList: true})`, nil)
	before, busy, began := p.metrics(), b.busy(), time.Now()
	p.until(`performance.now() - performance.getEntriesByName('begin')[0].startTime > 20000`)
	seconds := time.Since(began).Seconds()
	browser := (b.busy() - busy).Seconds() / seconds
	after := p.metrics()
	thread := (after["TaskDuration"] - before["TaskDuration"]) / seconds
	var r struct{ Events, Most int }
	p.eval(`({events: seen.length - seenBefore, most: mostNodes})`, &r)
	t.Logf("%d events in %.0f s: the browser took %.1f%% of a core, the page's main thread %.1f%%; at most %d rows, %.0f nodes, %.1f MB of heap",
		r.Events, seconds, 100*browser, 100*thread, r.Most, after["Nodes"], after["JSHeapUsedSize"]/1e6)
	if r.Events < 1000 {
		t.Errorf("it has had %d events", r.Events)
	}
	if thread > 0.2 {
		t.Errorf("the page's main thread took %.1f%% of a core and may take 20%%", 100*thread)
	}
	if r.Most == 0 || r.Most > 200 {
		t.Errorf("the list had up to %d rows and may have 200", r.Most)
	}
	var ids []string
	p.eval(`seen`, &ids)
	for i := 1; i < len(ids); i++ {
		if positionAfter(t, ids[i-1]) != ids[i] {
			t.Fatalf("after %s it has had %s", ids[i-1], ids[i])
		}
	}
	for _, scheme := range []string{"dark", "light"} {
		p.window(1280, 900, false, scheme)
		p.until(`document.querySelector('#list').firstElementChild.className === 'row fresh'`)
		p.shot("busy-" + scheme)
	}
	p.quiet()
}

// positionAfter returns the position after a position.
func positionAfter(t *testing.T, position string) string {
	t.Helper()
	epoch, offset, _ := strings.Cut(position, "-")
	var n uint64
	if _, err := fmt.Fscan(bytes.NewBufferString(offset), &n); err != nil {
		t.Fatalf("the position %q: %v", position, err)
	}
	return fmt.Sprintf("%s-%d", epoch, n+1)
}
