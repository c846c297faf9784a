package recentchange

import (
	"bytes"
	"iter"
)

// Split returns the payloads of a datagram from MediaWiki's UDP transport. Usually that is the datagram itself. If the
// feed's URI has a path, the transport puts it and a blank before every line and ends the last one with a line feed
// (UDPTransport): from JSON and XML this prefix is taken off, because they would not be JSON and XML with it; an IRC line
// keeps its own, which names the channel, and each line is a payload. White space only gives no payload.
//
// The payloads alias the datagram unless a prefix had to be taken off several lines.
func Split(datagram []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		_, body := cutPrefix(datagram)
		rest := bytes.TrimLeft(body, " \t\r\n")
		if len(rest) == 0 {
			return
		}
		if rest[0] != '\x03' {
			yield(body)
			return
		}
		for line := range bytes.Lines(datagram) {
			if len(bytes.TrimSpace(line)) > 0 && !yield(line) {
				return
			}
		}
	}
}

// cutPrefix returns the prefix of the UDP transport, without the blank after it, and the payload without it; where there
// is none, the payload as it is. In an IRC payload of several lines it cuts the first line's.
func cutPrefix(payload []byte) (prefix, body []byte) {
	start := bytes.IndexFunc(payload, func(r rune) bool { return r != ' ' && r != '\t' && r != '\r' && r != '\n' })
	if start < 0 {
		return nil, nil
	}
	switch payload[start] {
	case '{', '<', '\x03':
		return nil, payload
	}
	line, _, lines := bytes.Cut(payload, []byte("\n"))
	i := bytes.IndexAny(line, "{<\x03")
	switch {
	case i > 0 && line[i] == '\x03':
		return bytes.TrimRight(line[:i], " \t"), payload[i:]
	case i > 0 && line[i-1] == ' ':
		prefix = line[:i-1]
	case i < 0 && lines && bytes.HasSuffix(line, []byte(" ")):
		prefix = line[:len(line)-1] // core XML begins with a line feed
	default:
		return nil, payload
	}
	if !lines {
		return prefix, payload[i:]
	}
	full := payload[:len(prefix)+1]
	body = make([]byte, 0, len(payload))
	for l := range bytes.Lines(payload) {
		l = bytes.TrimPrefix(l, full)
		body = append(body, l...)
	}
	return prefix, body
}
