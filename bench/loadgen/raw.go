//go:build linux

package main

// raw is the protocol of rawfan: the server says "ok" and then sends lines.
type raw struct{}

func (raw) subscribe(c *conversation, _ int) error {
	_, err := c.until("ok\n")
	return err
}
