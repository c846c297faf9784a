package config

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"tidings"
)

// XMPP is the section [xmpp]. The domain is Config.Domain.
type XMPP struct {
	Addr            string `toml:"addr"`             // host:port for STARTTLS, or Off
	DirectTLS       string `toml:"direct_tls"`       // host:port for TLS from the first byte on, or Off
	TLSCert         string `toml:"tls_cert"`         // empty: one that the server has made, signed by itself
	TLSKey          string `toml:"tls_key"`          //
	UnsafePlaintext bool   `toml:"unsafe_plaintext"` // lets clients on other machines go without TLS
	WebSocket       bool   `toml:"websocket"`        // at /xmpp-websocket of the HTTP listener
	Anonymous       bool   `toml:"anonymous"`        // lets clients without an account in
	ScramIterations int    `toml:"scram_iterations"` // of the keys of new passwords
	Zlib            bool   `toml:"zlib"`             // offers compression

	MaxStanza                Size     `toml:"max_stanza"`
	HandshakeTimeout         Duration `toml:"handshake_timeout"`           // until a session has begun
	AckTimeout               Duration `toml:"ack_timeout"`                 // of a session that owes an acknowledgement (XEP-0198)
	ResumeWindow             Duration `toml:"resume_window"`               // how long a session without a connection is kept
	SessionsPerAccount       int      `toml:"sessions_per_account"`        // at a time
	MaxConnectionsPerAddress int      `toml:"max_connections_per_address"` // 0: no limit; loopback has none

	RoomsService string `toml:"rooms_service"` // the first label of the domain of rooms
	Rooms        []Room `toml:"rooms"`         // beside those that wikis have
}

// Room is one [[xmpp.rooms]]: a room of what is published on some topics.
type Room struct {
	Name   string   `toml:"name"` // the localpart of the room's address
	Topics []string `toml:"topics"`
	Title  string   `toml:"title"` // empty: the topics
}

func defaultXMPP() XMPP {
	return XMPP{
		Addr:                     "127.0.0.1:5222",
		DirectTLS:                Off,
		WebSocket:                true,
		Anonymous:                true,
		ScramIterations:          10_000,
		MaxStanza:                256 << 10,
		HandshakeTimeout:         Duration(30 * time.Second),
		AckTimeout:               Duration(time.Minute),
		ResumeWindow:             Duration(5 * time.Minute),
		SessionsPerAccount:       100,
		MaxConnectionsPerAddress: 256,
		RoomsService:             "conference",
	}
}

// RoomsDomain returns the domain of rooms, such as conference.localhost.
func (c Config) RoomsDomain() string { return c.XMPP.RoomsService + "." + c.Domain }

// PubSubDomain returns the domain of nodes, such as pubsub.localhost.
func (c Config) PubSubDomain() string { return "pubsub." + c.Domain }

// RoomPatterns returns the topics of a room of xmpp.rooms as patterns; Validate says beforehand whether it can.
func (r Room) RoomPatterns() ([]tidings.Pattern, error) { return patterns(r.Topics) }

// xmpp checks [xmpp]. An address that others reach needs no certificate of its own to be encrypted: clients have to start TLS
// there, with the certificate that the server has made if there is no other.
func (v *checker) xmpp(c *Config) {
	x := c.XMPP
	v.address("xmpp.addr", x.Addr, "127.0.0.1:5222")
	v.address("xmpp.direct_tls", x.DirectTLS, "127.0.0.1:5223")
	if x.Addr == x.DirectTLS && x.Addr != Off && !strings.HasSuffix(x.Addr, ":0") {
		v.bad("xmpp.direct_tls", "is %q, as xmpp.addr is: STARTTLS and direct TLS need a port each", x.DirectTLS)
	}
	if (x.TLSCert == "") != (x.TLSKey == "") {
		v.bad("xmpp.tls_cert", "and xmpp.tls_key go together: set both, or none for a certificate that the server makes")
	}
	v.count("xmpp.scram_iterations", x.ScramIterations, 4096, 5_000_000)
	v.size("xmpp.max_stanza", x.MaxStanza, 10_000, 16<<20) // RFC 6120 section 13.12: at least 10,000 bytes
	v.duration("xmpp.handshake_timeout", x.HandshakeTimeout, time.Second, 10*time.Minute)
	v.duration("xmpp.ack_timeout", x.AckTimeout, 10*time.Second, day)
	v.duration("xmpp.resume_window", x.ResumeWindow, 0, day)
	v.count("xmpp.sessions_per_account", x.SessionsPerAccount, 1, 1_000_000)
	v.count("xmpp.max_connections_per_address", x.MaxConnectionsPerAddress, 0, math.MaxInt32)
	if strings.Contains(x.RoomsService, ".") || x.RoomsService == "pubsub" {
		v.bad("xmpp.rooms_service", "is %q: want one label that no other service has, such as conference", x.RoomsService)
	} else {
		v.domain("xmpp.rooms_service", x.RoomsService)
	}
	names := map[string]bool{}
	for i, r := range x.Rooms {
		key := fmt.Sprintf("xmpp.rooms[%d]", i)
		if !isRoomName(r.Name) {
			v.bad(key+".name", "is %q: want the part of an address before the @, in small letters and without blanks and \" & ' / : < > @, such as news", r.Name)
		}
		if names[r.Name] {
			v.bad(key+".name", "is %q, as that of another room", r.Name)
		}
		names[r.Name] = true
		if len(r.Topics) == 0 {
			v.bad(key+".topics", "is empty")
		}
		for _, s := range r.Topics {
			if _, err := tidings.ParsePattern(s); err != nil {
				v.bad(key+".topics", "has a malformed %v", err)
			}
		}
		if len(r.Title) > 200 || strings.ContainsFunc(r.Title, unicode.IsControl) {
			v.bad(key+".title", "is %q: want at most 200 bytes without control characters", r.Title)
		}
	}
}

// isRoomName reports whether the name can be a localpart as it is written (RFC 7622 section 3.3); whether each letter of
// another script may be in one is for package jid, which says so when the room is made.
func isRoomName(s string) bool {
	return s != "" && len(s) <= 1023 && s == strings.ToLower(s) && !strings.ContainsAny(s, `"&'/:<>@`) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar
	})
}
