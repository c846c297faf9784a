package irc_test

import (
	"strings"
	"testing"

	"tidings"
	"tidings/outlet/irc"
	"tidings/recentchange"
)

func TestChannelNames(t *testing.T) {
	f := newFeed(t, func(o *irc.Options) {
		o.Wikis = recentchange.Wikis{"enwiki": {ServerName: "en.wikipedia.org", IRCChannel: "#english"}, "localwiki": {}, "urlwiki": {ServerURL: "https://u.example.com"}}
	})
	for topic, want := range map[string]string{
		"/recentchange/en.wikipedia.org":            "#english",
		"/recentchange/de.wikipedia.org":            "#de.wikipedia",
		"/recentchange/commons.wikimedia.org":       "#commons.wikimedia",
		"/recentchange/www.wikidata.org":            "#wikidata.wikipedia",
		"/recentchange/www.mediawiki.org":           "#mediawiki.wikipedia",
		"/recentchange/foundation.wikimedia.org":    "#wikimediafoundation.org",
		"/recentchange/wikimania2005.wikimedia.org": "#wikimania.wikimedia",
		"/recentchange/garden.example.com":          "#garden.example.com",
		"/recentchange/u.example.com":               "#u.example.com",
		"/recentchange/localwiki":                   "#localwiki",
		"/recentchange/bad name":                    "#/recentchange/bad%20name",
		"/recentchange/a/b":                         "#/recentchange/a/b",
		"/news/50%, or more":                        "#/news/50%25%2C%20or%20more",
		"/~http%3A%2F%2Fx":                          "#/~http%253A%252F%252Fx",
	} {
		got := f.ChannelOf(tidings.Topic(topic))
		if got != want {
			t.Errorf("%s is %s, want %s", topic, got, want)
			continue
		}
		// Every topic is found again by the name of its channel.
		found, _ := f.Candidates(got)
		if !strings.Contains(strings.Join(found, "\n")+"\n", got+" "+topic+"\n") {
			t.Errorf("%s stands for %q, not for %s", got, found, topic)
		}
	}
	for channel, want := range map[string]string{
		"#ENGLISH":                     "true #english /recentchange/en.wikipedia.org",
		"#en.wikipedia":                "false #en.wikipedia /recentchange/en.wikipedia.org, #en.wikipedia /recentchange/en.wikipedia",
		"#DE.wikipedia":                "false #de.wikipedia /recentchange/de.wikipedia.org, #de.wikipedia /recentchange/de.wikipedia",
		"#de.wikipedia.org":            "false #de.wikipedia.org /recentchange/de.wikipedia.org.org, #de.wikipedia.org /recentchange/de.wikipedia.org",
		"#login.wikipedia":             "false #login.wikipedia /recentchange/login.wikimedia.org, #login.wikipedia /recentchange/login.wikipedia.org, #login.wikipedia /recentchange/login.wikipedia",
		"#localwiki":                   "true #localwiki /recentchange/localwiki",
		"#/News":                       "false #/News /News",
		"#/news/*":                     "false ",
		"#*":                           "false ",
		"#/":                           "false ",
		"#//":                          "false ",
		"#/%41":                        "false #/%41 /A",
		"#/%":                          "false ",
		"#[a]":                         "false ",
		"# a":                          "false ",
		"":                             "false ",
		"#" + strings.Repeat("a", 250): "false ",
	} {
		found, sure := f.Candidates(channel)
		if got := strings.ToLower(map[bool]string{true: "True", false: "False"}[sure]) + " " + strings.Join(found, ", "); got != want {
			t.Errorf("%q stands for %s, want %s", channel, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	one := []tidings.Pattern{tidings.MustPattern("/a")}
	for what, o := range map[string]irc.Options{
		"a bot with blanks":       {Bot: "a b"},
		"a channel without #":     {Channels: map[string][]tidings.Pattern{"news": one}},
		"a channel of nothing":    {Channels: map[string][]tidings.Pattern{"#news": nil}},
		"a channel twice":         {Channels: map[string][]tidings.Pattern{"#news": one, "#NEWS": {tidings.MustPattern("/b")}}},
		"a wiki's channel's name": {Wikis: recentchange.Wikis{"w": {IRCChannel: "#a b"}}},
		"a wiki's and another":    {Wikis: recentchange.Wikis{"w": {IRCChannel: "#news"}}, Channels: map[string][]tidings.Pattern{"#news": one}},
	} {
		if s, err := irc.New(o); tidings.KindOf(err) != tidings.ErrInvalid {
			t.Errorf("%s: %v, %v", what, s, err)
		}
	}
}
