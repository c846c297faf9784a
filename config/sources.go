package config

import (
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Poll is one [[poll]]: a wiki whose changes are asked for.
type Poll struct {
	APIURL   string   `toml:"api_url"`
	Interval Duration `toml:"interval"` // from one poll to the next
	Overlap  Duration `toml:"overlap"`  // how late a change may become visible and come with the next poll
	Late     Duration `toml:"late"`     // how late it may become visible and come at all
	Begin    Duration `toml:"begin"`    // how far back the first start goes
	Token    string   `toml:"token"`    // of a wiki that wants to know who reads
}

// EventStreams is one [[eventstreams]]: a server whose stream of changes is read.
type EventStreams struct {
	URL     string   `toml:"url"`
	Silence Duration `toml:"silence"` // after which a connection is taken for dead
	Begin   Duration `toml:"begin"`   // how far back the first start goes
	Token   string   `toml:"token"`
}

// Redis is one [[redis]]: a server that wikis publish to.
type Redis struct {
	URL      string   `toml:"url"` // may have a password in it
	Patterns []string `toml:"patterns"`
}

// The values of what a source in a list leaves out.
var (
	defaultPoll         = Poll{Interval: Duration(10 * time.Second), Overlap: Duration(30 * time.Second), Late: Duration(5 * time.Minute)}
	defaultEventStreams = EventStreams{Silence: Duration(2 * time.Minute)}
	defaultRedis        = Redis{Patterns: []string{"rc.*"}}
)

// fillSources sets what the sources leave out: a list has no defaults of its own.
func (c *Config) fillSources() {
	for i := range c.Poll {
		p := &c.Poll[i]
		for _, d := range []struct{ to, from *Duration }{{&p.Interval, &defaultPoll.Interval}, {&p.Overlap, &defaultPoll.Overlap}, {&p.Late, &defaultPoll.Late}} {
			if *d.to == 0 {
				*d.to = *d.from
			}
		}
	}
	for i := range c.EventStreams {
		if e := &c.EventStreams[i]; e.Silence == 0 {
			e.Silence = defaultEventStreams.Silence
		}
	}
	for i := range c.Redis {
		if r := &c.Redis[i]; len(r.Patterns) == 0 {
			r.Patterns = slices.Clone(defaultRedis.Patterns)
		}
	}
}

// sources checks what is read from elsewhere.
func (v *checker) sources(c *Config) {
	for _, r := range c.Contact {
		if r < 0x20 || r > 0x7e || r == '(' || r == ')' {
			v.bad("contact", "is %q: want an address or a URL in ASCII, without parentheses", c.Contact)
			break
		}
	}
	seen := map[string]string{}
	once := func(key, s string) {
		if other, ok := seen[s]; ok {
			v.bad(key, "is that of %s too", other)
		}
		seen[s] = key
	}
	for i, p := range c.Poll {
		key := fmt.Sprintf("poll[%d]", i)
		v.remote(key, "api_url", p.APIURL, p.Token, "https://wiki.example.org/w/api.php")
		once(key+".api_url", p.APIURL)
		v.duration(key+".interval", p.Interval, time.Second, time.Hour)
		v.duration(key+".overlap", p.Overlap, time.Second, time.Hour)
		v.duration(key+".late", p.Late, time.Duration(p.Overlap), day)
		v.duration(key+".begin", p.Begin, 0, 90*day)
	}
	for i, e := range c.EventStreams {
		key := fmt.Sprintf("eventstreams[%d]", i)
		v.remote(key, "url", e.URL, e.Token, "https://stream.wikimedia.org/v2/stream/recentchange")
		once(key+".url", e.URL)
		v.duration(key+".silence", e.Silence, 10*time.Second, time.Hour)
		v.duration(key+".begin", e.Begin, 0, 90*day)
	}
	for i, r := range c.Redis {
		key := fmt.Sprintf("redis[%d].url", i)
		u, err := url.Parse(r.URL)
		if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.RawQuery != "" {
			// The value is not repeated: it may have a password in it.
			v.bad(key, "is not of the form redis://127.0.0.1:6379")
			continue
		}
		once(key, u.Scheme+u.Host)
	}
}

// remote checks the address of a server that is read over HTTP.
func (v *checker) remote(section, name, s, token, example string) {
	key := section + "." + name
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "" {
		v.bad(key, "is %q: want an address such as %s", s, example)
		return
	}
	if u.User != nil {
		v.bad(key, "has a user in it: set token instead")
	}
	if token != "" && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		v.bad(section+".token", "would be sent to %s without TLS: use https", u.Hostname())
	}
}

// withoutSecrets returns the configuration with tokens, passwords and secrets replaced by xxxxx.
func (c Config) withoutSecrets() Config {
	c.Poll, c.EventStreams, c.Redis = slices.Clone(c.Poll), slices.Clone(c.EventStreams), slices.Clone(c.Redis)
	for i := range c.Poll {
		hide(&c.Poll[i].Token)
	}
	for i := range c.EventStreams {
		hide(&c.EventStreams[i].Token)
	}
	for i := range c.Redis {
		c.Redis[i].URL = redacted(c.Redis[i].URL)
	}
	c.Component = componentsWithoutSecrets(c.Component)
	c.hideBridges()
	return c
}

func hide(s *string) {
	if *s != "" {
		*s = "xxxxx"
	}
}

// redacted returns the URL without what it holds of a password or a token.
func redacted(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "xxxxx" // whatever it is, it may have a password in it
	case u.User != nil:
		if _, ok := u.User.Password(); !ok {
			u.User = url.User("xxxxx") // a token
		}
		return u.Redacted()
	}
	return s
}
