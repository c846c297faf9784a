package v4

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"
)

// The types of Engine.IO packets.
const (
	engineOpen    = '0'
	engineClose   = '1'
	enginePing    = '2'
	enginePong    = '3'
	engineMessage = '4'
	engineUpgrade = '5'
	engineNoop    = '6'
)

// The types of Socket.IO packets, which are the content of Engine.IO messages.
const (
	typeConnect      = '0'
	typeDisconnect   = '1'
	typeEvent        = '2'
	typeAck          = '3'
	typeConnectError = '4'
	typeBinaryEvent  = '5'
	typeBinaryAck    = '6'
)

// separator stands between packets in the body of a polling transport. JSON has it escaped.
const separator = 0x1e

// Limits of what clients send.
const (
	maxNamespace   = 255 // bytes
	maxID          = 15  // digits: a number that JavaScript holds exactly
	maxAttachments = 16
)

// packet is one Socket.IO packet: TYPE [ATTACHMENTS "-"] [NAMESPACE ","] [ID] [JSON].
type packet struct {
	typ         byte
	attachments int // of a binary one, which follow in as many messages
	namespace   string
	id          string // digits; empty if no acknowledgement is asked for
	data        json.RawMessage
}

// Reasons for which a packet is no packet.
var (
	errEmpty       = errors.New("packet-empty")
	errType        = errors.New("packet-type")
	errAttachments = errors.New("packet-attachments")
	errNamespace   = errors.New("packet-namespace")
	errID          = errors.New("packet-id")
	errData        = errors.New("packet-data")
)

// reserved are the names that no event may have.
var reserved = []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

// parsePacket parses a packet as the reference decoder does: what that refuses is refused.
func parsePacket(b []byte) (p packet, err error) {
	if len(b) == 0 {
		return p, errEmpty
	}
	if p.typ = b[0]; p.typ < typeConnect || p.typ > typeBinaryAck {
		return p, errType
	}
	b = b[1:]
	if p.typ == typeBinaryEvent || p.typ == typeBinaryAck {
		digits, rest, ok := bytes.Cut(b, []byte{'-'})
		if !ok || len(digits) == 0 || len(digits) > 2 {
			return p, errAttachments
		}
		for _, c := range digits {
			if c < '0' || c > '9' {
				return p, errAttachments
			}
			p.attachments = p.attachments*10 + int(c-'0')
		}
		if p.attachments == 0 || p.attachments > maxAttachments {
			return p, errAttachments
		}
		b = rest
	}
	p.namespace = "/"
	if len(b) > 0 && b[0] == '/' {
		name, rest, _ := bytes.Cut(b, []byte{','})
		if name, _, _ = bytes.Cut(name, []byte{'?'}); len(name) > maxNamespace || !utf8.Valid(name) {
			return p, errNamespace
		}
		p.namespace, b = string(name), rest
	}
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	if n > maxID {
		return p, errID
	}
	p.id, p.data = string(b[:n]), b[n:]
	if !p.validData() {
		return p, errData
	}
	return p, nil
}

// validData reports whether the packet's data is what its type has.
func (p *packet) validData() bool {
	if len(p.data) == 0 {
		p.data = nil
		return p.typ != typeEvent && p.typ != typeBinaryEvent && p.typ != typeAck && p.typ != typeBinaryAck
	}
	if p.typ == typeDisconnect || !json.Valid(p.data) {
		return false
	}
	first := p.data[0]
	switch p.typ {
	case typeConnect:
		return first == '{'
	case typeConnectError:
		return first == '{' || first == '"'
	case typeAck, typeBinaryAck:
		return first == '['
	}
	name, _, ok := parseEvent(p.data)
	return ok && !slices.Contains(reserved, name)
}

// parseEvent returns the name and the arguments of an event. A name may be a number.
func parseEvent(data json.RawMessage) (name string, args []json.RawMessage, ok bool) {
	var all []json.RawMessage
	if json.Unmarshal(data, &all) != nil || len(all) == 0 {
		return "", nil, false
	}
	switch c := all[0][0]; {
	case c == '"':
		if json.Unmarshal(all[0], &name) != nil {
			return "", nil, false
		}
	case c == '-' || '0' <= c && c <= '9':
		name = string(all[0])
	default:
		return "", nil, false
	}
	return name, all[1:], true
}

// appendHead appends the head of an Engine.IO message with a packet: what is before its data.
func appendHead(dst []byte, typ byte, namespace, id string) []byte {
	dst = append(dst, engineMessage, typ)
	if namespace != "/" {
		dst = append(append(dst, namespace...), ',')
	}
	return append(dst, id...)
}

// message returns a packet with data, which is encoded.
func message(typ byte, namespace, id string, data any) []byte {
	dst := appendHead(nil, typ, namespace, id)
	if data == nil {
		return dst
	}
	return append(dst, encode(data)...)
}

// encode returns the JSON of a value that has one.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}

// splitPayload calls f for each packet of a polling transport's body.
func splitPayload(body []byte, f func(packet []byte) bool) {
	for more := true; more; {
		var p []byte
		p, body, more = bytes.Cut(body, []byte{separator})
		if !f(p) {
			return
		}
	}
}
