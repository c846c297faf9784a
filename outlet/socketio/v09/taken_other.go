//go:build !linux

package v09

import "net"

// taken cannot be known here but for a reset.
func taken(nc net.Conn) bool { return unwrap(nc) != nil }
