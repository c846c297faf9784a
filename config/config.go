// Package config is the configuration: one struct with defaults, read from a TOML file and from the environment, and
// checked. It opens nothing; whoever starts the program reads the file and gives its content to [Parse].
//
// Every key can be set by an environment variable: TIDINGS_, the section and the key, in capitals and joined by
// underscores, such as TIDINGS_HTTP_ADDR for addr in [http] and TIDINGS_DATA for the key data at the top. Lists of words
// are separated by commas. [[retention]], [wikis], [[poll]], [[eventstreams]], [[redis]], [[component]] and [[bridge]] are written as TOML in one line, such as
//
//	TIDINGS_RETENTION='[{prefix = "/news", age = "7d"}]'
//
// The environment goes before the file, the file before the defaults. Durations are written as 15s, 2m, 12h or 30d;
// sizes as a number of bytes or as 64KiB, 1MiB or 10GiB.
package config

import (
	"time"

	"tidings/recentchange"
)

// Config is every setting. The zero Config is not of use; begin with Defaults.
type Config struct {
	Data         string   `toml:"data"`      // directory of journal, registry and keys
	Domain       string   `toml:"domain"`    // name of the service, as in XMPP addresses
	LogLevel     string   `toml:"log_level"` // debug, info, warn or error
	Durability   string   `toml:"durability"`
	SyncInterval Duration `toml:"sync_interval"` // between syncs when durability is interval
	DedupeWindow Duration `toml:"dedupe_window"` // how long the key of an event is remembered
	NATSURL      string   `toml:"nats_url"`      // empty: the journal is in the process
	Replicas     int      `toml:"replicas"`      // of the journal, with nats_url
	Contact      string   `toml:"contact"`       // whom the wikis that are read can write to, in the User-Agent

	HTTP      HTTP               `toml:"http"`
	UDP       UDP                `toml:"udp"`
	IRC       IRC                `toml:"irc"`
	XMPP      XMPP               `toml:"xmpp"`
	PubSub    PubSub             `toml:"pubsub"`
	Demo      Demo               `toml:"demo"`
	Limits    Limits             `toml:"limits"`
	Access    Access             `toml:"access"`
	Retention []Retention        `toml:"retention"`
	Wikis     recentchange.Wikis `toml:"wikis"`

	Poll         []Poll         `toml:"poll"`
	EventStreams []EventStreams `toml:"eventstreams"`
	Redis        []Redis        `toml:"redis"`
	Component    []Component    `toml:"component"`
	Bridge       []Bridge       `toml:"bridge"`
}

// Off is the address of a listener that is not wanted.
const Off = "off"

// HTTP is the section [http].
type HTTP struct {
	Addr                     string   `toml:"addr"` // host:port, or Off
	TLSCert                  string   `toml:"tls_cert"`
	TLSKey                   string   `toml:"tls_key"`
	UnsafePlaintext          bool     `toml:"unsafe_plaintext"` // allows an address that others reach without TLS
	MaxHeader                Size     `toml:"max_header"`
	MaxBody                  Size     `toml:"max_body"`
	MaxConnectionsPerAddress int      `toml:"max_connections_per_address"` // 0: no limit; loopback has none
	IdleTimeout              Duration `toml:"idle_timeout"`                // of a connection between requests
	WriteTimeout             Duration `toml:"write_timeout"`               // of one write to a reader
	Keepalive                Duration `toml:"keepalive"`                   // of a stream that is silent
	Retry                    Duration `toml:"retry"`                       // after which a reader comes back
	CORSOrigins              []string `toml:"cors_origins"`
	PublishRate              float64  `toml:"publish_rate"` // events a second and publisher; 0: no limit
}

// UDP is the section [udp].
type UDP struct {
	Addr            string   `toml:"addr"`
	UnsafePlaintext bool     `toml:"unsafe_plaintext"`
	Allow           []string `toml:"allow"` // CIDR prefixes of the senders that are heard
	ReceiveBuffer   Size     `toml:"receive_buffer"`
}

// IRC is the section [irc].
type IRC struct {
	Addr                     string              `toml:"addr"`
	TLSCert                  string              `toml:"tls_cert"`
	TLSKey                   string              `toml:"tls_key"`
	UnsafePlaintext          bool                `toml:"unsafe_plaintext"`
	ServerName               string              `toml:"server_name"` // empty: the domain
	Network                  string              `toml:"network"`
	Bot                      string              `toml:"bot"`                         // the nick that says the changes
	Motd                     string              `toml:"motd"`                        // empty: a short help
	MaxConnectionsPerAddress int                 `toml:"max_connections_per_address"` // 0: no limit; loopback has none
	Channels                 map[string][]string `toml:"channels"`                    // patterns by channel, beside those that topics have
}

// Demo is the section [demo].
type Demo struct {
	Enabled bool    `toml:"enabled"`
	Rate    float64 `toml:"rate"` // changes a second
}

// Limits is the section [limits].
type Limits struct {
	FeedTail  Size `toml:"feed_tail"`  // encoded bytes kept of one feed
	FeedTails Size `toml:"feed_tails"` // encoded bytes kept of all feeds together
	Patterns  int  `toml:"patterns"`   // of one subscription
	RCStream  int  `toml:"rcstream"`   // patterns of one RCStream client
}

// Access is the section [access].
type Access struct {
	Private []string `toml:"private"` // patterns of the topics that need a token with a read scope
}

// Retention is one [[retention]] rule; the one with the longest prefix that covers a topic holds.
type Retention struct {
	Prefix string   `toml:"prefix"` // a topic, which covers itself and all below it; empty for every topic
	Age    Duration `toml:"age"`    // 0: no limit
	Bytes  Size     `toml:"bytes"`  // 0: no limit
}

// Defaults returns the configuration of a server that nobody has configured: it listens on loopback only, needs no other
// service, and loses nothing that it has acknowledged.
func Defaults() Config {
	return Config{
		Data:         "./tidings-data",
		Domain:       "localhost",
		LogLevel:     "info",
		Durability:   "fsync",
		SyncInterval: Duration(time.Second),
		DedupeWindow: Duration(2 * time.Minute),
		Replicas:     1,
		HTTP: HTTP{
			Addr:                     "127.0.0.1:8080",
			MaxHeader:                32 << 10,
			MaxBody:                  1 << 20,
			MaxConnectionsPerAddress: 256,
			IdleTimeout:              Duration(2 * time.Minute),
			WriteTimeout:             Duration(30 * time.Second),
			Keepalive:                Duration(15 * time.Second),
			Retry:                    Duration(2 * time.Second),
			CORSOrigins:              []string{"*"},
		},
		UDP: UDP{
			Addr:          "127.0.0.1:4455",
			Allow:         []string{"127.0.0.0/8", "::1/128"},
			ReceiveBuffer: 32 << 20,
		},
		IRC: IRC{
			Addr:                     "127.0.0.1:6667",
			Network:                  "Tidings",
			Bot:                      "rc-pmtpa",
			MaxConnectionsPerAddress: 256,
			Channels:                 map[string][]string{},
		},
		XMPP:      defaultXMPP(),
		PubSub:    defaultPubSub(),
		Demo:      Demo{Rate: 5},
		Limits:    Limits{FeedTail: 4 << 20, FeedTails: 64 << 20, Patterns: 100, RCStream: 10},
		Access:    Access{Private: []string{}},
		Retention: []Retention{{Age: Duration(30 * 24 * time.Hour)}},
		Wikis:     recentchange.Wikis{},
	}
}
