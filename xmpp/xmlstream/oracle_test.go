package xmlstream

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// oracle is what encoding/xml makes of a document.
type oracle struct {
	dump string
	err  error
	// What encoding/xml takes although it is not well-formed, or not for XMPP.
	restricted bool // a comment, a processing instruction or a directive
	unbound    bool // a prefix that is not declared
	reserved   bool // a declaration that Namespaces in XML forbids
	twice      bool // an attribute that is there twice
	alike      bool // the same, where namespaces are the same only after normalisation
}

type frame struct {
	head     string
	text     []byte
	children strings.Builder
	prefixes map[string]bool
}

func ask(raw []byte) (o oracle) {
	dec := xml.NewDecoder(bytes.NewReader(raw))
	var open []*frame
	for {
		offset := dec.InputOffset()
		tok, err := dec.Token()
		if err != nil {
			switch {
			case !errors.Is(err, io.EOF):
				o.err = err
			case len(open) > 0 || o.dump == "":
				o.err = io.ErrUnexpectedEOF
			}
			return o
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if len(open) == 0 && o.dump != "" {
				o.err = errors.New("more than one element")
				return o
			}
			f := &frame{prefixes: map[string]bool{"xml": true}}
			if len(open) > 0 {
				for p := range open[len(open)-1].prefixes {
					f.prefixes[p] = true
				}
			}
			f.head = o.head(tok, f, raw[offset:dec.InputOffset()])
			open = append(open, f)
		case xml.EndElement:
			f := open[len(open)-1]
			open = open[:len(open)-1]
			s := fmt.Sprintf("%s %q(%s)", f.head, f.text, f.children.String())
			if len(open) == 0 {
				o.dump = s
			} else {
				open[len(open)-1].children.WriteString(s)
			}
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text = append(open[len(open)-1].text, tok...)
			} else if len(bytes.Trim(tok, " \t\r\n")) > 0 || bytes.Contains(raw[offset:dec.InputOffset()], []byte("<!")) || bytes.Contains(raw[offset:dec.InputOffset()], []byte("&")) {
				o.err = errors.New("text outside of the element")
				return o
			}
		default:
			o.restricted = true
		}
	}
}

// qnames finds what looks like a prefix in a start tag without its values.
var (
	values = regexp.MustCompile(`"[^"]*"|'[^']*'`)
	qnames = regexp.MustCompile(`([^\s<>/=:'"]+):[^\s<>/=:'"]`)
)

func (o *oracle) head(tok xml.StartElement, f *frame, tag []byte) string {
	var attrs, seen, alike []string
	for _, a := range tok.Attr {
		seen = append(seen, a.Name.Space+" "+a.Name.Local)
		alike = append(alike, blanks.Replace(a.Name.Space)+" "+a.Name.Local)
		prefixed := a.Name.Space == "xmlns"
		if !prefixed && (a.Name.Space != "" || a.Name.Local != "xmlns") {
			attrs = append(attrs, dumpAttr(blanks.Replace(a.Name.Space), a.Name.Local, blanks.Replace(a.Value)))
			continue
		}
		uri := blanks.Replace(a.Value)
		isXML := prefixed && a.Name.Local == "xml"
		if isXML != (uri == SpaceXML) || uri == SpaceXMLNS || prefixed && (a.Name.Local == "xmlns" || uri == "") {
			o.reserved = true
		}
		if prefixed {
			f.prefixes[a.Name.Local] = true
		}
	}
	o.twice = o.twice || repeats(seen)
	o.alike = o.alike || repeats(alike)
	for _, m := range qnames.FindAllSubmatch(values.ReplaceAll(tag, []byte(" ")), -1) {
		if p := string(m[1]); p != "xmlns" && !f.prefixes[p] {
			o.unbound = true
		}
	}
	slices.Sort(attrs)
	return fmt.Sprintf("{%s}%s%s", blanks.Replace(tok.Name.Space), tok.Name.Local, attrs)
}

func repeats(s []string) bool {
	slices.Sort(s)
	return len(slices.Compact(slices.Clone(s))) < len(s)
}

// blanks is the normalisation of attribute values, which encoding/xml leaves out. It cannot tell a tab from a reference to
// one, so both sides are compared after it.
var blanks = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")

// known differences: what encoding/xml takes and we refuse. Each is told by the document, not by our error alone.
var stricter = []struct {
	name string
	is   func(raw []byte, o oracle, err *Error) bool
}{
	{"our limits", func(_ []byte, _ oracle, err *Error) bool { return err.Condition == PolicyViolation }},
	{"comments, instructions and directives are restricted", func(_ []byte, o oracle, err *Error) bool { return o.restricted }},
	{"prefixes need not be declared", func(_ []byte, o oracle, err *Error) bool {
		return o.unbound && (err.Condition == BadNamespacePrefix || err.Text == "an element with the prefix xmlns")
	}},
	{"xmlns is taken as the prefix of an element", func(raw []byte, _ oracle, err *Error) bool {
		return err.Text == "an element with the prefix xmlns" && bytes.Contains(raw, []byte("<xmlns:"))
	}},
	{"reserved prefixes and namespaces are taken", func(_ []byte, o oracle, err *Error) bool { return o.reserved }},
	{"an attribute may be there twice", func(_ []byte, o oracle, err *Error) bool {
		return o.alike && err.Text == "an attribute that is there twice"
	}},
	{"attributes need no blank between them", func(raw []byte, _ oracle, err *Error) bool { return err == errTag && noBlank.Match(raw) }},
	{"a colon may begin or end a name", func(raw []byte, _ oracle, err *Error) bool {
		return err.Text == "a name that is not right" && oddColon.Match(raw)
	}},
	{"the part of a name behind the colon may begin as no name does", func(raw []byte, _ oracle, err *Error) bool {
		return err.Text == "a name that is not right" && oddLocal.Match(raw)
	}},
	{"a reference to a surrogate becomes U+FFFD", func(raw []byte, _ oracle, err *Error) bool { return err == errCharRef && surrogate.Match(raw) }},
}

var (
	noBlank   = regexp.MustCompile(`(?s)["'][^\s/>]`)
	oddColon  = regexp.MustCompile(`[\s<]:|:[\s=/>]`)
	oddLocal  = regexp.MustCompile(`:[-.0-9\x{b7}\x{300}-\x{36f}\x{203f}\x{2040}]|:[^\x00-\x7f]`)
	surrogate = regexp.MustCompile(`&#(x0*[dD][89a-fA-F]|0*5[5-7])`)
)

// wider reports whether we may take what encoding/xml refuses: names are those of the fifth edition of XML 1.0, and it has
// the tables of the fourth.
func wider(raw []byte) bool {
	return slices.ContainsFunc([]rune(string(raw)), func(r rune) bool { return r >= utf8.RuneSelf && isNameChar(r) })
}

func compare(t *testing.T, raw []byte) {
	t.Helper()
	var d Document
	e, err := d.Parse(raw, nil)
	o := ask(raw)
	var ours *Error
	switch {
	case err == nil && o.err == nil:
		want := o.dump
		if got := dumpBlank(e); got != want {
			t.Fatalf("%q:\n   ours %s\ntheirs %s", raw, got, want)
		}
		if o.restricted || o.unbound || o.reserved || o.twice {
			t.Fatalf("%q is taken: %+v", raw, o)
		}
	case err == nil:
		if !wider(raw) {
			t.Fatalf("%q is taken, but encoding/xml says %v", raw, o.err)
		}
	case !errors.As(err, &ours):
		t.Fatalf("%q: error of another type: %v", raw, err)
	case o.err == nil:
		for _, s := range stricter {
			if s.is(raw, o, ours) {
				return
			}
		}
		t.Fatalf("%q: %v, but encoding/xml takes it as %s", raw, err, o.dump)
	}
}

// dumpBlank is dump with the attribute values as the oracle has them.
func dumpBlank(e Element) string {
	var attrs []string
	for a := range e.Attrs() {
		attrs = append(attrs, dumpAttr(blanks.Replace(a.Space), a.Name, blanks.Replace(a.Value)))
	}
	slices.Sort(attrs)
	var b strings.Builder
	fmt.Fprintf(&b, "{%s}%s%s %q(", blanks.Replace(e.Space()), e.Name(), attrs, e.Text())
	for c := range e.Children() {
		b.WriteString(dumpBlank(c))
	}
	b.WriteString(")")
	return b.String()
}

// odd are documents at which parsers differ.
var odd = []string{
	"<p:a/>", "<xmlns:a/>", "<a xmlns:p=''/>", "<a xmlns:xml='x'/>", "<a b='' b=''/>", "<a b=''c=''/>", "<:a/>", "<a:/>", "<a :b=''/>", "<p:1 xmlns:p='x'/>", "<a>&#xD800;</a>",
	"<a><!-- x --></a>", "<?x?><a/>", "<!DOCTYPE a><a/>", "<\u2c00/>", "<a\u0487/>", "<a b='\t&#9;'/>", "<a>\r\n&#13;</a>", "<a xmlns='x' xmlns:p='x' b='' p:b=''/>", "<a>]]&gt;</a>", "<a><![CDATA[]]]]></a>",
	"<a xmlns='x'><b xmlns=''/></a>", "<a></a\n>", "<a b = 'c'/>", "<a>&#1114111;</a>", "<a>\u0085\u2028</a>", "<a/>\x00", "<a/> &#32;", "<a/><![CDATA[]]>",
	"<a xmlns='\n'/>", "<a xmlns:p='x\n' xmlns:q='x ' p:b='' q:b=''/>", "<a xmlns:p='x&#10;' xmlns:q='x ' p:b='' q:b=''/>",
}

func TestOracle(t *testing.T) {
	for _, s := range slices.Concat(stanzas(t), odd) {
		compare(t, []byte(s))
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range slices.Concat(stanzas(f), odd) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < 10_000 {
			compare(t, raw)
		}
	})
}
