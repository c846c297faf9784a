package xmlstream

// declare takes a namespace declaration (Namespaces in XML sections 2.2, 3 and 5).
func (d *Document) declare(n *node, index int32, a *attr, prefixed bool) *Error {
	a.space = SpaceXMLNS
	uri := d.intern(d.valueOf(a))
	switch {
	case uri == SpaceXMLNS, prefixed && a.name == "xmlns":
		return malformed("a declaration of xmlns")
	case prefixed && a.name == "xml" && uri == SpaceXML:
		return nil
	case uri == SpaceXML, prefixed && a.name == "xml":
		return malformed("a declaration of xml")
	case !prefixed:
		n.def, n.defaultBy = uri, index
		return nil
	case uri == "":
		return malformed("a prefix declared for no namespace")
	case len(d.binds) >= d.Limits.attrs():
		return d.Limits.errPrefixes()
	}
	d.binds = append(d.binds, binding{a.name, uri, index})
	return nil
}

// resolve finds the namespaces of the element and its attributes, and sees that no attribute is there twice.
func (d *Document) resolve(n *node, prefix, local []byte) *Error {
	n.name, n.space, n.bind = d.intern(local), n.def, noPrefix
	var err *Error
	if len(prefix) > 0 {
		if n.space, n.bind, err = d.lookup(prefix); err != nil {
			return err
		}
	}
	attrs := d.attrs[n.attr:n.attrs]
	for i := range attrs {
		a := &attrs[i]
		if full := d.raw[a.qname[0]:a.qname[1]]; a.space == "" && len(full) > len(a.name) {
			if a.space, a.bind, err = d.lookup(full[:len(full)-len(a.name)-1]); err != nil {
				return err
			}
		}
		for j := range i {
			if attrs[j].name == a.name && attrs[j].space == a.space {
				return malformed("an attribute that is there twice")
			}
		}
	}
	return nil
}

func (d *Document) lookup(prefix []byte) (uri string, node int32, err *Error) {
	for i := len(d.binds) - 1; i >= 0; i-- {
		if b := &d.binds[i]; b.prefix == string(prefix) {
			return b.space, b.node, nil
		}
	}
	switch string(prefix) {
	case "xml":
		return SpaceXML, noPrefix, nil
	case "xmlns":
		return "", 0, malformed("an element with the prefix xmlns")
	}
	if d.ctx != nil {
		for i := range d.ctx.prefixes {
			if b := &d.ctx.prefixes[i]; b.prefix == string(prefix) {
				return b.space, outside, nil
			}
		}
	}
	return "", 0, &Error{BadNamespacePrefix, "a prefix that is not declared"}
}
