package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tidings"
	"tidings/config"
	"tidings/internal/topicurl"
	"tidings/pubsub"
	"tidings/recentchange"
	xmppdial "tidings/xmpp/dial"
	"tidings/xmpp/disco"
	"tidings/xmpp/jid"
	"tidings/xmpp/xmlstream"
)

// facesServer is a server with both faces of topics: HTTP and PubSub. It is closed with the test.
func facesServer(t *testing.T, data string, change func(*config.Config)) *server {
	t.Helper()
	cfg := config.Defaults()
	cfg.Data, cfg.HTTP.Addr, cfg.UDP.Addr, cfg.IRC.Addr, cfg.XMPP.Addr = data, "127.0.0.1:0", config.Off, config.Off, "127.0.0.1:0"
	cfg.XMPP.ScramIterations = 4096
	if change != nil {
		change(&cfg)
	}
	s, err := open(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// faces asks a server by HTTP, with the admin token, and by PubSub, as an account.
type faces struct {
	*testing.T
	s     *server
	token string
	xmpp  *xmppdial.Conn
}

func newFaces(t *testing.T, change func(*config.Config)) *faces {
	s := facesServer(t, t.TempDir(), change)
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	token, err := os.ReadFile(filepath.Join(s.cfg.Data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.accounts.Add(t.Context(), "ann", "secret"); err != nil {
		t.Fatal(err)
	}
	c, err := xmppdial.Dial(t.Context(), xmppdial.Config{JID: jid.MustParse("ann@localhost/desk"), Password: "secret", Address: s.xmpp.starttls.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &faces{t, s, strings.TrimSpace(string(token)), c}
}

var pubsubJID = jid.MustParse("pubsub.localhost")

// iq sends a request to the PubSub service and returns the answer.
func (f *faces) iq(typ, payload string) (*xmppdial.Answer, error) {
	return f.xmpp.Request(f.Context(), typ, pubsubJID, []byte(payload))
}

func (f *faces) set(content string) *xmppdial.Answer {
	f.Helper()
	a, err := f.iq("set", "<pubsub xmlns='"+pubsub.NS+"'>"+content+"</pubsub>")
	if err != nil {
		f.Fatal(err)
	}
	return a
}

// notice is an item as a subscriber is told of it.
type notice struct{ node, id, payload, position string }

// next returns the next item that the subscriber is told of.
func (f *faces) next() (n notice) {
	f.Helper()
	for {
		st, err := f.xmpp.Next(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		items := st.Element.Child(pubsub.NS+"#event", "event").Child(pubsub.NS+"#event", "items")
		it := items.Child(pubsub.NS+"#event", "item")
		if it.IsZero() {
			continue // of subscriptions and the like
		}
		n = notice{node: items.Attr("node"), id: it.Attr("id"), position: st.Element.Child("urn:xmpp:sid:0", "stanza-id").Attr("id")}
		if p := it.First(); !p.IsZero() {
			n.payload = string(p.Raw())
		}
		return n
	}
}

// do sends an HTTP request with pairs of header fields.
func (f *faces) do(method, target, body string, header ...string) (*http.Response, string) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), method, "http://"+f.s.listener.Addr().String()+target, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	if method != http.MethodGet {
		req.Header.Set("Authorization", "Bearer "+f.token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatal(err)
	}
	return resp, string(b)
}

const (
	anEntry = `<entry xmlns='http://www.w3.org/2005/Atom' xml:lang="de"><title>B&#xfc;cher &amp; "mehr"</title><x:y xmlns:x='urn:x' x:z='1'/>` + "\n</entry>"
	anRC    = `<rc type="edit" ns="0" title="Foo" rcid="42" pageid="7" revid="101" old_revid="100" user="Alice" minor="" oldlen="10" newlen="25" timestamp="2010-10-12T08:57:03Z" comment="typo" wikiid="enwiki" />`
	aCloud  = `{"specversion":"1.0","id":"cloud-1","source":"/shop","type":"order","data":{"n":1}}`
)

// An item published over HTTP is in the node, with the same id and Position, and so are its bytes.
func TestPostedIsInTheNode(t *testing.T) {
	f := newFaces(t, nil)
	f.set("<subscribe node='/faces/**' jid='ann@localhost/desk'/>")
	for i, c := range []struct {
		name, contentType, body string
		header                  []string
		id                      string // "" for the Position
		payload                 string // of the item; with a * for what is not compared
	}{
		{"Atom", "application/atom+xml", anEntry, []string{"Item-ID", "e-1"}, "e-1", anEntry},
		{"any XML", "application/xml", "<?xml version='1.0'?>\n<a:b xmlns:a='urn:a'><a:c d='&lt;'/></a:b>", nil, "", "<a:b xmlns:a='urn:a'><a:c d='&lt;'/></a:b>"},
		{"XML without a namespace", "text/xml", "<b>x</b>", nil, "", "<b xmlns=''>x</b>"},
		{"JSON", "application/json", `{"a": "<1>"}`, []string{"Item-ID", "j 1/ü"}, "j 1/ü", `<json xmlns='urn:xmpp:json:0'>{"a": "&lt;1&gt;"}</json>`},
		{"text", "text/plain", "a & b", nil, "", `<entry xmlns='http://www.w3.org/2005/Atom'>*<content>a &amp; b</content></entry>`},
		{"a change", recentchange.TypeRC, anRC, nil, "", `<entry xmlns='http://www.w3.org/2005/Atom'>*<title>Foo</title>*<rc xmlns='' type="edit" ns="0"*comment="typo" wikiid="enwiki" /></entry>`},
		{"a key names no item", "text/plain", "x", []string{"Idempotency-Key", "k-1"}, "", "*<content>x</content></entry>"},
		{"CloudEvents", "application/cloudevents+json", aCloud, nil, "cloud-1", `<json xmlns='urn:xmpp:json:0'>` + aCloud + `</json>`},
		{"CloudEvents of this server", "application/cloudevents+json", `{"specversion":"1.0","id":"own","source":"/topics/x","type":"tidings.publish","datacontenttype":"text/xml","data":"<a/>"}`, nil, "own", "<a xmlns=''/>"},
		{"CloudEvents, binary", "application/json", `{"n":2}`, []string{"Ce-Specversion", "1.0", "Ce-Id", "bin", "Ce-Source", "/topics/x", "Ce-Type", "tidings.publish"}, "bin", `<json xmlns='urn:xmpp:json:0'>{"n":2}</json>`},
	} {
		node := fmt.Sprintf("/faces/%d", i)
		resp, body := f.do("POST", "/topics"+node, c.body, append(c.header, "Content-Type", c.contentType)...)
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s %s", c.name, resp.Status, body)
		}
		var receipt struct{ Position, ID string }
		if err := json.Unmarshal([]byte(body), &receipt); err != nil || receipt.Position != resp.Header.Get("Position") {
			t.Errorf("%s: %v %s", c.name, err, body)
		}
		id := c.id
		if id == "" {
			id = receipt.Position
		}
		n := f.next()
		if receipt.ID != id || n.id != id || n.node != node || n.position != receipt.Position || !matches(n.payload, c.payload) {
			t.Errorf("%s: posted as %+v, in the node as %+v, want the id %s and\n%s", c.name, receipt, n, id, c.payload)
		}
		// It can be fetched by its id, too.
		a, err := f.iq("get", "<pubsub xmlns='"+pubsub.NS+"'><items node='"+node+"'><item id='"+id+"'/></items></pubsub>")
		if err != nil {
			t.Fatal(err)
		}
		it := a.Element.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "items").Child(pubsub.NS, "item")
		if it.Attr("id") != id || !matches(string(it.First().Raw()), c.payload) {
			t.Errorf("%s: fetched %s", c.name, it.Raw())
		}
	}
}

// matches compares a text with one in which * stands for anything.
func matches(got, want string) bool {
	parts := strings.Split(want, "*")
	if !strings.HasPrefix(got, parts[0]) || !strings.HasSuffix(got, parts[len(parts)-1]) {
		return false
	}
	for _, p := range parts {
		i := strings.Index(got, p)
		if i < 0 {
			return false
		}
		got = got[i+len(p):]
	}
	return true
}

// An item published over XMPP is at /topics/{node}, with the same id and Position, byte for byte; and HTTP tells nobody who
// has published it.
func TestPublishedIsAtTheTopic(t *testing.T) {
	f := newFaces(t, nil)
	f.set("<subscribe node='/**' jid='ann@localhost/desk'/>")
	for i, c := range []struct {
		name, node, id, payload string
		contentType, body       string // "" as the payload
	}{
		{"Atom", "/faces/atom", "e-1", anEntry, "application/atom+xml;type=entry", ""},
		{"without an id", "/faces/atom", "", anEntry, "application/atom+xml;type=entry", ""},
		{"any XML", "/faces/xml", "x & y", "<a:b xmlns:a='urn:a'><a:c d='&lt;'/></a:b>", "application/xml", ""},
		{"JSON", "/faces/json", "j", `<json xmlns='urn:xmpp:json:0'>{"a": "&lt;1>"}</json>`, "application/json", `{"a": "<1>"}`},
		{"a change", "/faces/rc", "c", "<rc xmlns='' type='edit' ns='0' title='Foo'/>", recentchange.TypeRC, ""},
		{"a node that is no path", "princely_musings", "ü", "<a xmlns='urn:a'/>", "application/xml", ""},
	} {
		item := "<item"
		if c.id != "" {
			item += " id='" + string(xmlstream.AppendAttr(nil, c.id)) + "'"
		}
		a := f.set("<publish node='" + c.node + "'>" + item + ">" + c.payload + "</item></publish>")
		id := a.Element.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "publish").Child(pubsub.NS, "item").Attr("id")
		n := f.next()
		topic, err := tidings.TopicOfNode(c.node)
		if err != nil {
			t.Fatal(err)
		}
		if n.id != id || c.id != "" && id != c.id || c.id == "" && id != n.position {
			t.Errorf("%s: published as %q, told %+v", c.name, id, n)
		}
		want := c.body
		if want == "" {
			want = c.payload
		}
		resp, body := f.do("GET", topicurl.Item(topic, id), "")
		if resp.StatusCode != 200 || body != want || resp.Header.Get("Content-Type") != c.contentType || resp.Header.Get("Position") != n.position {
			t.Errorf("%s: the topic has %s %v\n%s\nwant\n%s", c.name, resp.Status, resp.Header, body, want)
		}
		list := ""
		if resp, list = f.do("GET", topicurl.Of(topic)+"?format=json", ""); resp.StatusCode != 200 || !strings.Contains(list, `"position":"`+n.position+`"`) {
			t.Errorf("%s: %s %s", c.name, resp.Status, list)
		}
		line := f.line(topicurl.Of(topic) + "?format=ndjson&since=" + tidings.Position{Epoch: f.s.journal.Head().Epoch, Offset: uint64(i)}.String())
		if !strings.Contains(line, n.position) {
			t.Errorf("%s: %s", c.name, line)
		}
		if all := fmt.Sprint(resp.Header, body, list, line); strings.Contains(all, "ann") {
			t.Errorf("%s: HTTP tells who has published it: %s", c.name, all)
		}
	}
}

// line returns the first line of a stream that is an event.
func (f *faces) line(target string) string {
	f.Helper()
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+f.s.listener.Addr().String()+target, nil)
	if err != nil {
		f.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for {
		b, err := in.ReadBytes('\n')
		if err != nil {
			f.Fatalf("%s: %v", target, err)
		}
		if b = bytes.TrimSpace(b); len(b) > 2 {
			return string(b)
		}
	}
}

// Publishing an id again is a new version of the item by either way; a key again is the same event.
func TestPublishedAgain(t *testing.T) {
	f := newFaces(t, nil)
	f.set("<subscribe node='/faces/*' jid='ann@localhost/desk'/>")
	f.set("<publish node='/faces/a'><item id='x'><a xmlns='urn:a'>1</a></item></publish>")
	first := f.next()
	for _, c := range []struct {
		name, body string
		header     []string
		status     int
		fresh      bool
		versions   string // of the item x, and the number of items
	}{
		{"a version over HTTP", "<a xmlns='urn:a'>2</a>", []string{"Item-ID", "x"}, 201, true, "<a xmlns='urn:a'>2</a> 1"},
		{"the same again", "<a xmlns='urn:a'>2</a>", []string{"Item-ID", "x"}, 201, true, "<a xmlns='urn:a'>2</a> 1"},
		{"with a key", "<a xmlns='urn:a'>3</a>", []string{"Item-ID", "x", "Idempotency-Key", "k"}, 201, true, "<a xmlns='urn:a'>3</a> 1"},
		{"the key again", "<a xmlns='urn:a'>3</a>", []string{"Item-ID", "x", "Idempotency-Key", "k"}, 200, false, "<a xmlns='urn:a'>3</a> 1"},
		{"the key for something else", "<a xmlns='urn:a'>4</a>", []string{"Item-ID", "x", "Idempotency-Key", "k"}, 409, false, "<a xmlns='urn:a'>3</a> 1"},
		{"another item", "<a xmlns='urn:a'>5</a>", []string{"Item-ID", "y"}, 201, true, "<a xmlns='urn:a'>3</a> 2"},
		{"a version over XMPP", "", nil, 0, true, "<a xmlns='urn:a'>6</a> 2"},
		{"an old CloudEvent's id", `{"specversion":"1.0","id":"x","source":"/topics/x","type":"tidings.publish","datacontenttype":"text/xml","data":"<a xmlns='urn:a'>7</a>"}`,
			[]string{"Content-Type", "application/cloudevents+json"}, 201, true, "<a xmlns='urn:a'>7</a> 2"},
	} {
		if c.status == 0 {
			f.set("<publish node='/faces/a'><item id='x'><a xmlns='urn:a'>6</a></item></publish>")
		} else if resp, body := f.do("POST", "/topics/faces/a", c.body, append([]string{"Content-Type", "application/xml"}, c.header...)...); resp.StatusCode != c.status {
			t.Fatalf("%s: %s %s", c.name, resp.Status, body)
		}
		if c.fresh {
			if n := f.next(); n.position == first.position {
				t.Errorf("%s: %+v", c.name, n)
			}
		}
		a, err := f.iq("get", "<pubsub xmlns='"+pubsub.NS+"'><items node='/faces/a'/></pubsub>")
		if err != nil {
			t.Fatal(err)
		}
		count, x := 0, ""
		for it := range a.Element.Child(pubsub.NS, "pubsub").Child(pubsub.NS, "items").Children() {
			if count++; it.Attr("id") == "x" {
				x += string(it.First().Raw())
			}
		}
		if got := fmt.Sprint(x, " ", count); got != c.versions {
			t.Errorf("%s: the node has %s, want %s", c.name, got, c.versions)
		}
		if _, body := f.do("GET", "/topics/faces/a?item=x", ""); body != x {
			t.Errorf("%s: the topic has %s", c.name, body)
		}
	}
	// Nothing came of the repeats.
	f.set("<publish node='/faces/b'><item id='last'><a xmlns='urn:a'/></item></publish>")
	if n := f.next(); n.id != "last" {
		t.Errorf("told of %+v", n)
	}
}

// What a node's configuration says holds for what is posted, and the answer says what to do.
func TestPostedToNodes(t *testing.T) {
	f := newFaces(t, func(c *config.Config) { c.PubSub.MaxPayload = 1000 })
	ann := pubsub.Entity{Actor: tidings.Actor{Kind: tidings.User, Name: "ann@localhost"}, JID: "ann@localhost/desk"}
	node := func(name string, fields ...string) {
		v := pubsub.Values{}
		for i := 0; i < len(fields); i += 2 {
			v["pubsub#"+fields[i]] = []string{fields[i+1]}
		}
		if _, err := f.s.nodes.Create(t.Context(), ann, name, v); err != nil {
			t.Fatal(err)
		}
	}
	node("/small", "max_payload_size", "10")
	node("/full", "max_items", "2", "publish_node_full", "reject")
	node("/next", "max_items", "2", "publish_node_full", "retract-oldest")
	node("/atoms", "type", "http://www.w3.org/2005/Atom")
	node("/bells", "persist_items", "0", "deliver_payloads", "0")
	node("/silent", "persist_items", "0")
	node("/closed", "access_model", "whitelist")
	node("/moved")
	if err := f.s.nodes.Delete(t.Context(), ann, "/moved", "xmpp:pubsub.localhost?;node=/small"); err != nil {
		t.Fatal(err)
	}
	const cloud = "application/cloudevents+json"
	const batch = "application/cloudevents-batch+json"
	own := func(id, data string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/","type":"tidings.publish"` + data + `}`
	}
	for _, c := range []struct {
		name, topic, contentType, body string
		header                         []string
		status                         int
		detail                         string // a part of it
	}{
		{"a node's size", "/small", "text/plain", "0123456789", nil, 201, ""},
		{"above it", "/small", "text/plain", "0123456789a", nil, 413, "the payload has 11 bytes and may have 10: send less, or have an owner of the node change its max_payload_size"},
		{"above the service's", "/atoms", "application/atom+xml", "<entry xmlns='http://www.w3.org/2005/Atom'>" + strings.Repeat("x", 1000) + "</entry>", nil, 413, "may have 1000: send less"},
		{"a topic without a node", "/free", "text/plain", strings.Repeat("x", 5000), nil, 201, ""},
		{"a batch", "/small", batch, "[" + own("a", `,"data":1`) + "," + own("b", `,"data":"01234567890"`) + "]", nil, 413, "may have 10"},
		{"a batch that fits", "/small", batch, "[" + own("a", `,"data":1`) + "," + own("b", `,"data":"0123"`) + "]", nil, 201, ""},
		{"an empty batch", "/small", batch, "[]", nil, 200, ""},
		{"the first", "/full", "text/plain", "1", []string{"Item-ID", "a"}, 201, ""},
		{"the second", "/full", "text/plain", "2", []string{"Item-ID", "b", "Idempotency-Key", "k"}, 201, ""},
		{"one too many", "/full", "text/plain", "3", nil, 409, "the node /full is full: it keeps 2 items: retract one with DELETE /topics/full?item=ID, publish a new version of one under its Item-ID, or have an owner of the node change its max_items or publish_node_full"},
		{"a repeat", "/full", "text/plain", "2", []string{"Item-ID", "b", "Idempotency-Key", "k"}, 200, ""},
		{"a version", "/full", "text/plain", "4", []string{"Item-ID", "a"}, 201, ""},
		{"two of a batch", "/next", batch, "[" + own("a", `,"data":1`) + "," + own("b", `,"data":2`) + "]", nil, 201, ""},
		{"the oldest goes", "/next", batch, "[" + own("c", `,"data":3`) + "]", nil, 201, ""},
		{"an entry", "/atoms", "application/atom+xml", anEntry, nil, 201, ""},
		{"another namespace", "/atoms", "application/xml", "<a xmlns='urn:a'/>", nil, 400, `the payload is of the namespace "urn:a", the node's are of "http://www.w3.org/2005/Atom": send`},
		{"no payload", "/small", cloud, own("a", ""), nil, 400, "the item has no payload: send one"},
		{"an item for a bell", "/bells", "text/plain", "x", nil, 400, "the node /bells takes notifications without items: send an empty body without an Item-ID"},
		{"a bell", "/bells", "text/plain", "", nil, 201, ""},
		{"what is not kept", "/silent", "text/plain", "x", nil, 201, ""},
		{"a node that is closed, by a scope", "/closed", "text/plain", "x", nil, 201, ""},
		{"a node that is closed, by nobody", "/closed", "text/plain", "x", []string{"Authorization", ""}, 401, "Bearer TOKEN"},
		{"a node that has gone", "/moved", "text/plain", "x", nil, 404, "the node /moved is now at xmpp:pubsub.localhost?;node=/small: publish there"},
	} {
		before := f.s.journal.Head()
		resp, body := f.do("POST", "/topics"+c.topic, c.body, append([]string{"Content-Type", c.contentType}, c.header...)...)
		var problem struct {
			Status, Limit int
			Detail        string
		}
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s %s", c.name, resp.Status, body)
			continue
		}
		if c.status < 400 {
			continue
		}
		if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Status != c.status || !strings.Contains(problem.Detail, c.detail) {
			t.Errorf("%s: %v %s, want %s", c.name, err, body, c.detail)
		}
		if (problem.Limit > 0) != (c.status == 413) {
			t.Errorf("%s: limit %d", c.name, problem.Limit)
		}
		if f.s.journal.Head() != before {
			t.Errorf("%s: something was published", c.name)
		}
	}
	for target, want := range map[string]int{"/topics/closed": 401, "/topics/small": 200, "/topics/next?item=a": 404, "/topics/next?item=c": 200, "/topics/full?item=a": 200} {
		if resp, body := f.do("GET", target, ""); resp.StatusCode != want {
			t.Errorf("%s: %s %s", target, resp.Status, body)
		}
	}
	if resp, body := f.do("DELETE", "/topics/full?item=a", ""); resp.StatusCode != 200 {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, body := f.do("POST", "/topics/full", "3", "Content-Type", "text/plain"); resp.StatusCode != 201 {
		t.Errorf("after one was retracted: %s %s", resp.Status, body)
	}
}

// A topic of which a purge or a deletion has left nothing is in no list, and comes back with its next event.
func TestEmptiedTopicsAreNotListed(t *testing.T) {
	f := newFaces(t, nil)
	for _, name := range []string{"gone", "purged", "kept"} {
		f.set("<publish node='/" + name + "'><item id='a'><a xmlns='urn:a'/></item></publish>")
	}
	for _, op := range []string{"<delete node='/gone'/>", "<purge node='/purged'/>"} {
		if _, err := f.iq("set", "<pubsub xmlns='"+pubsub.NS+"#owner'>"+op+"</pubsub>"); err != nil {
			t.Fatal(err)
		}
	}
	lists := func() (topics, nodes string) {
		_, body := f.do("GET", "/topics", "")
		var list struct{ Topics []struct{ Topic string } }
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		for _, t := range list.Topics {
			topics += t.Topic + " "
		}
		a, err := f.iq("get", "<query xmlns='"+disco.NSItems+"'/>")
		if err != nil {
			t.Fatal(err)
		}
		for it := range a.Element.Child(disco.NSItems, "query").Children() {
			nodes += it.Attr("node") + " "
		}
		return strings.TrimSpace(topics), strings.TrimSpace(nodes)
	}
	if topics, nodes := lists(); topics != "/kept" || nodes != "/kept /purged" {
		t.Errorf("topics %s, nodes %s", topics, nodes)
	}
	for _, name := range []string{"gone", "purged"} {
		if resp, body := f.do("POST", "/topics/"+name, "x", "Content-Type", "text/plain"); resp.StatusCode != 201 {
			t.Fatal(body)
		}
	}
	if topics, nodes := lists(); topics != "/gone /kept /purged" || nodes != "/gone /kept /purged" {
		t.Errorf("afterwards: topics %s, nodes %s", topics, nodes)
	}
}

// A start removes the subscriptions that sessions without an account have left, and nobody else's.
func TestSweptAtStart(t *testing.T) {
	data := t.TempDir()
	s := facesServer(t, data, nil)
	if err := s.accounts.Add(t.Context(), "ann", "secret"); err != nil {
		t.Fatal(err)
	}
	jids := []string{"f81d4fae@localhost/guest", "ann@localhost/desk", "yorick@norway.lit/field"}
	for _, j := range jids {
		who := pubsub.Entity{JID: j}
		if !strings.HasPrefix(j, "f81d4fae") {
			bare, _, _ := strings.Cut(j, "/")
			who.Actor = tidings.Actor{Kind: tidings.User, Name: bare}
		}
		if _, err := s.nodes.Subscribe(t.Context(), who, "/news/*", j, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		addr string
		want int
	}{{config.Off, 3}, {"127.0.0.1:0", 2}} { // a server that serves no XMPP has no sessions either, and leaves them to one that does
		s = facesServer(t, data, func(c *config.Config) { c.XMPP.Addr, c.XMPP.WebSocket = tc.addr, false })
		s.sources.Wait()
		subs, err := s.nodes.NodeSubscriptions(t.Context(), pubsub.Entity{Actor: tidings.Actor{Kind: tidings.System}}, "/news/*")
		if err != nil || len(subs) != tc.want {
			t.Errorf("with XMPP at %s: %+v, %v", tc.addr, subs, err)
		}
		for _, sub := range subs {
			if tc.want == 2 && sub.JID == jids[0] {
				t.Errorf("%s is there", sub.JID)
			}
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The service of nodes is as [pubsub] says.
func TestPubSubConfig(t *testing.T) {
	f := newFaces(t, func(c *config.Config) {
		c.PubSub.Admins, c.PubSub.Create, c.PubSub.Reserved = []string{"Ann@localhost"}, "admins", []string{}
		c.PubSub.DefaultAccess, c.PubSub.DefaultMaxItems, c.PubSub.DefaultMaxPayload = "whitelist", 7, 2<<20
	})
	f.set("<create node='/recentchange/x'/>") // which is not reserved
	c := f.s.nodes.Lookup("/recentchange/x")
	if c == nil || c.AccessModel != pubsub.AccessWhitelist || c.MaxItems != 7 || c.MaxPayloadSize != 1<<20 {
		t.Errorf("%+v", c)
	}
	if err := f.s.accounts.Add(t.Context(), "bob", "secret"); err != nil {
		t.Fatal(err)
	}
	bob := pubsub.Entity{Actor: tidings.Actor{Kind: tidings.User, Name: "bob@localhost"}, JID: "bob@localhost/x"}
	if _, err := f.s.nodes.Create(t.Context(), bob, "/b", nil); tidings.KindOf(err) != tidings.ErrForbidden {
		t.Errorf("bob creates: %v", err)
	}
}
