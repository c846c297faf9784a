//go:build linux

package main

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// beatEvery is the time between two beats of a subscriber. Servers give up clients after a minute or more.
const beatEvery = 20 * time.Second

// A crowd is all connections of a run. It keeps those alive whose protocol wants to hear from its clients, so that the
// sink only has to read.
type crowd struct {
	beat string
	stop chan struct{}
	done chan struct{}

	mu  sync.Mutex
	fds []int           // open
	on  []*conversation // of those, subscribed
}

// gather begins an empty crowd, whose subscribers say every so often that they are there; disperse ends it.
func gather(o *options, every time.Duration) (*crowd, error) {
	p, err := newProtocol(o)
	if err != nil {
		return nil, err
	}
	c := &crowd{stop: make(chan struct{}), done: make(chan struct{})}
	if b, ok := p.(beater); ok {
		c.beat = b.beat()
	}
	go c.keepAlive(every)
	return c, nil
}

func (c *crowd) opened(fd int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fds = append(c.fds, fd)
}

func (c *crowd) subscribed(s *conversation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = append(c.on, s)
}

func (c *crowd) keepAlive(every time.Duration) {
	defer close(c.done)
	if c.beat == "" {
		return
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
		}
		c.mu.Lock()
		on := c.on[:len(c.on):len(c.on)]
		c.mu.Unlock()
		for _, s := range on {
			// One that cannot be written to has been closed, as the sink sees, or never reads.
			if s.tls != nil {
				_, _ = s.tls.Write([]byte(c.beat))
			} else {
				_ = unix.Sendto(s.fd, []byte(c.beat), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
			}
		}
	}
}

// disperse closes all connections.
func (c *crowd) disperse() {
	close(c.stop)
	<-c.done
	for _, fd := range c.fds {
		_ = unix.Close(fd) // nothing that counts is written
	}
}
