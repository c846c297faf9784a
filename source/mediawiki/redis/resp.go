package redis

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"tidings/recentchange"
)

// Limits of what a server may send. A bulk string over maxBulk is read and dropped, up to Redis's own limit.
const (
	maxLine  = 4 << 10
	maxBulk  = recentchange.MaxBytes + 1 // one more, so that it is told as too large
	hugeBulk = 512 << 20
	maxArray = 64
	maxDepth = 4
)

// value is one value of the Redis serialization protocol, version 2.
type value struct {
	kind byte    // + - : $ *
	text []byte  // of + - : and $; good until the next read
	list []value // of *
	null bool    // of $ and *
	cut  bool    // it is the beginning of a longer text
}

// errProtocol says that the other side does not speak the protocol.
var errProtocol = errors.New("the server does not speak Redis's protocol")

// reader reads values. The texts of a value share one buffer, which is used again for the next.
type reader struct {
	r   *bufio.Reader
	buf []byte
}

func newReader(r io.Reader) *reader { return &reader{r: bufio.NewReaderSize(r, 64<<10)} }

// next reads one value. Errors are errProtocol or the connection's.
func (r *reader) next() (value, error) {
	r.buf = r.buf[:0]
	if cap(r.buf) > 256<<10 {
		r.buf = nil // a rare large one
	}
	return r.value(0)
}

func (r *reader) value(depth int) (value, error) {
	line, err := r.line()
	if err != nil {
		return value{}, err
	}
	if len(line) == 0 {
		return value{}, fmt.Errorf("%w: an empty line", errProtocol)
	}
	v := value{kind: line[0]}
	switch v.kind {
	case '+', '-', ':':
		v.text = r.keep(line[1:])
		return v, nil
	case '$', '*':
	default:
		return v, fmt.Errorf("%w: a value begins with %q", errProtocol, line[0])
	}
	most := hugeBulk
	if v.kind == '*' {
		most = maxArray
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < -1 || n > most || line[1] == '+' {
		return v, fmt.Errorf("%w: a length of %.20q", errProtocol, line[1:])
	}
	if n == -1 {
		v.null = true
		return v, nil
	}
	if v.kind == '$' {
		err = r.bulk(&v, n)
		return v, err
	}
	if depth == maxDepth {
		return v, fmt.Errorf("%w: lists are nested more than %d deep", errProtocol, maxDepth)
	}
	for range n {
		e, err := r.value(depth + 1)
		if err != nil {
			return v, err
		}
		v.list = append(v.list, e)
	}
	return v, nil
}

// line reads up to a carriage return and a line feed.
func (r *reader) line() ([]byte, error) {
	line, err := r.r.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull || len(line) > maxLine:
		return nil, fmt.Errorf("%w: a line of more than %d bytes", errProtocol, maxLine)
	case err == io.EOF && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	body, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok {
		return nil, fmt.Errorf("%w: a line without a carriage return", errProtocol)
	}
	return body, nil
}

// bulk reads the n bytes of a text and the end of its line.
func (r *reader) bulk(v *value, n int) error {
	start, kept := len(r.buf), min(n, maxBulk)
	// What is announced is not believed before it comes.
	for left := kept; left > 0; {
		chunk := min(left, 64<<10)
		at := len(r.buf)
		r.buf = append(r.buf, make([]byte, chunk)...)
		if _, err := io.ReadFull(r.r, r.buf[at:]); err != nil {
			return unexpected(err)
		}
		left -= chunk
	}
	v.text, v.cut = r.buf[start:len(r.buf):len(r.buf)], n > kept
	if _, err := io.CopyN(io.Discard, r.r, int64(n-kept)); err != nil {
		return unexpected(err)
	}
	var end [2]byte
	if _, err := io.ReadFull(r.r, end[:]); err != nil {
		return unexpected(err)
	}
	if string(end[:]) != "\r\n" {
		return fmt.Errorf("%w: a text does not end where it says", errProtocol)
	}
	return nil
}

// unexpected is io.ErrUnexpectedEOF for the end of the connection within a value.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *reader) keep(b []byte) []byte {
	start := len(r.buf)
	r.buf = append(r.buf, b...)
	return r.buf[start:len(r.buf):len(r.buf)]
}

// appendCommand appends a command as clients send it: a list of bulk strings.
func appendCommand(dst []byte, words ...string) []byte {
	dst = fmt.Appendf(dst, "*%d\r\n", len(words))
	for _, w := range words {
		dst = fmt.Appendf(dst, "$%d\r\n%s\r\n", len(w), w)
	}
	return dst
}
