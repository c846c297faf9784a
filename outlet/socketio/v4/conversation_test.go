package v4

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/edge"
	"tidings/hub"
	"tidings/journal"
	"tidings/outlet"
	"tidings/outlet/outlettest"
	"tidings/recentchange"
)

type world struct {
	*outlettest.World
	*web
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	j := journal.NewMemory(outlettest.Options(""))
	t.Cleanup(func() { j.Close() })
	return newWorldOn(t, j, o)
}

func newWorldOn(t *testing.T, j journal.Journal, o Options) *world {
	t.Helper()
	w := &world{World: outlettest.NewWorld(t, j, hub.Options{Decode: outlet.Decoder(nil)}, edge.Options{})}
	w.web = serve(w.World, o)
	return w
}

func (s *web) start(t *testing.T, m mode) *engine {
	t.Helper()
	e, err := s.open(m, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(20*time.Second, e.cancel)
	t.Cleanup(func() { timer.Stop(); e.Close() })
	if m == upgraded {
		if err := e.upgrade(); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// expect reads packets that match regular expressions, whole; "end" is the end of the session, and a dash stands for the
// closing packet that only clients which poll get.
func (e *engine) expect(t *testing.T, wants ...string) []string {
	t.Helper()
	var got []string
	for _, want := range wants {
		p, err := e.next()
		if err == io.EOF || want == "end" && p == "1" || want == "end" && err != nil {
			p = "end"
		} else if err != nil {
			p = err.Error()
		}
		if !regexp.MustCompile("^(?:" + want + ")$").MatchString(p) {
			t.Fatalf("got %s, want %s", p, want)
		}
		got = append(got, p)
	}
	return got
}

func modes(t *testing.T, f func(t *testing.T, m mode)) {
	for name, m := range map[string]mode{"socket": overSocket, "polls": overPolls, "upgraded": upgraded} {
		t.Run(name, func(t *testing.T) { f(t, m) })
	}
}

const connected = `40\{"sid":"[\w-]{20}","pid":"[\w-]{20}"\}`

// TestConversations has packets sent and answered, one after the other.
func TestConversations(t *testing.T) {
	w := newWorld(t, Options{MaxPatterns: 3})
	_, token := w.Token("/private/**")
	const pos = `[0-9a-f]{8}-\d+`
	sub := func(topics, query string) string {
		return `42\["subscribed",\{"topics":\[` + topics + `\],"position":"` + pos + `"\},"` + pos + regexp.QuoteMeta(query) + `"\]`
	}
	for _, tc := range []struct {
		name string
		says []string // send, and what is expected, in turn; several are separated by |
	}{
		{"connect twice", []string{"40", connected, "40", `44\{"message":"Already connected"\}`, `40/rc,{}`, `40/rc,\{.*\}`}},
		{"namespace", []string{"40/x,", `44/x,\{"message":"Invalid namespace"\}`, "40", connected}},
		{"bad token", []string{`40{"token":"x"}`, `44\{"message":"Not authenticated","data":\{"request":"connect","code":"unauthenticated","status":401,.*\}\}`}},
		{"bad auth", []string{`40{"token":7}`, `44\{"message":"Invalid authentication",.*\}`}},
		{"subscribe", []string{"40", connected,
			`420["subscribe","/a"]`, sub(`"/a"`, "?topic=%2Fa") + `|430\[\{"topics":\["/a"\],"position":"` + pos + `"\}\]`,
			`42["subscribe",["/b","/a"],"/c"]`, sub(`"/a","/b","/c"`, "?topic=%2Fa&topic=%2Fb&topic=%2Fc"),
			`421["subscribe","/d"]`, `431\[\{"error":\{"request":"subscribe","code":"invalid","status":400,"detail":"[^"]*4 topics and may name 3"\}\}\]`,
			`42["unsubscribe","/b","/x"]`, sub(`"/a","/c"`, "?topic=%2Fa&topic=%2Fc"),
			`42["subscribe",{"filter":{"n":[1,2],"bot":false}}]`, sub(`"/a","/c"`, "?bot=false&n=1&n=2&topic=%2Fa&topic=%2Fc"),
			`42["subscribe",{"topics":["/d"],"filter":"data.n > 3"}]`, sub(`"/a","/c","/d"`, "?filter=data.n+%3E+3&topic=%2Fa&topic=%2Fc&topic=%2Fd"),
			`42["subscribe",{"topics":["/d"],"filter":null}]`, sub(`"/a","/c","/d"`, "?topic=%2Fa&topic=%2Fc&topic=%2Fd"),
			`422["unsubscribe"]`, sub(``, "") + `|432\[\{"topics":\[\],"position":"` + pos + `"\}\]`,
			`423["unsubscribe"]`, sub(``, "") + `|433\[.*\]`,
		}},
		{"refused", []string{"40", connected,
			`420["subscribe"]`, `430\[\{"error":.*needs topics.*`,
			`420["subscribe",{"filter":{"a":"b"}}]`, `430\[\{"error":.*nothing is subscribed to.*`,
			`420["subscribe","a"]`, `430\[\{"error":.*`,
			`420["subscribe",7]`, `430\[\{"error":.*`,
			`420["subscribe",["/a",7]]`, `430\[\{"error":.*`,
			`420["subscribe",{"topics":["/a"],"filtre":1}]`, `430\[\{"error":.*filtre.*`,
			`420["subscribe",{"topics":["/a"]},{}]`, `430\[\{"error":.*`,
			`420["subscribe",{"topics":["/a"],"filter":"1 +"}]`, `430\[\{"error":.*column.*`,
			`420["subscribe",{"topics":["/a"],"after":"x"}]`, `430\[\{"error":.*not a position.*`,
			`420["unsubscribe",{}]`, `430\[\{"error":.*`,
			`420["subscribe","/private/a"]`, `430\[\{"error":\{"request":"subscribe","code":"[a-z]+".*`,
			`42["subscribe","/private/a"]`, `42\["error",\{"request":"subscribe","code":"[a-z]+".*`,
			`420["publish","/a"]`, `430\[\{"error":\{"request":"publish","code":"not-found".*`,
			`42["publish","/a"]`, `42\["error",\{"request":"publish","code":"not-found".*`,
			`420["subscribe","/a"]`, sub(`"/a"`, "?topic=%2Fa") + `|430.*`,
		}},
		{"token", []string{`40{"token":"` + token + `"}`, connected, `420["subscribe","/private/a"]`, sub(`"/private/a"`, "?topic=%2Fprivate%2Fa") + `|430.*`}},
		{"binary", []string{"40", connected, `451-0["subscribe",{"_placeholder":true,"num":0}]`, `430\[\{"error":\{"code":"invalid","status":400,"detail":"events with binary data are not taken"\}\}\]`,
			"b:", "", `451-["x",{"_placeholder":true,"num":0}]`, `42\["error",\{"code":"invalid",.*`, "b:", "", `420["subscribe","/a"]`, sub(`"/a"`, "?topic=%2Fa") + `|430.*`}},
		{"acknowledgements and errors of clients mean nothing", []string{"40", connected, `431[1]`, "", `44{"message":"x"}`, "", `420["subscribe","/a"]`, sub(`"/a"`, "?topic=%2Fa") + `|430.*`}},
		{"leave", []string{"40", connected, "40/rc,", `40/rc,\{.*`, "42[\"subscribe\",\"/a\"]", sub(`"/a"`, "?topic=%2Fa"), "41", "", "41", "", "40", connected, "41/rc,", "", `42/rc,["subscribe","*"]`, "end"}},
		{"event without a namespace", []string{`42["subscribe","/a"]`, "end"}},
		{"no packet", []string{"40", connected, "4", "end"}},
		{"no type", []string{"40", connected, "49", "end"}},
		{"no JSON", []string{"40", connected, `42["a"`, "end"}},
		{"reserved name", []string{"40", connected, `42["connect"]`, "end"}},
		{"engine type", []string{"7", "end"}},
		{"engine ping", []string{"2", "end"}},
		{"engine upgrade", []string{"5", "end"}},
		{"empty", []string{"", "end"}},
		{"binary without a packet", []string{"b:", "end"}},
		{"engine close", []string{"40", connected, "1", "end"}},
		{"pong and noop", []string{"3", "", "6", "", "40", connected}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			modes(t, func(t *testing.T, m mode) {
				t.Parallel()
				e := w.start(t, m)
				for i := 0; i < len(tc.says); i += 2 {
					p := tc.says[i]
					var err error
					if p == "b:" { // an attachment
						if e.ws != nil {
							err = e.ws.Write(e.ctx, 2, []byte{1, 2})
						} else {
							err = e.send("bAQI=")
						}
					} else {
						err = e.send(p)
					}
					if want := tc.says[i+1]; want != "" {
						if want == "end" {
							if e.ws == nil && err == nil {
								err = fmt.Errorf("still there")
								if _, err2 := e.do(http.MethodGet, ""); err2 != nil {
									err = nil
								}
								if err != nil {
									t.Fatal(err)
								}
								return
							}
							if e.ws != nil {
								e.expect(t, "end")
							}
							return
						}
						e.expect(t, strings.Split(want, "|")...)
					}
					if err != nil {
						t.Fatalf("sending %q: %v", p, err)
					}
				}
			})
		})
	}
}

// TestRC: /rc has what RCStream had, with wikis by host, wildcard and id.
func TestRC(t *testing.T) {
	w := newWorld(t, Options{})
	change := func(host, wiki, title string) {
		w.Append(tidings.Event{Topic: tidings.Topic("/recentchange/" + host), ContentType: recentchange.TypeJSON, Time: time.Unix(1420070400, 0),
			Payload: fmt.Appendf(nil, `{"id":1,"type":"edit","namespace":0,"title":%q,"comment":"","timestamp":1420070400,"user":"U","bot":false,"server_url":"https://%s","server_name":%q,"server_script_path":"/w","wiki":%q}`, title, host, host, wiki)})
	}
	modes(t, func(t *testing.T, m mode) {
		e := w.start(t, m)
		e.send("40/rc,")
		e.expect(t, `40/rc,\{.*`)
		e.send(`42/rc,["subscribe",["*.wikivoyage.org","enwiki"]]`)
		e.expect(t, `42/rc,\["subscribed",\{"topics":\["\*\.wikivoyage\.org","enwiki"\],.*`)
		change("de.wikipedia.org", "dewiki", "No")
		change("en.wikipedia.org", "enwiki", "One")
		w.Append(tidings.Event{Topic: "/recentchange/de.wikivoyage.org", ContentType: "text/plain", Payload: []byte("no change")})
		change("de.wikivoyage.org", "dewikivoyage", "Two")
		for _, title := range []string{"One", "Two"} {
			p := e.expect(t, `42/rc,\["change",\{.*\},"[0-9a-f]{8}-\d+\?topic=%2A\.wikivoyage\.org&topic=enwiki"\]`)[0]
			_, args, _ := parseEvent([]byte(strings.TrimPrefix(p, "42/rc,")))
			var rc struct {
				Title string
				Meta  struct{ Stream string }
			}
			if err := json.Unmarshal(args[0], &rc); err != nil || rc.Title != title || rc.Meta.Stream != "mediawiki.recentchange" {
				t.Errorf("got %s, %v; want %s", args[0], err, title)
			}
		}
		e.send(`42/rc,["unsubscribe"]`)
		e.expect(t, `42/rc,\["subscribed",\{"topics":\[\].*`)
		e.send(`42/rc,1["subscribe","no.wiki/x"]`)
		e.expect(t, `43/rc,1\[\{"error":.*no wiki can.*`)
	})
}
