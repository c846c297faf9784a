package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// Bits of the first two bytes of a frame (section 5.2).
const (
	bitFin    = 0x80
	bitRSV1   = 0x40 // the message is compressed (RFC 7692 section 6)
	bitsRSV23 = 0x30
	bitMask   = 0x80

	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// maxControl bounds the payload of a control frame, and with two bytes for the code the reason of a close frame.
const maxControl = 125

// pingFrame is the keepalive, goodbyeFrame tells that the server stops.
var (
	pingFrame    = []byte{bitFin | opPing, 0}
	goodbyeFrame = AppendClose(nil, GoingAway, "the server stops: come back")
)

// AppendText appends a text message as one frame. The payload has to be UTF-8.
func AppendText(dst, payload []byte) []byte { return appendFrame(dst, bitFin|opText, payload) }

// AppendBinary appends a binary message as one frame.
func AppendBinary(dst, payload []byte) []byte { return appendFrame(dst, bitFin|opBinary, payload) }

// AppendPing appends a ping, whose payload has at most 125 bytes.
func AppendPing(dst, payload []byte) []byte { return appendFrame(dst, bitFin|opPing, payload) }

// AppendClose appends a close frame. A code of 0 or NoStatus stands for a frame without one. The reason is cut to 123
// bytes at a rune boundary.
func AppendClose(dst []byte, code int, reason string) []byte {
	if code == 0 || code == NoStatus {
		return append(dst, bitFin|opClose, 0)
	}
	if len(reason) > maxControl-2 {
		n := maxControl - 2
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	dst = append(dst, bitFin|opClose, byte(2+len(reason)), byte(code>>8), byte(code))
	return append(dst, reason...)
}

func appendFrame(dst []byte, first byte, payload []byte) []byte {
	return append(appendHeader(dst, first, len(payload)), payload...)
}

// appendHeader appends the header of a frame that is not masked.
func appendHeader(dst []byte, first byte, n int) []byte {
	switch {
	case n <= maxControl:
		return append(dst, first, byte(n))
	case n <= 0xffff:
		return append(dst, first, 126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
}

// xor applies the mask to b, which begins at place i of the payload (section 5.3).
func xor(b []byte, mask [4]byte, i int) {
	if len(b) >= 16 {
		for ; i&3 != 0; i++ {
			b[0] ^= mask[i&3]
			b = b[1:]
		}
		m := uint64(binary.LittleEndian.Uint32(mask[:]))
		m |= m << 32
		for ; len(b) >= 8; b = b[8:] {
			binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^m)
		}
	}
	for k := range b {
		b[k] ^= mask[(i+k)&3]
	}
}

// validCode reports whether a peer may send the code (section 7.4 and IANA's registry).
func validCode(code int) bool {
	switch {
	case code == 1004, code == NoStatus, code == Abnormal:
		return false
	}
	return 1000 <= code && code <= 1014 || 3000 <= code && code <= 4999
}
