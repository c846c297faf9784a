package web

import (
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"tidings"
)

// contrast is the contrast ratio of two colours of sRGB (WCAG 2.2, "contrast ratio" and "relative luminance").
func contrast(a, b [3]float64) float64 {
	luminance := func(c [3]float64) float64 {
		for i, v := range c {
			if c[i] = v / 12.92; v > 0.04045 {
				c[i] = math.Pow((v+0.055)/1.055, 2.4)
			}
		}
		return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2]
	}
	la, lb := luminance(a), luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

var views = []struct {
	query string
	page  string // its address
	moved bool
	wrong string // the field that is complained about, and where
}{
	{"", "/", false, ""},
	{"topic=/**", "/", true, ""},
	{"topic=&filter=&fields=", "/", true, ""},
	{"topic=/a/*", "/?topic=/a/*", false, ""},
	{"topic=+/a/*+&filter=", "/?topic=/a/*", true, ""},
	{"topic=/a&topic=/b", "/?topic=/a&topic=/b", false, ""},
	{"topic=/a&topic=/a&topic=", "/?topic=/a", true, ""},
	{"topic=/**&topic=/b", "/?topic=/**&topic=/b", false, ""},
	{"wiki=enwiki&wiki=dewiki&bot=false", "/?bot=false&wiki=enwiki&wiki=dewiki", false, ""},
	{"fields=wiki%3Denwiki+%26+user%3DA+b%3Dc+%26wiki%3Denwiki", "/?user=A%20b%3Dc&wiki=enwiki", true, ""},
	{"filter=!bot&filter=ns+%3D%3D+0", "/?filter=%28%21bot%29%20%26%26%20%28ns%20%3D%3D%200%29", true, ""},
	{"since=1&limit=4&lastEventId=x&format=sse", "/", false, ""},
	{"topic=a", "/?topic=a", false, "topic"},
	{"topic=/a/[", "/?topic=/a/[", false, "topic"},
	{"topic=/1&topic=/2&topic=/3&topic=/4", "/?topic=/1&topic=/2&topic=/3&topic=/4", false, "topic"},
	{"fields=wiki", "/", false, "fields"},
	{"fields=%3Dx", "/", false, "fields"},
	{"fields=topic%3D/a", "/", false, "fields"},
	{"filter=wiki+%3D%3D+foo", "/?filter=wiki%20%3D%3D%20foo", false, "filter wiki == |f|oo"},
	{"filter=wiki+%3D%3D", "/?filter=wiki%20%3D%3D", false, "filter wiki ==||"},
	{"filter=%22%C3%BC%F0%9D%92%B3%22+%3D%3D+foo", "", false, `filter "ü𝒳" == |f|oo`},
	{"filter=bot+%26%26%0A++foo", "", false, "filter bot &&\n  |f|oo"},
	{"filter=1%2B1", "", false, "filter"},
}

func TestViews(t *testing.T) {
	for _, tt := range views {
		q, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		v, moved := readView(q, 3)
		wrong := ""
		if c := v.Complaint; c != nil {
			wrong = c.Field
			if c.Column > 0 {
				wrong += " " + c.Before + "|" + c.At + "|" + c.After
			}
			if c.Detail == "" || tidings.KindOf(c.err) != tidings.ErrInvalid {
				t.Errorf("?%s: the complaint is %q, %v", tt.query, c.Detail, c.err)
			}
		}
		want := strings.NewReplacer("[", "%5B").Replace(tt.page)
		if moved != tt.moved || wrong != tt.wrong || tt.page != "" && v.page() != want {
			t.Errorf("?%s: %s, moved %v, wrong %q; want %s, %v, %q", tt.query, v.page(), moved, wrong, want, tt.moved, tt.wrong)
		}
	}
}

// The address of a view is that of the same view, so that no page leads in circles, and what it says of a mistake lies in
// the text that was given.
func FuzzView(f *testing.F) {
	for _, tt := range views {
		f.Add(tt.query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		v, _ := readView(q, 3)
		if c := v.Complaint; c != nil {
			if c.Column > 0 && c.Before+c.At+c.After != v.Filter {
				t.Errorf("the filter %q is shown as %q|%q|%q", v.Filter, c.Before, c.At, c.After)
			}
			if c.Field == "fields" {
				return // the address has no place for what is no field
			}
		}
		u, err := url.Parse(v.page())
		if err != nil {
			t.Fatalf("the address %q: %v", v.page(), err)
		}
		again, moved := readView(u.Query(), 3)
		if moved || again.page() != v.page() || again.stream() != v.stream() {
			t.Errorf("%q is the page of %q, which is that of %q (moved: %v)", v.page(), query, again.page(), moved)
		}
	})
}

func TestWays(t *testing.T) {
	serves := map[string]string{"irc": "[::1]:6667", "xmpp": "conference.localhost", "websocket": "", "rcstream": "", "socketio": ""}
	for _, tt := range []struct {
		query string
		want  map[string]string // code by id; empty if it is not shown
	}{
		{"", map[string]string{
			"tail":         "tidings tail --server http://h:1 '/**'",
			"sse":          "curl -N 'http://h:1/subscribe?topic=/**'",
			"json":         "curl -g 'http://h:1/topics/**?limit=10'",
			"eventstreams": "curl -N http://h:1/v2/stream/recentchange",
			"websocket":    "websocat 'ws://h:1/subscribe?topic=/**'",
			"socketio": `const socket = io('http://h:1')` + "\n" + `socket.on('connect', () => socket.recovered || socket.emit('subscribe', {"topics":["/**"]}))` + "\n" +
				`socket.on('event', (event) => console.log(event.topic, event.data))` + "\n" + `socket.on('gap', (gap) => console.warn('gap', gap))`,
			"rcstream": "const socket = io.connect('http://h:1/rc')\nsocket.on('connect', () => socket.emit('subscribe', '*'))\nsocket.on('change', (change) => console.log(change.title))",
			"irc":      "irssi --connect ::1 --port 6667\n/join #en.wikipedia",
			"xmpp":     "xmpp:en.wikipedia.org@conference.localhost?join",
			"publish":  `curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: text/plain' -d 'hello' http://h:1/topics/greetings`,
		}},
		{"topic=/recentchange/de.wikipedia.org&bot=false&filter=" + url.QueryEscape(`title == 'x' && ns == 0`), map[string]string{
			"tail":         `tidings tail --server http://h:1 /recentchange/de.wikipedia.org --filter 'title == '\''x'\'' && ns == 0' --filter bot=false`,
			"eventstreams": "curl -N 'http://h:1/v2/stream/recentchange?bot=false&filter=title%20%3D%3D%20%27x%27%20%26%26%20ns%20%3D%3D%200&server_name=de.wikipedia.org'",
			"irc":          "irssi --connect ::1 --port 6667\n/join #de.wikipedia",
			"xmpp":         "xmpp:de.wikipedia.org@conference.localhost?join",
			"socketio": `const socket = io('http://h:1')` + "\n" +
				`socket.on('connect', () => socket.recovered || socket.emit('subscribe', {"topics":["/recentchange/de.wikipedia.org"],"filter":["title == 'x' && ns == 0",{"bot":["false"]}]}))` + "\n" +
				`socket.on('event', (event) => console.log(event.topic, event.data))` + "\n" + `socket.on('gap', (gap) => console.warn('gap', gap))`,
			"json": "curl -g 'http://h:1/topics/recentchange/de.wikipedia.org?bot=false&filter=title%20%3D%3D%20%27x%27%20%26%26%20ns%20%3D%3D%200&limit=10'",
		}},
		{"topic=" + url.QueryEscape("/news/it's [ab]?"), map[string]string{
			"sse":          `curl -N 'http://h:1/subscribe?topic=/news/it%27s%20%5Bab%5D%3F'`,
			"browser":      "const source = new EventSource('http://h:1/subscribe?topic=/news/it%27s%20%5Bab%5D%3F')\nsource.onmessage = (e) => console.log(JSON.parse(e.data))\nsource.addEventListener('gap', (e) => console.warn('gap', e.data))",
			"json":         `curl -g 'http://h:1/topics/news/it%27s%20[ab]%3F?limit=10'`,
			"eventstreams": "", "irc": "", "rcstream": "", "xmpp": "",
		}},
		{"topic=/news/local", map[string]string{"publish": `curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: text/plain' -d 'hello' http://h:1/topics/news/local`}},
		{"topic=nonsense", map[string]string{"tail": "", "sse": "", "publish": ""}},
	} {
		q, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := readView(q, 3)
		got := map[string]string{}
		for _, w := range waysFor(v, "http://h:1", serves) {
			got[w.ID] = w.Code
			if strings.Contains(w.Code+w.About, "template:") || w.About == "" || w.Name == "" {
				t.Errorf("?%s: %+v", tt.query, w)
			}
		}
		for id, want := range tt.want {
			if got[id] != want {
				t.Errorf("?%s, %s:\n got %s\nwant %s", tt.query, id, got[id], want)
			}
		}
	}
	v, _ := readView(nil, 3)
	for _, w := range waysFor(v, "http://[::1]:1", map[string]string{"irc": "0.0.0.0:6667"}) {
		if w.ID == "irc" && w.Code != "irssi --connect ::1 --port 6667\n/join #en.wikipedia" {
			t.Errorf("of a listener on every address: %s", w.Code)
		}
	}
	for _, w := range waysFor(v, "http://h:1", nil) {
		if w.ID == "irc" || w.ID == "xmpp" || w.ID == "websocket" || w.ID == "rcstream" || w.ID == "socketio" {
			t.Errorf("a server that has no %s offers it", w.Name)
		}
	}
}

func TestRates(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := newRates(func() time.Time { return now })
	all := func(tidings.Topic) bool { return true }
	for range 120 { // one event a second for two minutes
		r.count("/a")
		now = now.Add(time.Second)
	}
	f := r.figures(all)
	if got := f.Counts[buckets-25:]; got[0] != 5 || got[23] != 5 || got[24] != 0 || f.Counts[buckets-26] != 0 || f.Rate != 1 {
		t.Errorf("one event a second for two minutes: %v, %v/s", f.Counts, f.Rate)
	}
	if got := f.Topics[0].Counts; len(got) != buckets/2 || got[buckets/2-2] != 10 {
		t.Errorf("in halves: %v", got)
	}
	now = now.Add(4 * time.Minute)
	r.count("/b")
	f = r.figures(all)
	if f.Topics[0].Topic != "/b" || f.Topics[1].Rate != 0 || f.Counts[buckets-1] != 1 || f.Counts[buckets-1-48] != 0 || f.Counts[buckets-1-49] != 5 {
		t.Errorf("four minutes later: %v %+v", f.Counts, f.Topics)
	}
	now = now.Add(6 * time.Minute)
	if f = r.figures(all); f.Matched != 0 || f.Rate != 0 {
		t.Errorf("after a silence: %+v", f)
	}
	f.addKept([]Topic{{"/a", 120}, {"/c", 7}}, func(t tidings.Topic) bool { return t != "/c" })
	if len(f.Topics) != 1 || f.Topics[0].Events != 120 || f.Matched != 1 {
		t.Errorf("with those that are silent: %+v", f.Topics)
	}
}

// TestRatesAreBounded: topics that are too many to be counted are said to be missing, until others fall silent.
func TestRatesAreBounded(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := newRates(func() time.Time { return now })
	name := func(i int) tidings.Topic { return tidings.Topic("/" + numberText(i)) }
	for i := range maxCounted + 10 {
		r.count(name(i))
	}
	if f := r.figures(func(tidings.Topic) bool { return true }); f.Matched != maxCounted || !f.Partial || len(f.Topics) != pageTopics {
		t.Errorf("%d topics are counted, partial: %v", f.Matched, f.Partial)
	}
	now = now.Add(buckets * bucketSeconds * time.Second)
	r.count("/new")
	if f := r.figures(func(tidings.Topic) bool { return true }); f.Matched != 1 || f.Partial {
		t.Errorf("later %d topics are counted, partial: %v", f.Matched, f.Partial)
	}
}

func TestTexts(t *testing.T) {
	for _, tt := range []struct {
		rate float64
		want string
	}{{0, "0"}, {0.001, "<1/min"}, {0.01, "1/min"}, {0.5, "30/min"}, {0.99, "59/min"}, {1, "1.0/s"}, {9.94, "9.9/s"}, {9.96, "10/s"}, {1234.5, "1,235/s"}, {1e6, "1,000,000/s"}} {
		if got := rateText(tt.rate); got != tt.want {
			t.Errorf("rateText(%v) = %q, want %q", tt.rate, got, tt.want)
		}
	}
	for _, tt := range []struct {
		counts []uint32
		per    int
		want   uint32
	}{{nil, 5, 5}, {[]uint32{5}, 5, 5}, {[]uint32{6}, 5, 10}, {[]uint32{0, 501, 3}, 5, 1000}, {[]uint32{500}, 5, 500}, {[]uint32{0}, 1, 1}, {[]uint32{7}, 1, 8}, {[]uint32{9}, 1, 10}, {[]uint32{4_000_000_000}, 5, 50_000_000}} {
		if got := scale(tt.counts, tt.per); got != tt.want {
			t.Errorf("scale(%v, %d) = %d, want %d", tt.counts, tt.per, got, tt.want)
		}
	}
	if got := bars([]uint32{0, 1, 50, 200}, 100); got != "M11 100V98h8V100zM21 100V50h8V100zM31 100V0h8V100z" {
		t.Errorf("bars: %s", got)
	}
	for link, ok := range map[string]bool{"https://en.wikipedia.org/wiki/A": true, "http://h": true, "javascript:alert(1)": false, "//h/x": false, "/x": false, "": false, "data:text/html,x": false, "HTTPS://h/": true, "https:": false, "ht\ntp://h": false} {
		if (webLink(link) != "") != ok {
			t.Errorf("webLink(%q) = %q", link, webLink(link))
		}
	}
}

// BenchmarkCount is what the counting adds to the dispatching of an event.
func BenchmarkCount(b *testing.B) {
	r := newRates(time.Now)
	topics := make([]tidings.Topic, 1000)
	for i := range topics {
		topics[i] = tidings.Topic("/recentchange/" + numberText(i))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.count(topics[i%len(topics)])
	}
}

// BenchmarkFigures is what the figures of 1,000 topics cost, which are made at most once a second for each question.
func BenchmarkFigures(b *testing.B) {
	r := newRates(time.Now)
	for i := range 1000 {
		r.count(tidings.Topic("/recentchange/" + numberText(i)))
	}
	v, _ := readView(nil, 1)
	for b.Loop() {
		r.figures(v.matches)
	}
}
