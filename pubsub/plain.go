package pubsub

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// parsePlain fills e from JSON as encode writes it nearly always: without escapes, white space and fields of a later version. It
// reports whether it could; if not, e is filled in part, and encoding/json says what the value is. That takes five times as
// long, which counts where a hundred thousand nodes are read before a server is ready.
func (e *nodeEntry) parsePlain(value []byte) bool {
	if !utf8.Valid(value) || bytes.IndexByte(value, '\\') >= 0 {
		return false
	}
	p := plain{value}
	return p.object(func(name []byte) bool {
		switch string(name) {
		case "node":
			return p.text(&e.Node)
		case "life":
			return p.number(&e.Life)
		case "created":
			t, ok := p.quoted()
			return ok && e.Created.UnmarshalText(t) == nil
		case "creator":
			return p.text(&e.Creator)
		case "config":
			e.Config = map[string][]string{}
			return p.object(func(name []byte) bool {
				values := []string{}
				ok := p.texts(&values)
				e.Config[string(name)] = values
				return ok
			})
		case "affiliations":
			e.Affiliations = map[Affiliation][]string{}
			return p.object(func(name []byte) bool {
				var jids []string
				ok := p.texts(&jids)
				e.Affiliations[Affiliation(name)] = jids
				return ok
			})
		case "floor":
			return p.number(&e.Floor)
		case "deleted":
			e.Deleted = true
			return p.skip("true")
		case "redirect":
			return p.text(&e.Redirect)
		}
		return false
	}) && len(p.rest) == 0
}

// plain reads JSON without escapes and white space. Its methods report whether what is there is what they read.
type plain struct{ rest []byte }

// skip reads the text.
func (p *plain) skip(text string) (ok bool) {
	if ok = len(p.rest) >= len(text) && string(p.rest[:len(text)]) == text; ok {
		p.rest = p.rest[len(text):]
	}
	return ok
}

// object reads an object; member reads the value of one of its members. A name that comes again ends it.
func (p *plain) object(member func(name []byte) bool) bool {
	if !p.skip("{") {
		return false
	}
	var seen [32][]byte
	for n := 0; ; n++ {
		name, ok := p.quoted()
		if !ok || n == len(seen) || !p.skip(":") {
			return false
		}
		for _, s := range seen[:n] {
			if bytes.Equal(s, name) {
				return false
			}
		}
		seen[n] = name
		if !member(name) {
			return false
		}
		if !p.skip(",") {
			return p.skip("}")
		}
	}
}

// texts reads an array of strings, with one at least.
func (p *plain) texts(to *[]string) bool {
	if !p.skip("[") {
		return false
	}
	for {
		var s string
		if !p.text(&s) {
			return false
		}
		*to = append(*to, s)
		if !p.skip(",") {
			return p.skip("]")
		}
	}
}

func (p *plain) text(to *string) bool {
	b, ok := p.quoted()
	*to = string(b)
	return ok
}

func (p *plain) quoted() ([]byte, bool) {
	if !p.skip(`"`) {
		return nil, false
	}
	i := bytes.IndexByte(p.rest, '"')
	if i < 0 || bytes.ContainsFunc(p.rest[:i], func(r rune) bool { return r < ' ' }) {
		return nil, false
	}
	b := p.rest[:i]
	p.rest = p.rest[i+1:]
	return b, true
}

func (p *plain) number(to *uint64) bool {
	i := 0
	for i < len(p.rest) && '0' <= p.rest[i] && p.rest[i] <= '9' {
		i++
	}
	if i == 0 || p.rest[0] == '0' {
		return false // encode leaves zero out
	}
	n, err := strconv.ParseUint(string(p.rest[:i]), 10, 64)
	*to, p.rest = n, p.rest[i:]
	return err == nil
}
