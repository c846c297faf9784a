package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSources(t *testing.T) {
	c := parse(t, `
contact = "ops@example.org"
[[poll]]
api_url = "https://a.example/w/api.php"
[[poll]]
api_url = "https://b.example/w/api.php"
interval = "1m"
overlap = "2m"
late = "1h"
begin = "1d"
token = "secret1"
[[eventstreams]]
url = "http://127.0.0.1:8081/v2/stream/recentchange"
token = "secret2"
[[redis]]
url = "redis://me:secret3@r.example:6380"
[[redis]]
url = "redis://secret4@s.example"
patterns = ["x.*"]
`)
	want := Defaults()
	want.Contact = "ops@example.org"
	want.Poll = []Poll{
		{APIURL: "https://a.example/w/api.php", Interval: Duration(10 * time.Second), Overlap: Duration(30 * time.Second), Late: Duration(5 * time.Minute)},
		{APIURL: "https://b.example/w/api.php", Interval: Duration(time.Minute), Overlap: Duration(2 * time.Minute), Late: Duration(time.Hour), Begin: Duration(day), Token: "secret1"},
	}
	want.EventStreams = []EventStreams{{URL: "http://127.0.0.1:8081/v2/stream/recentchange", Silence: Duration(2 * time.Minute), Token: "secret2"}}
	want.Redis = []Redis{{URL: "redis://me:secret3@r.example:6380", Patterns: []string{"rc.*"}}, {URL: "redis://secret4@s.example", Patterns: []string{"x.*"}}}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	text := c.TOML()
	if strings.Contains(text, "secret") || strings.Count(text, "xxxxx") != 4 {
		t.Error(text)
	}
	if c.Poll[1].Token != "secret1" || c.Redis[0].URL != "redis://me:secret3@r.example:6380" {
		t.Error("printing has changed the values")
	}
	again := parse(t, text)
	again.Poll[1].Token, again.EventStreams[0].Token, again.Redis = "secret1", "secret2", want.Redis
	if d := cmp.Diff(want, again); d != "" {
		t.Errorf("printed and read again (-want +got):\n%s", d)
	}
}

func TestSourcesRefused(t *testing.T) {
	poll := func(change func(*Poll)) func(*Config) {
		return func(c *Config) {
			p := Poll{APIURL: "https://w.example/w/api.php"}
			c.Poll = []Poll{p}
			c.fillSources()
			change(&c.Poll[0])
		}
	}
	stream := func(e EventStreams) func(*Config) {
		return func(c *Config) { c.EventStreams = []EventStreams{e}; c.fillSources() }
	}
	for _, tt := range []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"no address", poll(func(p *Poll) { p.APIURL = "" }), `poll[0].api_url is "": want an address such as`},
		{"no host", poll(func(p *Poll) { p.APIURL = "https:///api.php" }), "poll[0].api_url is"},
		{"scheme", poll(func(p *Poll) { p.APIURL = "udp://w.example" }), "poll[0].api_url is"},
		{"fragment", poll(func(p *Poll) { p.APIURL += "#x" }), "poll[0].api_url is"},
		{"user", poll(func(p *Poll) { p.APIURL = "https://me:pass@w.example/api.php" }), "poll[0].api_url has a user in it: set token instead"},
		{"token without TLS", poll(func(p *Poll) { p.APIURL, p.Token = "http://w.example/api.php", "secret" }), "poll[0].token would be sent to w.example without TLS"},
		{"too often", poll(func(p *Poll) { p.Interval = 1 }), "poll[0].interval is 1ns: want 1s to 1h"},
		{"overlap", poll(func(p *Poll) { p.Overlap, p.Late = Duration(2*time.Hour), Duration(day) }), "poll[0].overlap is 2h"},
		{"late", poll(func(p *Poll) { p.Late = Duration(time.Second) }), "poll[0].late is 1s: want 30s to 1d"},
		{"begin", poll(func(p *Poll) { p.Begin = -1 }), "poll[0].begin is -1ns"},
		{"twice", func(c *Config) {
			c.Poll = []Poll{{APIURL: "https://w.example/api.php"}, {APIURL: "https://w.example/api.php"}}
			c.fillSources()
		}, "poll[1].api_url is that of poll[0].api_url too"},
		{"contact", func(c *Config) { c.Contact = "a (b)" }, `contact is "a (b)"`},
		{"stream", stream(EventStreams{URL: "stream.example"}), "eventstreams[0].url is"},
		{"stream's silence", stream(EventStreams{URL: "https://s.example", Silence: 1}), "eventstreams[0].silence is 1ns: want 10s to 1h"},
		{"stream's begin", stream(EventStreams{URL: "https://s.example", Begin: -1}), "eventstreams[0].begin is"},
		{"redis", func(c *Config) { c.Redis = []Redis{{URL: "http://secret@r"}} }, "redis[0].url is not of the form"},
		{"redis twice", func(c *Config) { c.Redis = []Redis{{URL: "redis://secret@r"}, {URL: "redis://r"}} }, "redis[1].url is that of redis[0].url too"},
	} {
		c := Defaults()
		tt.set(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q alone", tt.name, err, tt.want)
		}
	}
	if _, err := Parse("f.toml", []byte("[[poll]]\napiurl = 'x'\n"), nil); err == nil || err.Error() != "f.toml:2: unknown key poll.apiurl (did you mean poll.api_url?)" {
		t.Error(err)
	}
}
