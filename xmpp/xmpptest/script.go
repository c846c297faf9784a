// Package xmpptest runs conversations between clients and a server that are written down as text: who sends which stanza, and
// who receives what.
//
//	# alice logs in and asks for her roster.
//	alice connects as alice/desk
//	alice sends:
//	  <iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>
//	alice receives:
//	  <iq type='result' id='1' to='alice@localhost/desk'><query xmlns='jabber:iq:roster' ver='{{ver}}'/></iq>
//	alice receives nothing
//
// An actor is a connection with a name. These are the lines that are not indented; blank lines and those that begin with # are
// skipped:
//
//	X connects as USER/RESOURCE   log in with the password of the user, which is the user's name; without "as" anonymously
//	X sends:                      the indented lines that follow, as they are, once placeholders are filled in
//	X receives:                   one stanza for each element in the indented lines, in this order
//	X receives in any order:      the same, in whatever order
//	X receives nothing            nothing but the answer to a ping is there
//	X disconnects                 the client ends its stream and waits for the server's end
//	X breaks                      the connection is lost without a word
//	! name argument               a directive of the test
//
// A stanza matches if its name, namespace, attributes and children are those written down; the order of attributes and
// whitespace around elements do not count. {{name}} in an attribute or a text stands for a variable: its value if it has one;
// otherwise it takes what is there. {{*}} takes anything and keeps nothing. A child <any xmlns='test'/> stands for any number
// of children, so that what a script is not about can be left out. {{X}} of an actor is its full JID.
package xmpptest

import (
	"fmt"
	"strings"
)

// step is one entry of a script.
type step struct {
	line  int
	actor string // empty for a directive
	verb  string // connects, sends:, receives:, …; the directive's name
	rest  string
	body  string
}

// verbs are what an actor does, the longer ones first where one begins with another.
var verbs = []string{"connects", "sends:", "receives in any order:", "receives nothing", "receives:", "disconnects", "breaks"}

// parse reads a script.
func parse(text string) (steps []step, err error) {
	for n, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || strings.HasPrefix(line, "#"):
		case line[0] == ' ' || line[0] == '\t':
			if len(steps) == 0 || !strings.HasSuffix(steps[len(steps)-1].verb, ":") {
				return nil, fmt.Errorf("%d: nothing takes the indented line", n+1)
			}
			steps[len(steps)-1].body += trimmed + "\n"
		case strings.HasPrefix(line, "! "):
			name, rest, _ := strings.Cut(line[2:], " ")
			steps = append(steps, step{line: n + 1, verb: name, rest: rest})
		default:
			actor, what, _ := strings.Cut(trimmed, " ")
			s := step{line: n + 1, actor: actor}
			for _, v := range verbs {
				if what == v || strings.HasPrefix(what, v+" ") {
					s.verb, s.rest = v, strings.TrimSpace(what[len(v):])
					break
				}
			}
			if s.verb == "" {
				return nil, fmt.Errorf("%d: not something that an actor does: %q", n+1, what)
			}
			steps = append(steps, s)
		}
	}
	return steps, nil
}
