package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tidings"
	"tidings/recentchange"
)

func parse(t *testing.T, text string, environ ...string) Config {
	t.Helper()
	c, err := Parse("test.toml", []byte(text), environ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultsAreValid(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(Defaults(), parse(t, "")); d != "" {
		t.Errorf("an empty file (-want +got):\n%s", d)
	}
}

func TestRoundTrip(t *testing.T) {
	c := Defaults()
	if d := cmp.Diff(c, parse(t, c.TOML())); d != "" {
		t.Errorf("defaults (-want +got):\n%s", d)
	}
	c.HTTP.CORSOrigins = []string{}
	c.Access.Private = []string{"/private/**", "/staff/*"}
	c.Retention = []Retention{{Prefix: "/a", Age: Duration(36 * time.Hour)}, {Bytes: 5 << 30}}
	c.Wikis = recentchange.Wikis{"en.wiki": {ServerName: "en.example.org", IRCChannel: "#en"}}
	c.HTTP.PublishRate = 2.5
	if d := cmp.Diff(c, parse(t, c.TOML())); d != "" {
		t.Errorf("changed (-want +got):\n%s", d)
	}
	c.Retention = []Retention{}
	if d := cmp.Diff(c, parse(t, c.TOML())); d != "" {
		t.Errorf("no rule (-want +got):\n%s", d)
	}
}

// The sample file is the defaults, and names every key.
func TestSample(t *testing.T) {
	b, err := os.ReadFile("../doc/tidings.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if d := cmp.Diff(Defaults(), parse(t, text)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var names []string
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			names = append(names, f.Tag.Get("toml"))
			switch ft := f.Type; {
			case ft.Kind() == reflect.Struct:
				walk(ft)
			case (ft.Kind() == reflect.Slice || ft.Kind() == reflect.Map) && ft.Elem().Kind() == reflect.Struct:
				walk(ft.Elem())
			}
		}
	}
	walk(reflect.TypeFor[Config]())
	for _, name := range names {
		if !strings.Contains(text, "\n"+name+" = ") && !strings.Contains(text, "\n# "+name+" = ") && !strings.Contains(text, "["+name) && !strings.Contains(text, "."+name+"]") {
			t.Errorf("the sample does not show %s", name)
		}
	}
	// What is shown in comments would be taken as well.
	var shown strings.Builder
	rest := text[strings.Index(text, "# [[retention]]"):]
	for _, line := range strings.Split(rest, "\n") {
		if l, ok := strings.CutPrefix(line, "# "); ok && (strings.HasPrefix(l, "[") || strings.Contains(l, " = ")) {
			fmt.Fprintln(&shown, l)
		}
	}
	c := parse(t, shown.String())
	if err := c.Validate(); err != nil || len(c.Retention) != 1 || len(c.Wikis) != 1 || len(c.XMPP.Rooms) != 1 {
		t.Errorf("%v\n%s", err, &shown)
	}
}

func TestFile(t *testing.T) {
	c := parse(t, `
data = "/var/lib/tidings"
[http]
addr = "off"
max_body = 2048
idle_timeout = "1h30m"
[[retention]]
prefix = "/a"
bytes = "1GiB"
[wikis.x]
server_url = "https://x.example.org"
`)
	want := Defaults()
	want.Data, want.HTTP.Addr, want.HTTP.MaxBody, want.HTTP.IdleTimeout = "/var/lib/tidings", "off", 2048, Duration(90*time.Minute)
	// A rule of the file has nothing of the default one.
	want.Retention = []Retention{{Prefix: "/a", Bytes: 1 << 30}}
	want.Wikis = recentchange.Wikis{"x": {ServerURL: "https://x.example.org"}}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestFileRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"\nadr = 'x'\n", "f.toml:2: unknown key adr (did you mean http.addr?)"},
		{"[http]\n# adr\nadr='x'\n", "f.toml:3: unknown key http.adr (did you mean http.addr?)"},
		{"data='x'\n[htp]\naddr='x'\n", "f.toml:2: unknown key htp (did you mean [http]?)"},
		{"loglevel = 'info'", "f.toml:1: unknown key loglevel (did you mean log_level?)"},
		{"private = ['/x']", "f.toml:1: unknown key private (did you mean access.private?)"},
		{"[udp]\ntls_cert = 'x'", "f.toml:2: unknown key udp.tls_cert (did you mean http.tls_cert?)"},
		{"[[retention]]\nprefix='/a'\n[[retention]]\nprefx='/b'", "f.toml:4: unknown key retention.prefx (did you mean retention.prefix?)"},
		{"[wikis.enwiki]\nservername='x'\n", "f.toml:2: unknown key wikis.enwiki.servername (did you mean wikis.enwiki.server_name?)"},
		{"http = {adr = 'x'}", "f.toml:1: unknown key http.adr (did you mean http.addr?)"},
		{"http.adr = 'x'", "f.toml:1: unknown key http.adr (did you mean http.addr?)"},
		{"something_else = 1", "f.toml:1: unknown key something_else"},
		{"xx = 1\nyy = 2", "f.toml:1: unknown key xx\nf.toml:2: unknown key yy"},
		{"[http]\naddr = 7", "f.toml:2: http.addr: want a string, not a whole number"},
		{"[http]\ncors_origins = '*'", "f.toml:2: http.cors_origins: want a list, not a string"},
		{"replicas = 'a'", "f.toml:1: replicas: want a whole number, not a string"},
		{"\n[demo]\nenabled = 1", "f.toml:3: demo.enabled: want true or false, not a whole number"},
		{"[http]\nidle_timeout = 15", `f.toml:2: http.idle_timeout: "15" is not a duration: write it as 15s, 2m, 12h or 30d`},
		{"[http]\nmax_body = '1MB'", `f.toml:2: http.max_body: "1MB" is not a size: write it as a number of bytes, or as 64KiB, 1MiB or 10GiB`},
		{"data = 'a'\ndata = 'b'", "f.toml:2: data: Key 'data' has already been defined."},
		{"data =\n", "f.toml:1: data: expected value but found '\\n' instead"},
	} {
		_, err := Parse("f.toml", []byte(tt.text), nil)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%q:\ngot  %v\nwant %s", tt.text, err, tt.want)
		}
	}
}

// Every key has its variable, which goes before the file.
func TestEnvironment(t *testing.T) {
	values := map[string]string{ // by kind of field; each differs from any default
		"string": "from-environment", "bool": "", "int": "77", "float64": "7.5",
		"config.Duration": "77s", "config.Size": "77KiB", "[]string": "one, two",
		"map[string][]string": `{"#env" = ["/env"]}`,
		"[]config.Retention":  `[{prefix = "/env", age = "1d"}]`, "recentchange.Wikis": `{x = {server_name = "env"}}`,
		"[]config.Poll":         `[{api_url = "https://w.example/api.php", interval = "1m", overlap = "2m", late = "3m"}]`,
		"[]config.EventStreams": `[{url = "https://w.example/v2/stream/recentchange", silence = "3m"}]`,
		"[]config.Room":         `[{name = "env", topics = ["/env"], title = "Env"}]`,
		"[]config.Bridge":       `[{jid = "a@b.example", password = "p", name = "n", nick = "k", rate = 1.0, window = 2, max_stanza = "2KiB", rooms = [{room = "r@c.example", topics = ["/env"]}]}]`,
		"[]config.Component":    `[{addr = "127.0.0.1:5347", domain = "pubsub.example.org", serves = "pubsub", secret = "s", host = "example.org"}]`,
		"[]config.Redis":        `[{url = "redis://r.example", patterns = ["a", "b"]}]`,
	}
	c := Defaults()
	for _, f := range c.fields() {
		value, ok := values[f.value.Type().String()]
		if !ok {
			t.Errorf("%s: no value of type %s", f.key, f.value.Type())
			continue
		}
		if f.value.Kind() == reflect.Bool {
			value = fmt.Sprint(!f.value.Bool())
		}
		got := parse(t, Defaults().TOML(), "HOME=/", f.env()+"="+value)
		want := Defaults()
		for _, wf := range want.fields() {
			if wf.key.String() == f.key.String() {
				if err := wf.set(value); err != nil {
					t.Errorf("%s: %v", f.env(), err)
				}
				if fmt.Sprint(wf.value) == fmt.Sprint(f.value) {
					t.Errorf("%s has no effect", f.env())
				}
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", f.env(), d)
		}
	}
	got := parse(t, "", "TIDINGS_HTTP_MAX_CONNECTIONS_PER_ADDRESS=0", "TIDINGS_DATA=/d", "TIDINGS_UDP_ALLOW=", "TIDINGS_TOKEN=tid_x", "TIDINGS_HTTP_SERVICE_HOST=10.0.0.1")
	if got.HTTP.MaxConnectionsPerAddress != 0 || got.Data != "/d" || len(got.UDP.Allow) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestEnvironmentRefuses(t *testing.T) {
	for _, tt := range []struct{ kv, want string }{
		{"TIDINGS_HTTP_ADRR=x", "the environment variable TIDINGS_HTTP_ADRR is not known (did you mean TIDINGS_HTTP_ADDR?)"},
		{"TIDINGS_REPLICAS=x", `the environment variable TIDINGS_REPLICAS: "x" is not a whole number`},
		{"TIDINGS_DEMO_ENABLED=perhaps", `the environment variable TIDINGS_DEMO_ENABLED: "perhaps" is neither true nor false`},
		{"TIDINGS_DEMO_RATE=fast", `the environment variable TIDINGS_DEMO_RATE: "fast" is not a number`},
		{"TIDINGS_HTTP_RETRY=2", `the environment variable TIDINGS_HTTP_RETRY: "2" is not a duration: write it as 15s, 2m, 12h or 30d`},
		{"TIDINGS_RETENTION=[{prefx='/a'}]", "the environment variable TIDINGS_RETENTION: unknown key prefx"},
		{"TIDINGS_RETENTION=[]\ny=1", "the environment variable TIDINGS_RETENTION: "},
		{"TIDINGS_WIKIS=x", "the environment variable TIDINGS_WIKIS: "},
	} {
		if _, err := Parse("", nil, []string{tt.kv}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.kv, err, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*Config)
		want string // "" for valid
	}{
		{"no data", func(c *Config) { c.Data = "" }, "data is empty"},
		{"domain", func(c *Config) { c.Domain = "Example.org" }, `domain is "Example.org": want the name of a host`},
		{"no domain", func(c *Config) { c.Domain = "" }, `domain is ""`},
		{"domain with a hyphen at an end", func(c *Config) { c.Domain = "a-.b" }, `domain is "a-.b"`},
		{"other domain", func(c *Config) { c.Domain = "rc.münchen.example" }, ""},
		{"log level", func(c *Config) { c.LogLevel = "loud" }, `log_level is "loud": want debug, info, warn or error`},
		{"durability", func(c *Config) { c.Durability = "never" }, `durability is "never": want fsync or interval`},
		{"sync interval", func(c *Config) { c.SyncInterval = 0 }, "sync_interval is 0s: want 1ms to 1m"},
		{"dedupe window", func(c *Config) { c.DedupeWindow = 1 }, "dedupe_window is 1ns: want 100ms to 1d"},
		{"nats url", func(c *Config) { c.NATSURL = "nats://a:4222, http://user:secret@b" }, "nats_url has an address, the one at place 2, that is not of the form"},
		{"cluster", func(c *Config) { c.NATSURL, c.Replicas = "nats://a:4222,tls://b", 3 }, ""},
		{"replicas", func(c *Config) { c.NATSURL, c.Replicas = "nats://a", 6 }, "replicas is 6: want 1 to 5"},
		{"replicas of one process", func(c *Config) { c.Replicas = 3 }, "replicas is 3, but the journal is in this process"},

		{"http off", func(c *Config) { c.HTTP.Addr = Off }, ""},
		{"any port", func(c *Config) { c.HTTP.Addr = "[::1]:0" }, ""},
		{"localhost", func(c *Config) { c.HTTP.Addr = "LocalHost:80" }, ""},
		{"mapped loopback", func(c *Config) { c.HTTP.Addr = "[::ffff:127.0.0.1]:80" }, ""},
		{"no address", func(c *Config) { c.HTTP.Addr = "" }, `http.addr is "": want an address and a port`},
		{"no port", func(c *Config) { c.HTTP.Addr = "127.0.0.1" }, "http.addr is"},
		{"large port", func(c *Config) { c.HTTP.Addr = "127.0.0.1:65536" }, "http.addr is"},
		{"named port", func(c *Config) { c.HTTP.Addr = "127.0.0.1:http" }, "http.addr is"},
		{"public", func(c *Config) { c.HTTP.Addr = "192.0.2.1:80" }, `http.addr is "192.0.2.1:80", which is reached from other machines, without TLS: set tls_cert and tls_key, put a proxy before 127.0.0.1, or set unsafe_plaintext = true in [http]`},
		{"all addresses", func(c *Config) { c.HTTP.Addr = ":80" }, `http.addr is ":80", which is reached by every address of this machine`},
		{"all addresses of IPv4", func(c *Config) { c.HTTP.Addr = "0.0.0.0:80" }, "unsafe_plaintext = true in [http]"},
		{"a name", func(c *Config) { c.HTTP.Addr = "localhost.example.org:80" }, "unsafe_plaintext = true in [http]"},
		{"public with TLS", func(c *Config) { c.HTTP.Addr, c.HTTP.TLSCert, c.HTTP.TLSKey = ":443", "c", "k" }, ""},
		{"public and named so", func(c *Config) { c.HTTP.Addr, c.HTTP.UnsafePlaintext = ":80", true }, ""},
		{"certificate alone", func(c *Config) { c.HTTP.TLSCert = "c" }, "http.tls_cert and http.tls_key go together"},
		{"key alone", func(c *Config) { c.HTTP.TLSKey = "k" }, "http.tls_cert and http.tls_key go together"},
		{"header", func(c *Config) { c.HTTP.MaxHeader = 1 }, "http.max_header is 1: want 1KiB to 1MiB"},
		{"body", func(c *Config) { c.HTTP.MaxBody = 1 << 30 }, "http.max_body is 1GiB: want 1 to 32MiB"},
		{"connections", func(c *Config) { c.HTTP.MaxConnectionsPerAddress = -1 }, "http.max_connections_per_address is -1"},
		{"idle", func(c *Config) { c.HTTP.IdleTimeout = 0 }, "http.idle_timeout is 0s: want 1s to 1h"},
		{"write", func(c *Config) { c.HTTP.WriteTimeout = 0 }, "http.write_timeout is 0s"},
		{"keepalive", func(c *Config) { c.HTTP.Keepalive = 0 }, "http.keepalive is 0s"},
		{"retry", func(c *Config) { c.HTTP.Retry = -1 }, "http.retry is -1ns"},
		{"origin", func(c *Config) { c.HTTP.CORSOrigins = []string{"*", "https://a.example:8080", "https://b/"} }, `http.cors_origins has "https://b/": want * or an origin`},
		{"publish rate", func(c *Config) { c.HTTP.PublishRate = -1 }, "http.publish_rate is -1"},

		{"udp off", func(c *Config) { c.UDP.Addr, c.UDP.Allow = Off, nil }, ""},
		{"udp public", func(c *Config) { c.UDP.Addr = "0.0.0.0:4455" }, "can read and forge what is sent there: use 127.0.0.1, or set unsafe_plaintext = true in [udp]"},
		{"udp public and named so", func(c *Config) { c.UDP.Addr, c.UDP.UnsafePlaintext = ":4455", true }, ""},
		{"udp allow", func(c *Config) { c.UDP.Allow = []string{"10.0.0.1"} }, `udp.allow has "10.0.0.1", which is not a prefix`},
		{"udp allows nobody", func(c *Config) { c.UDP.Allow = nil }, "udp.allow is empty"},
		{"udp buffer", func(c *Config) { c.UDP.ReceiveBuffer = 1 }, "udp.receive_buffer is 1: want 64KiB to 1GiB"},
		{"irc off", func(c *Config) { c.IRC.Addr = Off }, ""},
		{"irc public", func(c *Config) { c.IRC.Addr = ":6667" }, "unsafe_plaintext = true in [irc]"},
		{"irc public with TLS", func(c *Config) { c.IRC.Addr, c.IRC.TLSCert, c.IRC.TLSKey = ":6697", "c", "k" }, ""},
		{"irc certificate alone", func(c *Config) { c.IRC.TLSCert = "c" }, "irc.tls_cert and irc.tls_key go together"},
		{"irc server name", func(c *Config) { c.IRC.ServerName = "a b" }, `irc.server_name is "a b"`},
		{"irc network", func(c *Config) { c.IRC.Network = "" }, `irc.network is ""`},
		{"irc bot", func(c *Config) { c.IRC.Bot = "a b" }, `irc.bot is "a b": want a nick`},
		{"irc motd", func(c *Config) { c.IRC.Motd = strings.Repeat("x", 20000) }, "irc.motd has 20000 bytes"},
		{"irc connections", func(c *Config) { c.IRC.MaxConnectionsPerAddress = -1 }, "irc.max_connections_per_address is -1"},
		{"irc channel", func(c *Config) { c.IRC.Channels = map[string][]string{"#a": {"/a", "/b/**"}} }, ""},
		{"irc channel without #", func(c *Config) { c.IRC.Channels = map[string][]string{"a": {"/a"}} }, `irc.channels has "a": want #`},
		{"irc channel twice", func(c *Config) { c.IRC.Channels = map[string][]string{"#a": {"/a"}, "#A": {"/a"}} }, "irc.channels has #A and #a"},
		{"irc channel of nothing", func(c *Config) { c.IRC.Channels = map[string][]string{"#a": {}} }, "irc.channels has no topic for #a"},
		{"irc channel of no topic", func(c *Config) { c.IRC.Channels = map[string][]string{"#a": {"a"}} }, `irc.channels has for #a a malformed pattern "a"`},
		{"irc channel of a wiki", func(c *Config) { c.Wikis = recentchange.Wikis{"x": {IRCChannel: "#a b"}} }, `wikis.x.irc_channel is "#a b"`},
		{"irc channel of a wiki again", func(c *Config) {
			c.Wikis, c.IRC.Channels = recentchange.Wikis{"x": {IRCChannel: "#a"}}, map[string][]string{"#A": {"/a"}}
		}, "irc.channels has #A, which is the irc_channel of wikis.x"},
		{"demo rate", func(c *Config) { c.Demo.Rate = 2e6 }, "demo.rate is 2e+06"},
		{"demo that shows nothing", func(c *Config) { c.Demo = Demo{Enabled: true} }, "demo.rate is 0, so there would be no demo"},

		{"tail", func(c *Config) { c.Limits.FeedTail = 0 }, "limits.feed_tail is 0: want 64KiB to 1GiB"},
		{"tails", func(c *Config) { c.Limits.FeedTails = 1 << 20 }, "limits.feed_tails is 1MiB, less than limits.feed_tail (4MiB)"},
		{"all tails", func(c *Config) { c.Limits.FeedTails = 1 << 41 }, "limits.feed_tails is 2TiB"},
		{"patterns", func(c *Config) { c.Limits.Patterns = 0 }, "limits.patterns is 0: want 1 to 10000"},
		{"rcstream", func(c *Config) { c.Limits.RCStream = 0 }, "limits.rcstream is 0: want 1 to 10000"},
		{"private", func(c *Config) { c.Access.Private = []string{"/a", "b"} }, `access.private has a malformed pattern "b"`},
		{"prefix", func(c *Config) { c.Retention = []Retention{{Prefix: "/a/*"}} }, `retention[0].prefix is a malformed topic "/a/*"`},
		{"prefix twice", func(c *Config) { c.Retention = []Retention{{Prefix: "/a"}, {Prefix: "/a"}} }, `retention[1].prefix is "/a", as that of another rule`},
		{"age", func(c *Config) { c.Retention = []Retention{{Age: -1}} }, "retention[0] has a negative limit"},
		{"bytes", func(c *Config) { c.Retention = []Retention{{Bytes: -1}} }, "retention[0] has a negative limit"},
		{"wiki", func(c *Config) { c.Wikis = recentchange.Wikis{"x": {ServerURL: "x"}} }, "wikis.x: server_url"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			tt.set(&c)
			err := c.Validate()
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q alone", err, tt.want)
			}
			if tidings.KindOf(err) != tidings.ErrInvalid {
				t.Errorf("kind %v", tidings.KindOf(err))
			}
		})
	}
	c := Defaults()
	c.Data, c.Replicas = "", 0
	if err := c.Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two mistakes are told as %v", err)
	}
}

func TestTOMLHidesSecrets(t *testing.T) {
	c := Defaults()
	c.NATSURL = "nats://user:secret1@a:4222, tls://secret2@b,nats://c"
	text := c.TOML()
	if strings.Contains(text, "secret") || !strings.Contains(text, `"nats://user:xxxxx@a:4222,tls://xxxxx@b,nats://c"`) {
		t.Error(text)
	}
	c.NATSURL = "nats://user:secret%@a"
	if text := c.TOML(); strings.Contains(text, "secret") {
		t.Error(text)
	}
}

func TestParsedForms(t *testing.T) {
	c := Defaults()
	c.Access.Private = []string{"/a/**"}
	c.UDP.Allow = []string{"10.1.2.3/8"}
	if ps, err := c.PrivatePatterns(); err != nil || len(ps) != 1 || !ps[0].Match("/a/b") {
		t.Errorf("%v, %v", ps, err)
	}
	if ps, err := c.AllowPrefixes(); err != nil || len(ps) != 1 || ps[0].String() != "10.0.0.0/8" {
		t.Errorf("%v, %v", ps, err)
	}
	c.Access.Private, c.UDP.Allow = []string{"x"}, []string{"x"}
	if _, err := c.PrivatePatterns(); err == nil {
		t.Error("a malformed pattern")
	}
	if _, err := c.AllowPrefixes(); err == nil {
		t.Error("a malformed prefix")
	}
}
