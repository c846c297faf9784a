package jid

import (
	"strings"
	"sync"
)

// The profiles of RFC 8265 cost microseconds and garbage, and the same few addresses come again and again.
const (
	cacheEntries = 1024 // in each of two generations
	cacheInput   = 256  // bytes: a longer address is parsed each time. So the cache ends below 2 MiB.
)

// cache remembers what addresses outside ASCII parse to. It has two generations: a full one becomes the old one, and what
// is still in use moves from the old one to the new one.
type cache struct {
	mu       sync.Mutex
	new, old map[string]JID
}

var recent cache

func (c *cache) parse(s string) (JID, error) {
	if len(s) > cacheInput {
		return parse(s)
	}
	c.mu.Lock()
	j, ok := c.new[s]
	if !ok {
		if j, ok = c.old[s]; ok {
			c.put(strings.Clone(s), j)
		}
	}
	c.mu.Unlock()
	if ok {
		return j, nil
	}
	// What is kept must not hold the memory that s is a part of.
	s = strings.Clone(s)
	j, err := parse(s)
	if err != nil {
		return JID{}, err
	}
	c.mu.Lock()
	c.put(s, j)
	c.mu.Unlock()
	return j, nil
}

func (c *cache) put(s string, j JID) {
	if len(c.new) >= cacheEntries {
		c.new, c.old = nil, c.new
	}
	if c.new == nil {
		c.new = make(map[string]JID)
	}
	c.new[s] = j
}
