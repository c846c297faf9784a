package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"tidings"
)

// Bridge is one [[bridge]]: an account on somebody else's XMPP server that speaks into rooms there (XEP-0045).
type Bridge struct {
	JID          string `toml:"jid"`
	Password     string `toml:"password"`
	PasswordFile string `toml:"password_file"` // has the password in it, instead
	Name         string `toml:"name"`          // under which it remembers where it is; empty: the jid without its resource

	Addr            string `toml:"addr"`             // host or host:port of the server; empty: what DNS says
	DirectTLS       bool   `toml:"direct_tls"`       // TLS from the first byte on, in place of STARTTLS
	TLSCA           string `toml:"tls_ca"`           // PEM file of who signs the server's certificate; empty: whom this machine trusts
	TLSName         string `toml:"tls_name"`         // that the certificate is for; empty: the domain of jid
	UnsafePlaintext bool   `toml:"unsafe_plaintext"` // lets what is said pass a network without TLS

	Nick      string       `toml:"nick"`       // empty: the localpart of jid
	Rate      float64      `toml:"rate"`       // stanzas a second
	Window    int          `toml:"window"`     // messages of one room that are under way
	MaxAge    Duration     `toml:"max_age"`    // of a change when its turn comes; 0: no bound
	MaxStanza Size         `toml:"max_stanza"` // of a message
	Rooms     []BridgeRoom `toml:"rooms"`
}

// BridgeRoom is one [[bridge.rooms]]: a room, or with {wiki} or {host} in its address a room for each wiki.
type BridgeRoom struct {
	Room     string   `toml:"room"`
	Topics   []string `toml:"topics"`
	Filter   string   `toml:"filter"`   // an expression; empty: all
	Password string   `toml:"password"` // of the room
}

var defaultBridge = Bridge{Rate: 10, Window: 16, MaxStanza: 256 << 10}

// fillBridges sets what bridges leave out.
func (c *Config) fillBridges() {
	for i := range c.Bridge {
		b := &c.Bridge[i]
		account, _, _ := strings.Cut(b.JID, "/")
		if b.Name == "" {
			b.Name = account
		}
		if b.Nick == "" {
			b.Nick, _, _ = strings.Cut(account, "@")
		}
		if b.Rate == 0 {
			b.Rate = defaultBridge.Rate
		}
		if b.Window == 0 {
			b.Window = defaultBridge.Window
		}
		if b.MaxStanza == 0 {
			b.MaxStanza = defaultBridge.MaxStanza
		}
		for j := range b.Rooms {
			if r := &b.Rooms[j]; len(r.Topics) == 0 && r.IsTemplate() {
				r.Topics = []string{"/recentchange/*"}
			}
		}
	}
}

// IsTemplate reports whether it stands for a room for each wiki.
func (r BridgeRoom) IsTemplate() bool {
	return strings.Contains(r.Room, "{wiki}") || strings.Contains(r.Room, "{host}")
}

// Patterns returns the topics as patterns; Validate says beforehand whether it can.
func (r BridgeRoom) Patterns() ([]tidings.Pattern, error) { return patterns(r.Topics) }

// bridges checks the bridges. Whether an address is one is for package jid, which says so when the bridge is made, and so is
// a filter.
func (v *checker) bridges(c *Config) {
	names := map[string]bool{}
	for i, b := range c.Bridge {
		key := fmt.Sprintf("bridge[%d]", i)
		account, _, _ := strings.Cut(b.JID, "/")
		if local, domain, ok := strings.Cut(account, "@"); !ok || local == "" || domain == "" {
			v.bad(key+".jid", "is %q: want the address of an account, such as changes@example.org", b.JID)
		}
		if (b.Password == "") == (b.PasswordFile == "") {
			v.bad(key+".password", "and password_file: set one of them")
		}
		if len(b.Name) > 128 || strings.ContainsFunc(b.Name, unicode.IsControl) {
			v.bad(key+".name", "is %q: want at most 128 bytes without control characters", b.Name)
		}
		if names[b.Name] {
			v.bad(key+".name", "is %q, as that of another bridge: give each its own", b.Name)
		}
		names[b.Name] = true
		if b.Nick == "" || len(b.Nick) > 256 || strings.ContainsFunc(b.Nick, unicode.IsControl) {
			v.bad(key+".nick", "is %q: want 1 to 256 bytes without control characters", b.Nick)
		}
		if !(b.Rate >= 0.1 && b.Rate <= 10_000) { // and not NaN
			v.bad(key+".rate", "is %v: want 0.1 to 10000 a second", b.Rate)
		}
		v.count(key+".window", b.Window, 1, 1000)
		v.duration(key+".max_age", b.MaxAge, 0, 365*day)
		v.size(key+".max_stanza", b.MaxStanza, 1<<10, 16<<20)
		if len(b.Rooms) == 0 {
			v.bad(key+".rooms", "is empty: name a room in [[bridge.rooms]]")
		}
		v.bridgeRooms(key, b.Rooms)
	}
}

func (v *checker) bridgeRooms(bridge string, rooms []BridgeRoom) {
	seen := map[string]bool{}
	for i, r := range rooms {
		key := fmt.Sprintf("%s.rooms[%d]", bridge, i)
		local, domain, ok := strings.Cut(r.Room, "@")
		if !ok || local == "" || domain == "" || strings.ContainsAny(domain, "/{") {
			v.bad(key+".room", "is %q: want the address of a room, such as changes@conference.example.org or {wiki}@conference.example.org", r.Room)
		}
		if seen[r.Room] {
			v.bad(key+".room", "is %q, as that of another entry: give it all the topics", r.Room)
		}
		seen[r.Room] = true
		if len(r.Topics) == 0 {
			v.bad(key+".topics", "is empty")
		}
		if _, err := r.Patterns(); err != nil {
			v.bad(key+".topics", "has a malformed %v", err)
		}
	}
}

// hideBridges replaces the passwords of bridges.
func (c *Config) hideBridges() {
	c.Bridge = slices.Clone(c.Bridge)
	for i := range c.Bridge {
		b := &c.Bridge[i]
		hide(&b.Password)
		b.Rooms = slices.Clone(b.Rooms)
		for j := range b.Rooms {
			hide(&b.Rooms[j].Password)
		}
	}
}
