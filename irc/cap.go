package irc

import (
	"slices"
	"strconv"
	"strings"
)

// Capability is something a client can ask for with CAP REQ.
type Capability struct {
	Name  string
	Value string // told to clients that speak version 302; empty for none
}

// Offer is what a server offers: at most 32 capabilities, and few enough to list in one line.
type Offer []Capability

// Caps is the state of one connection's negotiation. The zero Caps is that of a client that has not said CAP.
type Caps struct {
	// Negotiating is set from CAP LS or CAP REQ before registration until CAP END: registration waits for it.
	Negotiating bool
	v302        bool
	enabled     uint32
}

// Has reports whether the capability with the index in the offer is enabled.
func (c *Caps) Has(i int) bool { return c.enabled&(1<<i) != 0 }

// Handle takes the parameters of a CAP command and returns those of the answer that follow the client's nick, nil for no
// answer. If ok is false the subcommand is not known, which ERR_INVALIDCAPCMD tells.
func (o Offer) Handle(c *Caps, registered bool, params []string) (answer []string, ok bool) {
	if len(params) == 0 {
		return nil, false
	}
	switch strings.ToUpper(params[0]) {
	case "LS":
		c.Negotiating = c.Negotiating || !registered
		if len(params) > 1 {
			if v, err := strconv.Atoi(params[1]); err == nil && v >= 302 {
				c.v302 = true
			}
		}
		return []string{"LS", o.list(func(int) bool { return true }, c.v302)}, true
	case "LIST":
		return []string{"LIST", o.list(c.Has, false)}, true
	case "REQ":
		c.Negotiating = c.Negotiating || !registered
		if len(params) < 2 {
			return []string{"ACK", ""}, true
		}
		enabled, all := c.enabled, true
		for word := range strings.FieldsSeq(params[1]) {
			name, off := strings.CutPrefix(word, "-")
			i := slices.IndexFunc(o, func(k Capability) bool { return k.Name == name })
			switch {
			case i < 0:
				all = false
			case off:
				enabled &^= 1 << i
			default:
				enabled |= 1 << i
			}
		}
		if !all { // all or nothing
			return []string{"NAK", params[1]}, true
		}
		c.enabled = enabled
		return []string{"ACK", params[1]}, true
	case "END":
		c.Negotiating = false
		return nil, true
	}
	return nil, false
}

func (o Offer) list(want func(int) bool, values bool) string {
	var words []string
	for i, k := range o {
		if !want(i) {
			continue
		}
		if values && k.Value != "" {
			words = append(words, k.Name+"="+k.Value)
		} else {
			words = append(words, k.Name)
		}
	}
	return strings.Join(words, " ")
}
