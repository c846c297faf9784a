package stream

import (
	"tidings/xmpp/disco"
	"tidings/xmpp/xmlstream"
)

// Features is what a server offers after its header (RFC 6120 section 4.3). Element names and namespaces that this package
// does not know are not kept.
type Features struct {
	StartTLS         bool
	StartTLSRequired bool
	Mechanisms       []string // of SASL, best first
	Bindings         []string // types of channel binding (XEP-0440)
	Register         bool     // XEP-0077
	Compression      []string // methods (XEP-0138); zlib is the one that everybody has
	Bind             bool     // RFC 6120 section 7
	Session          bool     // the session of RFC 3921, which does nothing any more; Append offers it as optional
	SessionRequired  bool     // as parsed: the server did not say that it is optional
	SM               bool     // XEP-0198
	RosterVer        bool     // RFC 6121 section 2.6
	PreApproval      bool     // RFC 6121 section 3.4
	CSI              bool     // XEP-0352
	Caps             disco.Caps
}

// Append appends the element.
func (f *Features) Append(dst []byte, fr Framing) []byte {
	dst = append(fr.appendPrefix(append(dst, "<stream:features"...)), '>')
	if f.StartTLS {
		dst = append(dst, "<starttls xmlns='"+NSTLS+"'>"...)
		if f.StartTLSRequired {
			dst = append(dst, "<required/>"...)
		}
		dst = append(dst, "</starttls>"...)
	}
	if len(f.Mechanisms) > 0 {
		dst = append(dst, "<mechanisms xmlns='"+NSSASL+"'>"...)
		for _, m := range f.Mechanisms {
			dst = append(append(append(dst, "<mechanism>"...), m...), "</mechanism>"...)
		}
		dst = append(dst, "</mechanisms>"...)
	}
	if len(f.Bindings) > 0 {
		dst = append(dst, "<sasl-channel-binding xmlns='"+NSBinding+"'>"...)
		for _, b := range f.Bindings {
			dst = append(append(append(dst, "<channel-binding type='"...), b...), "'/>"...)
		}
		dst = append(dst, "</sasl-channel-binding>"...)
	}
	if f.Register {
		dst = append(dst, "<register xmlns='"+NSRegister+"'/>"...)
	}
	if len(f.Compression) > 0 {
		dst = append(dst, "<compression xmlns='"+NSCompressFeature+"'>"...)
		for _, m := range f.Compression {
			dst = append(append(append(dst, "<method>"...), m...), "</method>"...)
		}
		dst = append(dst, "</compression>"...)
	}
	if f.Bind {
		dst = append(dst, "<bind xmlns='"+NSBind+"'/>"...)
	}
	if f.Session {
		dst = append(dst, "<session xmlns='"+NSSession+"'><optional/></session>"...)
	}
	if f.SM {
		dst = append(dst, "<sm xmlns='"+NSSM+"'/>"...)
	}
	if f.RosterVer {
		dst = append(dst, "<ver xmlns='"+NSRosterVer+"'/>"...)
	}
	if f.PreApproval {
		dst = append(dst, "<sub xmlns='"+NSPreApproval+"'/>"...)
	}
	if f.CSI {
		dst = append(dst, "<csi xmlns='"+NSCSI+"'/>"...)
	}
	if f.Caps.Ver != "" {
		dst = f.Caps.Append(dst)
	}
	return append(dst, "</stream:features>"...)
}

// IsFeatures reports whether an element is that of the features.
func IsFeatures(el xmlstream.Element) bool { return el.Is(NSStreams, "features") }

// ParseFeatures reads the element.
func ParseFeatures(el xmlstream.Element) Features {
	var f Features
	for c := range el.Children() {
		switch name, space := c.Name(), c.Space(); {
		case space == NSTLS && name == "starttls":
			f.StartTLS, f.StartTLSRequired = true, !c.Child(NSTLS, "required").IsZero()
		case space == NSSASL && name == "mechanisms":
			f.Mechanisms = texts(c, "mechanism")
		case space == NSBinding && name == "sasl-channel-binding":
			for b := range c.Children() {
				if b.Is(NSBinding, "channel-binding") {
					f.Bindings = append(f.Bindings, b.Attr("type"))
				}
			}
		case space == NSRegister && name == "register":
			f.Register = true
		case space == NSCompressFeature && name == "compression":
			f.Compression = texts(c, "method")
		case space == NSBind && name == "bind":
			f.Bind = true
		case space == NSSession && name == "session":
			f.Session, f.SessionRequired = true, c.Child(NSSession, "optional").IsZero()
		case space == NSSM && name == "sm":
			f.SM = true
		case space == NSRosterVer && name == "ver":
			f.RosterVer = true
		case space == NSPreApproval && name == "sub":
			f.PreApproval = true
		case space == NSCSI && name == "csi":
			f.CSI = true
		}
	}
	f.Caps, _ = disco.FindCaps(el)
	return f
}

// texts returns the texts of the children of that name.
func texts(el xmlstream.Element, name string) (list []string) {
	for c := range el.Children() {
		if c.Is(el.Space(), name) {
			list = append(list, c.Text())
		}
	}
	return list
}
