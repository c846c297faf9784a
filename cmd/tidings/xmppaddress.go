package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"net"
	"net/url"
	"strings"

	"tidings"
	"tidings/client"
	"tidings/xmpp/stanza"
)

// xmppFlags are what can be said beside an address of XMPP.
type xmppFlags struct {
	node         string
	passwordFile string
}

func (f *xmppFlags) flags(fs *flag.FlagSet) {
	fs.StringVar(&f.node, "node", "", "")
	fs.StringVar(&f.passwordFile, "password-file", "", "")
}

// isXMPP reports whether an operand is an address of XMPP.
func isXMPP(operand string) bool {
	scheme, _, _ := strings.Cut(operand, ":")
	return scheme == "xmpp" || scheme == "xmpps"
}

// xmppAddress is the address of a room or of a node.
type xmppAddress struct {
	text    string // for the client
	url     *url.URL
	service string // or the room; "" where the server is to say what it has
	node    string // "" for a room, and for a service of which no node is named
}

// parse completes an address with what the flags say.
func (f *xmppFlags) parse(ctx context.Context, command, operand string) (*xmppAddress, error) {
	u, err := url.Parse(operand)
	if err != nil {
		return nil, usageError{command, errors.New("the address cannot be read")} // it may have a password in it
	}
	a := &xmppAddress{text: operand, url: u}
	for part := range strings.SplitSeq(u.RawQuery, ";") {
		if v, ok := strings.CutPrefix(part, "node="); ok {
			if a.node, err = url.PathUnescape(v); err != nil {
				return nil, usageError{command, err}
			}
		}
	}
	if f.node != "" {
		if a.node != "" {
			return nil, usagef(command, "%s names a node already: leave --node out", describe(u))
		}
		a.node = f.node
		u.RawQuery += ";node=" + escapeNode(f.node)
		a.text = u.String()
	}
	if f.passwordFile != "" {
		if u.User.Username() == "" {
			return nil, withHint(usagef(command, "--password-file is for an account, and %s has none", describe(u)), "tidings "+command+" "+u.Scheme+"://USER@"+cmp.Or(u.Host, "HOST")+"/…")
		}
		password, err := readPassword(ctx, stdio{}, f.passwordFile)
		if err != nil {
			return nil, err
		}
		u.User = url.UserPassword(u.User.Username(), password)
		a.text = u.String()
	}
	a.service = strings.TrimPrefix(cmp.Or(u.Opaque, u.Path), "/")
	return a, nil
}

// isNode reports whether it is the address of a node or of a service.
func (a *xmppAddress) isNode() bool {
	return a.node != "" || a.service != "" && !strings.Contains(a.service, "@")
}

// escapeNode returns the name of a node as it stands in an address.
func escapeNode(node string) string {
	return strings.NewReplacer("%2F", "/", "%2A", "*", "%3A", ":", "+", "%20").Replace(url.QueryEscape(node))
}

// uri names the room or the node, without whose login it is.
func (a *xmppAddress) uri() string {
	if a.isNode() {
		return "xmpp:" + a.service + "?;node=" + escapeNode(a.node)
	}
	return "xmpp:" + a.service
}

// domain returns the domain of the server that the address names.
func (a *xmppAddress) domain() string {
	if d := a.url.Hostname(); d != "" && net.ParseIP(d) == nil {
		return d
	}
	if _, d, ok := strings.Cut(a.service, "."); ok {
		return d
	}
	return "localhost"
}

// example returns an address like this one, with another room or service.
func (a *xmppAddress) example(rest string) string {
	return a.url.Scheme + "://" + cmp.Or(a.url.Host, a.domain()) + rest
}

// explain adds a hint to an error that came from the server or from not reaching it.
func (a *xmppAddress) explain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[hintError](err); ok { // it knows better
		return err
	}
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		return unreachable(a.url, failed)
	}
	e, refused := errors.AsType[*stanza.Error](err)
	switch kind := tidings.KindOf(err); {
	case !refused && kind == tidings.ErrUnauthenticated:
		return withHint(err, "check the name and the password, xmpp://USER:PASSWORD@HOST/…, or name the file of the password with --password-file FILE")
	case !a.isNode() || !refused:
		return err
	case e.Name == "payload-too-big":
		return withHint(err, "publish less, or have an owner of the node raise pubsub#max_payload_size")
	case e.Name == "precondition-not-met":
		return withHint(err, "leave --option out, or have an owner of the node configure it like that")
	case e.Name == "node-full":
		return withHint(err, "publish an ID again, or have an owner of the node raise pubsub#max_items")
	case kind == tidings.ErrForbidden && a.url.User == nil, kind == tidings.ErrUnauthenticated:
		return withHint(err, "log in with an account that may, in the address: "+strings.Replace(a.example("/"+a.service), "://", "://USER:PASSWORD@", 1))
	case kind == tidings.ErrForbidden:
		return withHint(err, "have an owner of the node give "+a.url.User.Username()+" an affiliation: member to read, publisher to publish")
	case e.Condition == "item-not-found":
		return withHint(err, "a node is there once something was published on it, or once it was created; tidings topics lists those of a Tidings server")
	case e.Condition == "remote-server-not-found", e.Condition == "service-unavailable":
		return withHint(err, "check the address of the service, or leave it out: "+a.example("?;node="+escapeNode(a.node)))
	}
	return err
}

// filterHint is how to filter what a node has.
func (a *xmppAddress) filterHint(command string, filters []client.Filter) string {
	p, err := tidings.ParsePattern(a.node)
	if err != nil {
		return "leave --filter out"
	}
	local, err := client.RoomAddress(p)
	if err != nil {
		return "leave --filter out"
	}
	f := filters[0].Value
	if filters[0].Field != "" {
		f = filters[0].Field + "=" + f
	}
	return "the room of a Tidings server has filters: tidings " + command + " --filter '" + f + "' '" + a.example("/"+local+"@conference."+a.domain()) + "'"
}
