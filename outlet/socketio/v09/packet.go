package v09

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The types of packet.
const (
	typeDisconnect = '0'
	typeConnect    = '1'
	typeHeartbeat  = '2'
	typeMessage    = '3'
	typeJSON       = '4'
	typeEvent      = '5'
	typeAck        = '6'
	typeError      = '7'
	typeNoop       = '8'
)

// Packets that are always the same.
const (
	packetDisconnect = "0::"
	packetConnect    = "1::"
	packetHeartbeat  = "2::"
	packetNoop       = "8::"
	// packetUnknown says that the session is not known and advises to come back with a new handshake.
	packetUnknown = "7:::1+0"
	// packetGoodbye advises the same without a reason. A disconnect would make clients stay away: the JavaScript one takes it
	// for being thrown out and does not come back.
	packetGoodbye = "7:::+0"
)

// Limits of what clients send.
const (
	maxEndpoint = 255 // bytes, without the query
	maxID       = 18  // digits
)

// packet is one packet: TYPE ":" [ID ["+"]] ":" [ENDPOINT] [":" DATA].
type packet struct {
	typ      byte
	id       string // digits; empty if no acknowledgement is asked for
	wantData bool   // the acknowledgement is the application's and has data
	endpoint string // without its query; empty for the socket as a whole
	data     []byte // of the input
}

// Reasons for which a packet is dropped.
var (
	errMalformed = errors.New("packet-malformed")
	errType      = errors.New("packet-type")
	errID        = errors.New("packet-id")
	errEndpoint  = errors.New("packet-endpoint")
)

// parsePacket parses one packet, as lenient as the decoders of 2012 were: a lone digit is a packet, and the last colon may be
// missing or there without data behind it.
func parsePacket(b []byte) (packet, error) {
	var p packet
	if len(b) == 0 || len(b) > 1 && b[1] != ':' {
		return p, errMalformed
	}
	if p.typ = b[0]; p.typ < typeDisconnect || p.typ > typeNoop {
		return p, errType
	}
	if len(b) == 1 {
		return p, nil
	}
	id, rest, ok := bytes.Cut(b[2:], []byte{':'})
	if !ok {
		return p, errMalformed
	}
	id, p.wantData = bytes.CutSuffix(id, []byte{'+'})
	if len(id) > maxID || p.wantData && len(id) == 0 {
		return p, errID
	}
	for _, c := range id {
		if c < '0' || c > '9' {
			return p, errID
		}
	}
	p.id = string(id)
	endpoint, data, _ := bytes.Cut(rest, []byte{':'})
	endpoint, _, _ = bytes.Cut(endpoint, []byte{'?'})
	if len(endpoint) > maxEndpoint {
		return p, errEndpoint
	}
	for _, c := range endpoint { // answers repeat it, and they are ASCII
		if c <= ' ' || c > '~' {
			return p, errEndpoint
		}
	}
	p.endpoint, p.data = string(endpoint), data
	return p, nil
}

// appendPacket appends a packet without an id.
func appendPacket(dst []byte, typ byte, endpoint string, data []byte) []byte {
	dst = append(append(dst, typ, ':', ':'), endpoint...)
	if data != nil {
		dst = append(append(dst, ':'), data...)
	}
	return dst
}

// appendAck appends the acknowledgement of the packet p; args, which may be nil, is a JSON array.
func appendAck(dst []byte, p packet, args []byte) []byte {
	dst = append(append(append(dst, "6::"...), p.endpoint...), ':')
	dst = append(dst, p.id...)
	if args != nil {
		dst = append(append(dst, '+'), args...)
	}
	return dst
}

// appendEvent appends an event as gevent-socketio wrote it: the members of its object sorted. args is a JSON array in ASCII.
func appendEvent(dst []byte, endpoint, name string, args []byte) []byte {
	dst = append(append(append(dst, "5::"...), endpoint...), `:{"args":`...)
	dst = append(append(dst, args...), `,"name":"`...)
	return append(append(dst, name...), `"}`...)
}

// appendStrings appends a JSON array of strings in ASCII.
func appendStrings(dst []byte, ss ...string) []byte {
	dst = append(dst, '[')
	for i, s := range ss {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendQuoted(dst, s)
	}
	return append(dst, ']')
}

const frameMark = "\uFFFD"

// appendFramed appends a packet as one of several in the body of a polling transport. Lengths are in the units of the client's
// strings, which differ; packets are ASCII, so that all of them agree.
func appendFramed(dst, pkt []byte) []byte {
	dst = append(dst, frameMark...)
	dst = strconv.AppendInt(dst, int64(len(pkt)), 10)
	return append(append(dst, frameMark...), pkt...)
}

// unframe returns the packet of a body that has only one, which goes without a frame, and any other body as it is.
func unframe(body []byte) []byte {
	b, ok := bytes.CutPrefix(body, []byte(frameMark))
	if !ok {
		return body
	}
	n, pkt, _ := bytes.Cut(b, []byte(frameMark))
	if strconv.Itoa(len(pkt)) != string(n) {
		return body
	}
	return pkt
}

var errFrame = errors.New("payload-frame")

// splitPayload calls f with each packet of what a client posted. A body that does not begin with U+FFFD is one packet. Lengths
// are UTF-16 code units from JavaScript and code points from Python, which differ beyond the basic plane; the count that ends at
// a frame mark or at the end of the body is taken, JavaScript's first.
func splitPayload(body []byte, f func(pkt []byte)) error {
	if !bytes.HasPrefix(body, []byte(frameMark)) {
		f(body)
		return nil
	}
	for len(body) > 0 {
		b, ok := bytes.CutPrefix(body, []byte(frameMark))
		if !ok {
			return errFrame
		}
		digits, b, ok := bytes.Cut(b, []byte(frameMark))
		if !ok || len(digits) == 0 || len(digits) > 9 {
			return errFrame
		}
		n, err := strconv.ParseUint(string(digits), 10, 32)
		if err != nil {
			return errFrame
		}
		end, ok := frameEnd(b, int(n), utf16.RuneLen)
		if !ok {
			end, ok = frameEnd(b, int(n), func(rune) int { return 1 })
		}
		if !ok {
			return errFrame
		}
		f(b[:end])
		body = b[end:]
	}
	return nil
}

// frameEnd returns where n units of b end, and whether a packet may end there.
func frameEnd(b []byte, n int, units func(rune) int) (end int, ok bool) {
	for n > 0 && end < len(b) {
		r, size := utf8.DecodeRune(b[end:])
		n -= max(units(r), 1)
		end += size
	}
	return end, n == 0 && (end == len(b) || bytes.HasPrefix(b[end:], []byte(frameMark)))
}

// isDigits reports whether s is a short number, as the indexes of JSONP callbacks are.
func isDigits(s string) bool {
	return s != "" && len(s) <= 10 && strings.Trim(s, "0123456789") == ""
}
