package main

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// httpConns counts connections to the HTTP listener that end without having been of any use. Those that the edge takes over
// are its to count.
type httpConns struct {
	phases           sync.Map // net.Conn -> *atomic.Uint32, one of the phases
	silent, headless atomic.Uint64
}

// The reasons.
const (
	closedSilent = "no-request"      // nothing came
	closedHead   = "no-request-head" // what came was no request's head, or not in time
)

// What a connection has sent since the last request that was served.
const (
	phaseNothing uint32 = iota
	phaseHead
	phaseServed
)

// phaseKey is the key of a connection's phase in the context of its requests.
type phaseKey struct{}

// connContext is the http.Server's ConnContext.
func (h *httpConns) connContext(ctx context.Context, c net.Conn) context.Context {
	p := new(atomic.Uint32)
	h.phases.Store(c, p)
	return context.WithValue(ctx, phaseKey{}, p)
}

// state is the http.Server's ConnState.
func (h *httpConns) state(c net.Conn, to http.ConnState) {
	v, ok := h.phases.Load(c)
	if !ok {
		return
	}
	p := v.(*atomic.Uint32)
	switch to {
	case http.StateActive:
		p.Store(phaseHead)
	case http.StateHijacked:
		h.phases.Delete(c)
	case http.StateClosed:
		h.phases.Delete(c)
		switch p.Load() {
		case phaseNothing:
			h.silent.Add(1)
		case phaseHead:
			h.headless.Add(1)
		}
	}
}

// stats returns how many connections were closed, by reason.
func (h *httpConns) stats() map[string]uint64 {
	return map[string]uint64{closedSilent: h.silent.Load(), closedHead: h.headless.Load()}
}

// handler notes that a request has come to next.
func (h *httpConns) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p, ok := r.Context().Value(phaseKey{}).(*atomic.Uint32); ok {
			p.Store(phaseServed)
		}
		next.ServeHTTP(w, r)
	})
}
