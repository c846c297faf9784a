package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPubSub(t *testing.T) {
	c := parse(t, `
[pubsub]
admins = ["ann@chat.example.org", "bücher@example.net"]
create = "admins"
reserved = []
max_items = 50
max_payload = "64KiB"
max_lease = "30d"
default_access = "whitelist"
default_max_items = 50
default_max_payload = "1KiB"
`)
	want := Defaults()
	want.PubSub = PubSub{Admins: []string{"ann@chat.example.org", "bücher@example.net"}, Create: "admins", Reserved: []string{}, MaxItems: 50, MaxPayload: 64 << 10,
		MaxNodes: 10_000, MaxSubscriptions: 10_000, MaxPerNode: 32, MaxLease: Duration(30 * day), DefaultAccess: "whitelist", DefaultMaxItems: 50, DefaultMaxPayload: 1 << 10}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(c, parse(t, c.TOML())); d != "" {
		t.Errorf("written and read again (-want +got):\n%s", d)
	}
	if ps, err := c.PubSub.ReservedPatterns(); err != nil || ps == nil || len(ps) != 0 {
		t.Errorf("none reserved: %v, %v", ps, err)
	}
	if ps, err := Defaults().PubSub.ReservedPatterns(); err != nil || len(ps) != 1 || ps[0].String() != "/recentchange/**" {
		t.Errorf("%v, %v", ps, err)
	}
	if _, err := (PubSub{Reserved: []string{"news"}}).ReservedPatterns(); err == nil {
		t.Error("a malformed pattern is none")
	}
	c, err := Parse("", nil, []string{"TIDINGS_PUBSUB_ADMINS=ann@localhost, bob@localhost", "TIDINGS_PUBSUB_CREATE=nobody", "TIDINGS_PUBSUB_MAX_PAYLOAD=2KiB"})
	if err != nil || len(c.PubSub.Admins) != 2 || c.PubSub.Create != "nobody" || c.PubSub.MaxPayload != 2<<10 {
		t.Errorf("from the environment: %+v, %v", c.PubSub, err)
	}
}

func TestPubSubRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"admins = ['ann']", `pubsub.admins has "ann": want an address without a resource, in small letters, such as ann@localhost`},
		{"admins = ['Ann@localhost']", `pubsub.admins has "Ann@localhost"`},
		{"admins = ['ann@localhost/x']", `pubsub.admins has "ann@localhost/x"`},
		{"admins = ['@localhost']", `pubsub.admins has "@localhost"`},
		{"admins = ['ann@']", `pubsub.admins has "ann@"`},
		{"admins = ['ann@a@b']", `pubsub.admins has "ann@a@b"`},
		{"create = 'anybody'", `pubsub.create is "anybody": want accounts, admins or nobody`},
		{"reserved = ['news']", "pubsub.reserved has a malformed"},
		{"max_items = 0", "pubsub.max_items is 0: want 1 to 1000000"},
		{"max_payload = 0", "pubsub.max_payload is 0: want 1 to 32MiB"},
		{"max_nodes = 0", "pubsub.max_nodes is 0"},
		{"max_subscriptions = -1", "pubsub.max_subscriptions is -1"},
		{"max_per_node = 1001", "pubsub.max_per_node is 1001"},
		{"max_lease = '1s'", "pubsub.max_lease is 1s"},
		{"default_access = 'presence'", `pubsub.default_access is "presence": want open, authorize or whitelist`},
		{"default_max_items = 10001", "pubsub.default_max_items is 10001, and pubsub.max_items 10000"},
		{"default_max_payload = '2MiB'", "pubsub.default_max_payload is 2MiB, and pubsub.max_payload 1MiB"},
	} {
		err := parse(t, "[pubsub]\n"+tt.text).Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
	for _, tt := range []struct{ text, want string }{
		{"[pubsub]\nadmin = []", "f.toml:2: unknown key pubsub.admin (did you mean pubsub.admins?)"},
		{"[pubsb]\ncreate = 'admins'", "f.toml:1: unknown key pubsb (did you mean [pubsub]?)"},
	} {
		if _, err := Parse("f.toml", []byte(tt.text), nil); err == nil || err.Error() != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}
