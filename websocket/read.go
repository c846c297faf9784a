package websocket

import (
	"encoding/binary"
	"errors"
	"slices"
	"unicode/utf8"

	"tidings/edge"
)

// inbound is what has come of a message, and of the frame that is being read, which may be a control frame between the
// message's fragments.
type inbound struct {
	head  [14]byte // the frame's header
	nhead int      // bytes of it that have come
	body  bool     // the header is complete: the payload comes

	mask    [4]byte
	length  uint64 // of the frame's payload
	got     uint64 // of it
	control []byte // payload of a control frame

	started    bool // a message has begun
	binary     bool
	compressed bool
	message    []byte
}

// input is the edge's Protocol.Input.
func (c *Conn) input(ec *edge.Conn, p []byte) error {
	c.edge.Store(ec) // Accept may not have come to it yet
	for len(p) > 0 && !c.closing {
		if c.in == nil {
			c.in = new(inbound)
		}
		in := c.in
		if !in.body {
			if p = in.header(p); !in.body {
				return nil
			}
			if err := c.begin(in); err != nil {
				c.fail(err)
				return nil
			}
		}
		p = in.payload(p)
		if in.got < in.length {
			return nil
		}
		in.body, in.nhead = false, 0
		if err := c.end(in); err != nil {
			c.fail(err)
			return nil
		}
		if !in.started {
			c.in = nil
		}
	}
	return nil
}

// fail closes the connection. What else has come is not looked at.
func (c *Conn) fail(err error) {
	c.closing, c.in = true, nil
	e := &CloseError{Code: InternalError}
	errors.As(err, &e)
	c.Close(e.Code, e.Reason)
}

// header takes what p has of the frame's header and returns the rest of p.
func (in *inbound) header(p []byte) []byte {
	for len(p) > 0 {
		need := 2
		if in.nhead >= 2 {
			need = headerLen(in.head[1])
		}
		if in.nhead < need {
			n := copy(in.head[in.nhead:need], p)
			in.nhead += n
			p = p[n:]
		}
		if in.nhead >= 2 && in.nhead == headerLen(in.head[1]) {
			in.body = true
			return p
		}
	}
	return p
}

// headerLen returns the length of a header by its second byte.
func headerLen(second byte) int {
	n := 2
	switch second &^ bitMask {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if second&bitMask != 0 {
		n += 4
	}
	return n
}

// begin checks the header of a frame.
func (c *Conn) begin(in *inbound) error {
	first, second := in.head[0], in.head[1]
	op := first & 0xf
	control := op >= opClose
	if second&bitMask == 0 {
		return bad("a client's frames have to be masked")
	}
	length := uint64(second &^ bitMask)
	switch length {
	case 126:
		if length = uint64(binary.BigEndian.Uint16(in.head[2:])); length < 126 {
			return bad("the length of a frame is not in the shortest form")
		}
	case 127:
		if length = binary.BigEndian.Uint64(in.head[2:]); length <= 0xffff || length>>63 != 0 {
			return bad("the length of a frame is not in the shortest form or has 64 bits")
		}
	}
	in.mask = [4]byte(in.head[in.nhead-4:])
	in.length, in.got = length, 0

	compressed := first&bitRSV1 != 0
	switch {
	case first&bitsRSV23 != 0 || compressed && (!c.deflate || control || op == opContinuation):
		return bad("a reserved bit is set")
	case control && (first&bitFin == 0 || length > maxControl):
		return bad("a control frame is fragmented or has more than 125 bytes")
	}
	switch op {
	case opText, opBinary:
		if in.started {
			return bad("a message begins inside another")
		}
		in.started, in.binary, in.compressed = true, op == opBinary, compressed
	case opContinuation:
		if !in.started {
			return bad("a continuation without a message")
		}
	case opClose, opPing, opPong:
		return nil
	default:
		return bad("an opcode is not known")
	}
	if uint64(len(in.message))+length > uint64(c.max) {
		return tooBig
	}
	return nil
}

// payload takes what p has of the frame's payload and returns the rest of p.
func (in *inbound) payload(p []byte) []byte {
	n := int(min(in.length-in.got, uint64(len(p))))
	to := &in.message
	if in.head[0]&0xf >= opClose {
		to = &in.control
	}
	// No more is set aside than has come: a length that is announced costs nothing.
	*to = append(slices.Grow(*to, n), p[:n]...)
	b := *to
	xor(b[len(b)-n:], in.mask, int(in.got&3))
	in.got += uint64(n)
	return p[n:]
}

// end acts on a frame that is complete.
func (c *Conn) end(in *inbound) error {
	switch in.head[0] & 0xf {
	case opClose:
		return c.closeFrame(in.control)
	case opPing:
		c.Edge().Write(appendFrame(nil, bitFin|opPong, in.control))
		in.control = nil
		return nil
	case opPong:
		in.control = nil
		return nil
	}
	if in.head[0]&bitFin == 0 {
		return nil
	}
	m := in.message
	if in.compressed {
		var err error
		if m, err = inflate(m, int(c.max)); err != nil {
			return err
		}
	}
	if !in.binary && !utf8.Valid(m) {
		return &CloseError{InvalidPayload, "a text is not UTF-8"}
	}
	in.started, in.message = false, nil
	return c.handler.Message(c, in.binary, m)
}

// closeFrame answers the peer's close frame with the same code, which ends the connection (section 5.5.1).
func (c *Conn) closeFrame(p []byte) error {
	code := NoStatus
	if len(p) > 0 {
		if len(p) < 2 {
			return bad("a close frame has one byte")
		}
		if code = int(binary.BigEndian.Uint16(p)); !validCode(code) {
			return bad("a close frame has a code that is not to be sent")
		}
		if !utf8.Valid(p[2:]) {
			return &CloseError{InvalidPayload, "the reason of a close frame is not UTF-8"}
		}
	}
	c.closing, c.code = true, uint16(code)
	c.Edge().Close(reasonPeer, AppendClose(nil, code, ""))
	return nil
}

// closed is the edge's Protocol.Closed.
func (c *Conn) closed(ec *edge.Conn) {
	c.edge.Store(ec)
	c.closing, c.in = true, nil
	code := Abnormal
	if c.code != 0 {
		code = int(c.code)
	}
	c.handler.Closed(c, code)
}

func bad(why string) error { return &CloseError{ProtocolError, why} }

var tooBig = &CloseError{MessageTooBig, "the message is too big"}
