package hub

import (
	"slices"
	"strings"

	"tidings"
)

// index finds the feeds whose patterns match a topic. It is a tree of segments: at each level the literal segment is a
// map look-up, and each distinct glob is matched once, however many feeds ask for it.
type index struct{ root node }

type node struct {
	feeds   []*Feed
	literal map[string]*node
	globs   []glob // sorted by text
	any     *node  // behind a **
}

type glob struct {
	text    string
	pattern tidings.Pattern // of this one segment
	node    *node
}

func (x *index) add(p tidings.Pattern, f *Feed) {
	n := &x.root
	for _, seg := range p.Segments() {
		n = n.child(seg, true)
	}
	n.feeds = append(n.feeds, f)
}

func (x *index) remove(p tidings.Pattern, f *Feed) { x.root.remove(p.Segments(), f) }

// remove reports whether the node is empty after it.
func (n *node) remove(segs []string, f *Feed) bool {
	if len(segs) == 0 {
		if i := slices.Index(n.feeds, f); i >= 0 {
			n.feeds = slices.Delete(n.feeds, i, i+1)
		}
	} else if c := n.child(segs[0], false); c != nil && c.remove(segs[1:], f) {
		switch {
		case segs[0] == "**":
			n.any = nil
		case isGlob(segs[0]):
			n.globs = slices.DeleteFunc(n.globs, func(g glob) bool { return g.node == c })
		default:
			delete(n.literal, segs[0])
		}
	}
	return len(n.feeds) == 0 && len(n.literal) == 0 && len(n.globs) == 0 && n.any == nil
}

func isGlob(seg string) bool { return strings.ContainsAny(seg, "*?[") }

// child returns the node behind the segment, which it makes if told so, or nil.
func (n *node) child(seg string, make_ bool) *node {
	switch {
	case seg == "**":
		if n.any == nil && make_ {
			n.any = &node{}
		}
		return n.any
	case isGlob(seg):
		i, ok := slices.BinarySearchFunc(n.globs, seg, func(g glob, s string) int { return strings.Compare(g.text, s) })
		if ok {
			return n.globs[i].node
		}
		if !make_ {
			return nil
		}
		g := glob{text: seg, pattern: tidings.MustPattern("/" + seg), node: &node{}}
		n.globs = slices.Insert(n.globs, i, g)
		return g.node
	}
	c := n.literal[seg]
	if c == nil && make_ {
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		c = &node{}
		n.literal[seg] = c
	}
	return c
}

// match calls found for every feed with a matching pattern, more than once if several match.
func (x *index) match(topic string, found func(*Feed)) { x.root.match(topic, found) }

// match gets what is left of the topic, empty or beginning with a slash.
func (n *node) match(rest string, found func(*Feed)) {
	if n.any != nil {
		for r := rest; ; {
			n.any.match(r, found)
			if r == "" {
				break
			}
			r = tail(r)
		}
	}
	if rest == "" {
		for _, f := range n.feeds {
			found(f)
		}
		return
	}
	next := tail(rest)
	seg := rest[:len(rest)-len(next)] // with its slash
	if c := n.literal[seg[1:]]; c != nil {
		c.match(next, found)
	}
	for _, g := range n.globs {
		if g.pattern.Match(tidings.Topic(seg)) {
			g.node.match(next, found)
		}
	}
}

// tail returns the path without its first segment.
func tail(path string) string {
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[1+i:]
	}
	return ""
}
