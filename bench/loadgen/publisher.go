//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A publisher sends events over one connection; each worker has its own.
type publisher interface {
	// publish sends the text of event seq to a topic. It returns when the server has acknowledged it, or, where the
	// protocol has no acknowledgement, when it is with the kernel.
	publish(topic, seq int, text []byte) error
	io.Closer
}

// publishers are the values of -pub.
var publishers = map[string]func(*options) (publisher, error){
	"http":      newHTTPPublisher,
	"udp":       newUDPPublisher,
	"raw":       newRawPublisher,
	"xmpp":      newSpeaker,
	"component": newComponent,
	"client":    newClient,
}

func newPublisher(o *options) (publisher, error) {
	build, ok := publishers[o.pub]
	if !ok {
		return nil, fmt.Errorf("unknown way to publish %q", o.pub)
	}
	return build(o)
}

// publishTimeout bounds one publish with its answer.
const publishTimeout = 30 * time.Second

// rawPublisher writes lines to a TCP connection.
type rawPublisher struct{ net.Conn }

func newRawPublisher(o *options) (publisher, error) {
	c, err := net.Dial("tcp", o.pubTo)
	return rawPublisher{c}, err
}

func (p rawPublisher) publish(_, _ int, text []byte) error {
	_, err := p.Write(append(text, '\n'))
	return err
}

// udpPublisher sends each event as a MediaWiki change, one datagram each. The text is cut so that each datagram has the
// size that -size asks for: rawfan's are all of one size too, and the kernel of a reader whose segments differ by a byte
// leaves more acknowledgements to the server's next write.
type udpPublisher struct {
	net.Conn
	rcid int64 // of event 0
	size int
	buf  []byte
}

func newUDPPublisher(o *options) (publisher, error) {
	frame := len(appendChange(nil, o.topics-1, o.rcid+int64(o.events), time.Now().Unix(), nil))
	if o.size < frame+markBytes {
		return nil, fmt.Errorf("-size %d is too small: a change has %d bytes beside its text", o.size, frame)
	}
	c, err := net.Dial("udp", o.pubTo)
	return &udpPublisher{Conn: c, rcid: o.rcid, size: o.size}, err
}

func (p *udpPublisher) publish(topic, seq int, text []byte) error {
	id, now := p.rcid+int64(seq), time.Now().Unix()
	p.buf = appendChange(p.buf[:0], topic, id, now, nil)
	p.buf = appendChange(p.buf[:0], topic, id, now, text[:p.size-len(p.buf)])
	_, err := p.Write(p.buf)
	return err
}

// httpPublisher posts each event over one kept-alive HTTP/1.1 connection.
type httpPublisher struct {
	net.Conn
	answers *bufio.Reader
	target  *url.URL
	head    string // header fields that do not change
	body    string // with {text} and {n}
	buf     []byte
	text    bytes.Buffer
}

func newHTTPPublisher(o *options) (publisher, error) {
	u, err := url.Parse(o.pubTo)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("-pubto %q is no http URL with a host", o.pubTo)
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	head := "Host: " + u.Host + "\r\nContent-Type: " + o.contentType + "\r\n"
	for _, h := range o.pubHeaders {
		head += h + "\r\n"
	}
	return &httpPublisher{Conn: c, answers: bufio.NewReaderSize(c, 4096), target: u, head: head, body: o.body}, nil
}

func (p *httpPublisher) publish(topic, _ int, text []byte) error {
	body := strings.Replace(expand(p.body, topic), "{text}", string(text), 1)
	path, err := url.PathUnescape(p.target.EscapedPath())
	if err != nil {
		return err
	}
	b := append(p.buf[:0], "POST "+expand(path, topic)...)
	if p.target.RawQuery != "" {
		b = append(b, "?"+expand(p.target.RawQuery, topic)...)
	}
	b = append(b, " HTTP/1.1\r\n"+p.head+"Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"+body...)
	p.buf = b
	if err := p.SetDeadline(time.Now().Add(publishTimeout)); err != nil {
		return err
	}
	if _, err := p.Write(b); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	resp, err := http.ReadResponse(p.answers, nil)
	if err != nil {
		return fmt.Errorf("publish: reading the answer: %w", err)
	}
	p.text.Reset()
	_, err = io.Copy(&p.text, io.LimitReader(resp.Body, 1<<16))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("publish: reading the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("publish: the server answered %s: %.300s", resp.Status, p.text.Bytes())
	}
	return nil
}
