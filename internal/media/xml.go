package media

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"tidings"
)

// checkXML goes further than encoding/xml, which lets undeclared prefixes and repeated attributes pass: a payload
// becomes part of an XMPP stream (RFC 6120 section 11.1), where one that is not well formed ends the stream.
func checkXML(b []byte) error {
	if err := checkText(b); err != nil {
		return err
	}
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte("\ufeff"))))
	d.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("the encoding declared is %s, not UTF-8", charset)
	}
	c := xmlCheck{prefixes: map[string][]string{"xml": {xmlNS}}}
	for {
		at := d.InputOffset()
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = c.token(tok, at == 0)
		}
		if err != nil {
			line, _ := d.InputPos()
			var syntax *xml.SyntaxError
			if errors.As(err, &syntax) {
				err, line = errors.New(syntax.Msg), syntax.Line
			}
			return tidings.Errorf(tidings.ErrInvalid, "the body is not XML that is taken here: %s in line %d", strings.TrimPrefix(err.Error(), "xml: "), line)
		}
	}
	switch {
	case len(c.open) > 0:
		return tidings.Errorf(tidings.ErrInvalid, "the body is not XML that is taken here: it ends before </%s>", c.open[len(c.open)-1].name)
	case !c.root:
		return tidings.Errorf(tidings.ErrInvalid, "the body is not XML that is taken here: it has no element")
	}
	return nil
}

type xmlCheck struct {
	open     []xmlElement
	root     bool                // the document has had its element
	prefixes map[string][]string // the namespaces that the open elements declare it for
}

type xmlElement struct {
	name     string // as written, prefix included
	declares []string
}

func (c *xmlCheck) token(tok xml.Token, first bool) error {
	switch tok := tok.(type) {
	case xml.StartElement:
		return c.start(tok)
	case xml.EndElement:
		n := len(c.open)
		if n == 0 || c.open[n-1].name != rawName(tok.Name) {
			return fmt.Errorf("</%s> does not end the element that is open", rawName(tok.Name))
		}
		for _, p := range c.open[n-1].declares {
			c.prefixes[p] = c.prefixes[p][:len(c.prefixes[p])-1]
		}
		c.open = c.open[:n-1]
	case xml.CharData:
		if len(c.open) == 0 && len(bytes.Trim(tok, " \t\r\n")) > 0 {
			return errors.New("there is text outside the element")
		}
	case xml.Directive:
		return errors.New("a document type (<!DOCTYPE) or another declaration is not allowed")
	case xml.ProcInst:
		// The decoder has checked its version and its encoding.
		if strings.EqualFold(tok.Target, "xml") && (!first || tok.Target != "xml") {
			return errors.New("an XML declaration belongs at the very beginning")
		}
	}
	return nil
}

func (c *xmlCheck) start(e xml.StartElement) error {
	name := rawName(e.Name)
	if len(c.open) == 0 {
		if c.root {
			return fmt.Errorf("<%s> is a second element at the top", name)
		}
		c.root = true
	}
	if len(c.open) >= MaxDepth {
		return fmt.Errorf("the elements are nested deeper than %d levels", MaxDepth)
	}
	el := xmlElement{name: name}
	for _, a := range e.Attr {
		prefix, ok := "", false
		switch {
		case a.Name.Space == "xmlns":
			prefix, ok = a.Name.Local, true
			if prefix == "xmlns" || a.Value == "" || (prefix == "xml") != (a.Value == xmlNS) {
				return fmt.Errorf("the declaration of the prefix %s is not allowed (Namespaces in XML 1.0, section 3)", prefix)
			}
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			ok = true
		}
		if ok && (a.Value == xmlnsNS || a.Value == xmlNS && prefix != "xml") {
			return fmt.Errorf("the namespace %s cannot be declared", a.Value)
		}
		if ok && prefix != "" {
			el.declares = append(el.declares, prefix)
			c.prefixes[prefix] = append(c.prefixes[prefix], a.Value)
		}
	}
	if err := c.checkName(e.Name); err != nil {
		return err
	}
	seen := make(map[string]bool, len(e.Attr))
	for _, a := range e.Attr {
		raw := rawName(a.Name)
		if seen[raw] {
			return fmt.Errorf("the attribute %s is there twice", raw)
		}
		seen[raw] = true
		if a.Name.Space == "xmlns" {
			continue
		}
		if err := c.checkName(a.Name); err != nil {
			return err
		}
		if uris := c.prefixes[a.Name.Space]; a.Name.Space != "" {
			key := "{" + uris[len(uris)-1] + "}" + a.Name.Local
			if seen[key] {
				return fmt.Errorf("the attribute %s is there twice, under two prefixes", a.Name.Local)
			}
			seen[key] = true
		}
	}
	c.open = append(c.open, el)
	return nil
}

const (
	xmlNS   = "http://www.w3.org/XML/1998/namespace"
	xmlnsNS = "http://www.w3.org/2000/xmlns/"
)

func (c *xmlCheck) checkName(n xml.Name) error {
	switch {
	case strings.Contains(n.Local, ":"):
		return fmt.Errorf("%s is not a name with one prefix", rawName(n))
	case n.Space != "" && len(c.prefixes[n.Space]) == 0:
		return fmt.Errorf("the prefix of %s is not declared", rawName(n))
	}
	return nil
}

func rawName(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}
