package xmlstream

import "slices"

// Context is what a stream header says for all that follows in the stream: the default namespace and the prefixes. It does
// not change, and goroutines may share it. A nil *Context declares nothing.
type Context struct {
	def      string
	prefixes []binding
}

type binding struct {
	prefix, space string
	node          int32 // that declares it; outside for the Context
}

// outside is the number of the node that declares what the Context declares.
const outside = -1

// NewContext returns a Context with a default namespace and pairs of a prefix and its namespace.
func NewContext(def string, pairs ...string) *Context {
	c := &Context{def: def}
	for i := 0; i+1 < len(pairs); i += 2 {
		c.prefixes = append(c.prefixes, binding{pairs[i], pairs[i+1], outside})
	}
	return c
}

// Contexts of nearly all streams. ParseHeader returns them where they fit, so that they cost a session nothing.
var common = []*Context{
	NewContext("jabber:client", "stream", SpaceStream),
	NewContext("jabber:component:accept", "stream", SpaceStream),
	NewContext("jabber:server", "stream", SpaceStream, "db", "jabber:server:dialback"),
	NewContext("jabber:server", "stream", SpaceStream),
}

// Default returns the default namespace; "" for none.
func (c *Context) Default() string {
	if c == nil {
		return ""
	}
	return c.def
}

// Space returns the namespace of a prefix; "" if it is not declared.
func (c *Context) Space(prefix string) string {
	if prefix == "xml" {
		return SpaceXML
	}
	if c != nil {
		for _, b := range c.prefixes {
			if b.prefix == prefix {
				return b.space
			}
		}
	}
	return ""
}

func (c *Context) equal(o *Context) bool {
	return c.def == o.def && slices.Equal(c.prefixes, o.prefixes)
}
