//go:build linux

package main

import (
	"fmt"
	"strings"
)

// sse subscribes with a GET and the Accept header of an EventSource (HTML section 9.2).
type sse struct {
	host, path, headers, await string
}

func newSSE(o *options) (protocol, error) {
	if !strings.HasPrefix(o.path, "/") {
		return nil, fmt.Errorf("-path %q has to begin with a slash", o.path)
	}
	return &sse{host: o.addr, path: o.path, headers: o.headerLines(), await: o.await}, nil
}

func (p *sse) subscribe(c *conversation, topic int) error {
	err := c.send("GET " + expand(p.path, topic) + " HTTP/1.1\r\nHost: " + p.host + "\r\nAccept: text/event-stream\r\n" +
		p.headers + "\r\n")
	if err != nil {
		return err
	}
	head, err := c.head(200)
	if err != nil {
		return err
	}
	if !strings.Contains(strings.ToLower(head), "content-type: text/event-stream") {
		return fmt.Errorf("the answer is no event stream: %.300q", head)
	}
	if p.await != "" {
		_, err = c.until(p.await)
	}
	return err
}
