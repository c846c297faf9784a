//go:build unix

package outlettest

import (
	"errors"
	"net"
	"syscall"
)

// Dialer returns a dialer whose connections have a receive buffer of so many bytes, set before they connect; 0 for the system's.
func Dialer(receiveBuffer int) *net.Dialer {
	if receiveBuffer == 0 {
		return &net.Dialer{}
	}
	return &net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		err2 := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
		})
		return errors.Join(err, err2)
	}}
}
