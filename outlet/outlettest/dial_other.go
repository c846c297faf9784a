//go:build !unix

package outlettest

import "net"

// Dialer returns a dialer with the system's receive buffer, which cannot be set here.
func Dialer(receiveBuffer int) *net.Dialer { return &net.Dialer{} }
