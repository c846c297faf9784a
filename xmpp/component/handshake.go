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

	"tidings/xmpp/jid"
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

// connect dials, and shakes hands, for the component and then for its senders.
func (l *Link) connect(ctx context.Context) (*wire, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.opt.HandshakeTimeout, fmt.Errorf("no handshake within %v: %w", l.opt.HandshakeTimeout, context.DeadlineExceeded))
	defer cancel()
	w := newWire(l)
	err := w.dial(ctx, l.domain)
	for _, domain := range l.senders {
		if err != nil {
			break
		}
		if err = w.dial(ctx, domain); err != nil {
			err = senderError(domain, err)
		}
	}
	if err != nil {
		w.hangUp()
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, err
	}
	return w, nil
}

// dial adds a connection to a domain.
func (w *wire) dial(ctx context.Context, domain jid.JID) error {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", w.l.opt.Addr)
	if err != nil {
		return err
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		tc.SetWriteBuffer(socketBuffer) // so that what the server has not read is known
	}
	if err = w.shake(ctx, nc, domain); err != nil {
		nc.Close()
	}
	return err
}

// socketBuffer is what the kernel keeps for the server, in bytes.
const socketBuffer = 512 << 10

// shake begins the stream on a connection.
func (w *wire) shake(ctx context.Context, nc net.Conn, domain jid.JID) error {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	opt := &w.l.opt
	if opt.TLS != nil {
		conf := opt.TLS.Clone()
		if conf.ServerName == "" {
			conf.ServerName, _, _ = net.SplitHostPort(opt.Addr)
		}
		secure := tls.Client(nc, conf)
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		nc = secure
	}
	n := newLine(w, nc, domain)
	head := stream.Header{Space: stanza.NSComponent, To: domain}
	if _, err := nc.Write(head.Append(nil)); err != nil {
		return err
	}
	id, err := n.header()
	if err != nil {
		bye(nc, err)
		return err
	}
	if id != "" {
		if _, err := nc.Write([]byte("<handshake>" + Digest(id, opt.Secret) + "</handshake>")); err != nil {
			return err
		}
	}
	switch el, err := n.element(); {
	case err != nil:
		bye(nc, err)
		return err
	case id == "":
		return errors.New("the server's stream has no id")
	case el.Name() != "handshake":
		return fmt.Errorf("the server answers the handshake with <%s/>", el.Name())
	}
	if !stop() {
		return ctx.Err()
	}
	return nil
}

// bye tells the server of an error of its own making.
func bye(nc net.Conn, err error) {
	var x *xmlstream.Error
	if errors.As(err, &x) {
		nc.Write(stream.AppendClose(stream.AsError(err).Append(nil, stream.TCP), stream.TCP))
	}
}

// token reads the next token of the handshake.
func (n *line) token() (xmlstream.Kind, []byte, error) {
	for {
		kind, raw, err := n.scan.Next()
		if err != nil || kind != xmlstream.None {
			return kind, raw, err
		}
		buf := make([]byte, 4096) // the Scanner may keep it
		k, err := n.Conn.Read(buf)
		if k == 0 && err != nil {
			return 0, nil, err
		}
		n.scan.Feed(buf[:k])
	}
}

// header reads the server's header and returns the stream's id.
func (n *line) header() (id string, err error) {
	kind, raw, err := n.token()
	if err != nil {
		return "", err
	}
	if kind != xmlstream.Open {
		return "", ErrClosed
	}
	el, ns, err := n.doc.ParseHeader(raw)
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
	if _, n.ns, err = n.doc.ParseHeader(bytes.ReplaceAll(raw, componentNS, clientNS)); err != nil {
		return "", err
	}
	return h.ID, nil
}

// element reads the element behind the header. A stream error is an *Error.
func (n *line) element() (xmlstream.Element, error) {
	kind, raw, err := n.token()
	if err != nil {
		return xmlstream.Element{}, err
	}
	if kind != xmlstream.Stanza {
		return xmlstream.Element{}, ErrClosed
	}
	el, err := n.doc.Parse(raw, n.ns)
	if err != nil {
		return el, err
	}
	if stream.IsError(el) {
		return el, &Error{stream.ParseError(el)}
	}
	return el, nil
}
