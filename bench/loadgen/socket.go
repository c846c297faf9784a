//go:build linux

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A socket is a descriptor as crypto/tls wants it. It knows no deadlines; the descriptor has a timeout, or does not block.
type socket int

// Read reads once. It answers the end of the stream with io.EOF and a read that would block with errWouldBlock.
func (s socket) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(s), b)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return 0, errWouldBlock{}
		case err != nil:
			return 0, err
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write writes all of b or fails.
func (s socket) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n, err := unix.Write(int(s), b[done:])
		if err != nil && err != unix.EINTR {
			return done, err
		}
		done += max(0, n)
	}
	return len(b), nil
}

func (s socket) Close() error                     { return unix.Close(int(s)) }
func (socket) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (socket) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
func (socket) SetDeadline(time.Time) error        { return errors.ErrUnsupported }
func (s socket) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (s socket) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// errWouldBlock is temporary in the sense of net.Error, so that crypto/tls keeps what it has of a record and goes on later.
type errWouldBlock struct{}

func (errWouldBlock) Error() string   { return "nothing was received in time" }
func (errWouldBlock) Timeout() bool   { return true }
func (errWouldBlock) Temporary() bool { return true }

// tryAgain says whether err is that of a read that would block.
func tryAgain(err error) bool { return errors.As(err, new(errWouldBlock)) }

// startTLS makes the rest of the conversation one over TLS, whatever certificate the server has.
func (c *conversation) startTLS(name string) error {
	if len(c.buf) > 0 {
		return fmt.Errorf("before the handshake of TLS the server sent %.100q", c.buf)
	}
	t := tls.Client(socket(c.fd), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := t.Handshake(); err != nil {
		return fmt.Errorf("handshake of TLS: %w", err)
	}
	c.tls = t
	return nil
}
