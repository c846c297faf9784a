package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestXMPP(t *testing.T) {
	c := parse(t, `
domain = "chat.example.org"
[xmpp]
addr = "0.0.0.0:5222"
direct_tls = "[::]:5223"
tls_cert = "cert.pem"
tls_key = "key.pem"
anonymous = false
resume_window = "0s"
rooms_service = "rooms"
[[xmpp.rooms]]
name = "news"
topics = ["/news/**", "/weather"]
[[xmpp.rooms]]
name = "bücher"
topics = ["/books/*"]
title = "Bücher"
`)
	want := Defaults()
	want.Domain = "chat.example.org"
	want.XMPP.Addr, want.XMPP.DirectTLS, want.XMPP.TLSCert, want.XMPP.TLSKey = "0.0.0.0:5222", "[::]:5223", "cert.pem", "key.pem"
	want.XMPP.Anonymous, want.XMPP.ResumeWindow, want.XMPP.RoomsService = false, 0, "rooms"
	want.XMPP.Rooms = []Room{{Name: "news", Topics: []string{"/news/**", "/weather"}}, {Name: "bücher", Topics: []string{"/books/*"}, Title: "Bücher"}}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(c, parse(t, c.TOML())); d != "" {
		t.Errorf("written and read again (-want +got):\n%s", d)
	}
	if got := c.RoomsDomain(); got != "rooms.chat.example.org" {
		t.Error(got)
	}
	ps, err := c.XMPP.Rooms[0].RoomPatterns()
	if err != nil || len(ps) != 2 || ps[0].String() != "/news/**" {
		t.Errorf("%v, %v", ps, err)
	}
	if _, err := (Room{Topics: []string{"news"}}).RoomPatterns(); err == nil {
		t.Error("a malformed pattern is none")
	}
	// Clients that others bring have to start TLS: no certificate is needed for that.
	if err := parse(t, "xmpp.addr = '0.0.0.0:5222'").Validate(); err != nil {
		t.Error(err)
	}
}

func TestXMPPRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"addr = 'x'", `xmpp.addr is "x": want an address and a port such as 127.0.0.1:5222, or off`},
		{"direct_tls = ':x'", `xmpp.direct_tls is ":x": want an address and a port such as 127.0.0.1:5223, or off`},
		{"direct_tls = '127.0.0.1:5222'", "need a port each"},
		{"tls_cert = 'x'", "xmpp.tls_cert and xmpp.tls_key go together"},
		{"scram_iterations = 4095", "xmpp.scram_iterations is 4095: want 4096 to 5000000"},
		{"max_stanza = 9999", "xmpp.max_stanza is 9999: want 10000 to 16MiB"},
		{"handshake_timeout = '0s'", "xmpp.handshake_timeout is 0s"},
		{"ack_timeout = '1s'", "xmpp.ack_timeout is 1s"},
		{"resume_window = '-1s'", "xmpp.resume_window is -1s"},
		{"sessions_per_account = 0", "xmpp.sessions_per_account is 0"},
		{"max_connections_per_address = -1", "xmpp.max_connections_per_address is -1"},
		{"rooms_service = 'a.b'", `xmpp.rooms_service is "a.b": want one label`},
		{"rooms_service = 'pubsub'", "that no other service has"},
		{"rooms_service = ''", `xmpp.rooms_service is ""`},
		{"[[xmpp.rooms]]\ntopics = ['/a']", `xmpp.rooms[0].name is ""`},
		{"[[xmpp.rooms]]\nname = 'News'\ntopics = ['/a']", `xmpp.rooms[0].name is "News": want the part of an address before the @, in small letters`},
		{"[[xmpp.rooms]]\nname = 'a b'\ntopics = ['/a']", `xmpp.rooms[0].name is "a b"`},
		{"[[xmpp.rooms]]\nname = 'a@b'\ntopics = ['/a']", `xmpp.rooms[0].name is "a@b"`},
		{"[[xmpp.rooms]]\nname = 'a'", "xmpp.rooms[0].topics is empty"},
		{"[[xmpp.rooms]]\nname = 'a'\ntopics = ['a']", "xmpp.rooms[0].topics has a malformed"},
		{"[[xmpp.rooms]]\nname = 'a'\ntopics = ['/a']\ntitle = \"a\\nb\"", `xmpp.rooms[0].title is "a\nb"`},
		{"[[xmpp.rooms]]\nname = 'a'\ntopics = ['/a']\n[[xmpp.rooms]]\nname = 'a'\ntopics = ['/b']", `xmpp.rooms[1].name is "a", as that of another room`},
	} {
		err := parse(t, "[xmpp]\n"+tt.text).Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
	for _, tt := range []struct{ text, want string }{
		{"[xmpp]\nlisten = 'x'", "f.toml:2: unknown key xmpp.listen"},
		{"[[xmpp.rooms]]\nnam = 'a'", "f.toml:2: unknown key xmpp.rooms.nam (did you mean xmpp.rooms.name?)"},
		{"[[xmpp.rooms]]\ntopic = ['/a']", "f.toml:2: unknown key xmpp.rooms.topic (did you mean xmpp.rooms.topics?)"},
		{"[xmp]\naddr = 'x'", "f.toml:1: unknown key xmp (did you mean [xmpp]?)"},
	} {
		if _, err := Parse("f.toml", []byte(tt.text), nil); err == nil || err.Error() != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}
