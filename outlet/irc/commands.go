package irc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
	wire "tidings/irc"
)

// command is one verb: what handles it, how many parameters it needs, and whether clients may use it before they have
// registered.
type command struct {
	run    func(*session, *wire.Message)
	params int
	early  bool
}

// commands are the verbs of the protocol. Whatever is not here is unknown.
var commands map[string]command

func init() { // the table refers to itself by way of CAP, which ends a registration
	commands = map[string]command{
		"CAP":         {(*session).cap, 1, true},
		"PASS":        {(*session).pass, 1, true},
		"NICK":        {(*session).setNick, 0, true},
		"USER":        {(*session).setUser, 4, true},
		"PING":        {(*session).ping, 0, true},
		"PONG":        {(*session).nothing, 0, true},
		"QUIT":        {(*session).bye, 0, true},
		"JOIN":        {(*session).join, 1, false},
		"PART":        {(*session).part, 1, false},
		"FILTER":      {(*session).filter, 1, false},
		"CHATHISTORY": {(*session).chathistory, 0, false},
		"LIST":        {(*session).list, 0, false},
		"NAMES":       {(*session).names, 0, false},
		"TOPIC":       {(*session).topic, 1, false},
		"MODE":        {(*session).mode, 1, false},
		"WHO":         {(*session).who, 0, false},
		"WHOIS":       {(*session).whois, 0, false},
		"WHOWAS":      {(*session).whowas, 0, false},
		"USERHOST":    {(*session).userhost, 1, false},
		"ISON":        {(*session).ison, 1, false},
		"PRIVMSG":     {(*session).privmsg, 0, false},
		"NOTICE":      {(*session).toNobody, 0, false},
		"TAGMSG":      {(*session).nothing, 0, false},
		"MOTD":        {(*session).motd, 0, false},
		"VERSION":     {(*session).version, 0, false},
	}
}

// handle obeys one line.
func (x *session) handle(line string) {
	m, err := wire.Parse(line)
	if err == wire.ErrEmpty {
		return
	}
	if err != nil {
		x.srv.drops.Add(DropMalformed, 1, "client", x.host)
		x.text(wire.ErrUnknownCommand, x.name(), "*", "The line is no message")
		return
	}
	c, ok := commands[m.Command]
	switch {
	case !x.known.Load() && !c.early:
		x.text(wire.ErrNotRegistered, x.name(), "You have not registered")
	case !ok:
		x.text(wire.ErrUnknownCommand, x.name(), m.Command, "Unknown command")
	case len(m.Params) < c.params:
		x.text(wire.ErrNeedMoreParams, x.name(), m.Command, "Not enough parameters")
	default:
		c.run(x, &m)
	}
}

func (x *session) nothing(*wire.Message) {}

// The capabilities by their index in the offer.
const (
	capTags = iota
	capTime
	capBatch
	capReplies
	capHistoryDraft
	capHistory
)

var offer = wire.Offer{{Name: "message-tags"}, {Name: "server-time"}, {Name: "batch"}, {Name: "standard-replies"},
	{Name: "draft/chathistory"}, {Name: "chathistory"}}

func (x *session) cap(m *wire.Message) {
	id, times := x.caps.Has(capTags), x.caps.Has(capTime)
	answer, ok := offer.Handle(&x.caps, x.known.Load(), m.Params)
	switch {
	case !ok:
		x.text(wire.ErrInvalidCapCmd, x.name(), m.Param(0), "Invalid CAP command")
	case answer != nil:
		x.text("CAP", append([]string{x.name()}, answer...)...)
	}
	if id != x.caps.Has(capTags) || times != x.caps.Has(capTime) {
		for _, mem := range x.chans {
			x.swap(mem, mem.filter, nil) // the same in the other form
		}
	}
	x.register()
}

// pass takes a token of this server. Anything else is ignored: there is nothing that a password would protect, and
// programs send one because other servers want it.
func (x *session) pass(m *wire.Message) {
	if x.known.Load() {
		x.text(wire.ErrAlreadyReg, x.name(), "You may not reregister")
		return
	}
	x.token = m.Param(0)
}

// tokenPrefix begins every token of package access.
const tokenPrefix = "tid_"

func (x *session) setNick(m *wire.Message) {
	nick := m.Param(0)
	switch {
	case nick == "":
		x.text(wire.ErrNoNickGiven, x.name(), "No nickname given")
		return
	case !wire.ValidNick(nick), wire.Same(nick, x.srv.opt.Bot):
		x.text(wire.ErrBadNick, x.name(), nick, "Erroneous nickname")
		return
	}
	// Nobody else is told of this client, so that two may have the same nick.
	if x.known.Load() && nick != x.nick {
		x.echo("NICK", nick)
	}
	x.nick = nick
	x.register()
}

func (x *session) setUser(m *wire.Message) {
	if x.user != "" {
		x.text(wire.ErrAlreadyReg, x.name(), "You may not reregister")
		return
	}
	x.user = userName(m.Param(0))
	x.register()
}

// userName returns what may stand between ! and @.
func userName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r == '!' || r == '@' || r == ':' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	s = string(wire.Cut([]byte(s), 20))
	if s == "" {
		return "unknown"
	}
	return s
}

// register welcomes the client once it has said who it is.
func (x *session) register() {
	if x.known.Load() || x.leaving || x.nick == "" || x.user == "" || x.caps.Negotiating {
		return
	}
	if x.token != "" {
		actor, err := x.srv.opt.Authenticate(x.token)
		switch {
		case err == nil:
			x.actor = actor
		case strings.HasPrefix(x.token, tokenPrefix):
			x.text(wire.ErrPasswdMismatch, x.name(), oneLine(err))
			x.quit(ReasonPassword, "Bad token")
			return
		}
		x.token = ""
	}
	x.known.Store(true)
	o := &x.srv.opt
	created := x.srv.created.UTC().Format("2006-01-02 15:04:05 UTC")
	x.text(wire.RplWelcome, x.nick, "Welcome to the "+o.Network+" feed of changes, "+x.mask())
	x.text(wire.RplYourHost, x.nick, "Your host is "+o.ServerName+", running "+o.Version)
	x.text(wire.RplCreated, x.nick, "This server was started at "+created)
	// Huggle does not join its channels without the last two.
	x.send(wire.RplMyInfo, x.nick, o.ServerName, strings.ReplaceAll(o.Version, " ", "-"), "i", "bklmnst")
	x.support()
	x.send(wire.RplUModeIs, x.nick, "+i")
	x.motd(nil)
}

func (x *session) support() {
	x.text(wire.RplISupport, x.nick, "NETWORK="+strings.ReplaceAll(x.srv.opt.Network, " ", `\x20`), "CASEMAPPING=rfc1459",
		"CHANLIMIT=#:"+strconv.Itoa(maxChannels), "CHANMODES=b,k,l,mnst", "NICKLEN="+strconv.Itoa(wire.MaxNick),
		"CHANNELLEN="+strconv.Itoa(wire.MaxChannel), "CHANTYPES=#", "PREFIX=(o)@", "SAFELIST",
		"CHATHISTORY="+strconv.Itoa(maxHistory), "MSGREFTYPES=msgid,timestamp", "are supported by this server")
}

// help is what the bot says of what plain IRC does not have.
func (s *Server) help() []string {
	bot := s.opt.Bot
	return []string{
		"Each wiki is a channel, such as #en.wikipedia; /list shows them. Nobody can speak here.",
		"A filter instead of all of a wiki: /join #en.wikipedia bot=false&namespace=0",
		"To change it: /msg " + bot + " filter #en.wikipedia type=new   To end it: /msg " + bot + " filter #en.wikipedia *",
		`An expression: /msg ` + bot + ` filter #en.wikipedia type == "edit" && length.new - length.old > 1000`,
		"From earlier on: /join #en.wikipedia since=TIME or since=MSGID, where the msgid is that of the last line you have.",
		"IRCv3 clients: message-tags has msgid, server-time the time, and CHATHISTORY reads back.",
	}
}

func (x *session) motd(*wire.Message) {
	o := &x.srv.opt
	lines := x.srv.help()
	if o.Motd != "" {
		lines = strings.Split(strings.TrimRight(o.Motd, "\n"), "\n")
	}
	x.text(wire.RplMotdStart, x.nick, "- "+o.ServerName+" Message of the day -")
	for _, l := range lines {
		x.text(wire.RplMotd, x.nick, "- "+strings.TrimRight(l, "\r"))
	}
	x.text(wire.RplEndOfMotd, x.nick, "End of message of the day")
}

func (x *session) version(*wire.Message) {
	x.text(wire.RplVersion, x.nick, strings.ReplaceAll(x.srv.opt.Version, " ", "-"), x.srv.opt.ServerName, "a read-only feed")
	x.support()
}

func (x *session) ping(m *wire.Message) {
	if len(m.Params) == 0 {
		x.text(wire.ErrNoOrigin, x.name(), "No origin specified")
		return
	}
	x.text("PONG", x.srv.opt.ServerName, m.Param(0))
}

func (x *session) bye(m *wire.Message) {
	x.quit(ReasonQuit, "Quit: "+m.Param(0))
}

func (x *session) mode(m *wire.Message) {
	name := m.Param(0)
	switch {
	case wire.Same(name, x.nick):
		x.send(wire.RplUModeIs, x.nick, "+i")
	case strings.HasPrefix(name, "#"):
		x.withChannel(name, func(t target, err error) {
			switch {
			case err != nil:
				x.refuse(name, err)
			case len(m.Params) < 2:
				x.send(wire.RplChannelModeIs, x.nick, t.name, "+mnst")
			case strings.Trim(m.Param(1), "+b") == "":
				x.text(wire.RplEndOfBanList, x.nick, t.name, "End of channel ban list")
			default:
				x.text(wire.ErrChanOpNeeded, x.nick, t.name, "You're not channel operator")
			}
		})
	case wire.Same(name, x.srv.opt.Bot):
		x.text(wire.ErrUsersDontMatch, x.nick, "Can't change mode for other users")
	default:
		x.text(wire.ErrNoSuchNick, x.nick, name, "No such nick/channel")
	}
}

// who tells of the bot and of the client itself, whom everybody else does not see.
func (x *session) who(m *wire.Message) {
	o := &x.srv.opt
	mask := m.Param(0)
	line := func(channel, nick, user, host, flags, real string) {
		x.text(wire.RplWhoReply, x.nick, channel, user, host, o.ServerName, nick, flags, "0 "+real)
	}
	self := func(channel string) { line(channel, x.nick, x.user, x.host, "H", x.nick) }
	bot := func(channel, flags string) { line(channel, o.Bot, o.Bot, o.ServerName, flags, "the changes") }
	switch mem := x.on(mask); {
	case mem != nil:
		self(mem.ch.name)
		bot(mem.ch.name, "H@")
	case wire.Same(mask, x.nick):
		self("*")
	case wire.Same(mask, o.Bot):
		bot("*", "H")
	}
	if mask == "" {
		mask = "*"
	}
	x.text(wire.RplEndOfWho, x.nick, mask, "End of WHO list")
}

func (x *session) whois(m *wire.Message) {
	o := &x.srv.opt
	nick := m.Param(max(0, len(m.Params)-1)) // WHOIS [server] nick
	var user, host, channels string
	begun := x.srv.created
	switch {
	case nick == "":
		x.text(wire.ErrNoNickGiven, x.nick, "No nickname given")
		return
	case wire.Same(nick, x.nick):
		nick, user, host = x.nick, x.user, x.host
		begun = begun.Add(time.Duration(x.begun) * time.Second)
		for _, mem := range x.chans[:min(len(x.chans), 5)] {
			channels += mem.ch.name + " "
		}
	case wire.Same(nick, o.Bot):
		nick, user, host = o.Bot, o.Bot, o.ServerName
	default:
		x.text(wire.ErrNoSuchNick, x.nick, nick, "No such nick/channel")
		x.text(wire.RplEndOfWhoIs, x.nick, nick, "End of WHOIS list")
		return
	}
	x.text(wire.RplWhoIsUser, x.nick, nick, user, host, "*", nick)
	if channels != "" {
		x.text(wire.RplWhoIsChannels, x.nick, nick, strings.TrimSpace(channels))
	}
	x.text(wire.RplWhoIsServer, x.nick, nick, o.ServerName, o.Network)
	idle := x.srv.clock.Load() - x.heard.Load()
	x.text(wire.RplWhoIsIdle, x.nick, nick, strconv.FormatInt(max(0, idle), 10), strconv.FormatInt(begun.Unix(), 10), "seconds idle, signon time")
	x.text(wire.RplEndOfWhoIs, x.nick, nick, "End of WHOIS list")
}

func (x *session) whowas(m *wire.Message) {
	nick := m.Param(0)
	if nick == "" {
		x.text(wire.ErrNoNickGiven, x.nick, "No nickname given")
		return
	}
	x.text(wire.ErrWasNoSuchNick, x.nick, nick, "There was no such nickname")
	x.text(wire.RplEndOfWhoWas, x.nick, nick, "End of WHOWAS")
}

func (x *session) userhost(m *wire.Message) {
	var found []string
	for _, nick := range m.Params[:min(5, len(m.Params))] {
		switch {
		case wire.Same(nick, x.nick):
			found = append(found, x.nick+"=+"+x.user+"@"+x.host)
		case wire.Same(nick, x.srv.opt.Bot):
			found = append(found, x.srv.opt.Bot+"=+"+x.srv.opt.Bot+"@"+x.srv.opt.ServerName)
		}
	}
	x.text(wire.RplUserHost, x.nick, strings.Join(found, " "))
}

func (x *session) ison(m *wire.Message) {
	var found []string
	for nick := range strings.FieldsSeq(strings.Join(m.Params, " ")) {
		if wire.Same(nick, x.nick) || wire.Same(nick, x.srv.opt.Bot) {
			found = append(found, nick)
		}
	}
	x.text(wire.RplIsOn, x.nick, strings.Join(found, " "))
}

// maxTargets bounds those of one PRIVMSG.
const maxTargets = 4

func (x *session) privmsg(m *wire.Message) {
	switch {
	case m.Param(0) == "":
		x.text(wire.ErrNoRecipient, x.nick, "No recipient given (PRIVMSG)")
		return
	case m.Param(1) == "":
		x.text(wire.ErrNoTextToSend, x.nick, "No text to send")
		return
	}
	targets := strings.Split(m.Param(0), ",")
	for _, t := range targets[:min(len(targets), maxTargets)] {
		switch {
		case strings.HasPrefix(t, "#"):
			x.text(wire.ErrCannotSend, x.nick, t, "Cannot send to channel: this is a read-only feed")
		case wire.Same(t, x.srv.opt.Bot):
			x.ask(m.Param(1))
		case wire.Same(t, x.nick):
			x.say("PRIVMSG", m.Param(1))
		default:
			x.text(wire.ErrNoSuchNick, x.nick, t, "No such nick/channel")
		}
	}
}

// say sends a client what it has said to itself.
func (x *session) say(command, text string) {
	e := wire.Message{Source: x.mask(), Command: command, Params: []string{x.nick, text}, Colon: true}
	x.out = e.Append(x.out)
}

// toNobody: a NOTICE is never answered (RFC 2812 section 3.3.2).
func (x *session) toNobody(m *wire.Message) {
	if wire.Same(m.Param(0), x.nick) && m.Param(1) != "" {
		x.say("NOTICE", m.Param(1))
	}
}

// ask is a private message to the bot. Requests of clients (CTCP) are not answered.
func (x *session) ask(text string) {
	verb, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch {
	case strings.HasPrefix(text, "\x01"):
	case strings.EqualFold(verb, "filter"):
		name, want, _ := strings.Cut(strings.TrimSpace(rest), " ")
		x.setFilter(name, want, x.notice)
	default:
		for _, l := range x.srv.help() {
			x.notice(l)
		}
	}
}

// filter is the same as a command: FILTER #channel [filter].
func (x *session) filter(m *wire.Message) {
	x.setFilter(m.Param(0), strings.Join(m.Params[1:], " "), x.notice)
}

// kinds are the numerics for the kinds of error with which joining or asking for a channel can fail.
var kinds = map[tidings.ErrorKind]string{
	tidings.ErrInvalid:         wire.ErrBadChannelKey, // the filter or the position in the key
	tidings.ErrUnauthenticated: wire.ErrInviteOnly,
	tidings.ErrForbidden:       wire.ErrInviteOnly,
	tidings.ErrNotFound:        wire.ErrNoSuchChannel,
	tidings.ErrConflict:        wire.ErrUnavailable,
	tidings.ErrTooLarge:        wire.ErrBadChannelKey,
	tidings.ErrRateLimited:     wire.ErrTooManyChannels,
	tidings.ErrGap:             wire.ErrUnavailable, // joining goes on behind a gap and tells it
	tidings.ErrUnavailable:     wire.ErrUnavailable,
}

// refuse says why a channel cannot be had.
func (x *session) refuse(channel string, err error) {
	numeric, ok := kinds[tidings.KindOf(err)]
	if !ok {
		x.srv.opt.Log.Error("an IRC command failed", "channel", channel, "err", err)
		numeric, err = wire.ErrUnavailable, fmt.Errorf("an internal error")
	}
	x.text(numeric, x.nick, channel, oneLine(err))
}

// on returns the client's membership of the channel, or nil.
func (x *session) on(channel string) *membership {
	i := slices.IndexFunc(x.chans, func(m *membership) bool { return wire.Same(m.ch.name, channel) })
	if i < 0 {
		return nil
	}
	return x.chans[i]
}
