package v09

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// taken reports whether the peer's kernel has acknowledged everything that was written (tcp(7), SIOCOUTQ).
func taken(nc net.Conn) bool {
	sc, ok := unwrap(nc).(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	left := 0
	if raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) != nil || err != nil {
		return true
	}
	return left == 0
}
