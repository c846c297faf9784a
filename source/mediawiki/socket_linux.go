package mediawiki

import (
	"encoding/binary"
	"errors"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	truncatedFlag = unix.MSG_TRUNC
	controlBytes  = 64 // room for one control message of four bytes
	lastRead      = 0  // how long to go on after the end: drain does the rest
)

// setUp asks for the receive buffer and for the kernel's count of drops. It returns the size that was granted, which
// without CAP_NET_ADMIN is at most net.core.rmem_max.
func setUp(conn *net.UDPConn, buffer int) (granted int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
			if err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
				return
			}
		}
		if granted, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil {
			return
		}
		granted /= 2 // the kernel doubles what was asked for, to account for its own structures (socket(7))
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	})
	return granted, errors.Join(controlErr, err)
}

// controlDrops returns the counter of SO_RXQ_OVFL that came with a datagram. The kernel sends none until it has dropped.
func controlDrops(oob []byte) (uint32, bool) {
	for len(oob) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0, false
		}
		if header.Level == unix.SOL_SOCKET && header.Type == unix.SO_RXQ_OVFL && len(data) >= 4 {
			return binary.NativeEndian.Uint32(data), true
		}
		oob = rest
	}
	return 0, false
}

// readKernelDrops asks the socket for the same counter, which tells of drops before the next datagram comes.
func readKernelDrops(conn *net.UDPConn) (n uint32, ok bool) {
	const skMemInfoDrops = 8 // SK_MEMINFO_DROPS of linux/sock_diag.h
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false
	}
	var info [16]uint32
	err = raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0 && size >= 4*(skMemInfoDrops+1)
	})
	return info[skMemInfoDrops], ok && err == nil
}

// drain reads what the socket holds, without waiting and whatever its deadline, until f returns false.
func drain(conn *net.UDPConn, buffer []byte, f func(b []byte, from net.Addr, truncated bool) bool) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) {
		for {
			var n, flags int
			var from unix.Sockaddr
			n, _, flags, from, err = unix.Recvmsg(int(fd), buffer, nil, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EAGAIN):
				err = nil
				return
			case err != nil && transient(err):
			case err != nil:
				return
			case !f(buffer[:n], address(from), flags&unix.MSG_TRUNC != 0):
				return
			}
		}
	})
	return errors.Join(controlErr, err)
}

// address returns a socket's address in the form of package net, or nil.
func address(from unix.Sockaddr) net.Addr {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return &net.UDPAddr{IP: a.Addr[:], Port: a.Port}
	case *unix.SockaddrInet6:
		return &net.UDPAddr{IP: a.Addr[:], Port: a.Port}
	}
	return nil
}

// transient reports whether receiving may go on after err: the network may report an earlier failure on a socket.
func transient(err error) bool {
	return errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}
