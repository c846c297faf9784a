package recentchange

import (
	"bytes"
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
)

func TestIsRecentChange(t *testing.T) {
	for ct, want := range map[string]bool{
		TypeJSON: true, TypeXML: true, TypeRC: true, TypeIRC: true, TypeEventStreams: true, TypeAPI: true,
		TypeJSON + "; charset=utf-8": true, "Application/VND.MediaWiki.rc+XML ; a=b": true,
		"application/json": false, "": false, "application/vnd.mediawiki.other+json": false, "mediawiki;;": false,
	} {
		if got := IsRecentChange(ct); got != want {
			t.Errorf("%q: got %v", ct, got)
		}
	}
}

func TestRefused(t *testing.T) {
	deep := strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40)
	many := `{"type":"edit"` + strings.Repeat(`,"x":1`, 200) + `}`
	for _, test := range []struct {
		name, ct, payload string
		want              Reason
	}{
		{"nothing", TypeJSON, "", Empty},
		{"blanks", TypeXML, " \n", Empty},
		{"too large", TypeJSON, `{"type":"` + strings.Repeat("x", MaxBytes) + `"}`, TooLarge},
		{"no object", TypeJSON, `[1]`, Malformed},
		{"two objects", TypeJSON, `{"type":"edit"}{}`, Malformed},
		{"a comma", TypeJSON, `{"type":"edit",}`, Malformed},
		{"twice", TypeJSON, `{"type":"edit","wiki":"a","wiki":"b"}`, Malformed},
		{"no type", TypeJSON, `{"wiki":"a"}`, MissingField},
		{"null type", TypeJSON, `{"type":null}`, MissingField},
		{"type", TypeJSON, `{"type":{}}`, BadField},
		{"title", TypeJSON, `{"type":"edit","title":[]}`, BadField},
		{"bot", TypeJSON, `{"type":"edit","bot":"yes"}`, BadField},
		{"id", TypeJSON, `{"type":"edit","id":"abc"}`, BadField},
		{"fraction", TypeJSON, `{"type":"edit","timestamp":1.5}`, BadField},
		{"overflow", TypeJSON, `{"type":"edit","id":99999999999999999999}`, BadField},
		{"length", TypeJSON, `{"type":"edit","length":7}`, BadField},
		{"length member", TypeJSON, `{"type":"edit","length":{"mid":1}}`, BadField},
		{"meta", TypeEventStreams, `{"type":"edit","meta":[]}`, BadField},
		{"canary", TypeEventStreams, `{"$schema":"/mediawiki/recentchange/1.0.1","meta":{"domain":"canary","dt":"2024-01-01T00:00:00Z"}}`, Canary},
		{"deep", TypeJSON, `{"type":"log","log_params":` + deep + `}`, TooDeep},
		{"many", TypeJSON, many, Malformed},
		{"bytes", TypeJSON, "{\"type\":\"edit\",\"user\":\"\xff\"}", InvalidUTF8},
		{"half a pair", TypeJSON, `{"type":"edit","user":"\ud83d"}`, InvalidUTF8},
		{"dialect", "application/json", `{}`, UnknownDialect},
		{"root", TypeXML, `<rc type="edit"/>`, Malformed},
		{"doctype", TypeXML, `<!DOCTYPE x><recentchange type="edit"/>`, Malformed},
		{"entity", TypeXML, `<recentchange type="&x;"/>`, Malformed},
		{"two roots", TypeXML, `<recentchange type="edit"/><recentchange/>`, Malformed},
		{"text", TypeXML, `x<recentchange type="edit"/>`, Malformed},
		{"control", TypeXML, "<recentchange type=\"edit\" comment=\"\x01\"/>", Malformed},
		{"prefix", TypeXML, `<a:recentchange type="edit"/>`, Malformed},
		{"attribute prefix", TypeRC, `<rc type="edit" a:b=""/>`, Malformed},
		{"attribute twice", TypeRC, `<rc type="edit" user="" user=""/>`, Malformed},
		{"end", TypeRC, `<rc type="edit"></cr>`, Malformed},
		{"deep XML", TypeRC, `<rc type="log">` + strings.Repeat("<a>", 40) + strings.Repeat("</a>", 40) + `</rc>`, TooDeep},
		{"number", TypeRC, `<rc type="edit" rcid="x"/>`, BadField},
		{"time", TypeRC, `<rc type="edit" timestamp="1700000000"/>`, BadField},
		{"twice in XML", TypeXML, `<recentchange type="edit" x="1"><x>2</x></recentchange>`, Malformed},
		{"element for an attribute", TypeXML, `<recentchange type="edit"><title>2</title></recentchange>`, BadField},
		{"attribute for an element", TypeXML, `<recentchange type="edit" length="2"/>`, BadField},
		{"no type in XML", TypeXML, `<recentchange/>`, MissingField},
		{"bytes in XML", TypeXML, "<recentchange type=\"\xff\"/>", InvalidUTF8},
		{"plain line", TypeIRC, "#en\t hello \x03 x", Malformed},
		{"other colours", TypeIRC, "\x0314[[\x0307A\x0314]]\x035 \x0310 x", Malformed},
		{"flags", TypeIRC, "\x0314[[\x0307A\x0314]]\x034 Q\x0310 \x0302http://w/?diff=1&oldid=2\x03 \x035*\x03 \x0303U\x03 \x035*\x03 (+1) \x0310c\x03\n", BadField},
		{"size", TypeIRC, "\x0314[[\x0307A\x0314]]\x034 \x0310 \x0302http://w/?diff=1&oldid=2\x03 \x035*\x03 \x0303U\x03 \x035*\x03 1 \x0310c\x03\n", BadField},
		{"address", TypeIRC, "\x0314[[\x0307A\x0314]]\x034 \x0310 \x0302:\x03 \x035*\x03 \x0303U\x03 \x035*\x03 (+1) \x0310c\x03\n", BadField},
		{"no log", TypeIRC, "\x0314[[\x0307A\x0314]]\x034 \x0310 \x0302\x03 \x035*\x03 \x0303U\x03 \x035*\x03  \x0310c\x03\n", BadField},
		{"lines", TypeIRC, "\x0314[[\n\x0307A", Malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			rc, err := Decode(test.ct, []byte(test.payload))
			if rc != nil || ReasonOf(err) != test.want {
				t.Fatalf("got %+v, %v; want %s", rc, err, test.want)
			}
			kind := tidings.ErrInvalid
			if test.want == TooLarge {
				kind = tidings.ErrTooLarge
			}
			if !errors.Is(err, kind) {
				t.Errorf("the kind of %v is %v", err, tidings.KindOf(err))
			}
		})
	}
}

// TestCut cuts real payloads at every byte: each must be told as truncated, because the transport does that to long ones.
func TestCut(t *testing.T) {
	dir := filepath.Join("testdata", "capture")
	for _, d := range []struct{ name, ct string }{{"json", TypeJSON}, {"xml", TypeXML}, {"rc", TypeRC}, {"irc", TypeIRC}} {
		all := datagrams(t, filepath.Join(dir, d.name+".datagrams"))
		for _, payload := range all[:8] {
			payload = bytes.TrimRight(payload, "\n")
			start := len(payload) - len(bytes.TrimLeft(payload, " \n")) + 1
			end := len(payload)
			if d.ct == TypeIRC { // a cut comment is a comment
				start = bytes.IndexByte(payload, '\x03') + 1
				end = bytes.LastIndex(payload, []byte(" \x0310")) + 2
			}
			for i := start; i < end; i++ {
				rc, err := Decode(d.ct, payload[:i])
				if rc != nil || ReasonOf(err) != Truncated && !(d.ct == TypeIRC && ReasonOf(err) == InvalidUTF8) {
					t.Fatalf("%q: %v", payload[:i], err)
				}
			}
		}
	}
	long := `{"id":1,"type":"edit","comment":"` + strings.Repeat(`\u2603`, 11000)
	if _, err := Decode(TypeJSON, []byte(long[:65507])); ReasonOf(err) != Truncated {
		t.Errorf("cut at 65507 bytes: %v", err)
	}
}

// TestQuirks holds what is odd in the dialects, one each.
func TestQuirks(t *testing.T) {
	type check struct{ field, want string }
	const gone = "\x00"
	for _, test := range []struct {
		name, payload string
		ct            string
		checks        []check
	}{
		{"id null", `{"id":null,"type":"log","log_id":41}`, TypeJSON, []check{{"id", gone}, {"log_id", "41"}}},
		{"id text", `{"id":"7","type":"edit"}`, TypeJSON, []check{{"id", "7"}}},
		{"type number", `{"type":142}`, TypeJSON, []check{{"type", "142"}}},
		{"type text", `{"type":"142"}`, TypeJSON, []check{{"type", "142"}}},
		{"white space", " {\n \"type\" : \"edit\",\n \"bot\":true, \"new_thing\": {\"a\": [1, 2]} }\n", TypeJSON, []check{{"type", "edit"}, {"bot", "true"}, {"new_thing", gone}}},
		{"escaped name", `{"ty\u0070e":"edit","x\u0041":"1"}`, TypeJSON, []check{{"type", "edit"}, {"xA", "1"}}},
		{"new page", `{"type":"new","length":{"old":null,"new":16},"revision":{"old":null,"new":23}}`, TypeJSON,
			[]check{{"length.old", gone}, {"length.new", "16"}, {"revision.old", gone}, {"revision.new", "23"}}},
		{"no user", `{"type":"edit","meta":{"domain":"x.example"}}`, TypeEventStreams, []check{{"user", gone}, {"meta.domain", "x.example"}}},
		{"of 2017", `{"meta":{"schema_uri":"mediawiki/recentchange/1","dt":"2017-02-18T07:27:48+01:00"},"type":"edit","minor":false}`, TypeEventStreams,
			[]check{{"minor", "false"}, {"$schema", Schema}, {"meta.stream", DefaultStream}}},
		{"surrogates", `{"type":"edit","title":"\ud83d\ude00 \u003Cb\u003E"}`, TypeJSON, []check{{"title", "😀 <b>"}}},
		{"mangled", `<recentchange type="edit" _id="9" _1_.20.x="y" />`, TypeXML, []check{{"id", gone}, {"_id", "9"}, {"1_ x", "y"}}},
		{"declaration", `<?xml version="1.0"?><rc type="edit" ns="0" new_thing="1" user="U" anon="" />`, TypeRC, []check{{"user", "U"}, {"bot", "false"}}},
		{"move of 2010", `<rc type="move" ns="0" title="A" new_ns="1" new_title="Talk:A" wikiid="w" />`, TypeRC, []check{{"type", "move"}, {"wiki", "w"}}},
		{"pattern of patrol", `<rc type="edit" patrolled="" />`, TypeRC, []check{{"patrolled", "true"}}},
		{"unpatrolled", `<rc type="edit" unpatrolled="" />`, TypeRC, []check{{"patrolled", "false"}}},
		{"interwiki", "#d\t \x0314[[\x0303d:\x0307Q1\x0314]]\x034 MB\x0310 \x0302https://d.example/w/index.php?diff=5&oldid=4\x03 \x035*\x03 \x0303U\x03 \x035*\x03 (\x02-879\x02) \x0310c\x03\n", TypeIRC,
			[]check{{"title", "Q1"}, {"minor", "true"}, {"bot", "true"}, {"patrolled", gone}, {"id", gone}, {"revision.old", "4"}, {"server_name", "d.example"}, {"server_script_path", "/w"}}},
		{"two digits", "\x0314[[\x0307A\x0314]]\x0304 !\x0310 \x0302http://d.example/index.php?diff=5&oldid=4&rcid=3\x03 \x0305*\x03 \x0303U\x03 \x0305*\x03 (+0) \x0310\x03\n", TypeIRC,
			[]check{{"id", "3"}, {"patrolled", "false"}, {"comment", ""}, {"server_script_path", "/"}}},
		{"localised", "\x0314[[\x0307Служебная:Log/block\x0314]]\x034 block\x0310 \x0302\x03 \x035*\x03 \x0303U\x03 \x035*\x03  \x0310заблокировал [[\x0302User:X\x0310]]: y\x03\n", TypeIRC,
			[]check{{"type", "log"}, {"log_type", "block"}, {"log_action", "block"}, {"title", "User:X"}, {"log_action_comment", "заблокировал [[User:X]]: y"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if ct, ok := Detect([]byte(test.payload)); !ok || ct != test.ct {
				t.Errorf("detected as %q", ct)
			}
			rc, err := Decode(test.ct, []byte(test.payload))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range test.checks {
				if got, ok := rc.Field(c.field); got != strings.Trim(c.want, gone) || ok != (c.want != gone) {
					t.Errorf("%s is %q, %v; want %q", c.field, got, ok, c.want)
				}
			}
		})
	}
}

func TestDetectNone(t *testing.T) {
	for _, p := range []string{"", " ", "hello", "<html/>", "<", "<?xml", "<?xml?>x", "<recentchangeling>", "[1]", "#c\t", "#c\t ", "#c\t hello"} {
		if ct, ok := Detect([]byte(p)); ok {
			t.Errorf("%q is %s", p, ct)
		}
	}
}

func TestSplit(t *testing.T) {
	const line = "\x0314[[\x0307A"
	for _, test := range []struct {
		name, datagram string
		want           []string
	}{
		{"nothing", " \n\t", nil},
		{"JSON", `{"a":1}`, []string{`{"a":1}`}},
		{"JSON with a prefix", "#x\t {\"a\":1}\n", []string{"{\"a\":1}\n"}},
		{"XML", "\n  <recentchange>\n  </recentchange>", []string{"\n  <recentchange>\n  </recentchange>"}},
		{"XML with a prefix", "p \np   <recentchange>\np   </recentchange>\n", []string{"\n  <recentchange>\n  </recentchange>\n"}},
		{"a line", line + "\n", []string{line + "\n"}},
		{"lines", "#c\t " + line + "1\n#d\t " + line + "2\n\n" + line + "3", []string{"#c\t " + line + "1\n", "#d\t " + line + "2\n", line + "3"}},
		{"rubbish", "hello\nworld", []string{"hello\nworld"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for p := range Split([]byte(test.datagram)) {
				got = append(got, string(p))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	for p := range Split([]byte(line + "\n" + line)) {
		if string(p) != line+"\n" {
			t.Errorf("got %q", p)
		}
		break
	}
}

// TestPrefixed decodes every dialect as MediaWiki sends it for a feed whose URI has a path.
func TestPrefixed(t *testing.T) {
	dir := filepath.Join("testdata", "capture")
	for _, d := range []struct{ name, ct string }{{"json", TypeJSON}, {"xml", TypeXML}, {"rc", TypeRC}} {
		for _, payload := range datagrams(t, filepath.Join(dir, d.name+".datagrams")) {
			plain, err := Decode(d.ct, payload)
			if err != nil {
				t.Fatal(err)
			}
			with := bytes.ReplaceAll(append([]byte("acme "), payload...), []byte("\n"), []byte("\nacme "))
			got, err := Decode(d.ct, append(with, '\n'))
			if err != nil {
				t.Fatalf("%v\n%q", err, with)
			}
			if !reflect.DeepEqual(got, plain) {
				t.Fatalf("\n got %+v\nwant %+v", got, plain)
			}
		}
	}
}

func TestWikis(t *testing.T) {
	ws := Wikis{
		"enwiki": {ServerName: "en.wikipedia.org", ScriptPath: "/w", IRCChannel: "#en.wikipedia"},
		"acme":   {ServerURL: "http://wiki.acme.example:8080", ScriptPath: "/"},
	}
	if err := ws.Validate(); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 5)
	for _, test := range []struct {
		name string
		in   RecentChange
		want RecentChange
	}{
		{"by id", RecentChange{Wiki: Some("acme"), Timestamp: Some[int64](5)},
			RecentChange{Wiki: Some("acme"), Timestamp: Some[int64](5), ServerURL: Some("http://wiki.acme.example:8080"), ServerName: Some("wiki.acme.example"), ServerScriptPath: Some("/")}},
		{"by channel", RecentChange{Channel: "#en.wikipedia"},
			RecentChange{Channel: "#en.wikipedia", Wiki: Some("enwiki"), Timestamp: Some[int64](1_700_000_000), ServerURL: Some("https://en.wikipedia.org"), ServerName: Some("en.wikipedia.org"), ServerScriptPath: Some("/w")}},
		{"by host", RecentChange{ServerName: Some("wiki.acme.example"), ServerURL: Some("https://other"), Timestamp: Some[int64](5)},
			RecentChange{ServerName: Some("wiki.acme.example"), ServerURL: Some("https://other"), Timestamp: Some[int64](5), Wiki: Some("acme"), ServerScriptPath: Some("/")}},
		{"unknown", RecentChange{Wiki: Some("x"), Timestamp: Some[int64](5)}, RecentChange{Wiki: Some("x"), Timestamp: Some[int64](5)}},
		{"untold", RecentChange{Timestamp: Some[int64](5)}, RecentChange{Timestamp: Some[int64](5)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ws.Fill(&test.in, now)
			if !reflect.DeepEqual(test.in, test.want) {
				t.Errorf("\n got %+v\nwant %+v", test.in, test.want)
			}
		})
	}
	lone := RecentChange{}
	Wikis{"only": {ServerName: "o.example"}}.Fill(&lone, now)
	if lone.Wiki.Value() != "only" || lone.ServerName.Value() != "o.example" {
		t.Errorf("the only wiki: %+v", lone)
	}
	if id, _, ok := ws.ByHost("en.wikipedia.org"); !ok || id != "enwiki" {
		t.Errorf("by host: %q", id)
	}
	for name, bad := range map[string]Wikis{
		"channel":      {"a": {IRCChannel: "#x"}, "b": {IRCChannel: "#x"}},
		"server":       {"a": {ServerName: "x", ScriptPath: "/w"}, "b": {ServerURL: "https://x", ScriptPath: "/w"}},
		"server_url":   {"a": {ServerURL: "x"}},
		"path":         {"a": {ServerURL: "http://x/y"}},
		"article_path": {"a": {ArticlePath: "/wiki/"}},
	} {
		if err := bad.Validate(); !errors.Is(err, tidings.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
