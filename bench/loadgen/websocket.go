//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Opcodes of RFC 6455 section 5.2 that a subscriber sends.
const (
	opText = 1
	opPong = 10
)

// The key of every opening handshake and the answer to it, those of RFC 6455 section 1.3. No extension is offered: a
// compressed event would hide its mark.
const (
	upgradeKey = "dGhlIHNhbXBsZSBub25jZQ=="
	upgradeAck = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// upgrade performs the opening handshake of a WebSocket; headers are whole lines.
func upgrade(c *conversation, host, path, headers string) error {
	err := c.send("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + upgradeKey + "\r\n" + headers + "\r\n")
	if err != nil {
		return err
	}
	head, err := c.head(101)
	if err != nil {
		return err
	}
	if !strings.Contains(head, upgradeAck) {
		return fmt.Errorf("the answer accepts another key: %.300q", head)
	}
	return nil
}

// clientFrame returns a frame as a client has to send it, masked (RFC 6455 section 5.3).
func clientFrame(opcode byte, payload string) string {
	const masked = 0x80
	mask := [4]byte{0x5a, 0x17, 0xc3, 0x2e}
	b := []byte{0x80 | opcode}
	if len(payload) < 126 {
		b = append(b, masked|byte(len(payload)))
	} else { // no subscription needs more than the 16 bits
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(len(payload)))
	}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return string(b)
}

// webSocket subscribes by the address of a WebSocket.
type webSocket struct {
	host, path, headers, await string
}

func newWebSocket(o *options) (protocol, error) {
	if !strings.HasPrefix(o.path, "/") {
		return nil, fmt.Errorf("-path %q has to begin with a slash", o.path)
	}
	return &webSocket{host: o.addr, path: o.path, headers: o.headerLines(), await: o.await}, nil
}

func (p *webSocket) subscribe(c *conversation, topic int) error {
	if err := upgrade(c, p.host, expand(p.path, topic), p.headers); err != nil || p.await == "" {
		return err
	}
	_, err := c.until(p.await)
	return err
}

// beat is an unsolicited pong (RFC 6455 section 5.5.3).
func (p *webSocket) beat() string { return clientFrame(opPong, "") }
