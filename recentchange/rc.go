package recentchange

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// decodeRC reads an <rc> element with its attributes in any order.
func (rc *RecentChange) decodeRC(body []byte) error {
	n, err := parseXML(body, "rc")
	if err != nil {
		return err
	}
	if rc.Type = n.attr("type").Value(); rc.Type == "" {
		return nil
	}
	var revOld, revNew, lenOld, lenNew Opt[int64]
	for _, a := range [...]struct {
		name string
		to   *Opt[int64]
	}{
		{"ns", &rc.Namespace}, {"rcid", &rc.ID}, {"pageid", &rc.PageID}, {"userid", &rc.UserID}, {"logid", &rc.LogID},
		{"new_ns", &rc.NewNamespace}, {"revid", &revNew}, {"old_revid", &revOld}, {"newlen", &lenNew}, {"oldlen", &lenOld},
	} {
		if *a.to, err = n.number(a.name); err != nil {
			return err
		}
	}
	rc.Title, rc.User, rc.Comment = n.attr("title"), n.attr("user"), n.attr("comment")
	rc.NewTitle, rc.ParsedComment, rc.Wiki = n.attr("new_title"), n.attr("parsedcomment"), n.attr("wikiid")
	rc.LogType, rc.LogAction = n.attr("logtype"), n.attr("logaction")
	if ts, ok := n.attr("timestamp").Get(); ok {
		t, err := time.Parse(time.RFC3339, ts)
		if err != nil {
			return fail(BadField, "the attribute timestamp is not of the form 2010-10-12T08:57:03Z")
		}
		rc.Timestamp = Some(t.Unix())
	}
	// Presence is true. Whether absence is false or "not asked for" shows in bot alone, which no change is without.
	rc.Bot = Some(n.attr("bot").IsSet())
	if rc.Type == Edit || rc.Type == New {
		rc.Minor = Some(n.attr("minor").IsSet())
	}
	rc.Redirect = Some(n.attr("redirect").IsSet())
	rc.Anon = Some(n.attr("anon").IsSet())
	switch {
	case n.attr("patrolled").IsSet(), n.attr("autopatrolled").IsSet():
		rc.Patrolled = Some(true)
	case n.attr("unpatrolled").IsSet():
		rc.Patrolled = Some(false)
	}
	rc.setNumbers(Pair{revOld, revNew}, Pair{lenOld, lenNew})
	rc.children(n)
	return nil
}

// setNumbers takes over what a row of the API has for every type. The other dialects give these to edits and new pages
// only, and a page that is new has no old revision.
func (rc *RecentChange) setNumbers(revision, length Pair) {
	rc.rcRevision, rc.rcLength = revision, length
	if rc.Type != Edit && rc.Type != New {
		return
	}
	if rc.Type == New {
		length.Old, revision.Old = Null[int64](), Null[int64]()
	}
	if length.New.IsSet() {
		rc.Length = Some(length)
	}
	if revision.New.IsSet() {
		rc.Revision = Some(revision)
	}
}

// children reads the tags and the parameters of a log entry. <param> elements are the legacy form, a list of text.
func (rc *RecentChange) children(n *node) {
	var params []byte
	for _, k := range n.kids {
		switch k.name {
		case "tags":
			rc.Tags = make([]string, 0, len(k.kids))
			for _, t := range k.kids {
				rc.Tags = append(rc.Tags, t.text)
			}
			continue
		case "param":
			params = append(params, "[,"[min(len(params), 1)])
			params = appendString(params, k.text)
		default:
			if rc.LogParams.IsAbsent() {
				rc.LogParams = Some(JSON(k.appendJSON(nil)))
			}
		}
		rc.rcChildren = string(k.appendXML([]byte(rc.rcChildren), 4))
	}
	if params != nil {
		rc.LogParams = Some(JSON(append(params, ']')))
	}
	if rc.Type == Log && rc.LogParams.IsAbsent() {
		rc.LogParams = Some(JSON("[]"))
	}
}

// either returns the pair that an <rc> element had, or else the one of the model.
func either(element Pair, model Opt[Pair]) Pair {
	if element.Old.IsSet() || element.New.IsSet() {
		return element
	}
	return model.v
}

// AppendRC appends the change as the element <rc> that the XMLRC extension sends, in the order of MediaWiki 1.16 to 1.19:
// one self-closed tag, or child elements on lines of their own. What the change does not tell is left out but for the
// numbers that the API always has (revid, old_revid, oldlen, newlen), which are 0. Characters that XML cannot hold
// become U+FFFD.
func (rc *RecentChange) AppendRC(dst []byte) []byte {
	revision, length := either(rc.rcRevision, rc.Revision), either(rc.rcLength, rc.Length)
	dst = appendAttr(append(dst, "<rc"...), "type", rc.Type)
	dst = attrNumber(dst, "ns", rc.Namespace)
	dst = attrText(dst, "title", rc.Title)
	dst = attrNumber(dst, "new_ns", rc.NewNamespace)
	dst = attrText(dst, "new_title", rc.NewTitle)
	dst = attrNumber(dst, "rcid", rc.ID)
	dst = attrNumber(dst, "pageid", rc.PageID)
	dst = attrInt(dst, "revid", revision.New.v)
	dst = attrInt(dst, "old_revid", revision.Old.v)
	dst = attrText(dst, "user", rc.User)
	dst = attrNumber(dst, "userid", rc.UserID)
	dst = attrFlag(dst, "anon", rc.anonymous())
	dst = attrFlag(dst, "bot", rc.Bot.v)
	dst = attrFlag(dst, "new", rc.Type == New)
	dst = attrFlag(dst, "minor", rc.Minor.v)
	dst = attrInt(dst, "oldlen", length.Old.v)
	dst = attrInt(dst, "newlen", length.New.v)
	if t := rc.Time(); !t.IsZero() {
		dst = appendAttr(dst, "timestamp", string(t.AppendFormat(nil, "2006-01-02T15:04:05Z")))
	}
	dst = attrText(dst, "comment", rc.Comment)
	dst = attrFlag(dst, "redirect", rc.Redirect.v)
	if rc.Type == Log {
		dst = attrNumber(dst, "logid", rc.LogID)
		dst = attrText(dst, "logtype", rc.LogType)
		dst = attrText(dst, "logaction", rc.LogAction)
	}
	dst = attrText(dst, "wikiid", rc.Wiki)
	open := len(dst)
	dst = append(dst, ">\n"...)
	body := len(dst)
	if rc.rcChildren != "" {
		dst = append(dst, rc.rcChildren...)
	} else if p, ok := rc.LogParams.Get(); ok && rc.Type == Log {
		for _, k := range rc.paramNodes(p) {
			dst = k.appendXML(dst, 4)
		}
	}
	if len(rc.Tags) > 0 {
		tags := &node{name: "tags"}
		for _, t := range rc.Tags {
			tags.kids = append(tags.kids, &node{name: "tag", text: t})
		}
		dst = tags.appendXML(dst, 4)
	}
	if len(dst) == body {
		return append(dst[:open], " />"...)
	}
	return append(dst, "  </rc>"...)
}

// anonymous reports whether nobody was logged in: told by <rc>, else by a user that is an address.
func (rc *RecentChange) anonymous() bool {
	if a, ok := rc.Anon.Get(); ok {
		return a
	}
	_, err := netip.ParseAddr(rc.User.Value())
	return err == nil
}

// paramNodes returns the child elements for the parameters of a log entry: those of MediaWiki 1.16 for the types that had
// their own, <param> for a list of text and <logparams> for everything else.
func (rc *RecentChange) paramNodes(p JSON) []*node {
	n := jsonNode("logparams", p, 0)
	if n == nil || len(n.attrs) == 0 && len(n.kids) == 0 {
		return nil
	}
	if rc.Dialect == TypeAPI { // they have today's names, and this is today's element
		return []*node{n}
	}
	get := func(name string) string {
		if v, ok := n.attr(name).Get(); ok {
			return v
		}
		for _, k := range n.kids {
			if k.name != name {
				continue
			}
			var parts []string
			for _, e := range k.kids {
				parts = append(parts, e.text)
			}
			return strings.Join(parts, ", ")
		}
		return ""
	}
	has := func(name string) bool { return bytes.Contains([]byte(p), []byte(`"`+name+`":`)) }
	legacy := func(name string, pairs ...string) []*node {
		e := &node{name: name}
		for i := 0; i < len(pairs); i += 2 {
			if v := get(pairs[i+1]); v != "" || pairs[i] == "old" || pairs[i] == "new" {
				e.set(pairs[i], v)
			}
		}
		return []*node{e}
	}
	switch rc.LogType.Value() {
	case "move":
		if has("target") {
			l := legacy("move", "new_title", "target")
			if get("noredir") == "1" {
				l[0].set("suppressedredirect", "")
			}
			return l
		}
	case "patrol":
		if has("curid") {
			return legacy("patrol", "cur", "curid", "prev", "previd", "auto", "auto")
		}
	case "rights":
		if has("newgroups") {
			return legacy("rights", "old", "oldgroups", "new", "newgroups")
		}
	case "block":
		if has("duration") {
			return legacy("block", "duration", "duration", "flags", "flags", "expiry", "expiry")
		}
	}
	if len(n.attrs) == 0 && p[0] == '[' {
		var params []*node
		for _, k := range n.kids {
			if len(k.attrs) > 0 || len(k.kids) > 0 {
				return []*node{n}
			}
			params = append(params, &node{name: "param", text: k.text})
		}
		return params
	}
	return []*node{n}
}

func (n *node) set(name, value string) {
	n.attrs = append(n.attrs, attr(name, value))
}

// jsonNode returns the element that ApiFormatXml makes of a JSON value; nil for null and false.
func jsonNode(name string, j JSON, depth int) *node {
	n := &node{name: name}
	v := jsontext.Value(j)
	switch v.Kind() {
	case 'n', 'f':
		return nil
	case 't':
		return n
	case '"', '0':
		n.text, _ = scalar(j)
		return n
	}
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	open, err := dec.ReadToken()
	for err == nil && depth < MaxDepth {
		if k := dec.PeekKind(); k == '}' || k == ']' || k == 0 {
			break
		}
		key := ""
		if open.Kind() == '{' {
			var t jsontext.Token
			if t, err = dec.ReadToken(); err != nil {
				break
			}
			key = t.String()
		}
		var val jsontext.Value
		if val, err = dec.ReadValue(); err != nil {
			break
		}
		member := JSON(val)
		_, numeric := decimalBytes([]byte(key))
		if open.Kind() == '[' || numeric {
			if k := jsonNode("_v", member, depth+1); k != nil {
				n.kids = append(n.kids, k)
			}
			continue
		}
		switch kind := val.Kind(); kind {
		case '"', '0', 't':
			text := ""
			if kind != 't' {
				text, _ = scalar(member)
			}
			n.set(mangle(key), text)
		case '{', '[':
			if k := jsonNode(mangle(key), member, depth+1); k != nil {
				n.kids = append(n.kids, k)
			}
		}
	}
	return n
}

// mangle is the inverse of unmangle: it makes an XML name of any key.
func mangle(key string) string {
	ok := key != ""
	for i, r := range key {
		if !nameRune(r) || i == 0 && (r == '_' || r == '-' || r == '.' || '0' <= r && r <= '9') {
			ok = false
		}
	}
	if ok {
		return key
	}
	b := []byte{'_'}
	for _, r := range key {
		if nameRune(r) && r != '.' {
			b = append(b, string(r)...)
			continue
		}
		b = append(b, '.')
		b = append(b, strings.ToUpper(strconv.FormatInt(int64(r), 16))...)
		b = append(b, '.')
	}
	return string(b)
}

// nameRune reports whether r can stand in the names that are written here; other letters would be correct and are
// escaped all the same.
func nameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' || r == '.'
}

func attrText(dst []byte, name string, v Opt[string]) []byte {
	if s, ok := v.Get(); ok {
		return appendAttr(dst, name, s)
	}
	return dst
}

func attrNumber(dst []byte, name string, v Opt[int64]) []byte {
	if n, ok := v.Get(); ok {
		return attrInt(dst, name, n)
	}
	return dst
}

func attrInt(dst []byte, name string, n int64) []byte {
	dst = append(append(append(dst, ' '), name...), '=', '"')
	return append(strconv.AppendInt(dst, n, 10), '"')
}

func attrFlag(dst []byte, name string, v bool) []byte {
	if v {
		return appendAttr(dst, name, "")
	}
	return dst
}
