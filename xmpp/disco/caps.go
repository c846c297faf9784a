package disco

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"tidings/xmpp/dataform"
	"tidings/xmpp/xmlstream"
)

// Caps names the information of an entity by its hash (XEP-0115), in presence and in stream features.
type Caps struct {
	Hash string // sha-1, or another of the registry
	Node string // URI of the software
	Ver  string // verification string
}

// CapsOf returns the caps of what an entity tells of itself, with SHA-1, which everybody knows.
func CapsOf(node string, i *Info) Caps { return Caps{Hash: "sha-1", Node: node, Ver: i.Ver()} }

// Append appends the element c.
func (c Caps) Append(dst []byte) []byte {
	dst = append(dst, "<c xmlns='"+NSCaps+"'"...)
	dst = xmlstream.AppendOptional(dst, "hash", c.Hash, "node", c.Node, "ver", c.Ver)
	return append(dst, "/>"...)
}

// FindCaps returns the caps among an element's children. Those of the form before version 1.4 of the XEP, which have no hash
// and can be checked by nobody, are not returned.
func FindCaps(parent xmlstream.Element) (Caps, bool) {
	el := parent.Child(NSCaps, "c")
	if el.IsZero() {
		return Caps{}, false
	}
	c := Caps{Hash: el.Attr("hash"), Node: el.Attr("node"), Ver: el.Attr("ver")}
	return c, c.Hash != "" && c.Node != "" && c.Ver != ""
}

// QueryNode returns the node at which the information that the caps name is asked for.
func (c Caps) QueryNode() string { return c.Node + "#" + c.Ver }

// The errors of Verify.
var (
	ErrUnknownHash = errors.New("disco: the caps use a hash that is not supported")
	ErrMismatch    = errors.New("disco: the information does not have the hash that the caps say")
	ErrIllFormed   = errors.New("disco: the information repeats what it may say once") // XEP-0115 section 5.4, steps 3.3 to 3.6
)

// Verify reports whether the information is what the caps name (XEP-0115 section 5.4), so that it may be kept for everybody
// whose caps are the same.
func (c Caps) Verify(i *Info) error {
	if i.illFormed() {
		return ErrIllFormed
	}
	var ver string
	switch c.Hash {
	case "sha-1":
		ver = i.Ver()
	case "sha-256":
		sum := sha256.Sum256(i.verification())
		ver = base64.StdEncoding.EncodeToString(sum[:])
	default:
		return ErrUnknownHash
	}
	if ver != c.Ver {
		return ErrMismatch
	}
	return nil
}

// Ver returns the verification string with SHA-1 (XEP-0115 section 5.1).
func (i *Info) Ver() string {
	sum := sha1.Sum(i.verification())
	return base64.StdEncoding.EncodeToString(sum[:])
}

// verification returns the string S of XEP-0115 section 5.1: identities, features and forms, each sorted by bytes.
func (i *Info) verification() []byte {
	var s []byte
	for _, id := range slices.SortedFunc(slices.Values(i.Identities), compareIdentities) {
		s = append(s, id.Category+"/"+id.Type+"/"+id.Lang+"/"+id.Name+"<"...)
	}
	for _, f := range slices.Sorted(slices.Values(i.Features)) {
		s = append(s, f+"<"...)
	}
	forms := slices.DeleteFunc(slices.Clone(i.Forms), func(f *dataform.Form) bool { return !counts(f) })
	slices.SortStableFunc(forms, func(a, b *dataform.Form) int { return strings.Compare(a.FormType(), b.FormType()) })
	for _, f := range forms {
		s = append(s, f.FormType()+"<"...)
		fields := slices.Clone(f.Fields)
		slices.SortStableFunc(fields, func(a, b dataform.Field) int { return strings.Compare(a.Var, b.Var) })
		for _, fd := range fields {
			if fd.Var == dataform.FormType {
				continue
			}
			s = append(s, fd.Var+"<"...)
			for _, v := range slices.Sorted(slices.Values(fd.Values)) {
				s = append(s, v+"<"...)
			}
		}
	}
	return s
}

// compareIdentities orders by category, type and language; XEP-0115 says no more, and a name makes the order certain.
func compareIdentities(a, b Identity) int {
	for _, c := range []int{strings.Compare(a.Category, b.Category), strings.Compare(a.Type, b.Type), strings.Compare(a.Lang, b.Lang)} {
		if c != 0 {
			return c
		}
	}
	return strings.Compare(a.Name, b.Name)
}

// counts reports whether a form is part of the string: only one whose form type is hidden is (XEP-0115 section 5.4, step 3.6).
// A result may leave the type of the field out; then it is not hidden.
func counts(f *dataform.Form) bool {
	fd := f.Field(dataform.FormType)
	return fd != nil && fd.Type == dataform.Hidden && len(fd.Values) > 0
}

// illFormed reports whether an identity, a feature or a form type comes twice, or a form has two different form types.
func (i *Info) illFormed() bool {
	seen := map[string]bool{}
	twice := func(kind, s string) bool {
		k := kind + "\x00" + s
		if seen[k] {
			return true
		}
		seen[k] = true
		return false
	}
	for _, id := range i.Identities {
		if twice("identity", id.Category+"/"+id.Type+"/"+id.Lang+"/"+id.Name) {
			return true
		}
	}
	for _, f := range i.Features {
		if twice("feature", f) {
			return true
		}
	}
	for _, f := range i.Forms {
		fd := f.Field(dataform.FormType)
		if fd == nil || len(fd.Values) == 0 {
			continue
		}
		if twice("form", fd.Values[0]) {
			return true
		}
		for _, v := range fd.Values[1:] {
			if v != fd.Values[0] {
				return true
			}
		}
	}
	return false
}
