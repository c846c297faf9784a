package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/internal/bearer"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/recentchange"
)

// world is a server with the page.
type world struct {
	*outlettest.World
	*Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := outlettest.NewMemory(t, hub.Options{Decode: outlet.Decoder(nil)}, edge.Options{})
	s, err := New(Options{
		Hub: w.Hub, MaxPatterns: 3,
		Authenticate: func(r *http.Request) (tidings.Actor, error) { return bearer.Actor(r, w.Policy.Authenticate) },
		May:          func(a tidings.Actor, t tidings.Topic) error { return w.Policy.May(a, tidings.ReadAction, t) },
		Topics: func(ctx context.Context) ([]Topic, error) {
			infos, err := w.Journal.Topics(ctx, tidings.MustPattern("/**"))
			var topics []Topic
			for _, i := range infos {
				topics = append(topics, Topic(i))
			}
			return topics, err
		},
		Serves: map[string]string{"irc": "127.0.0.1:6667", "xmpp": "conference.localhost", "websocket": "", "rcstream": "", "socketio": ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &world{w, s}
}

// get asks for the path as a browser does. Everything that was appended has been dispatched before.
func (w *world) get(target string, header ...string) *httptest.ResponseRecorder {
	w.Helper()
	if err := w.Hub.Drain(w.Context()); err != nil {
		w.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	switch {
	case r.URL.Path == StatePath:
		w.ServeState(rec, r)
	case strings.HasPrefix(r.URL.Path, AssetsPath):
		w.ServeAsset(rec, r)
	default:
		w.ServePage(rec, r)
	}
	return rec
}

// document parses a page and fails the test if the page needs what its policy forbids.
func (w *world) document(rec *httptest.ResponseRecorder) *html.Node {
	w.Helper()
	doc, err := html.Parse(rec.Body)
	if err != nil {
		w.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "style" || n.Data == "script" && (attr(n, "src") == "" || n.FirstChild != nil) {
			w.Errorf("the page has an inline <%s>", n.Data)
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				w.Errorf("<%s> has the attribute %s=%q", n.Data, a.Key, a.Val)
			}
			if (a.Key == "href" || a.Key == "src") && !regexp.MustCompile(`^(/|#|https?://)`).MatchString(a.Val) {
				w.Errorf("<%s> leads to %q", n.Data, a.Val)
			}
		}
	}
	return doc
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// find returns the elements with the tag and, unless it is empty, the class.
func find(doc *html.Node, tag, class string) (found []*html.Node) {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag && (class == "" || slices.Contains(strings.Fields(attr(n, "class")), class)) {
			found = append(found, n)
		}
	}
	return found
}

func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// nasty is a string that every place has to show as it is.
const nasty = `"'><img src=x onerror=alert(1)><script>alert(1)</script>{{.}}</title></textarea><!-- &lt;b&gt; ` + "`${1}`"

func changeEvent(t *testing.T, title, comment, user string) tidings.Event {
	t.Helper()
	b, err := json.Marshal(map[string]any{"id": 7, "type": "edit", "namespace": 0, "title": title, "comment": comment, "timestamp": 1795298131,
		"user": user, "bot": true, "minor": true, "patrolled": false, "length": map[string]int{"old": 100000, "new": 1}, "revision": map[string]int{"old": 1, "new": 2},
		"server_url": "https://garden.example.org", "server_name": "garden.example.org", "server_script_path": "/w", "wiki": nasty})
	if err != nil {
		t.Fatal(err)
	}
	return tidings.Event{Topic: "/recentchange/garden.example.org", Time: time.Unix(1795298131, 0), ContentType: recentchange.TypeJSON, Payload: b}
}

// TestHostileStrings: strings of strangers are text in every place of the page that has one.
func TestHostileStrings(t *testing.T) {
	w := newWorld(t)
	w.Append(changeEvent(t, nasty, nasty, nasty))
	topic := tidings.Topic("/" + strings.NewReplacer("/", "|", "*", "", "?", "", "[", "", "]", "").Replace(nasty))
	w.Append(tidings.Event{Topic: topic, ContentType: "text/plain", Payload: []byte(nasty)})
	w.Append(tidings.Event{Topic: topic, ContentType: nasty, Payload: []byte{0xff, 0xfe}})
	w.Append(tidings.Event{Topic: topic, Kind: tidings.Retract, ID: nasty})
	w.Append(tidings.Event{Topic: topic, ContentType: "application/json", Payload: []byte(`{"$schema":"/mediawiki/recentchange/1.0.0","type":"edit","title":"t","meta":{"uri":"javascript:alert(1)"},"server_url":"javascript:alert(1)//","length":{"old":1,"new":2},"revision":{"old":1,"new":2}}`)})
	for _, query := range []string{"", "topic=" + url.QueryEscape(string(topic)), "topic=" + url.QueryEscape(nasty), "filter=" + url.QueryEscape(nasty), "fields=" + url.QueryEscape(nasty), url.QueryEscape(nasty) + "=" + url.QueryEscape(nasty)} {
		rec := w.get("/?" + query)
		doc := w.document(rec)
		if imgs := find(doc, "img", ""); len(imgs) != 1 {
			t.Errorf("?%s: the page has %d images, and one is its own", query, len(imgs))
		}
		if len(find(doc, "script", "")) != 1 {
			t.Errorf("?%s: the page has another script", query)
		}
		if query != "" {
			continue
		}
		var texts []string
		for _, li := range find(doc, "li", "row") {
			texts = append(texts, text(li))
		}
		when := time.Unix(1795298131, 0).UTC().Format("15:04:05")
		if len(texts) != 5 {
			t.Fatalf("the list has %d rows: %q", len(texts), texts)
		}
		if want := when + nasty + nasty + "mb!" + "\u221299,999" + nasty + excerpt(nasty); texts[4] != want {
			t.Errorf("the change is shown as\n%q, want\n%q", texts[4], want)
		}
		if !strings.HasSuffix(texts[3], excerpt(nasty)) || !strings.HasSuffix(texts[2], nasty+", 2 bytes") || !strings.HasSuffix(texts[1], "withdrawn"+nasty) || !strings.HasSuffix(texts[0], "t+1") {
			t.Errorf("the other events are shown as %q", texts[:4])
		}
	}
}

// TestPolicy: the page is allowed its own assets and nothing inline, each asset it names is there, and each may be kept for
// ever.
func TestPolicy(t *testing.T) {
	w := newWorld(t)
	rec := w.get("/")
	policy := rec.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "frame-ancestors 'none'", "trusted-types 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy has no %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy allows what is unsafe: %s", policy)
	}
	doc := w.document(rec)
	named := map[string]bool{}
	for n := range doc.Descendants() {
		for _, key := range []string{"src", "href"} {
			if v := attr(n, key); strings.HasPrefix(v, AssetsPath) {
				named[v] = true
			}
		}
	}
	if len(named) != len(assets) {
		t.Errorf("the page names %d of %d assets", len(named), len(assets))
	}
	for path := range named {
		rec := w.get(path)
		h := rec.Header()
		if rec.Code != http.StatusOK || rec.Body.Len() == 0 || h.Get("Content-Type") == "" || h.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d %v", path, rec.Code, h)
		}
		if again := w.get(path, "If-None-Match", h.Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("%s asked for again: %d", path, again.Code)
		}
	}
	for _, path := range []string{"/assets/page.js", "/assets/page.000000000000.js", "/assets/", "/assets/../web.go"} {
		if rec := w.get(path); rec.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	// What the assets themselves may not do.
	for path, a := range assets {
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "@import", "url(", "//cdn"} {
			if strings.Contains(string(a.body), bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
	}
}

// TestPrivateTopics: what a reader may not read is neither in the list nor in the figures, and a page about it says why.
func TestPrivateTopics(t *testing.T) {
	w := newWorld(t)
	w.Append(tidings.Event{Topic: "/private/a", ContentType: "text/plain", Payload: []byte("secret words")})
	w.Append(tidings.Event{Topic: "/news", ContentType: "text/plain", Payload: []byte("open words")})
	_, token := w.Token("/private/**")
	for _, path := range []string{"/", "/?topic=/private/**", StatePath, StatePath + "?topic=/private/*"} {
		if body := w.get(path).Body.String(); strings.Contains(body, "secret") || strings.Contains(body, "/private/a") {
			t.Errorf("%s shows anybody what is private", path)
		}
		if body := w.get(path, "Authorization", "Bearer "+token).Body.String(); !strings.Contains(body, "/private/a") {
			t.Errorf("%s does not show a reader with the token what it may read", path)
		}
	}
	rec := w.get("/?topic=/private/a")
	if doc := w.document(rec); rec.Code != http.StatusUnauthorized || len(find(doc, "div", "complaint")) != 1 || strings.Contains(text(doc), "secret") {
		t.Errorf("the page of a private topic: %d", rec.Code)
	}
	if rec := w.get("/", "Authorization", "Bearer nonsense"); rec.Code != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %d", rec.Code)
	}
}

// TestState: the figures count what was published, by topic, and only once a second for all who ask.
func TestState(t *testing.T) {
	w := newWorld(t)
	w.Publish("/a/one", 1, 30)
	w.Publish("/a/two", 1, 12)
	w.Publish("/b", 1, 5)
	var f figures
	read := func(query string) {
		t.Helper()
		rec := w.get(StatePath + "?" + query)
		f = figures{}
		if err := json.Unmarshal(rec.Body.Bytes(), &f); err != nil || rec.Code != http.StatusOK {
			t.Fatalf("%d %v %s", rec.Code, err, rec.Body)
		}
	}
	read("topic=/a/*")
	sum := uint32(0)
	for _, n := range f.Counts {
		sum += n
	}
	if sum != 42 || len(f.Counts) != buckets || f.Matched != 2 || f.Head != w.Hub.Head() || f.Topics[0].Topic != "/a/one" || f.Topics[0].Events != 30 || f.Topics[1].Events != 12 {
		t.Errorf("the figures are %+v", f)
	}
	if f.Rate <= 0 || f.Rate > 42.0/bucketSeconds+0.1 || f.Topics[0].Rate <= f.Topics[1].Rate {
		t.Errorf("the rates are %v, %+v", f.Rate, f.Topics)
	}
	for query, want := range map[string]string{"topic=nonsense": "begin with a slash", "topic=/a&filter=x+%3D": "column", "fields=x": "name=value", "topic=/1&topic=/2&topic=/3&topic=/4": "may name 3"} {
		if rec := w.get(StatePath + "?" + query); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("?%s: %d %s", query, rec.Code, rec.Body)
		}
	}
}

// TestPageWithoutJavaScript: the page as it comes has what is there: the newest first, and the address of its stream.
func TestPageWithoutJavaScript(t *testing.T) {
	w := newWorld(t)
	ps := w.Publish("/a/one", 1, 60)
	doc := w.document(w.get("/?topic=/a/*"))
	rows := find(doc, "li", "row")
	if len(rows) != pageEvents || attr(rows[0], "data-position") != ps[59].String() {
		t.Fatalf("the page has %d rows", len(rows))
	}
	m := find(doc, "main", "")[0]
	if attr(m, "data-head") != ps[59].String() || attr(m, "data-stream") != "/subscribe?topic=/a/*" || attr(m, "data-state") != "/live?topic=/a/*" {
		t.Errorf("the module is told %v", m.Attr)
	}
	var shown []string
	for _, a := range find(doc, "article", "way") {
		shown = append(shown, strings.TrimPrefix(attr(a, "id"), "way-"))
	}
	if got := strings.Join(shown, " "); got != "tail sse browser ndjson json websocket socketio publish" { // nothing of recent changes
		t.Errorf("ways to connect: %s", got)
	}
	if doc := w.document(w.get("/?topic=/none")); !strings.Contains(text(doc), "No events yet") {
		t.Error("an empty page does not say so")
	}
	rec := w.get("/?topic=&filter=&fields=wiki%3Da+%26+bot%3Dfalse")
	if got := rec.Header().Get("Location"); rec.Code != http.StatusSeeOther || got != "/?bot=false&wiki=a" {
		t.Errorf("the form leads to %d %q", rec.Code, got)
	}
	for _, id := range []string{"/?", "/?topic=%2F**"} {
		if rec := w.get(id); id != "/?" && rec.Header().Get("Location") != "/" {
			t.Errorf("%s leads to %q", id, rec.Header().Get("Location"))
		}
	}
}

// TestColours: text has the contrast that WCAG 2.2 asks for at level AA, in both schemes.
func TestColours(t *testing.T) {
	path, err := assetPath("page.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, ok := strings.Cut(string(assets[path].body), "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("the style has no dark scheme")
	}
	dark, _, _ = strings.Cut(dark, "* { box-sizing")
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colour := map[string][3]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2});`).FindAllStringSubmatch(css, -1) {
			var c [3]float64
			for i := range c {
				var v uint8
				fmt.Sscanf(m[i+2], "%02x", &v)
				c[i] = float64(v) / 255
			}
			colour[m[1]] = c
		}
		for _, pair := range []struct {
			ink, on string
			least   float64
		}{
			{"ink", "paper", 4.5}, {"ink", "card", 4.5}, {"ink", "well", 4.5}, {"ink", "new", 4.5},
			{"dim", "paper", 4.5}, {"dim", "card", 4.5}, {"dim", "well", 4.5}, {"dim", "new", 4.5},
			{"accent", "paper", 4.5}, {"accent", "card", 4.5}, {"accent", "new", 4.5}, {"accent", "well", 4.5}, {"accent-ink", "accent", 4.5},
			{"up", "card", 4.5}, {"up", "new", 4.5}, {"down", "card", 4.5}, {"down", "new", 4.5},
			{"warn", "warn-paper", 4.5}, {"bad", "bad-paper", 4.5}, {"card", "bad", 4.5},
			{"tide", "card", 3}, // not text (1.4.11)
		} {
			a, okA := colour[pair.ink]
			b, okB := colour[pair.on]
			if !okA || !okB {
				t.Errorf("%s: no colour %s or %s", scheme, pair.ink, pair.on)
				continue
			}
			if c := contrast(a, b); c < pair.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, want %v", scheme, pair.ink, pair.on, c, pair.least)
			}
		}
	}
}
