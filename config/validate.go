package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tidings"
	"tidings/irc"
)

// Validate reports what is wrong with the values, all of it, one sentence a line, each beginning with the key; nil if
// nothing is. It opens nothing, so a file that is not there or an address that is taken is found later.
func (c Config) Validate() error {
	var v checker
	v.nonEmpty("data", c.Data)
	v.domain("domain", c.Domain)
	v.oneOf("log_level", c.LogLevel, "debug", "info", "warn", "error")
	v.oneOf("durability", c.Durability, "fsync", "interval")
	v.duration("sync_interval", c.SyncInterval, time.Millisecond, time.Minute)
	v.duration("dedupe_window", c.DedupeWindow, 100*time.Millisecond, 24*time.Hour)
	v.natsURL("nats_url", c.NATSURL)
	v.count("replicas", c.Replicas, 1, 5)
	if c.Replicas > 1 && c.NATSURL == "" {
		v.bad("replicas", "is %d, but the journal is in this process: copies need a cluster, named in nats_url", c.Replicas)
	}

	h := c.HTTP
	v.listener("http", h.Addr, h.TLSCert != "", h.UnsafePlaintext)
	if (h.TLSCert == "") != (h.TLSKey == "") {
		v.bad("http.tls_cert", "and http.tls_key go together: set both or none")
	}
	v.size("http.max_header", h.MaxHeader, 1<<10, 1<<20)
	v.size("http.max_body", h.MaxBody, 1, 32<<20)
	v.count("http.max_connections_per_address", h.MaxConnectionsPerAddress, 0, math.MaxInt32)
	v.duration("http.idle_timeout", h.IdleTimeout, time.Second, time.Hour)
	v.duration("http.write_timeout", h.WriteTimeout, time.Second, time.Hour)
	v.duration("http.keepalive", h.Keepalive, time.Second, time.Hour)
	v.duration("http.retry", h.Retry, 0, time.Hour)
	for _, o := range h.CORSOrigins {
		v.origin("http.cors_origins", o)
	}
	v.rate("http.publish_rate", h.PublishRate)

	v.listener("udp", c.UDP.Addr, false, c.UDP.UnsafePlaintext)
	for _, s := range c.UDP.Allow {
		if _, err := netip.ParsePrefix(s); err != nil {
			v.bad("udp.allow", "has %q, which is not a prefix such as 127.0.0.0/8 or 2001:db8::1/128", s)
		}
	}
	if len(c.UDP.Allow) == 0 && c.UDP.Addr != Off {
		v.bad("udp.allow", "is empty, so nobody would be heard: name the senders, or set udp.addr to off")
	}
	v.size("udp.receive_buffer", c.UDP.ReceiveBuffer, 64<<10, 1<<30)
	i := c.IRC
	v.listener("irc", i.Addr, i.TLSCert != "", i.UnsafePlaintext)
	if (i.TLSCert == "") != (i.TLSKey == "") {
		v.bad("irc.tls_cert", "and irc.tls_key go together: set both or none")
	}
	if i.ServerName != "" {
		v.domain("irc.server_name", i.ServerName)
	}
	if i.Network == "" || strings.ContainsFunc(i.Network, unicode.IsControl) || len(i.Network) > 64 {
		v.bad("irc.network", "is %q: want a name of 1 to 64 bytes", i.Network)
	}
	if !irc.ValidNick(i.Bot) {
		v.bad("irc.bot", "is %q: want a nick of 1 to %d letters, digits and hyphens", i.Bot, irc.MaxNick)
	}
	if len(i.Motd) > 16<<10 {
		v.bad("irc.motd", "has %d bytes and may have %d", len(i.Motd), 16<<10)
	}
	v.count("irc.max_connections_per_address", i.MaxConnectionsPerAddress, 0, math.MaxInt32)
	if _, err := c.IRCChannels(); err != nil {
		v.errs = append(v.errs, err)
	}
	v.xmpp(&c)
	v.pubsub(&c)
	v.rate("demo.rate", c.Demo.Rate)
	if c.Demo.Enabled && c.Demo.Rate == 0 {
		v.bad("demo.rate", "is 0, so there would be no demo: give it a rate, or set demo.enabled to false")
	}

	v.size("limits.feed_tail", c.Limits.FeedTail, 64<<10, 1<<30)
	v.size("limits.feed_tails", c.Limits.FeedTails, 64<<10, 1<<40)
	if c.Limits.FeedTails < c.Limits.FeedTail {
		v.bad("limits.feed_tails", "is %s, less than limits.feed_tail (%s), which is a part of it", c.Limits.FeedTails, c.Limits.FeedTail)
	}
	v.count("limits.patterns", c.Limits.Patterns, 1, 10_000)
	v.count("limits.rcstream", c.Limits.RCStream, 1, 10_000)

	for _, s := range c.Access.Private {
		if _, err := tidings.ParsePattern(s); err != nil {
			v.bad("access.private", "has a malformed %v", err)
		}
	}
	prefixes := map[string]bool{}
	for i, r := range c.Retention {
		key := fmt.Sprintf("retention[%d]", i)
		if r.Prefix != "" {
			if _, err := tidings.ParseTopic(r.Prefix); err != nil {
				v.bad(key+".prefix", "is a malformed %v", err)
			}
		}
		if prefixes[r.Prefix] {
			v.bad(key+".prefix", "is %q, as that of another rule", r.Prefix)
		}
		prefixes[r.Prefix] = true
		if r.Age < 0 || r.Bytes < 0 {
			v.bad(key, "has a negative limit: 0 is no limit")
		}
	}
	v.sources(&c)
	v.components(&c)
	v.bridges(&c)
	if err := c.Wikis.Validate(); err != nil {
		v.errs = append(v.errs, err)
	}
	return errors.Join(v.errs...)
}

// PrivatePatterns returns access.private as patterns; Validate says beforehand whether it can.
func (c Config) PrivatePatterns() ([]tidings.Pattern, error) { return patterns(c.Access.Private) }

// patterns parses the elements of a list, which is empty and not nil if there are none.
func patterns(list []string) ([]tidings.Pattern, error) {
	ps := make([]tidings.Pattern, len(list))
	for i, s := range list {
		var err error
		if ps[i], err = tidings.ParsePattern(s); err != nil {
			return nil, err
		}
	}
	return ps, nil
}

// IRCChannels returns irc.channels with their patterns; Validate says beforehand whether it can.
func (c Config) IRCChannels() (map[string][]tidings.Pattern, error) {
	var v checker
	channels := map[string][]tidings.Pattern{}
	folded := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.IRC.Channels)) {
		if !irc.ValidChannel(name) {
			v.bad("irc.channels", "has %q: want # and a name without blanks and commas, such as #news", name)
		}
		if other, ok := folded[irc.Fold(name)]; ok {
			v.bad("irc.channels", "has %s and %s, which are one channel: case is not told apart", other, name)
		}
		folded[irc.Fold(name)] = name
		if len(c.IRC.Channels[name]) == 0 {
			v.bad("irc.channels", "has no topic for %s", name)
		}
		for _, s := range c.IRC.Channels[name] {
			p, err := tidings.ParsePattern(s)
			if err != nil {
				v.bad("irc.channels", "has for %s a malformed %v", name, err)
			}
			channels[name] = append(channels[name], p)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.Wikis)) {
		name := c.Wikis[id].IRCChannel
		if name != "" && !irc.ValidChannel(name) {
			v.bad("wikis."+id+".irc_channel", "is %q: want # and a name without blanks and commas, such as #en.wikipedia", name)
		}
		if other, ok := folded[irc.Fold(name)]; ok {
			v.bad("irc.channels", "has %s, which is the irc_channel of wikis.%s", other, id)
		}
	}
	return channels, errors.Join(v.errs...)
}

// AllowPrefixes returns udp.allow as prefixes; Validate says beforehand whether it can.
func (c Config) AllowPrefixes() ([]netip.Prefix, error) {
	var ps []netip.Prefix
	for _, s := range c.UDP.Allow {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("config: udp.allow: %w", err)
		}
		ps = append(ps, p.Masked())
	}
	return ps, nil
}

// checker collects what is wrong.
type checker struct{ errs []error }

func (v *checker) bad(key, format string, args ...any) {
	v.errs = append(v.errs, tidings.Errorf(tidings.ErrInvalid, "%s %s", key, fmt.Sprintf(format, args...)))
}

func (v *checker) nonEmpty(key, s string) {
	if s == "" {
		v.bad(key, "is empty")
	}
}

func (v *checker) oneOf(key, s string, words ...string) {
	if !slices.Contains(words, s) {
		v.bad(key, "is %q: want %s or %s", s, strings.Join(words[:len(words)-1], ", "), words[len(words)-1])
	}
}

func (v *checker) count(key string, n, least, most int) {
	if n < least || n > most {
		v.bad(key, "is %d: want %d to %d", n, least, most)
	}
}

func (v *checker) duration(key string, d Duration, least, most time.Duration) {
	if time.Duration(d) < least || time.Duration(d) > most {
		v.bad(key, "is %s: want %s to %s", d, Duration(least), Duration(most))
	}
}

func (v *checker) size(key string, s, least, most Size) {
	if s < least || s > most {
		v.bad(key, "is %s: want %s to %s", s, least, most)
	}
}

func (v *checker) rate(key string, r float64) {
	if !(r >= 0 && r <= 1e6) { // and not NaN
		v.bad(key, "is %v: want 0 to 1000000 a second", r)
	}
}

// listener checks addr of the section, and that nobody reads along: others than this machine are served with TLS, or
// the section says what it is.
func (v *checker) listener(section, addr string, tls, unsafePlaintext bool) {
	key := section + ".addr"
	host, ok := v.address(key, addr, "127.0.0.1:8080")
	if !ok || tls || unsafePlaintext || isLoopback(host) {
		return
	}
	where := "is reached from other machines"
	if host == "" {
		where = "is reached by every address of this machine"
	}
	if section == "udp" {
		v.bad(key, "is %q, which %s, and anybody on the way can read and forge what is sent there: use 127.0.0.1, or set unsafe_plaintext = true in [%s]", addr, where, section)
		return
	}
	v.bad(key, "is %q, which %s, without TLS: set tls_cert and tls_key, put a proxy before 127.0.0.1, or set unsafe_plaintext = true in [%s]", addr, where, section)
}

// address checks that addr is one to listen on, and returns its host. It is not ok if there is nothing to listen on.
func (v *checker) address(key, addr, example string) (host string, ok bool) {
	if addr == Off {
		return "", false
	}
	host, port, err := net.SplitHostPort(addr)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || strconv.FormatUint(n, 10) != port {
		v.bad(key, "is %q: want an address and a port such as %s, or off", addr, example)
		return "", false
	}
	return host, true
}

// isLoopback reports whether only this machine reaches the host. A name is not looked up: none but localhost is certain.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (v *checker) domain(key, s string) {
	ok := s != "" && len(s) <= 253
	for _, label := range strings.Split(s, ".") {
		ok = ok && label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-' &&
			!strings.ContainsFunc(label, func(r rune) bool {
				return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && r < 0x80
			})
	}
	if !ok {
		v.bad(key, "is %q: want the name of a host, in small letters, such as changes.example.org", s)
	}
}

func (v *checker) natsURL(key, s string) {
	if s == "" {
		return
	}
	for i, one := range strings.Split(s, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			// The value is not repeated: it may have a password in it.
			v.bad(key, "has an address, the one at place %d, that is not of the form nats://127.0.0.1:4222", i+1)
		}
	}
}

func (v *checker) origin(key, s string) {
	if s == "*" {
		return
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != s {
		v.bad(key, "has %q: want * or an origin such as https://example.org", s)
	}
}
