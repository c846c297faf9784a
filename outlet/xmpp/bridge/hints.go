package bridge

// refusal is what is done about an error of a room.
type refusal struct {
	hint string
	soon bool // the first time it is tried again at once
	long bool // waiting is all that helps, or somebody who does something: the longest pause at once
}

// joinErrors are those with which a room answers somebody who enters (XEP-0045 section 7.2).
var joinErrors = map[string]refusal{
	"not-authorized":          {hint: "the room has a password: set password in [[bridge.rooms]]", long: true},
	"forbidden":               {hint: "the account is banned from the room: an owner or administrator of the room has to lift that", long: true},
	"registration-required":   {hint: "the room is for members only: an owner or administrator of the room has to make the account a member", long: true},
	"conflict":                {hint: "others have the nick: set another nick in [[bridge]]"},
	"not-acceptable":          {hint: "the room wants a registered nick: register one with it, or set the one that is in nick in [[bridge]]", long: true},
	"not-allowed":             {hint: "the room is not there and the account may not make it: let somebody create it who may", long: true},
	"item-not-found":          {hint: "the room is not there, or its owner has not configured it yet"},
	"service-unavailable":     {hint: "the room is full, or there is no such service: look at the address"},
	"remote-server-not-found": {hint: "there is no such service: look at the address of the room", long: true},
	"remote-server-timeout":   {hint: "the server of the room does not answer; it is tried again"},
	"gone":                    {hint: "the room has moved: set its new address in [[bridge.rooms]]", long: true},
	"jid-malformed":           {hint: "the nick cannot be one in this room: set another nick in [[bridge]]", long: true},
	"resource-constraint":     {hint: "the server is busy, or joins come too quickly; it is tried again"},
	"policy-violation":        {hint: "the server says that joins come too quickly; it is tried again"},
}

// messageErrors are those with which a room answers a message (XEP-0045 section 7.4).
var messageErrors = map[string]refusal{
	"forbidden":               {hint: "the room is moderated and the bridge has no voice: a moderator has to give it voice"},
	"not-acceptable":          {hint: "the room does not have the bridge in it any more, or refuses the message; it enters again"},
	"resource-constraint":     {hint: "messages come too quickly for the room: lower rate in [[bridge]]"},
	"policy-violation":        {hint: "the room's server says that messages come too quickly or are too large: lower rate or max_stanza in [[bridge]]"},
	"item-not-found":          {hint: "the room is gone; it is entered again"},
	"gone":                    {hint: "the room has moved: set its new address in [[bridge.rooms]]", long: true},
	"recipient-unavailable":   {hint: "the room is gone; it is entered again"},
	"service-unavailable":     {hint: "the service of rooms is away; it is tried again"},
	"remote-server-not-found": {hint: "the service of rooms is away; it is tried again"},
	"remote-server-timeout":   {hint: "the service of rooms is away; it is tried again"},
}

// outside are the errors of messages after which a room has to be entered again.
var outside = map[string]bool{"not-acceptable": true, "item-not-found": true, "gone": true, "recipient-unavailable": true,
	"service-unavailable": true, "remote-server-not-found": true, "remote-server-timeout": true}

// passing are those that say nothing against the message itself.
var passing = map[string]bool{"forbidden": true, "resource-constraint": true, "item-not-found": true, "gone": true,
	"recipient-unavailable": true, "service-unavailable": true, "remote-server-not-found": true, "remote-server-timeout": true}

// departures are the reasons for which a room shows somebody out (XEP-0045 section 15.6.2), in the order in which they count.
var departures = []struct {
	status int
	name   string
	refusal
}{
	{301, "banned", refusal{hint: "an owner or administrator of the room has to lift the ban", long: true}},
	{307, "kicked", refusal{hint: "a moderator has put it out; it enters again"}},
	{321, "affiliation-lost", refusal{hint: "the room is for members only: an owner or administrator has to make the account a member", long: true}},
	{322, "members-only", refusal{hint: "the room has become one for members only: an owner or administrator has to make the account a member", long: true}},
	{332, "shutdown", refusal{hint: "the service of rooms stops; it enters again"}},
	{333, "technical-problems", refusal{hint: "the connection was found to be broken; it enters again"}},
}

// streamHints are about errors of the stream (RFC 6120 section 4.9.3).
var streamHints = map[string]string{
	"conflict":            "something else logs in with the same resource: give each its own, with jid = \"name@domain/resource\"",
	"policy-violation":    "the server does not take stanzas of this size or so many: lower max_stanza or rate in [[bridge]]",
	"resource-constraint": "the server has no room for this session; it is tried again",
	"host-unknown":        "the server does not serve the domain of jid: set addr to the server that does",
	"not-authorized":      "look at jid and password in [[bridge]]",
	"system-shutdown":     "the server stops; it is tried again",
}
