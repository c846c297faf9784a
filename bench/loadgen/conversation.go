//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A conversation is an exchange on a descriptor, blocking until the sink watches it: the handshake of a subscriber, and
// then what it receives.
type conversation struct {
	fd  int
	tls *tls.Conn // nil: without
	buf []byte    // received and not yet consumed; what is left after the handshake is scanned for events
}

// handshakeSeconds bounds each read of a handshake.
const handshakeSeconds = 30

// dial opens subscriber i's connection to addr from one of sources addresses 127.0.0.2 and up, so that one address has
// neither too few ports nor too many connections. rcvbuf sets the receive buffer in bytes if it is not 0.
func dial(addr netip.AddrPort, i, sources, rcvbuf int) (*conversation, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := connect(fd, addr, i, sources, rcvbuf); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &conversation{fd: fd}, nil
}

func connect(fd int, addr netip.AddrPort, i, sources, rcvbuf int) error {
	if addr.Addr().IsLoopback() && sources > 0 {
		// Without this option bind would reserve a port for all destinations; with it connect chooses one for this.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return fmt.Errorf("IP_BIND_ADDRESS_NO_PORT: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: sourceAddr(i, sources)}); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
	}
	if rcvbuf > 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf); err != nil {
			return fmt.Errorf("SO_RCVBUF: %w", err)
		}
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: handshakeSeconds}); err != nil {
		return fmt.Errorf("SO_RCVTIMEO: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// sourceAddr spreads subscribers evenly over 127.0.0.2, 127.0.0.3, ...
func sourceAddr(i, sources int) [4]byte {
	n := 1 + i%sources
	return [4]byte{127, 0, byte(n / 250), byte(1 + n%250)}
}

// send writes all of s.
func (c *conversation) send(s string) error {
	var err error
	if c.tls != nil {
		_, err = c.tls.Write([]byte(s))
	} else {
		_, err = socket(c.fd).Write([]byte(s))
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// read reads once. Where nothing is there yet the error is one that tryAgain knows; over TLS it may be so although
// something was there.
func (c *conversation) read(b []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Read(b)
	}
	return socket(c.fd).Read(b)
}

// until reads until mark has been received, and consumes and returns everything up to its end.
func (c *conversation) until(mark string) (string, error) {
	for {
		if i := bytes.Index(c.buf, []byte(mark)); i >= 0 {
			return c.take(i + len(mark)), nil
		}
		if err := c.more(); err != nil {
			return "", fmt.Errorf("waiting for %q: %w; received %.200q", mark, err, c.buf)
		}
	}
}

func (c *conversation) take(n int) string {
	s := string(c.buf[:n])
	c.buf = c.buf[n:]
	return s
}

// more reads once.
func (c *conversation) more() error {
	chunk := make([]byte, 4096)
	n, err := c.read(chunk)
	if errors.Is(err, io.EOF) {
		return errors.New("the server closed")
	}
	c.buf = append(c.buf, chunk[:n]...)
	return err
}

// head reads the head of an answer over HTTP/1.1, which has to have the status.
func (c *conversation) head(status int) (string, error) {
	head, err := c.until("\r\n\r\n")
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(head, "\r\n")
	if f := strings.Fields(line); len(f) < 2 || f[1] != strconv.Itoa(status) {
		return "", fmt.Errorf("the server answered %q", line)
	}
	return head, nil
}

// body reads what follows the head of an answer that says how long it is.
func (c *conversation) body(head string) (string, error) {
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(name, "Content-Length") {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil || n < 0 {
			return "", fmt.Errorf("the answer has %q", line)
		}
		for len(c.buf) < n {
			if err := c.more(); err != nil {
				return "", fmt.Errorf("waiting for the body: %w", err)
			}
		}
		return c.take(n), nil
	}
	return "", fmt.Errorf("the answer does not say how long it is: %.300q", head)
}
