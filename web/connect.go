package web

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"text/template"

	"tidings"
	"tidings/internal/topicurl"
)

// Way is one way to read what the page shows, or to add to it. Name, About and Code are templates (text/template) whose
// data is a target.
type Way struct {
	ID    string
	Name  string
	About string
	Code  string
	// Needs names an entry of Options.Serves, without which the way is not shown; empty for what every server has.
	Needs string
	// Changes says that it is for recent changes only.
	Changes bool
}

// ways are all ways, in the order the page shows them. A protocol that is added to the server is added here, and its
// entry to Options.Serves where cmd/tidings wires it.
var ways = []Way{
	{ID: "tail", Name: "Command line", About: "One line for each event. It reconnects, goes on where it was, and says when something was lost.",
		Code: `tidings tail --server {{sh .Base}}{{range .Topics}} {{sh .}}{{end}}{{range .Filters}} --filter {{sh .}}{{end}}`},
	{ID: "sse", Name: "Server-Sent Events", About: "Any HTTP client. Each event has its position as id; send the last one as Last-Event-ID to go on from there.",
		Code: `curl -N {{sh .Subscribe}}`},
	{ID: "browser", Name: "In a browser", About: "EventSource reconnects and resumes by itself. A lost range is told as an event named gap.",
		Code: "const source = new EventSource({{js .Subscribe}})\nsource.onmessage = (e) => console.log(JSON.parse(e.data))\nsource.addEventListener('gap', (e) => console.warn('gap', e.data))"},
	{ID: "ndjson", Name: "JSON lines", About: "The same stream with one JSON object on each line.",
		Code: `curl -N -H 'Accept: application/x-ndjson' {{sh .Subscribe}}`},
	{ID: "json", Name: "JSON list", About: "For who asks now and then: the latest events, and the position to ask from the next time. ETag and 304 make asking again cheap.",
		Code: `curl -g {{sh .List}}`},
	{ID: "eventstreams", Name: "EventStreams", About: "Recent changes exactly as Wikimedia's EventStreams serves them, for clients written for that.", Changes: true,
		Code: `curl -N {{sh .EventStreams}}`},
	{ID: "websocket", Name: "WebSocket", About: "Subscribe, unsubscribe and resume as JSON messages on one connection.", Needs: "websocket",
		Code: `websocat {{sh .WebSocket}}`},
	{ID: "socketio", Name: "Socket.IO 4", About: "The client library reconnects and goes on where it was, after a restart of the server too.", Needs: "socketio",
		Code: "const socket = io({{js .Base}})\nsocket.on('connect', () => socket.recovered || socket.emit('subscribe', {{.Wanted}}))\nsocket.on('event', (event) => console.log(event.topic, event.data))\nsocket.on('gap', (gap) => console.warn('gap', gap))"},
	{ID: "rcstream", Name: "Socket.IO 0.9", About: "As RCStream had it: programs written for that need another host and nothing else.", Needs: "rcstream", Changes: true,
		Code: "const socket = io.connect({{js .RC}})\nsocket.on('connect', () => socket.emit('subscribe', {{js .Wiki}}))\nsocket.on('change', (change) => console.log(change.title))"},
	{ID: "irc", Name: "IRC", About: "The coloured lines of irc.wikimedia.org, in channels of the same names.", Needs: "irc", Changes: true,
		Code: "irssi --connect {{sh .IRCHost}} --port {{.IRCPort}}\n/join {{.Channel}}"},
	{ID: "xmpp", Name: "XMPP", About: "A room for each wiki, with the messages of the XMLRC extension's bridge: a body for people, <rc> for programs. Any client, with or without an account.", Needs: "xmpp", Changes: true,
		Code: `xmpp:{{.Room}}?join`},
	{ID: "publish", Name: "Publish", About: "JSON, XML or text. A token is needed: tidings token create NAME {{sh .Scope}} makes one.",
		Code: `curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: text/plain' -d 'hello' {{sh .Publish}}`},
}

// target is the reader's own view, in the words of each protocol.
type target struct {
	Base         string   // such as http://127.0.0.1:8080
	Topics       []string // patterns
	Filters      []string // as tidings tail takes them
	Subscribe    string   // URL of the stream
	List         string   // URL of the JSON list
	EventStreams string   // URL
	WebSocket    string   // URL
	Wanted       string   // what Socket.IO's event subscribe takes, as JSON
	RC           string   // URL of the namespace /rc
	Wiki         string   // server name or wildcard, as RCStream's clients subscribe to it
	IRCHost      string
	IRCPort      string
	Channel      string
	Room         string // address
	Publish      string // URL
	Scope        string // that publishing there needs
}

// targetOf returns the view in the words of each protocol; base is the server's address, irc that of its IRC listener, rooms
// the domain of its XMPP rooms.
func targetOf(v view, base, irc, rooms string) target {
	t := target{Base: base, Topics: v.Topics, Subscribe: base + v.stream(), RC: base + "/rc"}
	if v.Filter != "" {
		t.Filters = append(t.Filters, v.Filter)
	}
	if v.Fields != "" {
		t.Filters = append(t.Filters, strings.Split(v.Fields, " & ")...)
	}
	t.WebSocket = "ws" + strings.TrimPrefix(t.Subscribe, "http")
	q := v.values(true)
	q.Del("topic")
	t.Wanted = wanted(v.Topics, q)

	list := url.Values{"limit": {"10"}}
	stream := url.Values{}
	for name, values := range q {
		list[name], stream[name] = values, values
	}
	t.List = base + topicurl.Of(tidings.Topic(v.Topics[0])) + "?" + encode(list)
	// A pattern's stars and brackets need no encoding in a path, and are easier to read without.
	t.List = strings.NewReplacer("%2A", "*", "%5B", "[", "%5D", "]").Replace(t.List)

	t.Wiki = "*"
	exact := ""
	if p := v.patterns; len(p) == 1 && len(p[0].Segments()) == 2 && p[0].Segments()[0] == "recentchange" {
		if seg := p[0].Segments()[1]; seg != "**" {
			t.Wiki = seg
		}
		if topic, ok := p[0].Topic(); ok {
			exact = topic.Segments()[1]
			stream.Set("server_name", exact)
		}
	}
	t.EventStreams = base + "/v2/stream/recentchange"
	if len(stream) > 0 {
		t.EventStreams += "?" + encode(stream)
	}
	t.Channel, t.Room = "#en.wikipedia", "en.wikipedia.org@"+rooms
	if exact != "" {
		t.Channel, t.Room = "#"+strings.TrimSuffix(exact, ".org"), exact+"@"+rooms
	}
	if host, port, err := net.SplitHostPort(irc); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() { // on every address: then where the page is
			if u, err := url.Parse(base); err == nil {
				host = u.Hostname()
			}
		}
		t.IRCHost, t.IRCPort = host, port
	}
	to := tidings.Topic("/greetings")
	if len(v.patterns) == 1 {
		if topic, ok := v.patterns[0].Topic(); ok {
			to = topic
		}
	}
	t.Publish, t.Scope = base+topicurl.Of(to), "publish:"+string(to)
	return t
}

// wanted returns the topics, and the filter that a query string asks for, as clients that speak JSON write them.
func wanted(topics []string, q url.Values) string {
	w := struct {
		Topics []string `json:"topics"`
		Filter any      `json:"filter,omitempty"`
	}{Topics: topics}
	fields := url.Values{}
	var all []any
	for name, values := range q {
		if name != "filter" {
			fields[name] = values
		}
	}
	for _, expression := range q["filter"] {
		all = append(all, expression)
	}
	if len(fields) > 0 {
		all = append(all, fields)
	}
	switch len(all) {
	case 0:
	case 1:
		w.Filter = all[0]
	default:
		w.Filter = all
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(w) // of texts only
	return strings.TrimSuffix(b.String(), "\n")
}

// shownWay is a way with the reader's view filled in.
type shownWay struct{ ID, Name, About, Code string }

// waysFor returns the ways that the server has, for the view.
func waysFor(v view, base string, serves map[string]string) []shownWay {
	if v.Complaint != nil {
		return nil
	}
	t := targetOf(v, base, serves["irc"], serves["xmpp"])
	var shown []shownWay
	for i, w := range ways {
		if _, has := serves[w.Needs]; w.Needs != "" && !has || w.Changes && !v.recentChanges() {
			continue
		}
		shown = append(shown, shownWay{w.ID, w.Name, fill(wayTemplates[i].about, t), fill(wayTemplates[i].code, t)})
	}
	return shown
}

func fill(tmpl *template.Template, t target) string {
	var b bytes.Buffer
	if err := tmpl.Execute(&b, t); err != nil {
		return err.Error() // a field that target has not: the test executes them all
	}
	return b.String()
}

type wayTemplate struct{ about, code *template.Template }

var wayTemplates = func() []wayTemplate {
	funcs := template.FuncMap{"sh": shellQuote, "js": jsQuote}
	var ts []wayTemplate
	for _, w := range ways {
		ts = append(ts, wayTemplate{
			about: template.Must(template.New(w.ID).Funcs(funcs).Parse(w.About)),
			code:  template.Must(template.New(w.ID).Funcs(funcs).Parse(w.Code)),
		})
	}
	return ts
}()

// shellQuote returns s as one word of a POSIX shell (section 2.2.2), without quotes where it needs none.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/:@%+=,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// jsQuote returns s as a string literal of JavaScript.
func jsQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`, "\u2028", `\u2028`, "\u2029", `\u2029`).Replace(s) + "'"
}
