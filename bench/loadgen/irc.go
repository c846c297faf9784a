//go:build linux

package main

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// irc joins a channel (RFC 2812).
type irc struct {
	channel string
	nicks   *atomic.Int64
}

// ircNicks numbers the nicks of all subscribers.
var ircNicks atomic.Int64

func newIRC(o *options) (protocol, error) {
	if o.topic == "" {
		return nil, errNoTopic
	}
	return &irc{channel: o.topic, nicks: &ircNicks}, nil
}

// subscribe returns at the end of the channel's names, which is the last of what a JOIN brings.
func (p *irc) subscribe(c *conversation, topic int) error {
	err := c.send(fmt.Sprintf("NICK b%d\r\nUSER bench 0 * :benchmark\r\nJOIN %s\r\n", p.nicks.Add(1), expand(p.channel, topic)))
	for err == nil {
		var line string
		if line, err = c.until("\r\n"); err != nil {
			return err
		}
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && f[1] == "366": // RPL_ENDOFNAMES
			return nil
		case f[0] == "ERROR", len(f) > 1 && len(f[1]) == 3 && (f[1][0] == '4' || f[1][0] == '5') && f[1] != "422": // ERR_NOMOTD
			return fmt.Errorf("the server answered %q", strings.TrimSpace(line))
		case f[0] == "PING":
			err = c.send("PONG " + strings.Join(f[1:], " ") + "\r\n")
		}
	}
	return err
}

func (p *irc) beat() string { return "PING bench\r\n" }
