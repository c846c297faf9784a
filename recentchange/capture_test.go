package recentchange

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// datagrams returns the datagrams of a capture: each has its length before it, four bytes, big-endian.
func datagrams(t testing.TB, path string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for len(b) >= 4 {
		n := binary.BigEndian.Uint32(b)
		all = append(all, b[4:4+n])
		b = b[4+n:]
	}
	if len(all) == 0 {
		t.Fatalf("%s has no datagrams", path)
	}
	return all
}

// captures returns the captures there are by name: this package's own, and the shared one where it is present.
func captures(t *testing.T) map[string]string {
	t.Helper()
	dirs := map[string]string{"own": filepath.Join("testdata", "capture")}
	dir := filepath.Join(shared(), "data", "mediawiki-1.39-udp")
	if _, err := os.Stat(dir); err == nil {
		dirs["shared"] = dir
	} else {
		t.Log("the shared capture is absent: testing with our own only")
	}
	return dirs
}

func shared() string {
	if dir := os.Getenv("TIDINGS_SHARED"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "shared")
}

func decodeAll(t testing.TB, dir, dialect, contentType string) []*RecentChange {
	t.Helper()
	var all []*RecentChange
	for i, d := range datagrams(t, filepath.Join(dir, dialect+".datagrams")) {
		if ct, ok := Detect(d); !ok || ct != contentType {
			t.Fatalf("%s %d: detected as %q", dialect, i, ct)
		}
		before := bytes.Clone(d)
		rc, err := Decode(contentType, d)
		if err != nil {
			t.Fatalf("%s %d: %v\n%q", dialect, i, err, d)
		}
		if !bytes.Equal(before, d) {
			t.Fatalf("%s %d: decoding has changed the payload", dialect, i)
		}
		all = append(all, rc)
	}
	return all
}

func TestJSONAgain(t *testing.T) {
	for name, dir := range captures(t) {
		t.Run(name, func(t *testing.T) {
			for i, d := range datagrams(t, filepath.Join(dir, "json.datagrams")) {
				rc, err := Decode(TypeJSON, d)
				if err != nil {
					t.Fatal(err)
				}
				if got := rc.AppendJSON(nil); !bytes.Equal(got, d) {
					t.Errorf("datagram %d\n got %s\nwant %s", i, got, d)
				}
				// A change made by a program has MediaWiki's order too.
				made := *rc
				made.orderLen = 0
				if got := made.AppendJSON(nil); !bytes.Equal(got, d) {
					t.Errorf("datagram %d without the received order\n got %s\nwant %s", i, got, d)
				}
			}
		})
	}
}

func TestXMLEqualsJSON(t *testing.T) {
	for name, dir := range captures(t) {
		t.Run(name, func(t *testing.T) {
			js := decodeAll(t, dir, "json", TypeJSON)
			xs := decodeAll(t, dir, "xml", TypeXML)
			if len(js) != len(xs) {
				t.Fatalf("%d JSON and %d XML datagrams", len(js), len(xs))
			}
			for i, j := range js {
				x := xs[i]
				want := *j
				want.Dialect, want.order, want.orderLen = x.Dialect, x.order, x.orderLen
				if p, ok := want.Patrolled.Get(); ok && !p {
					want.Patrolled = Opt[bool]{} // the loss of XML: false is not there
				}
				if got, want := norm(t, x.LogParams.Value()), norm(t, want.LogParams.Value()); !reflect.DeepEqual(got, want) {
					t.Errorf("%d: log_params\n got %v\nwant %v", i, got, want)
				}
				if want.LogParams.IsSet() != x.LogParams.IsSet() {
					t.Errorf("%d: log_params in one only", i)
				}
				want.LogParams = x.LogParams
				if !reflect.DeepEqual(&want, x) {
					t.Errorf("%d: \n got %+v\nwant %+v", i, x, &want)
				}
			}
		})
	}
}

// norm returns the parameters of a log entry as far as XML can tell: no nulls and no false, true and numbers as text, an
// array with numeric keys as a list, and everything that is empty as nil.
func norm(t *testing.T, j JSON) any {
	t.Helper()
	if j == "" {
		return nil
	}
	var v any
	d := json.NewDecoder(strings.NewReader(string(j)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, j)
	}
	return normValue(v)
}

func normValue(v any) any {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case string:
		if v != "" {
			return v
		}
	case []any:
		list := []any{}
		for _, e := range v {
			if e != nil {
				list = append(list, normValue(e))
			}
		}
		if len(list) > 0 {
			return list
		}
	case map[string]any:
		list, out := []any{}, map[string]any{}
		for i := range len(v) + 1 { // array_filter keeps the keys, which need not begin at 0
			if e, ok := v[strconv.Itoa(i)]; ok {
				list = append(list, normValue(e))
			}
		}
		if len(list) > 0 && len(list) == len(v) {
			return list
		}
		for k, e := range v {
			if e != nil && e != false {
				out[k] = normValue(e)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// TestIRCEqualsJSON compares each line with the JSON of the same change: categorize has no line (T127360), and what
// there is of namespace, timestamp, lengths and log_params in JSON is lost.
func TestIRCEqualsJSON(t *testing.T) {
	for name, dir := range captures(t) {
		t.Run(name, func(t *testing.T) {
			raw := datagrams(t, filepath.Join(dir, "irc.datagrams"))
			ircs := decodeAll(t, dir, "irc", TypeIRC)
			i := 0
			for _, j := range decodeAll(t, dir, "json", TypeJSON) {
				if j.Type == Categorize {
					continue
				}
				if i == len(ircs) {
					t.Fatalf("there are only %d lines", i)
				}
				_, line := cutPrefix(raw[i])
				line = append(bytes.TrimSuffix(line, []byte("\n")), '\n')
				got, ok := j.AppendIRC(nil, Wiki{})
				if !ok || !bytes.Equal(got, line) {
					t.Errorf("%d: the line\n got %q\nwant %q", i, got, line)
				}
				if again, ok := ircs[i].AppendIRC(nil, Wiki{}); !ok || !bytes.Equal(again, line) {
					t.Errorf("%d: the line of the line\n got %q\nwant %q", i, again, line)
				}
				compareIRC(t, i, ircs[i], j)
				i++
			}
			if i != len(ircs) {
				t.Errorf("%d lines are left", len(ircs)-i)
			}
		})
	}
}

func compareIRC(t *testing.T, i int, got, json *RecentChange) {
	t.Helper()
	text := func(s Opt[string]) Opt[string] { return Some(string(appendIRCText(nil, s.Value()))) }
	type fields struct {
		Type                                                    string
		Title, Comment, User, LogType, LogAction, ActionComment Opt[string]
		ID                                                      Opt[int64]
		Bot, Minor, Patrolled                                   Opt[bool]
		Revision                                                Opt[Pair]
		Server, URL, Script                                     Opt[string]
		Diff                                                    int64
	}
	of := func(rc *RecentChange) fields {
		d, _ := rc.Diff()
		return fields{rc.Type, rc.Title, rc.Comment, rc.User, rc.LogType, rc.LogAction, rc.LogActionComment, rc.ID, rc.Bot, rc.Minor,
			rc.Patrolled, rc.Revision, rc.ServerName, rc.ServerURL, rc.ServerScriptPath, d}
	}
	w, g := of(json), of(got)
	w.User, w.Title = text(w.User), text(w.Title)
	if json.Type == Log {
		// No address, no flags, no rcid; the action and the summary are one text; the title is told where it is linked.
		w.ActionComment = text(w.ActionComment)
		w.Comment, w.ID, w.Bot, w.Patrolled = g.Comment, g.ID, g.Bot, g.Patrolled
		w.Server, w.URL, w.Script = g.Server, g.URL, g.Script
		if g.Title.IsAbsent() {
			w.Title = g.Title
		}
	} else {
		w.Comment = text(w.Comment)
		if !json.Patrolled.IsSet() {
			w.ID = g.ID
		}
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("%d:\n got %+v\nwant %+v", i, g, w)
	}
}

var oldOrder = regexp.MustCompile(`( pageid="\d+" revid="\d+" old_revid="\d+")( rcid="\d+")`)

// TestRCAgain accounts for the one difference in order between MediaWiki 1.39, which made the capture, and 1.16 to 1.19,
// whose order AppendRC has: the place of rcid.
func TestRCAgain(t *testing.T) {
	dir := captures(t)["own"]
	raw := datagrams(t, filepath.Join(dir, "rc.datagrams"))
	for i, rc := range decodeAll(t, dir, "rc", TypeRC) {
		want := oldOrder.ReplaceAll(bytes.TrimSpace(raw[i]), []byte("$2$1"))
		if got := rc.AppendRC(nil); !bytes.Equal(got, want) {
			t.Errorf("%d\n got %s\nwant %s", i, got, want)
		}
	}
}

// TestRCEqualsJSON asks both ways: the element decoded is the JSON's change, and the JSON's element is the one received.
func TestRCEqualsJSON(t *testing.T) {
	dir := captures(t)["own"]
	byID := map[string]*RecentChange{}
	for _, j := range decodeAll(t, dir, "json", TypeJSON) {
		if k := j.Key(); strings.HasPrefix(k, "rc/") {
			byID[k] = j
		}
	}
	wikis := Wikis{}
	for _, j := range byID {
		wikis[j.Wiki.Value()] = Wiki{ServerURL: j.ServerURL.Value(), ScriptPath: j.ServerScriptPath.Value()}
	}
	raw := datagrams(t, filepath.Join(dir, "rc.datagrams"))
	seen := 0
	for i, rc := range decodeAll(t, dir, "rc", TypeRC) {
		j := byID[rc.Key()]
		if j == nil {
			continue // an entry that the other feed has without an id
		}
		seen++
		wikis.Fill(rc, j.Time())
		want := *j
		want.Dialect, want.order, want.orderLen = rc.Dialect, rc.order, rc.orderLen
		// What only <rc> has, and what it has not or in another form.
		want.PageID, want.UserID, want.Anon, want.Redirect, want.Tags = rc.PageID, rc.UserID, rc.Anon, rc.Redirect, rc.Tags
		want.rcChildren, want.rcRevision, want.rcLength = rc.rcChildren, rc.rcRevision, rc.rcLength
		want.LogParams, want.LogActionComment, want.Patrolled = rc.LogParams, rc.LogActionComment, rc.Patrolled
		if !reflect.DeepEqual(rc, &want) {
			t.Errorf("%d\n got %+v\nwant %+v", i, rc, &want)
		}
		if rc.anonymous() != j.anonymous() {
			t.Errorf("%d: anonymous in one only: %s", i, raw[i])
		}
		lost := []string{"pageid", "userid", "redirect"}
		if j.Type == Log || j.Type == Categorize {
			lost = append(lost, "revid", "old_revid")
		}
		got, err := parseXML(j.AppendRC(nil), "rc")
		if err != nil {
			t.Fatal(err)
		}
		received, err := parseXML(oldOrder.ReplaceAll(raw[i], []byte("$2$1")), "rc")
		if err != nil {
			t.Fatal(err)
		}
		if g, w := without(got, lost), without(received, lost); g != w {
			t.Errorf("%d\n got %s\nwant %s", i, g, w)
		}
	}
	if seen < 50 {
		t.Errorf("only %d elements had their JSON", seen)
	}
}

// without returns the element's tag without the attributes that are lost.
func without(n *node, lost []string) string {
	bare := &node{name: n.name}
next:
	for _, a := range n.attrs {
		for _, l := range lost {
			if a.Name.Local == l {
				continue next
			}
		}
		bare.attrs = append(bare.attrs, a)
	}
	return string(bare.appendXML(nil, 0))
}

// events calls f for each real event of the shared collection.
func events(t *testing.T, f func(line []byte)) {
	t.Helper()
	file, err := os.Open(filepath.Join(shared(), "data", "eventstreams-full-mixed.ndjson.gz"))
	if err != nil {
		t.Skip("the shared collection of EventStreams events is absent")
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	if _, err := all.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(all.Bytes()) {
		f(bytes.TrimRight(line, "\n"))
	}
}
