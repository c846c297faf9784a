package client

import "time"

// WithSilence sets after which silence a room is asked whether we are still in it.
func WithSilence(d time.Duration) Option { return func(c *Client) { c.silence = d } }

// Overlap is overlap.
var Overlap = overlap
