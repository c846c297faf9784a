// Package access decides who may do what: a table of kinds of actor by actions, and tokens with scopes for those whom
// the table sends on to their scopes. [Policy.May] is the one question every other part asks.
//
//	            read      publish   admin
//	anonymous   public    login     login
//	user        public    node      deny
//	token       scope     scope     scope
//	source      allow     allow     deny
//	system      allow     allow     allow
//
// "public" allows what is on no private topic; "login" says that a token is needed; "scope" asks the token's scopes,
// which add to what is public; "node" asks the rules of the topic's node.
//
// A topic may be a PubSub node with rules of its own ([Nodes]), and they hold in every protocol: a node that not everybody
// may read is private, but for the accounts that its affiliations and subscriptions let in, and an account that is
// banned from a public one may not read it. A topic that the configuration makes private stays so whatever its node says,
// except for those accounts.
//
// A scope is written ACTION:PATTERN, such as publish:/news/** or read:/private/*. Actions are read, publish and admin;
// admin covers the other two on its topics, and admin:/** covers the server itself: its tokens and accounts. Reading
// covers no publishing, nor the other way about.
//
// A token that has been revoked or has expired may nothing, not even what is public: whoever shows one is told.
package access

import (
	"slices"
	"strings"
	"time"

	"tidings"
)

// rule is how the table answers.
type rule uint8

const (
	deny   rule = iota // never, however the actor authenticates
	login              // not as this actor, but perhaps with a token
	public             // on topics that are not private
	node               // as the rules of the topic's node say; never where it has none
	scope              // as the token's scopes say; reading what is public besides
	allow
)

// table is the policy: the actor's kind by the action. What it has no entry for is denied.
var table = map[tidings.ActorKind]map[tidings.Action]rule{
	tidings.Anonymous: {tidings.ReadAction: public, tidings.PublishAction: login, tidings.AdminAction: login},
	tidings.User:      {tidings.ReadAction: public, tidings.PublishAction: node, tidings.AdminAction: deny},
	tidings.Token:     {tidings.ReadAction: scope, tidings.PublishAction: scope, tidings.AdminAction: scope},
	tidings.Source:    {tidings.ReadAction: allow, tidings.PublishAction: allow, tidings.AdminAction: deny},
	tidings.System:    {tidings.ReadAction: allow, tidings.PublishAction: allow, tidings.AdminAction: allow},
}

// May reports whether the actor may do the action to the topic: nil, or an error that says what would be needed. The
// empty topic stands for the server itself and goes with AdminAction.
//
// What a token may is looked up now, by its id in Actor.Name: the scopes in the Actor are not looked at. Errors:
// ErrUnauthenticated if a token could help, or if the actor's token has been revoked or has expired; ErrForbidden
// otherwise.
func (p *Policy) May(a tidings.Actor, action tidings.Action, t tidings.Topic) error {
	switch table[a.Kind][action] {
	case allow:
		return nil
	case public:
		return p.mayPublic(a, action, t)
	case node:
		if r, ok := p.rights(a, t); ok {
			if r&MayPublish != 0 {
				return nil
			}
			return tidings.Errorf(tidings.ErrForbidden, "%s is for its publishers: ask an owner of the node, or use a token with the scope %s", doing(action, t), scopeFor(action, t))
		}
	case login:
		return tidings.Errorf(tidings.ErrUnauthenticated, "%s needs a token with the scope %s", doing(action, t), scopeFor(action, t))
	case scope:
		return p.mayToken(a, action, t)
	}
	return tidings.Errorf(tidings.ErrForbidden, "%s is not for an actor of the kind %s: use a token with the scope %s", doing(action, t), a.Kind, scopeFor(action, t))
}

func (p *Policy) mayPublic(a tidings.Actor, action tidings.Action, t tidings.Topic) error {
	r, ok := p.rights(a, t)
	switch {
	case ok && r&MayRead != 0 && r&Named != 0:
		return nil
	case ok && r&MayRead == 0 && a.Kind != tidings.Anonymous:
		return tidings.Errorf(tidings.ErrForbidden, "%s is not for this account: ask an owner of the node, or use a token with the scope %s", doing(action, t), scopeFor(action, t))
	case !p.private(t):
		return nil
	case a.Kind != tidings.Anonymous:
		return tidings.Errorf(tidings.ErrForbidden, "%s is private and an account does not open it: use a token with the scope %s:%s", t, action, t)
	}
	return tidings.Errorf(tidings.ErrUnauthenticated, "%s is private: reading it needs a token with the scope %s:%s", t, action, t)
}

func (p *Policy) mayToken(a tidings.Actor, action tidings.Action, t tidings.Topic) error {
	scopes, err := p.scopesOf(a)
	if err != nil {
		return err
	}
	if action == tidings.ReadAction && !p.private(t) || covers(scopes, action, t) {
		return nil
	}
	return tidings.Errorf(tidings.ErrForbidden, "%s needs the scope %s, which the token %s does not have", doing(action, t), scopeFor(action, t), a.Name)
}

// covers reports whether one of the scopes allows the action on the topic, or on the server itself if it is empty.
func covers(scopes []tidings.Scope, action tidings.Action, t tidings.Topic) bool {
	for _, s := range scopes {
		if s.Action != action && s.Action != tidings.AdminAction {
			continue
		}
		if t == "" && s.Pattern.String() == "/**" || s.Pattern.Match(t) {
			return true
		}
	}
	return false
}

// private reports whether the topic is one that not everybody may read.
func (p *Policy) private(t tidings.Topic) bool {
	if r, ok := p.rights(tidings.Actor{}, t); ok && r&MayRead == 0 {
		return true
	}
	for _, pat := range p.privates {
		if pat.Match(t) {
			return true
		}
	}
	return false
}

func doing(action tidings.Action, t tidings.Topic) string {
	switch {
	case action == tidings.PublishAction && t != "":
		return "publishing on " + string(t)
	case action == tidings.ReadAction && t != "":
		return "reading " + string(t)
	case t != "":
		return "administering " + string(t)
	}
	return "administering the server"
}

func scopeFor(action tidings.Action, t tidings.Topic) string {
	if t == "" {
		return string(action) + ":/**"
	}
	return string(action) + ":" + string(t)
}

// The audiences that are not made of scopes. Patterns begin with a slash, so these cannot be taken for one.
const (
	everything = "*"
	nobody     = "-"
)

// Audience returns a string that tells actors apart by what they may read: two actors with equal audiences may read
// exactly the same topics, as of now. It is "" for those who may read what is public and no more. Like May it looks up a
// token as it is now; one that was revoked or has expired has an audience of its own, which may read nothing.
//
// What is encoded once for one audience may be sent to everybody in it.
func (p *Policy) Audience(a tidings.Actor) string { return p.AudienceOf(a, nil) }

// AudienceOf is Audience as far as topics go that one of the patterns matches: what an actor may read elsewhere may make
// no difference to it. All topics count if there are no patterns.
func (p *Policy) AudienceOf(a tidings.Actor, patterns []tidings.Pattern) string {
	nodes := p.nodes.Load()
	rule := table[a.Kind][tidings.ReadAction]
	var scopes []tidings.Scope
	if rule == scope {
		var err error
		if scopes, err = p.scopesOf(a); err != nil {
			return nobody
		}
	}
	switch {
	case rule == deny || rule == login:
		return nobody
	case rule == public && nodes != nil && a.Kind == tidings.User:
		return (*nodes).Audience(a, patterns)
	case len(p.privates) == 0 && nodes == nil || rule == public:
		return ""
	case rule == allow:
		return everything
	}
	var pats []tidings.Pattern
	for _, s := range scopes {
		if s.Action == tidings.ReadAction || s.Action == tidings.AdminAction {
			if s.Pattern.String() == "/**" {
				return everything
			}
			pats = append(pats, s.Pattern)
		}
	}
	var b strings.Builder
	for _, pat := range tidings.Patterns(pats...) {
		b.WriteString(pat.String())
		b.WriteByte('\n') // no pattern has one
	}
	return b.String()
}

// ParseScope returns the scope written as ACTION:PATTERN. Errors are of kind ErrInvalid.
func ParseScope(s string) (tidings.Scope, error) {
	action, pattern, ok := strings.Cut(s, ":")
	switch a := tidings.Action(action); {
	case !ok || a != tidings.ReadAction && a != tidings.PublishAction && a != tidings.AdminAction:
		return tidings.Scope{}, tidings.Errorf(tidings.ErrInvalid, "%q is not a scope: want read, publish or admin, a colon and a pattern, such as publish:/news/**", shorten(s))
	default:
		pat, err := tidings.ParsePattern(pattern)
		if err != nil {
			return tidings.Scope{}, tidings.Errorf(tidings.ErrInvalid, "scope %q: %w", shorten(s), err)
		}
		return tidings.Scope{Action: a, Pattern: pat}, nil
	}
}

// ParseScopes parses each of the strings with ParseScope and returns the scopes sorted and without repeats.
func ParseScopes(ss []string) ([]tidings.Scope, error) {
	scopes := make([]tidings.Scope, 0, len(ss))
	for _, s := range ss {
		sc, err := ParseScope(s)
		if err != nil {
			return nil, err
		}
		scopes = append(scopes, sc)
	}
	slices.SortFunc(scopes, func(a, b tidings.Scope) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(scopes, func(a, b tidings.Scope) bool { return a.String() == b.String() }), nil
}

// shorten cuts what somebody sent to a length that fits a message.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Info describes a token without its secret.
type Info struct {
	ID      string
	Name    string // what its maker called it; not unique
	Scopes  []tidings.Scope
	Created time.Time
	Expires time.Time // zero: never
}

// Expired reports whether the token may nothing any more.
func (i Info) Expired(now time.Time) bool { return !i.Expires.IsZero() && !now.Before(i.Expires) }
