package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// What a component serves.
const (
	ServesPubSub = "pubsub"
	ServesRooms  = "rooms"
)

// MaxSenders bounds Component.Senders.
const MaxSenders = 15

// Component is one [[component]]: a domain that is served through somebody else's XMPP server (XEP-0114).
type Component struct {
	Addr       string `toml:"addr"`   // host:port of the server's listener for components
	Domain     string `toml:"domain"` // that is served, as the server has it
	Serves     string `toml:"serves"` // ServesPubSub or ServesRooms
	Secret     string `toml:"secret"`
	SecretFile string `toml:"secret_file"` // has the secret in it, instead
	Host       string `toml:"host"`        // the server's own domain; empty: the component's without its first label
	// Senders are domains of more connections to addr, which share what is sent; MaxSenders at most.
	Senders []string `toml:"senders"`
	// Multicast has host distribute messages for many addresses, if it can.
	Multicast bool `toml:"multicast"`
	// Over names the component whose link this domain shares, which then says how the server is reached.
	Over string `toml:"over"`

	TLS             bool   `toml:"tls"`              // from the first byte on
	TLSCA           string `toml:"tls_ca"`           // PEM file of who signs the server's certificate; empty: whom this machine trusts
	TLSName         string `toml:"tls_name"`         // that the certificate is for; empty: the host of addr
	UnsafePlaintext bool   `toml:"unsafe_plaintext"` // lets the secret and everything else pass a network without TLS

	CreateNodes bool `toml:"create_nodes"` // whether the accounts of host may create nodes
}

// fillComponents sets what components leave out.
func (c *Config) fillComponents() {
	for i := range c.Component {
		if p := &c.Component[i]; p.Host == "" && p.Over == "" {
			_, p.Host, _ = strings.Cut(p.Domain, ".")
		}
	}
	for i := range c.Component {
		if p := &c.Component[i]; p.Over != "" && p.Host == "" {
			if link := c.componentOf(p.Over); link != nil {
				p.Host = link.Host
			}
		}
	}
}

// componentOf returns the component with a link of its own that serves the domain, nil if there is none.
func (c *Config) componentOf(domain string) *Component {
	for i := range c.Component {
		if p := &c.Component[i]; p.Domain == domain && p.Over == "" {
			return p
		}
	}
	return nil
}

// EmbeddedXMPP reports whether the process serves XMPP itself.
func (c *Config) EmbeddedXMPP() bool {
	return c.XMPP.Addr != Off || c.XMPP.DirectTLS != Off || c.XMPP.WebSocket && c.HTTP.Addr != Off
}

// components checks [[component]].
func (v *checker) components(c *Config) {
	domains := map[string]string{}
	if c.EmbeddedXMPP() {
		for _, d := range []string{c.Domain, c.PubSubDomain(), c.RoomsDomain()} {
			domains[d] = "the server that listens at xmpp.addr serves: name another one, or set xmpp.addr to off and xmpp.websocket to false"
		}
	}
	for i, p := range c.Component {
		key := fmt.Sprintf("component[%d]", i)
		v.domain(key+".domain", p.Domain)
		if who, ok := domains[p.Domain]; ok {
			v.bad(key+".domain", "is %q, which %s", p.Domain, who)
		}
		domains[p.Domain] = "another component serves"
		v.oneOf(key+".serves", p.Serves, ServesPubSub, ServesRooms)
		v.domain(key+".host", p.Host)
		if p.CreateNodes && p.Serves == ServesRooms {
			v.bad(key+".create_nodes", "is set for rooms, which have no nodes")
		}
		for n, s := range p.Senders {
			key := fmt.Sprintf("%s.senders[%d]", key, n)
			v.domain(key, s)
			if _, ok := domains[s]; ok {
				v.bad(key, "is %q: want a domain at which nothing is served, and that no other connection has", s)
			}
			domains[s] = "another connection has"
		}
		if p.Over == "" {
			v.link(key, &p)
			continue
		}
		if c.componentOf(p.Over) == nil {
			v.bad(key+".over", "is %q: want the domain of a component with an addr", p.Over)
		}
		for _, k := range []struct {
			name string
			set  bool
		}{{"addr", p.Addr != ""}, {"secret", p.Secret != ""}, {"secret_file", p.SecretFile != ""}, {"tls", p.TLS}, {"tls_ca", p.TLSCA != ""},
			{"tls_name", p.TLSName != ""}, {"unsafe_plaintext", p.UnsafePlaintext}, {"senders", len(p.Senders) > 0},
			{"multicast", p.Multicast}} {
			if k.set {
				v.bad(key+"."+k.name, "goes with a link of its own, and over names the one of %s", p.Over)
			}
		}
	}
}

// link checks how a component reaches its server.
func (v *checker) link(key string, p *Component) {
	host, port, err := net.SplitHostPort(p.Addr)
	n, e := strconv.ParseUint(port, 10, 16)
	known := err == nil && e == nil && n != 0 && host != ""
	if !known {
		v.bad(key+".addr", "is %q: want the address and port of the server's listener for components, such as 127.0.0.1:5347", p.Addr)
	}
	switch {
	case p.Secret == "" && p.SecretFile == "":
		v.bad(key+".secret", "is empty, and so is secret_file: set the one that the server has for %s", p.Domain)
	case p.Secret != "" && p.SecretFile != "":
		v.bad(key+".secret", "and secret_file are both set: want one of them")
	}
	if strings.ContainsFunc(p.Secret, unicode.IsControl) { // and not repeated
		v.bad(key+".secret", "has a control character in it")
	}
	if !p.TLS && (p.TLSCA != "" || p.TLSName != "") {
		v.bad(key+".tls", "is not set, but tls_ca or tls_name is")
	}
	if p.TLSName != "" {
		v.domain(key+".tls_name", p.TLSName)
	}
	if len(p.Senders) > MaxSenders {
		v.bad(key+".senders", "are %d: want at most %d", len(p.Senders), MaxSenders)
	}
	if p.Multicast && len(p.Senders) > 0 {
		v.bad(key+".multicast", "does not go with senders: one message for many has one connection")
	}
	if known && !p.TLS && !p.UnsafePlaintext && !isLoopback(host) {
		v.bad(key+".addr", "is %q, on another machine, without TLS: everybody on the way reads along, and may speak for every account. Set tls, or unsafe_plaintext = true in [[component]]", p.Addr)
	}
}

// componentsWithoutSecrets returns the components with the secrets replaced by xxxxx.
func componentsWithoutSecrets(list []Component) []Component {
	list = slices.Clone(list)
	for i := range list {
		hide(&list[i].Secret)
	}
	return list
}
