// Package dataform reads and writes data forms (XEP-0004, with the form types of XEP-0068).
package dataform

import (
	"strings"

	"tidings/xmpp/stanza"
	"tidings/xmpp/xmlstream"
)

// NS is the namespace of data forms.
const NS = "jabber:x:data"

// Types of forms (XEP-0004 section 3.1).
const (
	TypeForm   = "form"
	TypeSubmit = "submit"
	TypeCancel = "cancel"
	TypeResult = "result"
)

// Types of fields (XEP-0004 section 3.3).
const (
	Boolean     = "boolean"
	Fixed       = "fixed"
	Hidden      = "hidden"
	JIDMulti    = "jid-multi"
	JIDSingle   = "jid-single"
	ListMulti   = "list-multi"
	ListSingle  = "list-single"
	TextMulti   = "text-multi"
	TextPrivate = "text-private"
	TextSingle  = "text-single"
)

// FormType is the field that says which fields a form may have (XEP-0068).
const FormType = "FORM_TYPE"

// Form is a data form.
type Form struct {
	Type         string
	Title        string
	Instructions []string
	Fields       []Field
	Reported     []Field   // what the columns of Items are
	Items        [][]Field // rows of a result
}

// Field is one field of a form.
type Field struct {
	Var      string // name; only fixed fields may have none
	Type     string // "" where a submission leaves it out
	Label    string
	Desc     string
	Required bool
	Values   []string
	Options  []Option // of lists
}

// Option is what may be chosen in a list.
type Option struct{ Label, Value string }

// Value returns the first value, or "".
func (f *Field) Value() string {
	if f == nil || len(f.Values) == 0 {
		return ""
	}
	return f.Values[0]
}

// New returns a form with its form type, which may be empty.
func New(typ, formType string) *Form {
	f := &Form{Type: typ}
	if formType != "" {
		f.Add(FormType, Hidden, formType)
	}
	return f
}

// Add adds a field and returns the form.
func (f *Form) Add(name, typ string, values ...string) *Form {
	f.Fields = append(f.Fields, Field{Var: name, Type: typ, Values: values})
	return f
}

// Field returns the first field of that name, nil if there is none.
func (f *Form) Field(name string) *Field {
	for i := range f.Fields {
		if f.Fields[i].Var == name {
			return &f.Fields[i]
		}
	}
	return nil
}

// Value returns the first value of the field of that name, or "".
func (f *Form) Value(name string) string { return f.Field(name).Value() }

// FormType returns the form type, or "".
func (f *Form) FormType() string { return f.Value(FormType) }

// ParseBool reads the value of a boolean field: 0, 1, false or true (XEP-0004 section 3.3). For anything else ok is false.
func ParseBool(s string) (v, ok bool) {
	switch s {
	case "1", "true":
		return true, true
	case "0", "false":
		return false, true
	}
	return false, false
}

// Find returns the first child of an element that is a form; the zero Element if none is.
func Find(parent xmlstream.Element) xmlstream.Element { return parent.Child(NS, "x") }

// Parse reads a form. The error is a *stanza.Error, bad-request: for an element that is no form, a form of an unknown type,
// and a field without a name in a form that is submitted. An unknown type of a field stays as it is; its values are text
// (XEP-0004 section 3.3).
func Parse(el xmlstream.Element) (*Form, error) {
	if !el.Is(NS, "x") {
		return nil, stanza.BadRequest("a data form is missing")
	}
	f := &Form{Type: el.Attr("type")}
	switch f.Type {
	case TypeForm, TypeSubmit, TypeCancel, TypeResult:
	default:
		return nil, stanza.BadRequest("unknown type of data form")
	}
	for c := range el.Children() {
		if c.Space() != NS {
			continue
		}
		switch c.Name() {
		case "title":
			f.Title = c.Text()
		case "instructions":
			f.Instructions = append(f.Instructions, c.Text())
		case "field":
			fd := parseField(c)
			if fd.Var == "" && f.Type == TypeSubmit {
				return nil, stanza.BadRequest("a field of the data form has no name")
			}
			f.Fields = append(f.Fields, fd)
		case "reported":
			f.Reported = append(f.Reported, parseFields(c)...)
		case "item":
			f.Items = append(f.Items, parseFields(c))
		}
	}
	return f, nil
}

func parseFields(el xmlstream.Element) (fields []Field) {
	for c := range el.Children() {
		if c.Is(NS, "field") {
			fields = append(fields, parseField(c))
		}
	}
	return fields
}

func parseField(el xmlstream.Element) Field {
	f := Field{Var: el.Attr("var"), Type: el.Attr("type"), Label: el.Attr("label")}
	for c := range el.Children() {
		if c.Space() != NS {
			continue
		}
		switch c.Name() {
		case "desc":
			f.Desc = c.Text()
		case "required":
			f.Required = true
		case "value":
			f.Values = append(f.Values, c.Text())
		case "option":
			f.Options = append(f.Options, Option{Label: c.Attr("label"), Value: c.Child(NS, "value").Text()})
		}
	}
	return f
}

// Append appends the form. The values of text-multi and fixed fields that hold line ends become a value for each line, as
// XEP-0004 section 3.3 asks.
func (f *Form) Append(dst []byte) []byte {
	dst = append(dst, "<x xmlns='"+NS+"'"...)
	dst = xmlstream.AppendOptional(dst, "type", f.Type)
	dst = append(dst, '>')
	dst = appendText(dst, "title", f.Title)
	for _, s := range f.Instructions {
		dst = appendText(dst, "instructions", s)
	}
	for i := range f.Fields {
		dst = f.Fields[i].append(dst)
	}
	if len(f.Reported) > 0 {
		dst = append(dst, "<reported>"...)
		for i := range f.Reported {
			dst = f.Reported[i].append(dst)
		}
		dst = append(dst, "</reported>"...)
	}
	for _, item := range f.Items {
		dst = append(dst, "<item>"...)
		for i := range item {
			dst = item[i].append(dst)
		}
		dst = append(dst, "</item>"...)
	}
	return append(dst, "</x>"...)
}

func (f *Field) append(dst []byte) []byte {
	dst = append(dst, "<field"...)
	dst = xmlstream.AppendOptional(dst, "var", f.Var, "type", f.Type, "label", f.Label)
	dst = append(dst, '>')
	dst = appendText(dst, "desc", f.Desc)
	if f.Required {
		dst = append(dst, "<required/>"...)
	}
	for _, v := range f.Values {
		if f.Type == TextMulti || f.Type == Fixed {
			for line := range strings.SplitSeq(v, "\n") {
				dst = appendValue(dst, line)
			}
			continue
		}
		dst = appendValue(dst, v)
	}
	for _, o := range f.Options {
		dst = append(dst, "<option"...)
		dst = xmlstream.AppendOptional(dst, "label", o.Label)
		dst = append(dst, '>')
		dst = appendValue(dst, o.Value)
		dst = append(dst, "</option>"...)
	}
	return append(dst, "</field>"...)
}

func appendValue(dst []byte, v string) []byte { return xmlstream.AppendTextElement(dst, "value", v) }

// appendText appends nothing for an empty text.
func appendText(dst []byte, name, s string) []byte {
	if s == "" {
		return dst
	}
	return xmlstream.AppendTextElement(dst, name, s)
}
