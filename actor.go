package tidings

// Actor is who asks: it is stated by the part that talked to it and judged by package access alone. The zero Actor is
// the anonymous one.
type Actor struct {
	Kind ActorKind
	// Name tells actors of one kind apart: an account, a token's id, a source's name. Empty for the anonymous one.
	Name string
	// Scopes are what a token may do; empty for the other kinds, whose rights the policy holds.
	Scopes []Scope
}

// ActorKind says what sort of thing an actor is.
type ActorKind uint8

// The kinds of actor.
const (
	Anonymous ActorKind = iota
	User                // an account, authenticated by a protocol's own means
	Token               // the bearer of a token with scopes (RFC 6750)
	Source              // a configured source of events
	System              // the server itself
)

// String returns the kind's name.
func (k ActorKind) String() string {
	switch k {
	case Anonymous:
		return "anonymous"
	case User:
		return "user"
	case Token:
		return "token"
	case Source:
		return "source"
	case System:
		return "system"
	}
	return "unknown"
}

// String returns the kind and the name, such as token:3f9c.
func (a Actor) String() string {
	if a.Name == "" {
		return a.Kind.String()
	}
	return a.Kind.String() + ":" + a.Name
}

// Scope is one permission of a token: an action on the topics that a pattern matches. Its text form is
// ACTION:PATTERN, such as publish:/news/**.
type Scope struct {
	Action  Action
	Pattern Pattern
}

// Action is something that an actor may or may not do to a topic.
type Action string

// The actions.
const (
	ReadAction    Action = "read"
	PublishAction Action = "publish"
	AdminAction   Action = "admin" // everything, tokens and accounts included
)

// String returns the text form.
func (s Scope) String() string { return string(s.Action) + ":" + s.Pattern.String() }
