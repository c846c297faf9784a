// Package socketio holds what the servers of the two protocols of Socket.IO share, which have nothing in common on the wire: the
// ids and the timing of sessions, what is counted of them, and HTTP. Each protocol has its own package below it.
package socketio

import (
	"crypto/rand"
	"encoding/base64"
	"strings"
	"sync"
	"sync/atomic"
)

// Path is the path below which the resources of both protocols are.
const Path = "/socket.io/"

// ID names a session or a socket: 120 random bits, whose text has 20 characters as those of the reference servers.
type ID [15]byte

// NewID returns a new ID.
func NewID() (id ID) {
	rand.Read(id[:])
	return id
}

// ParseID returns the ID whose text s is.
func ParseID(s string) (id ID, ok bool) {
	if len(s) != base64.URLEncoding.EncodedLen(len(id)) {
		return id, false
	}
	n, err := base64.URLEncoding.Decode(id[:], []byte(s))
	return id, err == nil && n == len(id) // the decoder passes over line ends
}

// String returns the text of the ID.
func (id ID) String() string { return base64.URLEncoding.EncodeToString(id[:]) }

// Counts are counters by reason, each a constant. The zero value has none.
type Counts struct{ m sync.Map } // reason -> *atomic.Uint64

// Add counts the reason.
func (c *Counts) Add(reason string) {
	v, ok := c.m.Load(reason)
	if !ok {
		v, _ = c.m.LoadOrStore(reason, new(atomic.Uint64))
	}
	v.(*atomic.Uint64).Add(1)
}

// Snapshot returns the counters as they are.
func (c *Counts) Snapshot() map[string]uint64 {
	counts := map[string]uint64{}
	c.m.Range(func(k, v any) bool {
		counts[k.(string)] = v.(*atomic.Uint64).Load()
		return true
	})
	return counts
}

// Cut returns what a log line shows of a client's text.
func Cut[T string | []byte](text T) string {
	return strings.ToValidUTF8(string(text[:min(len(text), 64)]), "?")
}
