//go:build interop && linux

package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tidings/interop/mediawiki"
)

// change is one event of /v2/stream/recentchange, its numbers as json.Number.
type change map[string]any

func parseChange(data string) (change, error) {
	var c change
	d := json.NewDecoder(bytes.NewReader([]byte(data)))
	d.UseNumber()
	if err := d.Decode(&c); err != nil {
		return nil, fmt.Errorf("%w in %.300q", err, data)
	}
	return c, nil
}

// is returns the change's type, and for a log entry its log type behind a slash: edit, new, categorize, log/move.
func (c change) is() string {
	if logType, ok := c["log_type"].(string); ok {
		return "log/" + logType
	}
	s, _ := c["type"].(string)
	return s
}

func (c change) String() string {
	b, err := json.Marshal(map[string]any(c))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// absences are the changes that a dialect does not tell at all.
var absences = []struct {
	dialect mediawiki.Dialect
	is      string
	why     string
}{
	{mediawiki.IRC, "categorize", "the IRC formatter returns nothing for it"},
	{mediawiki.RC, "log/patrol", "it is not among the stored recent changes, whose hook sends <rc>"},
	{mediawiki.RC, "log/tag", "as log/patrol"},
}

// losses are the fields in which a change that came by another dialect may differ from the same change that came as
// JSON. All other fields have to be equal.
var losses = []struct {
	dialect mediawiki.Dialect
	is      string // the beginning of change.is; "" for all
	field   string
	allowed func(inJSON, got any) bool
	why     string
}{
	{mediawiki.XML, "edit", "patrolled", missing(false), "false is left out, as it is where a wiki does not patrol"},
	{mediawiki.XML, "new", "patrolled", missing(false), "as for edit"},
	{mediawiki.XML, "log", "log_params", likeText, "values are text, false and null are left out"},

	{mediawiki.RC, "edit", "patrolled", missing(nil), "XMLRC never sends it"},
	{mediawiki.RC, "new", "patrolled", missing(nil), "XMLRC never sends it"},
	{mediawiki.RC, "log", "log_params", anything, "the API has other names and forms for them"},
	{mediawiki.RC, "log", "log_action_comment", missing(nil), "the API does not have it"},

	{mediawiki.IRC, "", "timestamp", withinMinute, "the line has none: it is the time of receipt"},
	{mediawiki.IRC, "", "namespace", missing(nil), "the line has the title only"},
	{mediawiki.IRC, "edit", "length", missing(nil), "the line has the difference only"},
	{mediawiki.IRC, "new", "length", missing(nil), "the line has the difference only"},
	{mediawiki.IRC, "log", "id", missing(nil), "the line of a log entry has no address"},
	{mediawiki.IRC, "log", "bot", missing(nil), "the line of a log entry has its action in place of the flags"},
	{mediawiki.IRC, "log", "log_id", missing(nil), "the line does not have it"},
	{mediawiki.IRC, "log", "log_params", missing(nil), "the line does not have them"},
	{mediawiki.IRC, "log", "comment", missing(nil), "the line has one text for the action and the comment"},
	{mediawiki.IRC, "log", "title", missing(nil), "the line names the log in place of the target, which only some texts mark"},
	{mediawiki.IRC, "log", "log_action_comment", plainText, "the line has it with character references decoded, breaks as blanks"},
	{mediawiki.IRC, "", "comment", plainText, "as log_action_comment"},
}

// anything allows any difference.
func anything(any, any) bool { return true }

// withinMinute allows two numbers of seconds to differ by a minute.
func withinMinute(inJSON, got any) bool {
	a, ok := inJSON.(json.Number)
	b, ok2 := got.(json.Number)
	if !ok || !ok2 {
		return false
	}
	x, err := a.Int64()
	y, err2 := b.Int64()
	return err == nil && err2 == nil && y-x <= 60 && x-y <= 60
}

// missing allows a field to be missing whose value in JSON is v; any value if v is nil.
func missing(v any) func(any, any) bool {
	return func(inJSON, got any) bool { return got == nil && (v == nil || inJSON == v) }
}

// likeText allows what XML does to values: numbers and true become text, false and null and what is empty go.
func likeText(inJSON, got any) bool { return reflect.DeepEqual(asText(inJSON), asText(got)) }

func asText(v any) any {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case bool:
		if v {
			return ""
		}
		return nil
	case []any:
		var out []any
		for _, e := range v {
			out = append(out, asText(e))
		}
		if len(out) == 0 {
			return nil
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e = asText(e); e != nil {
				out[k] = e
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	}
	return v
}

// plainText allows what the IRC formatter does to texts.
func plainText(inJSON, got any) bool {
	a, ok := inJSON.(string)
	b, ok2 := got.(string)
	clean := strings.NewReplacer("&quot;", `"`, "&#039;", "'", "&lt;", "<", "&gt;", ">", "&amp;", "&", "\n", " ", "\r", "")
	return ok && ok2 && clean.Replace(a) == clean.Replace(b)
}

// comparer compares the changes of one dialect with those that came as JSON and remembers which losses it met.
type comparer struct {
	dialect mediawiki.Dialect
	met     map[int]int // by index in losses
}

// tells reports whether the dialect tells a change at all.
func (c *comparer) tells(x change) bool {
	for _, a := range absences {
		if a.dialect == c.dialect && a.is == x.is() {
			return false
		}
	}
	return true
}

// compare returns the names of the fields in which got differs from the same change in JSON otherwise than allowed.
func (c *comparer) compare(inJSON, got change) (bad []string) {
	fields := maps.Clone(inJSON)
	maps.Copy(fields, got)
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		switch {
		case f == "meta":
			bad = append(bad, c.compareMeta(inJSON, got)...)
		case reflect.DeepEqual(inJSON[f], got[f]):
		case !c.allowed(inJSON, f, inJSON[f], got[f]):
			bad = append(bad, fmt.Sprintf("%s: %v in JSON, %v here", f, inJSON[f], got[f]))
		}
	}
	return bad
}

func (c *comparer) allowed(x change, field string, inJSON, got any) bool {
	for i, l := range losses {
		if l.dialect == c.dialect && l.field == field && strings.HasPrefix(x.is(), l.is) && l.allowed(inJSON, got) {
			c.met[i]++
			return true
		}
	}
	return false
}

// compareMeta compares what of meta comes from the change; topic and offset are the journal's own.
func (c *comparer) compareMeta(inJSON, got change) (bad []string) {
	a, _ := inJSON["meta"].(map[string]any)
	b, _ := got["meta"].(map[string]any)
	for _, f := range []string{"stream", "domain", "partition", "dt", "uri", "id"} {
		switch {
		case b[f] == nil:
			bad = append(bad, "meta."+f+" is missing")
		case a[f] == b[f]:
		// What is made of a field that the dialect loses is lost with it.
		case f == "dt" && c.dialect == mediawiki.IRC:
		case f == "uri" && c.dialect == mediawiki.IRC && inJSON["title"] != got["title"]:
		case f == "id" && c.dialect == mediawiki.IRC && got["id"] == nil:
		default:
			bad = append(bad, fmt.Sprintf("meta.%s: %v in JSON, %v here", f, a[f], b[f]))
		}
	}
	return bad
}

// compareAll compares all changes of a dialect, which come in the order in which the wiki made them.
func compareAll(t *testing.T, dialect mediawiki.Dialect, inJSON, got []change) {
	t.Helper()
	c := &comparer{dialect: dialect, met: map[int]int{}}
	told := 0
	for _, x := range inJSON {
		if !c.tells(x) {
			continue
		}
		if told == len(got) {
			t.Errorf("the first change missing is %v", x)
			break
		}
		y := got[told]
		told++
		for _, bad := range c.compare(x, y) {
			t.Errorf("change %v (%s): %s", x["id"], x.is(), bad)
		}
		if t.Failed() && told%20 == 0 {
			t.Fatalf("and so on; the last one was %v", y)
		}
	}
	if told < len(got) {
		t.Errorf("%d changes more than in JSON, the first %v", len(got)-told, got[told])
	}
	for i, l := range losses {
		// Whether a second passes between a change and its line is chance.
		if l.dialect == dialect && c.met[i] == 0 && l.field != "timestamp" {
			t.Errorf("the table allows %s of %q to differ, which did not happen: take the row out", l.field, l.is)
		}
	}
	t.Logf("%d changes equal up to %v", told, slices.Collect(func(yield func(string) bool) {
		for i, l := range losses {
			if l.dialect == dialect && !yield(fmt.Sprintf("%s %s %d", l.is, l.field, c.met[i])) {
				return
			}
		}
	}))
}
