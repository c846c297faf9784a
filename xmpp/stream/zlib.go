package stream

import (
	"bufio"
	"errors"
	"io"
	"net"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"

	"tidings/xmpp/xmlstream"
)

// Namespaces of XEP-0138: of the feature, and of everything else.
const (
	NSCompressFeature = "http://jabber.org/features/compress"
	NSCompress        = "http://jabber.org/protocol/compress"
)

// Answers to a request for compression (XEP-0138 section 3).
const (
	Compressed        = "<compressed xmlns='" + NSCompress + "'/>"
	UnsupportedMethod = "<failure xmlns='" + NSCompress + "'><unsupported-method/></failure>"
	SetupFailed       = "<failure xmlns='" + NSCompress + "'><setup-failed/></failure>"
)

// AppendCompress appends the request for zlib.
func AppendCompress(dst []byte) []byte {
	return append(dst, "<compress xmlns='"+NSCompress+"'><method>zlib</method></compress>"...)
}

// ParseCompress reports whether an element is a request for compression, and whether it names zlib, the one method here.
func ParseCompress(el xmlstream.Element) (request, zlib bool) {
	if !el.Is(NSCompress, "compress") {
		return false, false
	}
	for m := range el.Children() {
		if m.Is(NSCompress, "method") && m.Text() == "zlib" {
			return true, true
		}
	}
	return true, false
}

// Bounds of what a compressed stream may grow to. XML of people and programs shrinks to a third, and the dullest to a
// twentieth; deflate can do a thousandth, so a peer that sends such data wants to make work.
const (
	inflateRatio  = 64       // bytes out for each byte in,
	inflateSlack  = 64 << 10 // and so many beyond that,
	inflateWindow = 64 << 10 // over so many bytes in
)

// Zlib is a connection whose stream is compressed both ways (XEP-0138). Each Write is flushed, so that the peer can read all
// of it. One goroutine may read while another writes.
type Zlib struct {
	net.Conn
	in  *bufio.Reader
	r   io.Reader // nil until the header has been read
	w   *zlib.Writer
	err error // of reading, which is final

	taken    int // compressed bytes in the window
	inflated int // what came of them
}

// NewZlib compresses nc from here on. input is what has been received beyond the last element that was not compressed.
func NewZlib(nc net.Conn, input []byte) *Zlib {
	z := &Zlib{Conn: nc}
	src := io.Reader(nc)
	if len(input) > 0 {
		src = &prefixed{head: input, r: nc}
	}
	z.in = bufio.NewReader(&metered{r: src, n: &z.taken})
	return z
}

// Read returns what the peer's data inflates to. Data that is not what the method says is an *Error: undefined-condition with
// the failure processing-failed. Data that grows beyond the bound (64 bytes for each byte, and 64 KiB) is policy-violation. Every error is
// final, that of a deadline too.
func (z *Zlib) Read(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	if z.r == nil {
		if z.err = z.readHeader(); z.err != nil {
			return 0, z.err
		}
	}
	n, err := z.r.Read(p)
	z.inflated += n
	if z.inflated > inflateRatio*z.taken+inflateSlack {
		z.err = NewError("policy-violation", "the compressed stream grows beyond the limit")
		return 0, z.err
	}
	if z.taken > inflateWindow {
		z.taken, z.inflated = z.in.Buffered(), 0
	}
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &corrupt):
		err = processingFailed()
	case errors.Is(err, io.ErrUnexpectedEOF): // the peer closed without an end of the compressed data, as most do
		err = io.EOF
	}
	z.err = err
	return n, err
}

// readHeader reads the header of RFC 1950 section 2.2; the deflate data behind it is read by a reader that gives out what the
// peer has flushed in any of zlib's ways. The check sum at the end of a stream that its peer ends is of no use here.
func (z *Zlib) readHeader() error {
	h, err := z.in.Peek(2)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return err
	}
	const deflate, preset = 8, 0x20
	if h[0]&0xf != deflate || h[0]>>4 > 7 || (uint(h[0])<<8|uint(h[1]))%31 != 0 || h[1]&preset != 0 {
		return processingFailed()
	}
	z.in.Discard(2)
	z.r = flate.NewReaderOpts(z.in, flate.WithPartialBlock())
	return nil
}

func processingFailed() *Error {
	e := NewError("undefined-condition", "the compressed data is damaged")
	e.Space, e.Name, e.Content = NSCompress, "failure", "<processing-failed/>"
	return e
}

// Write compresses p and writes it, flushed.
func (z *Zlib) Write(p []byte) (int, error) {
	if z.w == nil {
		w, err := zlib.NewWriterLevel(z.Conn, zlib.BestSpeed)
		if err != nil {
			return 0, err
		}
		z.w = w
	}
	n, err := z.w.Write(p)
	if err == nil {
		err = z.w.Flush()
	}
	return n, err
}

// metered counts what is read.
type metered struct {
	r io.Reader
	n *int
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	*m.n += n
	return n, err
}

// prefixed reads head and then r.
type prefixed struct {
	head []byte
	r    io.Reader
}

func (s *prefixed) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	return s.r.Read(p)
}
