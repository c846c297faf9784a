package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBridges(t *testing.T) {
	c := parse(t, `
[[bridge]]
jid = "changes@example.org/feed"
password = "secret1"
[[bridge.rooms]]
room = "changes@conference.example.org"
topics = ["/recentchange/**", "/news"]
filter = "bot == false"
password = "secret2"
[[bridge.rooms]]
room = "{wiki}-rc@conference.example.org"
[[bridge]]
jid = "bot@example.com"
password_file = "bot.password"
name = "second"
addr = "192.0.2.1:5223"
direct_tls = true
tls_ca = "ca.pem"
tls_name = "xmpp.example.com"
nick = "Bot"
rate = 2.5
window = 1
max_age = "1h"
max_stanza = "64KiB"
rooms = [{room = "{host}@rooms.example.com", topics = ["/recentchange/*.wikivoyage.org"]}]
`)
	want := Defaults()
	want.Bridge = []Bridge{
		{JID: "changes@example.org/feed", Password: "secret1", Name: "changes@example.org", Nick: "changes", Rate: 10, Window: 16, MaxStanza: 256 << 10, Rooms: []BridgeRoom{
			{Room: "changes@conference.example.org", Topics: []string{"/recentchange/**", "/news"}, Filter: "bot == false", Password: "secret2"},
			{Room: "{wiki}-rc@conference.example.org", Topics: []string{"/recentchange/*"}},
		}},
		{JID: "bot@example.com", PasswordFile: "bot.password", Name: "second", Addr: "192.0.2.1:5223", DirectTLS: true, TLSCA: "ca.pem", TLSName: "xmpp.example.com",
			Nick: "Bot", Rate: 2.5, Window: 1, MaxAge: Duration(day / 24), MaxStanza: 64 << 10, Rooms: []BridgeRoom{
				{Room: "{host}@rooms.example.com", Topics: []string{"/recentchange/*.wikivoyage.org"}},
			}},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	text := c.TOML()
	if strings.Contains(text, "secret1") || strings.Contains(text, "secret2") || strings.Count(text, "xxxxx") != 2 {
		t.Error(text)
	}
	if c.Bridge[0].Password != "secret1" || c.Bridge[0].Rooms[0].Password != "secret2" {
		t.Error("printing has changed the values")
	}
	again := parse(t, text)
	again.Bridge[0].Password, again.Bridge[0].Rooms[0].Password = "secret1", "secret2"
	if d := cmp.Diff(want, again); d != "" {
		t.Errorf("printed and read again (-want +got):\n%s", d)
	}
	ps, err := c.Bridge[0].Rooms[0].Patterns()
	if err != nil || len(ps) != 2 || ps[1].String() != "/news" {
		t.Errorf("%v, %v", ps, err)
	}
}

func TestBridgesRefused(t *testing.T) {
	const good = "[[bridge]]\njid = 'a@b.example'\npassword = 'p'\n"
	const rooms = "rooms = [{room = 'r@c.example', topics = ['/x']}]\n"
	for _, tt := range []struct{ text, want string }{
		{good, "bridge[0].rooms is empty"},
		{good + "rooms = [{room = 'r@c.example'}]", "bridge[0].rooms[0].topics is empty"},
		{good + "rooms = [{room = 'r@c.example', topics = ['x']}]", "bridge[0].rooms[0].topics has a malformed"},
		{good + "rooms = [{room = 'c.example', topics = ['/x']}]", `bridge[0].rooms[0].room is "c.example": want the address of a room`},
		{good + "rooms = [{room = 'r@c.example/nick', topics = ['/x']}]", "want the address of a room"},
		{good + "rooms = [{room = 'r@{host}'}]", "want the address of a room"},
		{good + "rooms = [{room = 'r@c', topics = ['/x']}, {room = 'r@c', topics = ['/y']}]", "as that of another entry"},
		{good + rooms + "rate = -1.0", "bridge[0].rate is -1"},
		{good + rooms + "rate = nan", "bridge[0].rate is NaN"},
		{good + rooms + "window = -1", "bridge[0].window is -1"},
		{good + rooms + "max_age = '400d'", "bridge[0].max_age is 400d"},
		{good + rooms + "max_stanza = 100", "bridge[0].max_stanza is 100"},
		{good + rooms + "nick = \"a\\tb\"", `bridge[0].nick is "a\tb"`},
		{good + rooms + good + rooms, "bridge[1].name is \"a@b.example\", as that of another bridge"},
		{"[[bridge]]\njid = 'b.example'\npassword = 'p'\nnick = 'n'\n" + rooms, `bridge[0].jid is "b.example"`},
		{"[[bridge]]\njid = 'a@b.example'\n" + rooms, "bridge[0].password and password_file: set one of them"},
		{good + "password_file = 'f'\n" + rooms, "bridge[0].password and password_file: set one of them"},
	} {
		err := parse(t, tt.text).Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
	_, err := Parse("f.toml", []byte(good+"[[bridge.rooms]]\nromo = 'r@c'\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "did you mean bridge.rooms.room?") {
		t.Error(err)
	}
}
