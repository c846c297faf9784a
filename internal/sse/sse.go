// Package sse reads streams of Server-Sent Events (WHATWG HTML, section 9.2.6).
package sse

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"time"
	"unicode"

	"tidings"
)

// Message is one message of a stream.
type Message struct {
	ID   string // of this message, or of the last one before it that had one
	Type string // the field event, "message" if there was none
	Data []byte // the lines of the field data, joined by newlines
}

// Decoder parses a stream. The message it is in when the stream ends is dropped, as the standard demands, and with it
// its id. Its fields may be read between calls of Next; Comment is set before the first.
type Decoder struct {
	// LastID is the id of the last message that was complete, whether it had data or not.
	LastID string
	// Retry is the reconnection time that the server has told, at most an hour; -1 before it has told any.
	Retry time.Duration
	// Comment is called for each comment, if it is not nil: servers send them as keepalives.
	Comment func()

	r      *bufio.Reader
	limit  int // of one message, in bytes
	bol    bool
	skipLF bool // the last line ended in a carriage return: a line feed belongs to it
	line   []byte

	data []byte
	typ  string
	id   string
}

// maxRetry bounds the reconnection time that is believed.
const maxRetry = time.Hour

// NewDecoder returns a Decoder that takes messages of less than limit bytes and begins with lastID as the last id seen.
func NewDecoder(r io.Reader, limit int, lastID string) *Decoder {
	return &Decoder{r: bufio.NewReaderSize(r, 16<<10), limit: limit, bol: true, id: lastID, LastID: lastID, Retry: -1}
}

// Next returns the next message that has data, which is the caller's to keep. The error is the reader's, or of kind tidings.ErrTooLarge.
func (d *Decoder) Next() (Message, error) {
	for {
		line, err := d.readLine()
		if err != nil {
			return Message{}, err
		}
		if len(line) > 0 {
			if err := d.field(line); err != nil {
				return Message{}, err
			}
			continue
		}
		d.LastID = d.id
		typ, data := d.typ, d.data
		d.typ, d.data = "", nil
		if len(data) == 0 {
			continue
		}
		if typ == "" {
			typ = "message"
		}
		return Message{ID: d.LastID, Type: typ, Data: data[:len(data)-1]}, nil
	}
}

// field takes one line that is not empty.
func (d *Decoder) field(line []byte) error {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "":
		if d.Comment != nil {
			d.Comment()
		}
	case "data":
		if len(d.data)+len(value) >= d.limit {
			return d.tooLarge()
		}
		d.data = append(append(d.data, value...), '\n')
	case "event":
		d.typ = string(value)
	case "id":
		// The standard refuses the zero byte; other control characters could not be sent back in a header either.
		if bytes.IndexFunc(value, unicode.IsControl) < 0 {
			d.id = string(value)
		}
	case "retry":
		for _, c := range value {
			if c < '0' || c > '9' {
				return nil
			}
		}
		if ms, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			d.Retry = maxRetry
			if ms < maxRetry.Milliseconds() {
				d.Retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
	return nil
}

func (d *Decoder) tooLarge() error {
	return tidings.Errorf(tidings.ErrTooLarge, "sse: a message of the stream has more than %d bytes", d.limit)
}

// readLine returns the next line without its end, which is a line feed, a carriage return or both. It does not wait for
// the byte behind a carriage return. A line without an end is none.
func (d *Decoder) readLine() ([]byte, error) {
	d.line = d.line[:0]
	for {
		if d.r.Buffered() == 0 {
			if _, err := d.r.Peek(1); err != nil {
				return nil, err
			}
		}
		buf, _ := d.r.Peek(d.r.Buffered())
		if d.skipLF {
			d.skipLF = false
			if buf[0] == '\n' {
				d.r.Discard(1)
				continue
			}
		}
		i := bytes.IndexAny(buf, "\r\n")
		n := i
		if i < 0 {
			n = len(buf)
		}
		if len(d.line)+n > d.limit+16 { // a field's name and its colon
			return nil, d.tooLarge()
		}
		d.line = append(d.line, buf[:n]...)
		if i < 0 {
			d.r.Discard(n)
			continue
		}
		d.skipLF = buf[i] == '\r'
		d.r.Discard(i + 1)
		if d.bol { // one byte order mark at the beginning is allowed
			d.bol = false
			return bytes.TrimPrefix(d.line, []byte("\ufeff")), nil
		}
		return d.line, nil
	}
}

// Watched is a reader whose waiting Timer bounds: it is started with Most for each Read and stopped behind it, so that
// time which the one who reads takes for itself does not count.
type Watched struct {
	Reader io.Reader
	Timer  *time.Timer
	Most   time.Duration
}

// Read implements io.Reader.
func (w *Watched) Read(p []byte) (int, error) {
	w.Timer.Reset(w.Most)
	n, err := w.Reader.Read(p)
	w.Timer.Stop()
	return n, err
}
