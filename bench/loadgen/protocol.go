//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A protocol makes a connection a subscriber. Each protocol is one file with one type; it knows the handshake only,
// because events are counted by their marks (see mark.go) whatever stands around them.
type protocol interface {
	// subscribe performs the handshake on c for the given topic number. When it returns, every event published from
	// then on has to arrive. A topic of -1 is that of the bystanders, on which nothing is published.
	subscribe(c *conversation, topic int) error
}

// A beater is a protocol whose server gives up a client that says nothing for long.
type beater interface {
	// beat returns what a subscriber sends now and then.
	beat() string
}

// protocols are the values of -proto.
var protocols = map[string]func(*options) (protocol, error){
	"raw":   func(*options) (protocol, error) { return raw{}, nil },
	"sse":   newSSE,
	"ws":    newWebSocket,
	"sio09": newSocketIO09,
	"sio4":  newSocketIO4,
	"irc":   newIRC,
	"xmpp":  newXMPP,
}

func newProtocol(o *options) (protocol, error) {
	build, ok := protocols[o.proto]
	if !ok {
		return nil, fmt.Errorf("unknown protocol %q; there are %s", o.proto, strings.Join(slices.Sorted(maps.Keys(protocols)), ", "))
	}
	return build(o)
}

// expand puts the topic's number where s has {n}; that of the bystanders is "x".
func expand(s string, topic int) string {
	if topic < 0 {
		return strings.ReplaceAll(s, "{n}", "x")
	}
	return strings.ReplaceAll(s, "{n}", strconv.Itoa(topic))
}
