//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// errNoTopic is what the protocols say that do not subscribe by an address.
var errNoTopic = errors.New("-topic is missing")

// socketIO09 subscribes as a client of RCStream: Socket.IO's protocol 1, the transport websocket, the namespace /rc.
type socketIO09 struct {
	host, topic, headers string
}

func newSocketIO09(o *options) (protocol, error) {
	if o.topic == "" {
		return nil, errNoTopic
	}
	return &socketIO09{host: o.addr, topic: o.topic, headers: o.headerLines()}, nil
}

// subscribe uses one connection for the handshake and the WebSocket, as HTTP/1.1 allows.
func (p *socketIO09) subscribe(c *conversation, topic int) error {
	if err := c.send("GET /socket.io/1/ HTTP/1.1\r\nHost: " + p.host + "\r\n" + p.headers + "\r\n"); err != nil {
		return err
	}
	head, err := c.head(200)
	if err != nil {
		return err
	}
	answer, err := c.body(head)
	if err != nil {
		return err
	}
	sid, _, ok := strings.Cut(answer, ":") // SID:heartbeat:close:transports
	if !ok {
		return fmt.Errorf("the answer to the handshake is %.200q", answer)
	}
	if err := upgrade(c, p.host, "/socket.io/1/websocket/"+sid, p.headers); err != nil {
		return err
	}
	// The acknowledgement tells that the subscription is there.
	err = c.send(clientFrame(opText, "1::/rc") +
		clientFrame(opText, `5:1+:/rc:{"name":"subscribe","args":[`+strconv.Quote(expand(p.topic, topic))+`]}`))
	if err != nil {
		return err
	}
	_, err = c.until("6::/rc:1+")
	return err
}

// beat is an unsolicited heartbeat.
func (p *socketIO09) beat() string { return clientFrame(opText, "2::") }

// socketIO4 subscribes as a client of Socket.IO 3 and 4 does (Engine.IO protocol 4, Socket.IO protocol 5), on the
// transport websocket from the beginning.
type socketIO4 struct {
	host, topic, headers string
}

func newSocketIO4(o *options) (protocol, error) {
	if o.topic == "" {
		return nil, errNoTopic
	}
	return &socketIO4{host: o.addr, topic: o.topic, headers: o.headerLines()}, nil
}

func (p *socketIO4) subscribe(c *conversation, topic int) error {
	if err := upgrade(c, p.host, "/socket.io/?EIO=4&transport=websocket", p.headers); err != nil {
		return err
	}
	if _, err := c.until(`0{"sid":`); err != nil {
		return err
	}
	if err := c.send(clientFrame(opText, "40")); err != nil {
		return err
	}
	if _, err := c.until(`40{"sid":`); err != nil {
		return err
	}
	// Event 0 with its acknowledgement.
	err := c.send(clientFrame(opText, `420["subscribe",{"topics":[`+strconv.Quote(expand(p.topic, topic))+`]}]`))
	if err != nil {
		return err
	}
	_, err = c.until(`430[{"topics":`) // a refusal has other members
	return err
}

// beat is the answer to the server's ping, unsolicited.
func (p *socketIO4) beat() string { return clientFrame(opText, "3") }
