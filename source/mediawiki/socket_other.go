//go:build !linux

package mediawiki

import (
	"net"
	"time"
)

// Elsewhere than on Linux the kernel does not say what it has dropped, and a datagram that does not fit cannot be:
// maxDatagram is the largest that there is.
const (
	truncatedFlag = 0
	controlBytes  = 0
	lastRead      = 100 * time.Millisecond // how long to go on after the end, for what the kernel holds
)

func setUp(conn *net.UDPConn, buffer int) (granted int, err error) {
	// A smaller buffer is better than none: some systems refuse what is over their limit.
	for ; buffer >= 64<<10; buffer /= 2 {
		if err = conn.SetReadBuffer(buffer); err == nil {
			return buffer, nil
		}
	}
	return 0, err
}

func controlDrops([]byte) (uint32, bool) { return 0, false }

func readKernelDrops(*net.UDPConn) (uint32, bool) { return 0, false }

func transient(error) bool { return false }

func drain(*net.UDPConn, []byte, func([]byte, net.Addr, bool) bool) error { return nil }
