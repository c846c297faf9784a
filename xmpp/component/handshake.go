package component

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"

	"tidings/xmpp/stanza"
	"tidings/xmpp/stream"
	"tidings/xmpp/xmlstream"
)

// Digest returns what authenticates a component (XEP-0114 section 3): the SHA-1 of the stream's id, without its escapes, and the
// secret, in small hexadecimal digits.
func Digest(id, secret string) string {
	h := sha1.Sum([]byte(id + secret))
	return hex.EncodeToString(h[:])
}

// connect dials, and shakes hands.
func (l *Link) connect(ctx context.Context) (*wire, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.opt.HandshakeTimeout, fmt.Errorf("no handshake within %v: %w", l.opt.HandshakeTimeout, context.DeadlineExceeded))
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", l.opt.Addr)
	if err != nil {
		return nil, err
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		tc.SetWriteBuffer(socketBuffer) // so that what the server has not read is known
	}
	w, err := l.shake(ctx, nc)
	if err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, err
	}
	return w, nil
}

// socketBuffer is what the kernel keeps for the server, in bytes.
const socketBuffer = 512 << 10

// shake begins the stream on a connection.
func (l *Link) shake(ctx context.Context, nc net.Conn) (*wire, error) {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if l.opt.TLS != nil {
		conf := l.opt.TLS.Clone()
		if conf.ServerName == "" {
			conf.ServerName, _, _ = net.SplitHostPort(l.opt.Addr)
		}
		secure := tls.Client(nc, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		nc = secure
	}
	w := newWire(l, nc)
	w.scan.Limits = l.opt.Limits
	head := stream.Header{Space: stanza.NSComponent, To: l.domain}
	if _, err := nc.Write(head.Append(nil)); err != nil {
		return nil, err
	}
	id, err := w.header()
	if err != nil {
		w.bye(nc, err)
		return nil, err
	}
	if id != "" {
		if _, err := nc.Write([]byte("<handshake>" + Digest(id, l.opt.Secret) + "</handshake>")); err != nil {
			return nil, err
		}
	}
	switch el, err := w.element(); {
	case err != nil:
		w.bye(nc, err)
		return nil, err
	case id == "":
		return nil, errors.New("the server's stream has no id")
	case el.Name() != "handshake":
		return nil, fmt.Errorf("the server answers the handshake with <%s/>", el.Name())
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return w, nil
}

// bye tells the server of an error of its own making.
func (w *wire) bye(nc net.Conn, err error) {
	var x *xmlstream.Error
	if errors.As(err, &x) {
		nc.Write(stream.AppendClose(stream.AsError(err).Append(nil, stream.TCP), stream.TCP))
	}
}

// token reads the next token of the handshake.
func (w *wire) token() (xmlstream.Kind, []byte, error) {
	for {
		kind, raw, err := w.scan.Next()
		if err != nil || kind != xmlstream.None {
			return kind, raw, err
		}
		buf := make([]byte, 4096) // the Scanner may keep it
		n, err := w.Conn.Read(buf)
		if n == 0 && err != nil {
			return 0, nil, err
		}
		w.scan.Feed(buf[:n])
	}
}

// header reads the server's header and returns the stream's id.
func (w *wire) header() (id string, err error) {
	kind, raw, err := w.token()
	if err != nil {
		return "", err
	}
	if kind != xmlstream.Open {
		return "", ErrClosed
	}
	el, ns, err := w.doc.ParseHeader(raw)
	if err != nil {
		return "", err
	}
	h, err := stream.ParseHeader(el, ns)
	var e *stream.Error
	if errors.As(err, &e) && (e.Condition == "invalid-namespace" || e.Condition == "bad-format") {
		return "", &Error{e}
	}
	if h.Space != stanza.NSComponent {
		return "", &Error{stream.NewError("invalid-namespace", "the server speaks "+h.Space)}
	}
	if _, w.ns, err = w.doc.ParseHeader(bytes.ReplaceAll(raw, componentNS, clientNS)); err != nil {
		return "", err
	}
	return h.ID, nil
}

// element reads the element behind the header. A stream error is an *Error.
func (w *wire) element() (xmlstream.Element, error) {
	kind, raw, err := w.token()
	if err != nil {
		return xmlstream.Element{}, err
	}
	if kind != xmlstream.Stanza {
		return xmlstream.Element{}, ErrClosed
	}
	el, err := w.doc.Parse(raw, w.ns)
	if err != nil {
		return el, err
	}
	if stream.IsError(el) {
		return el, &Error{stream.ParseError(el)}
	}
	return el, nil
}
