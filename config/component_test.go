package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestComponents(t *testing.T) {
	const text = `
[[component]]
addr = "127.0.0.1:5347"
domain = "pubsub.example.org"
serves = "pubsub"
secret = "hush-1"
senders = ["out1.example.org", "out2.example.org"]
create_nodes = true
[[component]]
addr = "xmpp.example.net:5276"
domain = "rooms.chat.example.net"
serves = "rooms"
secret_file = "/etc/tidings/rooms.secret"
host = "example.net"
multicast = true
tls = true
tls_ca = "ca.pem"
tls_name = "chat.example.net"
[[component]]
domain = "rooms.example.org"
serves = "rooms"
over = "pubsub.example.org"
`
	c := parse(t, text)
	want := Defaults()
	want.Component = []Component{
		{Addr: "127.0.0.1:5347", Domain: "pubsub.example.org", Serves: ServesPubSub, Secret: "hush-1", Host: "example.org",
			Senders: []string{"out1.example.org", "out2.example.org"}, CreateNodes: true},
		{Addr: "xmpp.example.net:5276", Domain: "rooms.chat.example.net", Serves: ServesRooms, SecretFile: "/etc/tidings/rooms.secret", Host: "example.net",
			Multicast: true, TLS: true, TLSCA: "ca.pem", TLSName: "chat.example.net"},
		{Domain: "rooms.example.org", Serves: ServesRooms, Host: "example.org", Over: "pubsub.example.org"},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	printed := c.TOML()
	if strings.Contains(printed, "hush") || strings.Count(printed, "xxxxx") != 1 || c.Component[0].Secret != "hush-1" {
		t.Error(printed)
	}
	again := parse(t, printed)
	again.Component[0].Secret = "hush-1"
	if d := cmp.Diff(want, again); d != "" {
		t.Errorf("printed and read again (-want +got):\n%s", d)
	}
	env := parse(t, "", `TIDINGS_COMPONENT=[{addr = "127.0.0.1:5347", domain = "pubsub.example.org", serves = "pubsub", secret = "hush-1", senders = ["out1.example.org", "out2.example.org"], create_nodes = true}]`)
	if d := cmp.Diff(want.Component[:1], env.Component); d != "" {
		t.Errorf("of the environment (-want +got):\n%s", d)
	}
}

// A domain that the embedded server would have is free to be a component's where there is none.
func TestComponentInsteadOfEmbedded(t *testing.T) {
	const text = `
domain = "example.org"
[xmpp]
addr = "off"
websocket = false
[[component]]
addr = "127.0.0.1:5347"
domain = "pubsub.example.org"
serves = "pubsub"
secret = "hush"
`
	if err := parse(t, text).Validate(); err != nil {
		t.Error(err)
	}
}

func TestComponentsRefused(t *testing.T) {
	one := func(change func(*Component)) func(*Config) {
		return func(c *Config) {
			p := Component{Addr: "127.0.0.1:5347", Domain: "pubsub.example.org", Serves: ServesPubSub, Secret: "hush"}
			change(&p)
			c.Component = []Component{p}
			c.fillComponents()
		}
	}
	for _, tt := range []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"no address", one(func(p *Component) { p.Addr = "" }), `component[0].addr is "": want the address and port`},
		{"no port", one(func(p *Component) { p.Addr = "127.0.0.1" }), "component[0].addr is"},
		{"no host", one(func(p *Component) { p.Addr = ":5347" }), "component[0].addr is"},
		{"port 0", one(func(p *Component) { p.Addr = "127.0.0.1:0" }), "component[0].addr is"},
		{"domain", one(func(p *Component) { p.Domain, p.Host = "PubSub", "example.org" }), "component[0].domain is"},
		{"no host of the server", one(func(p *Component) { p.Domain = "pubsub" }), `component[0].host is ""`},
		{"serves", one(func(p *Component) { p.Serves = "both" }), `component[0].serves is "both": want pubsub or rooms`},
		{"no secret", one(func(p *Component) { p.Secret = "" }), "component[0].secret is empty, and so is secret_file"},
		{"two secrets", one(func(p *Component) { p.SecretFile = "x" }), "component[0].secret and secret_file are both set"},
		{"secret", one(func(p *Component) { p.Secret = "hush\n" }), "component[0].secret has a control character in it"},
		{"TLS off", one(func(p *Component) { p.TLSCA = "ca.pem" }), "component[0].tls is not set"},
		{"TLS name", one(func(p *Component) { p.TLS, p.TLSName = true, "A b" }), "component[0].tls_name is"},
		{"plaintext", one(func(p *Component) { p.Addr = "192.0.2.1:5347" }), "component[0].addr is \"192.0.2.1:5347\", on another machine, without TLS"},
		{"plaintext by name", one(func(p *Component) { p.Addr = "xmpp.example.org:5347" }), "on another machine, without TLS"},
		{"nodes of rooms", one(func(p *Component) { p.Serves, p.CreateNodes = ServesRooms, true }), "component[0].create_nodes is set for rooms"},
		{"the embedded domain", one(func(p *Component) { p.Domain, p.Host = "pubsub.localhost", "localhost" }), "component[0].domain is \"pubsub.localhost\", which the server"},
		{"twice", func(c *Config) {
			one(func(*Component) {})(c)
			c.Component = append(c.Component, c.Component[0])
		}, "component[1].domain is \"pubsub.example.org\", which another component serves"},
		{"sender", one(func(p *Component) { p.Senders = []string{"Out"} }), `component[0].senders[0] is "Out"`},
		{"sender of the component", one(func(p *Component) { p.Senders = []string{p.Domain} }), "component[0].senders[0] is \"pubsub.example.org\": want a domain at which nothing is served"},
		{"senders alike", one(func(p *Component) { p.Senders = []string{"a.example", "a.example"} }), "component[0].senders[1] is \"a.example\": want a domain at which nothing is served, and that no other connection has"},
		{"senders", one(func(p *Component) {
			for i := range MaxSenders + 1 {
				p.Senders = append(p.Senders, fmt.Sprintf("out%d.example", i))
			}
		}), "component[0].senders are 16: want at most 15"},
		{"multicast and senders", one(func(p *Component) { p.Multicast, p.Senders = true, []string{"a.example"} }), "component[0].multicast does not go with senders"},
		{"over nothing", one(func(p *Component) {
			*p = Component{Domain: p.Domain, Serves: p.Serves, Host: "example.org", Over: "x.example.org"}
		}),
			`component[0].over is "x.example.org": want the domain of a component with an addr`},
		{"over and addr", func(c *Config) {
			one(func(*Component) {})(c)
			c.Component = append(c.Component, Component{Addr: "127.0.0.1:5347", Domain: "rooms.example.org", Serves: ServesRooms, Over: "pubsub.example.org"})
			c.fillComponents()
		}, "component[1].addr goes with a link of its own, and over names the one of pubsub.example.org"},
	} {
		c := Defaults()
		tt.set(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v, want %q alone", tt.name, err, tt.want)
		}
	}
	c := Defaults()
	one(func(p *Component) { p.Addr, p.UnsafePlaintext = "192.0.2.1:5347", true })(&c)
	if err := c.Validate(); err != nil {
		t.Error("named unsafe:", err)
	}
	if _, err := Parse("f.toml", []byte("[[component]]\ndomian = 'x'\n"), nil); err == nil || err.Error() != "f.toml:2: unknown key component.domian (did you mean component.domain?)" {
		t.Error(err)
	}
}
