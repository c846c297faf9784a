package recentchange

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// node is an element without a name space. Text beside child elements is dropped: MediaWiki's is indentation.
type node struct {
	name  string
	attrs []xml.Attr
	kids  []*node
	text  string
}

func (n *node) attr(name string) Opt[string] {
	for _, a := range n.attrs {
		if a.Name.Local == name {
			return Some(a.Value)
		}
	}
	return Opt[string]{}
}

// number returns an integer attribute; one that is there and is no integer is an error.
func (n *node) number(name string) (Opt[int64], error) {
	s, ok := n.attr(name).Get()
	if !ok {
		return Opt[int64]{}, nil
	}
	v, ok := decimalBytes([]byte(s))
	if !ok {
		return Opt[int64]{}, fail(BadField, "the attribute %s is no number", name)
	}
	return Some(v), nil
}

// parseXML returns the only element of body, which has to have the given name.
func parseXML(body []byte, root string) (*node, error) {
	if !utf8.Valid(body) {
		// A payload that was cut may end inside a character.
		if n := len(body); !utf8.FullRune(body[lastRune(body):]) && utf8.Valid(body[:lastRune(body)]) {
			return nil, fail(Truncated, "the XML ends after %d bytes, inside a character", n)
		}
		return nil, fail(InvalidUTF8, "the XML is not valid UTF-8")
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	var top *node
	var stack []*node
	for {
		tok, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, xmlError(err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if len(stack) >= MaxDepth {
				return nil, fail(TooDeep, "elements are nested more than %d deep", MaxDepth)
			}
			n, err := element(t)
			if err != nil {
				return nil, err
			}
			switch {
			case len(stack) > 0:
				p := stack[len(stack)-1]
				p.kids = append(p.kids, n)
			case top != nil:
				return nil, fail(Malformed, "there is a second element after the first")
			case n.name != root:
				return nil, fail(Malformed, "the element is not <%s>", root)
			default:
				top = n
			}
			stack = append(stack, n)
		case xml.EndElement:
			if len(stack) == 0 || t.Name.Space != "" || stack[len(stack)-1].name != t.Name.Local {
				return nil, fail(Malformed, "an end tag has no start tag")
			}
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text += string(t)
			} else if len(bytes.TrimSpace(t)) > 0 {
				return nil, fail(Malformed, "there is text outside of the element")
			}
		case xml.ProcInst:
			if t.Target != "xml" || top != nil {
				return nil, fail(Malformed, "there is a processing instruction")
			}
		case xml.Directive:
			return nil, fail(Malformed, "there is a document type declaration")
		}
	}
	if len(stack) > 0 || top == nil {
		return nil, fail(Truncated, "the XML ends too early")
	}
	return top, nil
}

// lastRune returns the index of the last byte of b that can begin a character.
func lastRune(b []byte) int {
	i := max(len(b)-1, 0)
	for i > 0 && len(b)-i < utf8.UTFMax && !utf8.RuneStart(b[i]) {
		i--
	}
	return i
}

// element returns a start tag as a node: RawToken leaves name spaces, repeats and end tags to its caller.
func element(t xml.StartElement) (*node, error) {
	if t.Name.Space != "" {
		return nil, fail(Malformed, "an element has a prefix")
	}
	if len(t.Attr) > MaxMembers {
		return nil, fail(TooDeep, "an element has more than %d attributes", MaxMembers)
	}
	for i, a := range t.Attr {
		if a.Name.Space != "" {
			return nil, fail(Malformed, "an attribute has a prefix")
		}
		for _, b := range t.Attr[:i] {
			if a.Name.Local == b.Name.Local {
				return nil, fail(Malformed, "an attribute is repeated")
			}
		}
	}
	return &node{name: t.Name.Local, attrs: t.Attr}, nil
}

// xmlError tells a payload that was cut from one that is wrong.
func xmlError(err error) error {
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		if strings.Contains(syntax.Msg, "unexpected EOF") {
			return fail(Truncated, "the XML ends too early")
		}
		return fail(Malformed, "%s on line %d", syntax.Msg, syntax.Line)
	}
	return fail(Malformed, "%v", err)
}

// decodeXML reads what XMLRCFeedFormatter writes: nulls and false flags are not there.
func (rc *RecentChange) decodeXML(body []byte) error {
	n, err := parseXML(body, "recentchange")
	if err != nil {
		return err
	}
	rc.Type = n.attr("type").Value()
	if rc.Type == "" {
		return nil
	}
	for f := range numFields {
		if p := rc.text(f); p != nil {
			*p = n.attr(fieldNames[f])
		} else if p := rc.number(f); p != nil {
			if *p, err = n.number(fieldNames[f]); err != nil {
				return err
			}
		} else if p := rc.flag(f); p != nil && n.attr(fieldNames[f]).IsSet() {
			*p = Some(true)
		}
	}
	for _, a := range n.attrs {
		f, known := fieldOf([]byte(a.Name.Local))
		switch {
		case !known:
			err = rc.addExtra(a.Name.Local, JSON(appendString(nil, a.Value)))
		case f < numFields && (rc.pair(f) != nil || f == fLogParams):
			err = badField(f)
		}
		if err != nil {
			return err
		}
	}
	for _, k := range n.kids {
		f, known := fieldOf([]byte(k.name))
		switch p := rc.pair(f); {
		case !known:
			if err := rc.addExtra(k.name, JSON(k.appendJSON(nil))); err != nil {
				return err
			}
		case p != nil:
			var pr Pair
			if pr.Old, err = k.number("old"); err != nil {
				return err
			}
			if pr.New, err = k.number("new"); err != nil {
				return err
			}
			// The formatter always has both, and drops those that are null.
			if pr.Old.IsAbsent() {
				pr.Old = Null[int64]()
			}
			if pr.New.IsAbsent() {
				pr.New = Null[int64]()
			}
			*p = Some(pr)
		case f == fLogParams:
			rc.LogParams = Some(JSON(k.appendJSON(nil)))
		default:
			return fail(BadField, "there is an element <%s>", k.name)
		}
	}
	rc.restore()
	return nil
}

// addExtra keeps what the model does not know. A name that would be another member's once unmangled stays as it is.
func (rc *RecentChange) addExtra(name string, v JSON) error {
	taken := func(name string) bool {
		_, known := fieldOf([]byte(name))
		return known || slices.ContainsFunc(rc.Extra, func(m Member) bool { return m.Name == name })
	}
	plain := unmangle(name)
	if taken(plain) {
		plain = name
	}
	if taken(plain) {
		return fail(Malformed, "there are two members of one name")
	}
	rc.Extra = append(rc.Extra, Member{Name: plain, Value: v})
	return nil
}

// restore sets what the XML form must have left out: the JSON form of the same change has these.
func (rc *RecentChange) restore() {
	if !rc.Bot.IsSet() {
		rc.Bot = Some(false)
	}
	switch rc.Type {
	case Edit, New:
		if !rc.Minor.IsSet() {
			rc.Minor = Some(false)
		}
	case Log:
		for _, p := range [...]*Opt[string]{&rc.LogType, &rc.LogActionComment} {
			if p.IsAbsent() {
				*p = Null[string]()
			}
		}
	}
	if rc.ID.IsAbsent() {
		rc.ID = Null[int64]()
	}
}

// appendJSON appends the value that ApiFormatXml has written as the element n, as far as XML tells: scalars are strings,
// an array whose keys are not 0, 1, 2 looks like a list, and whatever is empty is [].
func (n *node) appendJSON(dst []byte) []byte {
	switch {
	case len(n.attrs) == 0 && len(n.kids) == 0 && strings.TrimSpace(n.text) == "":
		return append(dst, "[]"...)
	case len(n.attrs) == 0 && len(n.kids) == 0:
		return appendString(dst, n.text)
	case len(n.attrs) == 0 && n.isList():
		for i, k := range n.kids {
			dst = k.appendJSON(append(dst, "[,"[min(i, 1)]))
		}
		return append(dst, ']')
	}
	dst = append(dst, '{')
	for i, a := range n.attrs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, unmangle(a.Name.Local)), ':')
		dst = appendString(dst, a.Value)
	}
	names := map[string]bool{}
	for i, k := range n.kids {
		if i > 0 || len(n.attrs) > 0 {
			dst = append(dst, ',')
		}
		name := unmangle(k.name)
		if k.name == "_v" || names[name] || n.attr(k.name).IsSet() {
			name = strconv.Itoa(i) // an element of an array that has both kinds of key
		}
		names[name] = true
		dst = k.appendJSON(append(appendString(dst, name), ':'))
	}
	return append(dst, '}')
}

// isList reports whether all children are the elements of a list: those are named _v, or by one letter in the API.
func (n *node) isList() bool {
	for _, k := range n.kids {
		if k.name != n.kids[0].name {
			return false
		}
	}
	return len(n.kids) > 0 && (n.kids[0].name == "_v" || len(n.kids) > 1 || len(n.kids[0].name) == 1)
}

// unmangle returns the array key that ApiFormatXml has made the name of: a key that is no XML name gets an underscore
// before it, and .HEX. for each character that cannot stand in one.
func unmangle(name string) string {
	rest, ok := strings.CutPrefix(name, "_")
	if !ok || name == "_v" {
		return name
	}
	var b strings.Builder
	for rest != "" {
		before, after, found := strings.Cut(rest, ".")
		b.WriteString(before)
		if !found {
			break
		}
		code, tail, _ := strings.Cut(after, ".")
		r, err := strconv.ParseUint(code, 16, 32)
		if err != nil || r > utf8.MaxRune {
			return name
		}
		b.WriteRune(rune(r))
		rest = tail
	}
	return b.String()
}
