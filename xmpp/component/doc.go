// Package component is a link to an XMPP server as one of its external components (XEP-0114): the carrier of services whose
// domains another server routes to us.
package component
