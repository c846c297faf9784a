package bridge

// refusal is what is done about an error of a room.
type refusal struct {
	hint string
	long bool // waiting is all that helps, or somebody who does something: the longest pause at once
}

// joinErrors are those with which a room answers somebody who enters (XEP-0045 section 7.2).
var joinErrors = map[string]refusal{
	"not-authorized":          {"the room has a password: set password in [[bridge.rooms]]", true},
	"forbidden":               {"the account is banned from the room: an owner or administrator of the room has to lift that", true},
	"registration-required":   {"the room is for members only: an owner or administrator of the room has to make the account a member", true},
	"conflict":                {"others have the nick: set another nick in [[bridge]]", false},
	"not-acceptable":          {"the room wants a registered nick: register one with it, or set the one that is in nick in [[bridge]]", true},
	"not-allowed":             {"the room is not there and the account may not make it: let somebody create it who may", true},
	"item-not-found":          {"the room is not there, or its owner has not configured it yet", false},
	"service-unavailable":     {"the room is full, or there is no such service: look at the address", false},
	"remote-server-not-found": {"there is no such service: look at the address of the room", true},
	"remote-server-timeout":   {"the server of the room does not answer; it is tried again", false},
	"gone":                    {"the room has moved: set its new address in [[bridge.rooms]]", true},
	"jid-malformed":           {"the nick cannot be one in this room: set another nick in [[bridge]]", true},
	"resource-constraint":     {"the server is busy, or joins come too quickly; it is tried again", false},
	"policy-violation":        {"the server says that joins come too quickly; it is tried again", false},
}

// messageErrors are those with which a room answers a message (XEP-0045 section 7.4).
var messageErrors = map[string]refusal{
	"forbidden":               {"the room is moderated and the bridge has no voice: a moderator has to give it voice", false},
	"not-acceptable":          {"the room does not have the bridge in it any more, or refuses the message; it enters again", false},
	"resource-constraint":     {"messages come too quickly for the room: lower rate in [[bridge]]", false},
	"policy-violation":        {"the room's server says that messages come too quickly or are too large: lower rate or max_stanza in [[bridge]]", false},
	"item-not-found":          {"the room is gone; it is entered again", false},
	"gone":                    {"the room has moved: set its new address in [[bridge.rooms]]", true},
	"recipient-unavailable":   {"the room is gone; it is entered again", false},
	"service-unavailable":     {"the service of rooms is away; it is tried again", false},
	"remote-server-not-found": {"the service of rooms is away; it is tried again", false},
	"remote-server-timeout":   {"the service of rooms is away; it is tried again", false},
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
	{301, "banned", refusal{"an owner or administrator of the room has to lift the ban", true}},
	{307, "kicked", refusal{"a moderator has put it out; it enters again", false}},
	{321, "affiliation-lost", refusal{"the room is for members only: an owner or administrator has to make the account a member", true}},
	{322, "members-only", refusal{"the room has become one for members only: an owner or administrator has to make the account a member", true}},
	{332, "shutdown", refusal{"the service of rooms stops; it enters again", false}},
	{333, "technical-problems", refusal{"the connection was found to be broken; it enters again", false}},
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
